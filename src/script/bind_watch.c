/* Watches and holds; see bind_watch.h. Both stand in their userdata: a task that waits on one has
 * it on its stack, and what the registry or the shutdown knows of them is taken back by __gc.
 */
#include "script/bind_watch.h"

#include "base/alloc.h"
#include "mesh/view.h"
#include "script/bind_endpoint.h"
#include "script/luax.h"
#include "script/state.h"

#define WATCH "neap.watch"
#define HOLD "neap.hold"
#define DEFAULT_LIMIT 1024 /* changes that may wait */

struct event {
    struct np_link link;
    enum np_change_kind kind;
    struct np_endpoint *endpoint;
    struct np_endpoint *old;
    uint64_t index;
    bool expired;
    bool in_use; /* it is being made a table, and freed after that … */
    bool gone;   /* … if a finaliser has taken it meanwhile */
};

struct watch {
    struct np_view_watch *watch; /* NULL when closed */
    struct np_registry_view *view;
    struct np_link events;
    size_t pending;
    size_t limit;
    size_t lost; /* changes that found the queue full, or no memory */
    struct np_link waiters;
};

static struct watch *check_watch(lua_State *L)
{
    return luaL_checkudata(L, 1, WATCH);
}

static void event_free(struct event *ev)
{
    np_list_remove(&ev->link);
    ev->gone = true;
    if (ev->in_use) return;
    np_endpoint_unref(ev->endpoint);
    np_endpoint_unref(ev->old);
    np_free(ev);
}

static void drop_first(struct watch *w)
{
    event_free(np_container_of(w->events.next, struct event, link));
    w->pending--;
}

static void on_change(const struct np_change *c, void *arg)
{
    struct watch *w = arg;
    struct event *ev = np_calloc(1, sizeof *ev);
    if (ev == NULL) {
        w->lost++;
        return;
    }
    if (w->pending == w->limit) {
        drop_first(w);
        w->lost++;
    }
    np_link_init(&ev->link);
    ev->kind = c->kind;
    ev->endpoint = np_endpoint_ref(c->endpoint);
    ev->old = c->old ? np_endpoint_ref(c->old) : NULL;
    ev->index = c->index;
    ev->expired = c->expired;
    np_list_push_back(&w->events, &ev->link);
    w->pending++;
    np_wake_first(&w->waiters, NEAP_OK);
}

int np_watch_new(lua_State *L)
{
    struct np_registry_view *view = np_script_of(L)->view;
    const char *name = luaL_optstring(L, 1, NULL);
    lua_Integer limit = luaL_optinteger(L, 2, DEFAULT_LIMIT);
    luaL_argcheck(L, limit > 0, 2, "at least 1");
    if (view == NULL) return np_fail(L, NEAP_ENOTSUP, "this host has no registry");
    struct watch *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct watch){.limit = (size_t)limit, .view = view};
    np_link_init(&w->events);
    np_link_init(&w->waiters);
    luaL_setmetatable(L, WATCH);
    enum neap_err err = np_registry_view_watch(view, name, on_change, w, &w->watch);
    if (err == NEAP_EINVAL) return np_misuse(L, "watch: bad service name '%s'", name);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    return 1;
}

/* The event at 1 as a table. */
static int push_event(lua_State *L)
{
    static const char *const kinds[] = {"added", "updated", "removed"};
    struct event *ev = lua_touserdata(L, 1);
    lua_createtable(L, 0, 7);
    lua_pushstring(L, kinds[ev->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, ev->endpoint->service);
    lua_setfield(L, -2, "service");
    lua_pushstring(L, ev->endpoint->id);
    lua_setfield(L, -2, "id");
    np_endpoint_push(L, ev->endpoint);
    lua_setfield(L, -2, "endpoint");
    if (ev->old != NULL) {
        np_endpoint_push(L, ev->old);
        lua_setfield(L, -2, "old");
    }
    lua_pushinteger(L, (lua_Integer)ev->index);
    lua_setfield(L, -2, "index");
    lua_pushboolean(L, ev->expired);
    lua_setfield(L, -2, "expired");
    return 1;
}

/* The first change. It leaves the queue when nothing can raise any more. */
static int push_first(lua_State *L, struct watch *w)
{
    struct event *ev = np_container_of(w->events.next, struct event, link);
    bool ours = !ev->in_use; /* else this is in such a finaliser */
    ev->in_use = true;
    lua_pushcfunction(L, push_event);
    lua_pushlightuserdata(L, ev);
    int status = lua_pcall(L, 1, 1, 0);
    if (ours) ev->in_use = false;
    if (status == LUA_OK && !ev->gone) w->pending--;
    if (status == LUA_OK || ev->gone) event_free(ev);
    if (status != LUA_OK) lua_error(L);
    return 1;
}

static int next_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct watch *w = ctx;
    if (!np_list_empty(&w->events)) return push_first(L, w);
    return np_fail(L, err == NEAP_OK ? NEAP_ECLOSED : err, "no change of the registry");
}

