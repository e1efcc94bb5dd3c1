/* Circuit breakers (see breaker.h).
 *
 * All that decides stands in one word, which compare-and-swap changes: the state, how many probes
 * are under way, how often in a row it has opened without closing, and either until when it is open
 * or how many probes have gone well. So no two threads see halves of a change.
 *
 * The window is a ring of slots, each a word of its own: which span of time it stands for, the
 * calls in it, and the failures. Only a closed breaker counts into it, so who closes one empties
 * it first.
 */
#include "mesh/breaker.h"

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"

#define MAX_PROBES 1000
#define MAX_EXPONENT 31
#define MIN_WINDOW NP_NS_PER_MS
#define CACHE_LINE 64u

const struct np_breaker_options np_breaker_defaults = {
    .failure_rate = 0.5,
    .minimum_calls = 20,
    .window_ns = 10 * NP_NS_PER_SEC,
    .open_ns = 5 * NP_NS_PER_SEC,
    .max_open_ns = 60 * NP_NS_PER_SEC,
    .jitter = 0.2,
    .half_open_probes = 1,
};

/* The options, which may change beside their readers. */
struct rules {
    atomic_bool shadow;
    _Atomic(uint32_t) consecutive_failures, minimum_calls, half_open_probes, max_requests;
    _Atomic(double) failure_rate, jitter;
    _Atomic(double) per_ns; /* slots */
    atomic_llong open_ns, max_open_ns;
};

struct np_breaker {
    atomic_uint refs;
    struct rules rules;
    uint64_t seed;
    char apart[CACHE_LINE]; /* what calls change from what they only read */
    _Atomic(uint64_t) word;
    _Atomic(uint64_t) slots[NP_BREAKER_SLOTS];
    atomic_uint consecutive;
    atomic_uint inflight;
    atomic_uint changes;
    atomic_bool failing; /* there may be failures in the window */
    atomic_ullong draws;
    atomic_ullong opened, closed, refused_open, refused_cap, calls, failures;
};

/* --- the word: state 2 bits, exponent 5, probing 12, value 45 (open: until, in units of 16 µs,
 * which lasts for 18 years; half open: probes that went well) */

#define UNIT_BITS 14
#define VALUE_BITS 45
#define VALUE_MAX ((UINT64_C(1) << VALUE_BITS) - 1)

struct view {
    enum np_breaker_state state;
    unsigned exponent;
    unsigned probing;
    uint64_t value;
};

static struct view unpack(uint64_t w)
{
    return (struct view){
        .state = (enum np_breaker_state)(w & 3),
        .exponent = (unsigned)(w >> 2 & 31),
        .probing = (unsigned)(w >> 7 & 4095),
        .value = w >> (64 - VALUE_BITS),
    };
}

static uint64_t pack(struct view v)
{
    return (uint64_t)v.state | (uint64_t)v.exponent << 2 | (uint64_t)v.probing << 7 |
           v.value << (64 - VALUE_BITS);
}

static uint64_t units_up(int64_t ns)
{
    if (ns <= 0) return 0;
    uint64_t u = ((uint64_t)ns >> UNIT_BITS) + (((uint64_t)ns & ((1u << UNIT_BITS) - 1)) != 0);
    return u < VALUE_MAX ? u : VALUE_MAX;
}

/* How long it is open yet, ns. */
static int64_t open_left(struct view v, int64_t now)
{
    int64_t until = (int64_t)(v.value << UNIT_BITS);
    return until > now ? until - now : 0;
}

static bool swap(struct np_breaker *b, uint64_t *seen, struct view to)
{
    uint64_t was = *seen;
    bool done = atomic_compare_exchange_weak_explicit(&b->word, &was, pack(to),
                                                      memory_order_acq_rel, memory_order_acquire);
    *seen = was;
    return done;
}

/* --- making */

