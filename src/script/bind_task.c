/* neap.core.task: spawning, sleeping, futures, deadlines. What can be said in Lua stands in
 * lua/neap/task.lua. Objects: "neap.future", a result that is there or will be.
 *
 * A future is completed once: by the task that was spawned with it, or by resolve/fail. Its user
 * value holds the packed results, or the failure box of the task (see task.c), or the error object.
 */
#include <string.h>

#include "script/bind_task_current.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"
#include "script/watch.h"

#define FUTURE "neap.future"

enum future_state { FUTURE_PENDING, FUTURE_DONE, FUTURE_FAILED };

struct future {
    struct np_link waiters;
    struct np_task *task; /* that will complete it; NULL for a future of its own, or when done */
    enum future_state state;
    bool boxed; /* the user value is a failure box */
};

static struct future *check_future(lua_State *L)
{
    return luaL_checkudata(L, 1, FUTURE);
}

static struct future *new_future(lua_State *L)
{
    struct future *f = lua_newuserdatauv(L, sizeof *f, 1);
    np_link_init(&f->waiters);
    f->task = NULL;
    f->state = FUTURE_PENDING;
    f->boxed = false;
    luaL_setmetatable(L, FUTURE);
    return f;
}

static void settle(struct future *f, enum future_state state)
{
    f->state = state;
    f->task = NULL;
    np_wake_all(&f->waiters, NEAP_OK);
}

/* --- what a future yields */

/* Whether the value on top is an error object, somebody's own ones included. */
static bool is_error_object(lua_State *L)
{
    if (!lua_istable(L, -1)) return false;
    bool yes = lua_getfield(L, -1, "code") == LUA_TSTRING;
    lua_pop(L, 1);
    return yes;
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Pushes the value at the top as text, whatever its __tostring does. */
static const char *push_text(lua_State *L)
{
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) return "a failure that cannot be described";
    return lua_tostring(L, -1);
}

/* Pushes nil and the failure as an error object: what was raised if it is one, else ESCRIPT with
 * the text, `value` (what was raised) and `traceback`. */
static int push_failure(lua_State *L, struct future *f)
{
    luaL_pushfail(L);
    lua_getiuservalue(L, 1, 1);
    if (!f->boxed) return 2;
    if (!lua_istable(L, -1)) return np_fail(L, NEAP_ENOMEM, NULL);
    int box = lua_gettop(L);
    lua_rawgeti(L, box, 1);
    if (!is_error_object(L)) {
        np_push_error(L, NEAP_ESCRIPT, "%s", push_text(L));
        lua_rawgeti(L, box, 1);
        lua_setfield(L, -2, "value");
        lua_rawgeti(L, box, 2);
        lua_setfield(L, -2, "traceback");
    }
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
}

static int push_results(lua_State *L, struct future *f)
{
    if (f->state == FUTURE_FAILED) return push_failure(L, f);
    lua_getiuservalue(L, 1, 1);
    lua_getfield(L, -1, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n, "too many results");
    int packed = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, packed, i);
    }
    return n;
}

static int await_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct future *f = ctx;
    if (f->state == FUTURE_PENDING) return np_fail(L, err, "no result in time");
    return push_results(L, f);
}

/* f:await([timeout]) → results | nil, err */
static int future_await(lua_State *L)
{
    struct future *f = check_future(L);
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    if (f->state != FUTURE_PENDING) return push_results(L, f);
    bool at_once = !lua_isnoneornil(L, 2) && timeout == 0;
    if (at_once) return np_fail(L, NEAP_ETIMEDOUT, "no result yet");
    struct np_task *t = np_task_current(L);
    if (f->task == t) return np_misuse(L, "a task cannot wait for itself");
    np_wait_enqueue(&f->waiters, &t->sleep);
    return np_wait(L, &t->sleep, timeout, np_wait_dequeue, await_k, f);
}

static int future_done(lua_State *L)
{
    lua_pushboolean(L, check_future(L)->state != FUTURE_PENDING);
    return 1;
}

