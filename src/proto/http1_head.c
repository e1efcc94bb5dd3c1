/* The head of a message: its fields as llhttp finds them, and the rules of RFC 9112 for the whole.
 * One thread at a time. */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "proto/http1_impl.h"

enum { FIRST_HEADERS = 16 };

static enum neap_err bad(struct np_http1_parser *p, const char *why)
{
    return np_http1_fail(p, 400, NEAP_EPROTO, why);
}

bool np_http1_grow_headers(struct np_http1_parser *p)
{
    size_t cap = p->headers_cap ? p->headers_cap * 2 : FIRST_HEADERS;
    struct np_http_header *h = np_realloc(p->headers, cap * sizeof *h);
    if (!h) return false;
    p->headers = h;
    p->headers_cap = cap;
    p->head->headers = h;
    return true;
}

/* A name, or its continuation: a head stands in one block, so pieces of it touch. */
enum neap_err np_http1_head_field(struct np_http1_parser *p, const char *at, size_t n)
{
    struct np_http_head *h = p->head;
    if (p->in_name) {
        h->headers[h->nheaders - 1].name.n += n;
        return NEAP_OK;
    }
    if (h->nheaders >= p->limits.max_headers)
        return np_http1_fail(p, 431, NEAP_ELIMIT, "too many headers");
    if (h->nheaders == p->headers_cap && !np_http1_grow_headers(p))
        return np_http1_fail(p, 500, NEAP_ENOMEM, "out of memory");
    h->headers[h->nheaders++] = (struct np_http_header){{at, n}, {NULL, 0}};
    p->in_name = true;
    return NEAP_OK;
}

enum neap_err np_http1_head_value(struct np_http1_parser *p, const char *at, size_t n)
{
    if (!p->in_name) return bad(p, "a header without a name");
    struct np_bytes *v = &p->head->headers[p->head->nheaders - 1].value;
    if (!v->p) v->p = at;
    v->n = (size_t)(at + n - v->p);
    return NEAP_OK;
}

/* RFC 9112 §3.2: a host as a URI has it, port and all; an empty one is allowed. */
static enum neap_err check_host(struct np_http1_parser *p, struct np_bytes v)
{
    struct np_bytes host, port;
    if (p->seen_host) return bad(p, "Host is given twice");
    p->seen_host = true;
    return np_http1_split_host(v, &host, &port) ? NEAP_OK : bad(p, "bad Host");
}

static enum neap_err check_coding(struct np_http1_parser *p, struct np_bytes v)
{
    if (p->seen_coding) return bad(p, "Transfer-Encoding is given twice");
    p->seen_coding = true;
    if (np_http_name_is(v, "chunked", 7)) return NEAP_OK;
    if (p->type == NP_HTTP1_RESPONSE) return bad(p, "unknown transfer coding"); /* nobody asked */
    if (np_http_list_has(v, "chunked", 7) || v.n == 0) return bad(p, "bad Transfer-Encoding");
    return np_http1_fail(p, 501, NEAP_ENOTSUP, "unknown transfer coding");
}

enum neap_err np_http1_head_value_done(struct np_http1_parser *p)
{
    if (!p->in_name) return bad(p, "a header without a name");
    struct np_http_header *h = &p->head->headers[p->head->nheaders - 1];
    struct np_bytes *v = &h->value;
    if (h->name.n == 0) return bad(p, "a header without a name");
    if (!v->p) v->p = "";
    while (v->n && (v->p[v->n - 1] == ' ' || v->p[v->n - 1] == '\t'))
        v->n--;
    p->in_name = false;
    switch (h->name.n) {
    case 4:
        if (p->type == NP_HTTP1_RESPONSE || !np_http_name_is(h->name, "host", 4)) break;
        return check_host(p, *v);
    case 6:
        if (p->type == NP_HTTP1_RESPONSE || !np_http_name_is(h->name, "expect", 6)) break;
        if (!np_http_name_is(*v, "100-continue", 12))
            return np_http1_fail(p, 417, NEAP_ENOTSUP, "unknown expectation");
        p->head->expect_continue = true;
        break;
    case 14:
        if (!np_http_name_is(h->name, "content-length", 14)) break;
        if (p->seen_length) return bad(p, "Content-Length is given twice");
        p->seen_length = true;
        break;
    case 17:
        if (np_http_name_is(h->name, "transfer-encoding", 17)) return check_coding(p, *v);
        break;
    default:
        break;
    }
    return NEAP_OK;
}

