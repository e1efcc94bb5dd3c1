/* Endpoints as scripts see them; see bind_endpoint.h.
 *
 * A view has two user values: its tags and its metadata as tables, made when first asked for. The
 * views that live stand in a weak table, by the endpoint's address; a view holds a reference, so an
 * address is not used again while its view can be found.
 */
#include "script/bind_endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/registry.h"
#include "script/luax.h"
#include "script/state.h"

#define TYPE "neap.endpoint"
#define MAX_ITEMS 1024 /* of tags or metadata that are read at all; the registry allows fewer */

enum { UV_TAGS = 1, UV_META = 2 };

static const char views_key; /* of the weak table in the Lua registry */

enum field {
    F_NONE,
    F_ID,
    F_NAME,
    F_SERVICE,
    F_ADDRESS,
    F_HOST,
    F_PORT,
    F_PATH,
    F_WEIGHT,
    F_ZONE,
    F_TAGS,
    F_META,
    F_ACTIVE,
    F_TOTAL,
    F_ERRORS,
    F_EWMA,
    F_COST,
};
static const char *const field_names[] = {
    NULL,   "id",   "name", "service", "address", "host",   "port", "path", "weight",
    "zone", "tags", "meta", "active",  "total",   "errors", "ewma", "cost",
};

/* Another object's finalizer may still reach a view whose own has run. */
static void check_alive(lua_State *L, const struct np_endpoint_view *v)
{
    if (v->e == NULL) np_misuse(L, "this endpoint was collected");
}

struct np_endpoint_view *np_endpoint_check(lua_State *L, int idx)
{
    struct np_endpoint_view *v = luaL_checkudata(L, idx, TYPE);
    check_alive(L, v);
    return v;
}

struct np_endpoint_view *np_endpoint_test(lua_State *L, int idx)
{
    struct np_endpoint_view *v = luaL_testudata(L, idx, TYPE);
    return v != NULL && v->e != NULL ? v : NULL;
}

