/* neap.core.file, the other half: what a request's headers ask of an answer that is made by a
 * script. What it comes to is decided in proto/. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "proto/accept.h"
#include "proto/conditional.h"
#include "proto/http_date.h"
#include "proto/mime.h"
#include "proto/range.h"
#include "script/bind_file.h"
#include "script/bind_http_reqbody.h"
#include "script/bind_http_request.h"
#include "script/luax.h"

static const struct np_http_head *check_head(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    if (!r->x) np_misuse(L, "the request has been answered, or its client has left");
    return &r->x->head;
}

static int64_t wall_seconds(void)
{
    return np_clock_wall() / NP_NS_PER_SEC;
}

/* The tag and the date at `idx`, either of which may be nil; misuse for what is no tag. */
static struct np_validators read_validators(lua_State *L, int idx)
{
    struct np_validators v = {.last_modified = NP_NO_DATE};
    if (!lua_isnoneornil(L, idx)) v.etag.p = luaL_checklstring(L, idx, &v.etag.n);
    if (v.etag.p && !np_is_etag(v.etag))
        np_misuse(L, "etag: expected \"…\" or W/\"…\", got %s", v.etag.p);
    if (!lua_isnoneornil(L, idx + 1)) {
        double t = floor(luaL_checknumber(L, idx + 1));
        luaL_argcheck(L, t >= 0 && t < 253402300800.0, idx + 1, "seconds since 1970 expected");
        v.last_modified = (int64_t)t;
        v.date_strong = v.last_modified < wall_seconds();
    }
    return v;
}

/* condition(req, etag, last_modified, absent) → "holds", "same" or "failed" */
static int condition(lua_State *L)
{
    const struct np_http_head *h = check_head(L);
    struct np_validators v = read_validators(L, 2);
    v.absent = lua_toboolean(L, 4);
    switch (np_conditional(h, &v, wall_seconds())) {
    case NP_CONDITION_SAME:
        lua_pushliteral(L, "same");
        break;
    case NP_CONDITION_FAILED:
        lua_pushliteral(L, "failed");
        break;
    case NP_CONDITION_HOLDS:
        lua_pushliteral(L, "holds");
        break;
    }
    return 1;
}

/* ranges(req, size, etag, last_modified) → nil: the whole; false: there is nothing of it; else an
 * array of { first, last }, counted from 0 */
static int ranges(lua_State *L)
{
    const struct np_http_head *h = check_head(L);
    lua_Integer size = luaL_checkinteger(L, 2);
    luaL_argcheck(L, size >= 0, 2, "must not be negative");
    struct np_validators v = read_validators(L, 3);
    struct np_bytes value = np_http_header_get(h, "range", 5);
    struct np_range list[NP_RANGES_MAX];
    size_t n;
    if (h->method != HTTP_GET || !value.p || !np_if_range_holds(h, &v, wall_seconds())) return 0;
    enum np_ranges is = np_ranges_read(value, (uint64_t)size, list, NP_RANGES_MAX, &n);
    if (is == NP_RANGES_IGNORED) return 0;
    if (is == NP_RANGES_UNSATISFIABLE) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_createtable(L, 2, 0);
        lua_pushinteger(L, (lua_Integer)list[i].first);
        lua_rawseti(L, -2, 1);
        lua_pushinteger(L, (lua_Integer)list[i].last);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* best(req, kind, candidates) → the index of the one that the client likes best, the first of
 * equals; nil when it likes none; then its weight in thousandths */
static int best(lua_State *L)
{
    static const char *const kinds[] = {"media", "encoding", "charset", "language", NULL};
    static const enum np_accept values[] = {NP_ACCEPT_MEDIA, NP_ACCEPT_ENCODING, NP_ACCEPT_CHARSET,
                                            NP_ACCEPT_LANGUAGE};
    const struct np_http_head *h = check_head(L);
    enum np_accept kind = values[luaL_checkoption(L, 2, NULL, kinds)];
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_Integer found = 0, n = (lua_Integer)lua_rawlen(L, 3);
    int most = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        struct np_bytes candidate;
        lua_rawgeti(L, 3, i);
        candidate.p = luaL_checklstring(L, -1, &candidate.n);
        int weight = np_accept_weight(h, kind, candidate);
        lua_pop(L, 1);
        if (weight > most) {
            most = weight;
            found = i;
        }
    }
    if (!found) return 0;
    lua_pushinteger(L, found);
    lua_pushinteger(L, most);
    return 2;
}

/* type(path) → media type | nil, whether it is text */
static int type_of(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    const char *type = np_mime_type(np_mime_extension(path, n));
    if (!type) return 0;
    lua_pushstring(L, type);
    lua_pushboolean(L, np_mime_is_text(type));
    return 2;
}

/* format_date(seconds) → text */
static int format_date(lua_State *L)
{
    char text[NP_HTTP_DATE_LEN];
    double t = floor(luaL_checknumber(L, 1));
    luaL_argcheck(L, t >= 0 && t < 253402300800.0, 1, "seconds since 1970 expected");
    np_http_date_format((int64_t)t, text);
    lua_pushlstring(L, text, sizeof text);
    return 1;
}

/* parse_date(text) → seconds | nil, err */
static int parse_date(lua_State *L)
{
    struct np_bytes text;
    int64_t t;
    text.p = luaL_checklstring(L, 1, &text.n);
    if (!np_http_date_parse(text, wall_seconds(), &t))
        return np_fail(L, NEAP_EINVAL, "not an HTTP date");
    lua_pushinteger(L, (lua_Integer)t);
    return 1;
}

void np_file_add_negotiate(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"condition", condition},     {"ranges", ranges},         {"best", best}, {"type", type_of},
        {"format_date", format_date}, {"parse_date", parse_date}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
