/* neap.core.coding: content codings of strings, whole and piece by piece. What is coded and how far
 * it may grow stands in proto/coding.
 */
#include "script/bind_coding.h"

#include <string.h>

#include "script/luax.h"
#include "script/modules.h"

#define ENCODER "neap.coding.encoder"
#define DECODER "neap.coding.decoder"

/* A buffer that goes when an error is raised. */
static int buf_gc(lua_State *L)
{
    np_buf_fini(lua_touserdata(L, 1));
    return 0;
}

static struct np_buf *push_buf(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", buf_gc}, {"__close", buf_gc}, {NULL, NULL}};
    struct np_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
    np_buf_init(b);
    if (luaL_newmetatable(L, "neap.coding.buf")) luaL_setfuncs(L, meta, 0);
    lua_setmetatable(L, -2);
    return b;
}

/* Pushes what the buffer holds and gives its memory back. */
static int give(lua_State *L, struct np_buf *b)
{
    lua_pushlstring(L, np_buf_data(b), np_buf_len(b));
    np_buf_fini(b);
    return 1;
}

/* --- options */

enum np_coding np_coding_check(lua_State *L, int idx)
{
    struct np_bytes name;
    enum np_coding c;
    name.p = luaL_checklstring(L, idx, &name.n);
    if (!np_coding_by_name(name, &c) || c == NP_CODING_IDENTITY)
        np_misuse(L, "coding: expected \"gzip\", \"deflate\", \"br\" or \"zstd\", got \"%.20s\"",
                  name.p);
    return c;
}

void np_coding_check_level(lua_State *L, const char *path, enum np_coding c, lua_Integer level)
{
    if (level < np_coding_min_level(c) || level > np_coding_max_level(c))
        np_misuse(L, "%s: must be between %d and %d for %s", path, np_coding_min_level(c),
                  np_coding_max_level(c), np_coding_name(c));
}

/* A level, or options with a level. */
static struct np_encoder_options read_encoder_options(lua_State *L, int idx, enum np_coding c)
{
    struct {
        int level;
        size_t size;
    } o = {0};
    static const struct np_opt spec[] = {
        {"level", NP_OPT_ANY, 0, 0, 0}, {"size", NP_OPT_SIZE, sizeof(size_t), 0, 0}, {0}};
    struct np_encoder_options out = NP_ENCODER_OPTIONS_INIT;
    bool table = lua_istable(L, idx);
    if (table) {
        np_opts_read(L, idx, "opts", spec, &o);
        lua_getfield(L, idx, "level");
        out.size = o.size;
    } else {
        lua_pushvalue(L, idx);
    }
    if (!lua_isnil(L, -1)) {
        const char *path = table ? "opts.level" : "level";
        if (!lua_isinteger(L, -1))
            np_misuse(L, "%s: expected integer, got %s", path, luaL_typename(L, -1));
        np_coding_check_level(L, path, c, lua_tointeger(L, -1));
        out.level = (int)lua_tointeger(L, -1);
    }
    lua_pop(L, 1);
    return out;
}

const struct np_opt np_decoder_spec[] = {
    {"max", NP_OPT_SIZE, offsetof(struct np_decoder_opts, max), 0, 0},
    {"max_ratio", NP_OPT_SIZE, offsetof(struct np_decoder_opts, max_ratio), 0, 0},
    {"max_window", NP_OPT_INT, offsetof(struct np_decoder_opts, max_window), 10, 27},
    {0}};

static struct np_decoder_options read_decoder_options(lua_State *L, int idx)
{
    struct np_decoder_options out = NP_DECODER_OPTIONS_INIT;
    struct np_decoder_opts o = {0, out.max_ratio, 0};
    np_opts_read(L, idx, "opts", np_decoder_spec, &o);
    if (o.max) out.max_output = o.max;
    out.max_ratio = o.max_ratio;
    out.max_window = (unsigned)o.max_window;
    return out;
}

/* --- encoders */

