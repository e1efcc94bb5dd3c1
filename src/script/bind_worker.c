/* neap.core.worker: which worker a script runs in, values to and from the others, claims to what
 * only one of them does, reloading. What can be said in Lua stands in lua/neap/worker.lua.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/onces.h"
#include "script/runtime.h"
#include "script/state.h"
#include "script/value.h"

#define CLAIM "neap.worker.claim"

static struct np_runtime *runtime_of(lua_State *L)
{
    return np_script_of(L)->host;
}

/* --- values from the others */

static const char handler_key; /* of the function in the Lua registry */

/* A value that a task hands to the handler. */
struct mail {
    struct np_arena arena;
    neap_value value;
    unsigned from;
};

static int run_mail(lua_State *L)
{
    struct mail *m = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handler_key);
    np_value_push(L, &m->value);
    lua_pushinteger(L, (lua_Integer)m->from);
    lua_callk(L, 2, 0, 0, NULL);
    return 0;
}

static void free_mail(struct mail *m)
{
    np_arena_fini(&m->arena);
    np_free(m);
}

static void on_mail_done(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    free_mail(t->arg);
    if (!ok) np_task_log_error(t);
}

static void on_mail(struct np_script *s, unsigned from, const neap_value *v)
{
    struct mail *m = np_calloc(1, sizeof *m);
    if (!m) goto fail;
    np_arena_init(&m->arena, 256);
    m->from = from;
    if (np_value_copy(&m->arena, v, &m->value) != NEAP_OK) goto fail;
    struct np_task *t = np_task_new_c(s, run_mail, m, NULL, "mail");
    if (!t) goto fail;
    t->done = on_mail_done;
    t->arg = m;
    np_task_start(t, false);
    return;
fail:
    if (m) free_mail(m);
    np_logf(s->log, NP_LOG_ERROR, "no memory for a value from worker %u", from);
}

/* listen(fn): it is called with each value and its sender's number, in a task of its own. */
static int worker_listen(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handler_key);
    np_script_of(L)->on_mail = on_mail;
    return 0;
}

static int read_value(lua_State *L)
{
    neap_value *out = lua_touserdata(L, 2);
    struct np_arena *arena = lua_touserdata(L, 3);
    np_value_read(L, 1, arena, false, out);
    return 0;
}

/* send(worker or nil, value) → true | nil, err */
static int worker_send(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    struct np_runtime *rt = s->host;
    lua_Integer to = luaL_optinteger(L, 1, NP_ALL_WORKERS);
    luaL_checkany(L, 2);
    luaL_argcheck(L, to >= NP_ALL_WORKERS && to <= INT16_MAX, 1, "no such worker");
    struct np_arena arena;
    neap_value v;
    lua_pushcfunction(L, read_value);
    lua_pushvalue(L, 2);
    lua_pushlightuserdata(L, &v);
    lua_pushlightuserdata(L, &arena);
    np_arena_init(&arena, 256);
    int status = lua_pcall(L, 3, 0, 0);
    enum neap_err err = NEAP_OK;
    if (status == LUA_OK && rt && rt->ops) err = rt->ops->send(s, (int)to, &v);
    np_arena_fini(&arena);
    if (status != LUA_OK) return lua_error(L);
    if (err == NEAP_ENOTFOUND) return np_fail(L, err, "no worker %d", (int)to);
    if (err == NEAP_ELIMIT) return np_fail(L, err, "too much is on its way to a worker already");
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* --- claims */

struct claim {
    struct np_once_claim *claim; /* NULL: not in line, or ended */
    struct np_script *script;
    struct np_activation activation;
    struct np_drain drain;
    struct np_at_close at_close;
    struct np_link waiters;
    struct np_task *holder; /* whom a drain cancels */
    enum neap_err err;
    bool granted;
    bool done; /* by somebody else */
    bool ended;
    char name[];
};

static void wake(struct claim *c)
{
    np_wake_all(&c->waiters, NEAP_OK);
}

static void on_grant(struct np_once_claim *once, bool done, void *arg)
{
    (void)once;
    struct claim *c = arg;
    c->granted = !done;
    c->done = done;
    wake(c);
}

static void get_in_line(struct np_activation *a)
{
    struct claim *c = np_container_of(a, struct claim, activation);
    struct np_script *s = c->script;
    struct np_runtime *rt = s->host;
    c->err = np_once_claim(rt->onces, c->name, s->generation, s->worker, s->loop, on_grant, c,
                           &c->claim);
    if (c->err) wake(c);
}

static void end_claim(struct claim *c, bool done)
{
    if (c->ended) return;
    c->ended = true;
    np_activation_cancel(&c->activation);
    np_once_end(c->claim, done);
    c->claim = NULL;
    np_drain_remove(&c->drain);
    np_at_close_remove(&c->at_close);
    wake(c);
}

/* The host stops, or newer code takes over: who does the work here is to end it. */
static void on_drain(struct np_drain *d, int64_t grace)
{
    (void)grace;
    struct claim *c = np_container_of(d, struct claim, drain);
    if (c->granted && c->holder) {
        np_task_cancel(c->holder, NEAP_ECANCELED);
    } else {
        end_claim(c, false);
    }
}

static void on_state_close(struct np_at_close *a)
{
    end_claim(np_container_of(a, struct claim, at_close), false);
}

static struct claim *check_claim(lua_State *L)
{
    return luaL_checkudata(L, 1, CLAIM);
}

/* claim(name) → claim */
static int worker_claim(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    struct np_script *s = np_script_of(L);
    struct np_runtime *rt = s->host;
    struct claim *c = lua_newuserdatauv(L, sizeof *c + len + 1, 0);
    *c = (struct claim){.script = s, .ended = true};
    memcpy(c->name, name, len + 1);
    np_link_init(&c->waiters);
    c->activation.fn = get_in_line;
    c->drain.drain = on_drain;
    c->at_close.fn = on_state_close;
    luaL_setmetatable(L, CLAIM);
    c->ended = false;
    np_at_close_add(s, &c->at_close);
    np_drain_add(&s->shutdown, &c->drain);
    if (rt && rt->onces) {
        np_activate(s, &c->activation);
    } else {
        c->granted = true; /* there is nobody else */
    }
    return 1;
}

static int push_grant(lua_State *L, struct claim *c)
{
    if (c->err) return np_fail(L, c->err, NULL);
    if (c->granted && !c->ended) c->holder = np_script_of(L)->sched.current;
    lua_pushboolean(L, c->granted && !c->ended);
    return 1;
}

static int wait_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    return push_grant(L, ctx);
}

