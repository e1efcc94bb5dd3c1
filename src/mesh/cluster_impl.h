/* A cluster's own structures, shared by cluster.c, cluster_retry.c and cluster_rules.c only. */
#ifndef NP_MESH_CLUSTER_IMPL_H
#define NP_MESH_CLUSTER_IMPL_H

#include "mesh/cluster.h"

#define NP_HEDGES_MAX 8
#define NP_WATCHED 64                      /* attempts whose waiting is looked at */
#define NP_WATCH_NS (INT64_C(1) * 1000000) /* … so often */

/* An attempt that waits for its answer, one an endpoint: that one's oldest that found a place. */
struct np_watched {
    struct np_endpoint *e; /* the attempt's; NULL: nobody's place */
    int64_t began;
};

/* Any thread, once it is made. */
struct np_cluster_rules {
    atomic_uint refs;
    struct np_outlier *outlier;
    struct np_breaker *breaker;
    struct np_concurrency *concurrency;
    bool limited;
    struct np_limiter limiter;
    struct np_retry_budget budget;
    struct np_retry_budget shadow; /* what a rule in shadow mode spends */
    struct np_quantile latency;    /* of attempts; for hedging */
};

/* One thread. */
struct np_cluster {
    struct np_cluster_rules *rules;
    struct np_selector *selector;
    struct np_retry_options retry;
    struct np_hedge_options hedge;
    uint32_t most; /* attempts of a call, hedges included */
    bool shadow_limiter, shadow_concurrency, shadow_breaker, shadow_budget;
    bool leaky; /* the limiter lets wait */
    struct np_rng rng;
    struct np_cluster_counters n;
    int64_t watch_due; /* when those who wait are looked at again */
    unsigned watching; /* how many are */
    struct np_watched watched[NP_WATCHED];
};

/* Refuses the call by `rule`; gives `err` back. */
enum neap_err np_call_refuse(struct np_cluster *c, struct np_call *call, enum np_rule rule,
                             int64_t retry_after_ns, enum neap_err err);
/* Picks for another attempt of the call and begins it. `strict`: no endpoint that was tried. */
NEAP_MUST_CHECK enum neap_err np_call_attempt(struct np_cluster *c, struct np_call *call,
                                              bool strict, int64_t now, struct np_attempt *out);
/* Pays for a retry or a hedge of a call of this class, out of the budget it is paid from. */
bool np_call_pay(struct np_cluster *c, const struct np_call *call, bool shadow, int64_t now);
/* ns from an attempt's begin to its hedge; 0 while too little is known. */
double np_hedge_delay(const struct np_cluster *c);
/* What follows on a failed attempt, when no other is in flight. */
enum np_verdict np_call_failed(struct np_cluster *c, struct np_call *call,
                               const struct np_result *r, bool unreached, int64_t now, int64_t *at);

/* cluster_watch.c: an attempt waits for its answer; it does not any more. */
void np_watch_begin(struct np_cluster *c, struct np_attempt *a);
void np_watch_end(struct np_cluster *c, const struct np_attempt *a);
/* Tells the endpoints of those who wait, when it is time. */
void np_watch_look(struct np_cluster *c, int64_t now);

/* NEAP_EINVAL with words. */
NEAP_MUST_CHECK enum neap_err np_cluster_check(const struct np_cluster_options *o,
                                               struct neap_errinfo *info);

#endif
