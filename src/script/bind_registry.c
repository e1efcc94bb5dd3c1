/* neap.core.registry: registering, looking up, watching. What can be said in Lua, and the registry
 * of another process, stand in lua/neap/registry.lua and lua/neap/registry/.
 */
#include <string.h>

#include "mesh/view.h"
#include "script/bind_endpoint.h"
#include "script/bind_registration.h"
#include "script/bind_watch.h"
#include "script/luax.h"
#include "script/modules.h"

#define DEFAULT_TTL (10 * NP_NS_PER_SEC)

static struct np_registry *registry_of(lua_State *L)
{
    struct np_registry *r = np_script_of(L)->registry;
    if (r == NULL) np_misuse(L, "this host has no registry");
    return r;
}

static int64_t now_of(lua_State *L)
{
    return np_loop_now(np_script_of(L)->loop);
}

/* register{name=, address=, id=, ttl=, weight=, zone=, tags=, meta=} → registration | nil, err: it
 * renews its own lease. */
static int registry_register(lua_State *L)
{
    struct np_registration reg = {.ttl = DEFAULT_TTL};
    registry_of(L);
    lua_settop(L, 1);
    np_registration_read(L, 1, false, &reg);
    return np_registration_new(L, lua_touserdata(L, lua_upvalueindex(1)), &reg);
}

static int push_endpoint(lua_State *L)
{
    np_endpoint_push(L, lua_touserdata(L, 1));
    return 1;
}

/* Pushes it and drops the reference, whatever the pushing raises. */
static int take_endpoint(lua_State *L, struct np_endpoint *e)
{
    lua_pushlightuserdata(L, e);
    int status = lua_pcall(L, 1, 1, 0);
    np_endpoint_unref(e);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* put{the same} → endpoint | nil, err: a lease that somebody else renews, by heartbeat(id). */
static int registry_put(lua_State *L)
{
    struct np_registration reg = {.ttl = DEFAULT_TTL};
    struct neap_errinfo info = {0};
    struct np_endpoint *e = NULL;
    struct np_registry *r = registry_of(L);
    lua_settop(L, 1);
    np_registration_read(L, 1, false, &reg);
    luaL_checkstack(L, 4, NULL);
    lua_pushcfunction(L, push_endpoint);
    np_registry_lock(r);
    enum neap_err err = np_registry_register(r, &reg, now_of(L), &e, &info);
    if (err == NEAP_OK) np_endpoint_ref(e);
    np_registry_unlock(r);
    return err == NEAP_OK ? take_endpoint(L, e) : np_fail_info(L, &info);
}

/* mirror{the same} or mirror(id) → endpoint | nil, err: another process's instance, which stands
 * for as long as a state of this process mirrors it. */
static int registry_mirror(lua_State *L)
{
    struct np_registration reg = {.ttl = 0};
    struct neap_errinfo info = {0};
    struct np_endpoint *e = NULL;
    struct np_script *s = np_script_of(L);
    struct np_registry *r = registry_of(L);
    const char *id = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    lua_settop(L, 1);
    if (id == NULL) np_registration_read(L, 1, false, &reg);
    if (id == NULL && reg.desc.id == NULL) np_misuse(L, "opts.id: required");
    luaL_checkstack(L, 4, NULL);
    lua_pushcfunction(L, push_endpoint);
    np_registry_lock(r);
    struct np_endpoint *now = id ? np_registry_get(r, id, &reg.ttl, NULL) : NULL;
    enum neap_err err = id && !now ? NEAP_ENOTFOUND : NEAP_OK;
    if (now != NULL) reg.desc = np_endpoint_describe(np_endpoint_ref(now));
    reg.foreign = true;
    if (err == NEAP_OK) err = np_registry_join(r, &reg, s, s->worker, now_of(L), &e, &info);
    np_endpoint_unref(now);
    np_registry_unlock(r);
    if (err == NEAP_ENOTFOUND) return np_fail(L, err, "no endpoint '%s'", id);
    return err == NEAP_OK ? take_endpoint(L, e) : np_fail_info(L, &info);
}

static int result(lua_State *L, enum neap_err err, const char *id)
{
    if (err == NEAP_ENOTFOUND) return np_fail(L, err, "no endpoint '%s'", id);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* deregister(id) → true | nil, err */
static int registry_deregister(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1);
    return result(L, np_registry_deregister(registry_of(L), id), id);
}

/* forget(id) → true | nil, err: this state mirrors it no longer. */
static int registry_forget(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1);
    return result(L, np_registry_leave(registry_of(L), id, np_script_of(L)), id);
}

/* origin(id) → "own" (registered in this process, by any worker), "mirrored", "put" | nil */
static int registry_origin(lua_State *L)
{
    static const char *const names[] = {NULL, "put", "own", "mirrored"};
    lua_pushstring(L, names[np_registry_origin(registry_of(L), luaL_checkstring(L, 1))]);
    return 1;
}

