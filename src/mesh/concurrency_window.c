/* What a window of samples says of the limit (see concurrency.h). All under the lock.
 *
 * minRTT goes down to a lower sample by a fifth of the way, so that one window that was lucky does
 * not decide, and up to a higher one as slowly as it is to be forgotten. A descent measures it
 * anew: the limit falls window by window as long as the latency follows; where it does not follow
 * any more there was no queue, and that latency is taken as it is. Then the limit is what it was.
 */
#include <math.h>

#include "base/clock.h"
#include "mesh/concurrency_impl.h"

#define GRADIENT_MIN 0.5
#define GRADIENT_MAX 2.0
#define DOWN 0.2 /* of the way to a lower sample */
#define IN_USE                                                                                   \
    0.3                  /* of the limit must have been, or it stays as it is: no sudden rise to \
                            three times the load shall meet it */
#define STEP 0.6         /* of the limit is left with each step of a descent */
#define FOLLOWED 0.85    /* of the latency, or less, is left where there was a queue */
#define FALLEN 0.5       /* of the limit is left, and … */
#define NOT_FOLLOWED 0.8 /* … so much of the latency: it is no queue */
#define OVERLOADED 0.05  /* of the requests are refused by the peer */
#define TIMED_OUT 0.5    /* get no answer: if fewer do, it is a few bad hosts, whom others see to */
#define QUICKER 0.7      /* of minRTT: the peer has become quicker */
#define SOON 10          /* windows: when minRTT is measured at first, and after such a change */

/* Takes the samples out: the quantile of them. */
static double drain(struct np_concurrency *c)
{
    uint32_t taken[NP_CONCURRENCY_BUCKETS];
    uint64_t n = 0, seen = 0;
    for (unsigned i = 0; i < NP_CONCURRENCY_BUCKETS; i++) {
        taken[i] = atomic_exchange_explicit(&c->buckets[i], 0, memory_order_relaxed);
        n += taken[i];
    }
    atomic_fetch_sub_explicit(&c->samples, (uint32_t)n, memory_order_relaxed);
    for (unsigned i = 0; i < NP_CONCURRENCY_BUCKETS; i++) {
        seen += taken[i];
        if (seen > 0 && (double)seen >= c->opts.quantile * (double)n)
            return np_concurrency_bucket_ns(i);
    }
    return 0;
}

static void set_min(struct np_concurrency *c, double ns)
{
    atomic_store_explicit(&c->min_rtt, ns, memory_order_relaxed);
}

static double min_rtt(const struct np_concurrency *c)
{
    return atomic_load_explicit(&c->min_rtt, memory_order_relaxed);
}

static void track(struct np_concurrency *c, double sampled, int64_t span)
{
    double min = min_rtt(c);
    double up = (double)span / (double)c->opts.forget_ns;
    if (min == 0) {
        set_min(c, sampled);
    } else if (sampled < min) {
        set_min(c, min + (sampled - min) * DOWN);
    } else {
        set_min(c, min + (sampled - min) * (up < DOWN ? up : DOWN));
    }
}

/* --- a descent */

static void descend_soon(struct np_concurrency *c, int64_t now)
{
    int64_t at = now + SOON * c->opts.window_ns;
    if (at < c->next_descent) c->next_descent = at;
}

static void descend(struct np_concurrency *c, double sampled)
{
    c->descent_sampled = sampled;
    np_concurrency_set_limit(c, c->exact * STEP);
}

static void begin_descent(struct np_concurrency *c, double sampled)
{
    c->descent_from = c->exact;
    descend(c, sampled);
}

static void go_on_descending(struct np_concurrency *c, double sampled, int64_t now)
{
    bool followed = sampled <= c->descent_sampled * FOLLOWED;
    if (followed && c->exact * STEP >= c->opts.min) {
        descend(c, sampled);
        return;
    }
    set_min(c, followed || sampled < c->descent_sampled ? sampled : c->descent_sampled);
    np_concurrency_set_limit(c, c->descent_from);
    c->descent_from = c->high_limit = 0;
    c->next_descent = now + c->opts.forget_ns / 2;
}

