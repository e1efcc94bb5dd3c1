/* What an endpoint's latency average has come to by now, for who asks often. Any thread. */
#ifndef NP_MESH_ENDPOINT_COST_H
#define NP_MESH_ENDPOINT_COST_H

#include <math.h>

#include "mesh/endpoint.h"

/* How much of an average is left after the time since its last sample: e^-x, up to 0.6 s by its
 * series, right within 1e-8. */
static inline double np_decay(int64_t since, int64_t now)
{
    if (now <= since) return 1;
    double x = (double)(now - since) * (1.0 / (double)NP_EWMA_DECAY_NS);
    if (x > 1.0 / 16) return exp(-x);
    return 1 - x * (1 - x * (1.0 / 2 - x * (1.0 / 6 - x * (1.0 / 24))));
}

/* See np_endpoint_cost. */
static inline double np_stats_cost(const struct np_stats *s, int64_t now)
{
    long long last = atomic_load_explicit(&s->last_ns, memory_order_relaxed);
    if (last == 0) return NP_PEAK_SEED_NS;
    double cost = atomic_load_explicit(&s->peak_ns, memory_order_relaxed) * np_decay(last, now);
    return cost > 1 ? cost : 1;
}

#endif
