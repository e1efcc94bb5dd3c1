/* neap.core.unix: streams and listeners over unix sockets. */
#include <string.h>

#include "script/bind_dial.h"
#include "script/bind_listener.h"
#include "script/modules.h"

static enum neap_err dial(struct np_loop *loop, const void *where,
                          const struct np_dial_options *opts, struct np_lstream *ls,
                          struct np_stream **out)
{
    return np_unix_dial(loop, where, opts, &np_lstream_handler, ls, out);
}

struct connect_options {
    struct np_dial_options dial;
    struct np_lstream_options stream;
    const char *server_name;
};

static const struct np_opt connect_spec[] = {
    {"timeout", NP_OPT_SECONDS, offsetof(struct connect_options, dial.timeout), 0, 0},
    NP_DIAL_LAYER_OPTS(struct connect_options, server_name),
    NP_LSTREAM_OPTS(struct connect_options, stream),
    {0}};

/* connect(path[, {timeout=10, …}]) → stream | nil, err */
static int unix_connect(lua_State *L)
{
    struct connect_options o = {NP_DIAL_OPTIONS_INIT, NP_LSTREAM_OPTIONS_INIT, NULL};
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n > 0 && strlen(path) == n, 1, "not a path");
    lua_settop(L, 2);
    np_opts_read(L, 2, "opts", connect_spec, &o);
    struct np_dial_layers layers = {.server_name = o.server_name};
    if (!np_dial_read_layers(L, 2, &layers)) return 2;
    layers.session_key = lua_pushfstring(L, "unix:%s", path);
    return np_dial_wait(L, &o.dial, &o.stream, &layers, dial, path, 5);
}

struct listen_options {
    struct np_llistener_options listener;
    const char *path;
};

static const struct np_opt listen_spec[] = {
    {"path", NP_OPT_STRING, offsetof(struct listen_options, path), 0, 0},
    {"mode", NP_OPT_INT, offsetof(struct listen_options, listener.listen.unix_mode), 0, 0777},
    NP_LLISTENER_OPTS(struct listen_options, listener),
    {0}};

static enum neap_err make(struct np_loop *loop, const void *where,
                          const struct np_listen_options *opts, const struct np_listener_handler *h,
                          void *arg, struct np_listener **out, struct neap_errinfo *info)
{
    return np_unix_listen(loop, where, opts, h, arg, out, info);
}

/* listen({path=, mode=, …}[, handler]) → listener | nil, err */
static int unix_listen(lua_State *L)
{
    struct listen_options o = {NP_LLISTENER_OPTIONS_INIT, NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    np_opts_read(L, 1, "opts", listen_spec, &o);
    if (!o.path) return np_misuse(L, "opts.path: required");
    if (!np_llistener_read_layers(L, 1, &o.listener)) return 2;
    return np_llistener_new(L, &o.listener, 2, make, o.path);
}

int np_open_unix(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"connect", unix_connect}, {"listen", unix_listen}, {NULL, NULL}};
    np_llistener_open(L);
    luaL_newlib(L, functions);
    return 1;
}