static void pack(lua_State *L, int first)
{
    int n = lua_gettop(L) - first + 1;
    lua_createtable(L, n, 1);
    lua_insert(L, first);
    for (int i = n; i >= 1; i--) {
        lua_rawseti(L, first, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, first, "n");
}

/* f:resolve(...): completes a future of its own. True if it was pending. */
static int future_resolve(lua_State *L)
{
    struct future *f = check_future(L);
    if (f->task) return np_misuse(L, "this future belongs to a task");
    if (f->state != FUTURE_PENDING) return lua_pushboolean(L, 0), 1;
    pack(L, 2);
    lua_setiuservalue(L, 1, 1);
    settle(f, FUTURE_DONE);
    return lua_pushboolean(L, 1), 1;
}

static void fail_future(lua_State *L, struct future *f)
{
    lua_setiuservalue(L, 1, 1);
    settle(f, FUTURE_FAILED);
}

/* f:fail(err): err is an error object or a text. True if it was pending. */
static int future_fail(lua_State *L)
{
    struct future *f = check_future(L);
    if (f->task) return np_misuse(L, "this future belongs to a task");
    luaL_checkany(L, 2);
    if (f->state != FUTURE_PENDING) return lua_pushboolean(L, 0), 1;
    lua_settop(L, 2);
    if (!lua_istable(L, 2)) {
        np_push_error(L, NEAP_ESCRIPT, "%s", luaL_tolstring(L, 2, NULL));
    }
    fail_future(L, f);
    return lua_pushboolean(L, 1), 1;
}

/* f:cancel(): cancels the task, or fails a future of its own with ECANCELED. */
static int future_cancel(lua_State *L)
{
    struct future *f = check_future(L);
    if (f->state != FUTURE_PENDING) return 0;
    if (f->task) {
        np_task_cancel(f->task, NEAP_ECANCELED);
    } else {
        np_push_error(L, NEAP_ECANCELED, NULL);
        fail_future(L, f);
    }
    return 0;
}

static int future_tostring(lua_State *L)
{
    static const char *const names[] = {"pending", "done", "failed"};
    struct future *f = check_future(L);
    lua_pushfstring(L, "neap.future: %p (%s)", (void *)f, names[f->state]);
    return 1;
}

/* --- spawning */

static int run_future_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    pack(L, 1);
    lua_setiuservalue(L, lua_upvalueindex(1), 1);
    return 0;
}

/* What a spawned task runs; the upvalue is its future. Stack: the function, its arguments. */
static int run_future(lua_State *L)
{
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, run_future_k);
    return run_future_k(L, LUA_OK, 0);
}

static bool worth_a_log(struct np_task *t, struct future *f)
{
    np_task_error(t);
    enum neap_err code = np_error_code(t->co, -2);
    lua_pop(t->co, 2);
    if (code == NEAP_ESCRIPT) return true;
    bool cancelled = t->cancel_code && code == t->cancel_code;
    return np_list_empty(&f->waiters) && !cancelled;
}

static void on_spawned_done(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    lua_State *co = t->co;
    struct future *f = t->arg;
    if (!ok) {
        if (worth_a_log(t, f)) np_task_log_error(t);
        f->boxed = true;
        /* not there when memory ran out before the function began: the box then stays nil */
        if (lua_tocfunction(co, 1) == run_future) {
            lua_getupvalue(co, 1, 1);
            lua_pushvalue(co, -2);
            lua_setiuservalue(co, -2, 1);
        }
    }
    settle(f, ok ? FUTURE_DONE : FUTURE_FAILED);
}

static struct np_task *spawn(lua_State *L, int fn)
{
    luaL_checktype(L, fn, LUA_TFUNCTION);
    struct np_script *s = np_script_of(L);
    int nargs = lua_gettop(L) - fn;
    struct future *f = new_future(L);
    lua_insert(L, 1); /* the future is the result */
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, run_future, 1);
    lua_insert(L, fn + 1);
    struct np_task *t = np_task_new(s, L, nargs + 1, s->sched.current, "task");
    if (!t) luaL_error(L, "not enough memory");
    f->task = t;
    t->arg = f;
    t->done = on_spawned_done;
    return t;
}

/* spawn(fn, ...) → future */
static int task_spawn(lua_State *L)
{
    np_task_start(spawn(L, 1), true);
    lua_settop(L, 1);
    return 1;
}

/* spawn_within(seconds, fn, ...) → future of a task with that deadline */
static int task_spawn_within(lua_State *L)
{
    int64_t span = np_check_seconds(L, 1, 0);
    struct np_task *t = spawn(L, 2);
    np_task_set_deadline(t, np_time_add(np_loop_now(t->script->loop), span));
    np_task_start(t, true);
    lua_settop(L, 1);
    return 1;
}

