/* Endpoints: what they keep of their description, and their statistics. */
#include "mesh_helpers.h"

#include <math.h>
#include <pthread.h>

static const char *const tags[] = {"v1", "eu"};
static const struct np_pair meta[] = {{"zone", "a"}, {"cpu", "4"}};
static const struct np_endpoint_desc full = {
    .id = "goods-1",
    .service = "goods",
    .address = "[::1]:80",
    .weight = 7,
    .tags = tags,
    .ntags = 2,
    .meta = meta,
    .nmeta = 2,
};

static void keeps_its_description(void **state)
{
    struct np_endpoint *e = NULL;
    int64_t live = np_alloc_live();
    (void)state;
    assert_ok(np_endpoint_new(&full, NULL, &e, NULL));
    assert_string_equal(e->id, "goods-1");
    assert_string_equal(e->service, "goods");
    assert_string_equal(e->address, "[::1]:80");
    assert_string_equal(e->host, "::1");
    assert_int_equal(e->port, 80);
    assert_int_equal(e->weight, 7);
    assert_string_equal(e->zone, "a");
    assert_true(np_endpoint_has_tag(e, "eu"));
    assert_false(np_endpoint_has_tag(e, "e"));
    assert_string_equal(np_endpoint_meta(e, "cpu"), "4");
    assert_null(np_endpoint_meta(e, "gpu"));
    np_endpoint_unref(e);
    assert_no_leak(live);
}

static void a_unix_socket_has_a_path_and_no_host(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "unix:/run/x", 0);
    (void)state;
    assert_null(e->host);
    assert_string_equal(e->path, "/run/x");
    assert_int_equal(e->weight, 1);
    assert_string_equal(e->zone, "");
    np_endpoint_unref(e);
}

static void refuses_bad_addresses_and_weights(void **state)
{
    struct np_endpoint *e = NULL;
    struct neap_errinfo info;
    struct np_endpoint_desc d = full;
    (void)state;
    d.address = "nowhere";
    assert_err(np_endpoint_new(&d, NULL, &e, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "nowhere"));
    d.address = NULL;
    assert_err(np_endpoint_new(&d, NULL, &e, &info), NEAP_EINVAL);
    d.address = "a:1";
    d.weight = NP_WEIGHT_MAX + 1;
    assert_err(np_endpoint_new(&d, NULL, &e, &info), NEAP_EINVAL);
    assert_null(e);
}

static void an_update_shares_the_statistics(void **state)
{
    struct np_endpoint *a = NULL, *b = NULL;
    struct np_endpoint_desc d = full;
    (void)state;
    assert_ok(np_endpoint_new(&full, NULL, &a, NULL));
    d.weight = 3;
    assert_ok(np_endpoint_new(&d, a->stats, &b, NULL));
    assert_true(np_endpoint_same(a, b));
    assert_false(np_endpoint_equal(a, b));
    np_endpoint_begin(a);
    assert_int_equal(np_endpoint_active(b), 1);
    end_with(b, NP_OUTCOME_OK, S, S);
    assert_int_equal(np_endpoint_active(a), 0);
    np_endpoint_unref(a); /* the statistics live on with b */
    assert_int_equal(np_endpoint_total(b), 1);
    np_endpoint_unref(b);
}

static void equality_is_of_every_field(void **state)
{
    static const char *const other_tags[] = {"v1", "us"};
    static const struct np_pair other_meta[] = {{"zone", "a"}, {"cpu", "8"}};
    struct np_endpoint *a = NULL;
    (void)state;
    assert_ok(np_endpoint_new(&full, NULL, &a, NULL));
    for (int i = 0; i < 6; i++) {
        struct np_endpoint *b = NULL;
        struct np_endpoint_desc d = full;
        if (i == 1) d.address = "[::1]:81";
        if (i == 2) d.tags = other_tags;
        if (i == 3) d.meta = other_meta;
        if (i == 4) d.zone = "b";
        if (i == 5) d.ntags = 1;
        assert_ok(np_endpoint_new(&d, NULL, &b, NULL));
        assert_int_equal(np_endpoint_equal(a, b), i == 0);
        np_endpoint_unref(b);
    }
    np_endpoint_unref(a);
}