#define READ(field) atomic_load_explicit(&b->rules.field, memory_order_relaxed)
#define WRITE(field, v) atomic_store_explicit(&b->rules.field, (v), memory_order_relaxed)
#define COUNT(field) atomic_fetch_add_explicit(&b->field, 1, memory_order_relaxed)

static bool share_ok(double x)
{
    return x >= 0 && x <= 1;
}

const char *np_breaker_options_problem(const struct np_breaker_options *o)
{
    if (!share_ok(o->failure_rate)) return "failure_rate: expected 0 to 1";
    if (!share_ok(o->jitter)) return "jitter: expected 0 to 1";
    if (o->minimum_calls == 0) return "minimum_calls: expected at least 1";
    if (o->window_ns < MIN_WINDOW) return "window: expected at least 0.001 s";
    if (o->open_ns <= 0) return "open: expected more than 0";
    if (o->max_open_ns < o->open_ns) return "max_open: expected at least `open`";
    if (o->half_open_probes == 0 || o->half_open_probes > MAX_PROBES)
        return "half_open_probes: expected 1 to 1000";
    return NULL;
}

static void clear_window(struct np_breaker *b)
{
    atomic_store_explicit(&b->consecutive, 0, memory_order_relaxed);
    for (size_t i = 0; i < NP_BREAKER_SLOTS; i++)
        atomic_store_explicit(&b->slots[i], 0, memory_order_relaxed);
}

static void take(struct np_breaker *b, const struct np_breaker_options *o)
{
    WRITE(shadow, o->shadow);
    WRITE(consecutive_failures, o->consecutive_failures);
    WRITE(minimum_calls, o->minimum_calls);
    WRITE(half_open_probes, o->half_open_probes);
    WRITE(max_requests, o->max_requests);
    WRITE(failure_rate, o->failure_rate);
    WRITE(jitter, o->jitter);
    WRITE(per_ns, NP_BREAKER_SLOTS / (double)o->window_ns);
    WRITE(open_ns, o->open_ns);
    WRITE(max_open_ns, o->max_open_ns);
}

