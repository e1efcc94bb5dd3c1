/* An endpoint: one instance of a service, and what is known of how it does.
 *
 * The description is immutable and counted by reference; a changed registration makes a new
 * endpoint with the same id. The statistics are an object of their own that successive descriptions
 * of one id share, so an update loses no history and a request that began on the old description
 * ends in the same numbers. Both may be read and the statistics changed on any thread, and no count
 * and no sample is lost.
 */
#ifndef NP_MESH_ENDPOINT_H
#define NP_MESH_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mesh/quantile.h"

#define NP_WEIGHT_MAX 65535u
/* The time in which a latency sample's share falls to 1/e (as Envoy's and linkerd's peak EWMA). */
#define NP_EWMA_DECAY_NS (INT64_C(10) * 1000000000)
/* The cost of an endpoint of which nothing is known yet (as Envoy's). */
#define NP_PEAK_SEED_NS 1e7
/* A failure counts as so many times the latency known of the endpoint, and each further one in a
 * row as so many times that, up to the limit (linkerd's penalty): a latency cannot tell a fast
 * failure from a fast answer. A peer that asks to be left alone is taken at its word, within
 * linkerd's limit. */
#define NP_PEAK_FAIL_FACTOR 10.0
#define NP_PEAK_FAIL_MAX_NS 5e9
#define NP_PEAK_RETRY_MAX_NS 3e11
/* An endpoint's p95 is that of its latest answers, as soon as there are some. */
#define NP_LATENCY_WINDOW_NS (INT64_C(10) * 1000000000)
#define NP_LATENCY_MIN_COUNT 20
/* A report that comes later than this after the last one begins a new row of them. */
#define NP_REPORT_GAP_NS (INT64_C(180) * 1000000000)

struct np_pair {
    const char *key;
    const char *value;
};

/* How a request ended, for the statistics. */
enum np_outcome {
    NP_OUTCOME_OK,
    NP_OUTCOME_FAILED,  /* counted as an error */
    NP_OUTCOME_CANCELED /* the caller went away: neither an error nor a sample of its latency */
};

/* What kind of failure it was; detectors and breakers tell them apart. */
enum np_fault {
    NP_FAULT_NONE,
    NP_FAULT_LOCAL,    /* no answer: connect, reset, time-out, protocol error */
    NP_FAULT_GATEWAY,  /* 502, 503, 504 */
    NP_FAULT_SERVER,   /* another 5xx */
    NP_FAULT_OVERLOAD, /* 429, or gRPC's RESOURCE_EXHAUSTED */
};

/* All that is told of a request that ended. */
struct np_result {
    enum np_outcome outcome;
    enum np_fault fault;
    int64_t latency_ns;     /* below 0: not measured; of a canceled one: it took at least so long,
                               which the cost learns from, and nothing else */
    int64_t retry_after_ns; /* the peer asked to be left alone so long; 0: it did not */
    uint64_t bytes_in, bytes_out;
};

/* What an endpoint may be given. */
enum np_availability {
    NP_AVAILABLE,
    NP_TRIAL,       /* its ejection is over: one request at a time, until one has gone well */
    NP_UNAVAILABLE, /* ejected, unhealthy or draining */
};

/* What keeps an endpoint from being given requests, beside an ejection. */
enum np_health {
    NP_HEALTH_UNHEALTHY = 1, /* an active check found it so */
    NP_HEALTH_DRAINING = 2,  /* it is to get no new ones */
};

#define NP_PENDING 11 /* latencies that wait to go into the histogram: what a line has room for */

/* Whoever holds `sampling` may write what is marked (s); all else is changed by atomic operations.
 * Everything may be read at any time. The first line of cache has what a pick reads, the second
 * what a release writes; the histogram is touched once in NP_PENDING releases. */
