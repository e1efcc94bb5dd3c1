/* neap.log: trace, debug, info, warn, error(message, fields); set_level, level. */
#include <string.h>

#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define MAX_FIELDS 32

/* The value at the top as a field; text that had to be made is left on the stack, which keeps it.
 */
static struct np_log_field read_field(lua_State *L, const char *name)
{
    struct np_log_field f = {.name = name};
    if (lua_isboolean(L, -1)) {
        f.type = NP_LOG_BOOL;
        f.as.b = lua_toboolean(L, -1);
    } else if (lua_isinteger(L, -1)) {
        f.type = NP_LOG_INT;
        f.as.i = lua_tointeger(L, -1);
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
        f.type = NP_LOG_NUM;
        f.as.num = lua_tonumber(L, -1);
    } else {
        f.type = NP_LOG_STR;
        f.as.str.p = luaL_tolstring(L, -1, &f.as.str.n);
    }
    return f;
}

static size_t read_fields(lua_State *L, int idx, struct np_log_field *fields)
{
    size_t n = 0;
    luaL_checkstack(L, 3 * MAX_FIELDS + LUA_MINSTACK, NULL);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING) np_misuse(L, "log: names of fields must be strings");
        if (n == MAX_FIELDS) np_misuse(L, "log: more than %d fields", MAX_FIELDS);
        const char *name = lua_tostring(L, -2);
        int before = lua_gettop(L);
        fields[n++] = read_field(L, name);
        /* keep the value (and its text) below the key for the next round */
        lua_pushvalue(L, before - 1);
        (void)name;
    }
    return n;
}

static int log_at(lua_State *L, enum np_log_level level)
{
    struct np_log *log = np_script_of(L)->log;
    luaL_checkany(L, 1);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
    if (!np_log_enabled(log, level)) return 0;
    size_t len;
    lua_settop(L, 2);
    const char *msg = luaL_tolstring(L, 1, &len);
    struct np_log_field fields[MAX_FIELDS];
    size_t n = lua_istable(L, 2) ? read_fields(L, 2, fields) : 0;
    np_log_write(log, level, msg, len, fields, n);
    return 0;
}

static int log_trace(lua_State *L)
{
    return log_at(L, NP_LOG_TRACE);
}
static int log_debug(lua_State *L)
{
    return log_at(L, NP_LOG_DEBUG);
}
static int log_info(lua_State *L)
{
    return log_at(L, NP_LOG_INFO);
}
static int log_warn(lua_State *L)
{
    return log_at(L, NP_LOG_WARN);
}
static int log_error(lua_State *L)
{
    return log_at(L, NP_LOG_ERROR);
}

static int log_set_level(lua_State *L)
{
    enum np_log_level level;
    const char *name = luaL_checkstring(L, 1);
    if (!np_log_level_parse(name, &level)) {
        return np_misuse(L, "log: unknown level '%s' (trace, debug, info, warn, error, off)", name);
    }
    struct np_log *log = np_script_of(L)->log;
    if (log) np_log_set_level(log, level);
    return 0;
}

static int log_level(lua_State *L)
{
    struct np_log *log = np_script_of(L)->log;
    lua_pushstring(L, np_log_level_name(log ? np_log_get_level(log) : NP_LOG_OFF));
    return 1;
}

/* flush([seconds]): waits (the thread, not the task) until what was logged is written. */
static int log_flush(lua_State *L)
{
    np_log_flush(np_script_of(L)->log, luaL_optnumber(L, 1, 1));
    return 0;
}

int np_open_log(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"trace", log_trace}, {"debug", log_debug}, {"info", log_info},
        {"warn", log_warn},   {"error", log_error}, {"set_level", log_set_level},
        {"level", log_level}, {"flush", log_flush}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
