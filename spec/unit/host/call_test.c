/* Calls between C and Lua, both ways: values, errors, results that come later. */
#include <stdio.h>

#include "rig.h"

/* --- Lua functions that C calls */

static void call_now_gives_the_result_at_once(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "function add(a, b) return a + b end");
    neap_value args[] = {neap_integer(40), neap_integer(2)};
    assert_ok(neap_call_now(n, "add", args, 2, keep_outcome, &o));
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.type, NEAP_INTEGER);
    assert_int_equal(o.integer, 42);
    neap_close(n);
}

static void a_path_leads_into_what_a_text_returned(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    const char *code = "return { rules = { greet = function(s) return 'hello ' .. s end } }";
    assert_ok(neap_load_string(n, code, strlen(code), "policy"));
    neap_value arg = neap_string("you");
    assert_ok(neap_call_now(n, "policy.rules.greet", &arg, 1, keep_outcome, &o));
    assert_string_equal(o.text, "hello you");
    neap_close(n);
}

static void tables_pass_both_ways(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "function total(order) local sum = 0\n"
            "  for _, line in ipairs(order.lines) do sum = sum + line.n * line.price end\n"
            "  return sum .. ' ' .. order.currency end");
    struct neap_field line[] = {{neap_string("n"), neap_integer(3)},
                                {neap_string("price"), neap_integer(5)}};
    struct neap_field lines[] = {{neap_integer(1), neap_table(line, 2)},
                                 {neap_integer(2), neap_table(line, 2)}};
    struct neap_field order[] = {{neap_string("lines"), neap_table(lines, 2)},
                                 {neap_string("currency"), neap_string("EUR")}};
    neap_value arg = neap_table(order, 2);
    assert_ok(neap_call_now(n, "total", &arg, 1, keep_outcome, &o));
    assert_string_equal(o.text, "30 EUR");
    neap_close(n);
}

static void check_table(neap_t *n, const neap_result *r, void *user)
{
    (void)n;
    *(bool *)user = true;
    assert_int_equal(r->count, 2);
    const neap_value *list = neap_value_field(&r->values[0], "list");
    assert_non_null(list);
    assert_string_equal(neap_value_item(list, 2)->as.string.data, "b");
    assert_null(neap_value_item(list, 3));
    assert_null(neap_value_field(&r->values[0], "absent"));
    assert_null(neap_value_field(&r->values[1], "not a table"));
    assert_true(r->values[1].as.number == 0.5);
}

static void results_can_be_looked_into(void **state)
{
    (void)state;
    neap_t *n = open_host();
    bool called = false;
    load(n, "function f() return { list = { 'a', 'b' }, on = true }, 0.5 end");
    assert_ok(neap_call_now(n, "f", NULL, 0, check_table, &called));
    assert_true(called);
    neap_close(n);
}

static void an_error_is_told_with_its_code_and_words(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "function bad() error('no good') end\n"
            "function coded() error(require('neap.task').error('EACCES', 'not you')) end\n"
            "function odd() return print end");
    assert_err(neap_call_now(n, "bad", NULL, 0, keep_outcome, &o), NEAP_ESCRIPT);
    assert_int_equal(o.err, NEAP_ESCRIPT);
    assert_string_equal(o.message, "script:1: no good");
    assert_non_null(strstr(neap_error(n), "stack traceback"));
    assert_err(neap_call_now(n, "coded", NULL, 0, keep_outcome, &o), NEAP_EACCES);
    assert_string_equal(o.message, "EACCES: not you");
    assert_err(neap_call_now(n, "nobody", NULL, 0, keep_outcome, &o), NEAP_ENOTFOUND);
    assert_err(neap_call_now(n, "bad.worse", NULL, 0, keep_outcome, &o), NEAP_ENOTFOUND);
    assert_err(neap_call_now(n, "odd", NULL, 0, keep_outcome, &o), NEAP_ESCRIPT);
    assert_non_null(strstr(o.message, "cannot be passed"));
    neap_close(n);
}

static void call_now_refuses_to_wait(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "function slow() require('neap.task').sleep(1000) ended = true end\n"
            "function check() return ended == nil end");
    assert_err(neap_call_now(n, "slow", NULL, 0, keep_outcome, &o), NEAP_EAGAIN);
    assert_ok(neap_run(n)); /* ends: the task was cancelled */
    assert_int_equal(o.calls, 0);
    assert_ok(neap_call_now(n, "check", NULL, 0, keep_outcome, &o));
    assert_true(o.boolean);
    neap_close(n);
}

