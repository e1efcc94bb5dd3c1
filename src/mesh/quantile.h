/* A quantile of what was seen lately: a histogram of latencies with logarithmic buckets, of which
 * what is old fades.
 *
 * Buckets grow by a fixed factor, so a quantile is right within NP_QUANTILE_ERROR of its value
 * (as DDSketch has it). It keeps two halves of a window: samples go into the younger one, quantiles
 * are read over both, and when the younger is as old as half the window it takes the place of the
 * older. Adding is O(1) and atomic; reading costs a scan of the buckets, so what needs it per
 * request reads the cached value. Any thread; no sample is lost but in the moment of a turn.
 */
#ifndef NP_MESH_QUANTILE_H
#define NP_MESH_QUANTILE_H

#include <stdatomic.h>
#include <stdint.h>

#define NP_QUANTILE_BUCKETS                                                  \
    128 /* 1 µs … about 170 s by a factor of 1.16; the ends take the rest \
         */
#define NP_QUANTILE_ERROR 0.08 /* of the value, half a bucket */

struct np_quantile {
    atomic_llong turned_ns; /* when the younger half was begun */
    atomic_uint young;      /* 0 or 1: which half that is */
    atomic_uint seen;       /* samples since the cached value was made */
    atomic_ullong count;    /* samples in both halves */
    _Atomic(double) cached; /* of the quantile below, in ns; 0: too few samples */
    atomic_uchar low, high; /* no bucket beyond these has anything; 255, 0 when all are empty */
    double q;               /* which one is cached: 0 < q < 1 */
    int64_t window_ns;      /* what is older has faded */
    uint32_t min_count;     /* the cached value needs so many samples */
    _Atomic(uint32_t) buckets[2][NP_QUANTILE_BUCKETS];
};

void np_quantile_init(struct np_quantile *h, double q, int64_t window_ns, uint32_t min_count);
/* Below 0 is ignored. Renews the cached value now and then: after 1/16 of the samples it rests on,
 * but every 64 of them at least, and every 32 at most. */
void np_quantile_add(struct np_quantile *h, int64_t ns, int64_t now);
/* The same in two steps: which bucket `ns` (0 or more) falls in, and adding what fell in some. One
 * thread at a time may be adding so. */
unsigned np_quantile_bucket(int64_t ns);
void np_quantile_add_buckets(struct np_quantile *h, const uint8_t *buckets, unsigned n,
                             int64_t now);
/* Any quantile, by a scan; 0 while there is no sample. */
double np_quantile_at(const struct np_quantile *h, double q);
/* The cached one in ns; 0 while there are fewer than min_count samples. */
static inline double np_quantile_cached(const struct np_quantile *h)
{
    return atomic_load_explicit(&h->cached, memory_order_relaxed);
}

#endif
