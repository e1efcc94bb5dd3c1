/* The options of compression; see bind_http_plan.h. */
#include "script/bind_http_plan.h"

#include <stdio.h>
#include <string.h>

#include "script/bind_coding.h"
#include "script/luax.h"

#define MIN_BYTES 1024
#define TYPE_MAX 128

/* What compresses well and is not compressed already. */
static const char default_types[] = "text/*\0"
                                    "application/json\0"
                                    "application/javascript\0"
                                    "application/xml\0"
                                    "application/wasm\0"
                                    "application/x-javascript\0"
                                    "application/x-ndjson\0"
                                    "application/yaml\0"
                                    "application/graphql\0"
                                    "application/vnd.ms-fontobject\0"
                                    "+json\0"
                                    "+xml\0"
                                    "+text\0"
                                    "+yaml\0"
                                    "font/ttf\0"
                                    "font/otf\0"
                                    "image/bmp\0"
                                    "image/x-icon\0";

/* The array of types at `idx` as a plan has them, pushed as a string. */
static void push_types(lua_State *L, int idx)
{
    luaL_Buffer b;
    if (lua_isnil(L, idx)) {
        lua_pushlstring(L, default_types, sizeof default_types);
        return;
    }
    if (!lua_istable(L, idx))
        np_misuse(L, "opts.types: expected table, got %s", luaL_typename(L, idx));
    luaL_buffinit(L, &b);
    lua_Integer count = luaL_len(L, idx);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t n = 0;
        const char *type = lua_rawgeti(L, idx, i) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
        if (!type || n == 0 || n > TYPE_MAX || strlen(type) != n || !strpbrk(type, "/+"))
            np_misuse(L, "opts.types[%d]: expected \"text/html\", \"text/*\" or \"+json\"", (int)i);
        luaL_addlstring(&b, type, n + 1);
        lua_pop(L, 1);
    }
    luaL_addchar(&b, '\0');
    luaL_pushresult(&b);
}

static void read_level(lua_State *L, struct np_http_plan *plan, enum np_coding c, const char *path)
{
    if (!lua_isinteger(L, -1))
        np_misuse(L, "%s: expected integer, got %s", path, luaL_typename(L, -1));
    np_coding_check_level(L, path, c, lua_tointeger(L, -1));
    plan->levels[c] = (int)lua_tointeger(L, -1);
}

/* On top: nil, a level for all, or a table of levels by name. */
static void read_levels(lua_State *L, struct np_http_plan *plan)
{
    for (int i = 0; i < NP_CODINGS; i++)
        plan->levels[i] = NP_CODING_LEVEL_DEFAULT;
    if (lua_isnil(L, -1)) return;
    if (!lua_istable(L, -1)) {
        for (size_t i = 0; i < plan->noffered; i++)
            read_level(L, plan, plan->offered[i], "opts.level");
        return;
    }
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        struct np_bytes name = {"", 0};
        enum np_coding c;
        char path[40];
        if (lua_type(L, -2) == LUA_TSTRING) name.p = lua_tolstring(L, -2, &name.n);
        if (!np_coding_by_name(name, &c) || c == NP_CODING_IDENTITY)
            np_misuse(L, "opts.level: \"%.20s\" is no coding", name.p);
        snprintf(path, sizeof path, "opts.level.%s", np_coding_name(c));
        read_level(L, plan, c, path);
        lua_pop(L, 1);
    }
}

static void read_offered(lua_State *L, struct np_http_plan *plan)
{
    static const enum np_coding defaults[] = {NP_CODING_ZSTD, NP_CODING_BR, NP_CODING_GZIP};
    if (lua_isnil(L, -1)) {
        memcpy(plan->offered, defaults, sizeof defaults);
        plan->noffered = sizeof defaults / sizeof *defaults;
        return;
    }
    plan->noffered = np_coding_check_list(L, -1, "opts.encodings", plan->offered);
    if (plan->noffered == 0) np_misuse(L, "opts.encodings: expected at least one");
}

/* compression([{min_bytes=1024, encodings={"zstd","br","gzip"}, level=, types=}]) → plan */
static int http_compression(lua_State *L)
{
    struct {
        size_t min_bytes;
    } o = {MIN_BYTES};
    static const struct np_opt spec[] = {{"min_bytes", NP_OPT_SIZE, 0, 0, 0},
                                         {"encodings", NP_OPT_ANY, 0, 0, 0},
                                         {"level", NP_OPT_ANY, 0, 0, 0},
                                         {"types", NP_OPT_ANY, 0, 0, 0},
                                         {0}};
    lua_settop(L, 1);
    np_opts_read(L, 1, "opts", spec, &o);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    lua_getfield(L, 1, "types");
    push_types(L, 2);
    size_t n;
    const char *types = lua_tolstring(L, -1, &n);
    struct np_http_plan *plan = lua_newuserdatauv(L, sizeof *plan + n, 0);
    memset(plan, 0, sizeof *plan);
    memcpy(plan + 1, types, n);
    plan->types = (const char *)(plan + 1);
    plan->min_bytes = o.min_bytes;
    luaL_setmetatable(L, NP_HTTP_PLAN);
    lua_getfield(L, 1, "encodings");
    read_offered(L, plan);
    lua_getfield(L, 1, "level");
    read_levels(L, plan);
    lua_pop(L, 2);
    return 1;
}

void np_http_add_compression(lua_State *L)
{
    np_type_new(L, NP_HTTP_PLAN, NULL, NULL);
    lua_pushcfunction(L, http_compression);
    lua_setfield(L, -2, "compression");
}
