/* Balancers: which endpoint takes the next request.
 *
 * A policy is a table of functions and a piece of state; the state holds the snapshot it was last
 * updated with. A balancer belongs to one thread; the endpoints and their statistics are shared
 * with others. `pick` never allocates; only `update` does.
 */
#ifndef NP_MESH_BALANCER_H
#define NP_MESH_BALANCER_H

#include "base/hash.h"
#include "mesh/slow_start.h"
#include "mesh/snapshot.h"

struct np_balancer;

struct np_balancer_options {
    uint64_t seed;        /* of the draws; 0: from the system's randomness */
    uint32_t choices;     /* least_request, p2c, peak_ewma: draws per pick, default 2 */
    bool full_scan;       /* least_request: look at all instead of drawing; default false */
    double active_bias;   /* least_request with weights: weight/(active+1)^bias, default 1.0 */
    uint32_t ring_points; /* ring_hash: points per unit of weight, default 160 (as ketama) */
    uint32_t ring_max;    /* ring_hash: points in all, default 262144; more are scaled down */
    double load_factor;  /* ring_hash, maglev: an endpoint takes at most this many times the average
                            of the requests in flight (1.25 … 2 are usual); default 0: unbounded */
    uint32_t table_size; /* maglev: slots, a prime below 2^23; default 65537 */
    uint32_t max_active; /* first: requests in flight that an endpoint takes (HAProxy's maxconn),
                            unless its metadata says "max_active"; default 100 */
    /* client_side_weighted_round_robin, with gRPC's (A58) and Envoy's defaults: weight =
     * qps / (utilization + eps/qps · penalty), of reports that have come for so long, and that are
     * no older than so much; weights are made anew so often. */
    double error_penalty;      /* default 1.0 */
    int64_t blackout_ns;       /* default 10 s */
    int64_t expiry_ns;         /* default 180 s */
    int64_t update_ns;         /* default 1 s, at least 100 ms */
    struct np_slow_start slow; /* default: none */
};
#define NP_BALANCER_OPTIONS_INIT                                                  \
    {                                                                             \
        .choices = 2, .active_bias = 1.0, .ring_points = 160, .ring_max = 262144, \
        .table_size = 65537, .max_active = 100, .error_penalty = 1.0,             \
        .blackout_ns = INT64_C(10000000000), .expiry_ns = INT64_C(180000000000),  \
        .update_ns = INT64_C(1000000000), .slow = NP_SLOW_START_INIT              \
    }

/* What a request brings to its pick. Zero-initialised is a request with no wishes. */
struct np_pick_ctx {
    bool has_hash;
    uint64_t hash; /* ring_hash, maglev: np_pick_hash of the request's key */
    /* Endpoints that were tried before: avoided while another is there. */
    struct np_endpoint *const *exclude;
    size_t nexclude;
    bool strict; /* when all are excluded: NEAP_ENOENDPOINT instead of one of them */
    bool panic;  /* policies that hash do not pass over what is unavailable */
    bool has_sticky;
    uint64_t sticky;              /* for a selector: the value of an earlier answer */
    const struct np_pair *subset; /* metadata the endpoint must carry, for a selector */
    size_t nsubset;
};
static inline uint64_t np_pick_hash(const void *key, size_t n)
{
    return np_hash_stable(key, n, 0);
}

struct np_balancer_ops {
    const char *name;
    size_t size; /* of the policy's state, which begins with struct np_balancer */
    /* It hashes: a selector gives it the whole set, and it passes over what is not available (or on
     * trial) at the moment of the pick, unless that is all of them or the request says `panic`. */
    bool stable;
    /* `b` is zeroed but for ops, opts, rng and set (an empty snapshot). May be NULL. */
    enum neap_err (*init)(struct np_balancer *b);
    void (*fini)(struct np_balancer *b); /* may be NULL */
    /* Prepares for `set`, which becomes b->set (and b->slots its slots) when this succeeds; on
     * failure (NEAP_ENOMEM) all is as before. What is known of an endpoint that stays
     * (np_endpoint_same) is kept. May be NULL.
     */
    enum neap_err (*update)(struct np_balancer *b, const struct np_snapshot *set);
    /* An index into b->set, which is not empty. At least one endpoint is not excluded by `ctx`. */
    size_t (*pick)(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now);
    /* A picked request ended. May be NULL; the endpoint's statistics are done already. */
    void (*release)(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r);
};

/* What a pick needs of an endpoint, by its index in the set, close together. */
struct np_slot {
    struct np_stats *stats;
    uint32_t spare; /* references to the endpoint that nobody holds yet, see balancer.c */
    float inverse;  /* 1 / weight */
};

struct np_balancer {
    const struct np_balancer_ops *ops;
    struct np_balancer_options opts;
    struct np_rng rng;
    struct np_snapshot *set;
    struct np_slot *slots; /* of the set's endpoints */
    uint64_t inflight;     /* picked here and not released yet */
};

/* By name: round_robin, weighted_round_robin, random, weighted_random, least_request, p2c,
 * ring_hash (or consistent_hash), peak_ewma, maglev, first, client_side_weighted_round_robin. NULL
 * for another. */
const struct np_balancer_ops *np_balancer_find(const char *name);
/* The n-th policy, without aliases; NULL at the end. */
const struct np_balancer_ops *np_balancer_at(size_t n);

/* `opts` may be NULL. NEAP_EINVAL for options out of range, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_balancer_new(const struct np_balancer_ops *ops,
                                              const struct np_balancer_options *opts,
                                              struct np_balancer **out);
void np_balancer_free(struct np_balancer *b); /* NULL is allowed */

/* Takes a reference to `set`. On failure the balancer goes on with what it had. */
NEAP_MUST_CHECK enum neap_err np_balancer_update(struct np_balancer *b, struct np_snapshot *set);

/* Picks, begins a request on the endpoint and references it for the caller: what was picked is
 * released once. `ctx` may be NULL. NEAP_ENOENDPOINT. */
NEAP_MUST_CHECK enum neap_err np_balancer_pick(struct np_balancer *b, const struct np_pick_ctx *ctx,
                                               int64_t now, struct np_endpoint **out);
/* Begins one on the endpoint at an index of b->set, which somebody else has chosen. */
struct np_endpoint *np_balancer_begin(struct np_balancer *b, size_t at);
/* Ends the request and drops the reference: of what was picked here, or begun and referenced
 * elsewhere. */
void np_balancer_release(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r,
                         int64_t now);

#endif
