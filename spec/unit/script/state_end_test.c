/* A state that is freed with everything open, on a loop that lives on: what a reload does when the
 * grace is over. Nothing may call into what is gone, and nothing may be left.
 */
#include "rig.h"

#include "net/share.h"

/* A second state on the same loop, whose loop is the rig's, too. */
static struct np_script *another(struct rig *r, struct np_share_user *share)
{
    struct np_script *s;
    struct neap_errinfo info;
    struct np_script_options o = {.loop = &r->loop, .host = r, .share = share};
    assert_ok(np_script_new(&o, &s, &info));
    return s;
}

static void on_done(struct np_task *t, bool ok, int nresults)
{
    struct rig *r = t->arg;
    (void)nresults;
    r->ended++;
    if (ok || t->script->closing) return;
    np_task_error(t);
    fprintf(stderr, "%s\n", luaL_tolstring(t->co, -2, NULL));
    abort(); /* cmocka's way out would leave the loop in the middle */
}

static void run_in(struct rig *r, struct np_script *s, const char *code)
{
    assert_int_equal(luaL_loadstring(s->L, code), LUA_OK);
    struct np_task *t = np_task_new(s, s->L, 0, NULL, "test");
    assert_non_null(t);
    t->arg = r;
    t->done = on_done;
    np_task_start(t, false);
}

static bool global_is(struct np_script *s, const char *name)
{
    lua_getglobal(s->L, name);
    bool is = lua_toboolean(s->L, -1);
    lua_pop(s->L, 1);
    return is;
}

/* Until the script sets `name`. */
static void run_until_set(struct rig *r, struct np_script *s, const char *name)
{
    while (!global_is(s, name))
        uv_run(r->loop.uv, UV_RUN_ONCE);
}

static void run_some(struct rig *r)
{
    for (int i = 0; i < 20; i++)
        np_loop_poll(&r->loop);
}

/* Frees the state, and lets the loop live on with another one for a while. */
static void end_and_live_on(struct rig *r, struct np_script *s)
{
    struct np_script *next = another(r, NULL);
    run_some(r);
    np_script_free(s);
    run_some(r);
    run_in(r, next, "local task = require 'neap.core.task' task.sleep(0.01) over = true");
    run_until_set(r, next, "over");
    np_script_free(next);
    run_some(r);
}

static struct np_script *begin(struct rig *r, const char *code, const char *ready)
{
    struct np_script *s = another(r, NULL);
    run_in(r, s, code);
    run_until_set(r, s, ready);
    return s;
}

#define PRELUDE                                   \
    "local task = require 'neap.core.task'\n"     \
    "local tcp = require 'neap.core.tcp'\n"       \
    "local unix = require 'neap.core.unix'\n"     \
    "local udp = require 'neap.core.udp'\n"       \
    "local stream = require 'neap.core.stream'\n" \
    "local http = require 'neap.core.http'\n"     \
    "local function spawn(f, ...) return task.spawn(f, ...) end\n"

static void listeners_with_connections_of_every_kind(void **state)
{
    struct rig *r = *state;
    struct np_script *s = begin(r,
                                PRELUDE "local n = 0\n"
                                        "local l = tcp.listen({port = 0}, function(c)\n"
                                        "  n = n + 1; c:read(); c:read() end)\n"
                                        "local deaf = tcp.listen({port = 0}, function(c)\n"
                                        "  n = n + 1; c:write(('x'):rep(32 << 20)) end)\n"
                                        "local bare = tcp.listen({port = 0})\n"
                                        "spawn(function() bare:accept() bare:accept() end)\n"
                                        "keep = {}\n"
                                        "for _, p in ipairs{l.port, deaf.port, bare.port} do\n"
                                        "  local c = assert(tcp.connect('127.0.0.1', p))\n"
                                        "  keep[#keep + 1] = c\n"
                                        "  c:write('hello')\n"
                                        "end\n"
                                        "spawn(function() keep[1]:read() end)\n"
                                        "spawn(function() keep[1]:write(('y'):rep(32 << 20)) end)\n"
                                        "spawn(function() keep[3]:read_line() end)\n"
                                        "while n < 2 do task.sleep(0) end\n"
                                        "ready = true\n",
                                "ready");
    end_and_live_on(r, s);
}

static void unix_sockets_and_pipes(void **state)
{
    struct rig *r = *state;
    char code[1200];
    char *dir = np_test_tmpdir();
    snprintf(code, sizeof code,
             PRELUDE "local path = '%s/s'\n"
                     "local l = assert(unix.listen({path = path}, function(c) ready = true\n"
                     "  c:read_exactly(1000) end))\n"
                     "c = assert(unix.connect(path))\n"
                     "c:write('some')\n"
                     "a, b = stream.pipe()\n"
                     "spawn(function() a:read() end)\n"
                     "spawn(function() b:write(('z'):rep(32 << 20)) end)\n",
             dir);
    struct np_script *s = begin(r, code, "ready");
    end_and_live_on(r, s);
    np_test_tmpdir_remove(dir);
}

