/* neap.bus.connect: joins this host's bus to a remote one. The userdata is anchored while the
 * connection is open, so that one nobody keeps goes on.
 *
 * While a state is held it may not disturb the one that does the work, whose connection the bus has
 * still. One to the same place is an `heir`: it has no bridge of its own, and is given the older
 * state's when its own is activated. Any other is made ready beside that, and takes its place then.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "bus/bridge.h"
#include "bus/url.h"
#include "script/bind_bus.h"
#include "script/luax.h"
#include "script/state.h"

#define CONNECTION "neap.bus.connection"
#define LINGER (2 * NP_NS_PER_SEC)

struct lua_conn {
    struct np_script *script;
    struct np_bus_bridge *bridge; /* NULL when it is gone */
    struct lua_conn **handle;     /* the userdata; NULL when collected */
    struct np_link ready;         /* who waits until it is connected */
    struct np_link closed;        /* who waits for the end, in close */
    struct np_drain drain;
    struct np_at_close at_close;
    struct np_activation activation;
    struct np_bus_bridge_watch watch; /* an heir's, of the older state's bridge */
    bool heir;                        /* not activated yet */
    struct np_bus_bridge_options opts;
    char name[64]; /* opts.name */
    char host[256];
    int port;
    int self_ref;
    int fn_ref;       /* on_status; LUA_NOREF without */
    unsigned telling; /* tasks that call it */
    bool closing;
    enum np_bus_bridge_state state;
    struct neap_errinfo error; /* of AWAY and FAILED */
    char address[300];
};

static const char *const state_names[] = {"connecting", "connected", "away", "failed", "closed"};

/* --- life */

static void release(struct lua_conn *lc)
{
    if (lc->handle || lc->bridge || lc->telling > 0) return;
    np_at_close_remove(&lc->at_close);
    np_free(lc);
}

static void drop_refs(struct lua_conn *lc)
{
    if (!lc->script->closing) {
        np_unref(lc->script, lc->self_ref);
        np_unref(lc->script, lc->fn_ref);
    }
    lc->self_ref = lc->fn_ref = LUA_NOREF;
}

static void on_closed(void *arg)
{
    struct lua_conn *lc = arg;
    lc->bridge = NULL;
    np_drain_remove(&lc->drain);
    np_wake_all(&lc->closed, NEAP_OK);
    release(lc);
}

static void close_conn(struct lua_conn *lc, int64_t linger)
{
    np_activation_cancel(&lc->activation);
    np_bus_bridge_unwatch(&lc->watch);
    if ((!lc->bridge && !lc->heir) || lc->closing) return;
    lc->closing = true;
    lc->heir = false;
    lc->state = NP_BUS_BRIDGE_CLOSED;
    drop_refs(lc);
    np_wake_all(&lc->ready, NEAP_ECLOSED);
    if (lc->bridge)
        np_bus_bridge_close(lc->bridge, lc->script->closing ? 0 : linger, on_closed, lc);
}

/* The state closes: no task of it runs any more. */
static void on_state_close(struct np_at_close *c)
{
    struct lua_conn *lc = np_container_of(c, struct lua_conn, at_close);
    if (lc->handle) *lc->handle = NULL;
    lc->handle = NULL;
    lc->telling = 0;
    close_conn(lc, 0);
    release(lc);
}

static void on_drain(struct np_drain *d, int64_t grace)
{
    close_conn(np_container_of(d, struct lua_conn, drain), grace < LINGER ? grace : LINGER);
}

/* --- status */

static int told_k(lua_State *L, int status, lua_KContext ctx)
{
    return 0;
}

/* The task that calls on_status. Stack: the connection's C object. */
static int tell(lua_State *L)
{
    struct lua_conn *lc = lua_touserdata(L, 1);
    if (lc->fn_ref == LUA_NOREF) return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, lc->fn_ref);
    lua_pushstring(L, state_names[lc->state]);
    if (lc->state == NP_BUS_BRIDGE_CONNECTED) {
        lua_pushnil(L);
    } else {
        np_push_error(L, lc->error.code, "%s", lc->error.message);
    }
    lua_callk(L, 2, 0, 0, told_k);
    return 0;
}

static void on_told(struct np_task *t, bool ok, int nresults)
{
    struct lua_conn *lc = t->arg;
    if (!ok) np_task_log_error(t);
    lc->telling--;
    release(lc);
}

static void start_telling(struct lua_conn *lc)
{
    if (lc->fn_ref == LUA_NOREF) return;
    struct np_task *t = np_task_new_c(lc->script, tell, lc, NULL, "bus status");
    if (!t) {
        np_logf(lc->script->log, NP_LOG_ERROR, "bus: out of memory; on_status is not called");
        return;
    }
    lc->telling++;
    t->done = on_told;
    t->arg = lc;
    np_task_start(t, false);
}