/* --- the current task */

static int sleep_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    (void)ctx;
    lua_pushboolean(L, 1);
    return 1;
}

/* sleep(seconds) → true */
static int task_sleep(lua_State *L)
{
    luaL_checknumber(L, 1);
    int64_t span = np_check_seconds(L, 1, 0);
    struct np_task *t = np_task_current(L);
    if (span == 0) return np_task_yield(L, sleep_k, NULL);
    return np_wait(L, &t->sleep, span, np_wait_dequeue, sleep_k, NULL);
}

static int task_yield(lua_State *L)
{
    np_task_current(L);
    return np_task_yield(L, sleep_k, NULL);
}

/* deadline() → seconds left (0 when past) | nil */
static int task_deadline(lua_State *L)
{
    struct np_task *t = np_task_current(L);
    if (t->deadline == NP_TIME_NEVER) return lua_pushnil(L), 1;
    int64_t left = t->deadline - np_loop_now(t->script->loop);
    lua_pushnumber(L, left > 0 ? np_to_seconds(left) : 0);
    return 1;
}

/* cancelled() → whether the task has been cancelled: for loops that compute and never wait. */
static int task_cancelled(lua_State *L)
{
    lua_pushboolean(L, np_task_current(L)->cancel_code != NEAP_OK);
    return 1;
}

static int task_current_id(lua_State *L)
{
    lua_pushlightuserdata(L, np_script_of(L)->sched.current);
    return 1;
}

/* refuse_wait(): for the prelude; see task.h. */
static int task_refuse_wait(lua_State *L)
{
    np_task_refuse_wait(np_task_current(L));
    return 0;
}

static int task_future(lua_State *L)
{
    new_future(L);
    return 1;
}

static int shield_k(lua_State *L, int status, lua_KContext ctx)
{
    struct np_task *t = np_script_of(L)->sched.current;
    /* a coroutine that yielded from inside may come back in another task; the first may be gone */
    if (t == (struct np_task *)ctx) np_task_shield_end(t);
    if (status != LUA_OK && status != LUA_YIELD) return lua_error(L);
    return lua_gettop(L);
}

/* shield(fn, ...): runs fn to its end even when the task is cancelled meanwhile. */
static int task_shield(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct np_task *t = np_task_current(L);
    np_task_shield_begin(t);
    int status = lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, (lua_KContext)t, shield_k);
    return shield_k(L, status, (lua_KContext)t);
}

/* error(code, message) → an error object with one of neap's codes */
static int task_error(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *text = luaL_optstring(L, 2, NULL);
    for (int i = 1; i < NEAP_ERR_COUNT; i++) {
        enum neap_err code = (enum neap_err)i;
        if (strcmp(neap_err_name(code), name) != 0) continue;
        np_push_error(L, code, text ? "%s" : NULL, text);
        return 1;
    }
    return luaL_argerror(L, 1, "unknown error code");
}

int np_open_task(lua_State *L)
{
    static const luaL_Reg methods[] = {{"await", future_await},     {"done", future_done},
                                       {"resolve", future_resolve}, {"fail", future_fail},
                                       {"cancel", future_cancel},   {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", future_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"spawn", task_spawn},
                                         {"spawn_within", task_spawn_within},
                                         {"sleep", task_sleep},
                                         {"yield", task_yield},
                                         {"deadline", task_deadline},
                                         {"cancelled", task_cancelled},
                                         {"current_id", task_current_id},
                                         {"refuse_wait", task_refuse_wait},
                                         {"future", task_future},
                                         {"shield", task_shield},
                                         {"error", task_error},
                                         {"current", np_task_push_current},
                                         {"account_cpu", np_task_account_cpu},
                                         {"resume", np_task_resume_coroutine},
                                         {"close", np_task_close_coroutine},
                                         {"pcall", np_protected_call},
                                         {"xpcall", np_protected_call_with},
                                         {NULL, NULL}};
    np_type_new(L, FUTURE, methods, meta);
    np_task_current_open(L);
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, np_task_wait_mark());
    lua_setfield(L, -2, "wait_mark");
    np_task_push_held(L);
    lua_setfield(L, -2, "held");
    return 1;
}
