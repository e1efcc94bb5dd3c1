/* Decompression of requests' bodies; see bind_http_decompress.h. The loop's thread. */
#include "script/bind_http_decompress.h"

#include <string.h>

#include "base/alloc.h"
#include "script/bind_coding.h"
#include "script/bind_http.h"
#include "script/bind_http_reqbody.h"
#include "script/luax.h"

#define PLAN "neap.http.decompression"
#define MAX_BYTES ((size_t)1 << 20)

struct np_http_unpack {
    struct np_decoder *d;
    struct np_buf raw; /* came, and not decoded yet */
    bool more;         /* output may come without input */
};

enum neap_err np_http_unpack_new(const enum np_coding *codings, size_t n,
                                 const struct np_decoder_options *o, struct np_http_unpack **out)
{
    struct np_http_unpack *u = np_calloc(1, sizeof *u);
    if (!u) return NEAP_ENOMEM;
    enum neap_err err = np_decoder_new(codings, n, o, &u->d);
    if (err) {
        np_free(u);
        return err;
    }
    *out = u;
    return NEAP_OK;
}

enum neap_err np_http_unpack_feed(struct np_http_unpack *u, const char *p, size_t n)
{
    return np_buf_append(&u->raw, p, n);
}

enum neap_err np_http_unpack_some(struct np_http_unpack *u, size_t upto, struct np_buf *out)
{
    size_t before = np_buf_len(out);
    while (np_buf_len(out) < upto && !np_http_unpack_dry(u)) {
        struct np_bytes in = {np_buf_data(&u->raw), np_buf_len(&u->raw)};
        size_t had = np_buf_len(out), size = in.n, room = upto - had;
        if (room > NP_CODING_PIECE) room = NP_CODING_PIECE;
        enum neap_err err = np_decoder_step(u->d, &in, room, out);
        if (err) {
            out->tail = out->head + before;
            return err;
        }
        u->more = np_buf_len(out) - had == room;
        np_buf_consume(&u->raw, size - in.n);
    }
    return NEAP_OK;
}

bool np_http_unpack_dry(const struct np_http_unpack *u)
{
    return !u->more && np_buf_len(&u->raw) == 0;
}

enum neap_err np_http_unpack_finish(struct np_http_unpack *u)
{
    return np_decoder_finish(u->d);
}

const char *np_http_unpack_why(const struct np_http_unpack *u)
{
    return np_decoder_why(u->d);
}

void np_http_unpack_free(struct np_http_unpack *u)
{
    if (!u) return;
    np_decoder_free(u->d);
    np_buf_fini(&u->raw);
    np_free(u);
}

/* --- Lua */

struct plan {
    struct np_decoder_options o;
    bool taken[NP_CODINGS];
};

/* The codings of all Content-Encoding headers. */
static enum neap_err read_codings(const struct np_http_head *h, enum np_coding *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < h->nheaders; i++) {
        enum np_coding some[NP_CODING_CHAIN_MAX];
        size_t count;
        if (!np_http_name_is(h->headers[i].name, "content-encoding", 16)) continue;
        enum neap_err err = np_coding_parse(h->headers[i].value, some, &count);
        if (err) return err;
        if (*n + count > NP_CODING_CHAIN_MAX) return NEAP_ENOTSUP;
        memcpy(out + *n, some, count * sizeof *some);
        *n += count;
    }
    return NEAP_OK;
}

bool np_http_decompress_hides(struct np_bytes name)
{
    return np_http_name_is(name, "content-encoding", 16) ||
           np_http_name_is(name, "content-length", 14);
}

void np_http_decompress_hide(lua_State *L)
{
    static const char *const names[] = {"content-encoding", "content-length"};
    for (int i = 0; i < 2; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, names[i]);
    }
}

/* decompress(req, plan) → nil | the status that refuses it: 415, 400 */
static int http_decompress(lua_State *L)
{
    struct np_http_req *r = np_http_req_check(L, 1);
    const struct plan *plan = luaL_checkudata(L, 2, PLAN);
    enum np_coding chain[NP_CODING_CHAIN_MAX];
    size_t n;
    if (!r->x || r->body) return 0;
    enum neap_err err = read_codings(&r->x->head, chain, &n);
    for (size_t i = 0; !err && i < n; i++) {
        if (!plan->taken[chain[i]]) err = NEAP_ENOTSUP;
    }
    if (err) {
        lua_pushinteger(L, err == NEAP_EPROTO ? 400 : 415);
        return 1;
    }
    if (n == 0) return 0;
    struct np_http_reqbody *b = np_http_reqbody_new(L, 1, r);
    if (!r->x) return 0; /* by a finaliser, meanwhile */
    struct np_http_unpack *u;
    if (np_http_unpack_new(chain, n, &plan->o, &u)) return luaL_error(L, "not enough memory");
    np_http_reqbody_unpack(b, u);
    r->decoded = true;
    return 0;
}

/* decompression([{max_bytes=1 MiB, max_ratio=200, encodings=all}]) → plan */
static int http_decompression(lua_State *L)
{
    static const struct np_opt spec[] = {
        {"max_bytes", NP_OPT_SIZE, offsetof(struct np_decoder_opts, max), 0, 0},
        {"max_ratio", NP_OPT_SIZE, offsetof(struct np_decoder_opts, max_ratio), 0, 0},
        {"encodings", NP_OPT_ANY, 0, 0, 0},
        {0}};
    struct np_decoder_options defaults = NP_DECODER_OPTIONS_INIT;
    struct np_decoder_opts o = {MAX_BYTES, defaults.max_ratio, 0};
    enum np_coding taken[NP_CODINGS] = {NP_CODING_GZIP, NP_CODING_DEFLATE, NP_CODING_BR,
                                        NP_CODING_ZSTD};
    size_t n = 4;
    lua_settop(L, 1);
    np_opts_read(L, 1, "opts", spec, &o);
    struct plan *plan = lua_newuserdatauv(L, sizeof *plan, 0);
    memset(plan, 0, sizeof *plan);
    luaL_setmetatable(L, PLAN);
    plan->o = defaults;
    if (o.max) plan->o.max_output = o.max;
    plan->o.max_ratio = o.max_ratio;
    if (lua_istable(L, 1) && lua_getfield(L, 1, "encodings") != LUA_TNIL)
        n = np_coding_check_list(L, -1, "opts.encodings", taken);
    for (size_t i = 0; i < n; i++)
        plan->taken[taken[i]] = true;
    lua_pushvalue(L, 2);
    return 1;
}

void np_http_add_decompress(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"decompression", http_decompression}, {"decompress", http_decompress}, {NULL, NULL}};
    np_type_new(L, PLAN, NULL, NULL);
    luaL_setfuncs(L, functions, 0);
}