struct encoder {
    struct np_encoder *e; /* NULL: finished or closed */
    enum np_coding coding;
};

static struct encoder *check_encoder(lua_State *L)
{
    struct encoder *u = luaL_checkudata(L, 1, ENCODER);
    if (!u->e) np_misuse(L, "the encoder is finished or closed");
    return u;
}

static int encoder_close(lua_State *L)
{
    struct encoder *u = luaL_checkudata(L, 1, ENCODER);
    np_encoder_free(u->e);
    u->e = NULL;
    return 0;
}

static int encoder_run(lua_State *L, enum np_coding_op op)
{
    struct encoder *u = check_encoder(L);
    size_t n = 0;
    const char *p =
        op == NP_CODING_GO_ON ? luaL_checklstring(L, 2, &n) : luaL_optlstring(L, 2, "", &n);
    struct np_buf *out = push_buf(L);
    enum neap_err err = np_encoder_write(u->e, p, n, op, out);
    if (err || op == NP_CODING_FINISH) {
        np_encoder_free(u->e);
        u->e = NULL;
    }
    if (err) return luaL_error(L, "not enough memory");
    return give(L, out);
}

/* e:write(data) → what has come out, often nothing yet */
static int encoder_write(lua_State *L)
{
    return encoder_run(L, NP_CODING_GO_ON);
}

/* e:flush([data]) → what makes all that was written decodable */
static int encoder_flush(lua_State *L)
{
    return encoder_run(L, NP_CODING_FLUSH);
}

/* e:finish([data]) → the rest */
static int encoder_finish(lua_State *L)
{
    return encoder_run(L, NP_CODING_FINISH);
}

static int encoder_tostring(lua_State *L)
{
    struct encoder *u = luaL_checkudata(L, 1, ENCODER);
    lua_pushfstring(L, "%s: %s%s", ENCODER, np_coding_name(u->coding), u->e ? "" : " (finished)");
    return 1;
}

/* encoder(coding[, level or {level=, size=}]) → encoder */
static int coding_encoder(lua_State *L)
{
    enum np_coding c = np_coding_check(L, 1);
    lua_settop(L, 2);
    struct np_encoder_options o = read_encoder_options(L, 2, c);
    struct encoder *u = lua_newuserdatauv(L, sizeof *u, 0);
    u->e = NULL;
    u->coding = c;
    luaL_setmetatable(L, ENCODER);
    if (np_encoder_new(c, &o, &u->e)) return luaL_error(L, "not enough memory");
    return 1;
}

/* compress(data, coding[, level or {level=}]) → string */
static int coding_compress(lua_State *L)
{
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    enum np_coding c = np_coding_check(L, 2);
    lua_settop(L, 3);
    struct np_encoder_options o = read_encoder_options(L, 3, c);
    if (!o.size) o.size = n;
    struct np_buf *out = push_buf(L);
    struct np_encoder *e;
    enum neap_err err = np_encoder_new(c, &o, &e);
    if (!err) {
        err = np_encoder_write(e, p, n, NP_CODING_FINISH, out);
        np_encoder_free(e);
    }
    if (err) return luaL_error(L, "not enough memory");
    return give(L, out);
}

/* --- decoders */

/* Its user value is the string that it reads from. */
struct decoder {
    struct np_decoder *d; /* NULL: finished, failed or closed */
    size_t at;            /* bytes of the string that were taken */
    bool more;            /* output may come without input */
};

static size_t parse_codings(lua_State *L, int idx, enum np_coding out[NP_CODING_CHAIN_MAX])
{
    struct np_bytes list;
    size_t n = 0;
    list.p = luaL_checklstring(L, idx, &list.n);
    if (np_coding_parse(list, out, &n))
        np_misuse(L, "coding: expected at most %d of gzip, deflate, br and zstd, got \"%.40s\"",
                  NP_CODING_CHAIN_MAX, list.p);
    return n;
}

