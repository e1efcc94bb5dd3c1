/* neap.core.limiter: rate limiters (mesh/limiter.h), shared by name. Type "neap.limiter". Waiting
 * is lua/neap/limiter.lua's, over `reserve` and `give_back`.
 */
#include "script/bind_limiter.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/rules.h"

#define TYPE "neap.limiter"

struct limiter {
    struct np_common *rule; /* NULL: closed */
};

/* Without the look-up by name that luaL_checkudata does: the type's metatable is an upvalue. */
static struct limiter *check_any(lua_State *L)
{
    void *p = lua_touserdata(L, 1);
    if (p && lua_getmetatable(L, 1)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same) return p;
    }
    return luaL_checkudata(L, 1, TYPE);
}

static struct np_shared_limiter *check_open(lua_State *L)
{
    struct limiter *l = check_any(L);
    if (!l->rule) np_misuse(L, "this limiter is closed");
    return l->rule->object;
}

/* --- options */

struct options {
    const char *name, *algorithm;
    double rate, burst, queue;
    int64_t window;
    size_t max_keys;
    bool shadow;
};

enum { OWN_OPTIONS = 8, MORE_OPTIONS = 4 };
static const struct np_opt option_list[OWN_OPTIONS] = {
    {"name", NP_OPT_STRING, offsetof(struct options, name), 0, 0},
    {"algorithm", NP_OPT_STRING, offsetof(struct options, algorithm), 0, 0},
    {"rate", NP_OPT_NUMBER, offsetof(struct options, rate), 0, 0},
    {"burst", NP_OPT_NUMBER, offsetof(struct options, burst), 0, 0},
    {"queue", NP_OPT_NUMBER, offsetof(struct options, queue), 0, NP_LIMITER_MAX_RATE},
    {"window", NP_OPT_SECONDS, offsetof(struct options, window), 0, 0},
    {"max_keys", NP_OPT_SIZE, offsetof(struct options, max_keys), 1, NP_LIMITER_MAX_KEYS},
    {"shadow", NP_OPT_BOOL, offsetof(struct options, shadow), 0, 0},
};

void np_llimiter_read(lua_State *L, int idx, const char *path, const char *const *more,
                      struct np_llimiter_options *out)
{
    struct np_opt spec[OWN_OPTIONS + MORE_OPTIONS + 1] = {{0}};
    struct options o = {.algorithm = "token_bucket", .queue = -1};
    size_t n = OWN_OPTIONS;
    memcpy(spec, option_list, sizeof option_list);
    for (; more && *more; more++)
        spec[n++] = (struct np_opt){*more, NP_OPT_ANY, 0, 0, 0};
    luaL_checktype(L, idx, LUA_TTABLE);
    np_opts_read(L, idx, path, spec, &o);
    if (o.name && (*o.name == '\0' || strlen(o.name) > NP_COMMONS_MAX_KEY))
        np_misuse(L, "%s.name: 1 to %d bytes", path, NP_COMMONS_MAX_KEY);
    bool found;
    struct np_limiter_options l = {.algorithm = np_limiter_find(o.algorithm, &found),
                                   .shadow = o.shadow,
                                   .rate = o.rate,
                                   .burst = o.burst,
                                   .queue = o.queue,
                                   .window_ns = o.window};
    if (!found)
        np_misuse(L,
                  "%s.algorithm: expected token_bucket, gcra, sliding_window or leaky_bucket, got "
                  "\"%s\"",
                  path, o.algorithm);
    const char *problem = np_limiter_problem(&l);
    if (problem) np_misuse(L, "%s.%s", path, problem);
    *out = (struct np_llimiter_options){
        .shared = {.limiter = l, .max_keys = o.max_keys, .now = np_loop_hrtime()}, .name = o.name};
}