static int push_tags(lua_State *L, const struct np_endpoint *e)
{
    if (lua_getiuservalue(L, 1, UV_TAGS) == LUA_TTABLE) return 1;
    lua_createtable(L, (int)e->ntags, 0);
    for (size_t i = 0; i < e->ntags; i++) {
        lua_pushstring(L, e->tags[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, UV_TAGS);
    return 1;
}

static int push_meta(lua_State *L, const struct np_endpoint *e)
{
    if (lua_getiuservalue(L, 1, UV_META) == LUA_TTABLE) return 1;
    lua_createtable(L, 0, (int)e->nmeta);
    for (size_t i = 0; i < e->nmeta; i++) {
        lua_pushstring(L, e->meta[i].value);
        lua_setfield(L, -2, e->meta[i].key);
    }
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, UV_META);
    return 1;
}

static int push_text(lua_State *L, const char *s)
{
    if (s == NULL) return lua_pushnil(L), 1;
    lua_pushstring(L, s);
    return 1;
}

static int push_count(lua_State *L, uint64_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

static int push_seconds(lua_State *L, double ns)
{
    lua_pushnumber(L, ns / 1e9);
    return 1;
}

static int push_field(lua_State *L, const struct np_endpoint *e, enum field f)
{
    switch (f) {
    case F_ID:
        return push_text(L, e->id);
    case F_NAME:
    case F_SERVICE:
        return push_text(L, e->service);
    case F_ADDRESS:
        return push_text(L, e->address);
    case F_HOST:
        return push_text(L, e->host);
    case F_PORT:
        return e->host ? push_count(L, e->port) : push_text(L, NULL);
    case F_PATH:
        return push_text(L, e->path);
    case F_WEIGHT:
        return push_count(L, e->weight);
    case F_ZONE:
        return push_text(L, e->zone);
    case F_TAGS:
        return push_tags(L, e);
    case F_META:
        return push_meta(L, e);
    case F_ACTIVE:
        return push_count(L, np_endpoint_active(e));
    case F_TOTAL:
        return push_count(L, np_endpoint_total(e));
    case F_ERRORS:
        return push_count(L, np_endpoint_errors(e));
    case F_EWMA:
        return push_seconds(L, np_endpoint_ewma(e));
    case F_COST:
        return push_seconds(L, np_endpoint_cost(e, np_loop_now(np_script_of(L)->loop)));
    case F_NONE:
        break;
    }
    lua_pushnil(L);
    return 1;
}

/* The upvalue gives a field's number, or a method. */
static int endpoint_index(lua_State *L)
{
    struct np_endpoint_view *v = lua_touserdata(L, 1);
    lua_pushvalue(L, 2);
    int type = lua_rawget(L, lua_upvalueindex(1));
    if (type != LUA_TNUMBER) return 1;
    check_alive(L, v);
    return push_field(L, v->e, (enum field)lua_tointeger(L, -1));
}

static int endpoint_has_tag(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    lua_pushboolean(L, np_endpoint_has_tag(v->e, luaL_checkstring(L, 2)));
    return 1;
}

static int endpoint_eq(lua_State *L)
{
    struct np_endpoint_view *a = np_endpoint_test(L, 1);
    struct np_endpoint_view *b = np_endpoint_test(L, 2);
    lua_pushboolean(L, a && b && np_endpoint_same(a->e, b->e));
    return 1;
}

static int endpoint_tostring(lua_State *L)
{
    struct np_endpoint_view *v = luaL_checkudata(L, 1, TYPE);
    if (v->e == NULL) return lua_pushliteral(L, "neap.endpoint: collected"), 1;
    lua_pushfstring(L, "neap.endpoint: %s (%s)", v->e->id, v->e->address);
    return 1;
}

/* What a script picked and forgot ends here, so that it does not count as busy for ever. */
static int endpoint_gc(lua_State *L)
{
    struct np_endpoint_view *v = lua_touserdata(L, 1);
    if (v->e == NULL) return 0;
    struct np_result r = np_result_of(NP_OUTCOME_CANCELED, -1);
    for (; v->picks > 0; v->picks--) {
        np_endpoint_end(v->e, &r, 0);
        np_endpoint_unref(v->e);
    }
    np_endpoint_unref(v->e);
    v->e = NULL;
    return 0;
}

static void make_type(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__eq", endpoint_eq},
                                    {"__tostring", endpoint_tostring},
                                    {"__gc", endpoint_gc},
                                    {NULL, NULL}};
    luaL_setfuncs(L, meta, 0);
    lua_createtable(L, 0, 20);
    for (int f = F_ID; f <= F_COST; f++) {
        lua_pushinteger(L, f);
        lua_setfield(L, -2, field_names[f]);
    }
    lua_pushcfunction(L, endpoint_has_tag);
    lua_setfield(L, -2, "has_tag");
    lua_pushcclosure(L, endpoint_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void np_endpoint_open(lua_State *L)
{
    if (luaL_newmetatable(L, TYPE)) {
        make_type(L);
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &views_key);
    }
    lua_pop(L, 1);
}

static struct np_endpoint_view *push_empty(lua_State *L)
{
    struct np_endpoint_view *v = lua_newuserdatauv(L, sizeof *v, 2);
    *v = (struct np_endpoint_view){NULL, 0};
    luaL_setmetatable(L, TYPE);
    return v;
}

struct np_endpoint_view *np_endpoint_push_new(lua_State *L, const struct np_endpoint_desc *d,
                                              struct np_stats *stats, struct neap_errinfo *info)
{
    struct np_registry *r = np_script_of(L)->registry;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &views_key);
    struct np_endpoint_view *v = push_empty(L);
    enum neap_err err = np_endpoint_new(d, stats, &v->e, info);
    if (err == NEAP_OK && stats == NULL && r != NULL) {
        err = np_endpoint_share_stats(v->e, np_registry_stats(r), false);
        if (err != NEAP_OK) np_err_plain(info, err);
    }
    if (err != NEAP_OK) {
        lua_pop(L, 2);
        return NULL;
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, v->e);
    lua_remove(L, -2);
    return v;
}

static int make_view(lua_State *L)
{
    struct np_endpoint *e = lua_touserdata(L, 1);
    struct np_endpoint_view *v = push_empty(L);
    v->e = np_endpoint_ref(e);
    return 1;
}

struct np_endpoint_view *np_endpoint_push(lua_State *L, struct np_endpoint *e)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &views_key);
    if (lua_rawgetp(L, -1, e) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, make_view);
    lua_pushlightuserdata(L, np_endpoint_ref(e)); /* a finaliser may drop whose it is */
    int status = lua_pcall(L, 1, 1, 0);
    np_endpoint_unref(e);
    if (status != LUA_OK) lua_error(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, e);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

