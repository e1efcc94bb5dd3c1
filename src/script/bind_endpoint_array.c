/* Arrays of endpoints (np_endpoint_push_all): views by number, and whole columns of their fields.
 *
 * `endpoints.active` is a table of numbers, one for each endpoint, read in one call: a scan over it
 * costs a tenth of as many reads of fields. Each access reads anew, into the same table; columns
 * that never change are read once. `endpoints:least("active")` scans in C.
 *
 * An array's metatable has its __index with three upvalues: the set (a userdata that references
 * the snapshot), the map of fields, the table of columns made so far. The set stands at [1] in the
 * metatable, for the methods.
 */
#include <string.h>

#include "mesh/balancer_draw.h"
#include "script/bind_endpoint.h"
#include "script/bind_endpoint_field.h"
#include "script/luax.h"
#include "script/state.h"

#define SET "neap.endpoint.set"

struct set {
    const void *type; /* says that it is one, as in np_endpoint_view */
    struct np_snapshot *snapshot;
    uint64_t *last[NP_FIELDS]; /* of columns: what the table has, so that only what has changed is
                                  written; in userdata that stand beside it */
};

static const char type_key;

static int set_gc(lua_State *L)
{
    struct set *s = luaL_checkudata(L, 1, SET);
    np_snapshot_unref(s->snapshot);
    s->snapshot = NULL;
    return 0;
}

/* A number as a word, to see whether it is another. */
static uint64_t word_of(const struct np_endpoint *e, enum np_field f, int64_t now)
{
    uint64_t word = 0;
    if (f == NP_FIELD_ACTIVE) return np_endpoint_active(e);
    double n = np_field_number(e, f, now);
    memcpy(&word, &n, sizeof word);
    return word;
}

/* The column at the top. */
static void fill_column(lua_State *L, const struct set *s, enum np_field f)
{
    const struct np_snapshot *set = s->snapshot;
    uint64_t *last = s->last[f];
    int64_t now = f == NP_FIELD_ACTIVE ? 0 : np_loop_now(np_script_of(L)->loop);
    for (size_t i = 0; i < set->len; i++) {
        if (last != NULL) {
            uint64_t word = word_of(set->endpoints[i], f, now);
            if (word == last[i]) continue;
            last[i] = word;
        }
        np_field_push(L, set->endpoints[i], f, now);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Pushes the table of a column that was not asked for yet. */
static void make_column(lua_State *L, struct set *s, enum np_field f)
{
    size_t n = s->snapshot->len;
    lua_createtable(L, (int)n, 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, lua_upvalueindex(3), f);
    if (!np_field_is_number(f) || np_field_is_fixed(f) || n == 0) return;
    uint64_t *last = lua_newuserdatauv(L, n * sizeof *last, 0);
    memset(last, 0xff, n * sizeof *last); /* no number that a field has */
    lua_rawseti(L, lua_upvalueindex(3), -(lua_Integer)f);
    s->last[f] = last;
}

/* The array's own: its __index closure is all that Lua calls here. */
static int array_index(lua_State *L)
{
    struct set *s = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) return lua_pushnil(L), 1;
    enum np_field f = np_field_find(lua_touserdata(L, lua_upvalueindex(2)), lua_tostring(L, 2));
    if (f == NP_FIELD_NONE) {
        lua_settop(L, 2);
        lua_rawget(L, lua_upvalueindex(4));
        return 1;
    }
    if (f == NP_FIELD_TAGS || f == NP_FIELD_META || s->snapshot == NULL) {
        return lua_pushnil(L), 1;
    }
    bool made = lua_rawgeti(L, lua_upvalueindex(3), f) == LUA_TTABLE;
    if (made && np_field_is_fixed(f)) return 1;
    if (!made) {
        lua_pop(L, 1);
        make_column(L, s, f);
    }
    fill_column(L, s, f);
    return 1;
}

const struct np_snapshot *np_endpoint_array(lua_State *L, int idx)
{
    struct set *s = NULL;
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx)) return NULL;
    if (lua_rawgeti(L, -1, 1) == LUA_TUSERDATA) s = lua_touserdata(L, -1);
    bool is = s != NULL && lua_rawlen(L, -1) == sizeof *s && s->type == &type_key;
    lua_pop(L, 2);
    return is ? s->snapshot : NULL;
}

static const struct np_snapshot *check_array(lua_State *L)
{
    const struct np_snapshot *set = np_endpoint_array(L, 1);
    if (set == NULL) np_misuse(L, "expected an array of endpoints, got %s", luaL_typename(L, 1));
    return set;
}

