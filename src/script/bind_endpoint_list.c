/* Lists of endpoints that a script writes down; see bind_endpoint_list.h. */
#include "script/bind_endpoint_list.h"

#include <stdio.h>

#include "mesh/registry.h"
#include "script/bind_endpoint.h"
#include "script/luax.h"
#include "script/state.h"

struct entry {
    const char *id, *address, *zone;
    int weight;
};

static const struct np_opt entry_list[] = {
    {"id", NP_OPT_STRING, offsetof(struct entry, id), 0, 0},
    {"address", NP_OPT_STRING, offsetof(struct entry, address), 0, 0},
    {"weight", NP_OPT_INT, offsetof(struct entry, weight), 1, NP_WEIGHT_MAX},
    {"zone", NP_OPT_STRING, offsetof(struct entry, zone), 0, 0},
    {"tags", NP_OPT_TABLE, 0, 0, 0},
    {"meta", NP_OPT_TABLE, 0, 0, 0},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

/* What is known of a list while it is read: in tables, for it may be long, and reading may raise.
 */
struct reading {
    int old;  /* where the stack has: id → statistics of those there were */
    int seen; /* … ids and statistics of those that were read → true */
};

static void begin_reading(lua_State *L, const struct np_snapshot *old, struct reading *r)
{
    lua_newtable(L);
    r->old = lua_gettop(L);
    for (size_t i = 0; old != NULL && i < old->len; i++) {
        lua_pushlightuserdata(L, old->endpoints[i]->stats);
        lua_setfield(L, r->old, old->endpoints[i]->id);
    }
    lua_newtable(L);
    r->seen = lua_gettop(L);
}

static struct np_stats *stats_of(lua_State *L, const struct reading *r, const char *id)
{
    lua_getfield(L, r->old, id);
    struct np_stats *stats = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return stats;
}

/* Two entries of one list are two instances, even at the same address. */
static void set_apart(lua_State *L, const struct reading *r, struct np_endpoint *e, size_t i)
{
    struct np_registry *reg = np_script_of(L)->registry;
    bool shared = lua_rawgetp(L, r->seen, e->stats) != LUA_TNIL;
    lua_pop(L, 1);
    if (reg == NULL || !shared) return;
    if (np_endpoint_share_stats(e, np_registry_stats(reg), true) == NEAP_OK) return;
    np_misuse(L, "endpoints[%d]: %s", (int)i + 1, neap_err_text(NEAP_ENOMEM));
}

static void note(lua_State *L, const struct reading *r, const struct np_endpoint *e,
                 const char *path)
{
    if (lua_getfield(L, r->seen, e->id) != LUA_TNIL) np_misuse(L, "%s: '%s' twice", path, e->id);
    lua_pop(L, 1);
    lua_pushboolean(L, true);
    lua_setfield(L, r->seen, e->id);
    lua_pushboolean(L, true);
    lua_rawsetp(L, r->seen, e->stats);
}

/* The entry at the top (an endpoint, an address, or a table) becomes the view of an endpoint. Those
 * that were there before, by their id, keep their statistics. */
static struct np_endpoint *read_entry(lua_State *L, const char *path, const struct reading *r)
{
    struct np_endpoint_desc d = {.service = ""};
    struct entry o = {.weight = 1};
    struct neap_errinfo info = {0};
    int at = lua_gettop(L);
    struct np_endpoint_view *v = np_endpoint_test(L, at);
    if (v != NULL) return v->e;
    if (lua_type(L, at) == LUA_TSTRING) {
        o.address = lua_tostring(L, at);
    } else {
        luaL_checkstack(L, 12, NULL);
        np_opts_read(L, at, path, entry_list, &o);
        lua_getfield(L, at, "tags");
        np_endpoint_read_tags(L, -1, path, &d);
        lua_getfield(L, at, "meta");
        np_endpoint_read_meta(L, -1, path, &d);
    }
    if (o.address == NULL) np_misuse(L, "%s.address: required", path);
    d.address = o.address;
    d.id = o.id ? o.id : o.address;
    d.zone = o.zone;
    d.weight = (uint32_t)o.weight;
    v = np_endpoint_push_new(L, &d, stats_of(L, r, d.id), &info);
    if (v == NULL) {
        np_misuse(L, "%s: %s", path, info.message);
        return NULL;
    }
    lua_replace(L, at);
    lua_settop(L, at);
    return v->e;
}

struct np_snapshot *np_endpoint_read_list(lua_State *L, int idx, const struct np_snapshot *old)
{
    struct np_snapshot *set = NULL;
    size_t n = lua_rawlen(L, idx);
    struct np_endpoint **v = lua_newuserdatauv(L, (n + 1) * sizeof(struct np_endpoint *), 0);
    lua_createtable(L, (int)n, 0); /* keeps the views until the snapshot stands */
    int views = lua_gettop(L);
    struct reading r;
    begin_reading(L, old, &r);
    for (size_t i = 0; i < n; i++) {
        char path[48];
        snprintf(path, sizeof path, "endpoints[%zu]", i + 1);
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        bool is_given = np_endpoint_test(L, -1) != NULL;
        v[i] = read_entry(L, path, &r);
        if (!is_given) set_apart(L, &r, v[i], i);
        note(L, &r, v[i], path);
        lua_rawseti(L, views, (lua_Integer)i + 1);
    }
    enum neap_err err = np_snapshot_new(v, n, 0, &set);
    return err == NEAP_OK ? set : NULL;
}