enum neap_err np_breaker_new(const struct np_breaker_options *opts, uint64_t seed,
                             struct np_breaker **out)
{
    if (opts == NULL) opts = &np_breaker_defaults;
    if (np_breaker_options_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_breaker *b = np_calloc(1, sizeof *b);
    if (b == NULL) return NEAP_ENOMEM;
    struct np_rng rng;
    np_rng_init(&rng, seed);
    b->seed = np_rng_next(&rng);
    atomic_init(&b->refs, 1);
    take(b, opts);
    *out = b;
    return NEAP_OK;
}

enum neap_err np_breaker_set(struct np_breaker *b, const struct np_breaker_options *opts)
{
    if (np_breaker_options_problem(opts) != NULL) return NEAP_EINVAL;
    take(b, opts);
    clear_window(b);
    return NEAP_OK;
}

struct np_breaker *np_breaker_ref(struct np_breaker *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void np_breaker_unref(struct np_breaker *b)
{
    if (b == NULL) return;
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) np_free(b);
}

/* --- changes of state: in each, `seen` is what the word was; false when it is another by now,
 * which `seen` then is */

/* What of a span is not drawn, and a draw from the rest. */
static int64_t span(struct np_breaker *b, unsigned exponent)
{
    double ns = fmin(ldexp((double)READ(open_ns), (int)exponent), (double)READ(max_open_ns));
    double jitter = READ(jitter);
    if (jitter > 0) {
        uint64_t n = atomic_fetch_add_explicit(&b->draws, 1, memory_order_relaxed);
        double unit = (double)(np_hash_mix(b->seed + n) >> 11) * 0x1p-53;
        ns *= 1 - jitter * unit;
    }
    return ns < 1 ? 1 : ns < 9e18 ? (int64_t)ns : NP_TIME_NEVER;
}

static bool to_open(struct np_breaker *b, uint64_t *seen, struct view to, int64_t now)
{
    to.state = NP_BREAKER_OPEN;
    to.value = units_up(np_time_add(now, span(b, to.exponent)));
    if (!swap(b, seen, to)) return false;
    COUNT(opened);
    COUNT(changes);
    return true;
}

static bool to_closed(struct np_breaker *b, uint64_t *seen, struct view to)
{
    to.state = NP_BREAKER_CLOSED;
    to.exponent = 0;
    to.value = 0;
    clear_window(b);
    if (!swap(b, seen, to)) return false;
    COUNT(closed);
    COUNT(changes);
    return true;
}

/* --- the window */

#define TICK_BITS 24
#define COUNT_BITS 20
#define COUNT_MAX ((1u << COUNT_BITS) - 1)

static uint32_t tick_of(const struct np_breaker *b, int64_t now)
{
    /* Half a nanosecond, so that the rounding of the factor moves no boundary. */
    return now > 0 ? (uint32_t)(uint64_t)(((double)now + 0.5) * READ(per_ns)) : 0;
}

/* By how many ticks a slot is behind, among those that 24 bits can tell apart. */
static int32_t behind(uint32_t tick, uint64_t slot)
{
    uint32_t d = (tick - (uint32_t)(slot >> (2 * COUNT_BITS))) & ((1u << TICK_BITS) - 1);
    return (int32_t)(d << (32 - TICK_BITS)) >> (32 - TICK_BITS);
}

static uint64_t slot_add(uint64_t slot, uint32_t tick, bool failed)
{
    int32_t d = behind(tick, slot);
    /* Another worker's clock may be a little ahead. */
    if (d > 0 || d <= -2 * NP_BREAKER_SLOTS)
        slot = (uint64_t)(tick & ((1u << TICK_BITS) - 1)) << (2 * COUNT_BITS);
    uint64_t calls = slot & COUNT_MAX, failures = slot >> COUNT_BITS & COUNT_MAX;
    if (calls == COUNT_MAX) { /* shares stay what they are */
        calls /= 2;
        failures /= 2;
    }
    calls++;
    failures += failed;
    return slot >> (2 * COUNT_BITS) << (2 * COUNT_BITS) | failures << COUNT_BITS | calls;
}

/* Counts a call; whether the window then says that it should open. */
static bool window_add(struct np_breaker *b, bool failed, double rate, int64_t now)
{
    uint32_t tick = tick_of(b, now);
    if (failed) atomic_store_explicit(&b->failing, true, memory_order_relaxed);
    _Atomic(uint64_t) *slot = &b->slots[tick % NP_BREAKER_SLOTS];
    uint64_t w = atomic_load_explicit(slot, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(slot, &w, slot_add(w, tick, failed),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    /* The usual case. */
    if (!failed && !atomic_load_explicit(&b->failing, memory_order_relaxed)) return false;
    uint64_t calls = 0, failures = 0;
    for (size_t i = 0; i < NP_BREAKER_SLOTS; i++) {
        uint64_t s = atomic_load_explicit(&b->slots[i], memory_order_relaxed);
        int32_t d = behind(tick, s);
        if (d >= NP_BREAKER_SLOTS || d <= -NP_BREAKER_SLOTS) continue;
        calls += s & COUNT_MAX;
        failures += s >> COUNT_BITS & COUNT_MAX;
    }
    if (failures == 0) atomic_store_explicit(&b->failing, false, memory_order_relaxed);
    return calls >= READ(minimum_calls) && failures > 0 && (double)failures >= rate * (double)calls;
}

/* The result of a call, of a closed breaker: whether it should open. */
static bool judge(struct np_breaker *b, bool failed, int64_t now)
{
    uint32_t limit = READ(consecutive_failures);
    double rate = READ(failure_rate);
    bool open = false;
    if (limit > 0 && failed) {
        open = atomic_fetch_add_explicit(&b->consecutive, 1, memory_order_relaxed) + 1 >= limit;
    } else if (limit > 0 && atomic_load_explicit(&b->consecutive, memory_order_relaxed) != 0) {
        atomic_store_explicit(&b->consecutive, 0, memory_order_relaxed);
    }
    if (rate > 0 && window_add(b, failed, rate, now)) open = true;
    return open;
}

/* --- calls */

static bool take_place(struct np_breaker *b, bool shadow)
{
    uint32_t max = READ(max_requests);
    if (max == 0 || shadow) {
        unsigned before = atomic_fetch_add_explicit(&b->inflight, 1, memory_order_relaxed);
        if (max > 0 && before >= max) COUNT(refused_cap);
        return true;
    }
    unsigned n = atomic_load_explicit(&b->inflight, memory_order_relaxed);
    do {
        if (n >= max) {
            COUNT(refused_cap);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&b->inflight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Whether a probe may pass. Where none is under way one always may: the number of probes may have
 * been lowered meanwhile. */
static bool probe_fits(const struct np_breaker *b, struct view v, int64_t now)
{
    if (v.state == NP_BREAKER_OPEN && open_left(v, now) > 0) return false;
    uint64_t well = v.state == NP_BREAKER_HALF_OPEN ? v.value : 0;
    return v.probing == 0 || v.probing + well < READ(half_open_probes);
}

/* Of one that is not closed: a probe's place, if it is time for one and one is free. */
static enum np_breaker_pass take_probe(struct np_breaker *b, uint64_t seen, int64_t now)
{
    for (;;) {
        struct view v = unpack(seen);
        bool half_opens = v.state == NP_BREAKER_OPEN;
        if (v.state == NP_BREAKER_CLOSED) return NP_PASS_CALL;
        if (!probe_fits(b, v, now)) return NP_PASS_REFUSED_OPEN;
        if (half_opens) {
            v.state = NP_BREAKER_HALF_OPEN;
            v.value = 0;
        }
        v.probing++;
        if (swap(b, &seen, v)) {
            if (half_opens) COUNT(changes);
            return NP_PASS_PROBE;
        }
    }
}

enum np_breaker_pass np_breaker_enter(struct np_breaker *b, int64_t now)
{
    bool shadow = READ(shadow);
    enum np_breaker_pass pass = NP_PASS_CALL;
    uint64_t seen = atomic_load_explicit(&b->word, memory_order_acquire);
    struct view v = unpack(seen);
    bool closed = v.state == NP_BREAKER_CLOSED;

    if (!closed && !shadow && !probe_fits(b, v, now)) goto refused;
    if (!take_place(b, shadow)) return NP_PASS_REFUSED_CAP;
    if (!closed) pass = take_probe(b, seen, now);
    if (pass == NP_PASS_REFUSED_OPEN && !shadow) {
        atomic_fetch_sub_explicit(&b->inflight, 1, memory_order_relaxed);
        goto refused;
    }
    if (pass == NP_PASS_REFUSED_OPEN) {
        COUNT(refused_open);
        pass = NP_PASS_CALL;
    }
    COUNT(calls);
    return pass;
refused:
    COUNT(refused_open);
    return NP_PASS_REFUSED_OPEN;
}

/* A probe's place is free again, and its result moves the state. */
static void end_probe(struct np_breaker *b, enum np_outcome outcome, int64_t now)
{
    uint64_t seen = atomic_load_explicit(&b->word, memory_order_acquire);
    for (bool done = false; !done;) {
        struct view v = unpack(seen);
        if (v.probing > 0) v.probing--;
        if (v.state != NP_BREAKER_HALF_OPEN || outcome == NP_OUTCOME_CANCELED) {
            done = swap(b, &seen, v);
        } else if (outcome == NP_OUTCOME_FAILED) {
            if (v.exponent < MAX_EXPONENT) v.exponent++;
            done = to_open(b, &seen, v, now);
        } else if (++v.value >= READ(half_open_probes)) {
            done = to_closed(b, &seen, v);
        } else {
            done = swap(b, &seen, v);
        }
    }
}

static void end_call(struct np_breaker *b, bool failed, int64_t now)
{
    uint64_t seen = atomic_load_explicit(&b->word, memory_order_acquire);
    if (unpack(seen).state != NP_BREAKER_CLOSED || !judge(b, failed, now)) return;
    while (unpack(seen).state == NP_BREAKER_CLOSED) {
        if (to_open(b, &seen, unpack(seen), now)) return;
    }
}

void np_breaker_leave(struct np_breaker *b, enum np_breaker_pass pass, enum np_outcome outcome,
                      int64_t now)
{
    if (pass != NP_PASS_CALL && pass != NP_PASS_PROBE) return;
    atomic_fetch_sub_explicit(&b->inflight, 1, memory_order_relaxed);
    if (outcome == NP_OUTCOME_FAILED) COUNT(failures);
    if (pass == NP_PASS_PROBE) {
        end_probe(b, outcome, now);
    } else if (outcome != NP_OUTCOME_CANCELED) {
        end_call(b, outcome == NP_OUTCOME_FAILED, now);
    }
}

/* --- what is asked of it, and told by hand */

const char *np_breaker_state_name(enum np_breaker_state s)
{
    switch (s) {
    case NP_BREAKER_CLOSED:
        return "closed";
    case NP_BREAKER_OPEN:
        return "open";
    case NP_BREAKER_HALF_OPEN:
        break;
    }
    return "half_open";
}

enum np_breaker_state np_breaker_state(const struct np_breaker *b, int64_t now)
{
    struct view v = unpack(atomic_load_explicit(&b->word, memory_order_acquire));
    if (v.state == NP_BREAKER_OPEN && open_left(v, now) == 0) return NP_BREAKER_HALF_OPEN;
    return v.state;
}

int64_t np_breaker_wait(const struct np_breaker *b, int64_t now)
{
    struct view v = unpack(atomic_load_explicit(&b->word, memory_order_acquire));
    if (v.state == NP_BREAKER_CLOSED) return 0;
    int64_t left = v.state == NP_BREAKER_OPEN ? open_left(v, now) : 0;
    if (left > 0) return left;
    if (probe_fits(b, v, now)) return 0;
    int64_t guess = READ(open_ns) / 10;
    return guess > 0 ? guess : 1;
}

void np_breaker_reset(struct np_breaker *b)
{
    uint64_t seen = atomic_load_explicit(&b->word, memory_order_acquire);
    while (unpack(seen).state != NP_BREAKER_CLOSED) {
        if (to_closed(b, &seen, unpack(seen))) return;
    }
    clear_window(b);
}

void np_breaker_trip(struct np_breaker *b, int64_t now)
{
    uint64_t seen = atomic_load_explicit(&b->word, memory_order_acquire);
    struct view to;
    do {
        to = unpack(seen);
        to.exponent = 0;
    } while (!to_open(b, &seen, to, now));
}

bool np_breaker_shadow(const struct np_breaker *b)
{
    return READ(shadow);
}

uint32_t np_breaker_changes(const struct np_breaker *b)
{
    return atomic_load_explicit(&b->changes, memory_order_relaxed);
}

struct np_breaker_counters np_breaker_counters(const struct np_breaker *b)
{
#define LOAD(field) atomic_load_explicit(&b->field, memory_order_relaxed)
    return (struct np_breaker_counters){
        .opened = LOAD(opened),
        .closed = LOAD(closed),
        .refused_open = LOAD(refused_open),
        .refused_cap = LOAD(refused_cap),
        .calls = LOAD(calls),
        .failures = LOAD(failures),
        .inflight = LOAD(inflight),
    };
#undef LOAD
}