static struct decoder *check_decoder(lua_State *L)
{
    struct decoder *u = luaL_checkudata(L, 1, DECODER);
    if (!u->d) np_misuse(L, "the decoder is finished, has failed or is closed");
    return u;
}

static int decoder_close(lua_State *L)
{
    struct decoder *u = luaL_checkudata(L, 1, DECODER);
    np_decoder_free(u->d);
    u->d = NULL;
    return 0;
}

static int decoder_fail(lua_State *L, struct decoder *u, enum neap_err err)
{
    if (err == NEAP_ENOMEM) return luaL_error(L, "not enough memory");
    np_fail(L, err, "%s", np_decoder_why(u->d));
    np_decoder_free(u->d);
    u->d = NULL;
    return 2;
}

static enum neap_err read_some(lua_State *L, struct decoder *u, size_t room, struct np_buf *out)
{
    struct np_bytes in = {"", 0};
    lua_getiuservalue(L, 1, 1);
    const char *p = lua_tolstring(L, -1, &in.n);
    if (p) {
        in.p = p + u->at;
        in.n -= u->at;
    }
    size_t had = in.n, before = np_buf_len(out);
    enum neap_err err = np_decoder_step(u->d, &in, room, out);
    u->at += had - in.n;
    u->more = np_buf_len(out) - before == room;
    if (in.n == 0 && p) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
        u->at = 0;
    }
    lua_pop(L, 1);
    return err;
}

/* d:feed(data): what the next reads decode */
static int decoder_feed(lua_State *L)
{
    check_decoder(L);
    luaL_checkstring(L, 2);
    if (lua_getiuservalue(L, 1, 1) != LUA_TNIL)
        return np_misuse(L, "read what was fed before it is fed more");
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

/* d:read([max]) → a piece | nil: feed it more | nil, err */
static int decoder_read(lua_State *L)
{
    struct decoder *u = check_decoder(L);
    lua_Integer max = luaL_optinteger(L, 2, NP_CODING_PIECE);
    luaL_argcheck(L, max > 0, 2, "must be above 0");
    lua_settop(L, 1);
    struct np_buf *out = push_buf(L);
    enum neap_err err = read_some(L, u, (size_t)max, out);
    if (err) return decoder_fail(L, u, err);
    if (np_buf_len(out) > 0) return give(L, out);
    lua_pushnil(L);
    return 1;
}

static int read_all(lua_State *L, struct decoder *u, bool finish)
{
    struct np_buf *out = push_buf(L);
    enum neap_err err;
    do {
        err = read_some(L, u, NP_CODING_PIECE, out);
    } while (!err && u->more);
    if (!err && finish) err = np_decoder_finish(u->d);
    if (err) return decoder_fail(L, u, err);
    if (finish) {
        np_decoder_free(u->d);
        u->d = NULL;
    }
    return give(L, out);
}

/* d:write(data) → all that comes of it | nil, err */
static int decoder_write(lua_State *L)
{
    struct decoder *u = check_decoder(L);
    decoder_feed(L);
    lua_settop(L, 1);
    return read_all(L, u, false);
}

/* d:finish([data]) → the rest | nil, err: nothing follows */
static int decoder_finish(lua_State *L)
{
    struct decoder *u = check_decoder(L);
    if (!lua_isnoneornil(L, 2)) decoder_feed(L);
    lua_settop(L, 1);
    return read_all(L, u, true);
}

static int decoder_tostring(lua_State *L)
{
    struct decoder *u = luaL_checkudata(L, 1, DECODER);
    lua_pushfstring(L, "%s%s", DECODER, u->d ? "" : " (finished)");
    return 1;
}

static struct decoder *push_decoder(lua_State *L, int list, int opts)
{
    enum np_coding chain[NP_CODING_CHAIN_MAX];
    size_t n = parse_codings(L, list, chain);
    struct np_decoder_options o = read_decoder_options(L, opts);
    struct decoder *u = lua_newuserdatauv(L, sizeof *u, 1);
    memset(u, 0, sizeof *u);
    luaL_setmetatable(L, DECODER);
    if (np_decoder_new(chain, n, &o, &u->d)) luaL_error(L, "not enough memory");
    return u;
}

/* decoder(codings[, {max=, max_ratio=, max_window=}]) → decoder */
static int coding_decoder(lua_State *L)
{
    lua_settop(L, 2);
    push_decoder(L, 1, 2);
    return 1;
}

/* decompress(data, codings[, opts]) → string | nil, err */
static int coding_decompress(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 3);
    struct decoder *u = push_decoder(L, 2, 3);
    lua_replace(L, 2);
    lua_settop(L, 2);
    lua_insert(L, 1); /* the decoder, the data */
    lua_setiuservalue(L, 1, 1);
    int n = read_all(L, u, true);
    np_decoder_free(u->d); /* at once, rather than when it is collected */
    u->d = NULL;
    return n;
}

