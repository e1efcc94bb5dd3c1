/* Messages as userdata, their fields made into Lua values when they are asked for; and what a
 * publish is made of. */
#include <string.h>

#include "proto/nats_header.h"
#include "script/bind_bus.h"
#include "script/luax.h"
#include "script/state.h"

#define MESSAGE "neap.bus.message"
enum { DATA_SLOT = 1, HEADERS_SLOT = 2 };

struct np_bus *np_bus_check(lua_State *L)
{
    struct np_bus *bus = np_script_of(L)->bus;
    if (!bus) luaL_error(L, "this host has no bus");
    return bus;
}

/* --- headers in */

/* Called for each header; the bytes hold until it returns. */
typedef void (*header_fn)(lua_State *L, struct np_bytes name, struct np_bytes value, void *arg);

static void one_value(lua_State *L, int name, int value, header_fn fn, void *arg)
{
    struct np_bytes n, v;
    n.p = lua_tolstring(L, name, &n.n);
    if (lua_type(L, value) != LUA_TSTRING && lua_type(L, value) != LUA_TNUMBER)
        np_misuse(L, "headers.%s: expected string or array of strings, got %s", n.p,
                  luaL_typename(L, value));
    lua_pushvalue(L, value); /* a number is turned into a string in this copy */
    v.p = lua_tolstring(L, -1, &v.n);
    fn(L, n, v, arg);
    lua_pop(L, 1);
}