/* new{rate=, …} → limiter | nil, err */
static int limiter_new(lua_State *L)
{
    struct np_llimiter_options o;
    struct neap_errinfo info;
    np_llimiter_read(L, 1, "opts", NULL, &o);
    struct limiter *l = lua_newuserdatauv(L, sizeof *l, 0);
    l->rule = NULL;
    luaL_setmetatable(L, TYPE);
    if (np_script_rule(np_script_of(L), &np_limiter_kind, o.name, &o.shared, sizeof o.shared,
                       &l->rule, &info))
        return np_fail_info(L, &info);
    return 1;
}

/* set{rate=, …}: other terms from now on, for all that use it */
static int limiter_set(lua_State *L)
{
    struct limiter *l = check_any(L);
    struct np_llimiter_options o;
    struct neap_errinfo info;
    (void)check_open(L);
    np_llimiter_read(L, 2, "opts", NULL, &o);
    if (o.name) return np_misuse(L, "opts.name: it has one");
    if (np_common_set(l->rule, &o.shared, &info)) return np_fail_info(L, &info);
    lua_pushboolean(L, 1);
    return 1;
}

/* --- checks */

static void set_seconds(lua_State *L, const char *name, int64_t ns)
{
    lua_pushnumber(L, np_to_seconds(ns));
    lua_setfield(L, -2, name);
}

void np_llimiter_push_error(lua_State *L, const struct np_limit *l)
{
    if (l->never) {
        np_push_error(L, NEAP_ELIMIT, "it costs more than may ever pass at once");
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "never");
    } else {
        np_push_error(L, NEAP_ELIMIT, "the rate limit is reached");
        set_seconds(L, "retry_after", l->wait_ns);
    }
    lua_pushinteger(L, 429);
    lua_setfield(L, -2, "status");
}

static int push_result(lua_State *L, const struct np_limit *l)
{
    if (!l->allowed) {
        luaL_pushfail(L);
        np_llimiter_push_error(L, l);
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, l->remaining);
    lua_setfield(L, -2, "remaining");
    set_seconds(L, "reset", l->reset_ns);
    set_seconds(L, "wait", l->would_allow ? l->wait_ns : 0);
    lua_pushboolean(L, l->would_allow);
    lua_setfield(L, -2, "would_allow");
    return 2;
}

static double check_cost(lua_State *L, int idx)
{
    double cost = luaL_optnumber(L, idx, 1);
    luaL_argcheck(L, cost >= 0, idx, "not below 0");
    return cost;
}

/* check([cost=1 [, key]]) → true, info | nil, err */
static int limiter_check(lua_State *L)
{
    struct np_shared_limiter *l = check_open(L);
    double cost = check_cost(L, 2);
    size_t n = 0;
    const char *key = luaL_optlstring(L, 3, NULL, &n);
    struct np_limit out;
    if (np_shared_limiter_check(l, key, n, cost, np_loop_hrtime(), &out))
        return np_fail(L, NEAP_ENOMEM, NULL);
    return push_result(L, &out);
}

/* allow([key]) → boolean */
static int limiter_allow(lua_State *L)
{
    struct np_shared_limiter *l = check_open(L);
    size_t n = 0;
    const char *key = luaL_optlstring(L, 2, NULL, &n);
    struct np_limit out;
    enum neap_err err = np_shared_limiter_check(l, key, n, 1, np_loop_hrtime(), &out);
    lua_pushboolean(L, !err && out.allowed);
    return 1;
}

/* reserve(max_wait, cost, key) → wait, ticket, info, lag | nil, err | false, the longest line: a
 * window, which keeps none. `lag` is how far the loop's clock, which timers go by, is behind the
 * one that was asked. For lua/neap/limiter.lua. */