/* heartbeat(id) → true | nil, err */
static int registry_heartbeat(lua_State *L)
{
    const char *id = luaL_checkstring(L, 1);
    return result(L, np_registry_heartbeat(registry_of(L), id, now_of(L)), id);
}

static struct np_registry_view *view_of(lua_State *L)
{
    registry_of(L);
    return np_script_of(L)->view;
}

/* --- snapshots: lists that do not change, made once for each change of a service */

#define SNAPSHOT "neap.endpoints"
#define MAX_SNAPSHOTS 4096 /* remembered in a state */

/* Its user value is the list of endpoints. */
struct list {
    struct np_snapshot *set; /* NULL before it is filled, and once collected */
};

static struct list *check_list(lua_State *L)
{
    struct list *l = luaL_checkudata(L, 1, SNAPSHOT);
    /* Another object's finalizer may still reach it. */
    if (l->set == NULL) np_misuse(L, "this snapshot was collected");
    return l;
}

static int list_index(lua_State *L)
{
    struct list *l = check_list(L);
    if (lua_isinteger(L, 2)) {
        lua_getiuservalue(L, 1, 1);
        lua_rawgeti(L, -1, lua_tointeger(L, 2));
    } else if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "index") == 0) {
        lua_pushinteger(L, (lua_Integer)l->set->index);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int list_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_list(L)->set->len);
    return 1;
}

static int list_gc(lua_State *L)
{
    struct list *l = luaL_checkudata(L, 1, SNAPSHOT);
    np_snapshot_unref(l->set);
    l->set = NULL;
    return 0;
}

static int list_tostring(lua_State *L)
{
    struct list *l = luaL_checkudata(L, 1, SNAPSHOT);
    lua_pushfstring(L, "neap.endpoints: %d at %I", (int)(l->set ? l->set->len : 0),
                    (LUAI_UACINT)(l->set ? l->set->index : 0));
    return 1;
}

static int read_only(lua_State *L)
{
    return np_misuse(L, "a snapshot of the registry cannot be changed: use lookup for a list of "
                        "one's own");
}

/* Upvalue 1: the lists that are remembered by name, how many at 0. */
static void count_list(lua_State *L)
{
    lua_Integer count = (lua_rawgeti(L, lua_upvalueindex(1), 0), lua_tointeger(L, -1)) + 1;
    lua_pop(L, 1);
    if (count > MAX_SNAPSHOTS) {
        count = 1;
        lua_pushnil(L);
        while (lua_next(L, lua_upvalueindex(1))) {
            lua_pop(L, 1);
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, lua_upvalueindex(1));
        }
    }
    lua_pushinteger(L, count);
    lua_rawseti(L, lua_upvalueindex(1), 0);
}

/* Stack: the name at 1. Pushes a new list and remembers it. */
static enum neap_err new_list(lua_State *L, struct np_registry_view *view)
{
    struct np_snapshot *set = NULL;
    struct list *l = lua_newuserdatauv(L, sizeof *l, 1);
    l->set = NULL;
    luaL_setmetatable(L, SNAPSHOT);
    /* Asked again: making it may have run finalizers, and those look up as well. */
    enum neap_err err = np_registry_view_lookup(view, lua_tostring(L, 1), &set);
    if (err != NEAP_OK) return err;
    l->set = np_snapshot_ref(set);
    np_endpoint_push_all(L, l->set);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) count_list(L);
    lua_pop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return NEAP_OK;
}

/* Stack: the name at 1. Pushes the list as it is now; it may raise. */
static enum neap_err push_list(lua_State *L)
{
    struct np_snapshot *set = NULL;
    struct np_registry_view *view = view_of(L);
    enum neap_err err = np_registry_view_lookup(view, lua_tostring(L, 1), &set);
    if (err != NEAP_OK) return err;
    lua_pushvalue(L, 1);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TUSERDATA) {
        struct list *l = lua_touserdata(L, -1);
        if (l->set == set) return NEAP_OK;
    }
    return new_list(L, view);
}

/* snapshot(name) → endpoints | nil, err: read-only, the same object until the service changes */
static int registry_snapshot(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    enum neap_err err = push_list(L);
    return err == NEAP_OK ? 1 : np_fail(L, err, NULL);
}

static bool has_tags(const struct np_endpoint *e, const struct np_endpoint_desc *wanted)
{
    for (size_t i = 0; i < wanted->ntags; i++) {
        if (!np_endpoint_has_tag(e, wanted->tags[i])) return false;
    }
    return true;
}

