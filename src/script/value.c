/* Plain values between C and Lua; see value.h. */
#include "script/value.h"

#include <lauxlib.h>
#include <string.h>

static void push(lua_State *L, const neap_value *v, int depth)
{
    if (depth > NP_VALUE_MAX_DEPTH) luaL_error(L, "value nested too deeply");
    luaL_checkstack(L, 4, "value nested too deeply");
    switch (v->type) {
    case NEAP_NIL:
        lua_pushnil(L);
        return;
    case NEAP_BOOLEAN:
        lua_pushboolean(L, v->as.boolean);
        return;
    case NEAP_INTEGER:
        lua_pushinteger(L, v->as.integer);
        return;
    case NEAP_NUMBER:
        lua_pushnumber(L, v->as.number);
        return;
    case NEAP_STRING:
        lua_pushlstring(L, v->as.string.data, v->as.string.len);
        return;
    case NEAP_TABLE:
        lua_createtable(L, 0, v->as.table.count < 64 ? (int)v->as.table.count : 64);
        for (size_t i = 0; i < v->as.table.count; i++) {
            push(L, &v->as.table.fields[i].key, depth + 1);
            push(L, &v->as.table.fields[i].value, depth + 1);
            if (lua_isnil(L, -2)) luaL_error(L, "a field's key is nil");
            lua_rawset(L, -3); /* a NaN raises by itself */
        }
        return;
    }
    luaL_error(L, "value of unknown type %d", (int)v->type);
}

void np_value_push(lua_State *L, const neap_value *v)
{
    push(L, v, 1);
}

struct reader {
    lua_State *L;
    struct np_arena *arena;
    size_t fields; /* read so far */
    bool lend;     /* a string that is the value itself is not copied */
};

static void *take(struct reader *r, size_t size)
{
    void *p = np_arena_alloc(r->arena, size ? size : 1);
    if (!p) luaL_error(r->L, "not enough memory");
    return p;
}

static void read_value(struct reader *r, int idx, neap_value *out, int depth);

static size_t count_fields(struct reader *r, int idx)
{
    size_t n = 0;
    lua_pushnil(r->L);
    while (lua_next(r->L, idx)) {
        n++;
        lua_pop(r->L, 1);
    }
    r->fields += n;
    if (r->fields > NP_VALUE_MAX_FIELDS) luaL_error(r->L, "a table with too many fields");
    return n;
}

static void read_table(struct reader *r, int idx, neap_value *out, int depth)
{
    lua_State *L = r->L;
    luaL_checkstack(L, 6, "table nested too deeply");
    if (depth > NP_VALUE_MAX_DEPTH) luaL_error(L, "table nested too deeply");
    size_t n = count_fields(r, idx);
    struct neap_field *fields = take(r, n * sizeof *fields);
    size_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        int top = lua_gettop(L);
        if (i == n) luaL_error(L, "a table that changes while it is read");
        read_value(r, top - 1, &fields[i].key, depth + 1);
        read_value(r, top, &fields[i].value, depth + 1);
        lua_pop(L, 1);
        i++;
    }
    out->type = NEAP_TABLE;
    out->as.table.fields = fields;
    out->as.table.count = i;
}

static void read_string(struct reader *r, int idx, neap_value *out, int depth)
{
    size_t len;
    const char *p = lua_tolstring(r->L, idx, &len);
    if (depth > 1 || !r->lend) {
        char *copy = np_arena_strndup(r->arena, p, len);
        if (!copy) luaL_error(r->L, "not enough memory");
        p = copy;
    }
    out->type = NEAP_STRING;
    out->as.string.data = p;
    out->as.string.len = len;
}

static void read_number(lua_State *L, int idx, neap_value *out)
{
    if (lua_isinteger(L, idx)) {
        out->type = NEAP_INTEGER;
        out->as.integer = lua_tointeger(L, idx);
    } else {
        out->type = NEAP_NUMBER;
        out->as.number = lua_tonumber(L, idx);
    }
}

static void read_value(struct reader *r, int idx, neap_value *out, int depth)
{
    memset(out, 0, sizeof *out);
    switch (lua_type(r->L, idx)) {
    case LUA_TNIL:
    case LUA_TNONE:
        out->type = NEAP_NIL;
        return;
    case LUA_TBOOLEAN:
        out->type = NEAP_BOOLEAN;
        out->as.boolean = lua_toboolean(r->L, idx);
        return;
    case LUA_TNUMBER:
        read_number(r->L, idx, out);
        return;
    case LUA_TSTRING:
        read_string(r, idx, out, depth);
        return;
    case LUA_TTABLE:
        read_table(r, idx, out, depth);
        return;
    default:
        luaL_error(r->L, "a %s cannot be passed to C", luaL_typename(r->L, idx));
    }
}

void np_value_read(lua_State *L, int idx, struct np_arena *arena, bool lend, neap_value *out)
{
    struct reader r = {L, arena, 0, lend};
    read_value(&r, lua_absindex(L, idx), out, 1);
}

static enum neap_err copy(struct np_arena *arena, const neap_value *v, neap_value *out, int depth)
{
    *out = *v;
    if (depth > NP_VALUE_MAX_DEPTH || v->type < NEAP_NIL || v->type > NEAP_TABLE) {
        return NEAP_EINVAL;
    }
    if (v->type == NEAP_STRING) {
        out->as.string.data = np_arena_strndup(arena, v->as.string.data, v->as.string.len);
        return out->as.string.data ? NEAP_OK : NEAP_ENOMEM;
    }
    if (v->type != NEAP_TABLE) return NEAP_OK;
    size_t n = v->as.table.count;
    if (n > NP_VALUE_MAX_FIELDS) return NEAP_EINVAL;
    struct neap_field *fields = np_arena_alloc(arena, n ? n * sizeof *fields : 1);
    if (!fields) return NEAP_ENOMEM;
    out->as.table.fields = fields;
    for (size_t i = 0; i < n; i++) {
        enum neap_err err = copy(arena, &v->as.table.fields[i].key, &fields[i].key, depth + 1);
        if (!err) err = copy(arena, &v->as.table.fields[i].value, &fields[i].value, depth + 1);
        if (err) return err;
    }
    return NEAP_OK;
}

enum neap_err np_value_copy(struct np_arena *arena, const neap_value *v, neap_value *out)
{
    return copy(arena, v, out, 1);
}
