/* A host's life: opening, loading, running, stopping, closing; its messages and services. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "rig.h"

/* --- opening and loading */

static void options_are_checked(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = NULL;
    neap_options o = NEAP_OPTIONS_INIT;
    o.log_level = "loud";
    assert_err(neap_open(&o, &n), NEAP_EINVAL);
    o.log_level = NULL;
    o.drain_timeout = -1;
    assert_err(neap_open(&o, &n), NEAP_EINVAL);
    o.size = 0;
    assert_err(neap_open(&o, &n), NEAP_EINVAL);
    assert_null(n);
    assert_ok(neap_open(NULL, &n));
    neap_close(n);
    neap_close(NULL);
    assert_no_leak(live);
}

static void older_options_are_read_as_far_as_they_go(void **state)
{
    (void)state;
    neap_t *n = NULL;
    neap_options o = NEAP_OPTIONS_INIT;
    o.size = offsetof(neap_options, drain_timeout);
    o.log_level = "off";
    o.drain_timeout = -1; /* beyond the size: not looked at */
    assert_ok(neap_open(&o, &n));
    neap_close(n);
}

static void a_file_is_loaded_with_its_arguments(void **state)
{
    (void)state;
    char *dir = np_test_tmpdir();
    char path[512];
    struct outcome o = {0};
    snprintf(path, sizeof path, "%s/policy.lua", dir);
    FILE *f = fopen(path, "w");
    fputs("local a, b = ...\nlocal M = {}\nfunction M.args() return a .. b end\nreturn M\n", f);
    fclose(f);
    neap_options opts = NEAP_OPTIONS_INIT;
    const char *args[] = {"x", "y"};
    opts.log_level = "off";
    opts.args = args;
    opts.nargs = 2;
    neap_t *n;
    assert_ok(neap_open(&opts, &n));
    assert_ok(neap_load_file(n, path));
    assert_ok(neap_call_now(n, "policy.args", NULL, 0, keep_outcome, &o));
    assert_string_equal(o.text, "xy");
    load(n, "assert(require('policy').args() == 'xy')");
    neap_close(n);
    np_test_tmpdir_remove(dir);
}

static void what_cannot_be_loaded_says_why(void **state)
{
    (void)state;
    neap_t *n = open_host();
    assert_err(neap_load_file(n, "/nonexistent/x.lua"), NEAP_ENOENT);
    assert_non_null(strstr(neap_error(n), "/nonexistent/x.lua"));
    assert_err(neap_load_string(n, "x = = 1", 7, "typo"), NEAP_ESCRIPT);
    assert_string_equal(neap_error(n), "typo:1: unexpected symbol near '='");
    assert_err(neap_load_string(n, "error('no')", 11, "raise"), NEAP_ESCRIPT);
    assert_non_null(strstr(neap_error(n), "raise:1: no\nstack traceback:"));
    assert_err(neap_load_file(n, NULL), NEAP_EINVAL);
    load(n, "x = 1"); /* the host goes on */
    neap_close(n);
}

static void a_failure_after_the_first_wait_ends_the_run(void **state)
{
    (void)state;
    neap_t *n = open_host();
    load(n, "require('neap.task').sleep(0.001) error('late')");
    load(n, "require('neap.task').sleep(1000)");
    assert_err(neap_run(n), NEAP_ESCRIPT);
    assert_non_null(strstr(neap_error(n), "script:1: late"));
    neap_close(n);
}

static void run_again(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "n = 0 function tick() require('neap.task').sleep(0.001) n = n + 1 return n end");
    for (int i = 1; i <= 3; i++) {
        assert_ok(neap_call_function(n, "tick", NULL, 0, keep_outcome, &o));
        assert_ok(neap_run(n));
        assert_int_equal(o.integer, i);
    }
    neap_close(n);
}

/* --- stopping */

static void *stop_soon(void *arg)
{
    neap_stop(arg);
    return NULL;
}

