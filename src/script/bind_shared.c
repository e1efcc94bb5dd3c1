/* neap.core.shared: maps that all workers of a host share (mesh/shared_map.h). */
#include <math.h>
#include <string.h>

#include "mesh/shared_map.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/runtime.h"
#include "script/state.h"

#define TYPE "neap.shared"
#define MAX_NAME 128
#define MANY_KEYS 1024

struct box {
    struct np_shared_map *map;
    struct np_buf room; /* what a string is copied to on its way out */
};

/* What the state has for itself where there is no host. */
struct own {
    struct np_at_close at_close;
    struct np_shared_maps *maps;
};

/* Without the look-up by name that luaL_checkudata does: the type's metatable is an upvalue. */
static struct box *check(lua_State *L)
{
    void *p = lua_touserdata(L, 1);
    if (p && lua_getmetatable(L, 1)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same) return p;
    }
    return luaL_checkudata(L, 1, TYPE);
}

/* Pushes one that is of no map yet. */
static struct box *new_box(lua_State *L)
{
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct box){0};
    np_buf_init(&b->room);
    luaL_setmetatable(L, TYPE);
    return b;
}

static const char *check_key(lua_State *L, size_t *n)
{
    const char *key = luaL_checklstring(L, 2, n);
    luaL_argcheck(L, *n <= NP_SHARED_MAX_KEY, 2, "a key has at most 65535 bytes");
    return key;
}

static int64_t now_of(lua_State *L)
{
    struct np_loop *loop = np_script_of(L)->loop; /* NULL on a pool's thread */
    return loop ? np_loop_now(loop) : np_loop_hrtime();
}

static void check_value(lua_State *L, int idx, struct np_shared_value *v)
{
    switch (lua_type(L, idx)) {
    case LUA_TSTRING:
        v->type = NP_SHARED_STRING;
        v->as.string.p = lua_tolstring(L, idx, &v->as.string.n);
        return;
    case LUA_TBOOLEAN:
        v->type = NP_SHARED_BOOLEAN;
        v->as.boolean = lua_toboolean(L, idx);
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, idx)) {
            v->type = NP_SHARED_INTEGER;
            v->as.integer = lua_tointeger(L, idx);
        } else {
            v->type = NP_SHARED_NUMBER;
            v->as.number = lua_tonumber(L, idx);
        }
        return;
    default:
        luaL_typeerror(L, idx, "string, number or boolean");
    }
}

static void push_value(lua_State *L, const struct np_shared_value *v)
{
    switch (v->type) {
    case NP_SHARED_STRING:
        lua_pushlstring(L, v->as.string.n ? v->as.string.p : "", v->as.string.n);
        return;
    case NP_SHARED_BOOLEAN:
        lua_pushboolean(L, v->as.boolean);
        return;
    case NP_SHARED_INTEGER:
        lua_pushinteger(L, v->as.integer);
        return;
    case NP_SHARED_NUMBER:
        lua_pushnumber(L, v->as.number);
    }
}

struct set_options {
    int64_t ttl;
};

static const struct np_opt set_spec[] = {
    {"ttl", NP_OPT_SECONDS, offsetof(struct set_options, ttl), 0, 0}, {0}};

static int64_t ttl_of(lua_State *L, int idx)
{
    struct set_options o = {0};
    if (!lua_isnoneornil(L, idx)) {
        luaL_checktype(L, idx, LUA_TTABLE);
        np_opts_read(L, idx, "opts", set_spec, &o);
    }
    return o.ttl;
}

static int result(lua_State *L, enum neap_err err)
{
    switch (err) {
    case NEAP_OK:
        lua_pushboolean(L, 1);
        return 1;
    case NEAP_EMSGSIZE:
        return np_fail(L, err, "the value is larger than a shard of the map");
    case NEAP_EEXIST:
        return np_fail(L, err, "the key is there already");
    case NEAP_ENOTFOUND:
        return np_fail(L, err, "no such key");
    case NEAP_EPROTO:
        return np_fail(L, NEAP_EINVAL, "the value is not a number");
    default:
        return np_fail(L, err, NULL);
    }
}

/* m:get(key) → value | nil */
static int shared_get(lua_State *L)
{
    struct box *b = check(L);
    struct np_shared_value v;
    size_t n;
    const char *key = check_key(L, &n);
    enum neap_err err = np_shared_get(b->map, key, n, now_of(L), &b->room, &v);
    if (err == NEAP_ENOTFOUND) return lua_pushnil(L), 1;
    if (err) return np_fail(L, err, NULL);
    push_value(L, &v);
    if (b->room.cap > (1 << 20)) np_buf_fini(&b->room);
    return 1;
}

