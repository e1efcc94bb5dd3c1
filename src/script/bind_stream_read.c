/* Reading from a script's stream: what every call does is to wait until enough stands in the
 * read-ahead buffer, look, and take it or wait again. What is not taken stays for the next call,
 * after a timeout too.
 */
#include <string.h>

#include "script/bind_stream.h"

enum { KEEP_BLOCK = 4096 }; /* bytes of an empty read-ahead buffer that are kept */
enum { DEFAULT_MAX = 64 << 10 };

/* --- waiting for bytes */

enum neap_err np_lstream_no_more(const struct np_lstream *ls)
{
    if (ls->closed) return NEAP_ECLOSED;
    if (ls->ended) return NEAP_EOF;
    if (ls->err) return ls->err;
    if (ls->stopping && np_buf_len(&ls->in) == 0) return NEAP_ECLOSED;
    return ls->s ? NEAP_OK : NEAP_ECLOSED;
}

void np_lstream_read_begin(lua_State *L, struct np_lstream *ls, int64_t timeout)
{
    if (ls->reading) {
        np_push_error(L, NEAP_EBUSY, "another task is reading from this stream");
        lua_error(L);
    }
    if (timeout == NP_LSTREAM_DEFAULT) timeout = ls->read_timeout;
    ls->read_until = timeout == NP_NO_TIMEOUT ? NP_TIME_NEVER
                                              : np_time_add(np_loop_now(ls->script->loop), timeout);
}

static void resume_transport(struct np_lstream *ls)
{
    size_t len = np_buf_len(&ls->in);
    if (!ls->s || ls->closed || ls->ended || ls->err) return;
    if (len >= ls->read_ahead && len >= ls->want) return;
    enum neap_err err = np_stream_read_start(ls->s);
    if (err) np_stream_fail_later(ls->s, err);
}

void np_lstream_consume(struct np_lstream *ls, size_t n)
{
    np_buf_consume(&ls->in, n);
    np_buf_shrink(&ls->in, KEEP_BLOCK);
    resume_transport(ls);
}

static void cancel_read(struct np_wait *w)
{
    struct np_lstream *ls = np_container_of(w, struct np_lstream, reader);
    ls->reading = false;
    ls->want = 0;
}

int np_lstream_read_wait(lua_State *L, struct np_lstream *ls, size_t n, np_wait_fn k)
{
    if (np_buf_len(&ls->in) >= n || np_lstream_no_more(ls)) return k(L, NEAP_OK, ls);
    int64_t timeout = NP_NO_TIMEOUT;
    if (ls->read_until != NP_TIME_NEVER) {
        timeout = ls->read_until - np_loop_now(ls->script->loop);
        if (timeout <= 0) return k(L, NEAP_ETIMEDOUT, ls);
    }
    ls->reading = true;
    ls->want = n;
    resume_transport(ls);
    return np_wait(L, &ls->reader, timeout, cancel_read, k, ls);
}

/* nil, err: for the end and for failures. */
static int no_more(lua_State *L, struct np_lstream *ls, enum neap_err err)
{
    if (!err) err = np_lstream_no_more(ls);
    if (err == NEAP_EOF && np_buf_len(&ls->in) > 0) {
        return np_fail(L, err, "the stream ended after %zu bytes of what was asked for",
                       np_buf_len(&ls->in));
    }
    return np_lstream_fail(L, ls, err);
}

/* Pushes the first `n` bytes less the last `cut`, and drops them all. */
static int take(lua_State *L, struct np_lstream *ls, size_t n, size_t cut)
{
    lua_pushlstring(L, np_buf_data(&ls->in), n - cut);
    np_lstream_consume(ls, n);
    return 1;
}

/* A count at `idx`. */
static size_t check_size(lua_State *L, int idx)
{
    lua_Integer n = luaL_checkinteger(L, idx);
    luaL_argcheck(L, n >= 0, idx, "must not be negative");
    return (size_t)n;
}

/* --- read */

/* Stack: the stream, max or nil. */
static int read_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    size_t max = lua_isnil(L, 2) ? SIZE_MAX : (size_t)lua_tointeger(L, 2);
    np_lstream_read_over(ls);
    size_t len = np_buf_len(&ls->in);
    if (len == 0)
        return err || np_lstream_no_more(ls) ? no_more(L, ls, err)
                                             : np_lstream_read_wait(L, ls, 1, read_k);
    return take(L, ls, len < max ? len : max, 0);
}

/* s:read([max][, {timeout=}]) → at least one byte, at most `max` | nil, err (EOF at the end) */
static int stream_read(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    lua_settop(L, 3);
    if (lua_istable(L, 2) && lua_isnil(L, 3)) { /* no max */
        lua_pushnil(L);
        lua_insert(L, 2);
    }
    if (!lua_isnil(L, 2)) luaL_argcheck(L, check_size(L, 2) > 0, 2, "must be at least 1");
    int64_t timeout = np_lstream_timeout(L, 3, NP_LSTREAM_DEFAULT);
    lua_settop(L, 2);
    np_lstream_read_begin(L, ls, timeout);
    return np_lstream_read_wait(L, ls, 1, read_k);
}

/* --- read_exactly */

