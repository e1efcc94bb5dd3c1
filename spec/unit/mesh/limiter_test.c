/* Rate limiters, against a slow model and against what they promise. */
#include "np_test.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/limiter.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS
#define HOUR (3600 * S)
#define DAY (24 * HOUR)

static struct np_limiter make(enum np_limiter_algorithm a, double rate, double burst, int64_t now)
{
    struct np_limiter l;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    o.algorithm = a;
    o.rate = rate;
    o.burst = burst;
    assert_ok(np_limiter_init(&l, &o, now));
    return l;
}

static struct np_limiter window(double rate, int64_t window_ns, int64_t now)
{
    struct np_limiter l;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    o.algorithm = NP_SLIDING_WINDOW;
    o.rate = rate;
    o.window_ns = window_ns;
    assert_ok(np_limiter_init(&l, &o, now));
    return l;
}

static unsigned pass(struct np_limiter *l, unsigned tries, int64_t now)
{
    unsigned n = 0;
    for (unsigned i = 0; i < tries; i++)
        n += np_limiter_allow(l, now);
    return n;
}

/* --- bucket and GCRA */

static void a_burst_passes_and_then_the_rate(void **state)
{
    (void)state;
    for (int a = NP_TOKEN_BUCKET; a <= NP_GCRA; a++) {
        int64_t t = 5 * S;
        struct np_limiter l = make((enum np_limiter_algorithm)a, 10, 4, t);
        assert_int_equal(pass(&l, 10, t), 4);
        assert_int_equal(pass(&l, 10, t + 100 * MS - 1), 0);
        assert_int_equal(pass(&l, 10, t + 100 * MS), 1);
        assert_int_equal(pass(&l, 10, t + 350 * MS), 2); /* half a token is kept … */
        assert_int_equal(pass(&l, 10, t + 400 * MS), 1);
        assert_int_equal(pass(&l, 10, t + 60 * S), 4); /* never more than the burst */
        assert_int_equal(l.allowed, 4 + 1 + 2 + 1 + 4);
        assert_int_equal(l.refused, 60 - 12);
    }
}

static void a_check_says_how_much_is_left_and_when(void **state)
{
    (void)state;
    struct np_limiter l = make(NP_TOKEN_BUCKET, 2, 3, 0);
    struct np_limit r = np_limiter_check(&l, 2, 0);
    assert_true(r.allowed && r.would_allow && !r.never);
    assert_true(r.remaining == 1);
    assert_int_equal(r.wait_ns, 0);
    assert_int_equal(r.reset_ns, S);
    r = np_limiter_check(&l, 2, 0);
    assert_false(r.allowed);
    assert_int_equal(r.wait_ns, 500 * MS);
    r = np_limiter_check(&l, 2, 500 * MS - 1);
    assert_false(r.allowed);
    assert_int_equal(r.wait_ns, 1);
    assert_true(np_limiter_check(&l, 2, 500 * MS).allowed);
    r = np_limiter_check(&l, 0, 500 * MS); /* only asks */
    assert_false(r.allowed);
    assert_int_equal(r.wait_ns, 500 * MS);
    assert_true(np_limiter_check(&l, 0, S).allowed);
    assert_int_equal(l.allowed, 2);
    assert_int_equal(l.refused, 2);
}

static void what_costs_more_than_the_burst_never_passes(void **state)
{
    (void)state;
    for (int a = NP_TOKEN_BUCKET; a <= NP_LEAKY_BUCKET; a++) {
        struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
        struct np_limiter l;
        o.algorithm = (enum np_limiter_algorithm)a;
        o.rate = o.burst = 5;
        o.queue = 4;
        assert_ok(np_limiter_init(&l, &o, 0));
        for (int i = 0; i < 3; i++) {
            struct np_limit r = np_limiter_check(&l, 5.001, i * DAY);
            assert_false(r.allowed);
            assert_true(r.never);
            assert_int_equal(r.wait_ns, NP_TIME_NEVER);
            assert_false(np_limiter_check(&l, INFINITY, i * DAY).allowed);
            assert_false(np_limiter_check(&l, 1e300, i * DAY).allowed);
        }
        assert_true(np_limiter_check(&l, 5, DAY * 4).allowed);
    }
}