static void answer(struct np_endpoint *e, enum np_outcome outcome, int64_t latency, int64_t now)
{
    np_endpoint_begin(e);
    end_with(e, outcome, latency, now);
}

static void counts_requests_and_errors(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    np_endpoint_begin(e);
    answer(e, NP_OUTCOME_OK, S, S);
    answer(e, NP_OUTCOME_FAILED, -1, S);
    answer(e, NP_OUTCOME_CANCELED, 5 * S, S);
    assert_int_equal(np_endpoint_active(e), 1);
    assert_int_equal(np_endpoint_total(e), 4);
    assert_int_equal(np_endpoint_errors(e), 1);
    np_endpoint_unref(e);
}

static void the_average_forgets_with_time(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    assert_true(np_endpoint_ewma(e) == 0);
    answer(e, NP_OUTCOME_OK, 100 * NP_NS_PER_MS, S);
    assert_true(np_endpoint_ewma(e) == 1e8);
    /* Ten seconds on, the old average weighs 1/e. */
    answer(e, NP_OUTCOME_OK, 200 * NP_NS_PER_MS, 11 * S);
    assert_true(fabs(np_endpoint_ewma(e) - (1e8 * exp(-1) + 2e8 * (1 - exp(-1)))) < 1);
    /* Neither a failure nor a cancelled request says how long an answer takes. */
    double before = np_endpoint_ewma(e);
    answer(e, NP_OUTCOME_FAILED, 1, 12 * S);
    answer(e, NP_OUTCOME_CANCELED, 90 * S, 12 * S);
    answer(e, NP_OUTCOME_OK, -1, 12 * S);
    assert_true(np_endpoint_ewma(e) == before);
    np_endpoint_unref(e);
}

/* A black hole that others' answers always beat, or whose callers always lose patience. */
static void the_cost_learns_from_who_gave_up_waiting(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    answer(e, NP_OUTCOME_CANCELED, 1, S); /* nothing is known by that */
    assert_true(np_endpoint_cost(e, S) == NP_PEAK_SEED_NS);
    answer(e, NP_OUTCOME_CANCELED, 700 * NP_NS_PER_MS, 2 * S);
    assert_true(np_endpoint_cost(e, 2 * S) == 7e8);
    answer(e, NP_OUTCOME_CANCELED, -1, 3 * S);
    assert_true(np_endpoint_cost(e, 2 * S) == 7e8);
    /* It is not better for having been given up soon. */
    double before = np_endpoint_cost(e, 4 * S);
    answer(e, NP_OUTCOME_CANCELED, 1, 4 * S);
    assert_true(np_endpoint_cost(e, 4 * S) >= before);
    assert_true(np_endpoint_ewma(e) == 0);
    np_endpoint_unref(e);
}

static void the_cost_is_no_less_than_what_somebody_waits(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    answer(e, NP_OUTCOME_OK, 5 * NP_NS_PER_MS, S);
    np_endpoint_begin(e);
    np_endpoint_waited(e, NP_NS_PER_MS, S + 1); /* others wait longer */
    assert_true(fabs(np_endpoint_cost(e, S + 1) - 5e6) < 1);
    np_endpoint_waited(e, 20 * S, 21 * S);
    assert_true(np_endpoint_cost(e, 21 * S) == 20e9);
    assert_true(np_endpoint_ewma(e) == 5e6);
    assert_int_equal(np_endpoint_active(e), 1);
    end_with(e, NP_OUTCOME_CANCELED, -1, 21 * S);
    np_endpoint_unref(e);
}

