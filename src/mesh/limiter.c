/* Rate limiters: options in a check's units, and the algorithms that keep one moment (limiter.h).
 *
 * Token bucket, GCRA and leaky bucket are one: what was taken drains at the rate, and a request may
 * pass while that and its cost are no more than the cap. A replacement of the terms writes the pair
 * that is not in use, then moves the state over with one compare-and-swap; who read the old word
 * fails with its own and looks again.
 */
#include "mesh/limiter.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/limiter_impl.h"

#define MIN_SHIFT 6
#define MAX_SHIFT 40
#define PRECISION 24        /* bits that a token's time has, if the burst leaves room */
#define WHOLE_TOKENS 0x1p20 /* a token's units are whole if they are more than this */
#define WINDOW_COUNT_MAX ((UINT64_C(1) << 34) - 1) /* see limiter_window.c */
#define WINDOW_FRACTION 10                         /* bits of a token's fraction */

static const char *const names[] = {"token_bucket", "gcra", "sliding_window", "leaky_bucket"};

enum np_limiter_algorithm np_limiter_find(const char *name, bool *found)
{
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *found = true;
        return (enum np_limiter_algorithm)i;
    }
    *found = false;
    return NP_TOKEN_BUCKET;
}

const char *np_limiter_algorithm_name(enum np_limiter_algorithm a)
{
    return names[a];
}

/* --- options */

void np_limiter_fill_defaults(struct np_limiter_options *o)
{
    if (o->burst == 0) o->burst = o->rate < 1 ? 1 : o->rate;
    if (o->window_ns == 0) o->window_ns = NP_NS_PER_SEC;
    if (o->queue < 0)
        o->queue = o->algorithm == NP_LEAKY_BUCKET || o->burst > NP_LIMITER_WAITERS
                       ? o->burst
                       : NP_LIMITER_WAITERS;
}

/* Tokens that may be in it. */
static double capacity(const struct np_limiter_options *o)
{
    if (o->algorithm == NP_SLIDING_WINDOW) return o->rate * np_to_seconds(o->window_ns);
    return o->algorithm == NP_LEAKY_BUCKET ? o->queue + 1 : o->burst;
}

const char *np_limiter_problem(const struct np_limiter_options *opts)
{
    struct np_limiter_options o = *opts;
    if (!(o.rate > 0) || o.rate > NP_LIMITER_MAX_RATE) return "rate: above 0 and at most 10^15";
    if (isnan(o.burst) || isnan(o.queue)) return "burst, queue: not a number";
    np_limiter_fill_defaults(&o);
    if (o.burst < 1) return "burst: at least 1";
    if (o.window_ns < 0) return "window: above 0";
    if ((uint64_t)o.window_ns > NP_LIMITER_MAX_UNITS) return "window: at most 36 years";
    if (o.algorithm == NP_SLIDING_WINDOW && capacity(&o) < 1)
        return "window: rate times window is below 1, so nothing would ever pass";
    double span = capacity(&o) / o.rate * 1e9;
    if (o.algorithm != NP_SLIDING_WINDOW && span > (double)NP_LIMITER_MAX_UNITS)
        return "burst: at this rate it would take more than 36 years to come back";
    return NULL;
}

/* The largest power of two by which a token's time may be multiplied, no larger than it must be. */
static unsigned choose_shift(double token_ns, double tokens)
{
    int shift = PRECISION - ilogb(token_ns);
    if (shift < MIN_SHIFT) shift = MIN_SHIFT;
    if (shift > MAX_SHIFT) shift = MAX_SHIFT;
    while (shift > 0 && ldexp(tokens * token_ns, shift) + tokens > (double)NP_LIMITER_MAX_UNITS)
        shift--;
    return (unsigned)shift;
}

static uint64_t clip(double units)
{
    return units >= (double)NP_LIMITER_MAX_UNITS ? NP_LIMITER_MAX_UNITS : (uint64_t)units;
}

/* whole · interval and a part of one, so that large products stay exact. */
static uint64_t times(const struct np_terms *t, double tokens)
{
    double whole = floor(tokens);
    if (t->interval == 0 || whole * t->scale >= (double)NP_LIMITER_MAX_UNITS)
        return clip(tokens * t->scale);
    return (uint64_t)whole * t->interval + (uint64_t)((tokens - whole) * t->scale);
}