/* "http://host/path" (RFC 9112 §3.2.2) leaves "/path". */
static bool strip_origin(struct np_bytes *path, struct np_bytes *authority, long *port)
{
    size_t skip = 0;
    if (path->n > 7 && strncasecmp(path->p, "http://", 7) == 0) skip = 7;
    if (path->n > 8 && strncasecmp(path->p, "https://", 8) == 0) skip = 8;
    if (skip == 0) return false;
    const char *end = path->p + path->n;
    const char *at = path->p + skip;
    while (at < end && *at != '/' && *at != '?')
        at++;
    if (at == path->p + skip) return false;
    *authority = (struct np_bytes){path->p + skip, (size_t)(at - path->p) - skip};
    *port = skip == 7 ? 80 : 443;
    *path = (struct np_bytes){at, (size_t)(end - at)};
    return true;
}

/* A target that names another host than Host does could be served as either: it is refused. */
static enum neap_err check_authority(struct np_http1_parser *p, struct np_bytes authority,
                                     long default_port)
{
    struct np_bytes host, port;
    if (!np_http1_split_host(authority, &host, &port)) return bad(p, "bad request target");
    if (!p->seen_host) return NEAP_OK;
    host = np_http_header_get(p->head, "host", 4);
    if (np_http1_same_host(host, authority, default_port)) return NEAP_OK;
    return bad(p, "Host is not the request target's");
}

static enum neap_err split_target(struct np_http1_parser *p)
{
    struct np_http_head *h = p->head;
    struct np_bytes rest = h->target, authority = {NULL, 0};
    long port = -1;
    if (rest.n == 0 || !np_http_is_target(rest.p, rest.n)) return bad(p, "bad request target");
    if (h->method == HTTP_CONNECT) {
        h->path = rest;
        if (!np_http1_is_connect_target(rest)) return bad(p, "bad request target");
        return check_authority(p, rest, port);
    }
    if (rest.p[0] != '/' && !strip_origin(&rest, &authority, &port) &&
        !(rest.n == 1 && rest.p[0] == '*' && h->method == HTTP_OPTIONS))
        return bad(p, "bad request target");
    const char *mark = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
    h->path = (struct np_bytes){rest.p, mark ? (size_t)(mark - rest.p) : rest.n};
    if (mark) h->query = (struct np_bytes){mark + 1, (size_t)(rest.p + rest.n - (mark + 1))};
    if (h->path.n == 0) h->path = (struct np_bytes){"/", 1};
    return authority.p ? check_authority(p, authority, port) : NEAP_OK;
}

static enum neap_err request_done(struct np_http1_parser *p)
{
    struct np_http_head *h = p->head;
    h->method = p->ll.method;
    h->method_name = (struct np_bytes){p->base, (size_t)(h->target.p - 1 - p->base)};
    const char *after = h->target.p + h->target.n;
    if (memchr(p->base, ' ', h->method_name.n) || after[0] != ' ' || after[1] != 'H')
        return bad(p, "bad request line");
    if (h->major != 1) return np_http1_fail(p, 505, NEAP_ENOTSUP, "not HTTP/1");
    h->upgrade = p->ll.upgrade != 0;
    if (h->method != HTTP_CONNECT) p->ll.upgrade = 0; /* until it is answered 101 */
    if (!p->seen_host && h->minor > 0) return bad(p, "Host is missing");
    if (p->seen_coding && h->minor == 0) return bad(p, "Transfer-Encoding in HTTP/1.0");
    h->has_body = h->method != HTTP_CONNECT && (h->chunked || h->content_length > 0);
    if (h->method == HTTP_CONNECT && (h->chunked || h->content_length > 0))
        return bad(p, "CONNECT with a body");
    if (h->minor == 0 || !h->has_body) h->expect_continue = false;
    return split_target(p);
}

