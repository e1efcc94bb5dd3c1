/* The multipart parser for lua/neap/http/multipart.lua. It stands in proto/multipart. */
#include "proto/multipart.h"

#include <string.h>

#include "script/bind_forms.h"
#include "script/luax.h"

#define PARSER "neap.http.multipart.parser"

struct parser {
    struct np_multipart m;
    struct np_piece piece;
    bool open;
};

void np_piece_push(lua_State *L, struct np_piece *piece)
{
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    if (piece->n > 0) np_misuse(L, "the piece before was not used up");
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, 1);
    *piece = (struct np_piece){p, n};
}

static int parser_gc(lua_State *L)
{
    struct parser *p = luaL_checkudata(L, 1, PARSER);
    if (p->open) np_multipart_fini(&p->m);
    p->open = false;
    return 0;
}

static struct parser *check_parser(lua_State *L)
{
    struct parser *p = luaL_checkudata(L, 1, PARSER);
    if (!p->open) np_misuse(L, "the parser is closed");
    return p;
}

struct options {
    struct np_multipart_limits limits;
    size_t field, file, total;
};

static struct np_multipart_limits read_limits(lua_State *L, int idx)
{
    static const struct np_opt spec[] = {
        {"max_parts", NP_OPT_SIZE, offsetof(struct options, limits.max_parts), 0, 0},
        {"max_header_bytes", NP_OPT_SIZE, offsetof(struct options, limits.max_header_bytes), 0, 0},
        {"max_field_bytes", NP_OPT_SIZE, offsetof(struct options, field), 0, 0},
        {"max_file_bytes", NP_OPT_SIZE, offsetof(struct options, file), 0, 0},
        {"max_bytes", NP_OPT_SIZE, offsetof(struct options, total), 0, 0},
        {0}};
    struct options o = {NP_MULTIPART_LIMITS_INIT, 0, 0, 0};
    o.field = (size_t)o.limits.max_field_bytes;
    o.file = (size_t)o.limits.max_file_bytes;
    o.total = (size_t)o.limits.max_total_bytes;
    np_opts_read(L, idx, "opts", spec, &o);
    o.limits.max_field_bytes = o.field;
    o.limits.max_file_bytes = o.file;
    o.limits.max_total_bytes = o.total;
    return o.limits;
}

/* multipart_parser(content_type, [limits]) → parser | nil, err */
static int new_parser(lua_State *L)
{
    size_t n;
    const char *type = luaL_checklstring(L, 1, &n);
    struct np_multipart_limits limits = read_limits(L, 2);
    char boundary[NP_MULTIPART_BOUNDARY_MAX + 1];
    struct neap_errinfo info;
    if (np_multipart_boundary(type, n, boundary, &info)) return np_fail_info(L, &info);
    struct parser *p = lua_newuserdatauv(L, sizeof *p, 1);
    memset(p, 0, sizeof *p);
    luaL_setmetatable(L, PARSER);
    enum neap_err err = np_multipart_init(&p->m, boundary, strlen(boundary), &limits);
    if (err) return np_fail(L, err, NULL);
    p->open = true;
    return 1;
}

static int parser_push(lua_State *L)
{
    np_piece_push(L, &check_parser(L)->piece);
    return 0;
}

static void set_bytes(lua_State *L, const char *name, struct np_bytes b)
{
    if (!b.p) return;
    lua_pushlstring(L, b.p, b.n);
    lua_setfield(L, -2, name);
}

static int push_part(lua_State *L, const struct np_multipart_part *part)
{
    lua_pushliteral(L, "part");
    lua_createtable(L, 0, 8);
    set_bytes(L, "name", part->name);
    set_bytes(L, "filename", part->filename);
    set_bytes(L, "raw_filename", part->raw_filename);
    set_bytes(L, "content_type", part->content_type);
    lua_createtable(L, 0, (int)part->nheaders);
    for (size_t i = 0; i < part->nheaders; i++) {
        lua_pushlstring(L, part->headers[i].name.p, part->headers[i].name.n);
        lua_pushlstring(L, part->headers[i].value.p, part->headers[i].value.n);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
    return 2;
}

/* parser:next() → "part", table | "data", string | "part_end" | "end" | nil: more is needed |
 * nil, err */
static int parser_next(lua_State *L)
{
    struct parser *p = check_parser(L);
    enum np_multipart_event event;
    struct np_bytes data;
    struct neap_errinfo info;
    size_t used = 0;
    if (np_multipart_next(&p->m, p->piece.p, p->piece.n, &used, &event, &data, &info))
        return np_fail_info(L, &info);
    np_piece_use(&p->piece, used);
    switch (event) {
    case NP_MULTIPART_PART:
        return push_part(L, &p->m.part);
    case NP_MULTIPART_DATA:
        lua_pushliteral(L, "data");
        lua_pushlstring(L, data.p, data.n);
        return 2;
    case NP_MULTIPART_PART_END:
        lua_pushliteral(L, "part_end");
        return 1;
    case NP_MULTIPART_END:
        lua_pushliteral(L, "end");
        return 1;
    default:
        lua_pushnil(L);
        return 1;
    }
}

/* parser:finish() → true | nil, err: the body has ended */
static int parser_finish(lua_State *L)
{
    struct neap_errinfo info;
    if (np_multipart_finish(&check_parser(L)->m, &info)) return np_fail_info(L, &info);
    lua_pushboolean(L, 1);
    return 1;
}

/* multipart_quote(text) → a parameter's value, in quotes | nil: it has control characters */
static int quote(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct np_buf b;
    np_buf_init(&b);
    luaL_Buffer out;
    char *room = luaL_buffinitsize(L, &out, n * 3 + 2);
    enum neap_err err = np_multipart_quote(&b, text, n);
    if (!err) memcpy(room, np_buf_data(&b), np_buf_len(&b));
    size_t len = np_buf_len(&b);
    np_buf_fini(&b);
    if (err == NEAP_ENOMEM) return luaL_error(L, "not enough memory");
    if (err) return lua_pushnil(L), 1;
    luaL_pushresultsize(&out, len);
    return 1;
}

void np_http_add_multipart(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"push", parser_push}, {"next", parser_next}, {"finish", parser_finish}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", parser_gc}, {"__close", parser_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"multipart_parser", new_parser}, {"multipart_quote", quote}, {NULL, NULL}};
    np_type_new(L, PARSER, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
