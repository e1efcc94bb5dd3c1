/* The scheduler's contract (src/script/task.h), on an operation that the test completes by hand. */
#include "rig.h"

static void a_task_that_does_not_wait_ends_inside_start(void **state)
{
    struct rig *r = *state;
    rig_run(r, "x = 1");
    assert_int_equal(r->ended, 1);
    assert_true(r->ok);
    assert_int_equal(r->script->sched.live, 0);
}

static void waking_runs_nothing_until_the_scheduler_does(void **state)
{
    struct rig *r = *state;
    rig_run(r, "result = wait()");
    assert_int_equal(r->armed, 1);
    np_wake(&r->wait, NEAP_OK);
    assert_int_equal(r->resumed, 0);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "result"), "OK");
    assert_int_equal(r->ended, 1);
}

static void a_second_wake_does_nothing(void **state)
{
    struct rig *r = *state;
    rig_run(r, "first = wait(); second = wait()");
    np_wake(&r->wait, NEAP_EPIPE);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "first"), "EPIPE");
    assert_int_equal(r->armed, 2);
    assert_int_equal(r->ended, 0);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_int_equal(r->ended, 1);
}

static void a_timeout_is_a_result_and_takes_the_operation_back(void **state)
{
    struct rig *r = *state;
    rig_run(r, "result = wait(0.001)");
    np_loop_run(&r->loop);
    assert_string_equal(rig_global(r, "result"), "ETIMEDOUT");
    assert_int_equal(r->cancelled, 1);
    assert_true(r->ok);
}

static void cancelling_raises_out_of_the_wait(void **state)
{
    struct rig *r = *state;
    struct np_task *t = rig_run(r, "wait() reached = 'yes'");
    np_task_cancel(t, NEAP_ECANCELED);
    np_task_cancel(t, NEAP_ECANCELED);
    assert_int_equal(r->cancelled, 1);
    np_sched_run(&r->script->sched);
    assert_false(r->ok);
    assert_string_equal(r->failure, "ECANCELED");
    assert_string_equal(rig_global(r, "reached"), "nil");
    np_wake(&r->wait, NEAP_OK); /* nobody waits any more */
    np_sched_run(&r->script->sched);
    assert_int_equal(r->resumed, 0);
}

static void a_cancelled_task_cannot_wait_again(void **state)
{
    struct rig *r = *state;
    struct np_task *t = rig_run(r, "pcall(wait) ok, err = pcall(wait) err = err.code wait()");
    np_task_cancel(t, NEAP_ECANCELED);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "err"), "ECANCELED");
    assert_false(r->ok);
    assert_int_equal(r->cancelled, 3); /* what was armed for the later waits was taken back too */
}

static void a_result_that_is_there_beats_a_later_cancellation(void **state)
{
    struct rig *r = *state;
    struct np_task *t = rig_run(r, "result = wait() wait()");
    np_wake(&r->wait, NEAP_OK);
    np_task_cancel(t, NEAP_ECANCELED);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "result"), "OK");
    assert_string_equal(r->failure, "ECANCELED");
}

static void cancelling_takes_the_children_with_it(void **state)
{
    struct rig *r = *state;
    struct np_task *t = rig_run(r, "local task = require 'neap.task'\n"
                                   "task.spawn(function() task.spawn(function()\n"
                                   "  inner = select(2, pcall(task.sleep, 100)).code end)\n"
                                   "  outer = select(2, pcall(task.sleep, 100)).code end)\n"
                                   "wait()");
    np_sched_run(&r->script->sched);
    assert_int_equal(r->script->sched.live, 3);
    np_task_cancel(t, NEAP_ECANCELED);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "outer"), "ECANCELED");
    assert_string_equal(rig_global(r, "inner"), "ECANCELED");
    assert_int_equal(r->script->sched.live, 0);
}

static void children_outlive_a_parent_that_ends_by_itself(void **state)
{
    struct rig *r = *state;
    rig_run(r, "require('neap.task').spawn(function() result = wait() end)");
    np_sched_run(&r->script->sched);
    assert_int_equal(r->ended, 1);
    np_wake(&r->wait, NEAP_OK);
    np_sched_run(&r->script->sched);
    assert_string_equal(rig_global(r, "result"), "OK");
}

static void a_deadline_is_inherited_and_raises(void **state)
{
    struct rig *r = *state;
    struct np_task *t = rig_task(r, "local task = require 'neap.task'\n"
                                    "f = task.spawn(function() return task.deadline() end)\n"
                                    "left = f:await() < 100\n"
                                    "left = tostring(left) wait()");
    np_task_set_deadline(t, np_loop_now(&r->loop) + 20 * NP_NS_PER_MS);
    np_task_set_deadline(t, np_loop_now(&r->loop) + 100 * NP_NS_PER_SEC); /* the smaller wins */
    np_task_start(t, false);
    np_loop_run(&r->loop);
    assert_string_equal(rig_global(r, "left"), "true");
    assert_string_equal(r->failure, "ETIMEDOUT");
}

