/* What a request that ended adds to its endpoint's statistics (see endpoint.h).
 *
 * All of it happens under the flag `sampling`, so that a release costs one atomic operation and
 * plain stores, and no sample is lost between threads. It is held for some ten nanoseconds.
 */
#include <math.h>
#include <sched.h>

#include "mesh/endpoint_cost.h"

/* Shares of one in so many samples, at least, in the average of successes; and in the peak average,
 * so that a busy endpoint is soon forgiven a stall that had nothing to do with it. By time alone
 * (Finagle's) a hiccup of the caller's makes all endpoints dear for ten seconds and more, and the
 * one that is really slow cannot be told from them. */
#define SUCCESS_SAMPLES 64.0
#define PEAK_SAMPLES 64.0

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define ADD(field, n) SET(field, GET(field) + (n)) /* by who holds the flag */

/* As fmin and fmax, without a call: nothing here is a NaN. */
static inline double least(double a, double b)
{
    return a < b ? a : b;
}

static inline double most(double a, double b)
{
    return a > b ? a : b;
}

static void lock(struct np_stats *s)
{
    while (atomic_flag_test_and_set_explicit(&s->sampling, memory_order_acquire))
        sched_yield(); /* a few additions, elsewhere */
}

static void unlock(struct np_stats *s)
{
    atomic_flag_clear_explicit(&s->sampling, memory_order_release);
}

/* What a failure counts as, at least. The row of failures is counted already. */
static double penalty(const struct np_stats *s, const struct np_result *r)
{
    if (r->retry_after_ns > 0) return least((double)r->retry_after_ns, NP_PEAK_RETRY_MAX_NS);
    double cost = GET(s->ewma_ns);
    if (cost <= 0) cost = NP_PEAK_SEED_NS;
    unsigned row = GET(s->consecutive_5xx);
    do {
        cost *= NP_PEAK_FAIL_FACTOR;
    } while (row-- > 1 && cost < NP_PEAK_FAIL_MAX_NS);
    return least(cost, NP_PEAK_FAIL_MAX_NS);
}

/* `left` is how much is left of what the averages were. */
static void sample_peak(struct np_stats *s, double cost, double left, int64_t now)
{
    double peak = GET(s->peak_ns);
    SET(s->peak_ns, cost > peak ? cost : peak * left + cost * (1 - left));
    SET(s->last_ns, now ? now : 1);
}

/* A canceled request would have taken at least so long. As a sample that is never too much: the
 * cost grows with each sample's length, and without one it sinks. */
static void sample_bound(struct np_stats *s, int64_t latency_ns, double left, int64_t now)
{
    double at_least = GET(s->last_ns) ? 0 : NP_PEAK_SEED_NS;
    sample_peak(s, most((double)latency_ns, at_least), left, now);
}

/* Waits with others until there are enough of them. */
static void sample_quantile(struct np_stats *s, int64_t latency_ns, int64_t now)
{
    unsigned n = GET(s->npending);
    s->pending[n++] = (uint8_t)np_quantile_bucket(latency_ns);
    if (n == NP_PENDING) {
        np_quantile_add_buckets(&s->latency, s->pending, n, now);
        n = 0;
    }
    SET(s->npending, (unsigned char)n);
}

static void sample_latency(struct np_stats *s, int64_t latency_ns, double left, int64_t now)
{
    double latency = (double)latency_ns;
    double ewma = GET(s->ewma_ns);
    sample_peak(s, latency, least(left, 1 - 1 / PEAK_SAMPLES), now);
    SET(s->ewma_ns, ewma > 0 ? ewma * left + latency * (1 - left) : latency);
    sample_quantile(s, latency_ns, now);
}

