/* Limiters that workers share by name. */
#include "np_test.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/concurrency.h"
#include "mesh/limiter_shared.h"

#define S NP_NS_PER_SEC

static struct np_common *get(struct np_commons *t, double burst, bool *made)
{
    struct np_common *c = NULL;
    struct np_shared_limiter_options o = {.limiter = NP_LIMITER_OPTIONS_INIT, .max_keys = 100};
    o.limiter.rate = 1;
    o.limiter.burst = burst;
    assert_ok(np_commons_get(t, &np_limiter_kind, "mail", 4, &o, &c, made, NULL));
    if (!*made) assert_ok(np_common_set(c, &o, NULL));
    return c;
}

static bool allow(struct np_common *c, const char *key, int64_t now)
{
    struct np_limit l;
    assert_ok(np_shared_limiter_check(c->object, key, key ? strlen(key) : 0, 1, now, &l));
    return l.allowed;
}

static void a_reload_finds_it_as_full_as_it_was(void **state)
{
    struct np_commons *t = NULL;
    struct np_limiter_table_stats st;
    bool made;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *old = get(t, 2, &made);
    assert_true(made);
    assert_true(allow(old, NULL, 0) && allow(old, NULL, 0) && !allow(old, NULL, 0));
    assert_true(allow(old, "a", 0) && allow(old, "a", 0) && !allow(old, "a", 0));
    struct np_common *new = get(t, 3, &made);
    assert_false(made);
    np_common_unref(old);
    assert_true(allow(new, NULL, 0) && !allow(new, NULL, 0));
    assert_true(allow(new, "a", 0) && !allow(new, "a", 0));
    assert_true(np_shared_limiter_options(new->object).burst == 3);
    np_shared_limiter_get_stats(new->object, &st);
    assert_int_equal(st.allowed, 6);
    assert_int_equal(st.refused, 4);
    assert_int_equal(st.keys, 1);
    np_common_unref(new);
    np_commons_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void places_in_the_line_are_given_back(void **state)
{
    struct np_commons *t = NULL;
    struct np_limit l;
    uint64_t ticket, none;
    bool made;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *c = get(t, 1, &made);
    for (int keyed = 0; keyed < 2; keyed++) {
        const char *key = keyed ? "a" : NULL;
        np_shared_limiter_give_back(c->object, "b", 1, 1, 77); /* there is no such key */
        assert_ok(np_shared_limiter_reserve(c->object, key, 1, 1, S, 0, &ticket, &l));
        assert_int_equal(l.wait_ns, 0);
        assert_ok(np_shared_limiter_reserve(c->object, key, 1, 1, S, 0, &ticket, &l));
        assert_int_equal(l.wait_ns, S);
        assert_ok(np_shared_limiter_reserve(c->object, key, 1, 1, S, 0, &none, &l));
        assert_false(l.allowed);
        np_shared_limiter_give_back(c->object, key, 1, 1, ticket);
        assert_ok(np_shared_limiter_reserve(c->object, key, 1, 1, S, 0, &ticket, &l));
        assert_int_equal(l.wait_ns, S);
    }
    np_common_unref(c);
    np_commons_unref(t);
}

static void what_cannot_be_is_said(void **state)
{
    struct np_common *c = NULL;
    struct neap_errinfo info;
    struct np_shared_limiter_options o = {.limiter = NP_LIMITER_OPTIONS_INIT};
    struct np_concurrency_options limit = np_concurrency_defaults;
    (void)state;
    assert_err(np_common_new(&np_limiter_kind, &o, &c, &info), NEAP_EINVAL);
    assert_string_equal(info.message, "rate: above 0 and at most 10^15");
    o.limiter.rate = 1;
    o.max_keys = NP_LIMITER_MAX_KEYS + 1;
    assert_err(np_common_new(&np_limiter_kind, &o, &c, &info), NEAP_EINVAL);
    o.max_keys = 0;
    assert_ok(np_common_new(&np_limiter_kind, &o, &c, &info));
    o.limiter.rate = -1;
    assert_err(np_common_set(c, &o, &info), NEAP_EINVAL);
    assert_true(np_shared_limiter_options(c->object).rate == 1);
    np_common_unref(c);
    assert_ok(np_common_new(&np_concurrency_kind, &limit, &c, &info));
    limit.min = 0;
    assert_err(np_common_set(c, &limit, &info), NEAP_EINVAL);
    assert_string_equal(info.message, "min: at least 1 and at most max");
    np_common_unref(c);
    assert_err(np_common_new(&np_concurrency_kind, &limit, &c, &info), NEAP_EINVAL);
    assert_int_equal(np_alloc_live(), 0);
}

static enum neap_err use(void *arg)
{
    struct np_common *c = NULL;
    struct np_limit l;
    struct np_shared_limiter_options o = {.limiter = NP_LIMITER_OPTIONS_INIT, .max_keys = 64};
    (void)arg;
    o.limiter.rate = 1;
    enum neap_err err = np_common_new(&np_limiter_kind, &o, &c, NULL);
    if (err) return err;
    err = np_shared_limiter_check(c->object, "a", 1, 1, 0, &l);
    np_common_unref(c);
    return err;
}

static void running_out_of_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(use, NULL) > 4);
}

static void *first_key(void *arg)
{
    struct np_common *c = arg;
    struct np_limit l;
    if (np_shared_limiter_check(c->object, "a", 1, 1, 0, &l) != NEAP_OK) return arg;
    return NULL;
}

static void threads_make_one_table(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct np_commons *t = NULL;
        struct np_limiter_table_stats st;
        pthread_t threads[4];
        bool made;
        assert_ok(np_commons_new(&t));
        struct np_common *c = get(t, 2, &made);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, first_key, c), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        np_shared_limiter_get_stats(c->object, &st);
        assert_int_equal(st.allowed, 2);
        assert_int_equal(st.refused, 2);
        np_common_unref(c);
        np_commons_unref(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reload_finds_it_as_full_as_it_was),
        cmocka_unit_test(places_in_the_line_are_given_back),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(running_out_of_memory_is_survived),
        cmocka_unit_test(threads_make_one_table),
    };
    return cmocka_run_group_tests_name("mesh.limiter_shared", tests, NULL, NULL);
}
