/* neap.core.tcp: streams and listeners over TCP. */
#include <string.h>

#include "script/bind_dial.h"
#include "script/bind_listener.h"
#include "script/bind_proxy.h"
#include "script/modules.h"

struct where {
    const char *host;
    int port;
};

/* --- connect */

static enum neap_err dial(struct np_loop *loop, const void *where,
                          const struct np_dial_options *opts, struct np_lstream *ls,
                          struct np_stream **out)
{
    const struct where *w = where;
    return np_tcp_dial(loop, w->host, w->port, opts, &np_lstream_handler, ls, out);
}

struct connect_options {
    struct np_dial_options dial;
    struct np_lstream_options stream;
    const char *server_name;
};

static const struct np_opt connect_spec[] = {
    {"timeout", NP_OPT_SECONDS, offsetof(struct connect_options, dial.timeout), 0, 0},
    {"no_delay", NP_OPT_BOOL, offsetof(struct connect_options, dial.no_delay), 0, 0},
    {"keep_alive", NP_OPT_INT, offsetof(struct connect_options, dial.keep_alive), 0, 32767},
    {"attempt_delay", NP_OPT_SECONDS, offsetof(struct connect_options, dial.attempt_delay), 0, 0},
    NP_DIAL_LAYER_OPTS(struct connect_options, server_name),
    NP_LSTREAM_OPTS(struct connect_options, stream),
    {0}};

static const char *check_host(lua_State *L, int idx)
{
    size_t n;
    const char *host = luaL_checklstring(L, idx, &n);
    luaL_argcheck(L, n > 0 && strlen(host) == n, idx, "not a host name or address");
    return host;
}

static int check_port(lua_State *L, int idx)
{
    lua_Integer port = luaL_checkinteger(L, idx);
    luaL_argcheck(L, port >= 1 && port <= 65535, idx, "a port is 1 to 65535");
    return (int)port;
}

/* connect(host, port[, {timeout=10, no_delay=true, keep_alive=0, tls=, server_name=host, …}]) →
 * stream | nil, err */
static int tcp_connect(lua_State *L)
{
    struct connect_options o = {NP_DIAL_OPTIONS_INIT, NP_LSTREAM_OPTIONS_INIT, NULL};
    struct where w = {check_host(L, 1), check_port(L, 2)};
    lua_settop(L, 3);
    np_opts_read(L, 3, "opts", connect_spec, &o);
    struct np_dial_layers layers = {.server_name = o.server_name ? o.server_name : w.host};
    if (!np_dial_read_layers(L, 3, &layers)) return 2;
    layers.session_key =
        lua_pushfstring(L, strchr(w.host, ':') ? "[%s]:%d" : "%s:%d", w.host, w.port);
    return np_dial_wait(L, &o.dial, &o.stream, &layers, dial, &w, 6);
}

/* --- listen */

struct listen_options {
    struct np_llistener_options listener;
    struct where where;
};

static const struct np_opt listen_spec[] = {
    {"host", NP_OPT_STRING, offsetof(struct listen_options, where.host), 0, 0},
    {"port", NP_OPT_INT, offsetof(struct listen_options, where.port), 0, 65535},
    {"reuse_port", NP_OPT_BOOL, offsetof(struct listen_options, listener.listen.reuse_port), 0, 0},
    {"v6_only", NP_OPT_BOOL, offsetof(struct listen_options, listener.listen.v6_only), 0, 0},
    NP_LLISTENER_OPTS(struct listen_options, listener),
    {0}};

static enum neap_err make(struct np_loop *loop, const void *where,
                          const struct np_listen_options *opts, const struct np_listener_handler *h,
                          void *arg, struct np_listener **out, struct neap_errinfo *info)
{
    const struct where *w = where;
    return np_tcp_listen(loop, w->host, w->port, opts, h, arg, out, info);
}

/* listen({host="127.0.0.1", port=0, …}[, handler]) → listener | nil, err */
static int tcp_listen(lua_State *L)
{
    struct listen_options o = {NP_LLISTENER_OPTIONS_INIT, {"127.0.0.1", 0}};
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    np_opts_read(L, 1, "opts", listen_spec, &o);
    if (!np_llistener_read_layers(L, 1, &o.listener)) return 2;
    return np_llistener_new(L, &o.listener, 2, make, &o.where);
}

int np_open_tcp(lua_State *L)
{
    static const luaL_Reg functions[] = {{"connect", tcp_connect},
                                         {"listen", tcp_listen},
                                         {"proxy_header", np_lproxy_header},
                                         {NULL, NULL}};
    np_llistener_open(L);
    luaL_newlib(L, functions);
    return 1;
}