/* Stack: the stream, n. */
static int exactly_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    size_t n = (size_t)lua_tointeger(L, 2);
    np_lstream_read_over(ls);
    if (np_buf_len(&ls->in) >= n) return take(L, ls, n, 0);
    if (err || np_lstream_no_more(ls)) return no_more(L, ls, err);
    return np_lstream_read_wait(L, ls, n, exactly_k);
}

/* s:read_exactly(n[, {timeout=}]) → n bytes | nil, err; what has come stays when it fails */
static int stream_read_exactly(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    size_t n = check_size(L, 2);
    int64_t timeout = np_lstream_timeout(L, 3, NP_LSTREAM_DEFAULT);
    lua_settop(L, 2);
    np_lstream_read_begin(L, ls, timeout);
    return np_lstream_read_wait(L, ls, n, exactly_k);
}

/* --- read_until, read_line */

/* Where `sep` begins at or after `from`, or SIZE_MAX. */
static size_t find(const struct np_lstream *ls, size_t from, const char *sep, size_t nsep)
{
    const char *p = np_buf_data(&ls->in);
    size_t len = np_buf_len(&ls->in);
    if (from >= len) return SIZE_MAX;
    const char *hit = memmem(p + from, len - from, sep, nsep);
    return hit ? (size_t)(hit - p) : SIZE_MAX;
}

static int too_long(lua_State *L, size_t max)
{
    return np_fail(L, NEAP_ELIMIT, "no separator within %zu bytes", max);
}

/* Stack: the stream, the separator, max, whether it is a line, how much has been searched. */
static int until_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    size_t nsep;
    const char *sep = lua_tolstring(L, 2, &nsep);
    size_t max = (size_t)lua_tointeger(L, 3);
    np_lstream_read_over(ls);
    size_t at = find(ls, (size_t)lua_tointeger(L, 5), sep, nsep);
    size_t len = np_buf_len(&ls->in);
    if (at != SIZE_MAX) {
        if (at > max) return too_long(L, max);
        bool cr = lua_toboolean(L, 4) && at > 0 && np_buf_data(&ls->in)[at - 1] == '\r';
        return take(L, ls, at + nsep, nsep + cr);
    }
    if (len >= max + nsep) return too_long(L, max);
    if (err || np_lstream_no_more(ls)) return no_more(L, ls, err);
    lua_pushinteger(L, len >= nsep ? (lua_Integer)(len - nsep + 1) : 0);
    lua_replace(L, 5);
    return np_lstream_read_wait(L, ls, len + 1, until_k);
}

static int begin_until(lua_State *L, struct np_lstream *ls, int opts_idx, bool line)
{
    struct opts {
        int64_t timeout;
        size_t max;
    } o = {NP_LSTREAM_DEFAULT, DEFAULT_MAX};
    static const struct np_opt spec[] = {
        {"timeout", NP_OPT_SECONDS, offsetof(struct opts, timeout), 0, 0},
        {"max", NP_OPT_SIZE, offsetof(struct opts, max), 1, 1 << 30},
        {0}};
    np_opts_read(L, opts_idx, "opts", spec, &o);
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer)o.max);
    lua_pushboolean(L, line);
    lua_pushinteger(L, 0);
    np_lstream_read_begin(L, ls, o.timeout);
    return until_k(L, NEAP_OK, ls);
}

/* s:read_until(separator[, {max=65536, timeout=}]) → what stands before it | nil, err */
static int stream_read_until(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    size_t n;
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_tolstring(L, 2, &n);
    luaL_argcheck(L, n > 0, 2, "the separator must not be empty");
    return begin_until(L, ls, 3, false);
}

/* s:read_line([{max=65536, timeout=}]) → a line without its end, "\n" or "\r\n" | nil, err */
static int stream_read_line(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    lua_settop(L, 2);
    lua_pushliteral(L, "\n");
    lua_insert(L, 2);
    return begin_until(L, ls, 3, true);
}

/* --- chunks */

/* Stack: the stream, nil. A failure other than the end raises: a loop could not tell them apart. */
static int chunk_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct np_lstream *ls = ctx;
    np_lstream_read_over(ls);
    size_t len = np_buf_len(&ls->in);
    if (len > 0) return take(L, ls, len, 0);
    if (!err) err = np_lstream_no_more(ls);
    if (!err) return np_lstream_read_wait(L, ls, 1, chunk_k);
    if (err == NEAP_EOF) return lua_pushnil(L), 1;
    np_push_error(L, err, NULL);
    return lua_error(L);
}

static int next_chunk(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    lua_settop(L, 1);
    np_lstream_read_begin(L, ls, NP_LSTREAM_DEFAULT);
    return np_lstream_read_wait(L, ls, 1, chunk_k);
}

/* for chunk in s:chunks() do … end: until the peer ends. */
static int stream_chunks(lua_State *L)
{
    np_lstream_check(L, 1);
    lua_pushcfunction(L, next_chunk);
    lua_pushvalue(L, 1);
    return 2;
}

const luaL_Reg np_lstream_read_methods[] = {{"read", stream_read},
                                            {"read_exactly", stream_read_exactly},
                                            {"read_until", stream_read_until},
                                            {"read_line", stream_read_line},
                                            {"chunks", stream_chunks},
                                            {NULL, NULL}};
