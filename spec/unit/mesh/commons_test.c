/* Rules that a host's workers share by name. */
#include "np_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "mesh/commons.h"

struct thing {
    int rate;
    struct np_common *inner; /* unref'd when it goes */
};

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    const int *rate = arg;
    if (*rate < 0) return np_err_set(info, NEAP_EINVAL, "rate: below 0");
    struct thing *t = np_calloc(1, sizeof *t);
    if (t == NULL) return np_err_plain(info, NEAP_ENOMEM);
    t->rate = *rate;
    *object = t;
    return NEAP_OK;
}

static enum neap_err set(void *object, void *arg, struct neap_errinfo *info)
{
    struct thing *t = object;
    const int *rate = arg;
    if (*rate < 0) return np_err_set(info, NEAP_EINVAL, "rate: below 0");
    t->rate = *rate;
    return NEAP_OK;
}

static void drop(void *object)
{
    struct thing *t = object;
    np_common_unref(t->inner);
    np_free(t);
}

static const struct np_common_kind thing_kind = {"thing", make, set, drop};
static const struct np_common_kind fixed_kind = {"fixed", make, NULL, drop};

static struct np_common *get(struct np_commons *t, const struct np_common_kind *kind,
                             const char *name, int rate, bool *made)
{
    struct np_common *c = NULL;
    assert_ok(np_commons_get(t, kind, name, strlen(name), &rate, &c, made, NULL));
    return c;
}

static int rate_of(const struct np_common *c)
{
    return ((const struct thing *)c->object)->rate;
}