static void another_thread_stops_it(void **state)
{
    (void)state;
    neap_options opts = NEAP_OPTIONS_INIT;
    opts.log_level = "off";
    opts.keep_alive = true;
    neap_t *n;
    pthread_t thread;
    assert_ok(neap_open(&opts, &n));
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, n), 0);
    assert_ok(neap_run(n));
    pthread_join(thread, NULL);
    assert_ok(neap_run(n)); /* stopped: returns at once */
    neap_close(n);
}

struct stopped {
    int calls;
    neap_t *host;
};

static void on_stopped(neap_t *n, void *user)
{
    struct stopped *s = user;
    s->calls++;
    s->host = n;
}

static void a_stop_waits_for_what_drains_and_is_told(void **state)
{
    (void)state;
    struct stopped s = {0};
    struct outcome o = {0};
    neap_options opts = NEAP_OPTIONS_INIT;
    opts.log_level = "off";
    opts.on_stopped = on_stopped;
    opts.user = &s;
    neap_t *n;
    assert_ok(neap_open(&opts, &n));
    load(n, "local neap = require 'neap'\n"
            "local app = neap.http.app()\n"
            "started = neap.task.future()\n"
            "app:get('/', function() started:resolve() neap.task.sleep(0.02) return 'body' end)\n"
            "local server = assert(neap.http.serve { app = app, port = 0 })\n"
            "neap.task.spawn(function()\n"
            "  local c = neap.http.client { base = 'http://' .. server.address }\n"
            "  local res, err = c:get('/')\n"
            "  seen = res and res.body or tostring(err)\n"
            "end)\n"
            "neap.task.spawn(function() started:await() neap.core_stop() end)\n"
            "neap.core_stop = require('neap.core.runtime').stop\n"
            "function get_seen() return seen end");
    assert_ok(neap_run(n));
    assert_int_equal(s.calls, 1);
    assert_ptr_equal(s.host, n);
    assert_ok(neap_call_now(n, "get_seen", NULL, 0, keep_outcome, &o));
    assert_string_equal(o.text, "body");
    neap_close(n);
}

static void a_stop_that_takes_too_long_says_so(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_options opts = NEAP_OPTIONS_INIT;
    opts.log_level = "off";
    opts.drain_timeout = 0.01;
    neap_t *n;
    assert_ok(neap_open(&opts, &n));
    load(n,
         "local neap = require 'neap'\n"
         "local app = neap.http.app()\n"
         "app:get('/', function() require('neap.core.runtime').stop() neap.task.sleep(1000) end)\n"
         "local server = assert(neap.http.serve { app = app, port = 0 })\n"
         "neap.task.spawn(function()\n"
         "  neap.http.client { base = 'http://' .. server.address }:get('/')\n"
         "end)");
    enum neap_err err = neap_run(n);
    neap_close(n);
    assert_err(err, NEAP_ETIMEDOUT);
    assert_no_leak(live);
}

/* --- closing */

static void call_again(neap_t *n, const neap_result *r, void *user)
{
    int *refused = user;
    assert_err(r->err, NEAP_ECANCELED);
    if (neap_call_function(n, "slow", NULL, 0, NULL, NULL) == NEAP_ECLOSED) ++*refused;
    if (neap_call_now(n, "slow", NULL, 0, NULL, NULL) == NEAP_ECLOSED) ++*refused;
    if (neap_publish(n, "a", NULL, "", 0) == NEAP_ECLOSED) ++*refused;
    if (neap_load_string(n, "x = 1", 5, "x") == NEAP_ECLOSED) ++*refused;
}

static void nothing_is_begun_while_it_closes(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    int refused = 0;
    load(n, "function slow() require('neap.task').sleep(1000) end");
    assert_ok(neap_call_function(n, "slow", NULL, 0, call_again, &refused));
    neap_close(n);
    assert_int_equal(refused, 4);
    assert_no_leak(live);
}

/* --- posting */

static void count_post(neap_t *n, void *user)
{
    (void)n;
    ++*(int *)user;
}

