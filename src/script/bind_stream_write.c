/* Writing to a script's stream: bytes go to the transport or its queue at once and whole; a writer
 * then waits while the queue is above its high water.
 */
#include "script/bind_stream.h"

enum { FEW = 16 }; /* slices that need no memory of their own */

static int write_k(lua_State *L, enum neap_err err, void *ctx)
{
    if (err == NEAP_ETIMEDOUT)
        return np_fail(L, err, "the peer does not read; what was written is still queued");
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static enum neap_err why_not(const struct np_lstream *ls, enum neap_err err)
{
    if (ls->closed) return NEAP_ECLOSED;
    return ls->err ? ls->err : err;
}

int np_lstream_write(lua_State *L, struct np_lstream *ls, const struct np_slice *v, size_t nv,
                     int64_t timeout)
{
    enum neap_err err = ls->s ? np_stream_writev(ls->s, v, nv) : NEAP_ECLOSED;
    if (err == NEAP_ELIMIT)
        return np_fail(L, err, "more than %zu bytes would be queued", ls->s->max_queue);
    if (err) return np_fail(L, why_not(ls, err), NULL);
    if (np_stream_writable(ls->s)) return write_k(L, NEAP_OK, NULL);
    struct np_task *t = np_task_current(L);
    np_wait_enqueue(&ls->writers, &t->sleep);
    return np_wait(L, &t->sleep, timeout, np_wait_dequeue, write_k, NULL);
}

static int write_table(lua_State *L, struct np_lstream *ls, int64_t timeout)
{
    struct np_slice few[FEW];
    struct np_slice *v = few;
    lua_Integer n = luaL_len(L, 2);
    if (n > FEW) v = lua_newuserdatauv(L, (size_t)n * sizeof *v, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, 2, i) != LUA_TSTRING)
            return luaL_argerror(L, 2, "expected strings in the table");
        v[i - 1].p = lua_tolstring(L, -1, &v[i - 1].n); /* held by the table */
        lua_pop(L, 1);
    }
    return np_lstream_write(L, ls, v, (size_t)n, timeout);
}

/* s:write(string or table of strings[, {timeout=}]) → true | nil, err */
static int stream_write(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    lua_settop(L, 3);
    int64_t timeout = np_lstream_timeout(L, 3, NP_NO_TIMEOUT);
    if (lua_istable(L, 2)) return write_table(L, ls, timeout);
    struct np_slice v;
    v.p = luaL_checklstring(L, 2, &v.n);
    return np_lstream_write(L, ls, &v, 1, timeout);
}

/* s:shutdown(): the peer sees the end once what is queued has left → true | nil, err */
static int stream_shutdown(lua_State *L)
{
    struct np_lstream *ls = np_lstream_check(L, 1);
    enum neap_err err = ls->s ? np_stream_shutdown(ls->s) : NEAP_ECLOSED;
    if (err) return np_fail(L, why_not(ls, err), NULL);
    lua_pushboolean(L, 1);
    return 1;
}

const luaL_Reg np_lstream_write_methods[] = {
    {"write", stream_write}, {"shutdown", stream_shutdown}, {NULL, NULL}};