static int set(lua_State *L, enum np_shared_when when)
{
    struct box *b = check(L);
    struct np_shared_value v;
    size_t n;
    const char *key = check_key(L, &n);
    check_value(L, 3, &v);
    int64_t ttl = ttl_of(L, 4);
    return result(L, np_shared_set(b->map, key, n, &v, ttl, now_of(L), when));
}

/* m:set(key, value, [{ttl=}]) → true | nil, err */
static int shared_set(lua_State *L)
{
    return set(L, NP_SHARED_ALWAYS);
}

static int shared_add(lua_State *L)
{
    return set(L, NP_SHARED_IF_ABSENT);
}

static int shared_replace(lua_State *L)
{
    return set(L, NP_SHARED_IF_PRESENT);
}

/* m:cas(key, expected, value, [{ttl=}]) → true | nil, err; nil stands for absent */
static int shared_cas(lua_State *L)
{
    struct box *b = check(L);
    struct np_shared_value expected, v;
    size_t n;
    const char *key = check_key(L, &n);
    luaL_checkany(L, 4);
    bool absent = lua_isnil(L, 3);
    bool gone = lua_isnil(L, 4);
    if (!absent) check_value(L, 3, &expected);
    if (!gone) check_value(L, 4, &v);
    int64_t ttl = ttl_of(L, 5);
    enum neap_err err =
        np_shared_cas(b->map, key, n, absent ? NULL : &expected, gone ? NULL : &v, ttl, now_of(L));
    if (err == NEAP_EBUSY) return np_fail(L, err, "the value is not what was expected");
    return result(L, err);
}

struct incr_options {
    int64_t ttl;
};

static const struct np_opt incr_spec[] = {
    {"init", NP_OPT_ANY, 0, 0, 0},
    {"ttl", NP_OPT_SECONDS, offsetof(struct incr_options, ttl), 0, 0},
    {0}};

/* Without options a counter begins at 0; `init = false`: it must be there. */
static bool read_incr_options(lua_State *L, int idx, struct np_shared_value *init, int64_t *ttl)
{
    struct incr_options o = {0};
    *init = (struct np_shared_value){.type = NP_SHARED_INTEGER};
    if (lua_isnoneornil(L, idx)) return true;
    luaL_checktype(L, idx, LUA_TTABLE);
    np_opts_read(L, idx, "opts", incr_spec, &o);
    *ttl = o.ttl;
    int type = lua_getfield(L, idx, "init");
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)) return false;
    if (type != LUA_TNIL && type != LUA_TNUMBER)
        np_misuse(L, "opts.init: expected number or false, got %s", luaL_typename(L, -1));
    if (type == LUA_TNUMBER) check_value(L, -1, init);
    lua_pop(L, 1);
    return true;
}

/* m:incr(key, [by=1], [{init=0, ttl=}]) → the new number | nil, err */
static int shared_incr(lua_State *L)
{
    struct box *b = check(L);
    struct np_shared_value init, out, by = {.type = NP_SHARED_INTEGER, .as.integer = 1};
    int64_t ttl = 0;
    size_t n;
    const char *key = check_key(L, &n);
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TNUMBER);
        check_value(L, 3, &by);
    }
    bool may_begin = read_incr_options(L, 4, &init, &ttl);
    enum neap_err err =
        np_shared_incr(b->map, key, n, &by, may_begin ? &init : NULL, ttl, now_of(L), &out);
    if (err) return result(L, err);
    push_value(L, &out);
    return 1;
}

/* m:delete(key) → whether it was there */
static int shared_delete(lua_State *L)
{
    struct box *b = check(L);
    size_t n;
    const char *key = check_key(L, &n);
    lua_pushboolean(L, np_shared_delete(b->map, key, n, now_of(L)));
    return 1;
}

/* m:ttl(key) → seconds it has left, math.huge: for ever | nil, err */
static int shared_ttl(lua_State *L)
{
    struct box *b = check(L);
    size_t n;
    int64_t left = 0;
    const char *key = check_key(L, &n);
    enum neap_err err = np_shared_ttl(b->map, key, n, now_of(L), &left);
    if (err) return result(L, err);
    lua_pushnumber(L, left ? np_to_seconds(left) : (lua_Number)HUGE_VAL);
    return 1;
}

/* m:expire(key, seconds or nil) → true | nil, err */
static int shared_expire(lua_State *L)
{
    struct box *b = check(L);
    size_t n;
    const char *key = check_key(L, &n);
    int64_t ttl = np_check_seconds(L, 3, 0);
    return result(L, np_shared_expire(b->map, key, n, ttl, now_of(L)));
}

/* m:clear() */
static int shared_clear(lua_State *L)
{
    np_shared_clear(check(L)->map);
    return 0;
}