static void datagram_sockets(void **state)
{
    struct rig *r = *state;
    struct np_script *s =
        begin(r,
              PRELUDE "a, b = assert(udp.open{port = 0}), assert(udp.open{port = 0})\n"
                      "spawn(function() a:recv() a:recv() end)\n"
                      "spawn(function() a:recv() end)\n"
                      "b:send('one', '127.0.0.1', a.port)\n"
                      "for i = 1, 20 do a:send(('q'):rep(1000), '127.0.0.1', b.port) end\n"
                      "task.sleep(0)\n"
                      "ready = true\n",
              "ready");
    end_and_live_on(r, s);
}

static void a_server_with_requests_that_wait_and_calls_in_flight(void **state)
{
    struct rig *r = *state;
    struct np_script *s = begin(
        r,
        PRELUDE "local n = 0\n"
                "server = assert(http.serve{port = 0, handler = function(req)\n"
                "  n = n + 1\n"
                "  if n == 1 then return 200, 'warm' end\n"
                "  if n == 2 then req:read() end\n"
                "  task.sleep(1000)\n"
                "end})\n"
                "local port = server.port\n"
                "local res = assert(http.request{host = '127.0.0.1', target = '/', port = port})\n"
                "for i = 1, 3 do\n"
                "  spawn(function() http.request{host = '127.0.0.1', target = '/', port = port, "
                "method = 'POST',\n"
                "    body = ('b'):rep(1 << 20)} end)\n"
                "end\n"
                "while n < 4 do task.sleep(0) end\n"
                "ready = true\n",
        "ready");
    end_and_live_on(r, s);
}

/* Connecting takes as long as it likes: the backlog is full. */
static void connections_that_are_being_made(void **state)
{
    struct rig *r = *state;
    struct np_script *s = begin(
        r,
        PRELUDE "full = assert(tcp.listen{port = 0, backlog = 1})\n"
                "for i = 1, 8 do\n"
                "  spawn(function() local c = tcp.connect('127.0.0.1', full.port)\n"
                "    task.sleep(1000) end)\n"
                "end\n"
                "spawn(function() http.request{host = '127.0.0.1', target = '/', timeout = 1000,\n"
                "  port = full.port} end)\n"
                "task.sleep(0)\n"
                "ready = true\n",
        "ready");
    end_and_live_on(r, s);
}

/* Handlers that do not let themselves be cancelled: they get their turns, and no more. */
static void handlers_that_do_not_end(void **state)
{
    struct rig *r = *state;
    struct np_script *s =
        begin(r,
              PRELUDE "local function for_ever(c) n = (n or 0) + 1\n"
                      "  ready = n == 3\n"
                      "  while true do pcall(task.sleep, 1000) end end\n"
                      "local l = tcp.listen({port = 0}, for_ever)\n"
                      "local u = tcp.listen({port = 0}, function(c) c:detach()\n"
                      "  for_ever() end)\n"
                      "server = assert(http.serve{port = 0, handler = for_ever})\n"
                      "c = assert(tcp.connect('127.0.0.1', l.port))\n"
                      "d = assert(tcp.connect('127.0.0.1', u.port))\n"
                      "spawn(function() http.request{host = '127.0.0.1', target = '/', \n"
                      "  port = server.port} end)\n"
                      "spawn(function() while true do pcall(c.read, c) end end)\n",
              "ready");
    end_and_live_on(r, s);
}

/* The script has let go of all of it, and finalisers run late. */
static void what_is_garbage_already(void **state)
{
    struct rig *r = *state;
    struct np_script *s =
        begin(r,
              PRELUDE "collectgarbage('stop')\n"
                      "for i = 1, 10 do\n"
                      "  local l = tcp.listen({port = 0}, function(c) c:read() end)\n"
                      "  tcp.connect('127.0.0.1', l.port)\n"
                      "  udp.open{port = 0}\n"
                      "  stream.pipe()\n"
                      "end\n"
                      "setmetatable({}, {__gc = function()\n"
                      "  pcall(tcp.listen, {port = 0}, print)\n"
                      "  pcall(udp.open, {port = 0}) pcall(stream.pipe) end})\n"
                      "ready = true\n",
              "ready");
    end_and_live_on(r, s);
}

/* --- beside its successor, on one port */