static void moment_terms(const struct np_limiter_options *o, struct np_terms *t)
{
    double token_ns = 1e9 / o->rate;
    t->shift = choose_shift(token_ns, capacity(o));
    t->scale = ldexp(token_ns, (int)t->shift);
    if (t->scale >= WHOLE_TOKENS) {
        t->interval = clip(ceil(t->scale));
        t->scale = (double)t->interval;
    }
    t->cap = times(t, capacity(o));
    t->queue = o->algorithm == NP_LEAKY_BUCKET ? 0 : times(t, o->queue);
}

static void window_terms(const struct np_limiter_options *o, struct np_terms *t)
{
    double limit = capacity(o);
    double scale = ldexp(1, WINDOW_FRACTION);
    if (limit * scale > (double)WINDOW_COUNT_MAX) scale = (double)WINDOW_COUNT_MAX / limit;
    t->scale = scale > 1 ? floor(scale) : scale;
    t->interval = (uint64_t)t->scale;
    t->cap = (uint64_t)(limit * t->scale);
    t->window_ns = o->window_ns;
}

void np_limiter_rule_write(struct np_limiter_rule *r, const struct np_limiter_options *opts,
                           unsigned which)
{
    struct np_limiter_terms *to = &r->terms[which];
    struct np_terms t = {.algorithm = opts->algorithm, .shadow = opts->shadow};
    if (opts->algorithm == NP_SLIDING_WINDOW) {
        window_terms(opts, &t);
    } else {
        moment_terms(opts, &t);
    }
    r->opts = *opts;
    unsigned flags = (unsigned)t.algorithm | (unsigned)t.shadow << 8 | t.shift << 16;
    atomic_store_explicit(&to->flags, flags, memory_order_relaxed);
    atomic_store_explicit(&to->interval, t.interval, memory_order_relaxed);
    atomic_store_explicit(&to->cap, t.cap, memory_order_relaxed);
    atomic_store_explicit(&to->queue, t.queue, memory_order_relaxed);
    atomic_store_explicit(&to->window_ns, t.window_ns, memory_order_relaxed);
    atomic_store_explicit(&to->scale, t.scale, memory_order_relaxed);
}

/* Rounded up; more than NP_LIMITER_MAX_UNITS for what is too much. */
uint64_t np_limiter_units(const struct np_terms *t, double cost)
{
    if (cost == 1 && t->interval != 0) return t->interval;
    if (!(cost > 0)) return 0;
    if (cost * t->scale >= (double)NP_LIMITER_MAX_UNITS) return NP_LIMITER_MAX_UNITS + 1;
    if (t->interval == 0) return (uint64_t)ceil(cost * t->scale);
    double whole = floor(cost);
    return (uint64_t)whole * t->interval + (uint64_t)ceil((cost - whole) * (double)t->interval);
}

/* --- one moment */

static uint64_t moment(const struct np_limiter_rule *r, const struct np_terms *t, int64_t now)
{
    return ((uint64_t)now - (uint64_t)r->base) << t->shift;
}

/* What is in it: the units until its moment, 0 when that has come. */
static uint64_t used(const struct np_limiter_rule *r, const struct np_terms *t, uint64_t word,
                     uint64_t last, int64_t now)
{
    int64_t idle = (int64_t)((uint64_t)now - last);
    if (idle > (int64_t)(NP_LIMITER_IDLE_UNITS >> t->shift)) return 0;
    int64_t ahead = (int64_t)((word & ~UINT64_C(1)) - (moment(r, t, now) << 1)) / 2;
    return ahead > 0 ? (uint64_t)ahead : 0;
}

static uint64_t word_of(const struct np_limiter_rule *r, const struct np_terms *t, unsigned which,
                        uint64_t in_it, int64_t now)
{
    return ((moment(r, t, now) + in_it) << 1) | which;
}

void np_limiter_state_init(const struct np_limiter_rule *r, unsigned which, int64_t now,
                           atomic_ullong state[2])
{
    struct np_terms t;
    uint64_t words[2] = {0, (uint64_t)now};
    np_terms_load(&r->terms[which], &t);
    if (t.algorithm == NP_SLIDING_WINDOW) {
        np_window_words(r, &t, which, 0, now, words);
    } else {
        words[0] = word_of(r, &t, which, 0, now);
    }
    atomic_init(&state[0], words[0]);
    atomic_init(&state[1], words[1]);
}

/* The span as units, as many as may be in it at most. */
static uint64_t span_units(const struct np_terms *t, int64_t ns)
{
    uint64_t most = NP_LIMITER_MAX_UNITS >> t->shift;
    return (uint64_t)ns > most ? NP_LIMITER_MAX_UNITS : (uint64_t)ns << t->shift;
}

