/* A histogram of latencies in buckets that grow with the value (as HdrHistogram has it): 32 to a
 * doubling, so a quantile is right within 1.6 %. 1 µs … about 4.7 hours; what lies outside goes
 * into the buckets at the ends. One thread.
 */
#ifndef NP_MESH_SIM_HIST_H
#define NP_MESH_SIM_HIST_H

#include <stddef.h>
#include <stdint.h>

#define NP_HIST_STEPS 32 /* to a doubling */
#define NP_HIST_DOUBLINGS 34
#define NP_HIST_BUCKETS ((size_t)NP_HIST_STEPS * NP_HIST_DOUBLINGS)

struct np_sim_hist {
    uint64_t count;
    double sum; /* ns */
    int64_t max;
    uint32_t buckets[NP_HIST_BUCKETS];
};

void np_sim_hist_add(struct np_sim_hist *h, int64_t ns);
/* 0 while it is empty; never more than the greatest sample. `q` in 0 … 1. */
int64_t np_sim_hist_at(const struct np_sim_hist *h, double q);
double np_sim_hist_mean(const struct np_sim_hist *h);

#endif
