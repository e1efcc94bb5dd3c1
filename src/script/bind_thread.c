/* neap.core.thread: running a function on the pool of threads (threads.h) and waiting for it. */
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "net/timer.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/runtime.h"
#include "script/sandbox.h"
#include "script/state.h"
#include "script/threads.h"
#include "script/value.h"

/* A task's wait for a job. */
struct call {
    struct np_wait wait;
    struct np_job *job;
    struct np_timer alive; /* what the task waits for may be all that the loop lives for */
    bool abandoned;        /* the task went away; the job's end frees it */
};

/* The pool of a state that has no host. */
struct own {
    struct np_at_close at_close;
    struct np_threads *pool;
};

#define LONG ((int64_t)365 * 24 * 3600 * NP_NS_PER_SEC)

static void on_alive(struct np_timer *t)
{
    if (np_timer_start(t, LONG)) return; /* it does nothing but run */
}

static void free_call(struct call *c)
{
    np_timer_stop(&c->alive);
    np_job_free(c->job);
    np_free(c);
}

static void on_done(struct np_job *j)
{
    struct call *c = j->user;
    if (c->abandoned) {
        free_call(c);
    } else {
        np_wake(&c->wait, NEAP_OK);
    }
}

static void abandon(struct np_wait *w)
{
    struct call *c = np_container_of(w, struct call, wait);
    c->abandoned = true;
    np_timer_stop(&c->alive);
    atomic_store(&c->job->stop, true);
}

static int push_results(lua_State *L)
{
    struct np_job *j = lua_touserdata(L, 1);
    lua_settop(L, 0);
    luaL_checkstack(L, (int)j->nresults, "too many results");
    for (size_t i = 0; i < j->nresults; i++)
        np_value_push(L, &j->results[i]);
    return (int)j->nresults;
}

static int fail(lua_State *L, const struct np_job *j)
{
    if (j->message) return np_fail(L, j->err, "%s", j->message);
    return np_fail(L, j->err, NULL);
}

static int call_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct call *c = ctx;
    if (err) return np_fail(L, err, "the computation did not end in time");
    if (c->job->err) {
        int n = fail(L, c->job);
        free_call(c);
        return n;
    }
    int base = lua_gettop(L);
    lua_pushcfunction(L, push_results);
    lua_pushlightuserdata(L, c->job);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    free_call(c);
    return status == LUA_OK ? lua_gettop(L) - base : lua_error(L);
}

/* --- the function */

static int write_code(lua_State *L, const void *p, size_t n, void *ud)
{
    (void)L;
    return np_buf_append(ud, p, n) != NEAP_OK;
}

/* A function goes as its code: what it would need beside that, other than the globals, is refused.
 */
static void check_upvalues(lua_State *L, int idx)
{
    const char *name;
    if (lua_iscfunction(L, idx)) luaL_argerror(L, idx, "a Lua function is needed, not one in C");
    for (int i = 1; (name = lua_getupvalue(L, idx, i)); i++) {
        lua_pop(L, 1);
        if (strcmp(name, "_ENV") == 0) continue;
        const char *shown = name[0] ? name : "(no name)";
        luaL_argerror(L, idx,
                      lua_pushfstring(L,
                                      "the function uses the local '%s' from outside: give it "
                                      "as an argument",
                                      shown));
    }
}

static enum neap_err take_code(lua_State *L, int idx, struct np_job *j)
{
    struct np_buf code;
    np_buf_init(&code);
    lua_pushvalue(L, idx);
    int rc = lua_dump(L, write_code, &code, 0);
    lua_pop(L, 1);
    j->kind = NP_JOB_BYTECODE;
    j->len = np_buf_len(&code);
    j->code = rc == 0 ? np_arena_strndup(&j->arena, np_buf_data(&code), j->len) : NULL;
    np_buf_fini(&code);
    return j->code ? NEAP_OK : NEAP_ENOMEM;
}

static void check_name(lua_State *L, int idx)
{
    size_t n;
    const char *text = luaL_checklstring(L, idx, &n);
    bool file = n > 4 && strcmp(text + n - 4, ".lua") == 0;
    const char *colon = strchr(text, ':');
    if (strlen(text) != n || (!file && (!colon || colon == text || !colon[1])))
        luaL_argerror(L, idx, "a function, a file's name (*.lua) or \"module:function\" expected");
}