static void tiny_rates_last_for_days(void **state)
{
    (void)state;
    struct np_limiter l = make(NP_GCRA, 1.0 / 86400, 0, S);
    assert_true(np_limiter_allow(&l, S));
    assert_false(np_limiter_allow(&l, S + DAY - 1));
    assert_true(np_limiter_allow(&l, S + DAY + 1));
    assert_false(np_limiter_allow(&l, S + DAY + HOUR));
    assert_true(np_limiter_allow(&l, S + 20 * 365 * DAY)); /* idle for twenty years */
    assert_false(np_limiter_allow(&l, S + 20 * 365 * DAY + 1));
    l = make(NP_TOKEN_BUCKET, 1.0 / 86400, 1000, 0);
    assert_int_equal(pass(&l, 2000, 0), 1000);
    assert_int_equal(pass(&l, 2000, 10 * DAY + 10), 10);
}

static void huge_rates_are_no_trouble(void **state)
{
    static const double rates[] = {1e6, 3e8, 1e9, 7e11, 1e15};
    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct np_limiter l = make(NP_TOKEN_BUCKET, rates[i], 0, 0);
        struct np_limit r = np_limiter_check(&l, rates[i], 0); /* bytes, say */
        assert_true(r.allowed);
        assert_true(r.reset_ns >= S - 100 && r.reset_ns <= S + 100);
        assert_false(np_limiter_check(&l, rates[i] / 2, S / 2 - 100).allowed);
        assert_true(np_limiter_check(&l, rates[i] / 2, S / 2 + 100).allowed);
        /* idle for longer than the state's units reach */
        for (int64_t t = S, idle = S; t < 100 * DAY; t += idle, idle *= 3)
            assert_true(np_limiter_check(&l, rates[i], t + idle).allowed);
    }
}

static void a_clock_that_goes_back_gives_nothing(void **state)
{
    (void)state;
    for (int a = NP_TOKEN_BUCKET; a <= NP_LEAKY_BUCKET; a++) {
        struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
        struct np_limiter l;
        o.algorithm = (enum np_limiter_algorithm)a;
        o.rate = o.burst = 10;
        o.queue = 9;
        assert_ok(np_limiter_init(&l, &o, 100 * S));
        unsigned first = pass(&l, 100, 200 * S);
        assert_int_equal(first, 10);
        for (int i = 0; i < 100; i++)
            assert_int_equal(pass(&l, 100, 200 * S - i * 50 * MS), 0);
        assert_int_equal(pass(&l, 100, 202 * S), 10);
    }
}

/* What a bucket does, in whole numbers: 10^9 of level are a token, `rate` drain a nanosecond. */
struct model {
    int64_t rate, level, cap, at;
};
static bool model_take(struct model *m, int64_t cost, int64_t now)
{
    int64_t drained = (now - m->at) < 1000 * S ? (now - m->at) * m->rate : m->level;
    m->level = m->level > drained ? m->level - drained : 0;
    m->at = now;
    if (m->level + cost * S > m->cap) return false;
    m->level += cost * S;
    return true;
}

/* Rates by which a second can be divided: not one decision may differ. */
static void random_schedules_agree_with_the_model(void **state)
{
    static const int64_t rates[] = {1, 2, 5, 8, 10, 64, 1000, 31250, 1000000};
    struct np_rng rng;
    (void)state;
    np_rng_init(&rng, 42);
    for (int round = 0; round < 300; round++) {
        int64_t rate = rates[np_rng_below(&rng, 9)];
        int64_t burst = 1 + np_rng_below(&rng, 20);
        int64_t now = (int64_t)(np_rng_next(&rng) >> 4);
        struct model m = {rate, 0, burst * S, now};
        struct np_limiter l =
            make(round % 2 ? NP_GCRA : NP_TOKEN_BUCKET, (double)rate, (double)burst, now);
        for (int i = 0; i < 400; i++) {
            int64_t tick = S / rate;
            switch (np_rng_below(&rng, 4)) {
            case 0: /* to a boundary, or just before it */
                now += tick - (np_rng_below(&rng, 2) ? 1 : 0);
                break;
            case 1:
                now += np_rng_below(&rng, (uint32_t)(tick < INT32_MAX ? tick : INT32_MAX));
                break;
            case 2:
                now += np_rng_below(&rng, 3);
                break;
            default:
                if (np_rng_below(&rng, 20) == 0) now += 30 * burst * tick;
            }
            uint32_t cost = 1 + np_rng_below(&rng, 3);
            bool want = model_take(&m, cost, now);
            struct np_limit got = np_limiter_check(&l, cost, now);
            assert_int_equal(got.would_allow, want);
            if (!want && !got.never) {
                struct model later = m;
                assert_true(model_take(&later, cost, now + got.wait_ns));
                later = m;
                assert_false(model_take(&later, cost, now + got.wait_ns - 1));
            }
        }
    }
}