/* It will never be. */
static void on_failed(struct lua_conn *lc, enum neap_err err)
{
    lc->state = NP_BUS_BRIDGE_FAILED;
    np_wake_all(&lc->ready, err);
    start_telling(lc);
}

static void on_state(struct np_bus_bridge *b, enum np_bus_bridge_state state, enum neap_err err,
                     const char *why)
{
    struct lua_conn *lc = np_bus_bridge_arg(b);
    lc->state = state;
    if (err) np_err_set(&lc->error, err, "%s: %s", lc->address, why);
    if (state == NP_BUS_BRIDGE_CONNECTED) np_wake_all(&lc->ready, NEAP_OK);
    if (state == NP_BUS_BRIDGE_FAILED) {
        on_failed(lc, err);
    } else {
        start_telling(lc);
    }
}

/* --- a reload */

static void on_heir_told(struct np_bus_bridge_watch *w, enum np_bus_bridge_state state,
                         enum neap_err err, const char *why)
{
    struct lua_conn *lc = np_container_of(w, struct lua_conn, watch);
    /* Closed by the older code: it is opened anew when this one is activated. */
    lc->state = state == NP_BUS_BRIDGE_CLOSED ? NP_BUS_BRIDGE_CONNECTING : state;
    if (err) np_err_set(&lc->error, err, "%s: %s", lc->address, why);
    if (state == NP_BUS_BRIDGE_CONNECTED) np_wake_all(&lc->ready, NEAP_OK);
}

static void take_over(struct lua_conn *lc, struct np_bus_bridge *b)
{
    struct lua_conn *old = np_bus_bridge_arg(b);
    np_bus_bridge_set_owner(b, on_state, lc);
    lc->bridge = b;
    lc->state = np_bus_bridge_get_state(b);
    old->bridge = NULL;
    old->closing = true;
    old->state = NP_BUS_BRIDGE_CLOSED;
    np_drain_remove(&old->drain);
    drop_refs(old);
    np_wake_all(&old->ready, NEAP_ECLOSED);
    np_wake_all(&old->closed, NEAP_OK);
    release(old);
}

static enum neap_err begin(struct lua_conn *lc, struct neap_errinfo *info)
{
    return np_bus_bridge_open(lc->script->bus, lc->host, lc->port, &lc->opts, on_state, lc,
                              &lc->bridge, info);
}

static enum neap_err switch_over(struct lua_conn *lc, struct neap_errinfo *info)
{
    struct np_bus_bridge *now = np_bus_get_bridge(lc->script->bus);
    bool older = now && np_bus_bridge_get_fn(now) == on_state;
    if (lc->heir && older && np_bus_bridge_same(now, lc->host, lc->port, &lc->opts)) {
        take_over(lc, now);
        return NEAP_OK;
    }
    if (older) close_conn(np_bus_bridge_arg(now), LINGER);
    if (lc->heir) return begin(lc, info);
    enum neap_err err = np_bus_bridge_release(lc->bridge);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

static void on_activated(struct np_activation *a)
{
    struct lua_conn *lc = np_container_of(a, struct lua_conn, activation);
    struct neap_errinfo info = {0};
    np_bus_bridge_unwatch(&lc->watch);
    enum neap_err err = switch_over(lc, &info);
    if (lc->heir && !err) np_drain_add(&lc->script->shutdown, &lc->drain);
    lc->heir = false;
    if (!err) return;
    lc->error = info;
    np_logf(lc->script->log, NP_LOG_ERROR, "bus: cannot connect to %s: %s", lc->address,
            info.message);
    on_failed(lc, err);
}

/* Whether the state has one already that waits for its activation. */
static bool one_waits(const struct np_script *s)
{
    struct np_link *l;
    np_list_each (l, &s->activations) {
        if (np_container_of(l, struct np_activation, link)->fn == on_activated) return true;
    }
    return false;
}

/* --- methods */

static struct lua_conn *check(lua_State *L)
{
    return *(struct lua_conn **)luaL_checkudata(L, 1, CONNECTION);
}

static int conn_gc(lua_State *L)
{
    struct lua_conn **handle = luaL_checkudata(L, 1, CONNECTION);
    struct lua_conn *lc = *handle;
    if (!lc) return 0;
    *handle = NULL;
    lc->handle = NULL;
    close_conn(lc, LINGER);
    release(lc);
    return 0;
}

static int close_k(lua_State *L, enum neap_err err, void *ctx)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* c:close(): what was published is still sent; waits for the end. */
static int conn_close(lua_State *L)
{
    struct lua_conn *lc = check(L);
    if (!lc) return 0;
    close_conn(lc, LINGER);
    struct np_task *t = np_script_of(L)->sched.current;
    if (!lc->bridge || !t) return close_k(L, NEAP_OK, NULL);
    np_wait_enqueue(&lc->closed, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, close_k, NULL);
}

static int fail_with(lua_State *L, struct lua_conn *lc, enum neap_err err)
{
    if (err == NEAP_ECLOSED) return np_fail(L, err, "the connection is closed");
    if (lc->error.code) return np_fail(L, err, "%s", lc->error.message);
    return np_fail(L, err, "%s: no answer in time", lc->address);
}

static int ready_k(lua_State *L, enum neap_err err, void *ctx)
{
    if (err) return fail_with(L, ctx, err);
    lua_pushboolean(L, 1);
    return 1;
}

static int wait_ready(lua_State *L, struct lua_conn *lc, int64_t timeout, np_wait_fn k)
{
    if (lc->state == NP_BUS_BRIDGE_CONNECTED) return k(L, NEAP_OK, lc);
    if (lc->state == NP_BUS_BRIDGE_CLOSED) return k(L, NEAP_ECLOSED, lc);
    if (lc->state == NP_BUS_BRIDGE_FAILED) return k(L, lc->error.code, lc);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&lc->ready, &t->sleep);
    return np_wait(L, &t->sleep, timeout, np_wait_dequeue, k, lc);
}

