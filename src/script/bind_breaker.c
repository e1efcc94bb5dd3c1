/* neap.core.breaker: circuit breakers (mesh/breaker.h), those of one name shared by all workers;
 * what lua/neap/breaker.lua is made of. Type "neap.core.breaker". The worker's thread.
 */
#include "mesh/breaker.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/rules.h"
#include "script/state.h"

#define TYPE "neap.core.breaker"

struct box {
    struct np_common *rule; /* NULL: it could not be made */
};

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    struct np_breaker *b = NULL;
    enum neap_err err = np_breaker_new(arg, 0, &b);
    if (err) return np_err_plain(info, err);
    *object = b;
    return NEAP_OK;
}

static enum neap_err set(void *object, void *arg, struct neap_errinfo *info)
{
    enum neap_err err = np_breaker_set(object, arg);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

static void destroy(void *object)
{
    np_breaker_unref(object);
}

static const struct np_common_kind kind = {"breaker", make, set, destroy};

/* Without the look-up by name that luaL_checkudata does: the type's metatable is an upvalue. */
static struct np_breaker *check(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    bool same = false;
    if (b && lua_getmetatable(L, 1)) {
        same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
    }
    if (!same) b = luaL_checkudata(L, 1, TYPE);
    return b->rule->object;
}

static int64_t now_of(lua_State *L)
{
    return np_loop_now(np_script_of(L)->loop);
}

/* --- options */

struct options {
    const char *name;
    bool shadow;
    int consecutive_failures, minimum_calls, half_open_probes, max_requests;
    double failure_rate, jitter;
    int64_t window, open, max_open;
};

static const struct np_opt option_list[] = {
    {"name", NP_OPT_STRING, offsetof(struct options, name), 0, 0},
    {"shadow", NP_OPT_BOOL, offsetof(struct options, shadow), 0, 0},
    {"consecutive_failures", NP_OPT_INT, offsetof(struct options, consecutive_failures), 0,
     2147483647},
    {"failure_rate", NP_OPT_NUMBER, offsetof(struct options, failure_rate), 0, 1},
    {"minimum_calls", NP_OPT_INT, offsetof(struct options, minimum_calls), 1, 2147483647},
    {"window", NP_OPT_SECONDS, offsetof(struct options, window), 0, 0},
    {"open", NP_OPT_SECONDS, offsetof(struct options, open), 0, 0},
    {"max_open", NP_OPT_SECONDS, offsetof(struct options, max_open), 0, 0},
    {"jitter", NP_OPT_NUMBER, offsetof(struct options, jitter), 0, 1},
    {"half_open_probes", NP_OPT_INT, offsetof(struct options, half_open_probes), 1, 1000},
    {"max_requests", NP_OPT_INT, offsetof(struct options, max_requests), 0, 2147483647},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

static void read_options(lua_State *L, struct np_breaker_options *out, const char **name)
{
    const struct np_breaker_options *d = &np_breaker_defaults;
    struct options o = {
        .consecutive_failures = (int)d->consecutive_failures,
        .minimum_calls = (int)d->minimum_calls,
        .half_open_probes = (int)d->half_open_probes,
        .max_requests = (int)d->max_requests,
        .failure_rate = d->failure_rate,
        .jitter = d->jitter,
        .window = d->window_ns,
        .open = d->open_ns,
    };
    np_opts_read(L, 1, "opts", option_list, &o);
    *out = (struct np_breaker_options){
        .shadow = o.shadow,
        .consecutive_failures = (uint32_t)o.consecutive_failures,
        .failure_rate = o.failure_rate,
        .minimum_calls = (uint32_t)o.minimum_calls,
        .window_ns = o.window,
        .open_ns = o.open,
        .max_open_ns = o.max_open                ? o.max_open
                       : o.open > d->max_open_ns ? o.open
                                                 : d->max_open_ns,
        .jitter = o.jitter,
        .half_open_probes = (uint32_t)o.half_open_probes,
        .max_requests = (uint32_t)o.max_requests,
    };
    *name = o.name;
}

/* new(opts) → breaker | nil, err */
static int breaker_new(lua_State *L)
{
    struct np_breaker_options opts;
    struct neap_errinfo info = {0};
    const char *name = NULL;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    read_options(L, &opts, &name);
    const char *problem = np_breaker_options_problem(&opts);
    if (problem) np_misuse(L, "opts.%s", problem);
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->rule = NULL;
    enum neap_err err =
        np_script_rule(np_script_of(L), &kind, name, &opts, sizeof opts, &b->rule, &info);
    if (err) return np_fail_info(L, &info);
    luaL_setmetatable(L, TYPE);
    return 1;
}

static int breaker_gc(lua_State *L)
{
    struct box *b = luaL_checkudata(L, 1, TYPE);
    np_common_unref(b->rule);
    b->rule = NULL;
    return 0;
}

/* b:enter() → pass | nil, seconds until it may be worth trying, "open" or "cap" */
static int breaker_enter(lua_State *L)
{
    struct np_breaker *b = check(L);
    int64_t now = now_of(L);
    enum np_breaker_pass pass = np_breaker_enter(b, now);
    if (pass == NP_PASS_CALL || pass == NP_PASS_PROBE) {
        lua_pushinteger(L, pass);
        return 1;
    }
    lua_pushnil(L);
    lua_pushnumber(L, np_to_seconds(np_breaker_wait(b, now)));
    lua_pushstring(L, pass == NP_PASS_REFUSED_CAP ? "cap" : "open");
    return 3;
}

/* b:leave(pass, ok): nil says nothing */
static int breaker_leave(lua_State *L)
{
    struct np_breaker *b = check(L);
    lua_Integer pass = luaL_checkinteger(L, 2);
    luaL_argcheck(L, pass == NP_PASS_CALL || pass == NP_PASS_PROBE, 2, "what enter gave");
    enum np_outcome outcome = NP_OUTCOME_CANCELED;
    if (!lua_isnoneornil(L, 3)) outcome = lua_toboolean(L, 3) ? NP_OUTCOME_OK : NP_OUTCOME_FAILED;
    np_breaker_leave(b, (enum np_breaker_pass)pass, outcome, now_of(L));
    return 0;
}

/* b:state() → "closed" | "open" | "half_open" */
static int breaker_state(lua_State *L)
{
    struct np_breaker *b = check(L);
    lua_pushstring(L, np_breaker_state_name(np_breaker_state(b, now_of(L))));
    return 1;
}

/* b:changes() → how often the state has changed */
static int breaker_changes(lua_State *L)
{
    lua_pushinteger(L, np_breaker_changes(check(L)));
    return 1;
}

static int breaker_stats(lua_State *L)
{
    struct np_breaker *b = check(L);
    struct np_breaker_counters c = np_breaker_counters(b);
    bool shadow = np_breaker_shadow(b);
    int64_t now = now_of(L);
    lua_createtable(L, 0, 10);
    lua_pushstring(L, np_breaker_state_name(np_breaker_state(b, now)));
    lua_setfield(L, -2, "state");
    lua_pushnumber(L, np_to_seconds(np_breaker_wait(b, now)));
    lua_setfield(L, -2, "retry_after");
    lua_pushboolean(L, shadow);
    lua_setfield(L, -2, "shadow");
    np_set_count(L, "calls", c.calls);
    np_set_count(L, "failures", c.failures);
    np_set_count(L, "in_flight", c.inflight);
    np_set_count(L, "opened", c.opened);
    np_set_count(L, "closed", c.closed);
    np_set_count(L, shadow ? "would_refuse_open" : "refused_open", c.refused_open);
    np_set_count(L, shadow ? "would_refuse_cap" : "refused_cap", c.refused_cap);
    return 1;
}

static int breaker_reset(lua_State *L)
{
    np_breaker_reset(check(L));
    return 0;
}

static int breaker_trip(lua_State *L)
{
    np_breaker_trip(check(L), now_of(L));
    return 0;
}

int np_open_breaker(lua_State *L)
{
    static const luaL_Reg methods[] = {{"enter", breaker_enter},     {"leave", breaker_leave},
                                       {"state", breaker_state},     {"stats", breaker_stats},
                                       {"changes", breaker_changes}, {"reset", breaker_reset},
                                       {"trip", breaker_trip},       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", breaker_new}, {NULL, NULL}};
    if (luaL_newmetatable(L, TYPE)) {
        lua_pushcfunction(L, breaker_gc);
        lua_setfield(L, -2, "__gc");
        lua_newtable(L);
        lua_pushvalue(L, -2);
        luaL_setfuncs(L, methods, 1);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