static void call_function_waits_and_tells_from_the_loop(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "function slow(x) require('neap.task').sleep(0.001) return x end");
    neap_value arg = neap_string("later");
    assert_ok(neap_call_function(n, "slow", &arg, 1, keep_outcome, &o));
    assert_int_equal(o.calls, 0);
    assert_ok(neap_run(n));
    assert_int_equal(o.calls, 1);
    assert_string_equal(o.text, "later");
    neap_close(n);
}

static void a_call_that_the_end_cuts_off_is_told_so(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    struct outcome one = {0}, two = {0};
    load(n, "function slow() require('neap.task').sleep(1000) end\n"
            "function stubborn() while true do pcall(require('neap.task').sleep, 1000) end end");
    assert_ok(neap_call_function(n, "slow", NULL, 0, keep_outcome, &one));
    assert_ok(neap_call_function(n, "stubborn", NULL, 0, keep_outcome, &two));
    neap_close(n);
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.err, NEAP_ECANCELED);
    assert_int_equal(two.calls, 1);
    assert_int_equal(two.err, NEAP_ECANCELED);
    assert_no_leak(live);
}

static void values_that_do_not_pass_are_refused(void **state)
{
    (void)state;
    neap_t *n = open_host();
    load(n, "function f() end");
    neap_value v = neap_integer(1);
    struct neap_field nest[40];
    for (int i = 0; i < 40; i++) {
        nest[i].key = neap_integer(1);
        nest[i].value = v;
        v = neap_table(&nest[i], 1);
    }
    assert_err(neap_call_now(n, "f", &v, 1, NULL, NULL), NEAP_EINVAL);
    v.type = (neap_type)99;
    assert_err(neap_call_function(n, "f", &v, 1, NULL, NULL), NEAP_EINVAL);
    assert_err(neap_call_now(n, "", NULL, 0, NULL, NULL), NEAP_EINVAL);
    neap_close(n);
}

/* --- C functions that Lua calls */

static void price(neap_call *call, void *user)
{
    int64_t quantity;
    const char *what;
    assert_ptr_equal(user, "tag");
    if (neap_arg_string(call, 1, &what, NULL) == NEAP_OK &&
        neap_arg_integer(call, 2, &quantity) == NEAP_OK) {
        neap_return(call, neap_integer(quantity * 7));
        neap_return(call, neap_string(what));
    }
    neap_call_finish(call);
}

static void a_script_calls_an_exported_function(void **state)
{
    (void)state;
    neap_t *n = open_host();
    assert_ok(neap_export(n, "price", price, "tag"));
    load(n,
         "local host = require 'neap.host'\n"
         "local total, what = host.price('tea', 6.0)\n"
         "assert(total == 42 and what == 'tea')\n"
         "local ok, err = pcall(host.price, 'tea')\n"
         "assert(not ok and err:find('bad argument #2 %(integer expected, got no value%)'), err)\n"
         "assert(not pcall(host.price, 1, 2))\n"
         "assert(host.nothing == nil)\n");
    neap_close(n);
}

static neap_call *held;

static void hold(neap_call *call, void *user)
{
    (void)user;
    held = call;
}

static void finish_held(neap_t *n, void *user)
{
    assert_ptr_equal(neap_call_host(held), n);
    neap_return(held, neap_string(user));
    neap_call_finish(held);
}

static void an_exported_function_may_finish_later(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    assert_ok(neap_export(n, "ask", hold, NULL));
    load(n, "answer = 'none'; answer = require('neap.host').ask()\n"
            "function get() return answer end");
    assert_err(neap_call_now(n, "get", NULL, 0, keep_outcome, &o), NEAP_ENOTFOUND);
    assert_ok(neap_post(n, finish_held, "done"));
    assert_ok(neap_run(n));
    assert_ok(neap_call_now(n, "get", NULL, 0, keep_outcome, &o));
    assert_string_equal(o.text, "done");
    neap_close(n);
}

static void fail_call(neap_call *call, void *user)
{
    int64_t how = 0;
    (void)user;
    if (neap_arg_integer(call, 1, &how) == NEAP_OK) {
        if (how == 1) neap_return_error(call, NEAP_ENOTFOUND, "no such thing");
        if (how == 2) neap_raise(call, "not like this");
    }
    neap_call_finish(call);
}

