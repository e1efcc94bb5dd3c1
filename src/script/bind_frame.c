/* neap.core.frame: length-prefixed messages over any stream, and the same as a codec of strings.
 * The format and its bounds stand in proto/frame.
 */
#include <string.h>

#include "proto/frame.h"
#include "script/bind_stream.h"
#include "script/modules.h"

#define FRAMES "neap.frame"
#define CODEC "neap.frame.codec"

/* --- options */

struct options {
    struct np_frame_format f;
    int header_length;
    int body_length;
    const char *endian;
};

static const struct np_opt spec[] = {
    {"header_length", NP_OPT_INT, offsetof(struct options, header_length), 0, 0},
    {"body_length", NP_OPT_INT, offsetof(struct options, body_length), 0, 0},
    {"endian", NP_OPT_STRING, offsetof(struct options, endian), 0, 0},
    {"max_header", NP_OPT_SIZE, offsetof(struct options, f.max_header), 0, 0},
    {"max_body", NP_OPT_SIZE, offsetof(struct options, f.max_body), 0, 0},
    {0}};

static struct np_frame_format read_options(lua_State *L, int idx)
{
    struct options o = {NP_FRAME_FORMAT_INIT, 0, 4, "big"};
    struct neap_errinfo info;
    np_opts_read(L, idx, "opts", spec, &o);
    bool little = strcmp(o.endian, "little") == 0;
    if (!little && strcmp(o.endian, "big") != 0)
        np_misuse(L, "opts.endian: expected 'big' or 'little', got '%.20s'", o.endian);
    o.f.header_length = (unsigned)o.header_length;
    o.f.body_length = (unsigned)o.body_length;
    o.f.little_endian = little;
    if (np_frame_format_check(&o.f, &info)) np_misuse(L, "opts: %s", info.message);
    return o.f;
}

/* --- over a stream. The userdata is the format; its user value is the stream. */

/* Pushes the stream of the frames at 1. */
static struct np_lstream *push_stream(lua_State *L)
{
    luaL_checkudata(L, 1, FRAMES);
    lua_getiuservalue(L, 1, 1);
    return np_lstream_check(L, -1);
}

static void push_part(lua_State *L, struct np_bytes part)
{
    if (part.p)
        lua_pushlstring(L, part.p, part.n);
    else
        lua_pushnil(L);
}

/* Stack: the frames, the stream. */
static int read_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    struct np_frame_format *f = lua_touserdata(L, 1);
    struct neap_errinfo info;
    struct np_frame frame;
    size_t size;
    np_lstream_read_over(ls);
    size_t len = np_buf_len(&ls->in);
    enum neap_err parsed = np_frame_parse(f, np_buf_data(&ls->in), len, &frame, &size, &info);
    if (parsed == NEAP_OK) {
        const char *data = np_buf_data(&ls->in);
        push_part(L, frame.body);
        /* A finaliser may have run. */
        if (np_buf_data(&ls->in) != data || np_buf_len(&ls->in) != len)
            return np_fail(L, NEAP_EBUSY, "the stream was read by a finaliser, or closed");
        push_part(L, frame.header);
        np_lstream_consume(ls, size);
        return 2;
    }
    if (parsed != NEAP_EAGAIN) return np_fail_info(L, &info);
    if (!err) err = np_lstream_no_more(ls);
    if (err == NEAP_EOF && len > 0)
        return np_fail(L, NEAP_EPROTO, "the stream ended inside a frame");
    if (err) return np_fail(L, err, NULL);
    return np_lstream_read_wait(L, ls, size, read_k);
}

/* f:read{timeout=} → body, header | nil, err. EOF between two frames, EPROTO inside one, ELIMIT for
 * one above its bounds. */
static int frames_read(lua_State *L)
{
    int64_t timeout = np_lstream_timeout(L, 2, NP_LSTREAM_DEFAULT);
    lua_settop(L, 1);
    struct np_lstream *ls = push_stream(L);
    np_lstream_read_begin(L, ls, timeout);
    return np_lstream_read_wait(L, ls, 1, read_k);
}

static struct np_bytes part_at(lua_State *L, int idx)
{
    struct np_bytes part = {NULL, 0};
    if (!lua_isnoneornil(L, idx)) part.p = luaL_checklstring(L, idx, &part.n);
    return part;
}

/* f:write(body[, header][, {timeout=}]) → true | nil, err. Waits as stream:write does. */
static int frames_write(lua_State *L)
{
    luaL_checkudata(L, 1, FRAMES);
    luaL_checkstring(L, 2);
    lua_settop(L, 4);
    if (lua_istable(L, 3) && lua_isnil(L, 4)) { /* no header */
        lua_pushnil(L);
        lua_insert(L, 3);
        lua_settop(L, 4);
    }
    struct np_bytes body = part_at(L, 2), header = part_at(L, 3);
    int64_t timeout = np_lstream_timeout(L, 4, NP_NO_TIMEOUT);
    struct np_lstream *ls = push_stream(L);
    struct neap_errinfo info;
    char prefix[NP_FRAME_PREFIX_MAX];
    size_t n;
    enum neap_err err = np_frame_prefix(lua_touserdata(L, 1), header.n, body.n, prefix, &n, &info);
    if (err == NEAP_EINVAL) return np_misuse(L, "%s", info.message);
    if (err) return np_fail_info(L, &info);
    struct np_slice v[] = {{prefix, n}, {header.p, header.n}, {body.p, body.n}};
    return np_lstream_write(L, ls, v, 3, timeout);
}

