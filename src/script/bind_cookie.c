/* Reading and writing cookies for lua/neap/http/cookie.lua. The rules stand in proto/cookie. */
#include "proto/cookie.h"

#include <string.h>

#include "script/bind_forms.h"
#include "script/luax.h"

static const char *const same_sites[] = {"", "strict", "lax", "none"};

/* parse_cookies(header or nil) → table by name; of a name that comes twice, the first */
static int parse_cookies(lua_State *L)
{
    struct np_bytes rest = {NULL, 0}, name, value;
    if (!lua_isnoneornil(L, 1)) rest.p = luaL_checklstring(L, 1, &rest.n);
    lua_createtable(L, 0, 4);
    while (np_cookie_next(&rest, &name, &value)) {
        lua_pushlstring(L, name.p, name.n);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL) {
            lua_pop(L, 2);
            continue;
        }
        lua_pop(L, 1);
        lua_pushlstring(L, value.p, value.n);
        lua_rawset(L, -3);
    }
    return 1;
}

static void set_bytes(lua_State *L, const char *name, struct np_bytes b)
{
    if (!b.p) return;
    lua_pushlstring(L, b.p, b.n);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool on)
{
    if (!on) return;
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, name);
}

/* parse_set_cookie(text) → table | nil: to be ignored */
static int parse_set_cookie(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct np_set_cookie c;
    if (!np_set_cookie_parse(text, n, &c)) return lua_pushnil(L), 1;
    lua_createtable(L, 0, 8);
    set_bytes(L, "name", c.name);
    set_bytes(L, "value", c.value);
    set_bytes(L, "domain", c.domain);
    set_bytes(L, "path", c.path);
    set_flag(L, "secure", c.secure);
    set_flag(L, "http_only", c.http_only);
    set_flag(L, "partitioned", c.partitioned);
    if (c.has_max_age) {
        lua_pushinteger(L, c.max_age);
        lua_setfield(L, -2, "max_age");
    }
    if (c.has_expires) {
        lua_pushinteger(L, c.expires);
        lua_setfield(L, -2, "expires");
    }
    if (c.same_site) {
        lua_pushstring(L, same_sites[c.same_site]);
        lua_setfield(L, -2, "same_site");
    }
    return 1;
}

/* A field of the options at 3, whose types were checked; a string stays on the stack. */
static struct np_bytes get_bytes(lua_State *L, const char *name)
{
    struct np_bytes b = {NULL, 0};
    if (lua_getfield(L, 3, name) == LUA_TSTRING) b.p = lua_tolstring(L, -1, &b.n);
    return b;
}

static bool get_flag(lua_State *L, const char *name)
{
    lua_getfield(L, 3, name);
    return lua_toboolean(L, -1);
}

static bool get_integer(lua_State *L, const char *name, int64_t *out)
{
    int isnum;
    lua_getfield(L, 3, name);
    lua_Integer n = lua_tointegerx(L, -1, &isnum);
    if (isnum) *out = n;
    return isnum;
}

static enum np_same_site get_same_site(lua_State *L)
{
    struct np_bytes b = get_bytes(L, "same_site");
    for (int i = 1; b.p && i < 4; i++) {
        if (strcmp(b.p, same_sites[i]) == 0) return (enum np_same_site)i;
    }
    return NP_SAME_SITE_UNSET;
}

/* write_set_cookie(name, value, options) → text | nil, what is wrong */
static int write_set_cookie(lua_State *L)
{
    struct np_set_cookie c;
    struct neap_errinfo info;
    memset(&c, 0, sizeof c);
    c.name.p = luaL_checklstring(L, 1, &c.name.n);
    c.value.p = luaL_checklstring(L, 2, &c.value.n);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    luaL_checkstack(L, 12, NULL);
    c.domain = get_bytes(L, "domain");
    c.path = get_bytes(L, "path");
    c.secure = get_flag(L, "secure");
    c.http_only = get_flag(L, "http_only");
    c.partitioned = get_flag(L, "partitioned");
    c.has_max_age = get_integer(L, "max_age", &c.max_age);
    c.has_expires = get_integer(L, "expires", &c.expires);
    c.same_site = get_same_site(L);
    luaL_Buffer out;
    size_t most = NP_COOKIE_MAX + NP_COOKIE_ATTRIBUTE_MAX + 512; /* a domain has 253 at most */
    char *room = luaL_buffinitsize(L, &out, most);
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_set_cookie_write(&b, &c, &info);
    size_t len = np_buf_len(&b);
    if (!err && len <= most) memcpy(room, np_buf_data(&b), len);
    np_buf_fini(&b);
    if (err == NEAP_ENOMEM) return luaL_error(L, "not enough memory");
    if (err) {
        lua_pushnil(L);
        lua_pushstring(L, info.message);
        return 2;
    }
    luaL_pushresultsize(&out, len);
    return 1;
}

void np_http_add_cookie(lua_State *L)
{
    static const luaL_Reg functions[] = {{"parse_cookies", parse_cookies},
                                         {"parse_set_cookie", parse_set_cookie},
                                         {"write_set_cookie", write_set_cookie},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