/* m:keys([max=1024]) → array | nil, err */
static int shared_keys(lua_State *L)
{
    struct box *b = check(L);
    lua_Integer max = luaL_optinteger(L, 2, MANY_KEYS);
    luaL_argcheck(L, max >= 0, 2, "not below 0");
    size_t count;
    struct box *copy = new_box(L); /* not the map's room: finalisers run meanwhile, and use that */
    enum neap_err err = np_shared_keys(b->map, (size_t)max, now_of(L), &copy->room, &count);
    if (err) return np_fail(L, err, NULL);
    lua_createtable(L, count < INT16_MAX ? (int)count : INT16_MAX, 0);
    const char *p = np_buf_data(&copy->room);
    for (size_t i = 0; i < count; i++) {
        uint32_t n;
        memcpy(&n, p, sizeof n);
        lua_pushlstring(L, p + sizeof n, n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
        p += sizeof n + n;
    }
    np_buf_fini(&copy->room);
    return 1;
}

/* m:stats() */
static int shared_stats(lua_State *L)
{
    struct np_shared_stats s;
    np_shared_get_stats(check(L)->map, &s);
    lua_createtable(L, 0, 8);
    np_set_count(L, "entries", s.entries);
    np_set_count(L, "bytes", s.bytes);
    np_set_count(L, "capacity", s.capacity);
    np_set_count(L, "hits", s.hits);
    np_set_count(L, "misses", s.misses);
    np_set_count(L, "evictions", s.evictions);
    np_set_count(L, "expired", s.expired);
    np_set_count(L, "refused", s.refused);
    return 1;
}

static int shared_gc(lua_State *L)
{
    np_buf_fini(&check(L)->room);
    return 0;
}

static int shared_tostring(lua_State *L)
{
    lua_pushfstring(L, "neap.shared: %p", (void *)check(L)->map);
    return 1;
}

/* --- the module */

static void on_close(struct np_at_close *c)
{
    struct own *own = np_container_of(c, struct own, at_close);
    np_shared_maps_free(own->maps);
    own->maps = NULL;
}

/* The host's maps; where a test made the state, its own, kept in upvalue 2. */
static struct np_shared_maps *maps_of(lua_State *L)
{
    struct np_runtime *rt = np_script_of(L)->host;
    if (rt && rt->shared) return rt->shared;
    struct own *own = lua_touserdata(L, lua_upvalueindex(1));
    if (!own->maps && np_shared_maps_new(&own->maps) != NEAP_OK) luaL_error(L, "not enough memory");
    return own->maps;
}

/* open(name, [bytes]) → map | nil, err */
static int shared_open(lua_State *L)
{
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    lua_Integer bytes = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, n > 0 && n <= MAX_NAME && strlen(name) == n, 1, "a name has 1 to 128 bytes");
    luaL_argcheck(L, bytes >= 0, 2, "not below 0");
    struct np_shared_maps *maps = maps_of(L);
    struct box *b = new_box(L);
    enum neap_err err = np_shared_maps_get(maps, name, (size_t)bytes, &b->map);
    if (err == NEAP_ELIMIT) return np_fail(L, err, "there are %d maps", NP_SHARED_MAX_MAPS);
    return err ? np_fail(L, err, NULL) : 1;
}

static void make_type(lua_State *L)
{
    static const luaL_Reg methods[] = {{"get", shared_get},
                                       {"set", shared_set},
                                       {"add", shared_add},
                                       {"replace", shared_replace},
                                       {"cas", shared_cas},
                                       {"incr", shared_incr},
                                       {"delete", shared_delete},
                                       {"ttl", shared_ttl},
                                       {"expire", shared_expire},
                                       {"clear", shared_clear},
                                       {"keys", shared_keys},
                                       {"stats", shared_stats},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", shared_gc}, {"__tostring", shared_tostring}, {NULL, NULL}};
    if (luaL_newmetatable(L, TYPE)) {
        lua_pushvalue(L, -1);
        luaL_setfuncs(L, meta, 1);
        lua_newtable(L);
        lua_pushvalue(L, -2);
        luaL_setfuncs(L, methods, 1);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}

int np_open_shared(lua_State *L)
{
    make_type(L);
    lua_newtable(L);
    struct own *own = lua_newuserdatauv(L, sizeof *own, 0);
    *own = (struct own){.at_close.fn = on_close};
    lua_pushvalue(L, -1); /* it outlives the module, which a script may unload */
    lua_rawsetp(L, LUA_REGISTRYINDEX, own);
    np_at_close_add(np_script_of(L), &own->at_close);
    lua_pushcclosure(L, shared_open, 1);
    lua_setfield(L, -2, "open");
    return 1;
}
