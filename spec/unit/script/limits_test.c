/* A state at its memory limit, and one that closes while requests are with it. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#define ROOM ((size_t)8 * 1024 * 1024)

static void limit(struct rig *r)
{
    r->script->memory_limit = r->script->memory + ROOM;
}

/* Lua's own buffers do not collect garbage before they fail. */
static void memory_is_there_again_after_a_task_ran_out_of_it(void **state)
{
    struct rig *r = *state;
    limit(r);
    rig_run(r, "local all = {} while true do all[#all + 1] = ('x'):rep(65536) .. #all end");
    assert_int_equal(r->ended, 1);
    assert_false(r->ok);
    rig_run(r, "n = #('x'):rep(2 * 1024 * 1024)");
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "n"), "2097152");
}

static void a_task_that_catches_running_out_of_memory_goes_on(void **state)
{
    struct rig *r = *state;
    limit(r);
    rig_run(r, "local function greedy() local all = {} "
               "  while true do all[#all + 1] = ('x'):rep(65536) .. #all end end "
               "for i = 1, 3 do ok = tostring(pcall(greedy)) wait() end "
               "n = #('x'):rep(2 * 1024 * 1024)");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(rig_global(r, "ok"), "false");
        np_wake(&r->wait, NEAP_OK);
        np_sched_run(&r->script->sched);
    }
    assert_int_equal(r->ended, 1);
    assert_true(r->ok);
    assert_string_equal(rig_global(r, "n"), "2097152");
}

static unsigned exhausted;

static void on_exhausted(struct np_script *s)
{
    assert_true(s->exhausted);
    exhausted++;
}

/* What a script holds on to, no collection gives back. */
static void a_state_that_stays_full_is_said_to_be_exhausted(void **state)
{
    struct rig *r = *state;
    limit(r);
    exhausted = 0;
    r->script->on_exhausted = on_exhausted;
    rig_run(r, "all = {} "
               "function fill() for _, n in ipairs { 65536, 1024, 64 } do "
               "  pcall(function() while true do all[#all + 1] = ('x'):rep(n) .. #all end end) end "
               "  error 'full' end "
               "fill()");
    for (int i = 0; i < 4; i++)
        rig_run(r, "fill()");
    assert_int_equal(exhausted, 1);
}

static void a_state_that_is_full_once_is_not_exhausted(void **state)
{
    struct rig *r = *state;
    limit(r);
    exhausted = 0;
    r->script->on_exhausted = on_exhausted;
    for (int i = 0; i < 5; i++)
        rig_run(r, "local all = {} while true do all[#all + 1] = ('x'):rep(65536) .. #all end");
    assert_int_equal(r->ended, 5);
    assert_int_equal(exhausted, 0);
}

/* Each makes memory run out in its own way, and fails alone. */
static void bombs_of_many_shapes_end_alone(void **state)
{
    static const char *const bombs[] = {
        "return ('x'):rep(1 << 40)",
        "return ('x'):rep(1 << 28)",
        "local t = {} while true do t = {t} end",
        "coroutine.wrap(function() local t = {} while true do t = {t, {}} end end)()",
        "local s = 'x' while true do s = s .. s end",
        "local t = table.pack(('x'):rep(1 << 24):byte(1, -1))",
        "local t = {} for i = 1, math.huge do t[i] = coroutine.create(print) end",
        "local t = {} while true do t[#t + 1] = function() return t end end",
        "local s = ('x'):rep(1 << 20) while true do s = s:gsub('x', 'xx') end",
    };
    struct rig *r = *state;
    limit(r);
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        rig_run(r, bombs[i]);
        assert_int_equal(r->ended, 2 * i + 1);
        assert_false(r->ok);
        rig_run(r, "n = #('x'):rep(2 * 1024 * 1024)");
        assert_true(r->ok);
    }
    rig_run(r, "setmetatable({}, {__gc = function() local t = {} while true do t = {t} end end}) "
               "collectgarbage() survived = 'yes'");
    assert_string_equal(rig_global(r, "survived"), "yes");
}

static int ask(struct rig *r, const char *request)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(rig_global(r, "port")))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    size_t n = strlen(request);
    assert_int_equal(send(fd, request, n, 0), (ssize_t)n);
    return fd;
}

/* A handler in a shield does not end when its state closes: the request outlives it. */
static void close_under(struct rig *r, const char *handler, const char *request)
{
    char code[512];
    snprintf(code, sizeof code,
             "local task = require 'neap.task' "
             "local server = assert(require 'neap.http'.serve { handler = function(req) %s end }) "
             "port = tostring(server.port)",
             handler);
    rig_run(r, code);
    assert_true(r->ok);
    int fd = ask(r, request);
    while (r->armed == 0)
        np_loop_poll(&r->loop);
    np_script_free(r->script);
    struct np_script_options o = {.loop = &r->loop, .host = r};
    struct neap_errinfo info;
    assert_ok(np_script_new(&o, &r->script, &info)); /* another on the same loop */
    char answer[64];
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) < 0)
        np_loop_poll(&r->loop); /* until the server breaks it off */
    close(fd);
}

static void a_request_that_waits_may_outlive_its_state(void **state)
{
    close_under(*state, "task.shield(wait)", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void a_body_that_is_read_may_outlive_its_state(void **state)
{
    close_under(*state,
                "task.spawn(task.shield, wait) "
                "task.shield(function() return req:body() end)",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart");
}

static void a_streamed_answer_may_outlive_its_state(void **state)
{
    close_under(*state, "req:start(200) req:write 'some' task.shield(wait)",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(memory_is_there_again_after_a_task_ran_out_of_it),
        T(a_task_that_catches_running_out_of_memory_goes_on),
        T(a_state_that_stays_full_is_said_to_be_exhausted),
        T(a_state_that_is_full_once_is_not_exhausted),
        T(bombs_of_many_shapes_end_alone),
        T(a_request_that_waits_may_outlive_its_state),
        T(a_body_that_is_read_may_outlive_its_state),
        T(a_streamed_answer_may_outlive_its_state),
    };
    return cmocka_run_group_tests_name("script.limits", tests, NULL, NULL);
}
