/* neap.core.balancer: balancers over a service or a list of one's own. Type "neap.balancer".
 *
 * A balancer is a selector over what it follows; its policy is written in C, or in Lua (see
 * bind_policy.c), around one that is written in C. lua/neap/balancer.lua makes them.
 */
#include "script/bind_balancer.h"

#include "script/bind_endpoint_list.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

int64_t np_balancer_now(lua_State *L)
{
    return np_script_now(np_script_of(L));
}

static const char type_key;

struct np_lua_balancer *np_balancer_check_any(lua_State *L)
{
    struct np_lua_balancer *b = lua_touserdata(L, 1);
    if (b != NULL && lua_rawlen(L, 1) == sizeof *b && b->type == &type_key) return b;
    return luaL_checkudata(L, 1, NP_BALANCER_TYPE); /* which raises */
}

struct np_lua_balancer *np_balancer_check(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check_any(L);
    if (b->selector == NULL) np_misuse(L, "this balancer is closed");
    return b;
}

void np_balancer_refresh(struct np_lua_balancer *b, int64_t now)
{
    bool changed = false;
    if (b->upstream == NULL) return;
    struct np_snapshot *set = np_upstream_poll(b->upstream, &changed);
    /* Without memory the selector goes on with what it had, and tries again by itself. */
    if (changed && np_selector_update(b->selector, set, now) != NEAP_OK) return;
}

/* --- making and closing */

static const struct np_balancer_ops *check_policy(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const struct np_balancer_ops *ops = np_balancer_find(name);
    if (ops == NULL) np_misuse(L, "unknown policy '%s'", name);
    return ops;
}

static enum neap_err follow(lua_State *L, struct np_lua_balancer *b, const char *service)
{
    struct np_registry_view *view = np_script_of(L)->view;
    struct np_endpoint_desc wanted = {0};
    if (view == NULL) np_misuse(L, "this host has no registry");
    lua_getfield(L, 2, "tags");
    np_endpoint_read_tags(L, -1, "opts.tags", &wanted);
    enum neap_err err = np_upstream_new(view, service, wanted.tags, wanted.ntags, &b->upstream);
    if (err == NEAP_EINVAL) np_misuse(L, "opts.service: bad name '%s'", service);
    return err;
}

static enum neap_err take_list(lua_State *L, struct np_lua_balancer *b, int idx)
{
    struct np_snapshot *set = np_endpoint_read_list(L, idx, np_selector_all(b->selector));
    if (set == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_selector_update(b->selector, set, np_balancer_now(L));
    np_snapshot_unref(set);
    return err;
}

/* new(policy, {service=, tags= | endpoints=, …}, [hooks]) → balancer | nil, err. `policy` is the
 * name of one that is written in C; hooks (name, pick, first, release, state) are of one in Lua
 * around it. */
static int balancer_new(lua_State *L)
{
    struct np_balancer_settings o;
    const struct np_balancer_ops *ops = check_policy(L);
    lua_settop(L, 3);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_insert(L, 2); /* policy, hooks, opts */
    np_balancer_read_options(L, 3, &o);
    lua_insert(L, 2); /* policy, opts, hooks */
    o.selector.subset_keys = o.selector.nsubset_keys ? o.keys : NULL;
    bool has_list = lua_getfield(L, 2, "endpoints") != LUA_TNIL; /* at 4 */
    if (has_list == (o.service != NULL)) np_misuse(L, "opts: either a service or endpoints");

    struct np_lua_balancer *b = lua_newuserdatauv(L, sizeof *b, NP_UVS); /* at 5 */
    *b = (struct np_lua_balancer){.type = &type_key};
    luaL_setmetatable(L, NP_BALANCER_TYPE);
    lua_pushstring(L, o.service ? o.service : "endpoints");
    lua_setiuservalue(L, 5, NP_UV_NAME);
    lua_getfield(L, 2, "sticky");
    lua_setiuservalue(L, 5, NP_UV_STICKY);
    if (lua_istable(L, 3)) np_policy_keep(L, 5, 3);
    b->has_subset = o.selector.nsubset_keys > 0;
    b->has_sticky = o.selector.sticky != NULL;
    enum neap_err err = np_selector_new(ops, &o.balancer, &o.selector, &b->selector);
    if (err == NEAP_EINVAL) np_misuse(L, "opts: out of range");
    if (err == NEAP_OK) {
        err = o.service ? follow(L, b, o.service) : take_list(L, b, 4);
    }
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    lua_settop(L, 5);
    return 1;
}

/* b:close(): it may be called twice; what is picked may still be released. */
static int balancer_close(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check_any(L);
    np_balancer_drop_pending(b);
    np_upstream_free(b->upstream);
    np_selector_free(b->selector);
    np_snapshot_unref(b->listed);
    b->upstream = NULL;
    b->selector = NULL;
    b->listed = NULL;
    return 0;
}

/* --- what it has */

/* The array holds views, and a view its endpoint: neither shall outlive their place in the set. */
static void forget_lists(lua_State *L, struct np_lua_balancer *b)
{
    np_snapshot_unref(b->listed);
    b->listed = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, NP_UV_LIST);
    if (b->scripted) np_policy_forget(L, b, 1);
}

