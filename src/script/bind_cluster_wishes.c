/* neap.core.cluster: what a call asks for, and what it is told when it is refused; see
 * bind_cluster.h.
 */
#include <string.h>

#include "base/clock.h"
#include "script/bind_cluster.h"
#include "script/luax.h"

static enum np_priority check_priority(lua_State *L, int idx)
{
    enum np_priority p = NP_PRIORITY_NORMAL;
    size_t n = 0;
    if (lua_isnoneornil(L, idx)) return p;
    if (lua_type(L, idx) == LUA_TNUMBER) {
        lua_Integer i = luaL_checkinteger(L, idx);
        luaL_argcheck(L, i >= 0 && i < NP_PRIORITY_CLASSES, idx, "no such priority");
        return (enum np_priority)i;
    }
    const char *name = luaL_checklstring(L, idx, &n);
    if (!np_priority_parse(name, n, &p)) np_misuse(L, "unknown priority '%s'", name);
    return p;
}

static int64_t check_deadline(lua_State *L, int idx)
{
    if (lua_isnoneornil(L, idx)) return 0;
    lua_Number at = luaL_checknumber(L, idx);
    if (!(at > 0)) return 1; /* long over */
    return np_seconds(at);
}

static void read_key(lua_State *L, int idx, struct np_pick_ctx *ctx)
{
    size_t n = 0;
    if (lua_isnoneornil(L, idx)) return;
    lua_pushvalue(L, idx); /* a number becomes text here, not in the caller's place */
    const char *key = luaL_checklstring(L, -1, &n);
    ctx->has_hash = true;
    ctx->hash = np_pick_hash(key, n);
    lua_pop(L, 1);
}

size_t np_cluster_read_subset(lua_State *L, int idx, struct np_pair *out)
{
    size_t n = 0;
    luaL_checktype(L, idx, LUA_TTABLE);
    lua_createtable(L, 2 * NP_CLUSTER_SUBSET_MAX, 0);
    int held = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (n == NP_CLUSTER_SUBSET_MAX) {
            np_misuse(L, "subset: more than %d keys", NP_CLUSTER_SUBSET_MAX);
        }
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
            np_misuse(L, "subset: keys and values must be strings");
        }
        out[n++] = (struct np_pair){lua_tostring(L, -2), lua_tostring(L, -1)};
        lua_rawseti(L, held, (lua_Integer)(2 * n));
        lua_pushvalue(L, -1);
        lua_rawseti(L, held, (lua_Integer)(2 * n - 1));
    }
    return n;
}

/* What an earlier answer was given. What is no such value is a client's, and nobody's mistake. */
static void read_sticky(lua_State *L, int idx, struct np_pick_ctx *ctx)
{
    size_t n = 0;
    if (lua_isnil(L, idx)) return;
    const char *text = luaL_checklstring(L, idx, &n);
    (void)np_sticky_parse(text, n, ctx);
}

void np_cluster_read_wishes(lua_State *L, struct np_call *call)
{
    memset(&call->ctx, 0, sizeof call->ctx);
    call->priority = check_priority(L, 2);
    call->safe = lua_toboolean(L, 3);
    call->deadline = check_deadline(L, 4);
    call->retriable = NP_RETRIABLE_BY_FAULT;
    read_key(L, 5, &call->ctx);
    read_sticky(L, 7, &call->ctx);
}

static const char *why(enum np_rule rule)
{
    switch (rule) {
    case NP_RULE_DEADLINE:
        return "the call's time is over";
    case NP_RULE_RATE_LIMIT:
        return "the rate limit is reached";
    case NP_RULE_CONCURRENCY:
        return "the concurrency limit is reached";
    case NP_RULE_BREAKER:
        return "the circuit breaker is open";
    case NP_RULE_ENDPOINTS:
        return "no endpoint is available";
    default:
        return NULL;
    }
}

int np_cluster_push_refusal(lua_State *L, int cluster, const struct np_call *call,
                            enum neap_err err)
{
    const char *text = why(call->refused_by);
    lua_getiuservalue(L, cluster, NP_CLUSTER_UV_NAME);
    const char *name = lua_tostring(L, -1);
    (void)np_fail(L, err, "%s: %s", name, text ? text : neap_err_text(err));
    if (text == NULL) return 2;
    lua_pushstring(L, np_rule_name(call->refused_by));
    lua_setfield(L, -2, "rule");
    if (call->retry_after_ns > 0) {
        lua_pushnumber(L, np_to_seconds(call->retry_after_ns));
        lua_setfield(L, -2, "retry_after");
    }
    return 2;
}
