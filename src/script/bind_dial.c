/* Connecting from a script; see bind_dial.h. */
#include "script/bind_dial.h"

#include "net/netpolicy.h"
#include "script/bind_proxy.h"
#include "script/bind_tls.h"

/* Stack: …, the address as text, the stream. */
static int dial_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    if (!err && ls->closed) err = NEAP_ECLOSED;
    if (!err) return 1;
    const char *why = err == NEAP_ENOTFOUND ? "no such host" : neap_err_text(err);
    lua_pushstring(L, ls->why ? ls->why : why);
    np_lstream_close(ls, 0);
    return np_fail(L, err, "cannot connect to %s: %s", lua_tostring(L, -3), lua_tostring(L, -1));
}

/* Whoever cancels a wait ends it: this must not wake the task, as np_lstream_close would. */
static void cancel_dial(struct np_wait *w)
{
    struct np_lstream *ls = np_container_of(w, struct np_lstream, opener);
    ls->closed = true;
    if (ls->s) np_stream_close(ls->s);
}

static void read_proxy(lua_State *L, int opts_idx, struct np_dial_layers *out)
{
    if (lua_isnoneornil(L, opts_idx))
        lua_pushnil(L);
    else
        lua_getfield(L, opts_idx, "proxy_protocol");
    np_lproxy_dial_option(L, -1, "opts.proxy_protocol");
    lua_remove(L, -2);
    if (lua_type(L, -1) == LUA_TNUMBER)
        out->proxy_version = (int)lua_tointeger(L, -1);
    else if (lua_type(L, -1) == LUA_TSTRING)
        out->proxy_header = lua_tolstring(L, -1, &out->proxy_header_len);
}

bool np_dial_read_layers(lua_State *L, int opts_idx, struct np_dial_layers *out)
{
    struct neap_errinfo info = {0};
    read_proxy(L, opts_idx, out);
    if (lua_isnoneornil(L, opts_idx))
        lua_pushnil(L);
    else
        lua_getfield(L, opts_idx, "tls");
    enum neap_err err = np_ltls_option(L, -1, "opts.tls", NP_LTLS_CLIENT, &out->tls, &info);
    lua_remove(L, -2);
    if (!err) return true;
    lua_pop(L, 1);
    np_fail_info(L, &info);
    return false;
}

/* The stream is the filter's from here on. */
static enum neap_err secure(struct np_stream **s, const struct np_dial_layers *layers,
                            int64_t within, struct np_lstream *ls)
{
    struct np_tls_client_options o = {
        .host = layers->server_name, .session_key = layers->session_key, .within = within};
    return np_tls_wrap_client(layers->tls, *s, &o, &np_lstream_handler, ls, s);
}

/* What is to be done once the transport is open; a userdata above the stream. */
struct then {
    struct np_dial_layers layers;
    int64_t within;
    size_t max_queue;
};

/* The transport is open: a header of its own addresses goes out, then TLS begins. Stack: …, the
 * address as text, the stream, struct then. */
static int own_header_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    const struct then *then = lua_touserdata(L, -1);
    if (!err && (ls->closed || !ls->s)) err = NEAP_ECLOSED;
    if (!err) err = np_lproxy_write_own(ls->s, then->layers.proxy_version);
    struct np_stream *s = ls->s;
    bool secures = !err && then->layers.tls;
    if (secures) {
        np_stream_read_stop(s);
        err = secure(&s, &then->layers, then->within, ls);
        if (!err) s->max_queue = then->max_queue;
    }
    lua_pop(L, 1);
    if (err || !secures) return dial_k(L, err, ls);
    np_lstream_attach(ls, s);
    return np_wait(L, &ls->opener, NP_NO_TIMEOUT, cancel_dial, dial_k, ls);
}

/* The layers that can be put on at once, while it is still connecting. */
static enum neap_err put_on(struct np_stream **s, const struct np_dial_layers *layers,
                            int64_t within, struct np_lstream *ls)
{
    enum neap_err err = NEAP_OK;
    if (layers->proxy_header)
        err = np_stream_write(*s, layers->proxy_header, layers->proxy_header_len);
    if (!err && layers->tls && !layers->proxy_version) err = secure(s, layers, within, ls);
    return err;
}

int np_dial_wait(lua_State *L, const struct np_dial_options *dial,
                 const struct np_lstream_options *opts, const struct np_dial_layers *layers,
                 np_dial_fn fn, const void *where, int address_idx)
{
    struct np_script *script = np_script_of(L);
    struct np_stream *s;
    np_task_current(L); /* raises outside a task, before anything is made */
    lua_settop(L, address_idx);
    struct np_lstream **handle = np_lstream_push(L);
    struct then *then = NULL;
    if (layers->proxy_version) {
        then = lua_newuserdatauv(L, sizeof *then, 0);
        *then = (struct then){*layers, dial->timeout, opts->max_queue};
    }
    struct np_lstream *ls = np_lstream_new(script, opts);
    if (!ls) return np_fail(L, NEAP_ENOMEM, NULL);
    np_lstream_hold(handle, ls);
    enum neap_err err = fn(script->loop, where, dial, ls, &s);
    if (err == NEAP_EACCES) { /* nothing was tried: the policy does not allow it */
        np_lstream_close(ls, 0);
        return np_fail(L, err, NP_NETPOLICY_WORDS, lua_tostring(L, address_idx));
    }
    if (err) {
        lua_settop(L, address_idx + 1);
        return dial_k(L, err, ls);
    }
    err = put_on(&s, layers, dial->timeout, ls);
    if (err) {
        np_stream_set_handler(s, &np_lstream_handler, ls);
        ls->s = s;
        lua_settop(L, address_idx + 1);
        return dial_k(L, err, ls);
    }
    s->max_queue = opts->max_queue;
    np_lstream_attach(ls, s);
    return np_wait(L, &ls->opener, NP_NO_TIMEOUT, cancel_dial, then ? own_header_k : dial_k, ls);
}