static bool has_room(const struct np_taken *t, int64_t patience)
{
    const struct np_terms *terms = &t->terms;
    uint64_t room = terms->cap;
    if (t->cost > room) return false;
    if (patience > 0 && !terms->shadow && terms->algorithm != NP_LEAKY_BUCKET) {
        uint64_t wait = span_units(terms, patience);
        room += wait < terms->queue ? wait : terms->queue;
    } else if (patience >= 0 && terms->algorithm == NP_LEAKY_BUCKET) {
        if (t->before > span_units(terms, patience)) return false;
    }
    return t->before + t->cost <= room;
}

bool np_limiter_take(const struct np_limiter_rule *r, atomic_ullong state[2], double cost,
                     int64_t patience, bool probe, int64_t now, struct np_taken *t)
{
    unsigned long long word = atomic_load_explicit(&state[0], memory_order_acquire);
    for (;;) {
        np_terms_load(&r->terms[word & 1], &t->terms);
        if (t->terms.algorithm == NP_SLIDING_WINDOW) {
            enum np_take took = np_window_take(r, state, word, cost, probe, now, t);
            if (took != NP_TAKE_AGAIN) return took == NP_TAKE_OK;
            word = atomic_load_explicit(&state[0], memory_order_acquire);
            continue;
        }
        uint64_t last = atomic_load_explicit(&state[1], memory_order_relaxed);
        t->cost = np_limiter_units(&t->terms, cost);
        t->before = t->after = used(r, &t->terms, word, last, now);
        t->word = word;
        if (!has_room(t, patience)) return false;
        if (probe) return true;
        t->after += t->cost;
        t->word = word_of(r, &t->terms, word & 1, t->after, now);
        /* Before the swap: with an old `last`, who comes next would take it for idle. */
        atomic_store_explicit(&state[1], (uint64_t)now, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&state[0], &word, t->word, memory_order_acq_rel,
                                                  memory_order_acquire))
            return true;
    }
}

/* Rounded up to whole ns, so that who waits so long may pass. */
static int64_t to_ns(const struct np_terms *t, uint64_t units)
{
    return (int64_t)((units + (UINT64_C(1) << t->shift) - 1) >> t->shift);
}

struct np_limit np_limiter_report(const struct np_taken *t, bool ok)
{
    const struct np_terms *terms = &t->terms;
    struct np_limit l = {.allowed = ok || terms->shadow, .would_allow = ok};
    l.never = t->cost > terms->cap;
    if (t->after < terms->cap) l.remaining = (double)(terms->cap - t->after) / terms->scale;
    if (terms->algorithm == NP_SLIDING_WINDOW) {
        l.wait_ns = ok ? 0 : l.never ? NP_TIME_NEVER : np_window_wait(t);
        l.reset_ns = np_window_reset(t);
        return l;
    }
    l.reset_ns = to_ns(terms, t->after);
    if (l.never) {
        l.wait_ns = NP_TIME_NEVER;
    } else if (ok && terms->algorithm == NP_LEAKY_BUCKET) {
        l.wait_ns = terms->shadow ? 0 : to_ns(terms, t->before);
    } else if (!ok && terms->algorithm == NP_LEAKY_BUCKET && t->before + t->cost <= terms->cap) {
        l.wait_ns = to_ns(terms, t->before); /* longer than it had patience for */
    } else if (t->before + t->cost > terms->cap) {
        l.wait_ns = to_ns(terms, t->before + t->cost - terms->cap);
    }
    return l;
}

void np_limiter_state_move(const struct np_limiter_rule *r, atomic_ullong state[2], int64_t now)
{
    unsigned long long word = atomic_load_explicit(&state[0], memory_order_acquire);
    unsigned next = !(word & 1);
    struct np_terms from, to;
    uint64_t words[2];
    np_terms_load(&r->terms[word & 1], &from);
    np_terms_load(&r->terms[next], &to);
    do {
        uint64_t last = atomic_load_explicit(&state[1], memory_order_relaxed);
        uint64_t units = from.algorithm == NP_SLIDING_WINDOW ? np_window_used(r, state, &from, now)
                                                             : used(r, &from, word, last, now);
        units = clip((double)units / from.scale * to.scale);
        if (to.algorithm == NP_SLIDING_WINDOW) {
            np_window_words(r, &to, next, units, now, words);
        } else {
            words[0] = word_of(r, &to, next, units, now);
            words[1] = (uint64_t)now;
        }
        atomic_store_explicit(&state[1], words[1], memory_order_release);
    } while (!atomic_compare_exchange_weak_explicit(&state[0], &word, words[0],
                                                    memory_order_acq_rel, memory_order_acquire));
}

