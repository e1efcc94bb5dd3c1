/* Active checks (see health_check.h).
 *
 * Every entry is in the heap, at the end of it while its check runs, so that no moment is lost for
 * want of memory. One that left the set during its check goes when that is done.
 */
#include "mesh/health_check.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "mesh/outlier.h"

struct np_check_entry {
    struct np_heap_node due;
    struct np_endpoint *e;
    enum np_check_state state;
    enum np_check_result last;
    uint32_t successes, failures; /* in a row; failures of any kind */
    uint32_t shared;              /* … that count towards `fall` */
    uint32_t of_kind[NP_CHECK_RESULTS];
    uint64_t seen; /* the update that had it */
    int64_t since, began;
    bool running, marked; /* `marked`: its endpoint was told that it is unhealthy */
};

struct np_check {
    struct np_check_options opts;
    struct np_rng rng;
    struct np_heap waiting;
    struct np_map entries;      /* address of the statistics → entry */
    uint64_t updates, complete; /* begun, and the last one that had memory enough */
    struct np_check_counters counters;
};

const struct np_check_options np_check_defaults = {
    .interval_ns = NP_NS_PER_SEC,
    .jitter = 0.2,
    .rise = 2,
    .fall = 3,
    .concurrency = 10,
    .initial = NP_CHECK_UNKNOWN,
};

const char *np_check_result_name(enum np_check_result r)
{
    static const char *const names[NP_CHECK_RESULTS] = {
        [NP_CHECK_OK] = "success",
        [NP_CHECK_HTTP_FAILED] = "http_failure",
        [NP_CHECK_TCP_FAILED] = "tcp_failure",
        [NP_CHECK_TIMEOUT] = "timeout",
        [NP_CHECK_CANCELED] = "canceled",
    };
    return r < NP_CHECK_RESULTS ? names[r] : "";
}

