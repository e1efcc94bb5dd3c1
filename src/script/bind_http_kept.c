/* A request's head that outlives its exchange, so that a handler that has answered by hand can go
 * on asking what it answered. One block, held by a user value of the request. */
#include <stdio.h>
#include <string.h>

#include "script/bind_http_request.h"

#define KEPT 3 /* the request's user value */

static struct np_bytes take(char **at, struct np_bytes b)
{
    struct np_bytes copy = {*at, b.n};
    if (b.n) memcpy(*at, b.p, b.n);
    *at += b.n;
    return copy;
}

static size_t bytes_of(const struct np_http_header *h, size_t n)
{
    size_t total = n * sizeof *h;
    for (size_t i = 0; i < n; i++)
        total += h[i].name.n + h[i].value.n;
    return total;
}

/* The fields stand at `out`, their bytes at `*at`. */
static void take_all(struct np_http_header *out, char **at, const struct np_http_header *h,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i].name = take(at, h[i].name);
        out[i].value = take(at, h[i].value);
    }
}

static size_t size_for(struct np_http_exchange *x)
{
    const struct np_http_head *h = &x->head;
    struct np_http_asker asker;
    np_http_exchange_asker(x, &asker);
    return asker.host.n + sizeof(struct np_http_kept) + bytes_of(h->headers, h->nheaders) +
           bytes_of(x->trailers, x->ntrailers) + h->method_name.n + h->target.n + h->path.n +
           h->query.n;
}

static void fill(struct np_http_kept *k, struct np_http_exchange *x)
{
    const struct np_http_head *h = &x->head;
    struct np_http_header *fields = (struct np_http_header *)(k + 1);
    char *at = (char *)(fields + h->nheaders + x->ntrailers);
    k->head = *h;
    take_all(fields, &at, h->headers, h->nheaders);
    k->head.headers = fields;
    take_all(fields + h->nheaders, &at, x->trailers, x->ntrailers);
    k->head.trailers = fields + h->nheaders;
    k->head.ntrailers = x->ntrailers;
    k->head.method_name = take(&at, h->method_name);
    k->head.target = take(&at, h->target);
    k->head.path = take(&at, h->path);
    k->head.query = take(&at, h->query);
    k->body_complete = x->body_complete;
    np_http_exchange_peer(x, k->remote, sizeof k->remote);
    np_http_exchange_asker(x, &k->asker);
    k->asker.host = take(&at, k->asker.host);
    snprintf(k->id, sizeof k->id, "%s", np_http_exchange_id(x));
}

void np_http_req_keep(lua_State *L, int idx, struct np_http_req *r)
{
    if (!r->x || r->kept) return;
    idx = lua_absindex(L, idx);
    struct np_http_kept *k = lua_newuserdatauv(L, size_for(r->x), 0);
    if (!r->x || r->kept) { /* a finaliser answered it */
        lua_pop(L, 1);
        return;
    }
    fill(k, r->x);
    lua_setiuservalue(L, idx, KEPT);
    r->kept = k;
}

static int keep_in_registry(lua_State *L)
{
    struct np_http_req *r = lua_touserdata(L, 1);
    struct np_http_kept *k = lua_newuserdatauv(L, size_for(r->x), 0);
    fill(k, r->x);
    lua_rawsetp(L, LUA_REGISTRYINDEX, r);
    r->kept = k;
    r->registered = true;
    return 0;
}

/* The collector rests meanwhile: a finaliser would be a script that runs where none may. */
void np_http_req_keep_from_loop(struct np_http_req *r)
{
    lua_State *L = r->task->script->L;
    if (!r->x || r->kept || !lua_checkstack(L, 4)) return;
    bool collects = lua_gc(L, LUA_GCISRUNNING);
    if (collects) lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, keep_in_registry);
    lua_pushlightuserdata(L, r);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1); /* no memory: then it cannot be asked */
    if (collects) lua_gc(L, LUA_GCRESTART);
}

void np_http_req_forget(struct np_http_req *r)
{
    lua_State *L = r->task->script->L;
    if (!r->registered || !lua_checkstack(L, 2)) return;
    r->registered = false;
    r->kept = NULL;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, r); /* the key is there: nothing is allocated */
}
