/* A request's head that outlives its exchange, so that a handler that has answered by hand can go
 * on asking what it answered. One block, held by a user value of the request. */
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

void np_http_req_keep(lua_State *L, int idx, struct np_http_req *r)
{
    if (!r->x || r->kept) return;
    const struct np_http_head *h = &r->x->head;
    size_t size = sizeof(struct np_http_kept) + bytes_of(h->headers, h->nheaders) +
                  bytes_of(r->x->trailers, r->x->ntrailers) + h->method_name.n + h->target.n +
                  h->path.n + h->query.n;
    idx = lua_absindex(L, idx);
    struct np_http_kept *k = lua_newuserdatauv(L, size, 0);
    if (!r->x) { /* a finaliser answered it */
        lua_pop(L, 1);
        return;
    }
    k->head = *h;
    struct np_http_header *fields = (struct np_http_header *)(k + 1);
    char *at = (char *)(fields + h->nheaders + r->x->ntrailers);
    take_all(fields, &at, h->headers, h->nheaders);
    k->head.headers = fields;
    take_all(fields + h->nheaders, &at, r->x->trailers, r->x->ntrailers);
    k->head.trailers = fields + h->nheaders;
    k->head.ntrailers = r->x->ntrailers;
    k->head.method_name = take(&at, h->method_name);
    k->head.target = take(&at, h->target);
    k->head.path = take(&at, h->path);
    k->head.query = take(&at, h->query);
    k->body_complete = r->x->body_complete;
    np_http_exchange_peer(r->x, k->remote, sizeof k->remote);
    lua_setiuservalue(L, idx, KEPT);
    r->kept = k;
}