/* Any rates and costs: in no span passes more than burst + rate · t. */
static void no_span_passes_more_than_it_may(void **state)
{
    enum { N = 300 };
    struct np_rng rng;
    double cost[N];
    int64_t at[N];
    (void)state;
    np_rng_init(&rng, 7);
    for (int round = 0; round < 60; round++) {
        double rate = exp(np_rng_unit(&rng) * 32 - 12); /* 6e-6 … 5e8 a second */
        double burst = 1 + np_rng_unit(&rng) * 50;
        int64_t now = 0;
        int n = 0;
        struct np_limiter l = make(round % 2 ? NP_GCRA : NP_TOKEN_BUCKET, rate, burst, 0);
        for (int i = 0; i < 20000 && n < N; i++) {
            now += (int64_t)(np_rng_unit(&rng) * 2e9 / rate);
            double c = np_rng_below(&rng, 2) ? 1 : np_rng_unit(&rng) * 3;
            if (!np_limiter_check(&l, c, now).allowed) continue;
            at[n] = now;
            cost[n++] = c;
        }
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int j = i; j < n; j++) {
                sum += cost[j];
                double bound = burst + rate * (double)(at[j] - at[i]) / 1e9;
                assert_true(sum <= bound * (1 + 1e-6));
            }
        }
        assert_true(n > 10);
    }
}

/* --- leaky bucket */

static void a_leaky_bucket_says_how_long_to_wait(void **state)
{
    struct np_limiter l;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    (void)state;
    o.algorithm = NP_LEAKY_BUCKET;
    o.rate = 10;
    o.queue = 3;
    assert_ok(np_limiter_init(&l, &o, 0));
    for (int i = 0; i < 4; i++) { /* one goes at once, three wait */
        struct np_limit r = np_limiter_check(&l, 1, 0);
        assert_true(r.allowed);
        assert_int_equal(r.wait_ns, i * 100 * MS);
    }
    struct np_limit r = np_limiter_check(&l, 1, 0);
    assert_false(r.allowed);
    assert_int_equal(r.wait_ns, 100 * MS); /* then it may wait */
    r = np_limiter_check(&l, 1, 100 * MS);
    assert_true(r.allowed);
    assert_int_equal(r.wait_ns, 300 * MS);
    assert_int_equal(r.reset_ns, 400 * MS);
    o.queue = 0;
    assert_ok(np_limiter_init(&l, &o, 0));
    assert_int_equal(pass(&l, 5, 0), 1);
    assert_int_equal(pass(&l, 5, 100 * MS), 1);
}

static void places_in_the_line_are_in_order(void **state)
{
    uint64_t ticket, last;
    struct np_limiter l = make(NP_TOKEN_BUCKET, 10, 2, 0);
    (void)state;
    assert_int_equal(np_limiter_reserve(&l, 1, S, 0, &ticket).wait_ns, 0);
    assert_int_equal(np_limiter_reserve(&l, 1, S, 0, &ticket).wait_ns, 0);
    assert_int_equal(np_limiter_reserve(&l, 1, S, 0, &ticket).wait_ns, 100 * MS);
    assert_int_equal(np_limiter_reserve(&l, 1, S, 0, &ticket).wait_ns, 200 * MS);
    struct np_limit r = np_limiter_reserve(&l, 1, 299 * MS, 0, &last);
    assert_false(r.allowed);
    assert_int_equal(r.wait_ns, 300 * MS);
    assert_int_equal(last, 0);
    assert_false(np_limiter_allow(&l, 150 * MS)); /* who does not wait does not push in */
    np_limiter_give_back(&l, 1, ticket);
    r = np_limiter_reserve(&l, 1, 299 * MS, 0, &ticket);
    assert_true(r.allowed);
    assert_int_equal(r.wait_ns, 200 * MS);
    r = np_limiter_reserve(&l, 3, DAY, 0, &ticket);
    assert_true(r.never && !r.allowed);
}

