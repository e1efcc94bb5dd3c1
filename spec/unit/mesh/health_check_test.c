/* Active checks: rise and fall, kinds of failure, moments, concurrency, sets that change. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/health_check.h"
#include "mesh/outlier.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS

#define OK NP_CHECK_OK
#define HTTP NP_CHECK_HTTP_FAILED
#define TCP NP_CHECK_TCP_FAILED
#define TIMEOUT NP_CHECK_TIMEOUT
#define CANCELED NP_CHECK_CANCELED

static struct np_snapshot *fleet(size_t n)
{
    struct np_endpoint **e = np_calloc(n, sizeof *e);
    struct np_snapshot *set;
    assert_non_null(e);
    for (size_t i = 0; i < n; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.0.%zu.%zu:80", i / 250, i % 250 + 1);
        struct np_endpoint_desc d = {.id = address, .service = "s", .address = address};
        assert_ok(np_endpoint_new(&d, NULL, &e[i], NULL));
    }
    assert_ok(np_snapshot_new(e, n, 0, &set));
    for (size_t i = 0; i < n; i++)
        np_endpoint_unref(e[i]);
    np_free(e);
    return set;
}

static struct np_check *make(const struct np_check_options *opts, const struct np_snapshot *set)
{
    struct np_check *c;
    assert_ok(np_check_new(opts, 1, &c));
    assert_ok(np_check_update(c, set, 0));
    return c;
}

static struct np_check_options plain(void)
{
    struct np_check_options o = np_check_defaults;
    o.jitter = 0;
    return o;
}

/* The next check, whenever it is due, with this result; its state after that. */
static const char *check(struct np_check *c, int64_t *now, enum np_check_result r)
{
    int64_t wait;
    enum np_check_state state = NP_CHECK_UNKNOWN;
    struct np_check_entry *t = np_check_next(c, *now, &wait);
    if (t == NULL) {
        assert_true(wait < NP_TIME_NEVER);
        *now += wait;
        t = np_check_next(c, *now, &wait);
    }
    assert_non_null(t);
    (void)np_check_done(c, t, r, *now, &state);
    return np_check_state_name(state);
}

static bool usable(const struct np_snapshot *set, size_t i)
{
    return np_endpoint_availability(set->endpoints[i], 0) == NP_AVAILABLE;
}

