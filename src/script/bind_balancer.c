/* neap.core.balancer: the policies that are written in C, over a service or a list of one's own;
 * and what lua/neap/balancer.lua needs for those written in Lua. Type "neap.balancer".
 *
 * User values of a balancer: the endpoints as an array, made when asked for and kept until they
 * change; and the name to be shown.
 */
#include "mesh/upstream.h"
#include "script/bind_endpoint.h"
#include "script/bind_endpoint_list.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define TYPE "neap.balancer"
#define MAX_EXCLUDED 32 /* of a pick; more are not looked at */

enum { UV_LIST = 1, UV_NAME = 2 };

struct balancer {
    struct np_upstream *up;      /* over a service; or */
    struct np_balancer *lb;      /* over a list; neither: closed */
    struct np_snapshot *listed;  /* what the array was made from */
    struct np_endpoint *pending; /* picked, its view not pushed yet; given back if that raised */
};

static int64_t now_of(lua_State *L)
{
    return np_loop_now(np_script_of(L)->loop);
}

static struct balancer *check_any(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

static bool is_open(const struct balancer *b)
{
    return b->up != NULL || b->lb != NULL;
}

static struct balancer *check_open(lua_State *L)
{
    struct balancer *b = check_any(L);
    if (!is_open(b)) np_misuse(L, "this balancer is closed");
    return b;
}

static void give_back(struct balancer *b, struct np_endpoint *e, enum np_outcome outcome,
                      int64_t latency, int64_t now)
{
    struct np_result r = np_result_of(outcome, latency);
    if (b->up != NULL) {
        np_upstream_release(b->up, e, &r, now);
    } else if (b->lb != NULL) {
        np_balancer_release(b->lb, e, &r, now);
    } else {
        np_endpoint_end(e, &r, now);
        np_endpoint_unref(e);
    }
}

static void drop_pending(struct balancer *b)
{
    struct np_endpoint *e = b->pending;
    if (e == NULL) return;
    b->pending = NULL;
    give_back(b, e, NP_OUTCOME_CANCELED, -1, 0);
}

/* --- options */

struct options {
    const char *service;
    int seed, choices, ring_points, ring_max;
    bool full_scan;
    double active_bias, load_factor;
};

static const struct np_opt option_list[] = {
    {"service", NP_OPT_STRING, offsetof(struct options, service), 0, 0},
    {"endpoints", NP_OPT_TABLE, 0, 0, 0},
    {"tags", NP_OPT_TABLE, 0, 0, 0},
    {"seed", NP_OPT_INT, offsetof(struct options, seed), 0, 2147483647},
    {"choices", NP_OPT_INT, offsetof(struct options, choices), 1, 64},
    {"full_scan", NP_OPT_BOOL, offsetof(struct options, full_scan), 0, 0},
    {"active_bias", NP_OPT_NUMBER, offsetof(struct options, active_bias), 0, 100},
    {"ring_points", NP_OPT_INT, offsetof(struct options, ring_points), 1, 65536},
    {"ring_max", NP_OPT_INT, offsetof(struct options, ring_max), 1, 8 << 20},
    {"load_factor", NP_OPT_NUMBER, offsetof(struct options, load_factor), 0, 1e6},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

static void read_options(lua_State *L, int idx, struct np_balancer_options *out,
                         const char **service)
{
    struct np_balancer_options d = NP_BALANCER_OPTIONS_INIT;
    struct options o = {NULL,
                        0,
                        (int)d.choices,
                        (int)d.ring_points,
                        (int)d.ring_max,
                        d.full_scan,
                        d.active_bias,
                        d.load_factor};
    np_opts_read(L, idx, "opts", option_list, &o);
    if (o.load_factor > 0 && o.load_factor < 1) {
        np_misuse(L, "opts.load_factor: must be 0 or at least 1");
    }
    d.seed = (uint64_t)o.seed;
    d.choices = (uint32_t)o.choices;
    d.full_scan = o.full_scan;
    d.active_bias = o.active_bias;
    d.ring_points = (uint32_t)o.ring_points;
    d.ring_max = (uint32_t)o.ring_max;
    d.load_factor = o.load_factor;
    *out = d;
    *service = o.service;
}

static enum neap_err take_list(lua_State *L, struct balancer *b, int idx)
{
    struct np_snapshot *set = np_endpoint_read_list(L, idx, b->lb->set);
    if (set == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_balancer_update(b->lb, set);
    np_snapshot_unref(set);
    return err;
}

/* --- making and closing */

static const struct np_balancer_ops *check_policy(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const struct np_balancer_ops *ops = np_balancer_find(name);
    if (ops == NULL) np_misuse(L, "unknown policy '%s'", name);
    return ops;
}

static enum neap_err open_upstream(lua_State *L, struct balancer *b, const char *service,
                                   const struct np_balancer_ops *ops,
                                   const struct np_balancer_options *opts)
{
    struct np_registry_view *view = np_script_of(L)->view;
    struct np_endpoint_desc wanted = {0};
    if (view == NULL) np_misuse(L, "this host has no registry");
    lua_getfield(L, 2, "tags");
    np_endpoint_read_tags(L, -1, "opts.tags", &wanted);
    enum neap_err err =
        np_upstream_new(view, service, wanted.tags, wanted.ntags, ops, opts, &b->up);
    if (err == NEAP_EINVAL) np_misuse(L, "opts.service: bad name '%s'", service);
    return err;
}

/* new(policy, {service=, tags= | endpoints=, …}) → balancer | nil, err */
static int balancer_new(lua_State *L)
{
    struct np_balancer_options opts;
    const char *service = NULL;
    const struct np_balancer_ops *ops = check_policy(L);
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    read_options(L, 2, &opts, &service);
    bool has_list = lua_getfield(L, 2, "endpoints") != LUA_TNIL;
    if (has_list == (service != NULL)) np_misuse(L, "opts: either a service or endpoints");

    struct balancer *b = lua_newuserdatauv(L, sizeof *b, 2);
    *b = (struct balancer){0};
    luaL_setmetatable(L, TYPE);
    lua_pushstring(L, service ? service : "endpoints");
    lua_setiuservalue(L, 4, UV_NAME);
    enum neap_err err = NEAP_OK;
    if (service != NULL) {
        err = open_upstream(L, b, service, ops, &opts);
    } else {
        err = np_balancer_new(ops, &opts, &b->lb);
        if (err == NEAP_OK) err = take_list(L, b, 3);
    }
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    lua_settop(L, 4);
    return 1;
}

/* b:close(): it may be called twice; what is picked may still be released. */
static int balancer_close(lua_State *L)
{
    struct balancer *b = check_any(L);
    drop_pending(b);
    np_upstream_free(b->up);
    np_balancer_free(b->lb);
    np_snapshot_unref(b->listed);
    *b = (struct balancer){0};
    return 0;
}

/* The array holds views, and a view its endpoint: neither shall outlive their place in the set. */
static void forget_list(lua_State *L, struct balancer *b)
{
    np_snapshot_unref(b->listed);
    b->listed = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, UV_LIST);
}

/* b:update(endpoints) → true | nil, err: another list; who is in both keeps its statistics. */
static int balancer_update(lua_State *L)
{
    struct balancer *b = check_open(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (b->lb == NULL) return np_misuse(L, "update: this balancer follows a service");
    enum neap_err err = take_list(L, b, 2);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    forget_list(L, b);
    lua_pushboolean(L, 1);
    return 1;
}

/* --- picking */

/* ctx.key: a string, or a number, which is the same as its text. */
static void read_key(lua_State *L, struct np_pick_ctx *ctx)
{
    size_t n = 0;
    int type = lua_getfield(L, 2, "key");
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        const char *key = lua_tolstring(L, -1, &n);
        ctx->has_hash = true;
        ctx->hash = np_pick_hash(key, n);
    } else if (type != LUA_TNIL) {
        np_misuse(L, "ctx.key: expected string or number, got %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

/* The endpoints are held by the script's table. */
static void read_excluded(lua_State *L, struct np_pick_ctx *ctx, struct np_endpoint **excluded)
{
    if (lua_getfield(L, 2, "exclude") == LUA_TTABLE) {
        size_t n = lua_rawlen(L, -1);
        for (size_t i = 0; i < n && i < MAX_EXCLUDED; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            excluded[i] = np_endpoint_check(L, -1)->e;
            ctx->nexclude = i + 1;
            lua_pop(L, 1);
        }
        ctx->exclude = excluded;
    }
    lua_pop(L, 1);
}

/* b:pick([ctx]) → endpoint | nil, err (ENOENDPOINT). ctx: { key=, exclude={…}, strict= } */
static int balancer_pick(lua_State *L)
{
    struct np_endpoint *excluded[MAX_EXCLUDED];
    struct np_pick_ctx ctx = {0};
    struct np_endpoint *e = NULL;
    struct balancer *b = check_open(L);
    drop_pending(b);
    if (lua_istable(L, 2)) {
        read_key(L, &ctx);
        read_excluded(L, &ctx, excluded);
        lua_getfield(L, 2, "strict");
        ctx.strict = lua_toboolean(L, -1);
    } else if (!lua_isnoneornil(L, 2)) {
        return luaL_typeerror(L, 2, "table");
    }
    int64_t now = now_of(L);
    enum neap_err err =
        b->up ? np_upstream_pick(b->up, &ctx, now, &e) : np_balancer_pick(b->lb, &ctx, now, &e);
    if (err != NEAP_OK) {
        lua_getiuservalue(L, 1, UV_NAME);
        return np_fail(L, err, "no endpoint of %s", lua_tostring(L, -1));
    }
    b->pending = e;
    struct np_endpoint_view *v = np_endpoint_push(L, e);
    v->picks++;
    b->pending = NULL;
    return 1;
}

/* How it ended, at `idx` and behind: ok (nil: unknown, neither an error nor a sample), the latency
 * in seconds; or a table of both. */
static enum np_outcome read_outcome(lua_State *L, int idx, int64_t *latency)
{
    if (lua_istable(L, idx)) {
        lua_settop(L, idx);
        lua_getfield(L, idx, "ok");
        lua_getfield(L, idx, "latency");
        idx++;
    }
    if (lua_isnoneornil(L, idx)) return NP_OUTCOME_CANCELED;
    luaL_checktype(L, idx, LUA_TBOOLEAN);
    *latency = np_check_seconds(L, idx + 1, -1);
    return lua_toboolean(L, idx) ? NP_OUTCOME_OK : NP_OUTCOME_FAILED;
}

/* The view at `idx` has been picked; it is not any more. */
static struct np_endpoint *take_pick(lua_State *L, int idx)
{
    struct np_endpoint_view *v = np_endpoint_check(L, idx);
    if (v->picks == 0) np_misuse(L, "release: %s was not picked, or was released", v->e->id);
    v->picks--;
    return v->e;
}

/* b:release(endpoint, [ok, [latency]]) or b:release(endpoint, {ok=, latency=}) */
static int balancer_release(lua_State *L)
{
    struct balancer *b = check_any(L);
    int64_t latency = -1;
    enum np_outcome outcome = read_outcome(L, 3, &latency);
    give_back(b, take_pick(L, 2), outcome, latency, now_of(L));
    return 0;
}

/* b:endpoints() → array of those the next pick chooses from: the same table until they change. */
static int balancer_endpoints(lua_State *L)
{
    struct balancer *b = check_open(L);
    const struct np_snapshot *set = b->up ? np_upstream_endpoints(b->up) : b->lb->set;
    if (set != b->listed) {
        forget_list(L, b);
        b->listed = np_snapshot_ref((struct np_snapshot *)set);
    }
    if (lua_getiuservalue(L, 1, UV_LIST) == LUA_TTABLE) return 1;
    np_endpoint_push_all(L, b->listed);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, UV_LIST);
    return 1;
}

static int balancer_tostring(lua_State *L)
{
    struct balancer *b = check_any(L);
    lua_getiuservalue(L, 1, UV_NAME);
    lua_pushfstring(L, "neap.balancer: %s%s", lua_tostring(L, -1), is_open(b) ? "" : " (closed)");
    return 1;
}

/* --- for policies written in Lua */

/* begin(endpoint) → the endpoint, picked; false for anything else */
static int core_begin(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_test(L, 1);
    if (v == NULL) return lua_pushboolean(L, 0), 1;
    np_endpoint_begin(np_endpoint_ref(v->e));
    v->picks++;
    lua_settop(L, 1);
    return 1;
}

/* finish(endpoint, [ok, [latency]]): the other half of begin */
static int core_finish(lua_State *L)
{
    int64_t latency = -1;
    enum np_outcome outcome = read_outcome(L, 2, &latency);
    struct np_endpoint *e = take_pick(L, 1);
    struct np_result r = np_result_of(outcome, latency);
    np_endpoint_end(e, &r, now_of(L));
    np_endpoint_unref(e);
    return 0;
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
    static const luaL_Reg methods[] = {
        {"pick", balancer_pick},           {"release", balancer_release},
        {"endpoints", balancer_endpoints}, {"update", balancer_update},
        {"close", balancer_close},         {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", balancer_close},
                                    {"__close", balancer_close},
                                    {"__tostring", balancer_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", balancer_new},
                                         {"begin", core_begin},
                                         {"finish", core_finish},
                                         {"policies", core_policies},
                                         {NULL, NULL}};
    np_endpoint_open(L);
    np_type_new(L, TYPE, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}