static void a_line_is_as_long_as_its_queue(void **state)
{
    struct np_limiter l;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    uint64_t ticket;
    (void)state;
    o.rate = 10;
    o.burst = 1;
    o.queue = 2;
    assert_ok(np_limiter_init(&l, &o, 0));
    for (int i = 0; i < 3; i++)
        assert_true(np_limiter_reserve(&l, 1, NP_TIME_NEVER, 0, &ticket).allowed);
    assert_false(np_limiter_reserve(&l, 1, NP_TIME_NEVER, 0, &ticket).allowed);
    o.algorithm = NP_LEAKY_BUCKET;
    assert_ok(np_limiter_init(&l, &o, 0));
    assert_true(np_limiter_reserve(&l, 1, 0, 0, &ticket).allowed);
    assert_false(np_limiter_reserve(&l, 1, 99 * MS, 0, &ticket).allowed);
    assert_int_equal(np_limiter_reserve(&l, 1, 100 * MS, 0, &ticket).wait_ns, 100 * MS);
    assert_true(np_limiter_reserve(&l, 1, NP_TIME_NEVER, 0, &ticket).allowed);
    assert_false(np_limiter_reserve(&l, 1, NP_TIME_NEVER, 0, &ticket).allowed);
}

/* --- sliding window */

static void a_window_slides(void **state)
{
    struct np_limiter l = window(10, S, 3 * S);
    (void)state;
    assert_int_equal(pass(&l, 20, 3 * S + 900 * MS), 10);
    assert_int_equal(pass(&l, 20, 4 * S - 1), 0);
    assert_int_equal(pass(&l, 20, 4 * S), 0);            /* the last one's weigh all … */
    assert_int_equal(pass(&l, 20, 4 * S + 100 * MS), 1); /* … nine tenths … */
    assert_int_equal(pass(&l, 20, 4 * S + 500 * MS), 4); /* … a half */
    assert_int_equal(pass(&l, 20, 6 * S + 1), 10);
    struct np_limit r = np_limiter_check(&l, 1, 6 * S + 1);
    assert_false(r.allowed);
    assert_int_equal(r.reset_ns, 2 * S - 1);
}

/* The estimate as its inventors write it, with all that ever passed. */
static double slow_estimate(const int64_t *at, const double *cost, int n, int64_t w, int64_t now)
{
    double last = 0, fresh = 0;
    for (int i = 0; i < n; i++) {
        if (at[i] / w == now / w) fresh += cost[i];
        if (at[i] / w == now / w - 1) last += cost[i];
    }
    return fresh + last * (double)(w - now % w) / (double)w;
}

static void a_window_agrees_with_the_model(void **state)
{
    enum { N = 400 };
    static const int64_t windows[] = {MS, 250 * MS, S, 60 * S, DAY};
    struct np_rng rng;
    int64_t at[N];
    double cost[N];
    (void)state;
    np_rng_init(&rng, 99);
    for (int round = 0; round < 200; round++) {
        int64_t w = windows[np_rng_below(&rng, 5)], now = 0;
        double limit = 1 + np_rng_below(&rng, 30);
        struct np_limiter l = window(limit / np_to_seconds(w), w, 0);
        int n = 0;
        for (int i = 0; i < N; i++) {
            uint32_t step = np_rng_below(&rng, 10);
            now += step == 0   ? w - now % w
                   : step == 1 ? 5 * w
                               : (int64_t)(np_rng_unit(&rng) * (double)w / limit);
            double c = 1 + np_rng_below(&rng, 3);
            double slow = slow_estimate(at, cost, n, w, now) + c;
            struct np_limit r = np_limiter_check(&l, c, now);
            /* a thousandth of a token is the unit that is rounded up to */
            if (slow <= limit - 0.001) assert_true(r.allowed);
            if (slow > limit + 1e-9) assert_false(r.allowed);
            if (r.allowed) {
                at[n] = now;
                cost[n++] = c;
            } else if (!r.never) {
                assert_true(r.wait_ns > 0);
                assert_true(slow_estimate(at, cost, n, w, now + r.wait_ns) + c <= limit + 1e-6);
                assert_true(slow_estimate(at, cost, n, w, now + r.wait_ns - 1 - w / 1000) + c >
                            limit - 0.1);
            }
        }
    }
}

