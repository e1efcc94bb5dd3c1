/* neap.core.http: the module's opening, and header tables both ways. */
#include "script/bind_http.h"

#include <string.h>
#include <strings.h>

#include "script/bind_forms.h"
#include "script/bind_http_front.h"
#include "script/luax.h"
#include "script/modules.h"

static void push_lower(lua_State *L, struct np_bytes name)
{
    char small[128];
    luaL_Buffer big;
    char *p = name.n <= sizeof small ? small : luaL_buffinitsize(L, &big, name.n);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        p[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    if (p == small) {
        lua_pushlstring(L, small, name.n);
    } else {
        luaL_pushresultsize(&big, name.n);
    }
}

/* Stack: table, name. Sets or extends its value; pops the name. */
static void add_header(lua_State *L, int table, struct np_bytes value)
{
    bool cookie = strcmp(lua_tostring(L, -1), "set-cookie") == 0;
    lua_pushvalue(L, -1);
    int had = lua_rawget(L, table);
    if (cookie) {
        if (had == LUA_TNIL) {
            lua_pop(L, 1);
            lua_createtable(L, 1, 0);
        }
        lua_pushlstring(L, value.p, value.n);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    } else if (had == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushlstring(L, value.p, value.n);
    } else {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value.p, value.n);
        lua_concat(L, 3);
    }
    lua_rawset(L, table);
}

void np_push_headers(lua_State *L, const struct np_http_header *headers, size_t n)
{
    luaL_checkstack(L, 8, NULL);
    lua_createtable(L, 0, (int)n);
    int table = lua_gettop(L);
    for (size_t i = 0; i < n; i++) {
        push_lower(L, headers[i].name);
        add_header(L, table, headers[i].value);
    }
}

static size_t add_out(lua_State *L, struct np_http_header *out, size_t n, const char *name,
                      size_t name_len, int value)
{
    int type = lua_type(L, value);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
        np_misuse(L, "headers.%s: expected string, number or array of strings, got %s", name,
                  lua_typename(L, type));
    }
    if (n == NP_LUA_MAX_HEADERS) {
        np_misuse(L, "headers: more than %d of them", NP_LUA_MAX_HEADERS);
    }
    out[n].name = (struct np_bytes){name, name_len};
    out[n].value.p = lua_tolstring(L, value, &out[n].value.n);
    return n + 1;
}

/* The array at the top of the stack; numbers in it are made text and left below the key by the
 * caller's bookkeeping, so only strings are taken here. */
static size_t add_array(lua_State *L, struct np_http_header *out, size_t n, const char *name,
                        size_t name_len)
{
    int array = lua_gettop(L);
    lua_Integer len = (lua_Integer)lua_rawlen(L, array);
    for (lua_Integer i = 1; i <= len; i++) {
        if (lua_rawgeti(L, array, i) != LUA_TSTRING) {
            np_misuse(L, "headers.%s[%d]: expected string, got %s", name, (int)i,
                      luaL_typename(L, -1));
        }
        n = add_out(L, out, n, name, name_len, -1);
        lua_pop(L, 1);
    }
    return n;
}

size_t np_read_headers(lua_State *L, int idx, struct np_http_header *out)
{
    if (lua_isnoneornil(L, idx)) return 0;
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx)) {
        np_misuse(L, "headers: expected table, got %s", luaL_typename(L, idx));
    }
    size_t n = 0;
    luaL_checkstack(L, NP_LUA_MAX_HEADERS + 8, NULL);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING) np_misuse(L, "headers: names must be strings");
        size_t name_len;
        const char *name = lua_tolstring(L, -2, &name_len);
        if (lua_istable(L, -1)) {
            n = add_array(L, out, n, name, name_len);
            lua_pop(L, 1);
            continue;
        }
        bool number = lua_type(L, -1) == LUA_TNUMBER;
        n = add_out(L, out, n, name, name_len, -1);
        if (number) {
            lua_insert(L, -2); /* the text that was made stays, below the key */
        } else {
            lua_pop(L, 1);
        }
    }
    return n;
}

bool np_has_header(const struct np_http_header *headers, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++) {
        if (headers[i].name.n == len && strncasecmp(headers[i].name.p, name, len) == 0) return true;
    }
    return false;
}

int np_open_http(lua_State *L)
{
    lua_createtable(L, 0, 16);
    np_http_add_request(L);
    np_http_add_front(L);
    np_http_add_server(L);
    np_http_add_client(L);
    np_http_add_url(L);
    np_http_add_forward(L);
    np_http_add_alone(L);
    np_http_add_through(L);
    np_http_add_multipart(L);
    np_http_add_cookie(L);
    np_http_add_events(L);
    np_http_add_upload(L);
    np_http_add_compress(L);
    np_http_add_decompress(L);
    return 1;
}