/* b:update(endpoints) → true | nil, err: another list; who is in both keeps its statistics. */
static int balancer_update(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (b->upstream != NULL) return np_misuse(L, "update: this balancer follows a service");
    enum neap_err err = take_list(L, b, 2);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    forget_lists(L, b);
    lua_pushboolean(L, 1);
    return 1;
}

/* b:endpoints() → array of those that may be picked just now: the same table until they change. */
static int balancer_endpoints(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check(L);
    int64_t now = np_balancer_now(L);
    lua_settop(L, 1);
    np_balancer_refresh(b, now);
    const struct np_snapshot *set = np_selector_usable(b->selector, now);
    if (set == b->listed && lua_getiuservalue(L, 1, NP_UV_LIST) == LUA_TTABLE) return 1;
    lua_settop(L, 1);
    struct np_snapshot *old = b->listed;
    b->listed = np_snapshot_ref((struct np_snapshot *)set);
    np_snapshot_unref(old);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, NP_UV_LIST);
    np_endpoint_push_held(L, np_snapshot_ref(b->listed));
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, NP_UV_LIST);
    return 1;
}

/* b:all() → array of all, the unavailable ones too */
static int balancer_all(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check(L);
    np_balancer_refresh(b, np_balancer_now(L));
    const struct np_snapshot *set = np_selector_all(b->selector);
    np_endpoint_push_held(L, np_snapshot_ref((struct np_snapshot *)set));
    return 1;
}

/* b:stats() → counters */
static int balancer_stats(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check(L);
    struct np_selector_stats s = np_selector_stats(b->selector);
    lua_createtable(L, 0, 12);
    np_set_count(L, "picks", b->picks);
    np_set_count(L, "faults", b->faults);
    np_set_count(L, "refusals", b->refusals);
    np_set_count(L, "panics", s.panics);
    np_set_count(L, "spilled", s.spilled);
    np_set_count(L, "failed_over", s.failed_over);
    np_set_count(L, "fallbacks", s.fallbacks);
    np_set_count(L, "trials", s.trials);
    np_set_count(L, "sticky", s.sticky);
    np_set_count(L, "unstuck", s.unstuck);
    np_set_count(L, "rebuilds", s.rebuilds);
    np_set_count(L, "endpoints", np_selector_all(b->selector)->len);
    return 1;
}

/* b:sticky([endpoint]) → the value that stands for it, nil: there are none; without an endpoint
 * opts.sticky as it was given, or nil */
static int balancer_sticky(lua_State *L)
{
    char value[NP_STICKY_TEXT + 1];
    struct np_lua_balancer *b = np_balancer_check(L);
    if (lua_isnoneornil(L, 2)) {
        lua_getiuservalue(L, 1, NP_UV_STICKY);
    } else if (np_selector_sticky_text(b->selector, np_endpoint_check(L, 2)->e, value)) {
        lua_pushstring(L, value);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int balancer_tostring(lua_State *L)
{
    struct np_lua_balancer *b = np_balancer_check_any(L);
    lua_getiuservalue(L, 1, NP_UV_NAME);
    const char *open = b->selector ? "" : " (closed)";
    if (lua_getiuservalue(L, 1, NP_UV_POLICY) == LUA_TSTRING) {
        lua_pushfstring(L, "neap.balancer: %s by %s%s", lua_tostring(L, -2), lua_tostring(L, -1),
                        open);
    } else {
        lua_pushfstring(L, "neap.balancer: %s%s", lua_tostring(L, -2), open);
    }
    return 1;
}

/* policies() → array of names, aliases too */
static int core_policies(lua_State *L)
{
    lua_Integer n = 0;
    lua_newtable(L);
    for (size_t i = 0; np_balancer_at(i) != NULL; i++) {
        lua_pushstring(L, np_balancer_at(i)->name);
        lua_rawseti(L, -2, ++n);
    }
    lua_pushliteral(L, "consistent_hash");
    lua_rawseti(L, -2, ++n);
    return 1;
}

int np_open_balancer(lua_State *L)
{
    static const luaL_Reg methods[] = {{"pick", np_balancer_pick_method},
                                       {"choose", np_balancer_choose_method},
                                       {"release", np_balancer_release_method},
                                       {"ended", np_balancer_ended_method},
                                       {"endpoints", balancer_endpoints},
                                       {"all", balancer_all},
                                       {"update", balancer_update},
                                       {"stats", balancer_stats},
                                       {"sticky", balancer_sticky},
                                       {"close", balancer_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", balancer_close},
                                    {"__close", balancer_close},
                                    {"__tostring", balancer_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"new", balancer_new}, {"policies", core_policies}, {NULL, NULL}};
    np_endpoint_open(L);
    np_type_new(L, NP_BALANCER_TYPE, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