/* --- limiters */

enum neap_err np_limiter_init(struct np_limiter *l, const struct np_limiter_options *opts,
                              int64_t now)
{
    if (np_limiter_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_limiter_options o = *opts;
    np_limiter_fill_defaults(&o);
    memset(l, 0, sizeof *l);
    l->rule.base = now;
    np_limiter_rule_write(&l->rule, &o, 0);
    np_limiter_state_init(&l->rule, 0, now, l->state);
    return NEAP_OK;
}

static void count(struct np_limiter *l, bool ok)
{
    atomic_fetch_add_explicit(ok ? &l->allowed : &l->refused, 1, memory_order_relaxed);
}

struct np_limit np_limiter_check(struct np_limiter *l, double cost, int64_t now)
{
    struct np_taken t;
    bool probe = !(cost > 0);
    bool ok = np_limiter_take(&l->rule, l->state, probe ? 1 : cost, -1, probe, now, &t);
    if (!probe) count(l, ok);
    return np_limiter_report(&t, ok);
}

/* As np_limiter_take does it, for one token, and with no more than that takes. */
bool np_limiter_allow(struct np_limiter *l, int64_t now)
{
    unsigned long long word = atomic_load_explicit(&l->state[0], memory_order_acquire);
    for (;;) {
        const struct np_limiter_terms *terms = &l->rule.terms[word & 1];
        unsigned flags = atomic_load_explicit(&terms->flags, memory_order_relaxed);
        struct np_terms t;
        t.shift = np_terms_shift(flags);
        t.interval = atomic_load_explicit(&terms->interval, memory_order_relaxed);
        if (np_terms_algorithm(flags) == NP_SLIDING_WINDOW) {
            if (!np_window_take_easily(&l->rule, l->state, word, terms, now)) break;
            count(l, true);
            return true;
        }
        if (t.interval == 0) break;
        uint64_t last = atomic_load_explicit(&l->state[1], memory_order_relaxed);
        uint64_t after = used(&l->rule, &t, word, last, now) + t.interval;
        if (after > atomic_load_explicit(&terms->cap, memory_order_relaxed)) {
            count(l, false);
            return np_terms_shadow(flags);
        }
        uint64_t next = word_of(&l->rule, &t, word & 1, after, now);
        atomic_store_explicit(&l->state[1], (uint64_t)now, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&l->state[0], &word, next, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        count(l, true);
        return true;
    }
    struct np_taken t;
    bool ok = np_limiter_take(&l->rule, l->state, 1, -1, false, now, &t);
    count(l, ok);
    return ok || t.terms.shadow;
}

enum neap_err np_limiter_set(struct np_limiter *l, const struct np_limiter_options *opts,
                             int64_t now)
{
    if (np_limiter_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_limiter_options o = *opts;
    np_limiter_fill_defaults(&o);
    unsigned which = atomic_load_explicit(&l->state[0], memory_order_acquire) & 1;
    np_limiter_rule_write(&l->rule, &o, !which);
    np_limiter_state_move(&l->rule, l->state, now);
    return NEAP_OK;
}

/* --- a place in the line */

struct np_limit np_limiter_reserve(struct np_limiter *l, double cost, int64_t max_wait, int64_t now,
                                   uint64_t *ticket)
{
    struct np_taken t;
    if (max_wait < 0) max_wait = 0;
    bool ok = np_limiter_take(&l->rule, l->state, cost > 0 ? cost : 0, max_wait, false, now, &t);
    count(l, ok);
    *ticket = ok ? t.word : 0;
    return np_limiter_report(&t, ok);
}

void np_limiter_state_give_back(const struct np_limiter_rule *r, atomic_ullong state[2],
                                double cost, uint64_t ticket)
{
    struct np_terms t;
    unsigned long long word = ticket;
    np_terms_load(&r->terms[word & 1], &t);
    if (ticket == 0 || t.algorithm == NP_SLIDING_WINDOW) return;
    uint64_t back = ticket - (np_limiter_units(&t, cost) << 1);
    atomic_compare_exchange_strong_explicit(&state[0], &word, back, memory_order_acq_rel,
                                            memory_order_relaxed);
}

void np_limiter_give_back(struct np_limiter *l, double cost, uint64_t ticket)
{
    np_limiter_state_give_back(&l->rule, l->state, cost, ticket);
}