void np_endpoint_push_all(lua_State *L, const struct np_snapshot *set)
{
    lua_createtable(L, (int)set->len, 0);
    for (size_t i = 0; i < set->len; i++) {
        np_endpoint_push(L, set->endpoints[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* The string at the top, which stays there. */
static const char *text_at_top(lua_State *L, const char *path, const char *key)
{
    size_t n = 0;
    if (lua_type(L, -1) != LUA_TSTRING) {
        np_misuse(L, "%s%s: expected string, got %s", path, key, luaL_typename(L, -1));
    }
    const char *s = lua_tolstring(L, -1, &n);
    if (strlen(s) != n) np_misuse(L, "%s%s: must not contain a NUL byte", path, key);
    return s;
}

static bool table_or_none(lua_State *L, int idx, const char *path)
{
    if (lua_isnoneornil(L, idx)) return false;
    if (!lua_istable(L, idx)) {
        np_misuse(L, "%s: expected table, got %s", path, luaL_typename(L, idx));
    }
    return true;
}

void np_endpoint_read_tags(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d)
{
    d->tags = NULL;
    d->ntags = 0;
    if (!table_or_none(L, idx, path)) {
        lua_pushnil(L);
        return;
    }
    idx = lua_absindex(L, idx);
    size_t n = lua_rawlen(L, idx);
    if (n > MAX_ITEMS) np_misuse(L, "%s: more than %d items", path, MAX_ITEMS);
    const char **tags = lua_newuserdatauv(L, (n + 1) * sizeof *tags, 0);
    for (size_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "[%zu]", i + 1);
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        tags[i] = text_at_top(L, path, key);
        lua_pop(L, 1);
    }
    d->tags = tags;
    d->ntags = n;
}

static size_t count_pairs(lua_State *L, int idx, const char *path)
{
    size_t n = 0;
    lua_pushnil(L);
    for (; lua_next(L, idx); n++) {
        if (lua_type(L, -2) != LUA_TSTRING) np_misuse(L, "%s: keys must be strings", path);
        lua_pop(L, 1);
    }
    if (n > MAX_ITEMS) np_misuse(L, "%s: more than %d items", path, MAX_ITEMS);
    return n;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct np_pair *)a)->key, ((const struct np_pair *)b)->key);
}

/* Sorted by key, so that one table always gives the same description. */
void np_endpoint_read_meta(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d)
{
    d->meta = NULL;
    d->nmeta = 0;
    if (!table_or_none(L, idx, path)) {
        lua_pushnil(L);
        return;
    }
    idx = lua_absindex(L, idx);
    size_t n = count_pairs(L, idx, path);
    struct np_pair *meta = lua_newuserdatauv(L, (n + 1) * sizeof *meta, 0);
    size_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        char key[80];
        const char *name = lua_tostring(L, -2);
        snprintf(key, sizeof key, ".%.70s", name);
        if (strlen(name) != lua_rawlen(L, -2)) np_misuse(L, "%s: a key has a NUL byte", path);
        if (i == n) np_misuse(L, "%s: it changed while it was read", path); /* by a finaliser */
        meta[i++] = (struct np_pair){name, text_at_top(L, path, key)};
        lua_pop(L, 1);
    }
    qsort(meta, i, sizeof *meta, by_key);
    d->meta = meta;
    d->nmeta = i;
}
