/* The module "neap.json": JSON for scripts. See lua/neap/_meta/json.lua for what it promises. */
#include "script/json.h"
#include "script/luax.h"
#include "script/modules.h"

static const char array_key = 0;

void np_json_push_array_meta(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "neap.json.array");
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
}

/* Turns the error object on top into `nil, err`. */
static int fail(lua_State *L)
{
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
}

static int json_encode(lua_State *L)
{
    static const struct np_opt spec[] = {
        {"pretty", NP_OPT_BOOL, offsetof(struct np_json_write_options, pretty), 0, 0},
        {"sort_keys", NP_OPT_BOOL, offsetof(struct np_json_write_options, sort_keys), 0, 0},
        {"max_depth", NP_OPT_SIZE, offsetof(struct np_json_write_options, max_depth), 1,
         NP_JSON_DEPTH_LIMIT},
        {"max_size", NP_OPT_SIZE, offsetof(struct np_json_write_options, max_size), 0, 0},
        {NULL, NP_OPT_ANY, 0, 0, 0},
    };
    struct np_json_write_options opts = NP_JSON_WRITE_OPTIONS_INIT;
    luaL_checkany(L, 1);
    if (!lua_isnoneornil(L, 2)) np_opts_read(L, 2, "opts", spec, &opts);
    const char *p;
    size_t n;
    if (np_json_encode_bytes(L, 1, &opts, &p, &n)) return fail(L);
    lua_pushlstring(L, p, n);
    return 1;
}

static int json_decode(lua_State *L)
{
    static const struct np_opt spec[] = {
        {"max_depth", NP_OPT_SIZE, offsetof(struct np_json_read_options, max_depth), 1,
         NP_JSON_DEPTH_LIMIT},
        {"max_size", NP_OPT_SIZE, offsetof(struct np_json_read_options, max_size), 0, 0},
        {NULL, NP_OPT_ANY, 0, 0, 0},
    };
    struct np_json_read_options opts = NP_JSON_READ_OPTIONS_INIT;
    luaL_checktype(L, 1, LUA_TSTRING);
    if (!lua_isnoneornil(L, 2)) np_opts_read(L, 2, "opts", spec, &opts);
    size_t n;
    const char *text = lua_tolstring(L, 1, &n);
    if (np_json_decode_to(L, text, n, &opts)) return fail(L);
    return 1;
}

static int json_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    np_json_push_array_meta(L);
    if (lua_getmetatable(L, 1)) {
        if (!lua_rawequal(L, -1, -2)) return np_misuse(L, "t: has a metatable of its own");
        lua_pop(L, 1);
    }
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int json_is_array(lua_State *L)
{
    luaL_checkany(L, 1);
    bool marked = false;
    if (lua_istable(L, 1) && lua_getmetatable(L, 1)) {
        np_json_push_array_meta(L);
        marked = lua_rawequal(L, -1, -2);
    }
    lua_pushboolean(L, marked || (lua_istable(L, 1) && lua_rawlen(L, 1) > 0));
    return 1;
}

int np_open_json(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", json_encode},
                                         {"decode", json_decode},
                                         {"array", json_array},
                                         {"is_array", json_is_array},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    np_json_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