/* c:ready{timeout=5} → true | nil, err */
static int conn_ready(lua_State *L)
{
    struct {
        int64_t timeout;
    } o = {5 * NP_NS_PER_SEC};
    static const struct np_opt spec[] = {{"timeout", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    struct lua_conn *lc = check(L);
    np_opts_read(L, 2, "opts", spec, &o);
    if (!lc) return np_fail(L, NEAP_ECLOSED, NULL);
    return wait_ready(L, lc, o.timeout, ready_k);
}

static int conn_index(lua_State *L)
{
    struct lua_conn *lc = check(L);
    const char *key = luaL_checkstring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL || !lc) return 1;
    if (strcmp(key, "status") == 0) return lua_pushstring(L, state_names[lc->state]), 1;
    if (strcmp(key, "connected") == 0)
        return lua_pushboolean(L, lc->state == NP_BUS_BRIDGE_CONNECTED), 1;
    if (strcmp(key, "address") == 0) return lua_pushstring(L, lc->address), 1;
    if (strcmp(key, "error") == 0 && lc->error.code && lc->state != NP_BUS_BRIDGE_CONNECTED)
        np_push_error(L, lc->error.code, "%s", lc->error.message);
    return 1;
}

static int conn_tostring(lua_State *L)
{
    struct lua_conn *lc = check(L);
    lua_pushfstring(L, "neap.bus.connection: %s (%s)", lc ? lc->address : "",
                    lc ? state_names[lc->state] : "closed");
    return 1;
}

/* --- connect */

struct connect_options {
    struct np_bus_bridge_options bridge;
    int64_t timeout;
};

static const struct np_opt connect_spec[] = {
    {"name", NP_OPT_STRING, offsetof(struct connect_options, bridge.name), 0, 0},
    {"retry", NP_OPT_BOOL, offsetof(struct connect_options, bridge.retry), 0, 0},
    {"timeout", NP_OPT_SECONDS, offsetof(struct connect_options, timeout), 0, 0},
    {"ping_interval", NP_OPT_SECONDS, offsetof(struct connect_options, bridge.ping_interval), 0, 0},
    {"max_pings", NP_OPT_INT, offsetof(struct connect_options, bridge.max_pings), 1, 1000},
    {"reconnect_min", NP_OPT_SECONDS, offsetof(struct connect_options, bridge.reconnect_min), 0, 0},
    {"reconnect_max", NP_OPT_SECONDS, offsetof(struct connect_options, bridge.reconnect_max), 0, 0},
    {"max_away", NP_OPT_SIZE, offsetof(struct connect_options, bridge.max_away), 0, 0},
    {"max_pending", NP_OPT_SIZE, offsetof(struct connect_options, bridge.max_pending), 0, 0},
    {"on_status", NP_OPT_FUNCTION, 0, 0, 0},
    {0}};

static struct lua_conn *new_conn(lua_State *L, const char *host, int port,
                                 const struct np_bus_bridge_options *opts)
{
    struct lua_conn **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, CONNECTION);
    struct lua_conn *lc = np_calloc(1, sizeof *lc);
    if (!lc) luaL_error(L, "not enough memory");
    lc->script = np_script_of(L);
    lc->self_ref = lc->fn_ref = LUA_NOREF;
    np_link_init(&lc->ready);
    np_link_init(&lc->closed);
    np_link_init(&lc->watch.link);
    lc->watch.fn = on_heir_told;
    lc->activation.fn = on_activated;
    lc->at_close.fn = on_state_close;
    lc->drain.drain = on_drain;
    lc->drain.last = true; /* what drains before may still publish */
    lc->opts = *opts;
    lc->port = port;
    snprintf(lc->host, sizeof lc->host, "%s", host);
    snprintf(lc->name, sizeof lc->name, "%s", opts->name ? opts->name : "");
    lc->opts.name = opts->name ? lc->name : NULL;
    snprintf(lc->address, sizeof lc->address, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    lc->handle = handle;
    *handle = lc;
    np_at_close_add(lc->script, &lc->at_close);
    return lc;
}

/* Stack: url, options, the connection. */
static int connected_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct lua_conn *lc = ctx;
    if (!err) {
        lua_settop(L, 3);
        lua_pushvalue(L, 3);
        lc->self_ref = np_ref(L);
        return 1;
    }
    fail_with(L, lc, err);
    close_conn(lc, LINGER);
    return 2;
}

