/* Endpoints as scripts see them; see bind_endpoint.h.
 *
 * A view has two user values: its tags and its metadata as tables, made when first asked for. The
 * views that live stand in a weak table, by the endpoint's address; a view holds a reference, so an
 * address is not used again while its view can be found.
 */
#include "script/bind_endpoint.h"

#include "base/clock.h"
#include "mesh/load_report.h"
#include "mesh/outlier.h"
#include "mesh/registry.h"
#include "mesh/selector.h"
#include "script/bind_endpoint_field.h"
#include "script/luax.h"
#include "script/state.h"

#define TYPE "neap.endpoint"

enum { UV_TAGS = 1, UV_META = 2 };

static const char views_key; /* of the weak table in the Lua registry */
const char np_field_map_key;

/* Another object's finalizer may still reach a view whose own has run. */
static void check_alive(lua_State *L, const struct np_endpoint_view *v)
{
    if (v->e == NULL) np_misuse(L, "this endpoint was collected");
}

/* A script cannot make a userdata, so what begins with this address is a view. */
static bool is_view(lua_State *L, int idx, const struct np_endpoint_view *v)
{
    return v != NULL && lua_rawlen(L, idx) == sizeof *v && v->type == &views_key;
}

struct np_endpoint_view *np_endpoint_check(lua_State *L, int idx)
{
    struct np_endpoint_view *v = lua_touserdata(L, idx);
    if (!is_view(L, idx, v)) v = luaL_checkudata(L, idx, TYPE); /* which raises */
    check_alive(L, v);
    return v;
}

struct np_endpoint_view *np_endpoint_test(lua_State *L, int idx)
{
    struct np_endpoint_view *v = lua_touserdata(L, idx);
    return is_view(L, idx, v) && v->e != NULL ? v : NULL;
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

/* Upvalues: the map of fields, the methods by name. */
static int endpoint_index(lua_State *L)
{
    struct np_endpoint_view *v = lua_touserdata(L, 1);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    enum np_field f =
        name ? np_field_find(lua_touserdata(L, lua_upvalueindex(1)), name) : NP_FIELD_NONE;
    if (f == NP_FIELD_NONE) {
        lua_settop(L, 2);
        lua_rawget(L, lua_upvalueindex(2));
        return 1;
    }
    check_alive(L, v);
    if (f == NP_FIELD_TAGS) return push_tags(L, v->e);
    if (f == NP_FIELD_META) return push_meta(L, v->e);
    np_field_push(L, v->e, f, np_script_now(np_script_of(L)));
    return 1;
}

static int endpoint_has_tag(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    lua_pushboolean(L, np_endpoint_has_tag(v->e, luaL_checkstring(L, 2)));
    return 1;
}

/* endpoint:eject(seconds): it gets no requests for so long, then one, which decides. */
static int endpoint_eject(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    int64_t span = np_check_seconds(L, 2, -1);
    if (span < 0) np_misuse(L, "eject: for how many seconds?");
    np_endpoint_eject(v->e, np_time_add(np_script_now(np_script_of(L)), span));
    return 0;
}

static double number_at(lua_State *L, int idx, const char *name)
{
    lua_getfield(L, idx, name);
    if (!lua_isnoneornil(L, -1) && lua_type(L, -1) != LUA_TNUMBER) {
        np_misuse(L, "report: %s: expected a number", name);
    }
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return v;
}

/* endpoint:report(header | { qps=, eps=, utilization= }) → whether it said anything */
static int endpoint_report(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    struct np_load_report r = {0};
    if (lua_type(L, 2) == LUA_TTABLE) {
        r.qps = number_at(L, 2, "qps");
        r.eps = number_at(L, 2, "eps");
        r.utilization = number_at(L, 2, "utilization");
    } else {
        size_t n;
        const char *text = luaL_checklstring(L, 2, &n);
        (void)np_load_report_parse(text, n, &r);
    }
    bool says = r.qps > 0 && r.utilization > 0;
    if (says) {
        np_endpoint_report(v->e, r.qps, r.eps, r.utilization, np_script_now(np_script_of(L)));
    }
    lua_pushboolean(L, says);
    return 1;
}

/* endpoint:readmit(): at once. */
static int endpoint_readmit(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    np_endpoint_readmit(v->e, np_script_now(np_script_of(L)));
    return 0;
}

static bool flag_at(lua_State *L, int idx)
{
    if (lua_isnoneornil(L, idx)) return true;
    luaL_checktype(L, idx, LUA_TBOOLEAN);
    return lua_toboolean(L, idx);
}

/* endpoint:drain([on]): it gets no new requests; drain(false) ends that. */
static int endpoint_drain(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    np_endpoint_set_draining(v->e, flag_at(L, 2));
    return 0;
}

/* endpoint:set_healthy([healthy]): what a check of one's own found. */
static int endpoint_set_healthy(lua_State *L)
{
    struct np_endpoint_view *v = np_endpoint_check(L, 1);
    np_endpoint_set_healthy(v->e, flag_at(L, 2), np_script_now(np_script_of(L)));
    return 0;
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
    if (v->trials > 0) np_trial_end(v->e, &r, 0);
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
    static const luaL_Reg methods[] = {{"has_tag", endpoint_has_tag},
                                       {"eject", endpoint_eject},
                                       {"readmit", endpoint_readmit},
                                       {"drain", endpoint_drain},
                                       {"set_healthy", endpoint_set_healthy},
                                       {"report", endpoint_report},
                                       {NULL, NULL}};
    luaL_setfuncs(L, meta, 0);
    (void)np_field_map_push(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &np_field_map_key);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, endpoint_index, 2);
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
        np_endpoint_array_open(L);
    }
    lua_pop(L, 1);
}

static struct np_endpoint_view *push_empty(lua_State *L)
{
    struct np_endpoint_view *v = lua_newuserdatauv(L, sizeof *v, 2);
    *v = (struct np_endpoint_view){.type = &views_key};
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
