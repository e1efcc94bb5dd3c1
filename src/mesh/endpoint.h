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

#define NP_WEIGHT_MAX 65535u
/* The time in which a latency sample's share falls to 1/e (as Envoy's and linkerd's peak EWMA). */
#define NP_EWMA_DECAY_NS (INT64_C(10) * 1000000000)
/* The cost of an endpoint of which nothing is known yet (as Envoy's). */
#define NP_PEAK_SEED_NS 1e7
/* A failure counts as this many times the cost so far, up to the limit: a latency cannot tell a
 * fast failure from a fast answer. */
#define NP_PEAK_FAIL_FACTOR 10.0
#define NP_PEAK_FAIL_MAX_NS 5e9

struct np_pair {
    const char *key;
    const char *value;
};

/* How a request ended, for the statistics. */
enum np_outcome {
    NP_OUTCOME_OK,
    NP_OUTCOME_FAILED,  /* counted as an error */
    NP_OUTCOME_CANCELED /* the caller went away: neither an error nor a latency sample */
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
    int64_t latency_ns;     /* below 0: not measured */
    int64_t retry_after_ns; /* the peer asked to be left alone so long; 0: it did not */
    uint64_t bytes_in, bytes_out;
};

/* What an endpoint may be given. */
enum np_availability {
    NP_AVAILABLE,
    NP_TRIAL,       /* its ejection is over: one request at a time, until one has gone well */
    NP_UNAVAILABLE, /* ejected, unhealthy or draining */
};

struct np_stats {
    atomic_uint refs;
    atomic_uint active;      /* requests in flight */
    atomic_ullong total;     /* requests begun */
    atomic_ullong errors;    /* requests that failed */
    bool shared;             /* it stands in a table, see endpoint_stats.h */
    atomic_flag sampling;    /* a thread is taking a sample into what follows */
    atomic_llong last_ns;    /* the moment of the newest latency sample; 0 for none */
    _Atomic(double) ewma_ns; /* plain moving average of the latency; 0 for none */
    _Atomic(double) peak_ns; /* the same, but it jumps up at once and comes down slowly */
};

struct np_endpoint {
    atomic_uint refs;
    uint16_t port; /* 0 with a path */
    uint32_t weight;
    struct np_stats *stats;
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

/* A request begins; every begin is followed by one end. `latency_ns` below 0 means "not measured".
 * Neither takes or drops a reference. */
void np_endpoint_begin(struct np_endpoint *e);
void np_endpoint_end(struct np_endpoint *e, enum np_outcome outcome, int64_t latency_ns,
                     int64_t now);

static inline uint32_t np_endpoint_active(const struct np_endpoint *e)
{
    return atomic_load_explicit(&e->stats->active, memory_order_relaxed);
}
/* The moving average of the latency in nanoseconds; 0 while there is no sample. */
double np_endpoint_ewma(const struct np_endpoint *e);
/* The latency a next request must reckon with, in nanoseconds: the peak average, decayed for the
 * time since its last sample; the seed while there is none. Never 0. */
double np_endpoint_cost(const struct np_endpoint *e, int64_t now);

#endif
