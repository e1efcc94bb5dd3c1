/* A histogram with logarithmic buckets (see sim_hist.h). */
#include "mesh/sim_hist.h"

#include <math.h>

#define UNIT_NS 1024 /* the first doubling begins here; a power of two */

static size_t index_of(int64_t ns)
{
    if (ns < UNIT_NS) return 0;
    uint64_t v = (uint64_t)ns / (UNIT_NS / NP_HIST_STEPS); /* ≥ STEPS */
    unsigned doubling = 63u - (unsigned)__builtin_clzll(v) - 5u;
    size_t i = (size_t)doubling * NP_HIST_STEPS + (size_t)((v >> doubling) - NP_HIST_STEPS);
    return i < NP_HIST_BUCKETS ? i : NP_HIST_BUCKETS - 1;
}

/* The middle of a bucket. */
static int64_t value_of(size_t i)
{
    unsigned doubling = (unsigned)(i / NP_HIST_STEPS);
    uint64_t step = (UNIT_NS / NP_HIST_STEPS) * (UINT64_C(1) << doubling);
    return (int64_t)((i % NP_HIST_STEPS + NP_HIST_STEPS) * step + step / 2);
}

void np_sim_hist_add(struct np_sim_hist *h, int64_t ns)
{
    if (ns < 0) ns = 0;
    h->buckets[index_of(ns)]++;
    h->count++;
    h->sum += (double)ns;
    if (ns > h->max) h->max = ns;
}

int64_t np_sim_hist_at(const struct np_sim_hist *h, double q)
{
    if (h->count == 0) return 0;
    uint64_t rank = (uint64_t)ceil(q * (double)h->count);
    if (rank < 1) rank = 1;
    if (rank >= h->count) return h->max;
    uint64_t seen = 0;
    for (size_t i = 0; i < NP_HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen < rank) continue;
        int64_t v = value_of(i);
        return v < h->max ? v : h->max;
    }
    return h->max;
}

double np_sim_hist_mean(const struct np_sim_hist *h)
{
    return h->count ? h->sum / (double)h->count : 0;
}