/* lookup(name, [tags]) → array of endpoints, index | nil, err: a copy, the caller's own */
static int registry_lookup(lua_State *L)
{
    struct np_endpoint_desc wanted = {0};
    luaL_checkstring(L, 1);
    if (!lua_isnoneornil(L, 2)) np_endpoint_read_tags(L, 2, "tags", &wanted);
    enum neap_err err = push_list(L);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    const struct np_snapshot *set = ((struct list *)lua_touserdata(L, -1))->set;
    lua_Integer n = 0;
    lua_getiuservalue(L, -1, 1);
    lua_createtable(L, wanted.ntags ? 0 : (int)set->len, 0);
    for (size_t i = 0; i < set->len; i++) {
        if (wanted.ntags && !has_tags(set->endpoints[i], &wanted)) continue;
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        lua_rawseti(L, -2, ++n);
    }
    lua_pushinteger(L, (lua_Integer)set->index);
    return 2;
}

static void add_snapshot(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__index", list_index},       {"__newindex", read_only},
                                    {"__len", list_len},           {"__gc", list_gc},
                                    {"__tostring", list_tostring}, {NULL, NULL}};
    np_type_new(L, SNAPSHOT, NULL, meta);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, registry_snapshot, 1);
    lua_setfield(L, -3, "snapshot");
    lua_pushcclosure(L, registry_lookup, 1);
    lua_setfield(L, -2, "lookup");
}

/* get(id) → endpoint, seconds until its lease ends (nil: it has none) | nil */
static int registry_get(lua_State *L)
{
    int64_t expires = NP_TIME_NEVER;
    const char *id = luaL_checkstring(L, 1);
    struct np_registry *r = registry_of(L);
    luaL_checkstack(L, 4, NULL);
    lua_pushcfunction(L, push_endpoint);
    np_registry_lock(r);
    struct np_endpoint *e = np_registry_get(r, id, NULL, &expires);
    if (e != NULL) np_endpoint_ref(e);
    np_registry_unlock(r);
    if (e == NULL) return lua_pushnil(L), 1;
    take_endpoint(L, e);
    if (expires == NP_TIME_NEVER) return 1;
    int64_t left = expires - now_of(L);
    lua_pushnumber(L, np_to_seconds(left > 0 ? left : 0));
    return 2;
}

/* What is copied of a service while the registry is locked. */
struct row {
    size_t endpoints;
    uint64_t index;
    char name[256];
};

/* The rows as a userdata, pushed; how many there are. */
static size_t push_rows(lua_State *L, struct np_registry *r, struct row **out)
{
    struct np_service_info info;
    size_t room = 16, n = 0;
    for (bool all = false; !all; room *= 2) {
        struct row *rows = lua_newuserdatauv(L, room * sizeof *rows, 0);
        n = 0;
        np_registry_lock(r);
        size_t it = 0;
        while (n < room && np_registry_next_service(r, &it, &info)) {
            rows[n] = (struct row){.endpoints = info.endpoints, .index = info.index};
            size_t len = strnlen(info.name, sizeof rows[n].name - 1);
            memcpy(rows[n++].name, info.name, len);
        }
        all = n < room;
        np_registry_unlock(r);
        *out = rows;
    }
    return n;
}

/* services() → array of { name, endpoints, index } */
static int registry_services(lua_State *L)
{
    struct row *rows;
    size_t n = push_rows(L, registry_of(L), &rows);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, rows[i].name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, (lua_Integer)rows[i].endpoints);
        lua_setfield(L, -2, "endpoints");
        lua_pushinteger(L, (lua_Integer)rows[i].index);
        lua_setfield(L, -2, "index");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* index([name]) → the modify index, of a service or of all */
static int registry_index(lua_State *L)
{
    const char *name = luaL_optstring(L, 1, NULL);
    struct np_registry *r = registry_of(L);
    uint64_t index = name ? np_registry_service_index(r, name) : np_registry_index(r);
    lua_pushinteger(L, (lua_Integer)index);
    return 1;
}

/* registrations() → array of those that this state's scripts made */
static int registry_registrations(lua_State *L)
{
    return np_registrations_push(L, lua_touserdata(L, lua_upvalueindex(1)));
}

/* now() → seconds on the loop's clock */
static int registry_now(lua_State *L)
{
    lua_pushnumber(L, np_to_seconds(now_of(L)));
    return 1;
}

int np_open_registry(lua_State *L)
{
    static const luaL_Reg functions[] = {{"register", registry_register},
                                         {"put", registry_put},
                                         {"deregister", registry_deregister},
                                         {"heartbeat", registry_heartbeat},
                                         {"mirror", registry_mirror},
                                         {"forget", registry_forget},
                                         {"origin", registry_origin},
                                         {"get", registry_get},
                                         {"services", registry_services},
                                         {"index", registry_index},
                                         {"registrations", registry_registrations},
                                         {"watch", np_watch_new},
                                         {"hold", np_hold_new},
                                         {"now", registry_now},
                                         {NULL, NULL}};
    np_endpoint_open(L);
    np_watch_open(L);
    luaL_newlibtable(L, functions);
    np_registrations_open(L);
    luaL_setfuncs(L, functions, 1);
    add_snapshot(L);
    return 1;
}
