/* neap.bus.serve: makes the bus reachable for NATS clients. The userdata is anchored while the
 * server is open, so that a server nobody keeps goes on serving. */
#include <string.h>

#include "base/alloc.h"
#include "bus/server.h"
#include "script/bind_bus.h"
#include "script/luax.h"
#include "script/state.h"

#define SERVER "neap.bus.server"
#define DEFAULT_PORT 4222
#define LINGER (2 * NP_NS_PER_SEC)

struct lua_server {
    struct np_script *script;
    struct np_bus_server *server; /* NULL when it is gone */
    struct lua_server **handle;   /* the userdata; NULL when collected */
    struct np_link waiters;       /* for the end, in close */
    struct np_drain drain;
    int self_ref;
    bool closing;
};

static void release(struct lua_server *ls)
{
    if (!ls->handle && !ls->server) np_free(ls);
}

static void on_closed(void *arg)
{
    struct lua_server *ls = arg;
    ls->server = NULL;
    np_drain_remove(&ls->drain);
    np_wake_all(&ls->waiters, NEAP_OK);
    release(ls);
}

static void close_server(struct lua_server *ls, int64_t linger)
{
    if (!ls->server || ls->closing) return;
    ls->closing = true;
    if (!ls->script->closing) np_unref(ls->script, ls->self_ref);
    ls->self_ref = LUA_NOREF;
    np_bus_server_close(ls->server, ls->script->closing ? 0 : linger, on_closed, ls);
}

static void on_drain(struct np_drain *d, int64_t grace)
{
    close_server(np_container_of(d, struct lua_server, drain), grace < LINGER ? grace : LINGER);
}

static struct lua_server *check(lua_State *L)
{
    return *(struct lua_server **)luaL_checkudata(L, 1, SERVER);
}

static int server_gc(lua_State *L)
{
    struct lua_server **handle = luaL_checkudata(L, 1, SERVER);
    struct lua_server *ls = *handle;
    if (!ls) return 0;
    *handle = NULL;
    ls->handle = NULL;
    close_server(ls, LINGER);
    release(ls);
    return 0;
}

static int close_k(lua_State *L, enum neap_err err, void *ctx)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* server:close(): what clients are owed is still sent; waits for the end. */
static int server_close(lua_State *L)
{
    struct lua_server *ls = check(L);
    if (!ls) return 0;
    close_server(ls, LINGER);
    struct np_task *t = np_script_of(L)->sched.current;
    if (!ls->server || !t) return close_k(L, NEAP_OK, NULL);
    np_wait_enqueue(&ls->waiters, &t->sleep);
    return np_wait(L, &t->sleep, NP_NO_TIMEOUT, np_wait_dequeue, close_k, NULL);
}

/* server:stats() → {clients=, accepted=, refused=, slow_consumers=, stale=} */
static int server_stats(lua_State *L)
{
    struct lua_server *ls = check(L);
    struct np_bus_server_stats stats = {0};
    if (ls && ls->server) np_bus_server_get_stats(ls->server, &stats);
    lua_createtable(L, 0, 5);
    np_set_count(L, "clients", stats.clients);
    np_set_count(L, "accepted", stats.accepted);
    np_set_count(L, "refused", stats.refused);
    np_set_count(L, "slow_consumers", stats.slow_consumers);
    np_set_count(L, "stale", stats.stale);
    return 1;
}

static int server_index(lua_State *L)
{
    struct lua_server *ls = check(L);
    const char *key = luaL_checkstring(L, 2);
    char address[NP_ADDR_TEXT_MAX];
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    bool open = ls && ls->server && !ls->closing;
    if (strcmp(key, "closed") == 0) return lua_pushboolean(L, !open), 1;
    if (!open) return 1;
    if (strcmp(key, "port") == 0) return lua_pushinteger(L, np_bus_server_port(ls->server)), 1;
    np_bus_server_address(ls->server, address, sizeof address);
    if (strcmp(key, "address") == 0) return lua_pushstring(L, address), 1;
    if (strcmp(key, "url") == 0) return lua_pushfstring(L, "nats://%s", address), 1;
    return 1;
}

static int server_tostring(lua_State *L)
{
    struct lua_server *ls = check(L);
    char address[NP_ADDR_TEXT_MAX] = "closed";
    if (ls && ls->server && !ls->closing)
        np_bus_server_address(ls->server, address, sizeof address);
    lua_pushfstring(L, "neap.bus.server: %s", address);
    return 1;
}

struct serve_options {
    struct np_bus_server_options server;
    const char *host;
    int port;
};

static const struct np_opt serve_spec[] = {
    {"host", NP_OPT_STRING, offsetof(struct serve_options, host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct serve_options, port), 0, 65535},
    {"name", NP_OPT_STRING, offsetof(struct serve_options, server.name), 0, 0},
    {"max_control_line", NP_OPT_SIZE, offsetof(struct serve_options, server.max_control), 128,
     1 << 20},
    {"max_pending", NP_OPT_SIZE, offsetof(struct serve_options, server.max_pending), 1024, 0},
    {"max_clients", NP_OPT_SIZE, offsetof(struct serve_options, server.max_clients), 1, 0},
    {"max_subscriptions", NP_OPT_SIZE, offsetof(struct serve_options, server.max_subs), 1, 0},
    {"ping_interval", NP_OPT_SECONDS, offsetof(struct serve_options, server.ping_interval), 0, 0},
    {"max_pings", NP_OPT_INT, offsetof(struct serve_options, server.max_pings), 1, 1000},
    {"write_timeout", NP_OPT_SECONDS, offsetof(struct serve_options, server.write_timeout), 0, 0},
    {0}};

static struct lua_server *new_server(lua_State *L)
{
    struct lua_server **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, SERVER);
    struct lua_server *ls = np_calloc(1, sizeof *ls);
    if (!ls) luaL_error(L, "not enough memory");
    ls->script = np_script_of(L);
    ls->self_ref = LUA_NOREF;
    np_link_init(&ls->waiters);
    ls->drain.drain = on_drain;
    ls->drain.last = true; /* what drains before may still publish */
    ls->handle = handle;
    *handle = ls;
    return ls;
}

/* serve{host="127.0.0.1", port=4222, limits…} → server | nil, err */
static int bus_serve(lua_State *L)
{
    struct serve_options o = {NP_BUS_SERVER_OPTIONS_INIT, "127.0.0.1", DEFAULT_PORT};
    struct np_bus *bus = np_bus_check(L);
    struct neap_errinfo info;
    np_opts_read(L, 1, "opts", serve_spec, &o);
    lua_settop(L, 1);
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    struct lua_server *ls = new_server(L);
    lua_pushvalue(L, 2);
    ls->self_ref = np_ref(L);
    o.server.share = ls->script->share;
    enum neap_err err = np_bus_server_new(bus, &o.server, &ls->server);
    if (err) {
        np_unref(ls->script, ls->self_ref);
        ls->self_ref = LUA_NOREF;
        return np_fail(L, err, NULL);
    }
    err = np_bus_server_listen(ls->server, o.host, o.port, &info);
    if (!err) {
        np_drain_add(&ls->script->shutdown, &ls->drain);
        return 1;
    }
    close_server(ls, LINGER);
    return np_fail_info(L, &info);
}

void np_bus_add_server(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", server_close}, {"stats", server_stats}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", server_gc},
                                    {"__close", server_close},
                                    {"__tostring", server_tostring},
                                    {NULL, NULL}};
    np_type_new(L, SERVER, NULL, meta);
    luaL_getmetatable(L, SERVER);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, server_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, bus_serve);
    lua_setfield(L, -2, "serve");
}