struct np_stats {
    atomic_ullong begun;        /* requests */
    atomic_ullong ended;        /* (s) … of those */
    _Atomic(double) peak_ns;    /* (s) moving average of the latency that jumps up at once and comes
                                   down slowly; failures count as penalised latency */
    _Atomic(double) ewma_ns;    /* (s) plain moving average of the latency; 0 for none */
    atomic_llong last_ns;       /* (s) the moment of the newest latency sample; 0 for none */
    atomic_llong ejected_until; /* outlier detection's; 0: not ejected */
    atomic_llong since_ns;      /* when it was added or readmitted: slow start; 0: long ago */
    atomic_uchar health;        /* of enum np_health; 0: well */
    atomic_bool on_trial;       /* after an ejection: a request is trying it out */
    atomic_flag sampling;
    atomic_uint hint; /* where it stands in the set that it was picked from last, maybe */

    atomic_ullong errors;              /* (s) requests that failed */
    _Atomic(double) success;           /* (s) moving average of the share that went well */
    atomic_ullong bytes_in, bytes_out; /* (s) */
    /* (s) Failures in a row, as Envoy counts them: what gave no answer counts as a gateway failure,
     * and that as a 5xx; an overload (429) is an answer, and ends a row as a success does. */
    atomic_uint consecutive_5xx, consecutive_gateway, consecutive_local;
    /* (s) For intervals of outlier detection, each of which begins where the last one ended: of
     * what was not canceled. An overload is a success. The first is changed first. */
    atomic_uint interval_total, interval_success;
    atomic_uchar npending;       /* (s) */
    uint8_t pending[NP_PENDING]; /* (s) their buckets */

    struct np_quantile latency; /* (s) of what went well, NP_LATENCY_WINDOW_NS; p95 is cached */

    bool shared; /* it stands in a table, see endpoint_stats.h */
    atomic_uint refs;
    atomic_uint ejections; /* so far; outlier detection lets it sink again */
    /* (s) The endpoint's own report of its load, see np_endpoint_report. */
    _Atomic(double) report_qps, report_eps, report_utilization;
    atomic_llong reported_ns;     /* the newest one; 0 for none */
    atomic_llong report_since_ns; /* the first of an unbroken row */
};

struct np_endpoint {
    atomic_uint refs;
    uint32_t weight;
    struct np_stats *stats;
    uint16_t port; /* 0 with a path */
    const char *id;
    const char *service;
    const char *address; /* canonical text, see address.h */
    const char *host;    /* NULL with a path */
    const char *path;    /* of a unix socket; NULL with a host */
    const char *zone;    /* "" when not given */
    const char *const *tags;
    size_t ntags;
    const struct np_pair *meta;
    size_t nmeta;
};

/* What an endpoint is made from; everything is copied. NUL-terminated strings. */
struct np_endpoint_desc {
    const char *id;
    const char *service;
    const char *address; /* as np_address_parse takes it */
    const char *zone;    /* NULL: the metadata's "zone", or "" */
    uint32_t weight;     /* 1 … NP_WEIGHT_MAX; 0 means 1 */
    const char *const *tags;
    size_t ntags;
    const struct np_pair *meta;
    size_t nmeta;
};

/* One reference for the caller. `stats` is shared if given (its reference count grows), made new if
 * NULL. NEAP_EINVAL for a bad address or weight, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_endpoint_new(const struct np_endpoint_desc *desc,
                                              struct np_stats *stats, struct np_endpoint **out,
                                              struct neap_errinfo *info);
/* What would make the same endpoint again. Lent: it points into `e`. */
struct np_endpoint_desc np_endpoint_describe(const struct np_endpoint *e);
struct np_endpoint *np_endpoint_ref(struct np_endpoint *e);
void np_endpoint_unref(struct np_endpoint *e); /* NULL is allowed */

/* Whether two descriptions are of one instance (they share their statistics). */
static inline bool np_endpoint_same(const struct np_endpoint *a, const struct np_endpoint *b)
{
    return a->stats == b->stats;
}
/* Whether everything but the statistics is equal. */
bool np_endpoint_equal(const struct np_endpoint *a, const struct np_endpoint *b);
bool np_endpoint_has_tag(const struct np_endpoint *e, const char *tag);
/* The metadata's value, or NULL. */
const char *np_endpoint_meta(const struct np_endpoint *e, const char *key);