/* So many successes, and what else came in the window, say that there is too much. */
static bool overloaded(const struct np_concurrency *c, uint32_t n)
{
    if (n < c->opts.min_samples) n = c->opts.min_samples; /* the first of a window is chance */
    return c->overloads > OVERLOADED * n || c->timeouts > TIMED_OUT * n;
}

/* --- from window to window */

/* The limit has fallen, and the latency with it, or not. */
static void see_whether_it_followed(struct np_concurrency *c, double sampled, int64_t now)
{
    if (c->high_limit == 0) {
        c->high_limit = c->exact;
        c->high_sampled = sampled;
        return;
    }
    if (c->exact > c->high_limit * FALLEN) return;
    if (sampled >= c->high_sampled * NOT_FOLLOWED) {
        set_min(c, sampled);
        descend_soon(c, now);
    }
    c->high_limit = c->exact;
    c->high_sampled = sampled;
}

/* A limit that is not in use says nothing of the latency, nor the latency of it. */
static void move(struct np_concurrency *c, double sampled, bool may_grow, int64_t now)
{
    double before = c->exact;
    double gradient = min_rtt(c) * (1 + c->opts.buffer) / sampled;
    if (gradient < GRADIENT_MIN) gradient = GRADIENT_MIN;
    if (gradient > GRADIENT_MAX) gradient = GRADIENT_MAX;
    double next = gradient * before + sqrt(before);
    if (next > before && !may_grow) return;
    if (next < before) see_whether_it_followed(c, sampled, now);
    if (next > before) c->high_limit = 0;
    np_concurrency_set_limit(c, next);
}

void np_concurrency_window(struct np_concurrency *c, int64_t now)
{
    int64_t began = atomic_load_explicit(&c->began, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&c->samples, memory_order_relaxed);
    if (n < c->opts.min_samples || now - began < c->opts.window_ns) return; /* it was seen to */
    uint32_t peak = atomic_load_explicit(&c->peak, memory_order_relaxed);
    bool pressed = atomic_exchange_explicit(&c->pressed, false, memory_order_relaxed);
    bool in_use = pressed || peak >= c->exact * IN_USE;
    double sampled = drain(c), before = c->exact;
    if (c->next_descent == 0) c->next_descent = now + SOON * c->opts.window_ns;
    atomic_store_explicit(&c->sampled, sampled, memory_order_relaxed);
    if (c->descent_from != 0) {
        go_on_descending(c, sampled, now);
    } else if (pressed && now >= c->next_descent && c->exact * STEP >= c->opts.min) {
        begin_descent(c, sampled);
    } else {
        if (sampled < min_rtt(c) * QUICKER) descend_soon(c, now);
        track(c, sampled, now - began);
        if (in_use) move(c, sampled, !overloaded(c, n), now);
    }
    if (c->exact < before) atomic_store_explicit(&c->fell_at, now, memory_order_relaxed);
    atomic_store_explicit(&c->began, now, memory_order_relaxed);
    atomic_store_explicit(&c->peak, atomic_load_explicit(&c->inflight, memory_order_relaxed),
                          memory_order_relaxed);
    c->overloads = c->timeouts = 0;
}

void np_concurrency_overload(struct np_concurrency *c, bool timed_out, int64_t now)
{
    double span = atomic_load_explicit(&c->sampled, memory_order_relaxed);
    double shortest = (double)c->opts.window_ns / 10;
    if (timed_out)
        c->timeouts++;
    else
        c->overloads++;
    if (!overloaded(c, atomic_load_explicit(&c->samples, memory_order_relaxed))) return;
    if (c->backed_off != 0 && (double)(now - c->backed_off) < (span > shortest ? span : shortest))
        return;
    c->backed_off = now;
    if (c->descent_from != 0) c->descent_from *= c->opts.backoff;
    np_concurrency_set_limit(c, c->exact * c->opts.backoff);
    atomic_store_explicit(&c->fell_at, now, memory_order_relaxed);
}