/* --- negotiation */

size_t np_coding_check_list(lua_State *L, int idx, const char *path, enum np_coding out[NP_CODINGS])
{
    size_t n = 0;
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx))
        np_misuse(L, "%s: expected table, got %s", path, luaL_typename(L, idx));
    for (lua_Integer i = 1; lua_rawgeti(L, idx, i) != LUA_TNIL; i++) {
        struct np_bytes name = {"", 0};
        enum np_coding c;
        if (lua_type(L, -1) == LUA_TSTRING) name.p = lua_tolstring(L, -1, &name.n);
        if (!np_coding_by_name(name, &c) || c == NP_CODING_IDENTITY)
            np_misuse(L, "%s[%d]: expected \"gzip\", \"deflate\", \"br\" or \"zstd\"", path,
                      (int)i);
        for (size_t k = 0; k < n; k++) {
            if (out[k] == c) np_misuse(L, "%s[%d]: %s again", path, (int)i, name.p);
        }
        out[n++] = c;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return n;
}

/* negotiate(accept_encoding or nil, offered) → a coding, nil for none */
static int coding_negotiate(lua_State *L)
{
    struct np_http_header header = {{"accept-encoding", 15}, {NULL, 0}};
    struct np_http_head h = {.headers = &header, .nheaders = 0};
    enum np_coding offered[NP_CODINGS];
    if (!lua_isnoneornil(L, 1)) {
        header.value.p = luaL_checklstring(L, 1, &header.value.n);
        h.nheaders = 1;
    }
    size_t n = np_coding_check_list(L, 2, "offered", offered);
    enum np_coding c = np_coding_negotiate(&h, offered, n);
    if (c == NP_CODING_IDENTITY)
        lua_pushnil(L);
    else
        lua_pushstring(L, np_coding_name(c));
    return 1;
}

int np_open_coding(lua_State *L)
{
    static const luaL_Reg encoder_methods[] = {{"write", encoder_write},
                                               {"flush", encoder_flush},
                                               {"finish", encoder_finish},
                                               {"close", encoder_close},
                                               {NULL, NULL}};
    static const luaL_Reg encoder_meta[] = {{"__gc", encoder_close},
                                            {"__close", encoder_close},
                                            {"__tostring", encoder_tostring},
                                            {NULL, NULL}};
    static const luaL_Reg decoder_methods[] = {{"feed", decoder_feed},   {"read", decoder_read},
                                               {"write", decoder_write}, {"finish", decoder_finish},
                                               {"close", decoder_close}, {NULL, NULL}};
    static const luaL_Reg decoder_meta[] = {{"__gc", decoder_close},
                                            {"__close", decoder_close},
                                            {"__tostring", decoder_tostring},
                                            {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"compress", coding_compress},   {"decompress", coding_decompress},
        {"encoder", coding_encoder},     {"decoder", coding_decoder},
        {"negotiate", coding_negotiate}, {NULL, NULL}};
    np_type_new(L, ENCODER, encoder_methods, encoder_meta);
    np_type_new(L, DECODER, decoder_methods, decoder_meta);
    luaL_newlib(L, functions);
    return 1;
}