/* The usual result: bytes and kind of failure unknown. */
static inline struct np_result np_result_of(enum np_outcome outcome, int64_t latency_ns)
{
    return (struct np_result){.outcome = outcome, .latency_ns = latency_ns};
}

/* A request begins; every begin is followed by one end. Neither takes or drops a reference. A
 * failure without a kind is counted as one of the server's. */
static inline void np_endpoint_begin(struct np_endpoint *e)
{
    atomic_fetch_add_explicit(&e->stats->begun, 1, memory_order_relaxed);
}
void np_endpoint_end(struct np_endpoint *e, const struct np_result *r, int64_t now);
/* A request in flight has waited so long for its answer: the cost is no less than that. */
void np_endpoint_waited(struct np_endpoint *e, int64_t waited_ns, int64_t now);

static inline uint32_t np_stats_active(const struct np_stats *s)
{
    /* In this order, so that there are never more that ended than that began. */
    unsigned long long ended = atomic_load_explicit(&s->ended, memory_order_acquire);
    return (uint32_t)(atomic_load_explicit(&s->begun, memory_order_relaxed) - ended);
}
/* Requests in flight, begun, failed. */
static inline uint32_t np_endpoint_active(const struct np_endpoint *e)
{
    return np_stats_active(e->stats);
}
static inline uint64_t np_endpoint_total(const struct np_endpoint *e)
{
    return atomic_load_explicit(&e->stats->begun, memory_order_relaxed);
}
static inline uint64_t np_endpoint_errors(const struct np_endpoint *e)
{
    return atomic_load_explicit(&e->stats->errors, memory_order_relaxed);
}
/* The moving average of the latency in nanoseconds; 0 while there is no sample. */
double np_endpoint_ewma(const struct np_endpoint *e);
/* The 95th percentile of the latency lately, in nanoseconds; 0 while too little is known. */
double np_endpoint_p95(const struct np_endpoint *e);
/* The share of requests that went well lately, 0 … 1; 1 while there is none. A sample's share of
 * the average falls to 1/e in NP_EWMA_DECAY_NS, and to 63/64 with each further sample. */
double np_endpoint_success(const struct np_endpoint *e);
/* The latency a next request must reckon with, in nanoseconds: the peak average, decayed for the
 * time since its last sample, and by 1/64 at least of what is above it with each good answer; the
 * seed while there is none. Never 0. */
double np_endpoint_cost(const struct np_endpoint *e, int64_t now);

/* For an endpoint on trial: true for the one who may give it a request, which clears on_trial when
 * that has ended. */
static inline bool np_endpoint_try(struct np_endpoint *e)
{
    bool nobody = false;
    return atomic_compare_exchange_strong_explicit(&e->stats->on_trial, &nobody, true,
                                                   memory_order_acq_rel, memory_order_relaxed);
}
/* Whether it may be given a request just now, as ejection, active checks and draining say. */
static inline enum np_availability np_stats_availability(const struct np_stats *s, int64_t now)
{
    if (atomic_load_explicit(&s->health, memory_order_relaxed) != 0) return NP_UNAVAILABLE;
    long long until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    if (until == 0) return NP_AVAILABLE;
    return until > now ? NP_UNAVAILABLE : NP_TRIAL;
}
static inline enum np_availability np_endpoint_availability(const struct np_endpoint *e,
                                                            int64_t now)
{
    return np_stats_availability(e->stats, now);
}

/* What the endpoint says of itself (ORCA): requests and errors a second, and how busy it is
 * (0 … 1, more when it is overloaded). A report without requests or utilization says nothing. For
 * client_side_weighted_round_robin. */
void np_endpoint_report(struct np_endpoint *e, double qps, double eps, double utilization,
                        int64_t now);

#endif