/* w:next([timeout]) → change | nil, err (ETIMEDOUT, ECLOSED) */
static int watch_next(lua_State *L)
{
    struct watch *w = check_watch(L);
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    if (w->watch != NULL) np_registry_view_dispatch(w->view); /* what is known already */
    if (!np_list_empty(&w->events)) return push_first(L, w);
    if (w->watch == NULL) return np_fail(L, NEAP_ECLOSED, "the watch is closed");
    if (!lua_isnoneornil(L, 2) && timeout == 0) return np_fail(L, NEAP_ETIMEDOUT, NULL);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&w->waiters, &t->sleep);
    return np_wait(L, &t->sleep, timeout, np_wait_dequeue, next_k, w);
}

/* w:close(): what is queued is dropped, and who waits gets ECLOSED. It may be called twice. */
static int watch_close(lua_State *L)
{
    struct watch *w = check_watch(L);
    np_view_watch_close(w->watch);
    w->watch = NULL;
    while (!np_list_empty(&w->events))
        drop_first(w);
    np_wake_all(&w->waiters, NEAP_ECLOSED);
    return 0;
}

/* w:lost() → changes that were lost since it was last asked */
static int watch_lost(lua_State *L)
{
    struct watch *w = check_watch(L);
    if (w->watch != NULL) {
        np_registry_view_dispatch(w->view);
        w->lost += np_view_watch_lost(w->watch);
    }
    lua_pushinteger(L, (lua_Integer)w->lost);
    w->lost = 0;
    return 1;
}

static int watch_tostring(lua_State *L)
{
    struct watch *w = check_watch(L);
    lua_pushfstring(L, "neap.watch: %p%s", (void *)w, w->watch ? "" : " (closed)");
    return 1;
}

/* --- holds */

struct hold {
    struct np_drain drain;
    struct np_activation activation;
    bool active;
    bool draining;
    int64_t grace;
    struct np_link waiters;
    struct np_link starters; /* who wait for the activation */
};

static void on_drain(struct np_drain *d, int64_t grace)
{
    struct hold *h = np_container_of(d, struct hold, drain);
    h->draining = true;
    h->grace = grace;
    /* Nobody is there to end it. */
    if (np_list_empty(&h->waiters)) np_drain_remove(d);
    np_wake_all(&h->waiters, NEAP_OK);
}

static void on_activated(struct np_activation *a)
{
    struct hold *h = np_container_of(a, struct hold, activation);
    h->active = true;
    np_wake_all(&h->starters, NEAP_OK);
}

int np_hold_new(lua_State *L)
{
    struct hold *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (struct hold){.drain.drain = on_drain, .activation.fn = on_activated};
    np_link_init(&h->waiters);
    np_link_init(&h->starters);
    luaL_setmetatable(L, HOLD);
    np_drain_add(&np_script_of(L)->shutdown, &h->drain);
    np_activate(np_script_of(L), &h->activation);
    return 1;
}

static int active_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    lua_pushboolean(L, ((struct hold *)ctx)->active);
    return 1;
}

/* h:active() → true, once this state does the work and is not held beside an older one (false: it
 * ended before) */
static int hold_active(lua_State *L)
{
    struct hold *h = luaL_checkudata(L, 1, HOLD);
    if (h->active || h->activation.fn == NULL) return active_k(L, NEAP_OK, h);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&h->starters, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, active_k, h);
}

static int wait_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)err;
    lua_pushnumber(L, np_to_seconds(((struct hold *)ctx)->grace));
    return 1;
}

/* h:wait() → the seconds of grace, when the host begins to drain. Then call h:done(). */
static int hold_wait(lua_State *L)
{
    struct hold *h = luaL_checkudata(L, 1, HOLD);
    if (h->draining) return wait_k(L, NEAP_OK, h);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&h->waiters, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, wait_k, h);
}

static int hold_done(lua_State *L)
{
    struct hold *h = luaL_checkudata(L, 1, HOLD);
    np_drain_remove(&h->drain);
    np_activation_cancel(&h->activation);
    h->activation.fn = NULL;
    np_wake_all(&h->starters, NEAP_OK);
    return 0;
}

void np_watch_open(lua_State *L)
{
    static const luaL_Reg watch_methods[] = {
        {"next", watch_next}, {"close", watch_close}, {"lost", watch_lost}, {NULL, NULL}};
    static const luaL_Reg watch_meta[] = {{"__gc", watch_close},
                                          {"__close", watch_close},
                                          {"__tostring", watch_tostring},
                                          {NULL, NULL}};
    static const luaL_Reg hold_methods[] = {
        {"wait", hold_wait}, {"active", hold_active}, {"done", hold_done}, {NULL, NULL}};
    static const luaL_Reg hold_meta[] = {{"__gc", hold_done}, {"__close", hold_done}, {NULL, NULL}};
    np_type_new(L, WATCH, watch_methods, watch_meta);
    np_type_new(L, HOLD, hold_methods, hold_meta);
}
