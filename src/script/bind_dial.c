/* Connecting from a script; see bind_dial.h. */
#include "script/bind_dial.h"

#include "net/netpolicy.h"
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

bool np_dial_read_tls(lua_State *L, int opts_idx, struct np_dial_tls *out)
{
    struct neap_errinfo info = {0};
    if (lua_isnoneornil(L, opts_idx))
        lua_pushnil(L);
    else
        lua_getfield(L, opts_idx, "tls");
    enum neap_err err = np_ltls_option(L, -1, "opts.tls", NP_LTLS_CLIENT, &out->context, &info);
    lua_remove(L, -2);
    if (!err) return true;
    lua_pop(L, 1);
    np_fail_info(L, &info);
    return false;
}

/* The stream is the filter's from here on. */
static enum neap_err secure(struct np_stream **s, const struct np_dial_tls *tls, int64_t within,
                            struct np_lstream *ls)
{
    struct np_tls_client_options o = {
        .host = tls->server_name, .session_key = tls->session_key, .within = within};
    return np_tls_wrap_client(tls->context, *s, &o, &np_lstream_handler, ls, s);
}

int np_dial_wait(lua_State *L, const struct np_dial_options *dial,
                 const struct np_lstream_options *opts, const struct np_dial_tls *tls,
                 np_dial_fn fn, const void *where, int address_idx)
{
    struct np_script *script = np_script_of(L);
    struct np_stream *s;
    np_task_current(L); /* raises outside a task, before anything is made */
    lua_settop(L, address_idx);
    struct np_lstream **handle = np_lstream_push(L);
    struct np_lstream *ls = np_lstream_new(script, opts);
    if (!ls) return np_fail(L, NEAP_ENOMEM, NULL);
    np_lstream_hold(handle, ls);
    enum neap_err err = fn(script->loop, where, dial, ls, &s);
    if (err == NEAP_EACCES) { /* nothing was tried: the policy does not allow it */
        np_lstream_close(ls, 0);
        return np_fail(L, err, NP_NETPOLICY_WORDS, lua_tostring(L, address_idx));
    }
    if (err) return dial_k(L, err, ls);
    if (tls && tls->context && (err = secure(&s, tls, dial->timeout, ls))) {
        np_stream_set_handler(s, &np_lstream_handler, ls);
        ls->s = s;
        return dial_k(L, err, ls);
    }
    s->max_queue = opts->max_queue;
    np_lstream_attach(ls, s);
    return np_wait(L, &ls->opener, NP_NO_TIMEOUT, cancel_dial, dial_k, ls);
}