static enum neap_err take_name(lua_State *L, int idx, struct np_job *j)
{
    const char *text = lua_tolstring(L, idx, &j->len);
    j->kind = j->len > 4 && strcmp(text + j->len - 4, ".lua") == 0 ? NP_JOB_FILE : NP_JOB_NAME;
    j->code = np_arena_strndup(&j->arena, text, j->len);
    return j->code ? NEAP_OK : NEAP_ENOMEM;
}

/* Where the script's own modules are, for a thread in a sandbox. */
static enum neap_err take_base(lua_State *L, struct np_job *j)
{
    const char *base = np_sandbox_base(L);
    if (base) j->base = np_arena_strndup(&j->arena, base, strlen(base));
    return !base || j->base ? NEAP_OK : NEAP_ENOMEM;
}

/* --- calling */

#define FIRST_ARG 3

/* Protected: the values may not pass. Stack: the job, the arguments. */
static int read_args(lua_State *L)
{
    struct np_job *j = lua_touserdata(L, 1);
    int n = lua_gettop(L) - 1;
    if (n == 0) return 0;
    j->args = np_arena_alloc(&j->arena, (size_t)n * sizeof *j->args);
    if (!j->args) return luaL_error(L, "not enough memory");
    for (int i = 0; i < n; i++)
        np_value_read(L, i + 2, &j->arena, false, &j->args[i]);
    j->nargs = (size_t)n;
    return 0;
}

static void on_state_close(struct np_at_close *a)
{
    struct own *own = np_container_of(a, struct own, at_close);
    if (own->pool) np_threads_free(own->pool);
    own->pool = NULL;
}

static struct np_threads *pool_of(lua_State *L)
{
    struct np_runtime *rt = np_script_of(L)->host;
    if (rt && rt->threads) return rt->threads;
    struct own *own = lua_touserdata(L, lua_upvalueindex(1));
    if (!own->pool && np_threads_new(NULL, &own->pool) != NEAP_OK)
        luaL_error(L, "not enough memory");
    return own->pool;
}

static struct call *new_call(lua_State *L)
{
    struct call *c = np_calloc(1, sizeof *c);
    struct np_job *j = c ? np_job_new(np_script_of(L)->loop, on_done) : NULL;
    if (!j) {
        np_free(c);
        luaL_error(L, "not enough memory");
    }
    np_link_init(&c->wait.link);
    np_timer_init(&c->alive, np_script_of(L)->loop, on_alive);
    c->job = j;
    j->user = c;
    return c;
}

/* run(function or name, timeout or nil, …) → what it returns | nil, err */
static int thread_run(lua_State *L)
{
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    bool named = lua_type(L, 1) == LUA_TSTRING;
    if (named) {
        check_name(L, 1);
    } else {
        luaL_checktype(L, 1, LUA_TFUNCTION);
        check_upvalues(L, 1);
    }
    np_task_current(L);
    struct np_threads *pool = pool_of(L);
    int nargs = lua_gettop(L) - 2;
    luaL_checkstack(L, nargs + 4, "too many arguments");
    struct call *c = new_call(L);
    lua_pushcfunction(L, read_args);
    lua_pushlightuserdata(L, c->job);
    for (int i = 0; i < nargs; i++)
        lua_pushvalue(L, FIRST_ARG + i);
    if (lua_pcall(L, nargs + 1, 0, 0) != LUA_OK) {
        free_call(c);
        return lua_error(L);
    }
    enum neap_err err = named ? take_name(L, 1, c->job) : take_code(L, 1, c->job);
    if (!err) err = take_base(L, c->job);
    if (!err) err = np_timer_start(&c->alive, LONG);
    if (!err) err = np_threads_run(pool, c->job);
    if (err) {
        free_call(c);
        if (err == NEAP_ELIMIT) return np_fail(L, err, "too many computations wait for a thread");
        return np_fail(L, err, NULL);
    }
    return np_wait(L, &c->wait, timeout, abandon, call_k, c);
}

int np_open_thread(lua_State *L)
{
    lua_newtable(L);
    struct own *own = lua_newuserdatauv(L, sizeof *own, 0);
    *own = (struct own){.at_close.fn = on_state_close};
    lua_pushvalue(L, -1); /* it outlives the module, which a script may unload */
    lua_rawsetp(L, LUA_REGISTRYINDEX, own);
    np_at_close_add(np_script_of(L), &own->at_close);
    lua_pushcclosure(L, thread_run, 1);
    lua_setfield(L, -2, "run");
    return 1;
}