static bool is_among(lua_State *L, int idx, const struct np_endpoint *e)
{
    size_t n = lua_rawlen(L, idx);
    bool found = false;
    for (size_t i = 0; i < n && !found; i++) {
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        found = np_endpoint_same(np_endpoint_check(L, -1)->e, e);
        lua_pop(L, 1);
    }
    return found;
}

struct scan {
    const struct np_snapshot *set;
    enum np_field field;
    int64_t now;
    int excluded; /* where the table of those is; 0: none */
};

static double value_at(const struct scan *s, size_t i)
{
    const struct np_endpoint *e = s->set->endpoints[i];
    if (s->field == NP_FIELD_ACTIVE) return np_endpoint_active(e);
    return np_field_number(e, s->field, s->now);
}

/* The k-th of those with the least value, counted from 0; `*equals`: how many there are. */
static size_t find_least(lua_State *L, const struct scan *s, uint32_t k, double *least,
                         uint32_t *equals)
{
    size_t found = NP_NONE;
    *equals = 0;
    for (size_t i = 0; i < s->set->len; i++) {
        double value = value_at(s, i);
        if (found != NP_NONE && value > *least) continue;
        if (s->excluded && is_among(L, s->excluded, s->set->endpoints[i])) continue;
        if (found != NP_NONE && value == *least) {
            if (++*equals <= k + 1) found = i;
            continue;
        }
        found = i;
        *least = value;
        *equals = 1;
    }
    return found;
}

/* endpoints:least(field, [exclude]) → endpoint, its place, the value; nil if there is none. Among
 * equals by chance. */
static int array_least(lua_State *L)
{
    struct np_script *script = np_script_of(L);
    struct scan s = {.set = check_array(L)};
    double least = 0;
    uint32_t equals = 0;
    lua_settop(L, 3);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &np_field_map_key);
    s.field = np_field_find(lua_touserdata(L, -1), luaL_checkstring(L, 2));
    if (!np_field_is_number(s.field)) {
        return np_misuse(L, "least: '%s' is no number", lua_tostring(L, 2));
    }
    if (!lua_isnil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        s.excluded = 3;
    }
    s.now = np_loop_now(script->loop);
    size_t best = find_least(L, &s, 0, &least, &equals);
    if (best == NP_NONE) return lua_pushnil(L), 1;
    if (equals > 1) best = find_least(L, &s, np_rng_below(&script->rng, equals), &least, &equals);
    lua_rawgeti(L, 1, (lua_Integer)best + 1);
    lua_pushinteger(L, (lua_Integer)best + 1);
    np_field_push(L, s.set->endpoints[best], s.field, s.now);
    return 3;
}

static void push_methods(lua_State *L)
{
    static const luaL_Reg methods[] = {{"least", array_least}, {NULL, NULL}};
    static const char methods_key;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &methods_key) == LUA_TTABLE) return;
    lua_pop(L, 1);
    luaL_newlib(L, methods);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &methods_key);
}

void np_endpoint_array_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", set_gc}, {NULL, NULL}};
    np_type_new(L, SET, methods, meta);
}

/* Arguments: the array, the set. Gives the array a metatable. */
static int set_metatable(lua_State *L)
{
    lua_createtable(L, 1, 2);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &np_field_map_key);
    lua_newtable(L);
    push_methods(L);
    lua_pushcclosure(L, array_index, 4);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

/* Argument: the snapshot, which the caller holds. */
static int make_array(lua_State *L)
{
    struct np_snapshot *snapshot = lua_touserdata(L, 1);
    lua_createtable(L, (int)snapshot->len, 0);
    struct set *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct set){.type = &type_key};
    luaL_setmetatable(L, SET);
    s->snapshot = np_snapshot_ref(snapshot);
    lua_replace(L, 1);
    lua_insert(L, 1);
    (void)set_metatable(L);
    for (size_t i = 0; i < snapshot->len; i++) {
        np_endpoint_push(L, snapshot->endpoints[i]);
        lua_rawseti(L, 1, (lua_Integer)i + 1);
    }
    return 1;
}

void np_endpoint_push_held(lua_State *L, struct np_snapshot *set)
{
    if (!lua_checkstack(L, 4)) {
        np_snapshot_unref(set);
        luaL_error(L, "stack overflow");
    }
    lua_pushcfunction(L, make_array);
    lua_pushlightuserdata(L, set);
    int status = lua_pcall(L, 1, 1, 0);
    np_snapshot_unref(set);
    if (status != LUA_OK) lua_error(L);
}

void np_endpoint_push_all(lua_State *L, const struct np_snapshot *set)
{
    np_endpoint_push_held(L, np_snapshot_ref((struct np_snapshot *)set));
}
