/* TLS on a script's stream: starttls, and what was agreed. See bind_tls.h. */
#include <string.h>

#include "base/alloc.h"
#include "script/bind_http_reqbody.h"
#include "script/bind_http_request.h"
#include "script/bind_stream.h"
#include "script/bind_tls.h"

#define HANDSHAKE (10 * NP_NS_PER_SEC)

/* --- what was agreed */

static void set_string(lua_State *L, const char *name, const char *value)
{
    if (!value) return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void push_peer(lua_State *L, const struct np_tls_peer *p)
{
    lua_createtable(L, 0, 9);
    set_string(L, "subject", p->subject);
    set_string(L, "common_name", p->common_name);
    set_string(L, "issuer", p->issuer);
    set_string(L, "serial", p->serial);
    set_string(L, "fingerprint", p->fingerprint);
    set_string(L, "spiffe_id", p->spiffe_id);
    lua_pushinteger(L, p->not_before);
    lua_setfield(L, -2, "not_before");
    lua_pushinteger(L, p->not_after);
    lua_setfield(L, -2, "not_after");
    lua_createtable(L, (int)p->nnames, 0);
    for (size_t i = 0; i < p->nnames; i++) {
        lua_pushstring(L, p->names[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "names");
}

static int push_peer_protected(lua_State *L)
{
    push_peer(L, lua_touserdata(L, 1));
    return 1;
}

/* The peer's certificate as field `peer` of the table on top; memory is freed whatever Lua does. */
static void add_peer(lua_State *L, const struct np_stream *s)
{
    struct np_tls_peer p;
    enum neap_err err = np_tls_get_peer(s, &p);
    if (err == NEAP_ENOTFOUND) return;
    if (err) luaL_error(L, "not enough memory");
    lua_pushcfunction(L, push_peer_protected);
    lua_pushlightuserdata(L, &p);
    int rc = lua_pcall(L, 1, 1, 0);
    np_tls_peer_free(&p);
    if (rc != LUA_OK) lua_error(L);
    lua_setfield(L, -2, "peer");
}

void np_ltls_push_info(lua_State *L, const struct np_stream *s)
{
    struct np_tls_info i;
    luaL_checkstack(L, 8, NULL);
    if (!s || !np_tls_get_info(s, &i)) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 7);
    set_string(L, "version", i.version);
    set_string(L, "cipher", i.cipher);
    if (i.alpn_len > 0) {
        lua_pushlstring(L, i.alpn, i.alpn_len);
        lua_setfield(L, -2, "alpn");
    }
    if (*i.sni) set_string(L, "server_name", i.sni);
    lua_pushboolean(L, i.resumed);
    lua_setfield(L, -2, "resumed");
    lua_pushboolean(L, i.verified);
    lua_setfield(L, -2, "verified");
    if (i.has_peer_cert) add_peer(L, s);
}

/* s:tls() → table | nil */
static int stream_tls(lua_State *L)
{
    np_ltls_push_info(L, np_lstream_check(L, 1)->s);
    return 1;
}

/* s:peer_certificate() → PEM | nil, err */
static int stream_peer_certificate(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    char *pem;
    enum neap_err err = ls->s ? np_tls_get_peer_pem(ls->s, &pem) : NEAP_ECLOSED;
    if (err) return np_fail(L, err, err == NEAP_ENOTFOUND ? "no certificate" : NULL);
    lua_pushstring(L, pem);
    np_free(pem);
    return 1;
}

/* of_request(req) → table | nil: what was agreed on the connection that brought it. */
int np_ltls_of_request(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    np_ltls_push_info(L, r->x ? np_http_exchange_stream(r->x) : NULL);
    return 1;
}

/* --- starttls */

static int secured_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    if (!err && ls->closed) err = NEAP_ECLOSED;
    if (!err) {
        lua_settop(L, 1);
        return 1;
    }
    lua_pushstring(L, ls->why ? ls->why : neap_err_text(err));
    np_lstream_close(ls, 0); /* half secured is of no use to anybody */
    return np_fail(L, err, "%s", lua_tostring(L, -1));
}

/* Whoever cancels a wait ends it: the stream goes with it. */
static void cancel_secure(struct np_wait *w)
{
    struct np_lstream *ls = np_container_of(w, struct np_lstream, opener);
    ls->closed = true;
    if (ls->s) np_stream_close(ls->s);
}

struct starttls_options {
    bool server;
    const char *server_name;
    int64_t timeout;
};

/* What was read ahead belongs to the handshake: whatever else stands there fails it, so that no
 * command slipped in before TLS is taken for one that came after (CVE-2011-0411). */
static enum neap_err wrap(struct np_lstream *ls, struct np_tls_context *c,
                          const struct starttls_options *o)
{
    struct np_stream *s = ls->s;
    struct np_stream *filter;
    np_stream_read_stop(s);
    enum neap_err err = np_stream_unread(s, np_buf_data(&ls->in), np_buf_len(&ls->in));
    if (err) return err;
    np_buf_clear(&ls->in);
    size_t max_queue = s->max_queue;
    if (o->server) {
        err = np_tls_wrap_server(c, s, o->timeout, &np_lstream_handler, ls, &filter);
    } else {
        struct np_tls_client_options co = {
            .host = o->server_name, .session_key = o->server_name, .within = o->timeout};
        err = np_tls_wrap_client(c, s, &co, &np_lstream_handler, ls, &filter);
    }
    if (err) return err;
    filter->max_queue = max_queue;
    np_lstream_attach(ls, filter);
    return NEAP_OK;
}

/* s:starttls{tls=context|table|true, server=false, server_name=, timeout=10} → s | nil, err */
static int stream_starttls(lua_State *L)
{
    static const struct np_opt spec[] = {
        {"tls", NP_OPT_ANY, 0, 0, 0},
        {"server", NP_OPT_BOOL, offsetof(struct starttls_options, server), 0, 0},
        {"server_name", NP_OPT_STRING, offsetof(struct starttls_options, server_name), 0, 0},
        {"timeout", NP_OPT_SECONDS, offsetof(struct starttls_options, timeout), 0, 0},
        {0}};
    struct np_lstream *ls = np_lstream_check(L, 1);
    struct starttls_options o = {.timeout = HANDSHAKE};
    struct np_tls_context *c;
    struct neap_errinfo info = {0};
    np_task_current(L);
    lua_settop(L, 2);
    np_opts_read(L, 2, "opts", spec, &o);
    if (lua_isnil(L, 2))
        lua_pushboolean(L, 1);
    else if (lua_getfield(L, 2, "tls") == LUA_TNIL)
        lua_pushboolean(L, !o.server);
    enum np_ltls_side side = o.server ? NP_LTLS_SERVER : NP_LTLS_CLIENT;
    if (ls->reading || ls->opener.task)
        return np_misuse(L, "another task is reading from this stream");
    enum neap_err err = np_ltls_option(L, -1, "opts.tls", side, &c, &info);
    if (err) return np_fail_info(L, &info);
    if (!c) return np_misuse(L, "opts.tls: expected neap.tls.context or table");
    if (!ls->s || ls->err) err = ls->err ? ls->err : NEAP_ECLOSED;
    if (!err) err = wrap(ls, c, &o);
    if (err) return np_fail(L, err, NULL);
    return np_wait(L, &ls->opener, NP_NO_TIMEOUT, cancel_secure, secured_k, ls);
}

const luaL_Reg np_ltls_stream_methods[] = {{"starttls", stream_starttls},
                                           {"tls", stream_tls},
                                           {"peer_certificate", stream_peer_certificate},
                                           {NULL, NULL}};