static int limiter_reserve(lua_State *L)
{
    struct np_shared_limiter *l = check_open(L);
    struct np_limiter_options o = np_shared_limiter_options(l);
    if (o.algorithm == NP_SLIDING_WINDOW) {
        lua_pushboolean(L, 0);
        lua_pushnumber(L, o.queue);
        return 2;
    }
    double seconds = luaL_checknumber(L, 2), cost = check_cost(L, 3);
    size_t n = 0;
    const char *key = luaL_optlstring(L, 4, NULL, &n);
    struct np_limit out;
    uint64_t ticket = 0;
    int64_t now = np_loop_hrtime();
    if (np_shared_limiter_reserve(l, key, n, cost, np_seconds(seconds), now, &ticket, &out))
        return np_fail(L, NEAP_ENOMEM, NULL);
    if (push_result(L, &out) == 2 && !out.allowed) return 2;
    lua_pushnumber(L, out.would_allow ? np_to_seconds(out.wait_ns) : 0);
    lua_replace(L, -3);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_insert(L, -2);
    lua_pushnumber(L, np_to_seconds(now - np_loop_now(np_script_of(L)->loop)));
    return 4;
}

/* give_back(ticket, cost, key) */
static int limiter_give_back(lua_State *L)
{
    struct np_shared_limiter *l = check_open(L);
    uint64_t ticket = (uint64_t)luaL_checkinteger(L, 2);
    double cost = check_cost(L, 3);
    size_t n = 0;
    const char *key = luaL_optlstring(L, 4, NULL, &n);
    np_shared_limiter_give_back(l, key, n, cost, ticket);
    return 0;
}

static int limiter_stats(lua_State *L)
{
    struct np_shared_limiter *l = check_open(L);
    struct np_limiter_options o = np_shared_limiter_options(l);
    struct np_limiter_table_stats s;
    np_shared_limiter_get_stats(l, &s);
    lua_createtable(L, 0, 12);
    np_set_count(L, "allowed", s.allowed);
    np_set_count(L, o.shadow ? "would_refuse" : "refused", s.refused);
    np_set_count(L, "keys", s.keys);
    np_set_count(L, "max_keys", s.max_keys);
    np_set_count(L, "evicted", s.evicted);
    np_set_count(L, "forgotten", s.forgotten);
    lua_pushstring(L, np_limiter_algorithm_name(o.algorithm));
    lua_setfield(L, -2, "algorithm");
    lua_pushnumber(L, o.rate);
    lua_setfield(L, -2, "rate");
    lua_pushnumber(L, o.burst);
    lua_setfield(L, -2, "burst");
    lua_pushnumber(L, o.queue);
    lua_setfield(L, -2, "queue");
    set_seconds(L, "window", o.window_ns);
    lua_pushboolean(L, o.shadow);
    lua_setfield(L, -2, "shadow");
    return 1;
}

static int limiter_close(lua_State *L)
{
    struct limiter *l = check_any(L);
    struct np_common *rule = l->rule;
    l->rule = NULL;
    np_common_unref(rule);
    return 0;
}

static int limiter_tostring(lua_State *L)
{
    struct limiter *l = check_any(L);
    const char *name = l->rule ? np_common_name(l->rule) : "closed";
    lua_pushfstring(L, "neap.limiter: %s", *name ? name : "without a name");
    return 1;
}

/* The metatable, with itself as an upvalue of every method; leaves the methods on the stack. */
static void make_type(lua_State *L)
{
    static const luaL_Reg methods[] = {{"check", limiter_check}, {"allow", limiter_allow},
                                       {"set", limiter_set},     {"stats", limiter_stats},
                                       {"close", limiter_close}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", limiter_close},
                                    {"__close", limiter_close},
                                    {"__tostring", limiter_tostring},
                                    {NULL, NULL}};
    luaL_newmetatable(L, TYPE);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, meta, 1);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -3, "__metatable");
}

int np_open_limiter(lua_State *L)
{
    static const luaL_Reg inner[] = {
        {"reserve", limiter_reserve}, {"give_back", limiter_give_back}, {NULL, NULL}};
    lua_newtable(L);
    make_type(L);
    lua_setfield(L, -3, "methods"); /* for what lua/neap/limiter.lua adds */
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, inner, 1);
    lua_pop(L, 2);
    lua_pushcfunction(L, limiter_new);
    lua_setfield(L, -2, "new");
    return 1;
}
