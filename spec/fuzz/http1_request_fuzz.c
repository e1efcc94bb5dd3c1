/* Requests: whatever comes, the parser keeps within its limits, and the same bytes cut in pieces
 * give the same messages. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "proto/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    struct np_http_head head;
    uint64_t hash;
    size_t heads, ends;
};

static void mix(struct sum *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ (unsigned char)p[i]) * 1099511628211u;
    s->hash = (s->hash ^ 0x1ff) * 1099511628211u;
}

static void on_head(struct np_http1_parser *p)
{
    struct sum *s = p->arg;
    const struct np_http_head *h = &s->head;
    if (np_http1_keep(p)) abort();
    if (h->nheaders > p->limits.max_headers || h->target.n > p->limits.max_head) abort();
    mix(s, h->method_name.p, h->method_name.n);
    mix(s, h->path.p, h->path.n);
    mix(s, h->query.p, h->query.n);
    mix(s, h->upgrade ? "up" : "", h->upgrade ? 2 : 0);
    if (h->chunked && h->content_length >= 0) abort();
    if (h->method == HTTP_CONNECT && h->has_body) abort();
    for (size_t i = 0; i < h->nheaders; i++) {
        if (!np_http_is_token(h->headers[i].name.p, h->headers[i].name.n)) abort();
        if (!np_http_is_value(h->headers[i].value.p, h->headers[i].value.n)) abort();
        mix(s, h->headers[i].name.p, h->headers[i].name.n);
        mix(s, h->headers[i].value.p, h->headers[i].value.n);
    }
    s->heads++;
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct sum *s = p->arg;
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ (unsigned char)data[i]) * 1099511628211u;
}

static void on_end(struct np_http1_parser *p)
{
    struct sum *s = p->arg;
    const struct np_http_head *h = &s->head;
    if (h->ntrailers > p->limits.max_headers || (h->ntrailers && !h->chunked)) abort();
    for (size_t i = 0; i < h->ntrailers; i++) {
        const struct np_http_header *t = &h->trailers[i];
        if (!np_http_is_token(t->name.p, t->name.n) || !np_http_is_value(t->value.p, t->value.n))
            abort();
        if (!np_http_may_trail(t->name)) abort();
        mix(s, t->name.p, t->name.n);
        mix(s, t->value.p, t->value.n);
    }
    s->ends++;
}

static enum neap_err run(const uint8_t *data, size_t size, size_t step, struct sum *s)
{
    static const struct np_http1_events events = {
        .on_head = on_head, .on_body = on_body, .on_end = on_end};
    struct np_http1_parser p;
    struct np_http_limits limits = {512, 12, 4096};
    enum neap_err err = NEAP_OK;
    memset(s, 0, sizeof *s);
    np_http1_init(&p, NP_HTTP1_REQUEST, &limits, &s->head, &events, s);
    for (size_t at = 0; at < size && !err;) {
        size_t n = size - at < step ? size - at : step, used = 0;
        char *copy = malloc(n); /* so that reading what is gone is seen */
        memcpy(copy, data + at, n);
        err = np_http1_feed(&p, copy, n, &used);
        if (used > n) abort();
        if (p.state == NP_HTTP1_END) np_http1_next(&p, -1);
        free(copy);
        at += used;
    }
    if (!err) err = np_http1_finish(&p);
    if (err && !p.status) abort();
    np_http1_fini(&p);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum whole, cut;
    enum neap_err a = run(data, size, SIZE_MAX, &whole);
    for (size_t step = 1; step < 8; step += 3) {
        enum neap_err b = run(data, size, step, &cut);
        if ((a == NEAP_OK) != (b == NEAP_OK)) abort();
        if (whole.heads != cut.heads || whole.ends != cut.ends) abort();
        if (a == NEAP_OK && whole.hash != cut.hash) abort();
    }
    return 0;
}