static enum neap_err response_done(struct np_http1_parser *p)
{
    struct np_http_head *h = p->head;
    if (h->major != 1) return np_http1_fail(p, 505, NEAP_ENOTSUP, "not HTTP/1");
    h->status = p->ll.status_code;
    const char *after = p->base + sizeof "HTTP/1.1 200" - 1; /* llhttp 8 lets "0200" pass */
    if (h->status < 100 || (*after != ' ' && *after != '\r')) return bad(p, "bad status");
    h->upgrade = p->ll.upgrade != 0 && h->status == 101;
    if (!h->reason.p) h->reason.p = "";
    if (!np_http_is_value(h->reason.p, h->reason.n)) return bad(p, "bad reason phrase");
    bool none = p->request_method == HTTP_HEAD || h->status < 200 || h->status == 204 ||
                h->status == 304 || (p->request_method == HTTP_CONNECT && h->status < 300);
    h->has_body = !none && (h->chunked || h->content_length > 0 ||
                            (h->content_length < 0 && llhttp_message_needs_eof(&p->ll)));
    if (none) /* what llhttp would say does not know of the request */
        h->keep_alive = h->major == 1 && (h->minor ? !(p->ll.flags & F_CONNECTION_CLOSE)
                                                   : !!(p->ll.flags & F_CONNECTION_KEEP_ALIVE));
    return NEAP_OK;
}

enum neap_err np_http1_head_done(struct np_http1_parser *p)
{
    struct np_http_head *h = p->head;
    h->major = p->ll.http_major;
    h->minor = p->ll.http_minor;
    if (p->seen_coding && p->seen_length)
        return bad(p, "Content-Length together with Transfer-Encoding");
    h->chunked = (p->ll.flags & F_CHUNKED) != 0;
    h->content_length = -1;
    if (p->seen_length) {
        if (p->ll.content_length > INT64_MAX) return bad(p, "Content-Length overflows");
        h->content_length = (int64_t)p->ll.content_length;
    }
    h->keep_alive = llhttp_should_keep_alive(&p->ll) != 0;
    enum neap_err err = p->type == NP_HTTP1_REQUEST ? request_done(p) : response_done(p);
    if (err) return err;
    if (h->has_body && h->content_length > 0 && (uint64_t)h->content_length > p->limits.max_body)
        return np_http1_fail(p, 413, NEAP_ELIMIT, "the body is too large");
    return NEAP_OK;
}

static void rebase_one(struct np_bytes *b, uintptr_t from, size_t n, const char *to)
{
    uintptr_t at = (uintptr_t)b->p;
    if (b->p && at >= from && at - from <= n) b->p = to + (at - from);
}

void np_http1_head_rebase(struct np_http1_parser *p, const char *from, size_t n, const char *to)
{
    struct np_http_head *h = p->head;
    uintptr_t base = (uintptr_t)from;
    rebase_one(&h->method_name, base, n, to);
    rebase_one(&h->target, base, n, to);
    rebase_one(&h->path, base, n, to);
    rebase_one(&h->query, base, n, to);
    rebase_one(&h->reason, base, n, to);
    for (size_t i = 0; i < h->nheaders; i++) {
        rebase_one(&h->headers[i].name, base, n, to);
        rebase_one(&h->headers[i].value, base, n, to);
    }
}

/* A first line that is well formed but for its method is 501; anything else is 400. */
static bool only_method_unknown(const struct np_http1_parser *p)
{
    const char *end = memchr(p->base, '\r', p->head_bytes);
    const char *sp = end ? memchr(p->base, ' ', (size_t)(end - p->base)) : NULL;
    if (!sp || !np_http_is_token(p->base, (size_t)(sp - p->base)) || end - sp < 11) return false;
    return memcmp(end - 9, " HTTP/1.", 8) == 0 && end[-1] >= '0' && end[-1] <= '9' &&
           np_http_is_target(sp + 1, (size_t)(end - 9 - (sp + 1)));
}

enum neap_err np_http1_fail_from_llhttp(struct np_http1_parser *p, llhttp_errno_t code)
{
    const char *why = llhttp_get_error_reason(&p->ll);
    if (!why || !*why) why = "malformed message";
    bool in_head = p->state == NP_HTTP1_HEAD;
    if (in_head && p->type == NP_HTTP1_REQUEST) {
        if (p->ll.method == HTTP_PRI || code == HPE_PAUSED_H2_UPGRADE)
            return np_http1_fail(p, 505, NEAP_ENOTSUP, "HTTP/2 is not spoken here");
        /* … a constant: one of RTSP's */
        if ((code == HPE_INVALID_METHOD || code == HPE_INVALID_CONSTANT) && only_method_unknown(p))
            return np_http1_fail(p, 501, NEAP_ENOTSUP, "unknown method");
    }
    if (code == HPE_INVALID_VERSION && strcmp(why, "Invalid HTTP version") == 0)
        return np_http1_fail(p, 505, NEAP_ENOTSUP, "unknown version of HTTP");
    return bad(p, why);
}