static void one_name_is_one_object(void **state)
{
    struct np_commons *t = NULL;
    bool made = false;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *a = get(t, &thing_kind, "api", 1, &made);
    assert_true(made);
    struct np_common *b = get(t, &thing_kind, "api", 2, &made);
    assert_false(made);
    assert_ptr_equal(a, b);
    assert_int_equal(rate_of(b), 1); /* who finds it does not change it */
    assert_string_equal(np_common_name(a), "api");
    struct np_common *other = get(t, &fixed_kind, "api", 3, &made);
    assert_true(made); /* kinds are apart */
    assert_int_equal(np_commons_len(t), 2);
    np_common_unref(a);
    np_common_unref(b);
    np_common_unref(other);
    np_commons_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void an_object_goes_with_its_last_user(void **state)
{
    struct np_commons *t = NULL;
    bool made = false;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *old = get(t, &thing_kind, "api", 1, NULL);
    struct np_common *reloaded = get(t, &thing_kind, "api", 2, &made);
    assert_false(made);
    np_common_unref(old);
    assert_int_equal(np_commons_len(t), 1);
    assert_int_equal(rate_of(reloaded), 1);
    np_common_unref(reloaded);
    assert_int_equal(np_commons_len(t), 0);
    struct np_common *anew = get(t, &thing_kind, "api", 5, &made);
    assert_true(made);
    assert_int_equal(rate_of(anew), 5);
    np_commons_unref(t); /* the object outlives the table's owner */
    assert_int_equal(rate_of(anew), 5);
    np_common_unref(anew);
    assert_int_equal(np_alloc_live(), 0);
}

static void the_newest_options_win_or_are_refused(void **state)
{
    struct np_commons *t = NULL;
    struct neap_errinfo info;
    int rate = 7, bad = -1;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *c = get(t, &thing_kind, "api", 1, NULL);
    struct np_common *fixed = get(t, &fixed_kind, "wall", 1, NULL);
    assert_ok(np_common_set(c, &rate, &info));
    assert_int_equal(rate_of(c), 7);
    assert_err(np_common_set(c, &bad, &info), NEAP_EINVAL);
    assert_int_equal(rate_of(c), 7);
    assert_err(np_common_set(fixed, &rate, &info), NEAP_EEXIST);
    assert_string_equal(info.message, "the fixed \"wall\" has other options");
    np_common_unref(c);
    np_common_unref(fixed);
    np_commons_unref(t);
}

static void what_cannot_be_made_leaves_nothing(void **state)
{
    struct np_commons *t = NULL;
    struct np_common *c = NULL;
    struct neap_errinfo info;
    char name[NP_COMMONS_MAX_KEY + 1];
    int rate = 1, bad = -1;
    (void)state;
    memset(name, 'x', sizeof name);
    assert_ok(np_commons_new(&t));
    assert_err(np_commons_get(t, &thing_kind, "api", 3, &bad, &c, NULL, &info), NEAP_EINVAL);
    assert_string_equal(info.message, "rate: below 0");
    assert_err(np_commons_get(t, &thing_kind, name, 0, &rate, &c, NULL, NULL), NEAP_EINVAL);
    assert_err(np_commons_get(t, &thing_kind, name, sizeof name, &rate, &c, NULL, NULL),
               NEAP_EINVAL);
    assert_null(c);
    assert_int_equal(np_commons_len(t), 0);
    assert_ok(np_commons_get(t, &thing_kind, name, NP_COMMONS_MAX_KEY, &rate, &c, NULL, NULL));
    np_common_unref(c);
    assert_err(np_common_new(&thing_kind, &bad, &c, &info), NEAP_EINVAL);
    np_commons_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void what_has_no_name_is_its_makers_alone(void **state)
{
    struct np_common *a = NULL, *b = NULL;
    int rate = 1, more = 2;
    (void)state;
    assert_ok(np_common_new(&thing_kind, &rate, &a, NULL));
    assert_ok(np_common_new(&thing_kind, &rate, &b, NULL));
    assert_ptr_not_equal(a->object, b->object);
    assert_string_equal(np_common_name(a), "");
    assert_ok(np_common_set(a, &more, NULL));
    assert_int_equal(rate_of(a), 2);
    assert_ptr_equal(np_common_ref(a), a);
    np_common_unref(a);
    np_common_unref(a);
    np_common_unref(b);
    assert_int_equal(np_alloc_live(), 0);
}

/* A cluster's rules hold a breaker of the same table. */
static void an_object_may_hold_another_of_its_table(void **state)
{
    struct np_commons *t = NULL;
    (void)state;
    assert_ok(np_commons_new(&t));
    struct np_common *inner = get(t, &fixed_kind, "inner", 1, NULL);
    struct np_common *outer = get(t, &thing_kind, "outer", 1, NULL);
    ((struct thing *)outer->object)->inner = inner;
    np_commons_unref(t);
    np_common_unref(outer);
    assert_int_equal(np_alloc_live(), 0);
}

static enum neap_err use(void *arg)
{
    struct np_commons *t = NULL;
    struct np_common *c = NULL, *own = NULL;
    int rate = 1;
    (void)arg;
    enum neap_err err = np_commons_new(&t);
    if (err) return err;
    err = np_commons_get(t, &thing_kind, "api", 3, &rate, &c, NULL, NULL);
    if (!err) err = np_common_new(&thing_kind, &rate, &own, NULL);
    np_common_unref(c);
    np_common_unref(own);
    np_commons_unref(t);
    return err;
}

static void running_out_of_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(use, NULL) > 3);
}

static void *churn(void *arg)
{
    struct np_commons *t = arg;
    int rate = 1;
    for (int i = 0; i < 20000; i++) {
        struct np_common *c = NULL;
        if (np_commons_get(t, &thing_kind, i % 2 ? "a" : "b", 1, &rate, &c, NULL, NULL)) return arg;
        if (i % 7 == 0 && np_common_set(c, &rate, NULL)) return arg;
        np_common_unref(c);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    struct np_commons *t = NULL;
    pthread_t threads[4];
    (void)state;
    assert_ok(np_commons_new(&t));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, t), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = t;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(np_commons_len(t), 0);
    np_commons_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_name_is_one_object),
        cmocka_unit_test(an_object_goes_with_its_last_user),
        cmocka_unit_test(the_newest_options_win_or_are_refused),
        cmocka_unit_test(what_cannot_be_made_leaves_nothing),
        cmocka_unit_test(what_has_no_name_is_its_makers_alone),
        cmocka_unit_test(an_object_may_hold_another_of_its_table),
        cmocka_unit_test(running_out_of_memory_is_survived),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests_name("mesh.commons", tests, NULL, NULL);
}
