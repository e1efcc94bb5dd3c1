/* Picking, by a balancer's own policy (see bind_balancer.h). */
#include <string.h>

#include "script/bind_balancer.h"
#include "script/luax.h"
#include "script/state.h"

/* --- what a request brings */

/* ctx.key: a string, or a number, which is the same as its text. */
static void read_key(lua_State *L, int idx, struct np_pick_ctx *ctx)
{
    size_t n = 0;
    int type = lua_getfield(L, idx, "key");
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        const char *key = lua_tolstring(L, -1, &n);
        ctx->has_hash = true;
        ctx->hash = np_pick_hash(key, n);
    } else if (type != LUA_TNIL) {
        np_misuse(L, "ctx.key: expected string or number, got %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

static void read_excluded(lua_State *L, int idx, struct np_lua_wishes *w)
{
    int type = lua_getfield(L, idx, "exclude");
    if (type == LUA_TTABLE) {
        size_t n = lua_rawlen(L, -1);
        for (size_t i = 0; i < n && i < NP_MAX_EXCLUDED; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            w->excluded[i] = np_endpoint_check(L, -1)->e;
            w->ctx.nexclude = i + 1;
            lua_pop(L, 1);
        }
        w->ctx.exclude = w->excluded;
    } else if (type != LUA_TNIL) {
        np_misuse(L, "ctx.exclude: expected table, got %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

/* ctx.subset: { version = "2" }; the strings are held by the table. */
static void read_wanted(lua_State *L, int idx, struct np_lua_wishes *w)
{
    int type = lua_getfield(L, idx, "subset");
    if (type != LUA_TNIL && type != LUA_TTABLE) {
        np_misuse(L, "ctx.subset: expected table, got %s", luaL_typename(L, -1));
    }
    if (type == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
                np_misuse(L, "ctx.subset: keys and values must be strings");
            }
            if (w->ctx.nsubset == NP_SUBSET_KEYS) {
                np_misuse(L, "ctx.subset: more than %d keys", NP_SUBSET_KEYS);
            }
            w->subset[w->ctx.nsubset++] =
                (struct np_pair){lua_tostring(L, -2), lua_tostring(L, -1)};
            lua_pop(L, 1);
        }
        w->ctx.subset = w->subset;
    }
    lua_pop(L, 1);
}

/* ctx.sticky: the value of an earlier answer. A peer sends it: what is none is not there. */
static void read_sticky(lua_State *L, int idx, struct np_pick_ctx *ctx)
{
    size_t n = 0;
    if (lua_getfield(L, idx, "sticky") == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -1, &n);
        (void)np_sticky_parse(text, n, ctx);
    }
    lua_pop(L, 1);
}

static void read_wishes(lua_State *L, int idx, bool subset, bool sticky, struct np_lua_wishes *w)
{
    w->ctx = (struct np_pick_ctx){0};
    if (lua_isnoneornil(L, idx)) return;
    if (!lua_istable(L, idx)) {
        luaL_typeerror(L, idx, "table");
        return;
    }
    read_key(L, idx, &w->ctx);
    read_excluded(L, idx, w);
    if (subset) read_wanted(L, idx, w);
    if (sticky) read_sticky(L, idx, &w->ctx);
    if (w->ctx.nexclude == 0) return; /* nothing to be strict about */
    lua_getfield(L, idx, "strict");
    w->ctx.strict = lua_toboolean(L, -1);
    lua_pop(L, 1);
}

void np_balancer_read_wishes(lua_State *L, int idx, struct np_lua_wishes *w)
{
    read_wishes(L, idx, true, true, w);
}

void np_balancer_read_some(lua_State *L, const struct np_lua_balancer *b, int idx,
                           struct np_lua_wishes *w)
{
    read_wishes(L, idx, b->has_subset, b->has_sticky, w);
}

/* --- what comes of it */

void np_balancer_drop_pending(struct np_lua_balancer *b)
{
    static const struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};
    struct np_endpoint *e = b->pending;
    if (e == NULL) return;
    b->pending = NULL;
    np_selector_release(b->selector, e, b->pending_trial, &canceled, 0);
}

int np_balancer_push_picked(lua_State *L, struct np_lua_balancer *b, struct np_endpoint *e,
                            bool trial)
{
    b->pending = e;
    b->pending_trial = trial;
    struct np_endpoint_view *v = np_endpoint_push(L, e);
    v->picks++;
    v->trials += trial;
    b->pending = NULL;
    b->picks++;
    return 1;
}

int np_balancer_none(lua_State *L)
{
    lua_getiuservalue(L, 1, NP_UV_NAME);
    return np_fail(L, NEAP_ENOENDPOINT, "no endpoint of %s", lua_tostring(L, -1));
}

/* b:pick([ctx]) → endpoint | nil, err (ENOENDPOINT, or what a policy in Lua gave)
 * ctx: { key=, exclude={…}, strict=, subset={…}, sticky= }, and what a policy in Lua wants */
int np_balancer_pick_method(lua_State *L)
{
    struct np_lua_wishes w;
    struct np_endpoint *e = NULL;
    bool trial = false;
    struct np_lua_balancer *b = np_balancer_check(L);
    np_balancer_drop_pending(b);
    lua_settop(L, 2);
    np_balancer_read_some(L, b, 2, &w);
    int64_t now = np_balancer_now(L);
    np_balancer_refresh(b, now);
    if (b->scripted) {
        if (np_selector_first(b->selector, &w.ctx, now, &e, &trial)) {
            return np_balancer_push_picked(L, b, e, trial);
        }
        return np_policy_pick(L, b, &w.ctx, false, now);
    }
    enum neap_err err = np_selector_pick(b->selector, &w.ctx, now, &e, &trial);
    if (err != NEAP_OK) return np_balancer_none(L);
    return np_balancer_push_picked(L, b, e, trial);
}

/* b:choose([ctx]) → endpoint | nil, err: as pick, but nothing is begun, so nothing is released. */
int np_balancer_choose_method(lua_State *L)
{
    struct np_lua_wishes w;
    struct np_choice c;
    struct np_lua_balancer *b = np_balancer_check(L);
    lua_settop(L, 2);
    np_balancer_read_some(L, b, 2, &w);
    int64_t now = np_balancer_now(L);
    np_balancer_refresh(b, now);
    struct np_endpoint *e = np_selector_preferred(b->selector, &w.ctx, now);
    if (e == NULL && b->scripted) return np_policy_pick(L, b, &w.ctx, true, now);
    if (e == NULL && np_selector_narrow(b->selector, &w.ctx, now, &c) == NEAP_OK) {
        e = np_selector_propose(b->selector, c.id, &w.ctx, now);
    }
    if (e == NULL) return np_balancer_none(L);
    (void)np_endpoint_push(L, e);
    return 1;
}
