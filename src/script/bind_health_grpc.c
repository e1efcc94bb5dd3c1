/* neap.core.health: gRPC's health check as bytes (proto/grpc_health.h), which
 * lua/neap/health/probe.lua carries over a stream. Type "neap.core.health.grpc". The worker's
 * thread.
 */
#include "proto/grpc_health.h"
#include "script/bind_health.h"
#include "script/luax.h"

#define TYPE "neap.core.health.grpc"

struct box {
    struct np_grpc_health *h; /* NULL: it could not be made, or is closed */
};

static struct np_grpc_health *check(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, TYPE);
    if (b->h == NULL) np_misuse(L, "this check is closed");
    return b->h;
}

static int failed(lua_State *L, const struct np_grpc_health *h, enum neap_err err)
{
    const char *why = np_grpc_health_why(h);
    return why ? np_fail(L, err, "%s", why) : np_fail(L, err, NULL);
}

/* grpc(authority, secure) → check | nil, err */
int np_health_grpc(lua_State *L)
{
    struct np_grpc_health_options o = {
        .authority = luaL_checkstring(L, 1),
        .secure = lua_toboolean(L, 2),
    };
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->h = NULL;
    luaL_setmetatable(L, TYPE);
    enum neap_err err = np_grpc_health_new(&o, &b->h);
    if (err == NEAP_EINVAL) return np_fail(L, err, "'%s' is no authority", o.authority);
    return err ? np_fail(L, err, NULL) : 1;
}

/* g:begin(service, timeout) → true | nil, err */
static int grpc_begin(lua_State *L)
{
    struct np_grpc_health *h = check(L);
    const char *service = luaL_checkstring(L, 2);
    enum neap_err err = np_grpc_health_begin(h, service, np_check_seconds(L, 3, 0));
    if (err) return failed(L, h, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* g:output() → what is to be sent, "" when there is nothing | nil, err */
static int grpc_output(lua_State *L)
{
    struct np_grpc_health *h = check(L);
    luaL_Buffer b;
    struct np_bytes piece;
    luaL_buffinit(L, &b);
    for (;;) {
        enum neap_err err = np_grpc_health_output(h, &piece);
        if (err) return failed(L, h, err);
        if (piece.n == 0) break;
        luaL_addlstring(&b, piece.p, piece.n);
    }
    luaL_pushresult(&b);
    return 1;
}

/* g:feed(bytes) → true | nil, err */
static int grpc_feed(lua_State *L)
{
    struct np_grpc_health *h = check(L);
    size_t n;
    const char *bytes = luaL_checklstring(L, 2, &n);
    enum neap_err err = np_grpc_health_feed(h, bytes, n);
    if (err) return failed(L, h, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* g:result() → healthy, text, answered | nothing while it is under way */
static int grpc_result(lua_State *L)
{
    const struct np_grpc_health_result *r = np_grpc_health_result(check(L));
    if (r == NULL) return 0;
    lua_pushboolean(L, r->healthy);
    lua_pushstring(L, r->text);
    lua_pushboolean(L, r->http_status != 0);
    return 3;
}

static int grpc_close(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, TYPE);
    np_grpc_health_free(b->h);
    b->h = NULL;
    return 0;
}

void np_health_open_grpc(lua_State *L)
{
    static const luaL_Reg methods[] = {{"begin", grpc_begin}, {"output", grpc_output},
                                       {"feed", grpc_feed},   {"result", grpc_result},
                                       {"close", grpc_close}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", grpc_close}, {"__close", grpc_close}, {NULL, NULL}};
    np_type_new(L, TYPE, methods, meta);
}