static void each_header(lua_State *L, int idx, header_fn fn, void *arg)
{
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        int value = lua_gettop(L);
        if (lua_type(L, value - 1) != LUA_TSTRING)
            np_misuse(L, "headers: expected names as keys, got %s", luaL_typename(L, value - 1));
        if (!lua_istable(L, value)) {
            one_value(L, value - 1, value, fn, arg);
            continue;
        }
        for (lua_Integer i = 1; lua_rawgeti(L, value, i) != LUA_TNIL; i++) {
            one_value(L, value - 1, value + 1, fn, arg);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
}

static const char start[] = "NATS/1.0\r\n";
enum { START_LEN = sizeof start - 1 };

static void measure(lua_State *L, struct np_bytes name, struct np_bytes value, void *arg)
{
    if (!np_nats_header_ok(name.p, name.n, value.p, value.n))
        np_misuse(L,
                  "headers.%s: a name is printable ASCII without ':', a value has no line breaks",
                  name.p);
    *(size_t *)arg += name.n + value.n + 4;
}

static char *put(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

struct block {
    char *at;
    char *end;
};

static void write_line(lua_State *L, struct np_bytes name, struct np_bytes value, void *arg)
{
    struct block *b = arg;
    if (!np_nats_header_ok(name.p, name.n, value.p, value.n) ||
        name.n + value.n + 4 > (size_t)(b->end - b->at))
        np_misuse(L, "headers: they changed while they were read"); /* by a finaliser */
    char *p = put(put(b->at, name.p, name.n), ": ", 2);
    b->at = put(put(p, value.p, value.n), "\r\n", 2);
}

/* Pushes a userdata that holds the block. */
static struct np_bytes read_headers(lua_State *L, int idx)
{
    size_t n = START_LEN + 2;
    if (idx == 0 || lua_isnil(L, idx)) return (struct np_bytes){NULL, 0};
    if (!lua_istable(L, idx))
        np_misuse(L, "headers: expected table, got %s", luaL_typename(L, idx));
    each_header(L, idx, measure, &n);
    if (n == START_LEN + 2) return (struct np_bytes){NULL, 0};
    char *block = lua_newuserdatauv(L, n, 0);
    struct block b = {put(block, start, START_LEN), block + n - 2};
    each_header(L, idx, write_line, &b);
    put(b.at, "\r\n", 2);
    return (struct np_bytes){block, (size_t)(b.at - block) + 2};
}

void np_bus_read_out(lua_State *L, int subject, int data, int headers, struct np_bus_out *out)
{
    *out = (struct np_bus_out){.payload = {"", 0}};
    luaL_checktype(L, subject, LUA_TSTRING);
    out->subject.p = lua_tolstring(L, subject, &out->subject.n);
    int type = lua_type(L, data);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        lua_pushvalue(L, data);
        out->payload.p = lua_tolstring(L, -1, &out->payload.n);
    } else if (type != LUA_TNIL && type != LUA_TNONE) {
        np_misuse(L, "data: expected string, got %s (encode it first, as with neap.json.encode)",
                  luaL_typename(L, data));
    }
    out->headers = read_headers(L, headers);
}

int np_bus_published(lua_State *L, enum neap_err err, const struct np_bus_out *out)
{
    switch (err) {
    case NEAP_OK:
        lua_pushboolean(L, 1);
        return 1;
    case NEAP_EINVAL:
        return np_misuse(L, "bad subject '%s'%s%s", out->subject.p,
                         out->reply.n ? " or reply " : "", out->reply.n ? out->reply.p : "");
    case NEAP_EMSGSIZE:
        return np_fail(L, err, "a message of %d bytes is too large",
                       (int)(out->headers.n + out->payload.n));
    case NEAP_ELIMIT:
        return np_fail(L, err, "the connected bus is away or slow, and the buffer for it is full");
    default:
        return np_fail(L, err, NULL);
    }
}

/* --- messages */

struct np_bus_msg **np_bus_push_msg(lua_State *L)
{
    struct np_bus_msg **box = lua_newuserdatauv(L, sizeof *box, 2);
    *box = NULL;
    luaL_setmetatable(L, MESSAGE);
    return box;
}

static struct np_bus_msg *check(lua_State *L)
{
    struct np_bus_msg *m = *(struct np_bus_msg **)luaL_checkudata(L, 1, MESSAGE);
    if (!m) luaL_error(L, "this message is gone");
    return m;
}

static int message_gc(lua_State *L)
{
    struct np_bus_msg **box = luaL_checkudata(L, 1, MESSAGE);
    np_bus_msg_unref(*box);
    *box = NULL;
    return 0;
}

static int message_tostring(lua_State *L)
{
    struct np_bus_msg *m = check(L);
    lua_pushfstring(L, "neap.bus.message: %s (%d bytes)", m->subject.p, (int)m->payload.n);
    return 1;
}

/* Pushes what the slot keeps, or what `make` makes for it. */
static int kept(lua_State *L, struct np_bus_msg *m, int slot,
                void (*make)(lua_State *L, struct np_bus_msg *m))
{
    if (lua_getiuservalue(L, 1, slot) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    make(L, m);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, slot);
    return 1;
}

static void make_data(lua_State *L, struct np_bus_msg *m)
{
    lua_pushlstring(L, m->payload.p, m->payload.n);
}

/* Adds the value on top to what stands under the name: one is a string, several are an array. */
static void add_value(lua_State *L, int headers, struct np_bytes name)
{
    lua_pushlstring(L, name.p, name.n);
    lua_pushvalue(L, -1);
    int before = lua_rawget(L, headers);
    if (before == LUA_TSTRING) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    if (before == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushvalue(L, -2);
    } else {
        lua_pushvalue(L, -3);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    lua_rawset(L, headers);
    lua_pop(L, 1);
}

static void make_headers(lua_State *L, struct np_bus_msg *m)
{
    struct np_nats_headers h;
    struct np_bytes name, value;
    lua_newtable(L);
    int headers = lua_gettop(L);
    if (!m->headers.p || !np_nats_headers_read(m->headers, &h)) return;
    while (np_nats_headers_next(&h, &name, &value)) {
        lua_pushlstring(L, value.p, value.n);
        add_value(L, headers, name);
    }
}

/* msg:respond(data, {headers=}) → true | nil, err */
static int message_respond(lua_State *L)
{
    struct np_bus_msg *m = check(L);
    struct np_bus *bus = np_bus_check(L);
    struct np_bus_out out;
    static const struct np_opt spec[] = {{"headers", NP_OPT_TABLE, 0, 0, 0}, {0}};
    np_opts_read(L, 3, "opts", spec, &out);
    lua_settop(L, 3);
    if (!m->reply.p) return np_fail(L, NEAP_EINVAL, "the message wants no reply");
    if (lua_istable(L, 3)) {
        lua_getfield(L, 3, "headers");
    } else {
        lua_pushnil(L);
    }
    lua_pushlstring(L, m->reply.p, m->reply.n);
    np_bus_read_out(L, 5, 2, 4, &out);
    return np_bus_published(L, np_bus_publish(bus, &out, NULL, NULL), &out);
}

static int push_bytes(lua_State *L, struct np_bytes b)
{
    if (b.p) {
        lua_pushlstring(L, b.p, b.n);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int message_index(lua_State *L)
{
    struct np_bus_msg *m = check(L);
    const char *key = luaL_checkstring(L, 2);
    lua_settop(L, 2);
    if (strcmp(key, "data") == 0) return kept(L, m, DATA_SLOT, make_data);
    if (strcmp(key, "subject") == 0) return push_bytes(L, m->subject);
    if (strcmp(key, "reply") == 0) return push_bytes(L, m->reply);
    if (strcmp(key, "headers") == 0) return kept(L, m, HEADERS_SLOT, make_headers);
    if (strcmp(key, "respond") == 0) {
        lua_pushcfunction(L, message_respond);
    } else if (strcmp(key, "status") == 0 && np_bus_msg_status(m)) {
        lua_pushinteger(L, np_bus_msg_status(m));
    } else {
        lua_pushnil(L);
    }
    return 1;
}

void np_bus_add_msg(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", message_gc},
                                    {"__tostring", message_tostring},
                                    {"__index", message_index},
                                    {NULL, NULL}};
    np_type_new(L, MESSAGE, NULL, meta);
}
