/* neap.core.cidr: lists of networks that addresses are looked up in. */
#include "script/bind_cidr.h"

#include <stdio.h>

#include "script/luax.h"
#include "script/modules.h"

#define TYPE "neap.cidr"

/* The entry on top of the stack; popped. */
static void add_entry(lua_State *L, struct np_cidr_list *l, const char *path, lua_Integer i)
{
    struct neap_errinfo info = {0};
    size_t n;
    if (lua_type(L, -1) != LUA_TSTRING)
        np_misuse(L, "%s[%d]: expected string, got %s", path, (int)i, luaL_typename(L, -1));
    const char *text = lua_tolstring(L, -1, &n);
    enum neap_err err = np_cidr_list_add(l, text, n, &info);
    if (err == NEAP_ENOMEM) luaL_error(L, "not enough memory");
    if (err) np_misuse(L, "%s[%d]: %s", path, (int)i, info.message);
    lua_pop(L, 1);
}

const struct np_cidr_list *np_lcidr_option(lua_State *L, int idx, const char *path)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, NULL);
    struct np_cidr_list *given = luaL_testudata(L, idx, TYPE);
    if (given) {
        lua_pushvalue(L, idx);
        return given;
    }
    bool one = lua_type(L, idx) == LUA_TSTRING;
    if (!one && !lua_istable(L, idx))
        np_misuse(L, "%s: expected table, got %s", path, luaL_typename(L, idx));
    struct np_cidr_list *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (struct np_cidr_list){0};
    luaL_setmetatable(L, TYPE);
    if (one) {
        lua_pushvalue(L, idx);
        add_entry(L, l, path, 1);
        return l;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx), keys = 0;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
        keys++;
    if (keys != n) np_misuse(L, "%s: expected an array of strings", path);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        add_entry(L, l, path, i);
    }
    return l;
}

/* new{"10.0.0.0/8", "::1", "unix", "*"} → networks */
static int cidr_new(lua_State *L)
{
    luaL_checkany(L, 1);
    np_lcidr_option(L, 1, "networks");
    return 1;
}

static struct np_cidr_list *check(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

/* networks:has(address): "10.0.0.1", "10.0.0.1:80", "[::1]:80", "unix:/path"; false for what is no
 * address */
static int cidr_has(lua_State *L)
{
    const struct np_cidr_list *l = check(L);
    const char *peer = luaL_checkstring(L, 2);
    lua_pushboolean(L, np_cidr_list_has_peer(l, peer));
    return 1;
}

static int cidr_gc(lua_State *L)
{
    np_cidr_list_fini(check(L));
    return 0;
}

static void add_word(luaL_Buffer *b, const char *word, bool *first)
{
    if (!*first) luaL_addstring(b, ", ");
    luaL_addstring(b, word);
    *first = false;
}

static int cidr_tostring(lua_State *L)
{
    const struct np_cidr_list *l = check(L);
    luaL_Buffer b;
    bool first = true;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, TYPE ": ");
    for (size_t i = 0; i < l->n; i++) {
        char ip[NP_IP_TEXT_MAX], text[NP_IP_TEXT_MAX + 5];
        np_ip_format(&l->items[i].net, ip);
        lua_Integer bits = l->items[i].bits;
        snprintf(text, sizeof text, "%s/%d", ip, (int)bits);
        add_word(&b, text, &first);
    }
    if (l->unix_peers) add_word(&b, "unix", &first);
    if (l->everybody) add_word(&b, "*", &first);
    luaL_pushresult(&b);
    return 1;
}

void np_lcidr_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"has", cidr_has}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", cidr_gc}, {"__tostring", cidr_tostring}, {NULL, NULL}};
    np_type_new(L, TYPE, methods, meta);
}

int np_open_cidr(lua_State *L)
{
    static const luaL_Reg functions[] = {{"new", cidr_new}, {NULL, NULL}};
    np_lcidr_open(L);
    luaL_newlib(L, functions);
    return 1;
}