/* The successor asks the port in a task of its own, over and over; the old state ends with its
 * connections, and no answer is missing. */
static void a_port_goes_on_while_its_old_state_is_freed(void **state)
{
    struct rig *r = *state;
    struct np_share *share;
    struct np_share_user *old_user, *new_user;
    static const char serve[] =
        PRELUDE "server = assert(http.serve{port = 0, handler = function() return 200, mark end})\n"
                "l = assert(tcp.listen({port = 0}, function(c) c:write(mark) c:read() end))\n"
                "ready = true\n";
    static const char ask[] =
        PRELUDE "local port = server.port\n"
                "c = assert(tcp.connect('127.0.0.1', l.port))\n"
                "assert(c:read_exactly(3) == mark)\n"
                "local res = assert(http.request{host = '127.0.0.1', target = '/', port = port})\n"
                "assert(res.body == mark, res.body)\n"
                "asked = (asked or 0) + 1\n";
    assert_ok(np_share_new(1, NP_SHARE_AUTO, &share));
    assert_ok(np_share_user_new(share, &r->loop, 0, false, &old_user));
    struct np_script *old = another(r, old_user);
    run_in(r, old, "mark = 'old'");
    run_in(r, old, serve);
    run_until_set(r, old, "ready");
    run_in(r, old, ask);
    run_until_set(r, old, "asked");

    assert_ok(np_share_user_new(share, &r->loop, 0, true, &new_user));
    struct np_script *new = another(r, new_user);
    run_in(r, new, "mark = 'new'");
    run_in(r, new, serve);
    run_until_set(r, new, "ready");
    np_share_user_activate(new_user);
    np_share_user_retire(old_user);
    run_in(r, new, ask);
    run_until_set(r, new, "asked");
    np_script_free(old);
    np_share_user_free(old_user);
    run_in(r, new, "asked = nil");
    run_in(r, new, ask);
    run_until_set(r, new, "asked");
    np_script_free(new);
    np_share_user_free(new_user);
    run_some(r);
    np_share_free(share);
}

/* --- a state that is retired: others go on, what it has is its own until it ends */

static void on_drained(void *arg)
{
    *(bool *)arg = true;
}

static const char talk[] = PRELUDE
    "said = 0\n"
    "local l = assert(tcp.listen({port = 0}, function(c)\n"
    "  while true do\n"
    "    local line = c:read_line()\n"
    "    if not line then ended = true return end\n"
    "    c:write(line .. '\\n')\n"
    "  end end))\n"
    "c = assert(tcp.connect('127.0.0.1', l.port))\n"
    "function say() c:write('hello\\n') assert(c:read_line() == 'hello') said = said + 1 end\n"
    "say()\n"
    "ready = true\n";

static void a_connection_of_a_retired_state_lasts_as_long_as_its_peer_likes(void **state)
{
    struct rig *r = *state;
    bool drained = false;
    struct np_script *s = begin(r, talk, "ready");
    np_shutdown_retire(&s->shutdown, 1000 * NP_NS_PER_SEC, on_drained, &drained);
    run_some(r);
    run_in(r, s, "say() twice = true");
    run_until_set(r, s, "twice");
    assert_false(drained);
    assert_false(global_is(s, "ended"));
    run_in(r, s, "c:close()");
    while (!drained)
        uv_run(r->loop.uv, UV_RUN_ONCE);
    assert_true(global_is(s, "ended"));
    np_script_free(s);
    run_some(r);
}

static void and_is_ended_when_the_host_stops(void **state)
{
    struct rig *r = *state;
    bool drained = false;
    struct np_script *s = begin(r, talk, "ready");
    np_shutdown_retire(&s->shutdown, 1000 * NP_NS_PER_SEC, on_drained, &drained);
    run_some(r);
    assert_false(drained);
    np_shutdown_start(&s->shutdown, 1000 * NP_NS_PER_SEC, on_drained, &drained);
    while (!drained)
        uv_run(r->loop.uv, UV_RUN_ONCE);
    assert_true(global_is(s, "ended"));
    np_script_free(s);
    run_some(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(listeners_with_connections_of_every_kind),
        T(unix_sockets_and_pipes),
        T(datagram_sockets),
        T(a_server_with_requests_that_wait_and_calls_in_flight),
        T(connections_that_are_being_made),
        T(handlers_that_do_not_end),
        T(what_is_garbage_already),
        T(a_port_goes_on_while_its_old_state_is_freed),
        T(a_connection_of_a_retired_state_lasts_as_long_as_its_peer_likes),
        T(and_is_ended_when_the_host_stops),
    };
    return cmocka_run_group_tests_name("script.state_end", tests, NULL, NULL);
}
