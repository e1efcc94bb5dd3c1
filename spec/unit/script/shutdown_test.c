/* Draining: order, grace, objects that come and go meanwhile. */
#include "script/shutdown.h"

#include <string.h>

#include "np_test.h"

struct object {
    struct np_drain drain;
    char name;
    bool stays;            /* does not end when it is asked to */
    struct object *ends;   /* takes this one out too */
    struct np_drain *adds; /* adds this one */
    struct rig *rig;
};

struct rig {
    struct np_loop loop;
    struct np_shutdown shutdown;
    char asked[16];
    int64_t grace; /* what the last one was given */
    int done;
    struct object a, b, c;
};

static void on_drain(struct np_drain *d, int64_t grace)
{
    struct object *o = np_container_of(d, struct object, drain);
    strncat(o->rig->asked, &o->name, 1);
    o->rig->grace = grace;
    if (o->adds) np_drain_add(&o->rig->shutdown, o->adds);
    if (o->ends) np_drain_remove(&o->ends->drain);
    if (!o->stays) np_drain_remove(d);
}

static void on_done(void *arg)
{
    ((struct rig *)arg)->done++;
}

static void init_object(struct rig *r, struct object *o, char name)
{
    o->drain.drain = on_drain;
    o->name = name;
    o->rig = r;
}

static int set_up(void **state)
{
    struct rig *r = np_calloc(1, sizeof *r);
    assert_ok(np_loop_init(&r->loop, NULL, NULL));
    np_shutdown_init(&r->shutdown, &r->loop);
    init_object(r, &r->a, 'a');
    init_object(r, &r->b, 'b');
    init_object(r, &r->c, 'c');
    np_drain_add(&r->shutdown, &r->a.drain);
    np_drain_add(&r->shutdown, &r->b.drain);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    np_shutdown_fini(&r->shutdown);
    np_loop_fini(&r->loop, NULL, NULL);
    np_free(r);
    return 0;
}

static void start(struct rig *r, int64_t grace)
{
    np_shutdown_start(&r->shutdown, grace, on_done, r);
    assert_int_equal(r->done, 0); /* never from inside */
}

static void the_last_added_is_asked_first(void **state)
{
    struct rig *r = *state;
    start(r, 5 * NP_NS_PER_SEC);
    np_loop_run(&r->loop);
    assert_string_equal(r->asked, "ba");
    assert_int_equal(r->done, 1);
    assert_in_range(r->grace, 1, 5 * NP_NS_PER_SEC); /* what is left of it */
}

static void nothing_to_drain_is_done_in_a_turn(void **state)
{
    struct rig *r = *state;
    np_drain_remove(&r->a.drain);
    np_drain_remove(&r->b.drain);
    np_drain_remove(&r->b.drain); /* twice is nothing */
    start(r, NP_TIME_NEVER);
    np_loop_run(&r->loop);
    assert_string_equal(r->asked, "");
    assert_int_equal(r->done, 1);
}

static void one_that_ends_another_leaves_it_unasked(void **state)
{
    struct rig *r = *state;
    r->b.ends = &r->a;
    start(r, NP_NS_PER_SEC);
    np_loop_run(&r->loop);
    assert_string_equal(r->asked, "b");
    assert_int_equal(r->done, 1);
}

static void one_added_meanwhile_is_asked_too(void **state)
{
    struct rig *r = *state;
    r->b.adds = &r->c.drain;
    r->a.stays = true;
    start(r, NP_NS_PER_SEC);
    while (strlen(r->asked) < 3)
        np_loop_poll(&r->loop);
    assert_int_equal(r->done, 0);
    np_drain_remove(&r->a.drain);
    np_loop_run(&r->loop);
    assert_int_equal(r->done, 1);
    assert_non_null(strchr(r->asked, 'c'));
}

static void what_does_not_end_has_its_grace(void **state)
{
    struct rig *r = *state;
    r->a.stays = true;
    start(r, NP_NS_PER_MS);
    np_loop_run(&r->loop);
    assert_int_equal(r->done, 1);
    assert_false(np_list_empty(&r->shutdown.objects));
    np_drain_remove(&r->a.drain); /* too late: done is not called again */
    np_loop_run(&r->loop);
    assert_int_equal(r->done, 1);
}

static void a_second_start_only_shortens(void **state)
{
    struct rig *r = *state;
    r->a.stays = true;
    start(r, NP_TIME_NEVER);
    np_loop_poll(&r->loop);
    np_shutdown_start(&r->shutdown, NP_NS_PER_MS, on_done, r);
    np_shutdown_start(&r->shutdown, 1000 * NP_NS_PER_SEC, on_done, r);
    np_loop_run(&r->loop);
    assert_int_equal(r->done, 1);
    assert_string_equal(r->asked, "ba");
}

static void no_grace_asks_all_and_waits_for_none(void **state)
{
    struct rig *r = *state;
    r->a.stays = r->b.stays = true;
    start(r, 0);
    np_loop_run(&r->loop);
    assert_string_equal(r->asked, "ba");
    assert_int_equal(r->grace, 0);
    assert_int_equal(r->done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_added_is_asked_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_drain_is_done_in_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_ends_another_leaves_it_unasked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_added_meanwhile_is_asked_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_end_has_its_grace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_start_only_shortens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_grace_asks_all_and_waits_for_none, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("script.shutdown", tests, NULL, NULL);
}
