/* Statistics that lists of addresses share. */
#include <pthread.h>

#include "mesh_helpers.h"

#include "mesh/endpoint_stats.h"

static struct np_endpoint *make(struct np_stats_table *t, const char *id, const char *address,
                                bool apart)
{
    struct np_endpoint *e = NULL;
    struct np_endpoint_desc d = {.id = id, .service = "", .address = address};
    assert_ok(np_endpoint_new(&d, NULL, &e, NULL));
    assert_ok(np_endpoint_share_stats(e, t, apart));
    return e;
}

static void one_address_has_one_truth(void **state)
{
    struct np_stats_table *t = NULL;
    (void)state;
    assert_ok(np_stats_table_new(&t));
    struct np_endpoint *mine = make(t, "a", "[::1]:080", false);
    struct np_endpoint *yours = make(t, "b", "[::1]:80", false); /* the same, written otherwise */
    struct np_endpoint *other = make(t, "a", "[::1]:81", false);
    np_endpoint_begin(mine);
    assert_int_equal(np_endpoint_active(yours), 1);
    assert_int_equal(np_endpoint_active(other), 0);
    end_with(mine, NP_OUTCOME_OK, S, S);
    assert_true(np_endpoint_ewma(yours) == (double)S);
    assert_true(np_endpoint_same(mine, yours));
    np_endpoint_unref(mine);
    np_endpoint_unref(yours);
    np_endpoint_unref(other);
    np_stats_table_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void what_stands_apart_is_shared_by_its_id(void **state)
{
    struct np_stats_table *t = NULL;
    (void)state;
    assert_ok(np_stats_table_new(&t));
    struct np_endpoint *plain = make(t, "a", "h:1", false);
    struct np_endpoint *a = make(t, "a", "h:1", true);
    struct np_endpoint *a2 = make(t, "a", "h:1", true);
    struct np_endpoint *b = make(t, "b", "h:1", true);
    assert_false(np_endpoint_same(plain, a));
    assert_false(np_endpoint_same(a, b));
    assert_true(np_endpoint_same(a, a2));
    np_endpoint_unref(plain);
    np_endpoint_unref(a);
    np_endpoint_unref(a2);
    np_endpoint_unref(b);
    np_stats_table_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

static void an_entry_goes_with_its_last_endpoint(void **state)
{
    struct np_stats_table *t = NULL;
    (void)state;
    assert_ok(np_stats_table_new(&t));
    struct np_endpoint *e = make(t, "a", "h:1", false);
    struct np_endpoint *f = make(t, "b", "h:1", false);
    np_endpoint_begin(e);
    np_endpoint_unref(e);
    assert_int_equal(np_stats_table_len(t), 1);
    assert_int_equal(np_endpoint_active(f), 1);
    np_endpoint_unref(f);
    assert_int_equal(np_stats_table_len(t), 0);
    e = make(t, "a", "h:1", false); /* nothing is remembered of it */
    assert_int_equal(np_endpoint_active(e), 0);
    np_stats_table_unref(t); /* endpoints may outlive their table's owner */
    np_endpoint_unref(e);
    assert_int_equal(np_alloc_live(), 0);
}

static enum neap_err life(void *arg)
{
    struct np_stats_table *t = NULL;
    struct np_endpoint *e = NULL;
    struct np_endpoint_desc d = {.id = "a", .service = "", .address = "h:1"};
    (void)arg;
    enum neap_err err = np_stats_table_new(&t);
    if (!err) err = np_endpoint_new(&d, NULL, &e, NULL);
    if (!err) err = np_endpoint_share_stats(e, t, true);
    np_endpoint_unref(e);
    np_stats_table_unref(t);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(life, NULL) > 4);
}

/* --- threads */

enum { ROUNDS = 5000, USERS = 3 };

static void *come_and_go(void *arg)
{
    struct np_stats_table *t = arg;
    for (int k = 0; k < ROUNDS; k++) {
        struct np_endpoint *e = NULL;
        struct np_endpoint_desc d = {.id = "a", .service = "", .address = "h:1"};
        if (np_endpoint_new(&d, NULL, &e, NULL)) return arg;
        if (np_endpoint_share_stats(e, t, false)) return arg;
        np_endpoint_begin(e);
        end_with(e, NP_OUTCOME_OK, S, S);
        np_endpoint_unref(e);
    }
    return NULL;
}

static void threads_come_and_go(void **state)
{
    struct np_stats_table *t = NULL;
    pthread_t threads[USERS];
    (void)state;
    assert_ok(np_stats_table_new(&t));
    struct np_endpoint *e = make(t, "b", "h:1", false);
    for (int i = 0; i < USERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, t), 0);
    for (int i = 0; i < USERS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(np_endpoint_total(e), USERS * ROUNDS);
    assert_int_equal(np_endpoint_active(e), 0);
    np_endpoint_unref(e);
    for (int i = 0; i < USERS; i++) /* and with nobody who keeps it: it is made and freed */
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, t), 0);
    for (int i = 0; i < USERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(np_stats_table_len(t), 0);
    np_stats_table_unref(t);
    assert_int_equal(np_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_has_one_truth),
        cmocka_unit_test(what_stands_apart_is_shared_by_its_id),
        cmocka_unit_test(an_entry_goes_with_its_last_endpoint),
        cmocka_unit_test(survives_running_out_of_memory),
        cmocka_unit_test(threads_come_and_go),
    };
    return cmocka_run_group_tests_name("mesh.endpoint_stats", tests, NULL, NULL);
}
