/* Timers: order, moving, stopping, what keeps the loop alive. Spans are tiny and waited for as
 * events; no duration is looked at.
 */
#include "fixture.h"

struct alarm {
    struct np_timer t;
    int *order;
    int place;
    int runs;
    int restarts;           /* how often it starts itself again, with no span */
    struct np_timer *stops; /* another one that it stops */
};

static void ring(struct np_timer *t)
{
    struct alarm *a = np_container_of(t, struct alarm, t);
    assert_false(np_timer_armed(t));
    a->runs++;
    if (a->order) a->place = ++*a->order;
    if (a->restarts-- > 0) assert_ok(np_timer_start(t, 0));
    if (a->stops) np_timer_stop(a->stops);
}

static void init(struct fix *f, struct alarm *a, int *order)
{
    *a = (struct alarm){.order = order};
    np_timer_init(&a->t, &f->loop, ring);
}

static void run_in_the_order_of_their_moments(void **state)
{
    struct fix *f = *state;
    int order = 0;
    struct alarm a, b, c, d;
    init(f, &a, &order);
    init(f, &b, &order);
    init(f, &c, &order);
    init(f, &d, &order);
    assert_ok(np_timer_start(&a.t, 3 * NP_NS_PER_MS));
    assert_ok(np_timer_start(&b.t, 1 * NP_NS_PER_MS));
    assert_ok(np_timer_start(&c.t, 2 * NP_NS_PER_MS));
    assert_ok(np_timer_start(&d.t, 2 * NP_NS_PER_MS));
    assert_int_equal(order, 0);
    np_loop_run(&f->loop);
    assert_int_equal(b.place, 1);
    assert_int_equal(c.place, 2);
    assert_int_equal(d.place, 3);
    assert_int_equal(a.place, 4);
}

static void may_be_moved_later_and_earlier(void **state)
{
    struct fix *f = *state;
    int order = 0;
    struct alarm a, b, c;
    init(f, &a, &order);
    init(f, &b, &order);
    init(f, &c, &order);
    assert_ok(np_timer_start(&a.t, 1 * NP_NS_PER_MS));
    assert_ok(np_timer_start(&b.t, 3 * NP_NS_PER_MS));
    assert_ok(np_timer_start(&c.t, 3600 * NP_NS_PER_SEC));
    assert_ok(np_timer_start(&a.t, 5 * NP_NS_PER_MS)); /* after b now */
    assert_ok(np_timer_start(&c.t, 2 * NP_NS_PER_MS)); /* before b now */
    assert_int_equal(f->loop.timers.len, 3);
    np_loop_run(&f->loop);
    assert_int_equal(c.place, 1);
    assert_int_equal(b.place, 2);
    assert_int_equal(a.place, 3);
    assert_int_equal(a.runs + b.runs + c.runs, 3);
}

static void may_be_stopped_even_by_one_that_is_due_with_it(void **state)
{
    struct fix *f = *state;
    struct alarm a, b, c;
    init(f, &a, NULL);
    init(f, &b, NULL);
    init(f, &c, NULL);
    a.stops = &b.t;
    assert_ok(np_timer_start(&a.t, NP_NS_PER_MS));
    assert_ok(np_timer_start(&b.t, NP_NS_PER_MS));
    assert_ok(np_timer_start(&c.t, 3600 * NP_NS_PER_SEC));
    np_timer_stop(&c.t);
    np_timer_stop(&c.t);
    np_loop_run(&f->loop);
    assert_int_equal(a.runs, 1);
    assert_int_equal(b.runs + c.runs, 0);
}

static void one_that_starts_itself_again_does_not_starve_the_loop(void **state)
{
    struct fix *f = *state;
    struct alarm a;
    init(f, &a, NULL);
    a.restarts = 1000000000;
    assert_ok(np_timer_start(&a.t, 0));
    for (int i = 0; i < 10; i++)
        assert_true(np_loop_poll(&f->loop));
    assert_true(a.runs > 1 && a.runs <= 20);
    np_timer_stop(&a.t);
}

static void a_background_timer_does_not_hold_the_loop(void **state)
{
    struct fix *f = *state;
    struct alarm a, b;
    init(f, &a, NULL);
    init(f, &b, NULL);
    a.t.background = true;
    assert_ok(np_timer_start(&a.t, 3600 * NP_NS_PER_SEC));
    np_loop_run(&f->loop);
    assert_ok(np_timer_start(&b.t, 3600 * NP_NS_PER_SEC));
    assert_true(np_loop_poll(&f->loop));
    np_timer_set_background(&b.t, true);
    np_loop_run(&f->loop);
    np_timer_set_background(&b.t, false);
    assert_true(np_loop_poll(&f->loop));
    np_timer_stop(&a.t);
    np_timer_stop(&b.t);
}

static void never_is_never(void **state)
{
    struct fix *f = *state;
    struct alarm a;
    init(f, &a, NULL);
    assert_ok(np_timer_start(&a.t, NP_NS_PER_SEC));
    assert_ok(np_timer_start(&a.t, NP_TIME_NEVER));
    assert_false(np_timer_armed(&a.t));
    np_loop_run(&f->loop);
    assert_int_equal(a.runs, 0);
}

static void thousands_cost_one_handle_of_libuv(void **state)
{
    enum { N = 5000 };
    struct fix *f = *state;
    struct alarm *all = test_calloc(N, sizeof *all);
    int rung = 0;
    for (int i = 0; i < N; i++) {
        init(f, &all[i], &rung);
        assert_ok(np_timer_start(&all[i].t, (int64_t)(i * 7919 % 10) * NP_NS_PER_MS));
    }
    assert_int_equal(f->loop.uv->active_handles, 1);
    np_loop_run(&f->loop);
    assert_int_equal(rung, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(all[i].runs, 1);
    test_free(all);
}

static enum neap_err start_one(void *arg)
{
    struct np_loop loop;
    struct np_timer t;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    np_timer_init(&t, &loop, ring);
    err = np_timer_start(&t, NP_NS_PER_SEC);
    assert_true(np_timer_armed(&t) == (err == NEAP_OK));
    np_timer_stop(&t);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void survive_running_out_of_memory(void **state)
{
    assert_int_not_equal(np_test_oom(start_one, NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(run_in_the_order_of_their_moments),
        T(may_be_moved_later_and_earlier),
        T(may_be_stopped_even_by_one_that_is_due_with_it),
        T(one_that_starts_itself_again_does_not_starve_the_loop),
        T(a_background_timer_does_not_hold_the_loop),
        T(never_is_never),
        T(thousands_cost_one_handle_of_libuv),
        cmocka_unit_test(survive_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("net.timer", tests, NULL, NULL);
}
