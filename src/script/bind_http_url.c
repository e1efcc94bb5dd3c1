/* neap.core.http: URLs and queries, parsed, resolved, encoded and decoded. */
#include <string.h>

#include "proto/url.h"
#include "script/bind_http.h"
#include "script/luax.h"

static const char *const scheme_names[] = {"", "http", "https", "unix"};

static void set_bytes(lua_State *L, const char *name, struct np_bytes b)
{
    if (!b.p) return;
    lua_pushlstring(L, b.p, b.n);
    lua_setfield(L, -2, name);
}

/* Pushes what `b` holds and frees it; nil, err when it could not be filled. */
static int push_buf(lua_State *L, struct np_buf *b, enum neap_err err)
{
    if (!err) lua_pushlstring(L, np_buf_data(b), np_buf_len(b));
    np_buf_fini(b);
    return err ? np_fail(L, err, NULL) : 1;
}

/* parse_url(text) → {scheme, host, port, unix, path, query, fragment, userinfo, target} | nil, err
 */
static int parse_url(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct np_url u;
    struct neap_errinfo info;
    if (np_url_parse(text, n, &u, &info)) return np_fail_info(L, &info);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, scheme_names[u.scheme]);
    lua_setfield(L, -2, "scheme");
    if (u.scheme == NP_URL_UNIX) {
        set_bytes(L, "unix", u.socket);
    } else {
        set_bytes(L, "host", u.host);
        lua_pushinteger(L, u.port);
        lua_setfield(L, -2, "port");
    }
    set_bytes(L, "path", u.path.n ? u.path : (struct np_bytes){"/", 1});
    set_bytes(L, "query", u.query);
    set_bytes(L, "fragment", u.fragment);
    set_bytes(L, "userinfo", u.userinfo);
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_url_target(&b, &u);
    if (push_buf(L, &b, err) == 2) return 2;
    lua_setfield(L, -2, "target");
    return 1;
}

/* resolve_url(base, reference) → absolute URL | nil, err */
static int resolve_url(lua_State *L)
{
    size_t bn, rn;
    const char *base = luaL_checklstring(L, 1, &bn);
    const char *ref = luaL_checklstring(L, 2, &rn);
    struct np_url u;
    struct neap_errinfo info;
    if (np_url_parse(base, bn, &u, &info)) return np_fail_info(L, &info);
    struct np_buf b;
    np_buf_init(&b);
    enum neap_err err = np_url_resolve(&b, &u, ref, rn, &info);
    if (!err) return push_buf(L, &b, err);
    np_buf_fini(&b);
    return np_fail_info(L, &info);
}

/* encode(text, [part]): part is "component" (default), "path" or "form" */
static int encode(lua_State *L)
{
    static const char *const names[] = {"component", "path", "form", NULL};
    static const enum np_url_part parts[] = {NP_URL_COMPONENT, NP_URL_PATH, NP_URL_FORM};
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    enum np_url_part part = parts[luaL_checkoption(L, 2, "component", names)];
    struct np_buf b;
    np_buf_init(&b);
    return push_buf(L, &b, np_url_encode(&b, text, n, part));
}

/* Pushes the decoded text; false, with nothing pushed, for a bad escape. */
static bool push_decoded(lua_State *L, struct np_bytes text, bool form)
{
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, text.n + 1);
    size_t len;
    bool ok = np_url_decode(text.p, text.n, form, out, &len);
    luaL_pushresultsize(&b, ok ? len : 0);
    if (!ok) lua_pop(L, 1);
    return ok;
}

/* decode(text, [form]) → text | nil, err for a '%' without two hex digits */
static int decode(lua_State *L)
{
    struct np_bytes text;
    text.p = luaL_checklstring(L, 1, &text.n);
    if (push_decoded(L, text, lua_toboolean(L, 2))) return 1;
    return np_fail(L, NEAP_EINVAL, "a '%%' is not followed by two hex digits");
}

/* Stack: table, name, value. Repeated names make an array of values. */
static void add_pair(lua_State *L, int table)
{
    lua_pushvalue(L, -2);
    int had = lua_rawget(L, table);
    if (had == LUA_TNIL) {
        lua_pop(L, 1);
        lua_rawset(L, table);
        return;
    }
    if (had != LUA_TTABLE) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, table);
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}

/* parse_query(text) → {name = value, or an array of values where a name is repeated} | nil, err */
static int parse_query(lua_State *L)
{
    struct np_bytes rest, name, value;
    rest.p = luaL_checklstring(L, 1, &rest.n);
    lua_settop(L, 1);
    lua_newtable(L);
    while (np_url_query_next(&rest, &name, &value)) {
        if (!value.p) value = (struct np_bytes){"", 0};
        if (!push_decoded(L, name, true) || !push_decoded(L, value, true)) {
            return np_fail(L, NEAP_EINVAL, "a '%%' is not followed by two hex digits");
        }
        add_pair(L, 2);
    }
    return 1;
}

/* normalize_path(path): without "." and ".." segments; never above the root */
static int normalize_path(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, n + 1);
    memcpy(out, path, n);
    luaL_pushresultsize(&b, np_url_normalize_path(out, n));
    return 1;
}

void np_http_add_url(lua_State *L)
{
    static const luaL_Reg functions[] = {{"parse_url", parse_url},
                                         {"resolve_url", resolve_url},
                                         {"encode", encode},
                                         {"decode", decode},
                                         {"parse_query", parse_query},
                                         {"normalize_path", normalize_path},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