const char *np_check_state_name(enum np_check_state s)
{
    switch (s) {
    case NP_CHECK_HEALTHY:
        return "healthy";
    case NP_CHECK_UNHEALTHY:
        return "unhealthy";
    case NP_CHECK_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *np_check_options_problem(const struct np_check_options *o)
{
    if (o->interval_ns <= 0) return "interval: expected more than 0";
    if (o->unhealthy_interval_ns < 0) return "unhealthy_interval: expected at least 0";
    if (!(o->jitter >= 0 && o->jitter < 1)) return "jitter: expected 0 to less than 1";
    if (o->rise == 0) return "rise: expected at least 1";
    if (o->fall == 0) return "fall: expected at least 1";
    if (o->concurrency == 0) return "concurrency: expected at least 1";
    return NULL;
}

enum neap_err np_check_new(const struct np_check_options *opts, uint64_t seed,
                           struct np_check **out)
{
    if (opts == NULL) opts = &np_check_defaults;
    if (np_check_options_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_check *c = np_calloc(1, sizeof *c);
    if (c == NULL) return NEAP_ENOMEM;
    c->opts = *opts;
    np_rng_init(&c->rng, seed);
    np_heap_init(&c->waiting);
    np_map_init(&c->entries);
    *out = c;
    return NEAP_OK;
}

/* --- the entries */

static uint32_t *count_of(struct np_check *c, enum np_check_state s)
{
    if (s == NP_CHECK_HEALTHY) return &c->counters.healthy;
    return s == NP_CHECK_UNHEALTHY ? &c->counters.unhealthy : &c->counters.unknown;
}

static void mark(struct np_check *c, struct np_check_entry *t, int64_t now)
{
    bool unhealthy = t->state == NP_CHECK_UNHEALTHY;
    if (c->opts.shadow || (!unhealthy && !t->marked)) return;
    t->marked = unhealthy;
    np_endpoint_set_healthy(t->e, !unhealthy, now);
}

static void move(struct np_check *c, struct np_check_entry *t, enum np_check_state to, int64_t now)
{
    --*count_of(c, t->state);
    ++*count_of(c, to);
    t->state = to;
    t->since = now;
    mark(c, t, now);
}

static void free_entry(struct np_check *c, struct np_check_entry *t, int64_t now)
{
    if (t->marked) np_endpoint_set_healthy(t->e, true, now);
    --*count_of(c, t->state);
    c->counters.endpoints--;
    if (t->running) c->counters.running--;
    np_heap_remove(&c->waiting, &t->due);
    np_endpoint_unref(t->e);
    np_free(t);
}

static bool unhealthy_already(const struct np_endpoint *e)
{
    return atomic_load_explicit(&e->stats->health, memory_order_relaxed) & NP_HEALTH_UNHEALTHY;
}

static enum neap_err add(struct np_check *c, struct np_endpoint *e, int64_t now)
{
    struct np_check_entry *t = np_calloc(1, sizeof *t);
    if (t == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_heap_put(&c->waiting, &t->due, now);
    if (err != NEAP_OK) goto fail;
    err = np_map_set(&c->entries, (const char *)&e->stats, sizeof e->stats, t, NULL);
    if (err != NEAP_OK) goto fail;
    t->e = np_endpoint_ref(e);
    t->last = NP_CHECK_CANCELED;
    t->since = now;
    t->seen = c->updates;
    bool bad = !c->opts.shadow && unhealthy_already(e);
    t->marked = bad;
    t->state = bad ? NP_CHECK_UNHEALTHY : c->opts.initial;
    c->counters.endpoints++;
    ++*count_of(c, t->state);
    mark(c, t, now);
    return NEAP_OK;
fail:
    np_heap_remove(&c->waiting, &t->due);
    np_free(t);
    return err;
}

/* The same instance as it is described now. */
static void renew(struct np_check *c, struct np_check_entry *t, struct np_endpoint *e)
{
    t->seen = c->updates;
    if (t->e == e) return;
    struct np_endpoint *old = t->e;
    t->e = np_endpoint_ref(e);
    np_endpoint_unref(old);
}

static void drop(struct np_check *c, struct np_check_entry *t, int64_t now)
{
    const struct np_stats *key = t->e->stats;
    (void)np_map_remove(&c->entries, (const char *)&key, sizeof key);
    free_entry(c, t, now);
}

enum neap_err np_check_update(struct np_check *c, const struct np_snapshot *set, int64_t now)
{
    enum neap_err err = NEAP_OK;
    c->updates++;
    for (size_t i = 0; i < set->len && err == NEAP_OK; i++) {
        struct np_endpoint *e = set->endpoints[i];
        struct np_check_entry *t =
            np_map_get(&c->entries, (const char *)&e->stats, sizeof e->stats);
        if (t != NULL) {
            renew(c, t, e);
        } else {
            err = add(c, e, now);
        }
    }
    if (err != NEAP_OK) return err;
    c->complete = c->updates;
    size_t it = 0;
    for (struct np_map_entry *m; (m = np_map_next(&c->entries, &it)) != NULL;) {
        struct np_check_entry *t = m->value;
        if (t->seen != c->updates && !t->running) drop(c, t, now);
    }
    return NEAP_OK;
}

enum neap_err np_check_set(struct np_check *c, const struct np_check_options *opts, int64_t now)
{
    if (np_check_options_problem(opts) != NULL) return NEAP_EINVAL;
    size_t it = 0;
    c->opts = *opts;
    for (struct np_map_entry *m; (m = np_map_next(&c->entries, &it)) != NULL;) {
        struct np_check_entry *t = m->value;
        if (opts->shadow && t->marked) {
            t->marked = false;
            np_endpoint_set_healthy(t->e, true, now);
        }
        mark(c, t, now);
    }
    return NEAP_OK;
}

void np_check_free(struct np_check *c, int64_t now)
{
    if (c == NULL) return;
    size_t it = 0;
    for (struct np_map_entry *m; (m = np_map_next(&c->entries, &it)) != NULL;)
        free_entry(c, m->value, now);
    np_map_fini(&c->entries);
    np_heap_fini(&c->waiting);
    np_free(c);
}

/* --- checks */

struct np_endpoint *np_check_endpoint(const struct np_check_entry *t)
{
    return t->e;
}

/* It is in the heap, so it is moved, and that cannot fail. */
static void reschedule(struct np_check *c, struct np_check_entry *t, int64_t at)
{
    enum neap_err err = np_heap_put(&c->waiting, &t->due, at);
    (void)err;
}

struct np_check_entry *np_check_next(struct np_check *c, int64_t now, int64_t *wait)
{
    struct np_heap_node *first = np_heap_min(&c->waiting);
    *wait = NP_TIME_NEVER;
    if (first == NULL || c->counters.running >= c->opts.concurrency) return NULL;
    if (first->key > now) {
        if (first->key != NP_TIME_NEVER) *wait = first->key - now;
        return NULL;
    }
    struct np_check_entry *t = np_container_of(first, struct np_check_entry, due);
    c->counters.late_ns = now - first->key;
    reschedule(c, t, NP_TIME_NEVER);
    t->running = true;
    t->began = now;
    c->counters.running++;
    c->counters.checks++;
    return t;
}

/* The interval, drawn around it. */
static int64_t pause_of(struct np_check *c, const struct np_check_entry *t)
{
    int64_t ns = c->opts.interval_ns;
    if (t->state == NP_CHECK_UNHEALTHY && c->opts.unhealthy_interval_ns > 0)
        ns = c->opts.unhealthy_interval_ns;
    double share = 1 + c->opts.jitter * (2 * np_rng_unit(&c->rng) - 1);
    double drawn = (double)ns * share;
    return drawn < 9e18 ? (int64_t)drawn : NP_TIME_NEVER;
}

static uint32_t limit_of(const struct np_check_options *o, enum np_check_result r)
{
    if (r == NP_CHECK_HTTP_FAILED) return o->http_failures;
    return r == NP_CHECK_TCP_FAILED ? o->tcp_failures : o->timeouts;
}

static enum np_check_state after_success(const struct np_check *c, struct np_check_entry *t)
{
    t->successes++;
    t->failures = t->shared = 0;
    for (int k = 0; k < NP_CHECK_RESULTS; k++)
        t->of_kind[k] = 0;
    bool enough = t->state == NP_CHECK_UNKNOWN || t->successes >= c->opts.rise;
    return enough ? NP_CHECK_HEALTHY : t->state;
}

static enum np_check_state after_failure(const struct np_check *c, struct np_check_entry *t,
                                         enum np_check_result r)
{
    uint32_t limit = limit_of(&c->opts, r);
    t->successes = 0;
    t->failures++;
    bool enough = limit > 0 ? ++t->of_kind[r] >= limit : ++t->shared >= c->opts.fall;
    return enough ? NP_CHECK_UNHEALTHY : t->state;
}

bool np_check_done(struct np_check *c, struct np_check_entry *t, enum np_check_result r,
                   int64_t now, enum np_check_state *state)
{
    c->counters.running--;
    c->counters.results[r]++;
    t->running = false;
    if (t->seen < c->complete) {
        drop(c, t, now);
        return false;
    }
    enum np_check_state to = t->state;
    if (r == NP_CHECK_OK) {
        to = after_success(c, t);
    } else if (r != NP_CHECK_CANCELED) {
        to = after_failure(c, t, r);
    }
    if (r != NP_CHECK_CANCELED) t->last = r;
    bool changed = to != t->state;
    if (changed) {
        c->counters.changes++;
        move(c, t, to, now);
    } else {
        mark(c, t, now); /* another check of the same endpoint may have ended */
    }
    int64_t at = np_time_add(t->began, pause_of(c, t));
    reschedule(c, t, at > now ? at : now);
    *state = to;
    return changed;
}

void np_check_take_over(struct np_check *c, int64_t now)
{
    size_t it = 0;
    for (struct np_map_entry *m; (m = np_map_next(&c->entries, &it)) != NULL;) {
        struct np_check_entry *t = m->value;
        if (!t->running) continue;
        t->running = false;
        c->counters.running--;
        reschedule(c, t, now);
        if (t->seen < c->complete) drop(c, t, now);
    }
}

/* --- what is asked of it */

struct np_check_counters np_check_counters(const struct np_check *c)
{
    return c->counters;
}

const struct np_check_entry *np_check_each(const struct np_check *c, size_t *it)
{
    struct np_map_entry *m = np_map_next(&c->entries, it);
    return m != NULL ? m->value : NULL;
}

struct np_check_view np_check_look(const struct np_check_entry *t)
{
    return (struct np_check_view){
        .endpoint = t->e,
        .state = t->state,
        .last = t->last,
        .row = t->successes > 0 ? t->successes : t->failures,
        .since = t->since,
    };
}
