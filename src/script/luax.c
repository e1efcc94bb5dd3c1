/* What every binding needs of Lua; see luax.h. */
#include "script/luax.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define ERROR_TYPE "neap.error"

static int error_tostring(lua_State *L)
{
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    lua_pushfstring(L, "%s: %s", luaL_optstring(L, -2, "ESCRIPT"), luaL_optstring(L, -1, ""));
    return 1;
}

static void push_error_metatable(lua_State *L)
{
    if (!luaL_newmetatable(L, ERROR_TYPE)) return;
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
}

/* Turns the message on top into an error object. */
static void wrap_error(lua_State *L, enum neap_err code)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, neap_err_name(code));
    lua_setfield(L, -2, "code");
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    push_error_metatable(L);
    lua_setmetatable(L, -2);
}

static void push_message(lua_State *L, enum neap_err code, const char *fmt, va_list args)
{
    if (!fmt) {
        lua_pushstring(L, neap_err_text(code));
        return;
    }
    char text[512];
    vsnprintf(text, sizeof text, fmt, args);
    lua_pushstring(L, text);
}

void np_push_error(lua_State *L, enum neap_err code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push_message(L, code, fmt, args);
    va_end(args);
    wrap_error(L, code);
}

int np_fail(lua_State *L, enum neap_err code, const char *fmt, ...)
{
    luaL_pushfail(L);
    va_list args;
    va_start(args, fmt);
    push_message(L, code, fmt, args);
    va_end(args);
    wrap_error(L, code);
    return 2;
}

int np_fail_info(lua_State *L, const struct neap_errinfo *info)
{
    return np_fail(L, info->code, "%s", info->message);
}

int np_misuse(lua_State *L, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    luaL_where(L, 1);
    lua_pushstring(L, text);
    lua_concat(L, 2);
    return lua_error(L);
}

enum neap_err np_error_code(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_checkstack(L, 2)) return NEAP_ESCRIPT;
    idx = lua_absindex(L, idx);
    lua_pushliteral(L, "code");
    lua_rawget(L, idx);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    enum neap_err code = NEAP_ESCRIPT;
    for (int i = 1; name && i < NEAP_ERR_COUNT; i++) {
        if (strcmp(name, neap_err_name((enum neap_err)i)) == 0) code = (enum neap_err)i;
    }
    lua_pop(L, 1);
    return code;
}

void np_push_traceback(lua_State *L, lua_State *co, int msg_idx)
{
    msg_idx = lua_absindex(co, msg_idx);
    const char *msg = luaL_tolstring(co, msg_idx, NULL);
    luaL_traceback(L, co, msg, 0);
    lua_remove(co, L == co ? -2 : -1);
}

/* --- option tables */

static int refuse_type(lua_State *L, const char *path, const char *key, const char *wanted, int idx)
{
    return np_misuse(L, "%s.%s: expected %s, got %s", path, key, wanted, luaL_typename(L, idx));
}

static void check_range(lua_State *L, const char *path, const struct np_opt *o, double v)
{
    if (o->min == 0 && o->max == 0) return;
    if (v >= o->min && (o->max == 0 || v <= o->max)) return;
    if (o->max == 0) {
        np_misuse(L, "%s.%s: must be at least %g", path, o->name, o->min);
    } else {
        np_misuse(L, "%s.%s: must be between %g and %g", path, o->name, o->min, o->max);
    }
}

static double number_at(lua_State *L, const char *path, const struct np_opt *o)
{
    if (lua_type(L, -1) != LUA_TNUMBER) refuse_type(L, path, o->name, "number", -1);
    double v = lua_tonumber(L, -1);
    if (isnan(v)) np_misuse(L, "%s.%s: must be a number, got NaN", path, o->name);
    check_range(L, path, o, v);
    return v;
}

static lua_Integer integer_at(lua_State *L, const char *path, const struct np_opt *o)
{
    number_at(L, path, o);
    int ok;
    lua_Integer v = lua_tointegerx(L, -1, &ok);
    if (!ok) np_misuse(L, "%s.%s: expected an integer", path, o->name);
    return v;
}