static void a_span_counts_from_the_wait_not_from_the_turn(void **state)
{
    struct rig *r = *state;
    /* computes until 30 ms of its turn have passed, then waits for 20 ms */
    rig_run(r, "local runtime = require 'neap.core.runtime'\n"
               "local t0 = runtime.monotonic()\n"
               "while runtime.monotonic() - t0 < 0.03 do end\n"
               "local t1 = runtime.monotonic()\n"
               "require('neap.task').sleep(0.02)\n"
               "slept = tostring(runtime.monotonic() - t1 >= 0.018)");
    np_loop_run(&r->loop);
    assert_string_equal(rig_global(r, "slept"), "true");
}

static void a_wait_inside_a_generator_suspends_the_task(void **state)
{
    struct rig *r = *state;
    rig_run(r, "local seen = {}\n"
               "local gen = coroutine.wrap(function()\n"
               "  for i = 1, 2 do coroutine.yield(i .. wait()) end end)\n"
               "for v in gen do seen[#seen + 1] = v end\n"
               "result = table.concat(seen, ',')");
    for (int i = 0; i < 2; i++) {
        np_wake(&r->wait, NEAP_OK);
        np_sched_run(&r->script->sched);
    }
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "result"), "1OK,2OK");
}

static void where_lua_cannot_yield_waiting_is_refused(void **state)
{
    struct rig *r = *state;
    rig_run(r, "table.sort({1, 2, 3}, function() wait() end)");
    assert_false(r->ok);
    assert_non_null(strstr(r->failure, "cannot wait here"));
    assert_int_equal(r->cancelled, 1);
}

static void an_error_object_reaches_done_with_its_traceback(void **state)
{
    struct rig *r = *state;
    rig_run(r, "local function deep() error('boo') end deep()");
    assert_false(r->ok);
    assert_non_null(strstr(r->failure, "boo"));
}

static void tasks_and_coroutines_are_recycled(void **state)
{
    struct rig *r = *state;
    struct np_task *first = rig_run(r, "x = 1");
    for (int i = 0; i < 10; i++) {
        assert_ptr_equal(rig_run(r, i % 2 ? "error 'x'" : "x = 1"), first);
    }
    assert_int_equal(r->script->sched.free_count, 1);
}

static void closing_the_state_ends_tasks_that_wait(void **state)
{
    struct rig *r = *state;
    rig_run(r,
            "local guard <close> = setmetatable({}, {__close = function() closed() end}) wait()");
    rig_run(r, "while true do pcall(wait) end"); /* will not go: abandoned */
    (void)state;
}

static int note_closed(lua_State *L)
{
    rig_of(L)->resumed = 77;
    return 0;
}

static int setup_with_closed(void **state)
{
    rig_setup(state);
    struct rig *r = *state;
    lua_register(r->script->L, "closed", note_closed);
    return 0;
}

static int teardown_with_closed(void **state)
{
    struct rig *r = *state;
    np_script_free(r->script);
    assert_int_equal(r->resumed, 77);
    assert_null(r->wait.task);
    np_loop_fini(&r->loop, NULL, NULL);
    assert_no_leak(r->blocks);
    free(r);
    return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(a_task_that_does_not_wait_ends_inside_start),
        T(waking_runs_nothing_until_the_scheduler_does),
        T(a_second_wake_does_nothing),
        T(a_timeout_is_a_result_and_takes_the_operation_back),
        T(cancelling_raises_out_of_the_wait),
        T(a_cancelled_task_cannot_wait_again),
        T(a_result_that_is_there_beats_a_later_cancellation),
        T(cancelling_takes_the_children_with_it),
        T(children_outlive_a_parent_that_ends_by_itself),
        T(a_deadline_is_inherited_and_raises),
        T(a_span_counts_from_the_wait_not_from_the_turn),
        T(a_wait_inside_a_generator_suspends_the_task),
        T(where_lua_cannot_yield_waiting_is_refused),
        T(an_error_object_reaches_done_with_its_traceback),
        T(tasks_and_coroutines_are_recycled),
        cmocka_unit_test_setup_teardown(closing_the_state_ends_tasks_that_wait, setup_with_closed,
                                        teardown_with_closed),
    };
    return cmocka_run_group_tests_name("script.task", tests, NULL, NULL);
}
