/* The detector's own structures, shared by outlier.c and outlier_interval.c only. */
#ifndef NP_MESH_OUTLIER_IMPL_H
#define NP_MESH_OUTLIER_IMPL_H

#include <pthread.h>

#include "mesh/outlier.h"

/* What an endpoint's counters were when the last interval ended. */
struct np_outlier_mark {
    const struct np_stats *stats; /* NULL: an empty place */
    uint32_t total, success;
};
/* By address of the statistics, open addressing. */
struct np_outlier_marks {
    struct np_outlier_mark *v;
    size_t cap; /* a power of two, or 0 */
};

/* An endpoint an interval is judged by. */
struct np_outlier_rate {
    size_t at; /* in the set */
    uint32_t total;
    double success; /* share, 0 … 1 */
};

struct np_outlier {
    atomic_uint refs;
    atomic_llong next; /* when the interval ends; 0: none has begun */

    /* Of the options, what every request's end looks at. */
    atomic_bool shadow, retry_after;
    _Atomic(uint32_t) limit_5xx, limit_gateway, limit_local;
    atomic_llong interval_ns;

    atomic_ullong ejected[NP_EJECTIONS], readmitted, spared, intervals;

    pthread_mutex_t lock; /* one ejection, one judgement at a time */
    /* Under it. */
    struct np_outlier_options opts;
    uint64_t draws;
    struct np_snapshot *set; /* of the last judgement, so that no mark's statistics go */
    struct np_outlier_marks marks, spare;
    struct np_outlier_rate *rates;
    size_t rates_cap;
};

/* outlier.c: how many are ejected; who is on trial is still out. */
size_t np_outlier_out(const struct np_snapshot *set);
/* The lock is held. Ejects it unless `*out` of the `n` are as many as may be; whether it is. */
bool np_outlier_try_eject(struct np_outlier *o, size_t *out, size_t n, struct np_endpoint *e,
                          enum np_ejection why, int64_t now);
/* outlier_interval.c: the last reference is gone. */
void np_outlier_forget(struct np_outlier *o);

#endif