static int64_t seconds_at(lua_State *L, const char *path, const struct np_opt *o)
{
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) return 0;
    double v = number_at(L, path, o);
    if (v < 0) np_misuse(L, "%s.%s: must not be negative", path, o->name);
    return np_seconds(v);
}

static const char *string_at(lua_State *L, const char *path, const struct np_opt *o)
{
    if (lua_type(L, -1) != LUA_TSTRING) refuse_type(L, path, o->name, "string", -1);
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    if (strlen(s) != n) np_misuse(L, "%s.%s: must not contain a NUL byte", path, o->name);
    return s;
}

static void read_opt(lua_State *L, const char *path, const struct np_opt *o, void *field)
{
    switch (o->type) {
    case NP_OPT_BOOL:
        if (!lua_isboolean(L, -1)) refuse_type(L, path, o->name, "boolean", -1);
        *(bool *)field = lua_toboolean(L, -1);
        break;
    case NP_OPT_INT: {
        lua_Integer v = integer_at(L, path, o);
        if (v < INT32_MIN || v > INT32_MAX) np_misuse(L, "%s.%s: out of range", path, o->name);
        *(int *)field = (int)v;
        break;
    }
    case NP_OPT_SIZE: {
        lua_Integer v = integer_at(L, path, o);
        if (v < 0) np_misuse(L, "%s.%s: must not be negative", path, o->name);
        *(size_t *)field = (size_t)v;
        break;
    }
    case NP_OPT_SECONDS:
        *(int64_t *)field = seconds_at(L, path, o);
        break;
    case NP_OPT_NUMBER:
        *(double *)field = number_at(L, path, o);
        break;
    case NP_OPT_STRING:
        *(const char **)field = string_at(L, path, o);
        break;
    case NP_OPT_FUNCTION:
        if (!lua_isfunction(L, -1)) refuse_type(L, path, o->name, "function", -1);
        break;
    case NP_OPT_TABLE:
        if (!lua_istable(L, -1)) refuse_type(L, path, o->name, "table", -1);
        break;
    case NP_OPT_ANY:
        break;
    }
}

static const struct np_opt *find_opt(const struct np_opt *spec, const char *name)
{
    for (; spec->name; spec++) {
        if (strcmp(spec->name, name) == 0) return spec;
    }
    return NULL;
}

void np_opts_read(lua_State *L, int idx, const char *path, const struct np_opt *spec, void *out)
{
    if (lua_isnoneornil(L, idx)) return;
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx)) {
        np_misuse(L, "%s: expected table, got %s", path, luaL_typename(L, idx));
    }
    luaL_checkstack(L, 4, NULL);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            np_misuse(L, "%s: keys must be strings, got %s", path, luaL_typename(L, -2));
        }
        const struct np_opt *o = find_opt(spec, lua_tostring(L, -2));
        if (!o) np_misuse(L, "%s.%s: unknown option", path, lua_tostring(L, -2));
        read_opt(L, path, o, (char *)out + o->offset);
        lua_pop(L, 1);
    }
}

int64_t np_check_seconds(lua_State *L, int idx, int64_t def)
{
    if (lua_isnoneornil(L, idx)) return def;
    lua_Number v = luaL_checknumber(L, idx);
    luaL_argcheck(L, v >= 0, idx, "seconds must not be negative");
    return np_seconds(v);
}

void np_set_count(lua_State *L, const char *name, uint64_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, name);
}

void np_type_new(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    if (luaL_newmetatable(L, name)) {
        if (meta) luaL_setfuncs(L, meta, 0);
        if (methods) {
            lua_newtable(L);
            luaL_setfuncs(L, methods, 0);
            lua_setfield(L, -2, "__index");
        }
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}

void np_call_whole(lua_State *L, lua_CFunction fn, void *arg, int nresults)
{
    luaL_checkstack(L, nresults + 2, NULL);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, arg);
    bool collects = lua_gc(L, LUA_GCISRUNNING) > 0;
    if (collects) lua_gc(L, LUA_GCSTOP);
    int status = lua_pcall(L, 1, nresults, 0);
    if (collects) lua_gc(L, LUA_GCRESTART);
    if (status != LUA_OK) lua_error(L);
}