/* f:stream() → the stream it wraps */
static int frames_stream(lua_State *L)
{
    luaL_checkudata(L, 1, FRAMES);
    lua_getiuservalue(L, 1, 1);
    return 1;
}

/* Stack: the frames, options or nil. */
static int frames_close(lua_State *L)
{
    luaL_checkudata(L, 1, FRAMES);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, 1);
    luaL_getmetafield(L, -1, "__index");
    lua_getfield(L, -1, "close");
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 0);
    return 0;
}

static int frames_meta_close(lua_State *L)
{
    lua_settop(L, 1);
    return frames_close(L);
}

static int frames_tostring(lua_State *L)
{
    luaL_checkudata(L, 1, FRAMES);
    lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, "neap.frame over %s", luaL_tolstring(L, -1, NULL));
    return 1;
}

/* wrap(stream[, {header_length=0, body_length=4, endian="big", max_header=, max_body=}]) → frames
 */
static int frame_wrap(lua_State *L)
{
    np_lstream_check(L, 1);
    struct np_frame_format f = read_options(L, 2);
    struct np_frame_format *u = lua_newuserdatauv(L, sizeof *u, 1);
    *u = f;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, FRAMES);
    return 1;
}

/* --- of strings */

/* c:encode(body[, header]) → bytes | nil, err */
static int codec_encode(lua_State *L)
{
    struct np_frame_format *f = luaL_checkudata(L, 1, CODEC);
    luaL_checkstring(L, 2);
    struct np_bytes body = part_at(L, 2), header = part_at(L, 3);
    struct neap_errinfo info;
    char prefix[NP_FRAME_PREFIX_MAX];
    size_t n;
    enum neap_err err = np_frame_prefix(f, header.n, body.n, prefix, &n, &info);
    if (err == NEAP_EINVAL) return np_misuse(L, "%s", info.message);
    if (err) return np_fail_info(L, &info);
    luaL_Buffer b;
    luaL_buffinitsize(L, &b, n + header.n + body.n);
    luaL_addlstring(&b, prefix, n);
    luaL_addlstring(&b, header.p ? header.p : "", header.n);
    luaL_addlstring(&b, body.p, body.n);
    luaL_pushresult(&b);
    return 1;
}

/* c:decode(bytes[, position=1]) → body, header or nil, position after it | nil, err (EAGAIN: not
 * whole yet) */
static int codec_decode(lua_State *L)
{
    struct np_frame_format *f = luaL_checkudata(L, 1, CODEC);
    size_t n, size;
    const char *p = luaL_checklstring(L, 2, &n);
    lua_Integer at = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, at >= 1 && (size_t)at <= n + 1, 3, "not a position in the string");
    struct neap_errinfo info;
    struct np_frame frame;
    size_t skip = (size_t)at - 1;
    enum neap_err err = np_frame_parse(f, p + skip, n - skip, &frame, &size, &info);
    if (err == NEAP_EAGAIN) return np_fail(L, err, "%zu bytes more are needed", size - (n - skip));
    if (err) return np_fail_info(L, &info);
    push_part(L, frame.body);
    push_part(L, frame.header);
    lua_pushinteger(L, at + (lua_Integer)size);
    return 3;
}

/* codec([opts]) → codec */
static int frame_codec(lua_State *L)
{
    struct np_frame_format f = read_options(L, 1);
    struct np_frame_format *u = lua_newuserdatauv(L, sizeof *u, 0);
    *u = f;
    luaL_setmetatable(L, CODEC);
    return 1;
}

int np_open_frame(lua_State *L)
{
    static const luaL_Reg frames_methods[] = {{"read", frames_read},
                                              {"write", frames_write},
                                              {"stream", frames_stream},
                                              {"close", frames_close},
                                              {NULL, NULL}};
    static const luaL_Reg frames_meta[] = {
        {"__tostring", frames_tostring}, {"__close", frames_meta_close}, {NULL, NULL}};
    static const luaL_Reg codec_methods[] = {
        {"encode", codec_encode}, {"decode", codec_decode}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"wrap", frame_wrap}, {"codec", frame_codec}, {NULL, NULL}};
    np_lstream_open(L);
    np_type_new(L, FRAMES, frames_methods, frames_meta);
    np_type_new(L, CODEC, codec_methods, NULL);
    luaL_newlib(L, functions);
    return 1;
}