static void posts_before_running_and_at_the_end_are_all_called(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    int posts = 0;
    assert_ok(neap_post(n, count_post, &posts));
    load(n, "x = 1");
    assert_ok(neap_post(n, count_post, &posts));
    neap_close(n);
    assert_int_equal(posts, 2);
    n = open_host(); /* one that never got a loop */
    assert_ok(neap_post(n, count_post, &posts));
    neap_close(n);
    assert_int_equal(posts, 3);
    assert_no_leak(live);
}

/* --- on a program's loop */

static void set_flag(void *user)
{
    *(bool *)user = true;
}

static void it_lives_on_a_programs_loop(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    uv_loop_t loop;
    bool closed = false;
    struct outcome o = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    neap_t *n = open_host();
    assert_ok(neap_attach(n, &loop));
    assert_err(neap_attach(n, &loop), NEAP_EBUSY);
    assert_err(neap_run(n), NEAP_EINVAL);
    load(n, "function f() require('neap.task').sleep(0.001) return 'f' end");
    assert_ok(neap_call_function(n, "f", NULL, 0, keep_outcome, &o));
    uv_run(&loop, UV_RUN_DEFAULT); /* returns: an idle host does not keep it alive */
    assert_string_equal(o.text, "f");
    assert_ok(neap_call_function(n, "f", NULL, 0, keep_outcome, &o));
    neap_close_with(n, set_flag, &closed);
    assert_false(closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(o.calls, 2);
    assert_int_equal(o.err, NEAP_ECANCELED);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_no_leak(live);
}

static void two_hosts_live_side_by_side(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct outcome a = {0}, b = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    neap_t *one = open_host();
    neap_t *two = open_host();
    assert_ok(neap_attach(one, &loop));
    assert_ok(neap_attach(two, &loop));
    load(one, "name = 'one' function who() return name end");
    load(two, "name = 'two' function who() return name end");
    assert_ok(neap_call_now(one, "who", NULL, 0, keep_outcome, &a));
    assert_ok(neap_call_now(two, "who", NULL, 0, keep_outcome, &b));
    assert_string_equal(a.text, "one");
    assert_string_equal(b.text, "two");
    neap_close(one);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(neap_call_now(two, "who", NULL, 0, keep_outcome, &b));
    neap_close(two);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* --- messages and services */

static void keep_text(const neap_message *m, void *user)
{
    char *out = user;
    snprintf(out, 64, "%s=%.*s%s", m->subject, (int)m->len, m->data, m->reply ? m->reply : "");
}

static void messages_pass_between_c_and_scripts(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    neap_subscription *sub;
    char got[64] = "";
    struct outcome o = {0};
    load(n, "local bus = require 'neap.bus'\n"
            "local done = require('neap.task').future()\n"
            "local sub = bus.subscribe('c.*', function(m) got = m.subject done:resolve() end)\n"
            "function heard() done:await() sub:unsubscribe() bus.publish('lua.said', 'hi')\n"
            "  return got end");
    assert_ok(neap_subscribe(n, "lua.>", NULL, keep_text, got, &sub));
    assert_ok(neap_publish(n, "c.said", NULL, "x", 1));
    assert_ok(neap_call_function(n, "heard", NULL, 0, keep_outcome, &o));
    assert_ok(neap_run(n));
    assert_string_equal(o.text, "c.said");
    assert_string_equal(got, "lua.said=hi");
    neap_unsubscribe(sub);
    assert_err(neap_publish(n, "bad..subject", NULL, "x", 1), NEAP_EINVAL);
    assert_err(neap_subscribe(n, "a.>.b", NULL, keep_text, got, &sub), NEAP_EINVAL);
    assert_ok(neap_subscribe(n, "left.open", "q", keep_text, got, &sub));
    neap_close(n);
    assert_no_leak(live);
}

static void instances_are_picked(void **state)
{
    (void)state;
    int64_t live = np_alloc_live();
    neap_t *n = open_host();
    neap_picked p = {0};
    assert_err(neap_pick(n, "goods", NULL, NULL, &p), NEAP_ENOENDPOINT);
    load(n, "local r = require 'neap.registry'\n"
            "a = assert(r.register { name = 'goods', id = 'a', address = '127.0.0.1:1' })\n"
            "b = assert(r.register { name = 'goods', id = 'b', address = '127.0.0.1:2' })");
    char order[8] = "";
    for (int i = 0; i < 4; i++) {
        assert_ok(neap_pick(n, "goods", "round_robin", NULL, &p));
        strcat(order, p.id);
        neap_pick_release(n, &p, true);
        assert_null(p.handle);
    }
    assert_true(strcmp(order, "abab") == 0 || strcmp(order, "baba") == 0);
    assert_ok(neap_pick(n, "goods", "ring_hash", "user-1", &p));
    char address[64];
    snprintf(address, sizeof address, "%s", p.address);
    neap_pick_release(n, &p, false);
    assert_ok(neap_pick(n, "goods", "ring_hash", "user-1", &p));
    assert_string_equal(p.address, address);
    neap_pick_release(n, &p, true);
    assert_err(neap_pick(n, "goods", "no_such_policy", NULL, &p), NEAP_ENOTFOUND);
    neap_close(n);
    assert_no_leak(live);
}

static void a_lease_that_is_not_renewed_ends(void **state)
{
    (void)state;
    neap_t *n = open_host();
    struct outcome o = {0};
    load(n, "local core = require 'neap.core.registry'\n"
            "local task = require 'neap.task'\n"
            "local registry = require 'neap.registry'\n"
            "function gone()\n"
            "  local future = task.future()\n"
            "  local watch = registry.watch('brief', function(c)\n"
            "    if c.kind == 'removed' then future:resolve(c.expired) end end)\n"
            "  assert(core.put({ name = 'brief', address = '127.0.0.1:1', ttl = 0.01 }))\n"
            "  local expired = future:await(10)\n"
            "  watch:close()\n"
            "  return expired\n"
            "end");
    assert_ok(neap_call_function(n, "gone", NULL, 0, keep_outcome, &o));
    assert_ok(neap_run(n));
    assert_string_equal(o.message, "");
    assert_true(o.boolean);
    neap_close(n);
}

/* --- out of memory */

static enum neap_err open_load_call_close(void *arg)
{
    (void)arg;
    neap_options opts = NEAP_OPTIONS_INIT;
    opts.log_level = "off";
    neap_t *n;
    enum neap_err err = neap_open(&opts, &n);
    if (err) return err;
    neap_value v = neap_string("x");
    err = neap_load_string(n, "function f(x) return x end", 26, "f");
    if (!err) err = neap_call_now(n, "f", &v, 1, NULL, NULL);
    neap_close(n);
    return err ? NEAP_ENOMEM : NEAP_OK; /* Lua has no word of its own for it: ESCRIPT */
}

static void lost_memory_is_survived(void **state)
{
    (void)state;
    assert_true(np_test_oom(open_load_call_close, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(older_options_are_read_as_far_as_they_go),
        cmocka_unit_test(a_file_is_loaded_with_its_arguments),
        cmocka_unit_test(what_cannot_be_loaded_says_why),
        cmocka_unit_test(a_failure_after_the_first_wait_ends_the_run),
        cmocka_unit_test(run_again),
        cmocka_unit_test(another_thread_stops_it),
        cmocka_unit_test(a_stop_waits_for_what_drains_and_is_told),
        cmocka_unit_test(a_stop_that_takes_too_long_says_so),
        cmocka_unit_test(nothing_is_begun_while_it_closes),
        cmocka_unit_test(posts_before_running_and_at_the_end_are_all_called),
        cmocka_unit_test(it_lives_on_a_programs_loop),
        cmocka_unit_test(two_hosts_live_side_by_side),
        cmocka_unit_test(messages_pass_between_c_and_scripts),
        cmocka_unit_test(instances_are_picked),
        cmocka_unit_test(a_lease_that_is_not_renewed_ends),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("host.host", tests, NULL, NULL);
}
