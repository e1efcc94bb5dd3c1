/* The parser of server-sent events for lua/neap/http/events.lua. It stands in proto/event_stream.
 */
#include "proto/event_stream.h"

#include <string.h>

#include "script/bind_forms.h"
#include "script/luax.h"
#include "script/state.h"

#define BELL "neap.http.events.bell"
#define PARSER "neap.http.events.parser"

struct parser {
    struct np_event_stream s;
    struct np_piece piece;
    bool open;
};

static int parser_gc(lua_State *L)
{
    struct parser *p = luaL_checkudata(L, 1, PARSER);
    if (p->open) np_event_stream_fini(&p->s);
    p->open = false;
    return 0;
}

static struct parser *check_parser(lua_State *L)
{
    struct parser *p = luaL_checkudata(L, 1, PARSER);
    if (!p->open) np_misuse(L, "the parser is closed");
    return p;
}

/* event_parser(max bytes of an event) → parser */
static int new_parser(lua_State *L)
{
    lua_Integer max = luaL_checkinteger(L, 1);
    luaL_argcheck(L, max >= 1, 1, "a size expected");
    struct parser *p = lua_newuserdatauv(L, sizeof *p, 1);
    memset(p, 0, sizeof *p);
    luaL_setmetatable(L, PARSER);
    np_event_stream_init(&p->s, (size_t)max);
    p->open = true;
    return 1;
}

static int parser_push(lua_State *L)
{
    np_piece_push(L, &check_parser(L)->piece);
    return 0;
}

/* parser:restart(): a new connection */
static int parser_restart(lua_State *L)
{
    struct parser *p = check_parser(L);
    p->piece = (struct np_piece){NULL, 0};
    np_event_stream_restart(&p->s);
    return 0;
}

/* Why reading ended. */
static int fail(lua_State *L, struct parser *p, enum neap_err err)
{
    p->piece = (struct np_piece){NULL, 0};
    if (err == NEAP_ELIMIT)
        return np_fail(L, err, "an event is larger than %d bytes", (int)p->s.max);
    return np_fail(L, err, NULL);
}

/* parser:next() → type, data, last id | nil: more is needed | nil, err */
static int parser_next(lua_State *L)
{
    struct parser *p = check_parser(L);
    struct np_event e;
    bool got;
    size_t used = 0;
    enum neap_err err = np_event_stream_next(&p->s, p->piece.p, p->piece.n, &used, &got, &e);
    if (err) return fail(L, p, err);
    np_piece_use(&p->piece, used);
    if (!got) return lua_pushnil(L), 1;
    lua_pushlstring(L, e.type.n ? e.type.p : "message", e.type.n ? e.type.n : 7);
    lua_pushlstring(L, e.data.p, e.data.n);
    lua_pushlstring(L, e.id.p, e.id.n);
    return 3;
}

/* parser:retry() → ms that the server asked for | nil */
static int parser_retry(lua_State *L)
{
    struct parser *p = check_parser(L);
    if (p->s.retry < 0) return lua_pushnil(L), 1;
    lua_pushinteger(L, p->s.retry);
    return 1;
}

/* parser:last_id() → what a new connection begins with; "" for none */
static int parser_last_id(lua_State *L)
{
    struct parser *p = check_parser(L);
    lua_pushlstring(L, np_buf_data(&p->s.id), np_buf_len(&p->s.id));
    return 1;
}

/* --- the bell: rung by whoever has something to send, and by the host when it is told to stop,
 * which waits for it to be closed. One task waits for it. */

struct bell {
    struct np_drain drain;
    struct np_wait wait;
    bool rung;
    bool draining;
    bool closed;
};

static void ring(struct bell *b)
{
    b->rung = true;
    np_wake(&b->wait, NEAP_OK);
}

static void on_drain(struct np_drain *d, int64_t grace)
{
    struct bell *b = np_container_of(d, struct bell, drain);
    (void)grace;
    b->draining = true;
    ring(b);
}

/* event_bell() → bell */
static int new_bell(lua_State *L)
{
    struct bell *b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    luaL_setmetatable(L, BELL);
    b->drain.drain = on_drain;
    np_drain_add(&np_script_of(L)->shutdown, &b->drain);
    return 1;
}

static int bell_close(lua_State *L)
{
    struct bell *b = luaL_checkudata(L, 1, BELL);
    if (!b->closed) np_drain_remove(&b->drain);
    b->closed = true;
    return 0;
}

static int bell_ring(lua_State *L)
{
    ring(luaL_checkudata(L, 1, BELL));
    return 0;
}

static int bell_draining(lua_State *L)
{
    struct bell *b = luaL_checkudata(L, 1, BELL);
    lua_pushboolean(L, b->draining);
    return 1;
}

static void cancel_wait(struct np_wait *w)
{
    (void)w; /* who rings later rings for nobody */
}

static int wait_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct bell *b = ctx;
    (void)err;
    lua_pushboolean(L, b->rung);
    b->rung = false;
    return 1;
}

/* bell:wait([seconds]) → whether it was rung */
static int bell_wait(lua_State *L)
{
    struct bell *b = luaL_checkudata(L, 1, BELL);
    int64_t timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
    if (np_waiting(&b->wait)) return np_misuse(L, "another task waits for this bell");
    if (b->rung) return wait_k(L, NEAP_OK, b);
    return np_wait(L, &b->wait, timeout, cancel_wait, wait_k, b);
}

static void add_bell(lua_State *L)
{
    static const luaL_Reg methods[] = {{"ring", bell_ring},
                                       {"wait", bell_wait},
                                       {"draining", bell_draining},
                                       {"close", bell_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", bell_close}, {"__close", bell_close}, {NULL, NULL}};
    np_type_new(L, BELL, methods, meta);
    lua_pushcfunction(L, new_bell);
    lua_setfield(L, -2, "event_bell");
}

void np_http_add_events(lua_State *L)
{
    static const luaL_Reg methods[] = {{"push", parser_push},       {"next", parser_next},
                                       {"restart", parser_restart}, {"retry", parser_retry},
                                       {"last_id", parser_last_id}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", parser_gc}, {"__close", parser_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"event_parser", new_parser}, {NULL, NULL}};
    np_type_new(L, PARSER, methods, meta);
    luaL_setfuncs(L, functions, 0);
    add_bell(L);
}
