/* A limiter per key. */
#include "np_test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/limiter_table.h"

#define S NP_NS_PER_SEC

static struct np_limiter_table *make(double rate, double burst, size_t max_keys)
{
    struct np_limiter_table *t = NULL;
    struct np_limiter_options o = NP_LIMITER_OPTIONS_INIT;
    o.rate = rate;
    o.burst = burst;
    assert_ok(np_limiter_table_new(&o, max_keys, 0, &t));
    return t;
}

static bool allow(struct np_limiter_table *t, const char *key, int64_t now)
{
    return np_limiter_table_check(t, key, strlen(key), 1, now).allowed;
}

static bool allow_n(struct np_limiter_table *t, unsigned n, int64_t now)
{
    char key[32];
    int len = snprintf(key, sizeof key, "10.0.%u.%u", n / 256, n % 256);
    return np_limiter_table_check(t, key, (size_t)len, 1, now).allowed;
}

static void each_key_has_its_own(void **state)
{
    struct np_limiter_table *t = make(1, 2, 0);
    struct np_limiter_table_stats st;
    (void)state;
    assert_true(allow(t, "a", 0) && allow(t, "a", 0) && !allow(t, "a", 0));
    assert_true(allow(t, "b", 0) && allow(t, "b", 0) && !allow(t, "b", 0));
    assert_true(allow(t, "", 0)); /* a key like any other */
    assert_true(allow(t, "a", S) && !allow(t, "a", S));
    assert_false(np_limiter_table_check(t, "a", 1, 0, S).allowed); /* only asks */
    np_limiter_table_get_stats(t, &st);
    assert_int_equal(st.keys, 3);
    assert_int_equal(st.max_keys, NP_LIMITER_MAX_KEYS_DEFAULT);
    assert_int_equal(st.allowed, 6);
    assert_int_equal(st.refused, 3);
    np_limiter_table_free(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void the_keys_used_longest_ago_go(void **state)
{
    struct np_limiter_table *t = make(1, 1, 8);
    struct np_limiter_table_stats st;
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        assert_true(allow_n(t, i, 0));
    assert_false(allow_n(t, 0, 1)); /* used again */
    assert_true(allow_n(t, 8, 2));  /* 1 goes, of which something was taken */
    assert_false(allow_n(t, 0, 3));
    assert_true(allow_n(t, 1, 4)); /* 2 goes, and 1 begins anew */
    np_limiter_table_get_stats(t, &st);
    assert_int_equal(st.keys, 8);
    assert_int_equal(st.evicted, 2);
    assert_int_equal(st.forgotten, 2);
    assert_true(allow_n(t, 9, 100 * S)); /* what goes now was as new */
    np_limiter_table_get_stats(t, &st);
    assert_int_equal(st.evicted, 3);
    assert_int_equal(st.forgotten, 2);
    np_limiter_table_free(t);
}

static void a_flood_of_keys_costs_no_memory(void **state)
{
    struct np_limiter_table *t = make(1, 1, 1000);
    struct np_limiter_table_stats st;
    int64_t live = np_alloc_live();
    (void)state;
    for (unsigned i = 0; i < 60000; i++)
        assert_true(allow_n(t, i, i));
    assert_int_equal(np_alloc_live(), live);
    np_limiter_table_get_stats(t, &st);
    assert_true(st.keys <= st.max_keys && st.keys >= 900);
    assert_int_equal(st.evicted, 60000 - st.keys);
    for (unsigned i = 59900; i < 60000; i++)
        assert_false(allow_n(t, i, 60000)); /* the newest are all there */
    np_limiter_table_free(t);
}

static void new_terms_are_all_keys(void **state)
{
    struct np_limiter_table *t = make(1, 2, 0);
    struct np_limiter_options o = {.rate = 1, .burst = 4, .queue = -1};
    (void)state;
    assert_true(allow(t, "a", 0) && allow(t, "a", 0) && !allow(t, "a", 0));
    assert_ok(np_limiter_table_set(t, &o, 0));
    assert_true(allow(t, "a", 0) && allow(t, "a", 0) && !allow(t, "a", 0));
    for (int i = 0; i < 4; i++)
        assert_true(allow(t, "b", 0));
    assert_false(allow(t, "b", 0));
    o.algorithm = NP_SLIDING_WINDOW;
    o.window_ns = 5 * S;
    assert_ok(np_limiter_table_set(t, &o, 0));
    assert_true(allow(t, "a", 0) && !allow(t, "a", 0));
    o.rate = 0;
    assert_err(np_limiter_table_set(t, &o, 0), NEAP_EINVAL);
    np_limiter_table_free(t);
}

static void a_line_is_kept_for_each_key(void **state)
{
    struct np_limiter_table *t = make(1, 1, 0);
    uint64_t ticket;
    (void)state;
    assert_int_equal(np_limiter_table_reserve(t, "a", 1, 1, 9 * S, 0, &ticket).wait_ns, 0);
    assert_int_equal(np_limiter_table_reserve(t, "a", 1, 1, 9 * S, 0, &ticket).wait_ns, S);
    assert_int_equal(np_limiter_table_reserve(t, "b", 1, 1, 9 * S, 0, &(uint64_t){0}).wait_ns, 0);
    np_limiter_table_give_back(t, "a", 1, 1, ticket);
    assert_int_equal(np_limiter_table_reserve(t, "a", 1, 1, 9 * S, 0, &ticket).wait_ns, S);
    np_limiter_table_give_back(t, "nobody", 6, 1, ticket);
    assert_false(np_limiter_table_reserve(t, "a", 1, 1, S, 0, &ticket).allowed);
    np_limiter_table_free(t);
}

static enum neap_err use(void *arg)
{
    struct np_limiter_table *t = NULL;
    struct np_limiter_options o = {.rate = 1, .queue = -1};
    (void)arg;
    enum neap_err err = np_limiter_table_new(&o, 128, 0, &t);
    if (err) return err;
    (void)allow(t, "a", 0);
    np_limiter_table_free(t);
    return NEAP_OK;
}

static void running_out_of_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(use, NULL) > 3);
}

struct race {
    struct np_limiter_table *t;
    atomic_uint passed;
};

static void *run(void *arg)
{
    struct race *r = arg;
    for (unsigned i = 0; i < 20000; i++)
        if (allow_n(r->t, i % 100, 1)) atomic_fetch_add(&r->passed, 1);
    return NULL;
}

static void threads_share_the_keys(void **state)
{
    struct race r = {.t = make(1, 3, 0)};
    struct np_limiter_options o = {.rate = 1, .burst = 3, .queue = -1};
    pthread_t threads[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &r), 0);
    for (int i = 0; i < 50; i++)
        assert_ok(np_limiter_table_set(r.t, &o, 1));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(r.passed, 300);
    np_limiter_table_free(r.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_has_its_own),
        cmocka_unit_test(the_keys_used_longest_ago_go),
        cmocka_unit_test(a_flood_of_keys_costs_no_memory),
        cmocka_unit_test(new_terms_are_all_keys),
        cmocka_unit_test(a_line_is_kept_for_each_key),
        cmocka_unit_test(running_out_of_memory_is_survived),
        cmocka_unit_test(threads_share_the_keys),
    };
    return cmocka_run_group_tests_name("mesh.limiter_table", tests, NULL, NULL);
}
