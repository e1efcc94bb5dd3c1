/* Quantiles of what was seen lately (see quantile.h).
 *
 * Bucket i holds what lies between 1 µs · G^i and 1 µs · G^(i+1). The logarithm that finds it comes
 * from the number's own exponent and a cubic over its mantissa (as DDSketch's fast mapping), which
 * is right within 0.0012 octaves: a thousandth of the value.
 */
#include "mesh/quantile.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define FIRST_NS 1000.0
#define GROWTH 1.16
#define PER_OCTAVE 4.67028 /* 1 / log2(GROWTH) */

enum { RENEW_SHARE = 16, RENEW_MOST = 64 };

unsigned np_quantile_bucket(int64_t ns)
{
    double x = (double)ns / FIRST_NS;
    uint64_t bits;
    if (x < 1) return 0;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&x, &bits, sizeof x);
    x -= 1;
    double octaves = exponent + x * (10.0 / 7 + x * (-3.0 / 5 + x * (6.0 / 35)));
    unsigned i = (unsigned)(octaves * PER_OCTAVE);
    return i < NP_QUANTILE_BUCKETS ? i : NP_QUANTILE_BUCKETS - 1;
}

/* What lies in a bucket is within (G - 1) / (G + 1) of this. */
static double middle_of(unsigned i)
{
    return FIRST_NS * pow(GROWTH, i) * (2 * GROWTH / (1 + GROWTH));
}

void np_quantile_init(struct np_quantile *h, double q, int64_t window_ns, uint32_t min_count)
{
    memset(h, 0, sizeof *h);
    h->q = q;
    h->window_ns = window_ns;
    h->min_count = min_count > 0 ? min_count : 1;
}

static void clear(struct np_quantile *h, unsigned half)
{
    unsigned long long gone = 0;
    for (unsigned i = 0; i < NP_QUANTILE_BUCKETS; i++)
        gone += atomic_exchange_explicit(&h->buckets[half][i], 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&h->count, gone, memory_order_relaxed);
}

/* The older half goes when the younger is as old as half the window; both go when that was long
 * ago. Of threads that see it at once one does it. */
static void turn(struct np_quantile *h, int64_t now)
{
    long long turned = atomic_load_explicit(&h->turned_ns, memory_order_relaxed);
    if (turned != 0 && now - turned < h->window_ns / 2) return;
    if (!atomic_compare_exchange_strong_explicit(&h->turned_ns, &turned, now ? now : 1,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    if (turned == 0) return;
    unsigned young = atomic_load_explicit(&h->young, memory_order_relaxed);
    clear(h, !young);
    atomic_store_explicit(&h->young, !young, memory_order_relaxed);
    if (now - turned >= h->window_ns) clear(h, young);
}

static void renew(struct np_quantile *h, unsigned long long count)
{
    atomic_store_explicit(&h->seen, 0, memory_order_relaxed);
    double value = count >= h->min_count ? np_quantile_at(h, h->q) : 0;
    atomic_store_explicit(&h->cached, value, memory_order_relaxed);
}

void np_quantile_add(struct np_quantile *h, int64_t ns, int64_t now)
{
    if (ns < 0) return;
    turn(h, now);
    unsigned young = atomic_load_explicit(&h->young, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->buckets[young][np_quantile_bucket(ns)], 1, memory_order_relaxed);
    unsigned long long count = 1 + atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
    unsigned seen = 1 + atomic_fetch_add_explicit(&h->seen, 1, memory_order_relaxed);
    unsigned long long enough = count / RENEW_SHARE;
    if (seen >= RENEW_MOST || seen >= enough) renew(h, count);
}

/* Others may turn or renew, but none adds, so that plain additions do. */
void np_quantile_add_buckets(struct np_quantile *h, const uint8_t *buckets, unsigned n, int64_t now)
{
    turn(h, now);
    unsigned young = atomic_load_explicit(&h->young, memory_order_relaxed);
    for (unsigned i = 0; i < n; i++) {
        _Atomic(uint32_t) *b = &h->buckets[young][buckets[i]];
        uint32_t was = atomic_load_explicit(b, memory_order_relaxed);
        atomic_store_explicit(b, was + 1, memory_order_relaxed);
    }
    unsigned long long count = n + atomic_fetch_add_explicit(&h->count, n, memory_order_relaxed);
    unsigned seen = n + atomic_fetch_add_explicit(&h->seen, n, memory_order_relaxed);
    if (seen >= RENEW_MOST || seen >= count / RENEW_SHARE) renew(h, count);
}

double np_quantile_at(const struct np_quantile *h, double q)
{
    uint32_t sums[NP_QUANTILE_BUCKETS];
    uint64_t count = 0;
    for (unsigned i = 0; i < NP_QUANTILE_BUCKETS; i++) {
        sums[i] = atomic_load_explicit(&h->buckets[0][i], memory_order_relaxed) +
                  atomic_load_explicit(&h->buckets[1][i], memory_order_relaxed);
        count += sums[i];
    }
    if (count == 0) return 0;
    /* The sample of rank ⌈q · count⌉, counted from 1. */
    double rank = fmin(fmax(ceil(q * (double)count), 1), (double)count);
    uint64_t passed = 0;
    for (unsigned i = 0; i < NP_QUANTILE_BUCKETS; i++) {
        passed += sums[i];
        if ((double)passed >= rank) return middle_of(i);
    }
    return middle_of(NP_QUANTILE_BUCKETS - 1);
}