static void the_cost_jumps_up_and_comes_down_slowly(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    assert_true(np_endpoint_cost(e, S) == NP_PEAK_SEED_NS);
    answer(e, NP_OUTCOME_OK, 10 * NP_NS_PER_MS, S);
    answer(e, NP_OUTCOME_OK, 500 * NP_NS_PER_MS, S + 1);
    assert_true(np_endpoint_cost(e, S + 1) == 5e8);
    assert_true(np_endpoint_ewma(e) < 1.1e7);
    answer(e, NP_OUTCOME_OK, 10 * NP_NS_PER_MS, 2 * S);
    assert_true(np_endpoint_cost(e, 2 * S) > 4.4e8);
    /* Left alone, it is forgotten: e^-6. */
    double later = np_endpoint_cost(e, 62 * S);
    assert_true(later < 1.3e6 && later > 1.0e6);
    np_endpoint_unref(e);
}

/* Within half a second of good answers, not within the ten of the average. */
static void a_busy_endpoint_is_soon_forgiven_a_stall(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "127.0.0.1:1", 0);
    (void)state;
    np_endpoint_begin(e);
    end_with(e, NP_OUTCOME_OK, 300 * NP_NS_PER_MS, S);
    for (int i = 1; i <= 300; i++) {
        np_endpoint_begin(e);
        end_with(e, NP_OUTCOME_OK, 5 * NP_NS_PER_MS, S + i * NP_NS_PER_MS);
    }
    assert_true(np_endpoint_cost(e, S + 300 * NP_NS_PER_MS) < 10e6);
    np_endpoint_unref(e);
}

static void a_fast_failure_costs(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    answer(e, NP_OUTCOME_OK, NP_NS_PER_MS, S);
    answer(e, NP_OUTCOME_FAILED, 1000, S);
    assert_true(np_endpoint_cost(e, S) == NP_NS_PER_MS * NP_PEAK_FAIL_FACTOR);
    for (int i = 0; i < 10; i++)
        answer(e, NP_OUTCOME_FAILED, 1000, S);
    assert_true(np_endpoint_cost(e, S) == NP_PEAK_FAIL_MAX_NS);
    np_endpoint_unref(e);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *hammer(void *arg)
{
    struct np_endpoint *e = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct np_endpoint *held = np_endpoint_ref(e);
        np_endpoint_begin(held);
        end_with(held, i % 2 ? NP_OUTCOME_OK : NP_OUTCOME_FAILED, 1000, S + i);
        np_endpoint_unref(held);
    }
    np_endpoint_unref(e);
    return NULL;
}

static void threads_may_share_it(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, np_endpoint_ref(e)), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(np_endpoint_active(e), 0);
    assert_int_equal(np_endpoint_total(e), THREADS * ROUNDS);
    assert_int_equal(np_endpoint_errors(e), THREADS * ROUNDS / 2);
    assert_int_equal(atomic_load(&e->refs), 1);
    np_endpoint_unref(e);
}

static enum neap_err make_two(void *arg)
{
    struct np_endpoint *a = NULL, *b = NULL;
    (void)arg;
    enum neap_err err = np_endpoint_new(&full, NULL, &a, NULL);
    if (err != NEAP_OK) return err;
    err = np_endpoint_new(&full, a->stats, &b, NULL);
    np_endpoint_unref(a);
    np_endpoint_unref(b);
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_int_equal(np_test_oom(make_two, NULL), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_description),
        cmocka_unit_test(a_unix_socket_has_a_path_and_no_host),
        cmocka_unit_test(refuses_bad_addresses_and_weights),
        cmocka_unit_test(an_update_shares_the_statistics),
        cmocka_unit_test(equality_is_of_every_field),
        cmocka_unit_test(counts_requests_and_errors),
        cmocka_unit_test(the_average_forgets_with_time),
        cmocka_unit_test(the_cost_learns_from_who_gave_up_waiting),
        cmocka_unit_test(the_cost_is_no_less_than_what_somebody_waits),
        cmocka_unit_test(the_cost_jumps_up_and_comes_down_slowly),
        cmocka_unit_test(a_busy_endpoint_is_soon_forgiven_a_stall),
        cmocka_unit_test(a_fast_failure_costs),
        cmocka_unit_test(threads_may_share_it),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.endpoint", tests, NULL, NULL);
}
