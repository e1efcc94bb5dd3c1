/* The parser of server-sent events for lua/neap/http/events.lua. It stands in proto/event_stream.
 */
#include "proto/event_stream.h"

#include <string.h>

#include "script/bind_forms.h"
#include "script/luax.h"

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

void np_http_add_events(lua_State *L)
{
    static const luaL_Reg methods[] = {{"push", parser_push},       {"next", parser_next},
                                       {"restart", parser_restart}, {"retry", parser_retry},
                                       {"last_id", parser_last_id}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", parser_gc}, {"__close", parser_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"event_parser", new_parser}, {NULL, NULL}};
    np_type_new(L, PARSER, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
