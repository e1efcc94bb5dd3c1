/* Outlier detection (see outlier.h): what is judged at once, ejections, and what is done by hand.
 *
 * An ejection is decided under the detector's lock, so that two workers do not both take the last
 * place that max_ejection_percent leaves. What a request that went well does is a load or two.
 */
#include "mesh/outlier.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "mesh/outlier_impl.h"

const struct np_outlier_options np_outlier_defaults = {
    .consecutive_5xx = 5,
    .consecutive_gateway_failure = 5,
    .consecutive_local_failure = 5,
    .interval_ns = 10 * NP_NS_PER_SEC,
    .base_ejection_ns = 30 * NP_NS_PER_SEC,
    .max_ejection_ns = 300 * NP_NS_PER_SEC,
    .max_ejection_percent = 10,
    .success_rate_stdev_factor = 1.9,
    .success_rate_minimum_hosts = 5,
    .success_rate_request_volume = 100,
    .failure_percentage_threshold = 85,
    .failure_percentage_minimum_hosts = 5,
    .failure_percentage_request_volume = 50,
    .retry_after = true,
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define COUNT(field) atomic_fetch_add_explicit(&(field), 1, memory_order_relaxed)

const char *np_ejection_name(enum np_ejection e)
{
    static const char *const names[NP_EJECTIONS] = {
        [NP_EJECT_NONE] = "none",
        [NP_EJECT_CONSECUTIVE_5XX] = "consecutive_5xx",
        [NP_EJECT_GATEWAY_FAILURE] = "consecutive_gateway_failure",
        [NP_EJECT_LOCAL_FAILURE] = "consecutive_local_failure",
        [NP_EJECT_SUCCESS_RATE] = "success_rate",
        [NP_EJECT_FAILURE_PERCENTAGE] = "failure_percentage",
        [NP_EJECT_RETRY_AFTER] = "retry_after",
        [NP_EJECT_TRIAL_FAILED] = "trial_failed",
    };
    return e < NP_EJECTIONS ? names[e] : names[NP_EJECT_NONE];
}

/* --- making */

static bool percent_ok(double x)
{
    return x >= 0 && x <= 100;
}

const char *np_outlier_options_problem(const struct np_outlier_options *o)
{
    if (o->interval_ns <= 0) return "interval: expected more than 0";
    if (o->base_ejection_ns <= 0) return "base_ejection_time: expected more than 0";
    if (o->max_ejection_ns < o->base_ejection_ns)
        return "max_ejection_time: expected at least base_ejection_time";
    if (o->max_jitter_ns < 0) return "max_ejection_jitter: expected at least 0";
    if (!percent_ok(o->max_ejection_percent)) return "max_ejection_percent: expected 0 to 100";
    if (!(o->success_rate_stdev_factor >= 0 && o->success_rate_stdev_factor <= 1000))
        return "success_rate_stdev_factor: expected 0 to 1000";
    if (!percent_ok(o->failure_percentage_threshold))
        return "failure_percentage_threshold: expected 0 to 100";
    return NULL;
}

/* The lock is held, or nobody else knows it yet. */
static void take(struct np_outlier *o, const struct np_outlier_options *opts)
{
    o->opts = *opts;
    SET(o->shadow, opts->shadow);
    SET(o->retry_after, opts->retry_after);
    SET(o->limit_5xx, opts->consecutive_5xx);
    SET(o->limit_gateway, opts->consecutive_gateway_failure);
    SET(o->limit_local, opts->consecutive_local_failure);
    SET(o->interval_ns, opts->interval_ns);
}

enum neap_err np_outlier_new(const struct np_outlier_options *opts, uint64_t seed,
                             struct np_outlier **out)
{
    if (opts == NULL) opts = &np_outlier_defaults;
    if (np_outlier_options_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_outlier *o = np_calloc(1, sizeof *o);
    if (o == NULL) return NEAP_ENOMEM;
    struct np_rng rng;
    np_rng_init(&rng, seed);
    o->draws = np_rng_next(&rng);
    atomic_init(&o->refs, 1);
    pthread_mutex_init(&o->lock, NULL);
    take(o, opts);
    *out = o;
    return NEAP_OK;
}

enum neap_err np_outlier_set(struct np_outlier *o, const struct np_outlier_options *opts)
{
    if (np_outlier_options_problem(opts) != NULL) return NEAP_EINVAL;
    pthread_mutex_lock(&o->lock);
    take(o, opts);
    pthread_mutex_unlock(&o->lock);
    return NEAP_OK;
}

struct np_outlier *np_outlier_ref(struct np_outlier *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void np_outlier_unref(struct np_outlier *o)
{
    if (o == NULL) return;
    if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1) return;
    np_outlier_forget(o);
    pthread_mutex_destroy(&o->lock);
    np_free(o);
}

/* --- by hand */

void np_endpoint_eject(struct np_endpoint *e, int64_t until)
{
    SET(e->stats->ejected_until, until > 0 ? until : 1);
}

static void start_anew(struct np_stats *s, int64_t now)
{
    SET(s->consecutive_5xx, 0);
    SET(s->consecutive_gateway, 0);
    SET(s->consecutive_local, 0);
    SET(s->since_ns, now ? now : 1);
}

void np_endpoint_readmit(struct np_endpoint *e, int64_t now)
{
    if (atomic_exchange_explicit(&e->stats->ejected_until, 0, memory_order_relaxed) == 0) return;
    start_anew(e->stats, now);
}

void np_endpoint_set_healthy(struct np_endpoint *e, bool healthy, int64_t now)
{
    const unsigned char bit = NP_HEALTH_UNHEALTHY;
    if (!healthy) {
        (void)atomic_fetch_or_explicit(&e->stats->health, bit, memory_order_relaxed);
    } else if (GET(e->stats->health) & bit) {
        start_anew(e->stats, now);
        (void)atomic_fetch_and_explicit(&e->stats->health, (unsigned char)~bit,
                                        memory_order_relaxed);
    }
}

void np_endpoint_set_draining(struct np_endpoint *e, bool draining)
{
    const unsigned char bit = NP_HEALTH_DRAINING;
    if (draining) {
        (void)atomic_fetch_or_explicit(&e->stats->health, bit, memory_order_relaxed);
    } else {
        (void)atomic_fetch_and_explicit(&e->stats->health, (unsigned char)~bit,
                                        memory_order_relaxed);
    }
}

/* --- ejecting; the lock is held */

static bool is_ejected(const struct np_endpoint *e)
{
    return GET(e->stats->ejected_until) != 0;
}

size_t np_outlier_out(const struct np_snapshot *set)
{
    size_t out = 0;
    for (size_t i = 0; i < set->len; i++)
        out += is_ejected(set->endpoints[i]);
    return out;
}

static bool room(const struct np_outlier *o, size_t out, size_t n)
{
    return out == 0 || 100.0 * (double)(out + 1) <= o->opts.max_ejection_percent * (double)n;
}

static int64_t jitter(struct np_outlier *o)
{
    if (o->opts.max_jitter_ns == 0) return 0;
    double unit = (double)(np_hash_mix(o->draws++) >> 11) * 0x1p-53;
    return (int64_t)(unit * (double)o->opts.max_jitter_ns);
}

/* How long the n-th ejection is (Envoy's: base × n, at most max, and the jitter on top). */
static int64_t pause_of(struct np_outlier *o, unsigned n)
{
    double ns = fmin((double)o->opts.base_ejection_ns * n, (double)o->opts.max_ejection_ns);
    return np_time_add(ns < 9e18 ? (int64_t)ns : NP_TIME_NEVER, jitter(o));
}

static void eject(struct np_outlier *o, struct np_endpoint *e, int64_t now)
{
    unsigned n = atomic_fetch_add_explicit(&e->stats->ejections, 1, memory_order_relaxed) + 1;
    np_endpoint_eject(e, np_time_add(now, pause_of(o, n)));
}

bool np_outlier_try_eject(struct np_outlier *o, size_t *out, size_t n, struct np_endpoint *e,
                          enum np_ejection why, int64_t now)
{
    if (is_ejected(e)) return false;
    if (!room(o, *out, n)) {
        COUNT(o->spared);
        return false;
    }
    ++*out;
    COUNT(o->ejected[why]);
    if (o->opts.shadow) return false;
    eject(o, e, now);
    return true;
}

/* --- what is judged at once */

/* Whether a row of failures has reached its limit. It begins anew then, for one of those who see it
 * at the same time; in shadow mode it goes on, as it is others' too. */
static bool row_full(struct np_outlier *o, atomic_uint *row, uint32_t limit)
{
    if (limit == 0) return false;
    unsigned n = atomic_load_explicit(row, memory_order_relaxed);
    if (n < limit) return false;
    if (GET(o->shadow)) return n % limit == 0;
    return atomic_compare_exchange_strong_explicit(row, &n, 0, memory_order_relaxed,
                                                   memory_order_relaxed);
}

static enum np_ejection judge_rows(struct np_outlier *o, struct np_stats *s)
{
    if (row_full(o, &s->consecutive_local, GET(o->limit_local))) return NP_EJECT_LOCAL_FAILURE;
    if (row_full(o, &s->consecutive_gateway, GET(o->limit_gateway)))
        return NP_EJECT_GATEWAY_FAILURE;
    if (row_full(o, &s->consecutive_5xx, GET(o->limit_5xx))) return NP_EJECT_CONSECUTIVE_5XX;
    return NP_EJECT_NONE;
}

static enum np_ejection end_trial(struct np_outlier *o, struct np_endpoint *e,
                                  const struct np_result *r, int64_t now)
{
    if (r->outcome == NP_OUTCOME_OK) {
        COUNT(o->readmitted);
        if (!GET(o->shadow)) np_endpoint_readmit(e, now);
        return NP_EJECT_NONE;
    }
    if (!is_ejected(e)) return NP_EJECT_NONE; /* readmitted by hand meanwhile */
    COUNT(o->ejected[NP_EJECT_TRIAL_FAILED]);
    if (GET(o->shadow)) return NP_EJECT_NONE;
    pthread_mutex_lock(&o->lock);
    eject(o, e, now);
    pthread_mutex_unlock(&o->lock);
    return NP_EJECT_TRIAL_FAILED;
}

/* As long as it asked for; that raises no number of ejections, since it is no fault. */
static enum np_ejection leave_alone(struct np_outlier *o, const struct np_snapshot *set,
                                    struct np_endpoint *e, int64_t span, int64_t now)
{
    enum np_ejection why = NP_EJECT_NONE;
    pthread_mutex_lock(&o->lock);
    if (!is_ejected(e) && !room(o, np_outlier_out(set), set->len)) {
        COUNT(o->spared);
    } else if (!is_ejected(e)) {
        COUNT(o->ejected[NP_EJECT_RETRY_AFTER]);
        if (!o->opts.shadow) {
            if (span > o->opts.max_ejection_ns) span = o->opts.max_ejection_ns;
            np_endpoint_eject(e, np_time_add(now, span));
            why = NP_EJECT_RETRY_AFTER;
        }
    }
    pthread_mutex_unlock(&o->lock);
    return why;
}

enum np_ejection np_outlier_observe(struct np_outlier *o, const struct np_snapshot *set,
                                    struct np_endpoint *e, bool trial, const struct np_result *r,
                                    int64_t now)
{
    if (r->outcome == NP_OUTCOME_CANCELED) return NP_EJECT_NONE;
    if (trial) return end_trial(o, e, r, now);
    if (r->outcome == NP_OUTCOME_OK || r->fault == NP_FAULT_OVERLOAD || is_ejected(e))
        return NP_EJECT_NONE;
    enum np_ejection why = judge_rows(o, e->stats);
    if (why != NP_EJECT_NONE) {
        pthread_mutex_lock(&o->lock);
        size_t out = np_outlier_out(set);
        bool done = np_outlier_try_eject(o, &out, set->len, e, why, now);
        pthread_mutex_unlock(&o->lock);
        return done ? why : NP_EJECT_NONE;
    }
    if (r->retry_after_ns > 0 && GET(o->retry_after))
        return leave_alone(o, set, e, r->retry_after_ns, now);
    return NP_EJECT_NONE;
}

struct np_outlier_counters np_outlier_counters(const struct np_outlier *o)
{
    struct np_outlier_counters c = {0};
    for (int i = 0; i < NP_EJECTIONS; i++)
        c.ejected[i] = GET(o->ejected[i]);
    c.readmitted = GET(o->readmitted);
    c.spared = GET(o->spared);
    c.intervals = GET(o->intervals);
    return c;
}
