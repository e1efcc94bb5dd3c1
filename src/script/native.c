/* neap.host: the embedding program's C functions; see native.h. */
#include "script/native.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/value.h"

#define CALL_TYPE "neap.call"
#define FIRST_CHUNK 256

/* --- the functions */

static bool name_ok(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_') return false;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_') return false;
    }
    return strlen(name) <= 128;
}

static struct np_native *find(struct np_runtime *rt, const char *name)
{
    struct np_native *n = atomic_load_explicit(&rt->natives, memory_order_acquire);
    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    return n;
}

enum neap_err np_native_add(struct np_runtime *rt, const char *name, neap_function fn, void *user)
{
    if (!name || !fn || !name_ok(name)) return NEAP_EINVAL;
    struct np_native *n = find(rt, name);
    if (n) {
        n->fn = fn;
        n->user = user;
        return NEAP_OK;
    }
    size_t len = strlen(name) + 1;
    n = np_alloc(sizeof *n + len);
    if (!n) return NEAP_ENOMEM;
    *n = (struct np_native){atomic_load(&rt->natives), fn, user};
    memcpy(n->name, name, len);
    atomic_store_explicit(&rt->natives, n, memory_order_release);
    return NEAP_OK;
}

void np_natives_close(struct np_runtime *rt)
{
    struct np_link *l;
    rt->natives_closed = true;
    while ((l = np_list_pop_front(&rt->calls)))
        np_container_of(l, neap_call, of_host)->runtime = NULL;
}

void np_natives_free(struct np_runtime *rt)
{
    struct np_native *n = atomic_load(&rt->natives);
    while (n) {
        struct np_native *next = n->next;
        np_free(n);
        n = next;
    }
}

/* --- a call's life */

void np_native_call_free(neap_call *call)
{
    np_arena_fini(&call->arena);
    np_free(call);
}

static void free_if_done(neap_call *call)
{
    if (call->finished && !call->held) np_native_call_free(call);
}

static void count(struct np_runtime *rt, bool waiting)
{
    if (!rt) return;
    rt->outstanding = waiting ? rt->outstanding + 1 : rt->outstanding - 1;
    if (rt->hold && rt->outstanding == (waiting ? 1 : 0)) rt->hold(rt, waiting);
}

/* A call that a task waits for keeps the loop alive: C may finish it from anywhere. */
void np_native_set_state(neap_call *call, enum np_call_state state)
{
    bool was = call->state == NP_CALL_WAITING;
    bool is = state == NP_CALL_WAITING;
    call->state = state;
    if (was != is) count(call->runtime, is);
}

void np_native_give(neap_call *call, enum np_call_state state)
{
    call->finished = false;
    np_list_push_back(&call->runtime->calls, &call->of_host);
    np_native_set_state(call, state);
}

/* The result is not wanted any more: tell C once, which may finish the call right now. */
static void make_unwanted(neap_call *call)
{
    if (call->state != NP_CALL_WAITING) return;
    np_native_set_state(call, NP_CALL_UNWANTED);
    if (call->on_cancel) call->on_cancel(call, call->on_cancel_user);
}

static void on_wait_cancelled(struct np_wait *w)
{
    neap_call *call = np_container_of(w, neap_call, wait);
    if (call->link) {
        np_native_send_cancel(call);
    } else {
        make_unwanted(call);
    }
}

static int call_gc(lua_State *L)
{
    neap_call **box = lua_touserdata(L, 1);
    neap_call *call = *box;
    if (!call) return 0;
    *box = NULL;
    if (call->link) {
        np_native_send_cancel(call);
        np_native_call_unref(call);
        return 0;
    }
    make_unwanted(call);
    call->held = false;
    free_if_done(call);
    return 0;
}

static neap_call *new_call(lua_State *L)
{
    neap_call **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, CALL_TYPE);
    neap_call *call = np_calloc(1, sizeof *call);
    if (!call) luaL_error(L, "not enough memory");
    *box = call;
    call->runtime = np_script_of(L)->host;
    call->held = true;
    call->finished = true; /* until the function has it, it is Lua's alone */
    np_link_init(&call->of_host);
    np_link_init(&call->wait.link);
    np_arena_init(&call->arena, FIRST_CHUNK);
    return call;
}

