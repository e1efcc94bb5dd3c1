/* Outlier detection (see outlier.h): what is judged when an interval ends.
 *
 * Whoever moves the moment `next` on judges, under the detector's lock. The endpoints' counters
 * only grow; what an interval brought is their difference from the marks of the last judgement,
 * which keeps that set of endpoints alive. One that was not there then is not judged yet.
 */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "mesh/outlier_impl.h"

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* --- marks */

static struct np_outlier_mark *place(const struct np_outlier_marks *m, const struct np_stats *s)
{
    size_t i = (size_t)np_hash_mix((uint64_t)(uintptr_t)s) & (m->cap - 1);
    while (m->v[i].stats != NULL && m->v[i].stats != s)
        i = (i + 1) & (m->cap - 1);
    return &m->v[i];
}

/* Room for `n`, all of it empty; a quarter is left free at least. */
static bool marks_clear(struct np_outlier_marks *m, size_t n)
{
    size_t cap = m->cap ? m->cap : 16;
    while (cap < n + n / 2 + 1)
        cap *= 2;
    if (cap != m->cap) {
        struct np_outlier_mark *v = np_alloc(cap * sizeof *v);
        if (v == NULL) return false;
        np_free(m->v);
        *m = (struct np_outlier_marks){v, cap};
    }
    for (size_t i = 0; i < cap; i++)
        m->v[i].stats = NULL;
    return true;
}

static bool rates_reserve(struct np_outlier *o, size_t n)
{
    if (n <= o->rates_cap) return true;
    struct np_outlier_rate *v = np_realloc(o->rates, n * sizeof *v);
    if (v == NULL) return false;
    o->rates = v;
    o->rates_cap = n;
    return true;
}

void np_outlier_forget(struct np_outlier *o)
{
    np_free(o->marks.v);
    np_free(o->spare.v);
    np_free(o->rates);
    np_snapshot_unref(o->set);
}

/* What the interval brought, by endpoint that is not ejected, into o->rates; and marks its end.
 * Without memory all goes on until the next end. */
static size_t measure(struct np_outlier *o, struct np_snapshot *set)
{
    size_t n = 0;
    if (!rates_reserve(o, set->len) || !marks_clear(&o->spare, set->len)) return 0;
    for (size_t i = 0; i < set->len; i++) {
        const struct np_stats *s = set->endpoints[i]->stats;
        /* In this order, so that there are not more successes than requests. */
        uint32_t success = atomic_load_explicit(&s->interval_success, memory_order_acquire);
        uint32_t total = GET(s->interval_total);
        *place(&o->spare, s) = (struct np_outlier_mark){s, total, success};
        const struct np_outlier_mark *m = o->marks.cap ? place(&o->marks, s) : NULL;
        if (m == NULL || m->stats == NULL || total == m->total || GET(s->ejected_until) != 0)
            continue;
        total -= m->total;
        success -= m->success;
        double share = success < total ? (double)success / total : 1;
        o->rates[n++] = (struct np_outlier_rate){i, total, share};
    }
    struct np_outlier_marks old = o->marks;
    o->marks = o->spare;
    o->spare = old;
    if (o->set != set) {
        np_snapshot_unref(o->set);
        o->set = np_snapshot_ref(set);
    }
    return n;
}

/* --- the detectors */

struct sample {
    size_t hosts;
    double sum, squares;
};

static struct sample sample_of(const struct np_outlier_rate *v, size_t n, uint32_t volume)
{
    struct sample s = {0};
    for (size_t i = 0; i < n; i++) {
        if (v[i].total < volume) continue;
        s.hosts++;
        s.sum += v[i].success;
    }
    double mean = s.hosts ? s.sum / (double)s.hosts : 0;
    for (size_t i = 0; i < n; i++) {
        if (v[i].total >= volume) s.squares += (v[i].success - mean) * (v[i].success - mean);
    }
    return s;
}

/* The worst first, since not all may be ejected; among equals those that had more requests. */
static int by_rate(const void *a, const void *b)
{
    const struct np_outlier_rate *x = a, *y = b;
    if (x->success != y->success) return x->success < y->success ? -1 : 1;
    if (x->total != y->total) return x->total > y->total ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* Ejects who did worse than `least`, as a rounding of equal shares is not. The rates are sorted. */
static void eject_below(struct np_outlier *o, const struct np_snapshot *set, size_t n,
                        uint32_t volume, double least, enum np_ejection why, int64_t now)
{
    size_t out = np_outlier_out(set);
    for (size_t i = 0; i < n && o->rates[i].success < least - 1e-9; i++) {
        if (o->rates[i].total < volume) continue;
        struct np_endpoint *e = set->endpoints[o->rates[i].at];
        (void)np_outlier_try_eject(o, &out, set->len, e, why, now);
    }
}

static void judge(struct np_outlier *o, const struct np_snapshot *set, size_t n, int64_t now)
{
    const struct np_outlier_options *p = &o->opts;
    qsort(o->rates, n, sizeof *o->rates, by_rate);
    if (p->success_rate_stdev_factor > 0) {
        struct sample s = sample_of(o->rates, n, p->success_rate_request_volume);
        if (s.hosts > 0 && s.hosts >= p->success_rate_minimum_hosts) {
            double hosts = (double)s.hosts;
            double least = s.sum / hosts - p->success_rate_stdev_factor * sqrt(s.squares / hosts);
            eject_below(o, set, n, p->success_rate_request_volume, least, NP_EJECT_SUCCESS_RATE,
                        now);
        }
    }
    if (p->failure_percentage_threshold > 0) {
        uint32_t volume = p->failure_percentage_request_volume;
        if (sample_of(o->rates, n, volume).hosts >= p->failure_percentage_minimum_hosts) {
            /* Who reaches the threshold is ejected too. */
            double least = 1 - p->failure_percentage_threshold / 100 + 2e-9;
            eject_below(o, set, n, volume, least, NP_EJECT_FAILURE_PERCENTAGE, now);
        }
    }
}

/* Who has been well for a whole interval is forgiven one ejection. */
static void forgive(struct np_outlier *o, const struct np_snapshot *set, int64_t now)
{
    for (size_t i = 0; i < set->len; i++) {
        struct np_stats *s = set->endpoints[i]->stats;
        unsigned n = GET(s->ejections);
        if (n == 0 || GET(s->ejected_until) != 0) continue;
        if (now - GET(s->since_ns) < o->opts.interval_ns) continue;
        (void)atomic_compare_exchange_strong_explicit(&s->ejections, &n, n - 1,
                                                      memory_order_relaxed, memory_order_relaxed);
    }
}

void np_outlier_tick(struct np_outlier *o, const struct np_snapshot *set, int64_t now)
{
    long long next = GET(o->next);
    if (now < next) return;
    int64_t then = np_time_add(now, GET(o->interval_ns));
    if (!atomic_compare_exchange_strong_explicit(&o->next, &next, then, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    pthread_mutex_lock(&o->lock);
    size_t n = measure(o, (struct np_snapshot *)(uintptr_t)set);
    if (next != 0) {
        atomic_fetch_add_explicit(&o->intervals, 1, memory_order_relaxed);
        judge(o, set, n, now);
        if (!o->opts.shadow) forgive(o, set, now);
    }
    pthread_mutex_unlock(&o->lock);
}