static void a_window_of_many_is_not_overrun(void **state)
{
    struct np_limiter l = window(1e12, 60 * S, 0);
    (void)state;
    assert_true(np_limiter_check(&l, 3e13, S).allowed);
    assert_true(np_limiter_check(&l, 2.9e13, S).allowed);
    assert_false(np_limiter_check(&l, 2e12, S).allowed);
    l = window(4.0 / 86400, DAY, 0);
    assert_int_equal(pass(&l, 10, DAY / 2), 4);
    assert_int_equal(pass(&l, 10, DAY + DAY / 2), 2);
}

/* --- options */

static void a_shadow_counts_and_lets_pass(void **state)
{
    struct np_limiter l;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    (void)state;
    o.shadow = true;
    o.rate = 1;
    o.burst = 2;
    assert_ok(np_limiter_init(&l, &o, 0));
    assert_int_equal(pass(&l, 10, 0), 10);
    assert_int_equal(l.allowed, 2);
    assert_int_equal(l.refused, 8);
    struct np_limit r = np_limiter_check(&l, 1, 0);
    assert_true(r.allowed);
    assert_false(r.would_allow);
}

static void new_terms_keep_what_was_taken(void **state)
{
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    struct np_limiter l = make(NP_TOKEN_BUCKET, 10, 10, 0);
    (void)state;
    assert_int_equal(pass(&l, 8, 0), 8);
    o.rate = 1000;
    o.burst = 20;
    assert_ok(np_limiter_set(&l, &o, 0));
    assert_int_equal(pass(&l, 100, 0), 12);
    o.rate = 1;
    o.burst = 5; /* fuller than it may be: 20 taken */
    assert_ok(np_limiter_set(&l, &o, 0));
    assert_int_equal(pass(&l, 100, 15 * S), 0);
    assert_int_equal(pass(&l, 100, 16 * S), 1);
    o.algorithm = NP_SLIDING_WINDOW;
    o.rate = 10; /* 5 of 10 were taken */
    assert_ok(np_limiter_set(&l, &o, 16 * S));
    assert_int_equal(pass(&l, 100, 16 * S), 5);
    o.algorithm = NP_GCRA;
    o.burst = 12;
    assert_ok(np_limiter_set(&l, &o, 16 * S));
    assert_int_equal(pass(&l, 100, 16 * S), 2);
    o.rate = 0;
    assert_err(np_limiter_set(&l, &o, 16 * S), NEAP_EINVAL);
}

static void what_cannot_be_is_refused(void **state)
{
    static const struct np_limiter_options bad[] = {
        {.rate = 0, .queue = -1},
        {.rate = -1, .queue = -1},
        {.rate = NAN, .queue = -1},
        {.rate = INFINITY, .queue = -1},
        {.rate = 1, .burst = 0.5, .queue = -1},
        {.rate = 1, .burst = NAN, .queue = -1},
        {.rate = 1, .window_ns = -1, .queue = -1},
        {.algorithm = NP_SLIDING_WINDOW, .rate = 1, .window_ns = INT64_MAX, .queue = -1},
        {.algorithm = NP_SLIDING_WINDOW, .rate = 0.1, .queue = -1},
        {.rate = 1e-12, .burst = 1000, .queue = -1},
        {.algorithm = NP_LEAKY_BUCKET, .rate = 1e-9, .queue = 1e9},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_limiter l;
        assert_err(np_limiter_init(&l, &bad[i], 0), NEAP_EINVAL);
        assert_non_null(np_limiter_problem(&bad[i]));
    }
    bool found;
    assert_int_equal(np_limiter_find("leaky_bucket", &found), NP_LEAKY_BUCKET);
    assert_true(found);
    np_limiter_find("bucket", &found);
    assert_false(found);
    for (int a = NP_TOKEN_BUCKET; a <= NP_LEAKY_BUCKET; a++)
        assert_int_equal(
            np_limiter_find(np_limiter_algorithm_name((enum np_limiter_algorithm)a), &found), a);
}