static void read_args(lua_State *L, neap_call *call, int n)
{
    if (n == 0) return;
    call->args = np_arena_alloc(&call->arena, (size_t)n * sizeof *call->args);
    if (!call->args) luaL_error(L, "not enough memory");
    for (int i = 0; i < n; i++) {
        np_value_read(L, i + 1, &call->arena, false, &call->args[i]);
    }
    call->nargs = (size_t)n;
}

static int push_outcome(lua_State *L, neap_call *call)
{
    if (call->raise) {
        luaL_where(L, 1);
        lua_pushstring(L, call->message ? call->message : "error");
        lua_concat(L, 2);
        return lua_error(L);
    }
    if (call->err) {
        if (!call->message) return np_fail(L, call->err, NULL);
        return np_fail(L, call->err, "%s", call->message);
    }
    int n = (int)call->nresults;
    luaL_checkstack(L, n, "too many results");
    for (int i = 0; i < n; i++) {
        np_value_push(L, &call->results[i]);
    }
    return n;
}

static int on_finished(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    return push_outcome(L, ctx);
}

static const char link_key; /* of the state's link in the Lua registry */

struct link_box {
    struct np_at_close at_close;
    struct np_native_link *link;
};

static void on_state_close(struct np_at_close *a)
{
    struct link_box *box = np_container_of(a, struct link_box, at_close);
    np_native_link_close(box->link);
    box->link = NULL;
}

/* How calls go to worker 0. */
static struct np_native_link *link_of(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &link_key);
    struct link_box *box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!box) {
        box = lua_newuserdatauv(L, sizeof *box, 0);
        *box = (struct link_box){.at_close.fn = on_state_close};
        lua_rawsetp(L, LUA_REGISTRYINDEX, &link_key);
    }
    if (box->link) return box->link;
    box->link = np_native_link_new(s->loop);
    if (!box->link) luaL_error(L, "not enough memory");
    np_at_close_add(s, &box->at_close);
    return box->link;
}

static int send_call(lua_State *L, struct np_native *native, neap_call *call)
{
    np_task_current(L); /* nothing is sent whose answer could not be waited for */
    if (!lua_isyieldable(L))
        luaL_error(L, "cannot wait here: the call crosses a C function that cannot be suspended");
    np_native_send(call, link_of(L), native);
    return np_wait(L, &call->wait, NP_NO_TIMEOUT, on_wait_cancelled, on_finished, call);
}

/* The Lua function of a native. Stack: the arguments; the call's box is put under what follows. */
static int call_native(lua_State *L)
{
    struct np_native *native = lua_touserdata(L, lua_upvalueindex(1));
    int n = lua_gettop(L);
    neap_call *call = new_call(L);
    read_args(L, call, n);
    if (call->runtime->first && call->runtime->first != np_script_of(L)->loop)
        return send_call(L, native, call);
    np_native_give(call, NP_CALL_IN_C);
    native->fn(call, native->user);
    if (call->finished) return push_outcome(L, call);
    np_native_set_state(call, NP_CALL_WAITING);
    return np_wait(L, &call->wait, NP_NO_TIMEOUT, on_wait_cancelled, on_finished, call);
}

void np_native_push(lua_State *L, struct np_native *native)
{
    lua_pushlightuserdata(L, native);
    lua_pushcclosure(L, call_native, 1);
}

void neap_call_finish(neap_call *call)
{
    if (call->finished) return;
    call->finished = true;
    np_list_remove(&call->of_host);
    enum np_call_state was = call->state;
    np_native_set_state(call, NP_CALL_FINISHED);
    if (call->link) {
        np_native_send_back(call);
        return;
    }
    if (was == NP_CALL_WAITING) np_wake(&call->wait, NEAP_OK);
    free_if_done(call);
}

/* --- the module */

/* neap.host.<name>: made at first use and kept. */
static int host_index(lua_State *L)
{
    struct np_runtime *rt = np_script_of(L)->host;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    struct np_native *native = rt && name ? find(rt, name) : NULL;
    if (!native) return lua_pushnil(L), 1;
    np_native_push(L, native);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

int np_open_host(lua_State *L)
{
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg call_meta[] = {{"__gc", call_gc}, {NULL, NULL}};
    np_type_new(L, CALL_TYPE, none, call_meta);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, host_index);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}
