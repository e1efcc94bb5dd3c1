/* Quantiles of what was seen lately. */
#include "np_test.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/quantile.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS

static void assert_near(double got, double want)
{
    if (fabs(got - want) <= want * NP_QUANTILE_ERROR) return;
    fail_msg("%g is not within %g of %g", got, NP_QUANTILE_ERROR, want);
}

static void a_value_is_known_within_its_error(void **state)
{
    (void)state;
    for (double ns = 1200; ns < 1.6e11; ns *= 1.003) {
        struct np_quantile h;
        np_quantile_init(&h, 0.5, 10 * S, 1);
        np_quantile_add(&h, (int64_t)ns, S);
        assert_near(np_quantile_at(&h, 0.5), ns);
        assert_near(np_quantile_at(&h, 0.001), ns);
        assert_near(np_quantile_at(&h, 1), ns);
    }
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_are_those_of_the_samples(void **state)
{
    enum { N = 4000 };
    static int64_t v[N];
    struct np_quantile h;
    struct np_rng rng;
    (void)state;
    np_rng_init(&rng, 5);
    np_quantile_init(&h, 0.95, 10 * S, 20);
    for (int i = 0; i < N; i++) {
        /* A long tail: from 1 ms to some hundred. */
        v[i] = (int64_t)((double)MS / pow(1 - np_rng_unit(&rng), 0.7));
        np_quantile_add(&h, v[i], S);
    }
    qsort(v, N, sizeof v[0], by_size);
    for (int q = 1; q < 100; q++)
        assert_near(np_quantile_at(&h, q / 100.0), (double)v[(N * q + 99) / 100 - 1]);
    assert_near(np_quantile_at(&h, 0.999), (double)v[N * 999 / 1000 - 1]);
    assert_near(np_quantile_cached(&h), (double)v[N * 95 / 100 - 1]);
}

static void the_ends_take_the_rest(void **state)
{
    struct np_quantile h;
    (void)state;
    np_quantile_init(&h, 0.5, 10 * S, 1);
    assert_true(np_quantile_at(&h, 0.5) == 0);
    np_quantile_add(&h, -1, S); /* not measured */
    assert_true(np_quantile_at(&h, 0.5) == 0);
    np_quantile_add(&h, 0, S);
    assert_true(np_quantile_at(&h, 0.5) > 0 && np_quantile_at(&h, 0.5) < 1200);
    np_quantile_add(&h, INT64_MAX, S);
    assert_true(np_quantile_at(&h, 1) > 1.5e11);
    assert_int_equal(np_quantile_bucket(INT64_MAX), NP_QUANTILE_BUCKETS - 1);
}

static void the_cached_value_needs_enough_samples(void **state)
{
    struct np_quantile h;
    (void)state;
    np_quantile_init(&h, 0.95, 10 * S, 20);
    for (int i = 1; i <= 19; i++) {
        np_quantile_add(&h, 5 * MS, S);
        assert_true(np_quantile_cached(&h) == 0);
    }
    np_quantile_add(&h, 5 * MS, S);
    assert_near(np_quantile_cached(&h), 5e6);
    /* It follows within 64 samples. */
    for (int i = 0; i < 64; i++)
        np_quantile_add(&h, 50 * MS, S);
    assert_near(np_quantile_cached(&h), 5e7);
}

static void what_is_old_fades(void **state)
{
    struct np_quantile h;
    (void)state;
    np_quantile_init(&h, 0.5, 10 * S, 20);
    for (int i = 0; i < 1000; i++)
        np_quantile_add(&h, 500 * MS, S);
    /* Half a window on they still count. */
    np_quantile_add(&h, MS, 6 * S);
    assert_near(np_quantile_at(&h, 0.5), 5e8);
    /* A whole one on they do not. */
    np_quantile_add(&h, MS, 12 * S);
    assert_near(np_quantile_at(&h, 1), 1e6);
    assert_int_equal(atomic_load(&h.count), 2);
    /* After a long silence nothing of before counts. */
    for (int i = 0; i < 100; i++)
        np_quantile_add(&h, 70 * MS, 13 * S);
    np_quantile_add(&h, 2 * MS, 60 * S);
    assert_near(np_quantile_at(&h, 1), 2e6);
    assert_int_equal(atomic_load(&h.count), 1);
    /* The clock may stand still, or be behind another thread's. */
    np_quantile_add(&h, 2 * MS, 59 * S);
    assert_int_equal(atomic_load(&h.count), 2);
}

static void samples_may_come_in_batches(void **state)
{
    struct np_quantile one, many;
    uint8_t buckets[10];
    (void)state;
    np_quantile_init(&one, 0.9, 10 * S, 20);
    np_quantile_init(&many, 0.9, 10 * S, 20);
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < 10; k++) {
            int64_t ns = (1 + i * 10 + k) * MS;
            buckets[k] = (uint8_t)np_quantile_bucket(ns);
            np_quantile_add(&one, ns, i * S / 2);
        }
        np_quantile_add_buckets(&many, buckets, 10, i * S / 2);
    }
    for (int q = 1; q < 100; q++)
        assert_true(np_quantile_at(&one, q / 100.0) == np_quantile_at(&many, q / 100.0));
    assert_int_equal(atomic_load(&one.count), atomic_load(&many.count));
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *hammer(void *arg)
{
    struct np_quantile *h = arg;
    for (int i = 0; i < ROUNDS; i++)
        np_quantile_add(h, (1 + i % 100) * MS, S);
    return NULL;
}

static void threads_may_share_it(void **state)
{
    struct np_quantile h;
    pthread_t threads[THREADS];
    (void)state;
    np_quantile_init(&h, 0.5, 10 * S, 20);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &h), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&h.count), THREADS * ROUNDS);
    assert_near(np_quantile_at(&h, 0.5), 5e7);
    assert_near(np_quantile_at(&h, 0.99), 9.9e7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_known_within_its_error),
        cmocka_unit_test(quantiles_are_those_of_the_samples),
        cmocka_unit_test(the_ends_take_the_rest),
        cmocka_unit_test(the_cached_value_needs_enough_samples),
        cmocka_unit_test(what_is_old_fades),
        cmocka_unit_test(samples_may_come_in_batches),
        cmocka_unit_test(threads_may_share_it),
    };
    return cmocka_run_group_tests_name("mesh.quantile", tests, NULL, NULL);
}
