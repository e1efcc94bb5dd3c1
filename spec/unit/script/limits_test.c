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
        T(a_request_that_waits_may_outlive_its_state),
        T(a_body_that_is_read_may_outlive_its_state),
        T(a_streamed_answer_may_outlive_its_state),
    };
    return cmocka_run_group_tests_name("script.limits", tests, NULL, NULL);
}