static void count_failure(struct np_stats *s, enum np_fault fault)
{
    bool overload = fault == NP_FAULT_OVERLOAD;
    bool gateway = fault == NP_FAULT_GATEWAY || fault == NP_FAULT_LOCAL;
    ADD(s->errors, 1);
    SET(s->consecutive_5xx, overload ? 0 : GET(s->consecutive_5xx) + 1);
    SET(s->consecutive_gateway, gateway ? GET(s->consecutive_gateway) + 1 : 0);
    SET(s->consecutive_local, fault == NP_FAULT_LOCAL ? GET(s->consecutive_local) + 1 : 0);
}

static void end_row(struct np_stats *s)
{
    SET(s->consecutive_5xx, 0);
    SET(s->consecutive_gateway, 0);
    SET(s->consecutive_local, 0);
}

static void count(struct np_stats *s, const struct np_result *r, double left)
{
    bool failed = r->outcome == NP_OUTCOME_FAILED;
    ADD(s->interval_total, 1);
    if (!failed || r->fault == NP_FAULT_OVERLOAD) {
        unsigned n = GET(s->interval_success) + 1;
        atomic_store_explicit(&s->interval_success, n, memory_order_release);
    }
    if (failed) {
        count_failure(s, r->fault);
    } else if (GET(s->consecutive_5xx) != 0) {
        end_row(s);
    }
    double share = most(1 - left, 1 / SUCCESS_SAMPLES);
    SET(s->success, GET(s->success) * (1 - share) + (failed ? 0 : share));
}

static void sample(struct np_stats *s, const struct np_result *r, int64_t now)
{
    long long last = GET(s->last_ns);
    double left = last ? np_decay(last, now) : 0;
    if (r->outcome == NP_OUTCOME_CANCELED) {
        if (r->latency_ns >= 0) sample_bound(s, r->latency_ns, left, now);
        return;
    }
    count(s, r, last ? left : 1);
    if (r->outcome == NP_OUTCOME_FAILED) {
        /* A fast failure says nothing of how long an answer takes. */
        sample_peak(s, most((double)r->latency_ns, penalty(s, r)), left, now);
    } else if (r->latency_ns >= 0) {
        sample_latency(s, r->latency_ns, left, now);
    }
}

void np_endpoint_end(struct np_endpoint *e, const struct np_result *r, int64_t now)
{
    struct np_stats *s = e->stats;
    lock(s);
    SET(s->bytes_in, GET(s->bytes_in) + r->bytes_in);
    SET(s->bytes_out, GET(s->bytes_out) + r->bytes_out);
    sample(s, r, now);
    atomic_store_explicit(&s->ended, GET(s->ended) + 1, memory_order_release);
    unlock(s);
}

void np_endpoint_waited(struct np_endpoint *e, int64_t waited_ns, int64_t now)
{
    struct np_stats *s = e->stats;
    if ((double)waited_ns <= np_stats_cost(s, now)) return;
    lock(s);
    long long last = GET(s->last_ns);
    sample_bound(s, waited_ns, last ? np_decay(last, now) : 0, now);
    unlock(s);
}

double np_endpoint_ewma(const struct np_endpoint *e)
{
    return GET(e->stats->ewma_ns);
}

double np_endpoint_p95(const struct np_endpoint *e)
{
    return np_quantile_cached(&e->stats->latency);
}

double np_endpoint_success(const struct np_endpoint *e)
{
    return GET(e->stats->success);
}

double np_endpoint_cost(const struct np_endpoint *e, int64_t now)
{
    return np_stats_cost(e->stats, now);
}

void np_endpoint_report(struct np_endpoint *e, double qps, double eps, double utilization,
                        int64_t now)
{
    struct np_stats *s = e->stats;
    /* Written so that a NaN says nothing. */
    if (!(qps > 0 && utilization > 0 && eps >= 0)) return;
    if (now == 0) now = 1;
    lock(s);
    long long last = GET(s->reported_ns);
    if (last == 0 || now - last > NP_REPORT_GAP_NS) SET(s->report_since_ns, now);
    SET(s->report_qps, qps);
    SET(s->report_eps, eps);
    SET(s->report_utilization, utilization);
    SET(s->reported_ns, now);
    unlock(s);
}
