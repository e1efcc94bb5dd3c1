/* The plain case, read in one pass: a head that is there as a whole and has nothing in it that the
 * rules of RFC 9112 make anything of but Host, Content-Length and "keep-alive". Most are; of
 * responses those that say their length.
 *
 * It decides nothing: whatever is not plain (and so all that is wrong) is left to the scanner and
 * llhttp, which start over from the first byte. What it accepts they would accept alike, with the
 * same head; the tests hold the one against the other. One thread at a time. */
#include <string.h>

#include "proto/http1_impl.h"

enum { MAX_LENGTH_DIGITS = 18 };

enum { TARGET = 1, NAME = 2, VALUE = 4, HOST = 8 };

/* What a byte may be part of: a target (RFC 3986's bytes, and those that llhttp lets pass), a
 * header's name, its value (a tab is not plain), a host's name or address. */
static const unsigned char classes[256] = {
    [' '] = VALUE,
    ['!'] = TARGET | NAME | VALUE,
    ['"'] = VALUE,
    ['#'] = NAME | VALUE,
    ['$' ... '\''] = TARGET | NAME | VALUE,
    ['(' ... ')'] = TARGET | VALUE,
    ['*' ... '+'] = TARGET | NAME | VALUE,
    [','] = TARGET | VALUE,
    ['-' ... '.'] = TARGET | NAME | VALUE | HOST,
    ['/'] = TARGET | VALUE,
    ['0' ... '9'] = TARGET | NAME | VALUE | HOST,
    [':' ... ';'] = TARGET | VALUE,
    ['<'] = VALUE,
    ['='] = TARGET | VALUE,
    ['>'] = VALUE,
    ['?' ... '@'] = TARGET | VALUE,
    ['A' ... 'Z'] = TARGET | NAME | VALUE | HOST,
    ['[' ... ']'] = VALUE,
    ['^'] = NAME | VALUE,
    ['_'] = TARGET | NAME | VALUE,
    ['`'] = NAME | VALUE,
    ['a' ... 'z'] = TARGET | NAME | VALUE | HOST,
    ['{'] = VALUE,
    ['|'] = NAME | VALUE,
    ['}'] = VALUE,
    ['~'] = TARGET | NAME | VALUE,
    [0x80 ... 0xff] = VALUE,
};

/* Stops at `end` or at the first byte of another class. */
static inline const char *run(const char *at, const char *end, unsigned char cls)
{
    while (at < end && (classes[(unsigned char)*at] & cls))
        at++;
    return at;
}

/* The same for VALUE, which is all but control bytes: eight at a time. */
static inline const char *run_value(const char *at, const char *end)
{
    while (end - at >= 8 && !np_http_has_control(at))
        at += 8;
    return run(at, end, VALUE);
}

struct method {
    const char *text; /* with its blank */
    unsigned char n;
    unsigned char number;
};

static const struct method methods[] = {{"GET ", 4, HTTP_GET},        {"POST ", 5, HTTP_POST},
                                        {"PUT ", 4, HTTP_PUT},        {"HEAD ", 5, HTTP_HEAD},
                                        {"DELETE ", 7, HTTP_DELETE},  {"PATCH ", 6, HTTP_PATCH},
                                        {"OPTIONS ", 8, HTTP_OPTIONS}};

static const char *read_method(const char *at, const char *end, struct np_http_head *h)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        const struct method *m = &methods[i];
        if (*at != *m->text || (size_t)(end - at) <= m->n || memcmp(at, m->text, m->n) != 0)
            continue;
        h->method = m->number;
        h->method_name = (struct np_bytes){at, m->n - 1U};
        return at + m->n;
    }
    return NULL;
}

/* "/path?query HTTP/1.1" and its end. */
static const char *read_target(const char *at, const char *end, struct np_http_head *h)
{
    static const char version[] = " HTTP/1.1\r\n";
    if (*at != '/') return NULL;
    const char *stop = run(at, end, TARGET);
    if ((size_t)(end - stop) < sizeof version - 1 || memcmp(stop, version, sizeof version - 1) != 0)
        return NULL;
    h->target = (struct np_bytes){at, (size_t)(stop - at)};
    const char *mark = memchr(at, '?', h->target.n);
    h->path = (struct np_bytes){at, mark ? (size_t)(mark - at) : h->target.n};
    if (mark) h->query = (struct np_bytes){mark + 1, (size_t)(stop - (mark + 1))};
    h->major = h->minor = 1;
    return stop + sizeof version - 1;
}

static bool read_length(struct np_http1_parser *p, struct np_bytes v)
{
    int64_t length = 0;
    if (p->seen_length || v.n == 0 || v.n > MAX_LENGTH_DIGITS) return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return false;
        length = length * 10 + (v.p[i] - '0');
    }
    p->seen_length = true;
    p->head->content_length = length;
    return true;
}

/* "name" or "name:port"; anything else a host may be is looked at in detail. */
static bool check_host(struct np_bytes v)
{
    struct np_bytes host, port;
    const char *end = v.p + v.n;
    const char *at = run(v.p, end, HOST);
    if (at > v.p && at < end && *at == ':') {
        for (at++; at < end && *at >= '0' && *at <= '9';)
            at++;
    }
    return at == end || np_http1_split_host(v, &host, &port);
}

