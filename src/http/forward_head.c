/* The heads of what is forwarded: made anew from the parsed ones, without what belongs to one
 * connection. */
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "http/forward_impl.h"
#include "http/server_impl.h"

enum { MAX_NAMED = 16 }; /* fields of Connection that are looked at; more of them pass nothing */

/* What Connection says of a head. */
struct named {
    struct np_bytes lists[MAX_NAMED];
    size_t n;
    bool too_many;
};

/* The usual ones. What "keep-alive" would name is left behind anyhow. */
static bool names_none(struct np_bytes list)
{
    return np_http_name_is(list, "keep-alive", 10) || np_http_name_is(list, "close", 5);
}

static void find_named(const struct np_http_head *h, struct named *out)
{
    out->n = 0;
    out->too_many = false;
    for (size_t i = 0; i < h->nheaders; i++) {
        if (!np_http_name_is(h->headers[i].name, "connection", 10)) continue;
        if (names_none(h->headers[i].value)) continue;
        out->too_many = out->n == MAX_NAMED;
        if (out->too_many) return;
        out->lists[out->n++] = h->headers[i].value;
    }
}

static bool is_named(const struct named *named, struct np_bytes name)
{
    char lower[128];
    if (named->n == 0) return false;
    if (name.n > sizeof lower) return true; /* to be safe: nobody can tell */
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    for (size_t i = 0; i < named->n; i++) {
        if (np_http_list_has(named->lists[i], lower, name.n)) return true;
    }
    return false;
}

static bool same_name(struct np_bytes a, struct np_bytes b)
{
    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

static bool is_set(const struct np_http_request *r, struct np_bytes name)
{
    for (size_t i = 0; i < r->nheaders; i++) {
        if (same_name(r->headers[i].name, name)) return true;
    }
    return false;
}

static bool is_framing(struct np_bytes name)
{
    return np_http_name_is(name, "content-length", 14) || np_http_is_hop_by_hop(name);
}

static bool passes(const struct np_http_forward_options *o, const struct named *named,
                   struct np_bytes name)
{
    if (is_framing(name) || is_set(&o->request, name)) return false;
    if (np_http_name_is(name, "host", 4)) return o->keep_host;
    if (np_http_name_is(name, "expect", 6)) return false;
    return !is_named(named, name);
}

/* "/path?query", whatever form it came in; "*" stays. */
static const char *target_of(struct np_http_exchange *x)
{
    const struct np_http_head *h = &x->head;
    if (h->target.p[0] == '/' || h->path.p[0] == '*')
        return np_arena_strndup(x->arena, h->target.p, h->target.n);
    size_t query = h->query.p ? h->query.n + 1 : 0;
    char *text = np_arena_alloc(x->arena, h->path.n + query + 1);
    if (!text) return NULL;
    memcpy(text, h->path.p, h->path.n);
    if (query) {
        text[h->path.n] = '?';
        memcpy(text + h->path.n + 1, h->query.p, h->query.n);
    }
    text[h->path.n + query] = '\0';
    return text;
}

enum neap_err np_http_forward_request(struct np_http_exchange *x,
                                      const struct np_http_forward_options *o,
                                      struct np_http_request *out)
{
    const struct np_http_head *h = &x->head;
    struct np_http_request r = o->request;
    struct named named;
    find_named(h, &named);
    if (named.too_many) return NEAP_EPROTO;
    if (h->has_body && !r.body && np_http_conn_of(x)->body_wanted) return NEAP_EBUSY;
    struct np_http_header *list =
        np_arena_alloc(x->arena, (h->nheaders + r.nheaders + 1) * sizeof *list);
    if (!list) return NEAP_ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < h->nheaders; i++) {
        if (passes(o, &named, h->headers[i].name)) list[n++] = h->headers[i];
    }
    for (size_t i = 0; i < r.nheaders; i++) {
        if (r.headers[i].value.p) list[n++] = r.headers[i];
    }
    if (!r.method) r.method = np_arena_strndup(x->arena, h->method_name.p, h->method_name.n);
    if (!r.target) r.target = target_of(x);
    if (!r.method || !r.target) return NEAP_ENOMEM;
    r.headers = list;
    r.nheaders = n;
    r.stream_body = h->has_body && !r.body;
    r.content_length = r.stream_body ? h->content_length : -1;
    *out = r;
    return NEAP_OK;
}

void np_http_forward_unread(struct np_http_exchange *x)
{
    struct np_http_conn *c = np_http_conn_of(x);
    if (x->finished || c->state != NP_CONN_EXCHANGE || !c->body_wanted || c->body_told) return;
    np_http_body_stop(x);
    c->body_wanted = false;
}

static struct np_bytes copy_bytes(struct np_arena *arena, struct np_bytes b, bool *ok)
{
    char *p = np_arena_strndup(arena, b.n ? b.p : "", b.n);
    if (!p) *ok = false;
    return (struct np_bytes){p, b.n};
}

enum neap_err np_http_forward_copy(struct np_arena *arena, const struct np_http_header *fields,
                                   size_t n, const struct np_http_header **out)
{
    bool ok = true;
    *out = NULL;
    if (n == 0) return NEAP_OK;
    struct np_http_header *list = np_arena_alloc(arena, n * sizeof *list);
    if (!list) return NEAP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        list[i].name = copy_bytes(arena, fields[i].name, &ok);
        list[i].value = copy_bytes(arena, fields[i].value, &ok);
    }
    *out = list;
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

enum neap_err np_http_forward_answer_head(struct np_arena *arena, const struct np_http_head *h,
                                          const struct np_http_header *more, size_t nmore,
                                          struct np_http_header **out, size_t *count)
{
    struct named named;
    bool date = false, server = false;
    find_named(h, &named);
    if (named.too_many) return NEAP_EPROTO;
    struct np_http_header *list =
        np_arena_alloc(arena, (h->nheaders + nmore + NP_HTTP_COMPRESS_HEADERS) * sizeof *list);
    if (!list) return NEAP_ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < h->nheaders; i++) {
        struct np_bytes name = h->headers[i].name;
        if (is_framing(name) || is_named(&named, name)) continue;
        bool *once = np_http_name_is(name, "date", 4)     ? &date
                     : np_http_name_is(name, "server", 6) ? &server
                                                          : NULL;
        if (once && *once) continue; /* one of them is enough for anybody */
        if (once) *once = true;
        list[n++] = h->headers[i];
    }
    for (size_t i = 0; i < nmore; i++)
        list[n++] = more[i];
    *out = list;
    *count = n;
    return NEAP_OK;
}
