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

enum { RENEW_SHARE = 16, RENEW_LEAST = 32, RENEW_MOST = 64 };

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
    atomic_init(&h->low, UINT8_MAX);
}

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

static void clear(struct np_quantile *h, unsigned half)
{
    unsigned long long gone = 0;
    for (unsigned i = GET(h->low); i <= GET(h->high); i++)
        gone += atomic_exchange_explicit(&h->buckets[half][i], 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&h->count, gone, memory_order_relaxed);
}

static uint32_t in_both(const struct np_quantile *h, unsigned i)
{
    return GET(h->buckets[0][i]) + GET(h->buckets[1][i]);
}

/* Others widen the range meanwhile, if they do. */
static void narrow(struct np_quantile *h)
{
    unsigned char was_low = GET(h->low), was_high = GET(h->high);
    unsigned low = was_low, high = was_high;
    while (low <= high && in_both(h, low) == 0)
        low++;
    while (high > low && in_both(h, high) == 0)
        high--;
    if (low > high) low = UINT8_MAX, high = 0;
    (void)atomic_compare_exchange_strong_explicit(&h->low, &was_low, (unsigned char)low,
                                                  memory_order_relaxed, memory_order_relaxed);
    (void)atomic_compare_exchange_strong_explicit(&h->high, &was_high, (unsigned char)high,
                                                  memory_order_relaxed, memory_order_relaxed);
}

static void widen(struct np_quantile *h, unsigned i)
{
    unsigned char low = GET(h->low), high = GET(h->high);
    while (i < low &&
           !atomic_compare_exchange_weak_explicit(&h->low, &low, (unsigned char)i,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    while (i > high &&
           !atomic_compare_exchange_weak_explicit(&h->high, &high, (unsigned char)i,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* The older half goes when the younger is as old as half the window; both go when that was long
 * ago. Of threads that see it at once one does it. */
static void turn(struct np_quantile *h, int64_t now)
{
    long long turned = GET(h->turned_ns);
    if (turned != 0 && now - turned < h->window_ns / 2) return;
    if (!atomic_compare_exchange_strong_explicit(&h->turned_ns, &turned, now ? now : 1,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    if (turned == 0) return;
    unsigned young = GET(h->young);
    clear(h, !young);
    SET(h->young, !young);
    if (now - turned >= h->window_ns) clear(h, young);
    narrow(h);
}

/* So many samples were added, and now there are `count`. */
static void renew(struct np_quantile *h, unsigned seen, unsigned long long count)
{
    unsigned long long enough = count / RENEW_SHARE;
    if (enough < RENEW_LEAST) enough = RENEW_LEAST;
    if (enough > RENEW_MOST) enough = RENEW_MOST;
    bool first = GET(h->cached) == 0 && count >= h->min_count;
    if (seen < enough && !first) return;
    SET(h->seen, 0);
    SET(h->cached, count >= h->min_count ? np_quantile_at(h, h->q) : 0);
}

void np_quantile_add(struct np_quantile *h, int64_t ns, int64_t now)
{
    if (ns < 0) return;
    turn(h, now);
    unsigned i = np_quantile_bucket(ns);
    widen(h, i);
    atomic_fetch_add_explicit(&h->buckets[GET(h->young)][i], 1, memory_order_relaxed);
    unsigned long long count = 1 + atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
    renew(h, 1 + atomic_fetch_add_explicit(&h->seen, 1, memory_order_relaxed), count);
}

/* Nobody else adds or turns, so that plain additions do. */
void np_quantile_add_buckets(struct np_quantile *h, const uint8_t *buckets, unsigned n, int64_t now)
{
    turn(h, now);
    unsigned young = GET(h->young);
    for (unsigned i = 0; i < n; i++) {
        widen(h, buckets[i]);
        SET(h->buckets[young][buckets[i]], GET(h->buckets[young][buckets[i]]) + 1);
    }
    SET(h->count, GET(h->count) + n);
    SET(h->seen, GET(h->seen) + n);
    renew(h, GET(h->seen), GET(h->count));
}

double np_quantile_at(const struct np_quantile *h, double q)
{
    uint32_t sums[NP_QUANTILE_BUCKETS];
    uint64_t count = 0;
    unsigned low = GET(h->low), high = GET(h->high);
    for (unsigned i = low; i <= high; i++)
        count += sums[i] = in_both(h, i);
    if (count == 0) return 0;
    /* The sample of rank ⌈q · count⌉, counted from 1. */
    double rank = fmin(fmax(ceil(q * (double)count), 1), (double)count);
    uint64_t passed = 0;
    for (unsigned i = low; i < high; i++) {
        passed += sums[i];
        if ((double)passed >= rank) return middle_of(i);
    }
    return middle_of(high);
}