static struct np_bus *connectable(lua_State *L)
{
    struct np_script *script = np_script_of(L);
    struct np_bus *bus = np_bus_check(L);
    struct np_bus_bridge *now = np_bus_get_bridge(bus);
    bool older = now && script->held && np_bus_bridge_get_fn(now) == on_state;
    return (now && !older) || one_waits(script) ? NULL : bus;
}

static void anchor(lua_State *L, struct lua_conn *lc)
{
    lua_pushvalue(L, 3);
    lc->self_ref = np_ref(L);
}

/* Stack: url, options, the connection. */
static int connect_now(lua_State *L, struct lua_conn *lc)
{
    struct neap_errinfo info = {0};
    lc->opts.held = lc->script->held;
    enum neap_err err = begin(lc, &info);
    if (err) {
        drop_refs(lc);
        return np_fail_info(L, &info);
    }
    np_drain_add(&lc->script->shutdown, &lc->drain);
    if (lc->opts.held) np_activate(lc->script, &lc->activation);
    lc->opts.held = false;
    if (lc->opts.retry) return 1;
    return wait_ready(L, lc, NP_NO_TIMEOUT, connected_k);
}

/* The older state is connected to the same place. */
static int inherit(lua_State *L, struct lua_conn *lc, struct np_bus_bridge *now)
{
    if (lc->self_ref == LUA_NOREF) anchor(L, lc);
    lc->heir = true;
    lc->state = np_bus_bridge_get_state(now);
    np_bus_bridge_watch(now, &lc->watch);
    np_activate(lc->script, &lc->activation);
    return 1;
}

/* connect(url, {retry=true, timeout=5, …}) → connection | nil, err. With `retry` it returns at once
 * and goes on trying; without, it waits for the first attempt. */
static int bus_connect(lua_State *L)
{
    struct connect_options o = {NP_BUS_BRIDGE_OPTIONS_INIT, 0};
    struct neap_errinfo info = {0};
    char host[256];
    int port;
    o.bridge.retry = true;
    o.timeout = o.bridge.connect_timeout;
    const char *url = luaL_checkstring(L, 1);
    np_opts_read(L, 2, "opts", connect_spec, &o);
    lua_settop(L, 2);
    o.bridge.connect_timeout = o.timeout > 0 ? o.timeout : NP_TIME_NEVER;
    if (np_bus_parse_url(url, host, sizeof host, &port, &info))
        return np_misuse(L, "connect: %s", info.message);
    if (!o.bridge.retry) np_task_current(L); /* it will wait: raises outside of a task */
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct np_bus *bus = connectable(L);
    if (!bus) return np_fail(L, NEAP_EBUSY, "the bus is connected already");
    struct lua_conn *lc = new_conn(L, host, port, &o.bridge);
    if (o.bridge.retry) anchor(L, lc); /* else when connected: a cancelled task leaves nothing */
    if (lua_istable(L, 2) && lua_getfield(L, 2, "on_status") != LUA_TNIL) lc->fn_ref = np_ref(L);
    lua_settop(L, 3);
    struct np_bus_bridge *now = np_bus_get_bridge(bus);
    if (now && np_bus_bridge_same(now, host, port, &lc->opts)) return inherit(L, lc, now);
    return connect_now(L, lc);
}

void np_bus_add_connection(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", conn_close}, {"ready", conn_ready}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", conn_gc}, {"__close", conn_close}, {"__tostring", conn_tostring}, {NULL, NULL}};
    np_type_new(L, CONNECTION, NULL, meta);
    luaL_getmetatable(L, CONNECTION);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, conn_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, bus_connect);
    lua_setfield(L, -2, "connect");
}