/* Whether a header is plain. */
static bool check_header(struct np_http1_parser *p, const struct np_http_header *h)
{
    switch (h->name.n) {
    case 4:
        if (p->type == NP_HTTP1_RESPONSE || !np_http_name_is(h->name, "host", 4)) return true;
        if (p->seen_host) return false;
        p->seen_host = true;
        return check_host(h->value);
    case 6:
        return p->type == NP_HTTP1_RESPONSE || !np_http_name_is(h->name, "expect", 6);
    case 7:
        return !np_http_name_is(h->name, "upgrade", 7);
    case 10:
        return !np_http_name_is(h->name, "connection", 10) ||
               np_http_name_is(h->value, "keep-alive", 10);
    case 14:
        return !np_http_name_is(h->name, "content-length", 14) || read_length(p, h->value);
    case 16:
        return !np_http_name_is(h->name, "proxy-connection", 16);
    case 17:
        return !np_http_name_is(h->name, "transfer-encoding", 17);
    default:
        return true;
    }
}

/* One line after another, and the empty one. */
static const char *read_headers(struct np_http1_parser *p, const char *at, const char *end)
{
    struct np_http_head *head = p->head;
    while (at < end && *at != '\r') {
        if (head->nheaders >= p->limits.max_headers) return NULL;
        if (head->nheaders == p->headers_cap && !np_http1_grow_headers(p)) return NULL;
        struct np_http_header *h = &head->headers[head->nheaders];
        const char *stop = run(at, end, NAME);
        if (stop == at || stop == end || *stop != ':') return NULL;
        h->name = (struct np_bytes){at, (size_t)(stop - at)};
        for (at = stop + 1; at < end && *at == ' ';)
            at++;
        stop = run_value(at, end);
        if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n') return NULL;
        size_t n = (size_t)(stop - at);
        while (n > 0 && at[n - 1] == ' ')
            n--;
        h->value = (struct np_bytes){n > 0 ? at : "", n};
        if (!check_header(p, h)) return NULL;
        head->nheaders++;
        at = stop + 2;
    }
    return end - at >= 2 && at[1] == '\n' ? at + 2 : NULL;
}

/* "HTTP/1.1 200 OK" and its end; only what may have a body. */
static const char *read_status(struct np_http1_parser *p, const char *at, const char *end)
{
    static const char version[] = "HTTP/1.1 ";
    struct np_http_head *h = p->head;
    if (p->request_method == HTTP_HEAD || p->request_method == HTTP_CONNECT) return NULL;
    if (end - at < 16 || memcmp(at, version, sizeof version - 1) != 0) return NULL;
    at += sizeof version - 1;
    for (int i = 0; i < 3; i++, at++) {
        if (*at < '0' || *at > '9') return NULL;
        h->status = h->status * 10 + (*at - '0');
    }
    if (h->status < 200 || h->status == 204 || h->status == 304 || *at++ != ' ') return NULL;
    const char *stop = run_value(at, end);
    if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n') return NULL;
    h->reason = (struct np_bytes){stop > at ? at : "", (size_t)(stop - at)};
    h->major = h->minor = 1;
    return stop + 2;
}

static const char *read_head(struct np_http1_parser *p, const char *data, const char *end)
{
    if (p->type == NP_HTTP1_RESPONSE) {
        data = read_status(p, data, end);
        return data ? read_headers(p, data, end) : NULL;
    }
    const char *at = read_method(data, end, p->head);
    if (at) at = read_target(at, end, p->head);
    return at ? read_headers(p, at, end) : NULL;
}

bool np_http1_quick_head(struct np_http1_parser *p, const char *data, size_t n, size_t *used)
{
    struct np_http_head *h = p->head;
    if (p->skipped || n < 16) return false;
    if (n > p->limits.max_head) n = p->limits.max_head;
    const char *end = read_head(p, data, data + n);
    bool fine = end && (p->type == NP_HTTP1_REQUEST ? p->seen_host : p->seen_length) &&
                (h->content_length <= 0 || (uint64_t)h->content_length <= p->limits.max_body);
    if (!fine) {
        *h = (struct np_http_head){.headers = p->headers, .content_length = -1};
        p->seen_host = p->seen_length = false;
        return false;
    }
    h->keep_alive = true;
    h->has_body = h->content_length > 0;
    p->quick = true;
    p->base = data;
    *used = p->head_bytes = p->head_len = (size_t)(end - data);
    p->state = NP_HTTP1_BODY;
    p->events->on_head(p);
    if (!h->has_body) np_http1_quick_end(p);
    return true;
}

void np_http1_quick_end(struct np_http1_parser *p)
{
    p->state = NP_HTTP1_END;
    p->end_due = true;
}

void np_http1_quick_body(struct np_http1_parser *p, const char *data, size_t n, size_t *used)
{
    uint64_t left = (uint64_t)p->head->content_length - p->body_bytes;
    if (n > left) n = (size_t)left;
    *used = n;
    p->body_bytes += n;
    p->events->on_body(p, data, n);
    if (p->body_bytes == (uint64_t)p->head->content_length) np_http1_quick_end(p);
}