/* --- threads */

#define THREADS 4
#define CALLS 30000

struct race {
    struct np_limiter l;
    atomic_llong now;
    atomic_llong passed;
    bool reset;
};

static void *run(void *arg)
{
    struct race *r = arg;
    for (int i = 0; i < CALLS; i++) {
        int64_t now = atomic_fetch_add(&r->now, 1000);
        if (np_limiter_allow(&r->l, now)) atomic_fetch_add(&r->passed, 1);
    }
    return NULL;
}

/* The whole run takes 120 ms of the race's time. */
static void the_bound_holds_across_threads(void **state)
{
    (void)state;
    for (int a = NP_TOKEN_BUCKET; a <= NP_LEAKY_BUCKET; a++) {
        struct race r = {0};
        pthread_t threads[THREADS];
        struct np_limiter_options o = {.algorithm = (enum np_limiter_algorithm)a,
                                       .rate = 100000,
                                       .burst = 50,
                                       .window_ns = 200 * MS,
                                       .queue = 49};
        assert_ok(np_limiter_init(&r.l, &o, 0));
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, run, &r), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        double span = np_to_seconds(r.now);
        double bound = a == NP_SLIDING_WINDOW ? 20000 : 50 + o.rate * span;
        assert_true((double)r.passed <= bound);
        assert_true((double)r.passed >= bound * 0.5);
        assert_int_equal(r.l.allowed, r.passed);
        assert_int_equal(r.l.allowed + r.l.refused, THREADS * CALLS);
    }
}

static void *set_again(void *arg)
{
    struct race *r = arg;
    for (int i = 0; i < 3000; i++) {
        struct np_limiter_options o = {.rate = i % 2 ? 100 : 0.1, .burst = 40, .queue = -1};
        if (np_limiter_set(&r->l, &o, atomic_load(&r->now)) != NEAP_OK) return arg;
    }
    return NULL;
}

/* 120 ms at no more than 100 a second: the burst and 12 more, whoever changes the rate meanwhile.
 */
static void the_bound_holds_while_it_is_set(void **state)
{
    struct race r = {0};
    pthread_t threads[THREADS + 1];
    void *failed = NULL;
    (void)state;
    r.l = make(NP_TOKEN_BUCKET, 100, 40, 0);
    assert_int_equal(pthread_create(&threads[THREADS], NULL, set_again, &r), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &r), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(threads[THREADS], &failed);
    assert_null(failed);
    assert_true(r.passed >= 40);
    assert_true(r.passed <= 40 + 12 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_and_then_the_rate),
        cmocka_unit_test(a_check_says_how_much_is_left_and_when),
        cmocka_unit_test(what_costs_more_than_the_burst_never_passes),
        cmocka_unit_test(tiny_rates_last_for_days),
        cmocka_unit_test(huge_rates_are_no_trouble),
        cmocka_unit_test(a_clock_that_goes_back_gives_nothing),
        cmocka_unit_test(random_schedules_agree_with_the_model),
        cmocka_unit_test(no_span_passes_more_than_it_may),
        cmocka_unit_test(a_leaky_bucket_says_how_long_to_wait),
        cmocka_unit_test(places_in_the_line_are_in_order),
        cmocka_unit_test(a_line_is_as_long_as_its_queue),
        cmocka_unit_test(a_window_slides),
        cmocka_unit_test(a_window_agrees_with_the_model),
        cmocka_unit_test(a_window_of_many_is_not_overrun),
        cmocka_unit_test(a_shadow_counts_and_lets_pass),
        cmocka_unit_test(new_terms_keep_what_was_taken),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(the_bound_holds_across_threads),
        cmocka_unit_test(the_bound_holds_while_it_is_set),
    };
    return cmocka_run_group_tests_name("mesh.limiter", tests, NULL, NULL);
}