static void an_exported_function_fails_as_bindings_do(void **state)
{
    (void)state;
    neap_t *n = open_host();
    assert_ok(neap_export(n, "try", fail_call, NULL));
    load(n, "local try = require('neap.host').try\n"
            "local v, err = try(1)\n"
            "assert(v == nil and err.code == 'ENOTFOUND' and err.message == 'no such thing')\n"
            "local ok, msg = pcall(function() try(2) end)\n"
            "assert(not ok and msg:find('not like this'), msg)\n"
            "assert(select('#', try(3)) == 0)\n");
    neap_close(n);
}

static int cancels;

static void count_cancel(neap_call *call, void *user)
{
    (void)user;
    cancels++;
    neap_return(call, neap_integer(1));
    neap_call_finish(call);
}

static void hold_until_cancelled(neap_call *call, void *user)
{
    (void)user;
    neap_call_on_cancel(call, count_cancel, NULL);
}

static void a_cancelled_task_tells_the_function_it_waits_for(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    cancels = 0;
    assert_ok(neap_export(n, "ask", hold_until_cancelled, NULL));
    load(n, "local task = require 'neap.task'\n"
            "local t = task.spawn(require('neap.host').ask)\n"
            "task.sleep(0) t:cancel()\n"
            "local v, err = t:await()\n"
            "assert(v == nil and err.code == 'ECANCELED')\n");
    assert_ok(neap_run(n));
    assert_int_equal(cancels, 1);
    neap_close(n);
    assert_no_leak(live);
}

static void a_call_may_be_finished_after_its_host_is_gone(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    assert_ok(neap_export(n, "ask", hold, NULL));
    load(n, "require('neap.host').ask('kept', { 1, 2 })");
    neap_close(n);
    assert_null(neap_call_host(held));
    assert_string_equal(neap_arg(held, 1)->as.string.data, "kept");
    assert_int_equal(neap_value_item(neap_arg(held, 2), 2)->as.integer, 2);
    assert_int_equal(neap_arg(held, 3)->type, NEAP_NIL);
    neap_return(held, neap_string("too late"));
    neap_call_finish(held);
    assert_no_leak(live);
}

static void exporting_again_replaces(void **state)
{
    (void)state;
    neap_t *n = open_host();
    assert_ok(neap_export(n, "f", price, "tag"));
    load(n, "f = require('neap.host').f");
    assert_ok(neap_export(n, "f", fail_call, NULL));
    load(n, "assert(select(2, f(1)).code == 'ENOTFOUND')");
    assert_err(neap_export(n, "not a name", fail_call, NULL), NEAP_EINVAL);
    assert_err(neap_export(n, "", fail_call, NULL), NEAP_EINVAL);
    assert_err(neap_export(n, "f", NULL, NULL), NEAP_EINVAL);
    neap_close(n);
}

static void call_back(neap_call *call, void *user)
{
    assert_err(neap_call_now(neap_call_host(call), "g", NULL, 0, NULL, NULL), NEAP_EBUSY);
    assert_ok(neap_call_function(neap_call_host(call), "g", NULL, 0, keep_outcome, user));
    neap_call_finish(call);
}

static void a_function_may_call_back_into_scripts(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    assert_ok(neap_export(n, "f", call_back, &o));
    load(n, "function g() return 'g' end require('neap.host').f()");
    assert_ok(neap_run(n));
    assert_string_equal(o.text, "g");
    neap_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_now_gives_the_result_at_once),
        cmocka_unit_test(a_path_leads_into_what_a_text_returned),
        cmocka_unit_test(tables_pass_both_ways),
        cmocka_unit_test(results_can_be_looked_into),
        cmocka_unit_test(an_error_is_told_with_its_code_and_words),
        cmocka_unit_test(call_now_refuses_to_wait),
        cmocka_unit_test(call_function_waits_and_tells_from_the_loop),
        cmocka_unit_test(a_call_that_the_end_cuts_off_is_told_so),
        cmocka_unit_test(values_that_do_not_pass_are_refused),
        cmocka_unit_test(a_script_calls_an_exported_function),
        cmocka_unit_test(an_exported_function_may_finish_later),
        cmocka_unit_test(an_exported_function_fails_as_bindings_do),
        cmocka_unit_test(a_cancelled_task_tells_the_function_it_waits_for),
        cmocka_unit_test(a_call_may_be_finished_after_its_host_is_gone),
        cmocka_unit_test(exporting_again_replaces),
        cmocka_unit_test(a_function_may_call_back_into_scripts),
    };
    return cmocka_run_group_tests_name("host.call", tests, NULL, NULL);
}
