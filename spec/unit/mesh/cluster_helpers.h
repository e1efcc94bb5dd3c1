/* What the tests of clusters share: a cluster over endpoints out of thin air, and its calls. */
#ifndef CLUSTER_HELPERS_H
#define CLUSTER_HELPERS_H

#include "mesh_helpers.h"

#include "mesh/cluster.h"

#define MS NP_NS_PER_MS

/* Round robin, seeded, nothing on. */
static inline struct np_cluster_options plain_options(void)
{
    struct np_cluster_options o;
    np_cluster_plain(&o, np_balancer_find("round_robin"));
    o.balancer.seed = 7;
    return o;
}

/* Over n endpoints "e0" …, at the moment S. */
static inline struct np_cluster *cluster_make(const struct np_cluster_options *o, size_t n)
{
    struct np_cluster_rules *rules = NULL;
    struct np_cluster *c = NULL;
    struct np_snapshot *set = set_make(n, NULL);
    assert_ok(np_cluster_rules_new(o, 7, S, &rules, NULL));
    assert_ok(np_cluster_new(o, rules, &c));
    np_cluster_rules_unref(rules);
    assert_ok(np_cluster_update(c, set, S));
    np_snapshot_unref(set);
    return c;
}

static inline struct np_call call_of(bool safe, int64_t deadline)
{
    return (struct np_call){.priority = NP_PRIORITY_NORMAL, .safe = safe, .deadline = deadline};
}

static inline struct np_result ok_after(int64_t latency)
{
    return (struct np_result){.outcome = NP_OUTCOME_OK, .latency_ns = latency};
}
static inline struct np_result fault_of(enum np_fault fault)
{
    return (struct np_result){
        .outcome = NP_OUTCOME_FAILED, .fault = fault, .latency_ns = 5 * NP_NS_PER_MS};
}
static inline struct np_result cancellation(void)
{
    return (struct np_result){.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};
}

/* A call that goes well after `latency`. */
static inline void good_call(struct np_cluster *c, int64_t now, int64_t latency)
{
    struct np_call call = call_of(true, 0);
    struct np_attempt a;
    struct np_result r = ok_after(latency);
    int64_t at;
    assert_ok(np_cluster_admit(c, &call, now));
    assert_ok(np_cluster_start(c, &call, now, &a));
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, now + latency, &at), NP_CALL_DONE);
    np_cluster_end(c, &call, &r, now + latency);
}

/* Requests in flight, over all endpoints. */
static inline unsigned in_flight(struct np_cluster *c)
{
    const struct np_snapshot *set = np_selector_all(np_cluster_selector(c));
    unsigned n = 0;
    for (size_t i = 0; i < set->len; i++)
        n += np_endpoint_active(set->endpoints[i]);
    return n;
}

#endif