static void falls_after_three_and_rises_after_two(void **state)
{
    struct np_snapshot *set = fleet(1);
    struct np_check *c = make(NULL, set);
    int64_t now = 0;
    (void)state;
    assert_string_equal(check(c, &now, OK), "healthy");
    assert_string_equal(check(c, &now, HTTP), "healthy");
    assert_string_equal(check(c, &now, TCP), "healthy");
    assert_string_equal(check(c, &now, OK), "healthy");
    assert_string_equal(check(c, &now, HTTP), "healthy");
    assert_string_equal(check(c, &now, TCP), "healthy");
    assert_string_equal(check(c, &now, CANCELED), "healthy");
    assert_true(usable(set, 0));
    assert_string_equal(check(c, &now, TIMEOUT), "unhealthy");
    assert_false(usable(set, 0));
    assert_string_equal(check(c, &now, OK), "unhealthy");
    assert_string_equal(check(c, &now, TCP), "unhealthy");
    assert_string_equal(check(c, &now, OK), "unhealthy");
    assert_string_equal(check(c, &now, OK), "healthy");
    assert_true(usable(set, 0));
    struct np_check_counters n = np_check_counters(c);
    assert_int_equal(n.checks, 12);
    assert_int_equal(n.changes, 3);
    assert_int_equal(n.results[OK], 5);
    assert_int_equal(n.results[CANCELED], 1);
    assert_int_equal(n.healthy, 1);
    assert_int_equal(n.running, 0);
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void kinds_of_failure_with_limits_of_their_own(void **state)
{
    struct np_check_options o = plain();
    struct np_snapshot *set = fleet(1);
    int64_t now = 0;
    (void)state;
    o.http_failures = 5;
    o.tcp_failures = 2;
    struct np_check *c = make(&o, set);
    check(c, &now, OK);
    for (int i = 0; i < 4; i++)
        assert_string_equal(check(c, &now, HTTP), "healthy");
    assert_string_equal(check(c, &now, TCP), "healthy");
    assert_string_equal(check(c, &now, TIMEOUT), "healthy");
    assert_string_equal(check(c, &now, TIMEOUT), "healthy");
    assert_string_equal(check(c, &now, TCP), "unhealthy");
    check(c, &now, OK);
    check(c, &now, OK);
    for (int i = 0; i < 4; i++)
        assert_string_equal(check(c, &now, HTTP), "healthy");
    assert_string_equal(check(c, &now, HTTP), "unhealthy");
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void of_one_that_is_not_known_the_first_success_decides(void **state)
{
    struct np_check_options o = plain();
    struct np_snapshot *set = fleet(1);
    int64_t now = 0;
    (void)state;
    struct np_check *c = make(&o, set);
    assert_true(usable(set, 0));
    assert_string_equal(check(c, &now, TCP), "unknown");
    assert_string_equal(check(c, &now, OK), "healthy");
    np_check_free(c, now);

    o.initial = NP_CHECK_UNHEALTHY;
    c = make(&o, set);
    assert_false(usable(set, 0));
    assert_string_equal(check(c, &now, OK), "unhealthy");
    assert_string_equal(check(c, &now, OK), "healthy");
    assert_true(usable(set, 0));
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void one_that_was_unhealthy_before_has_to_rise(void **state)
{
    struct np_snapshot *set = fleet(1);
    int64_t now = 0;
    (void)state;
    np_endpoint_set_healthy(set->endpoints[0], false, 0);
    struct np_check *c = make(NULL, set);
    assert_string_equal(check(c, &now, OK), "unhealthy");
    assert_false(usable(set, 0));
    assert_string_equal(check(c, &now, OK), "healthy");
    assert_true(usable(set, 0));
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void the_end_of_its_checks_leaves_none_unhealthy(void **state)
{
    struct np_snapshot *set = fleet(2), *one = NULL, *none = NULL;
    struct np_check_options o = plain();
    int64_t now = 0;
    (void)state;
    o.fall = 1;
    struct np_check *c = make(&o, set);
    check(c, &now, TCP);
    check(c, &now, TCP);
    assert_false(usable(set, 0) || usable(set, 1));
    assert_ok(np_snapshot_new(set->endpoints, 1, 0, &one));
    assert_ok(np_check_update(c, one, now));
    assert_false(usable(set, 0));
    assert_true(usable(set, 1));
    np_check_free(c, now);
    assert_true(usable(set, 0));
    assert_ok(np_snapshot_new(NULL, 0, 0, &none));
    np_snapshot_unref(none);
    np_snapshot_unref(one);
    np_snapshot_unref(set);
}

static void in_shadow_mode_it_tells_and_leaves_all_alone(void **state)
{
    struct np_check_options o = plain();
    struct np_snapshot *set = fleet(1);
    int64_t now = 0;
    (void)state;
    o.shadow = true;
    o.fall = 1;
    o.initial = NP_CHECK_UNHEALTHY;
    struct np_check *c = make(&o, set);
    check(c, &now, OK);
    check(c, &now, OK);
    assert_string_equal(check(c, &now, TCP), "unhealthy");
    assert_true(usable(set, 0));
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void intervals_are_drawn_and_counted_from_the_beginning(void **state)
{
    struct np_check_options o = np_check_defaults;
    struct np_snapshot *set = fleet(1);
    int64_t now = 0, wait, least = INT64_MAX, most = 0;
    enum np_check_state to;
    (void)state;
    o.fall = 1;
    o.unhealthy_interval_ns = 5 * S;
    struct np_check *c = make(&o, set);
    for (int i = 0; i < 1000; i++) {
        struct np_check_entry *t = np_check_next(c, now, &wait);
        assert_non_null(t);
        (void)np_check_done(c, t, OK, now + 100 * MS, &to);
        assert_null(np_check_next(c, now, &wait));
        if (wait < least) least = wait;
        if (wait > most) most = wait;
        now += wait;
    }
    assert_in_range(least, 800 * MS, 805 * MS);
    assert_in_range(most, 1195 * MS, 1200 * MS);
    struct np_check_entry *t = np_check_next(c, now, &wait);
    (void)np_check_done(c, t, TCP, now, &to);
    assert_null(np_check_next(c, now, &wait));
    assert_in_range(wait, 4 * S, 6 * S);
    now += wait;
    t = np_check_next(c, now, &wait);
    (void)np_check_done(c, t, TCP, now + 60 * S, &to); /* it took longer than the interval */
    assert_non_null(np_check_next(c, now + 60 * S, &wait));
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void no_more_at_a_time_and_none_is_forgotten(void **state)
{
    enum { N = 10000 };
    struct np_check_options o = plain();
    struct np_snapshot *set = fleet(N);
    struct np_check_entry *running[10];
    int64_t now = 0, wait;
    enum np_check_state to;
    (void)state;
    struct np_check *c = make(&o, set);
    /* Each batch of ten takes 10 ms, so a round takes ten seconds though the interval is one. */
    for (int round = 1; round <= 2; round++) {
        for (int batch = 0; batch < N / 10; batch++) {
            for (int i = 0; i < 10; i++) {
                running[i] = np_check_next(c, now, &wait);
                assert_non_null(running[i]);
            }
            assert_null(np_check_next(c, now, &wait));
            assert_true(wait == NP_TIME_NEVER);
            now += 10 * MS;
            for (int i = 0; i < 10; i++)
                (void)np_check_done(c, running[i], OK, now, &to);
        }
        assert_int_equal(np_check_counters(c).checks, round * N);
        if (round == 1) assert_int_equal(np_check_counters(c).unknown, 0);
    }
    assert_true(np_check_counters(c).late_ns > 8 * S);
    size_t it = 0;
    for (const struct np_check_entry *t; (t = np_check_each(c, &it)) != NULL;)
        assert_int_equal(np_check_look(t).row, 2);
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void sets_change_beside_running_checks(void **state)
{
    struct np_snapshot *set = fleet(3), *less = NULL;
    struct np_check_options o = plain();
    int64_t wait, now = 0;
    enum np_check_state to = NP_CHECK_UNKNOWN;
    (void)state;
    o.fall = 1;
    struct np_check *c = make(&o, set);
    struct np_check_entry *a = np_check_next(c, 0, &wait), *b = np_check_next(c, 0, &wait);
    assert_ptr_equal(np_check_endpoint(a), set->endpoints[0]);
    assert_ok(np_snapshot_new(set->endpoints + 2, 1, 0, &less));
    assert_ok(np_check_update(c, less, now));
    assert_int_equal(np_check_counters(c).endpoints, 3); /* two until their checks are done */
    assert_false(np_check_done(c, a, TCP, now, &to));
    assert_true(usable(set, 0));
    assert_ok(np_check_update(c, set, now)); /* the other came back meanwhile */
    assert_true(np_check_done(c, b, TCP, now, &to));
    assert_false(usable(set, 1));
    assert_int_equal(np_check_counters(c).endpoints, 3);
    assert_int_equal(np_check_counters(c).unhealthy, 1);
    assert_int_equal(np_check_counters(c).running, 0);
    a = np_check_next(c, now, &wait);
    np_check_free(c, now); /* with a check under way */
    assert_non_null(a);
    assert_true(usable(set, 1));
    np_snapshot_unref(less);
    np_snapshot_unref(set);
}

static void a_new_description_keeps_what_is_known(void **state)
{
    struct np_snapshot *set = fleet(1), *renewed = NULL;
    struct np_endpoint *e = NULL;
    struct np_check_options o = plain();
    int64_t now = 0, wait;
    (void)state;
    o.fall = 1;
    struct np_check *c = make(&o, set);
    check(c, &now, TCP);
    struct np_endpoint_desc d = np_endpoint_describe(set->endpoints[0]);
    d.weight = 7;
    assert_ok(np_endpoint_new(&d, set->endpoints[0]->stats, &e, NULL));
    assert_ok(np_snapshot_new(&e, 1, 0, &renewed));
    assert_ok(np_check_update(c, renewed, now));
    assert_int_equal(np_check_counters(c).unhealthy, 1);
    struct np_check_entry *t = np_check_next(c, now + S, &wait);
    assert_int_equal(np_check_endpoint(t)->weight, 7);
    assert_string_equal(np_check_result_name(np_check_look(t).last), "tcp_failure");
    np_check_free(c, now);
    np_endpoint_unref(e);
    np_snapshot_unref(renewed);
    np_snapshot_unref(set);
}

static void another_takes_over(void **state)
{
    struct np_snapshot *set = fleet(3), *two = NULL;
    int64_t wait;
    (void)state;
    struct np_check *c = make(NULL, set);
    for (int i = 0; i < 3; i++)
        assert_non_null(np_check_next(c, 0, &wait));
    assert_ok(np_snapshot_new(set->endpoints, 2, 0, &two));
    assert_ok(np_check_update(c, two, 0));
    np_check_take_over(c, S);
    assert_int_equal(np_check_counters(c).running, 0);
    assert_int_equal(np_check_counters(c).endpoints, 2);
    assert_non_null(np_check_next(c, S, &wait));
    assert_non_null(np_check_next(c, S, &wait));
    assert_null(np_check_next(c, S, &wait));
    np_check_free(c, S);
    np_snapshot_unref(two);
    np_snapshot_unref(set);
}

static void other_options(void **state)
{
    struct np_snapshot *set = fleet(1);
    struct np_check_options o = plain();
    int64_t now = 0;
    (void)state;
    struct np_check *c = make(&o, set);
    o.fall = 1;
    assert_ok(np_check_set(c, &o, now));
    assert_string_equal(check(c, &now, TCP), "unhealthy");
    assert_false(usable(set, 0));
    o.shadow = true;
    assert_ok(np_check_set(c, &o, now));
    assert_true(usable(set, 0));
    o.shadow = false;
    assert_ok(np_check_set(c, &o, now));
    assert_false(usable(set, 0));
    o.fall = 0;
    assert_err(np_check_set(c, &o, now), NEAP_EINVAL);
    np_check_free(c, now);
    np_snapshot_unref(set);
}

static void options_out_of_range(void **state)
{
    struct np_check *c = NULL;
    (void)state;
#define REFUSED(field, v)                                                    \
    do {                                                                     \
        struct np_check_options bad = np_check_defaults;                     \
        bad.field = (v);                                                     \
        assert_non_null(strstr(np_check_options_problem(&bad), "expected")); \
        assert_err(np_check_new(&bad, 1, &c), NEAP_EINVAL);                  \
    } while (0)
    REFUSED(interval_ns, 0);
    REFUSED(unhealthy_interval_ns, -1);
    REFUSED(jitter, 1);
    REFUSED(rise, 0);
    REFUSED(fall, 0);
    REFUSED(concurrency, 0);
    assert_null(np_check_options_problem(&np_check_defaults));
    np_check_free(c, 0);
}

static enum neap_err with_scarce_memory(void *arg)
{
    struct np_snapshot *set = arg;
    struct np_check *c = NULL;
    int64_t now = 0;
    enum neap_err err = np_check_new(NULL, 1, &c);
    if (err) return err;
    err = np_check_update(c, set, 0);
    for (int i = 0; i < 60; i++) {
        if (np_check_counters(c).endpoints > 0) check(c, &now, TCP);
    }
    if (err == NEAP_OK) assert_int_equal(np_check_counters(c).unhealthy, set->len);
    np_check_free(c, now);
    for (size_t i = 0; i < set->len; i++)
        assert_true(usable(set, i));
    return err;
}

static void survives_scarce_memory(void **state)
{
    struct np_snapshot *set = fleet(20);
    (void)state;
    assert_true(np_test_oom(with_scarce_memory, set) > 5);
    np_snapshot_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(falls_after_three_and_rises_after_two),
        cmocka_unit_test(kinds_of_failure_with_limits_of_their_own),
        cmocka_unit_test(of_one_that_is_not_known_the_first_success_decides),
        cmocka_unit_test(one_that_was_unhealthy_before_has_to_rise),
        cmocka_unit_test(the_end_of_its_checks_leaves_none_unhealthy),
        cmocka_unit_test(in_shadow_mode_it_tells_and_leaves_all_alone),
        cmocka_unit_test(intervals_are_drawn_and_counted_from_the_beginning),
        cmocka_unit_test(no_more_at_a_time_and_none_is_forgotten),
        cmocka_unit_test(sets_change_beside_running_checks),
        cmocka_unit_test(a_new_description_keeps_what_is_known),
        cmocka_unit_test(another_takes_over),
        cmocka_unit_test(other_options),
        cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(survives_scarce_memory),
    };
    return cmocka_run_group_tests_name("mesh.health_check", tests, NULL, NULL);
}
