/* Responses: the first byte says what they answer; the rest is fed whole and in pieces. */
#include <stdlib.h>
#include <string.h>

#include "proto/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    struct np_http_head head;
    size_t heads, interims, body, ends, trailers;
    uint64_t hash; /* of heads */
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
    for (size_t i = 0; i < h->nheaders; i++) {
        if (!np_http_is_value(h->headers[i].value.p, h->headers[i].value.n)) abort();
        mix(s, h->headers[i].name.p, h->headers[i].name.n);
        mix(s, h->headers[i].value.p, h->headers[i].value.n);
    }
    mix(s, h->reason.p, h->reason.n);
    s->hash = s->hash * 31 + (uint64_t)h->status * 64 + (uint64_t)h->content_length * 16 +
              (uint64_t)(h->minor * 8 + h->keep_alive * 4 + h->has_body * 2 + h->chunked);
    s->heads++;
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct sum *s = p->arg;
    if (!s->head.has_body) abort();
    s->body += n;
}

static void on_end(struct np_http1_parser *p)
{
    struct sum *s = p->arg;
    for (size_t i = 0; i < s->head.ntrailers; i++) {
        const struct np_http_header *t = &s->head.trailers[i];
        if (!np_http_is_token(t->name.p, t->name.n) || !np_http_is_value(t->value.p, t->value.n))
            abort();
        if (!np_http_may_trail(t->name)) abort();
        s->trailers += 1 + t->name.n + t->value.n;
    }
    s->ends++;
}

static void on_interim(struct np_http1_parser *p)
{
    struct sum *s = p->arg;
    if (s->head.status < 100 || s->head.status > 199 || s->head.status == 101) abort();
    if (s->head.has_body) abort();
    for (size_t i = 0; i < s->head.nheaders; i++)
        if (!np_http_is_value(s->head.headers[i].value.p, s->head.headers[i].value.n)) abort();
    s->interims++;
}

static enum neap_err run(const uint8_t *data, size_t size, int method, size_t step, struct sum *s)
{
    static const struct np_http1_events events = {
        .on_head = on_head, .on_body = on_body, .on_end = on_end, .on_interim = on_interim};
    struct np_http1_parser p;
    struct np_http_limits limits = {512, 12, 4096};
    enum neap_err err = NEAP_OK;
    memset(s, 0, sizeof *s);
    np_http1_init(&p, NP_HTTP1_RESPONSE, &limits, &s->head, &events, s);
    np_http1_next(&p, method);
    for (size_t at = 0; at < size && !err;) {
        size_t n = size - at < step ? size - at : step, used = 0;
        char *copy = malloc(n);
        memcpy(copy, data + at, n);
        err = np_http1_feed(&p, copy, n, &used);
        if (used > n) abort();
        if (p.state == NP_HTTP1_END) np_http1_next(&p, method);
        free(copy);
        at += used;
    }
    if (!err) err = np_http1_finish(&p);
    np_http1_fini(&p);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int methods[] = {HTTP_GET, HTTP_HEAD, HTTP_CONNECT, HTTP_POST};
    struct sum whole, cut;
    if (size == 0) return 0;
    int method = methods[data[0] & 3];
    enum neap_err a = run(data + 1, size - 1, method, SIZE_MAX, &whole);
    for (size_t step = 1; step < 8; step += 3) {
        enum neap_err b = run(data + 1, size - 1, method, step, &cut);
        if ((a == NEAP_OK) != (b == NEAP_OK)) abort();
        if (a == NEAP_OK && (whole.heads != cut.heads || whole.body != cut.body)) abort();
        if (a == NEAP_OK && whole.hash != cut.hash) abort();
        if (whole.trailers != cut.trailers || whole.interims != cut.interims) abort();
        if (whole.ends != cut.ends) abort();
    }
    return 0;
}