/* claim:wait() → true (this task does the work now), false (it was done, or the claim has ended) |
 * nil, err */
static int claim_wait(lua_State *L)
{
    struct claim *c = check_claim(L);
    if (c->granted || c->done || c->err || c->ended) return push_grant(L, c);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&c->waiters, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, wait_k, c);
}

/* claim:finish([done]): the work ended; `done`: nobody else is to do it. */
static int claim_finish(lua_State *L)
{
    end_claim(check_claim(L), lua_toboolean(L, 2));
    return 0;
}

static int claim_gc(lua_State *L)
{
    end_claim(check_claim(L), false);
    return 0;
}

/* --- reloading */

struct reload {
    struct np_reload_request request;
    struct np_wait wait;
    bool abandoned; /* the task went away before the answer came */
};

static void on_reloaded(struct np_reload_request *r)
{
    struct reload *re = np_container_of(r, struct reload, request);
    if (re->abandoned) {
        np_free(re);
    } else {
        np_wake(&re->wait, NEAP_OK);
    }
}

static void abandon(struct np_wait *w)
{
    np_container_of(w, struct reload, wait)->abandoned = true;
}

static int reload_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct reload *re = ctx;
    if (err) return np_fail(L, err, NULL); /* abandoned; freed when the answer comes */
    struct neap_errinfo info = {.code = re->request.err};
    memcpy(info.message, re->request.message, sizeof info.message);
    np_free(re);
    if (info.code) return np_fail_info(L, &info);
    lua_pushboolean(L, 1);
    return 1;
}

/* reload([timeout]) → true | nil, err: when every worker has gone over, or none. */
static int worker_reload(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    struct np_runtime *rt = s->host;
    int64_t timeout = np_check_seconds(L, 1, NP_NO_TIMEOUT);
    if (!rt || !rt->ops) return np_fail(L, NEAP_ENOTSUP, "there is no host to reload");
    np_task_current(L);
    struct reload *re = np_calloc(1, sizeof *re);
    if (!re) return np_fail(L, NEAP_ENOMEM, NULL);
    np_link_init(&re->wait.link);
    re->request.loop = s->loop;
    re->request.done = on_reloaded;
    rt->ops->reload(rt, &re->request);
    return np_wait(L, &re->wait, timeout, abandon, reload_k, re);
}

/* ready(): the script is loaded, though its main chunk goes on. */
static int worker_ready(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    struct np_runtime *rt = s->host;
    if (rt && rt->ops) rt->ops->ready(s);
    return 0;
}

int np_open_worker(lua_State *L)
{
    static const luaL_Reg functions[] = {{"listen", worker_listen}, {"send", worker_send},
                                         {"claim", worker_claim},   {"reload", worker_reload},
                                         {"ready", worker_ready},   {NULL, NULL}};
    static const luaL_Reg claim_methods[] = {
        {"wait", claim_wait}, {"finish", claim_finish}, {NULL, NULL}};
    static const luaL_Reg claim_meta[] = {{"__gc", claim_gc}, {"__close", claim_gc}, {NULL, NULL}};
    struct np_runtime *rt = runtime_of(L);
    np_type_new(L, CLAIM, claim_methods, claim_meta);
    luaL_newlib(L, functions);
    lua_pushinteger(L, np_script_of(L)->worker);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, rt ? rt->workers : 1);
    lua_setfield(L, -2, "count");
    lua_pushinteger(L, np_script_of(L)->generation);
    lua_setfield(L, -2, "generation");
    return 1;
}
