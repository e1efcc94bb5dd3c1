/* What a request can do besides being answered: 1xx before the answer, and leaving HTTP (upgrade,
 * tunnel). */
#include <string.h>

#include "script/bind_http_request.h"
#include "script/bind_stream.h"
#include "script/luax.h"

/* req:inform(status, [headers]) → true | nil, err */
static int request_inform(lua_State *L)
{
    struct np_http_req *r = np_http_req_check_unanswered(L);
    if (!r->x) return np_http_req_gone(L, r);
    struct np_http_header headers[NP_LUA_MAX_HEADERS];
    lua_Integer status = luaL_checkinteger(L, 2);
    if (status < 100 || status > 199 || status == 101)
        return np_misuse(L, "status must be between 100 and 199, and not 101");
    size_t n = np_read_headers(L, 3, headers);
    if (!r->x) return np_fail(L, NEAP_ECLOSED, NULL);
    enum neap_err err = np_http_inform(r->x, (int)status, headers, n);
    if (err == NEAP_EINVAL)
        return np_misuse(L, "there is a header that may not go on the wire here");
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static int fail_switch(lua_State *L, enum neap_err err, bool tunnel)
{
    switch (err) {
    case NEAP_EINVAL:
        return np_misuse(L, "there is a header that may not go on the wire here");
    case NEAP_ENOTSUP:
        return np_fail(L, err,
                       tunnel ? "the request is not CONNECT"
                              : "the client has not offered that protocol");
    case NEAP_EBUSY:
        return np_fail(L, err, "the request's body was not read to its end");
    default:
        return np_fail(L, err, NULL);
    }
}

/* The values that hold the headers' bytes are on the stack. */
static int switch_over(lua_State *L, struct np_http_req *r, int status,
                       const struct np_http_header *headers, size_t n)
{
    static const struct np_lstream_options opts = NP_LSTREAM_OPTIONS_INIT;
    struct np_stream *s;
    np_http_req_keep(L, 1, r);
    struct np_lstream **handle = np_lstream_push(L);
    if (!r->x) return np_fail(L, NEAP_ECLOSED, NULL); /* by a finaliser, meanwhile */
    struct np_lstream *ls = np_lstream_new(r->task->script, &opts);
    if (!ls) return np_fail(L, NEAP_ENOMEM, NULL);
    enum neap_err err = np_http_upgrade(r->x, status, headers, n, &s);
    if (err) {
        np_lstream_drop(ls);
        return fail_switch(L, err, status != 101);
    }
    r->answered = true;
    np_http_req_over(r, NEAP_ECLOSED);
    s->max_queue = opts.max_queue;
    np_lstream_hold(handle, ls);
    np_lstream_attach(ls, s);
    return 1;
}

/* req:upgrade(protocol, [headers]) → stream | nil, err */
static int request_upgrade(lua_State *L)
{
    struct np_http_req *r = np_http_req_check_unanswered(L);
    if (!r->x) return np_http_req_gone(L, r);
    struct np_http_header headers[NP_LUA_MAX_HEADERS + 1];
    struct np_bytes protocol;
    protocol.p = luaL_checklstring(L, 2, &protocol.n);
    size_t n = np_read_headers(L, 3, headers);
    if (np_has_header(headers, n, "upgrade"))
        return np_misuse(L, "headers.upgrade: the protocol is the first argument");
    headers[n].name = (struct np_bytes){"Upgrade", 7};
    headers[n++].value = protocol;
    return switch_over(L, r, 101, headers, n);
}

/* req:tunnel([headers]) → stream | nil, err */
static int request_tunnel(lua_State *L)
{
    struct np_http_req *r = np_http_req_check_unanswered(L);
    if (!r->x) return np_http_req_gone(L, r);
    struct np_http_header headers[NP_LUA_MAX_HEADERS];
    size_t n = np_read_headers(L, 2, headers);
    return switch_over(L, r, 200, headers, n);
}

void np_http_upgrade_methods(lua_State *L)
{
    static const luaL_Reg methods[] = {{"inform", request_inform},
                                       {"upgrade", request_upgrade},
                                       {"tunnel", request_tunnel},
                                       {NULL, NULL}};
    np_lstream_open(L);
    luaL_setfuncs(L, methods, 0);
}
