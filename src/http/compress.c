/* Compression of answers; see compress.h. */
#include "http/compress.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "http/server_impl.h"

/* Streams of events are many, and each holds an encoder: as if they were no longer than this. */
#define EVENTS_SIZE 16384

struct np_http_coder {
    struct np_encoder *e;
    struct np_http_exchange *x;
    struct np_buf out;
    struct np_defer later; /* flushes what was written in this turn of the loop */
    bool prompt;           /* flushes every piece */
    bool ended;
    bool broken;
};

/* --- what is compressed */

static bool ends_with(struct np_bytes type, const char *end, size_t n)
{
    return type.n > n && strncasecmp(type.p + type.n - n, end, n) == 0;
}

static bool type_fits(const char *pattern, struct np_bytes type)
{
    size_t n = strlen(pattern);
    if (strcmp(pattern, "*/*") == 0) return true;
    if (n > 2 && strcmp(pattern + n - 2, "/*") == 0)
        return type.n >= n && strncasecmp(type.p, pattern, n - 1) == 0;
    if (pattern[0] == '+') return ends_with(type, pattern, n);
    if (pattern[0] == '*') return ends_with(type, pattern + 1, n - 1);
    return type.n == n && strncasecmp(type.p, pattern, n) == 0;
}

static struct np_http_header *find(const struct np_http_compress_head *h, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < h->n; i++) {
        if (np_http_name_is(h->headers[i].name, name, n)) return &h->headers[i];
    }
    return NULL;
}

/* The media type without its parameters. */
static struct np_bytes type_of(const struct np_http_compress_head *h)
{
    const struct np_http_header *header = find(h, "content-type");
    struct np_bytes type = {h->type, h->type ? strlen(h->type) : 0};
    if (header) type = header->value;
    const char *end = type.n ? memchr(type.p, ';', type.n) : NULL;
    if (end) type.n = (size_t)(end - type.p);
    while (type.n && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    return type;
}

static bool type_is_listed(const char *types, struct np_bytes type)
{
    if (type.n == 0) return false;
    for (; *types; types += strlen(types) + 1) {
        if (type_fits(types, type)) return true;
    }
    return false;
}

static bool has_token(const struct np_http_compress_head *h, const char *name, const char *token)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < h->n; i++) {
        if (np_http_name_is(h->headers[i].name, name, n) &&
            np_http_list_has(h->headers[i].value, token, strlen(token)))
            return true;
    }
    return false;
}

/* Whether the answer may be compressed, whoever gets it. */
static bool eligible(const struct np_http_plan *plan, const struct np_http_exchange *x,
                     const struct np_http_compress_head *h, int64_t length)
{
    if (h->status == 204 || h->status == 206 || h->status == 304) return false;
    if (x->head.method == HTTP_CONNECT) return false;
    if (length >= 0 && (uint64_t)length < plan->min_bytes) return false;
    if (find(h, "content-encoding") || find(h, "content-range")) return false;
    if (has_token(h, "cache-control", "no-transform")) return false;
    return type_is_listed(plan->types, type_of(h));
}

static bool is_strong(const struct np_http_header *etag)
{
    return etag && !(etag->value.n > 1 && etag->value.p[0] == 'W' && etag->value.p[1] == '/');
}

/* Identity as well where a strong tag is too long to be made a weak one. */
static enum np_coding choose(const struct np_http_plan *plan, const struct np_http_exchange *x,
                             const struct np_http_compress_head *h)
{
    const struct np_http_header *etag = find(h, "etag");
    if (is_strong(etag) && etag->value.n + 2 > sizeof h->etag) return NP_CODING_IDENTITY;
    return np_coding_negotiate(&x->head, plan->offered, plan->noffered);
}

enum np_coding np_http_compress_choice(const struct np_http_plan *plan,
                                       const struct np_http_exchange *x,
                                       const struct np_http_compress_head *h, int64_t length)
{
    return eligible(plan, x, h, length) ? choose(plan, x, h) : NP_CODING_IDENTITY;
}

/* --- the head */

static void add(struct np_http_compress_head *h, const char *name, const char *value)
{
    struct np_http_header *header = &h->headers[h->n++];
    header->name = (struct np_bytes){name, strlen(name)};
    header->value = (struct np_bytes){value, strlen(value)};
}

static void add_vary(struct np_http_compress_head *h)
{
    if (!has_token(h, "vary", "accept-encoding") && !has_token(h, "vary", "*"))
        add(h, "Vary", "Accept-Encoding");
}

/* The bytes are others than those that a strong tag stands for. */
static void mark_encoded(struct np_http_compress_head *h, enum np_coding c)
{
    struct np_http_header *etag = find(h, "etag");
    if (is_strong(etag)) {
        memcpy(h->etag, "W/", 2);
        memcpy(h->etag + 2, etag->value.p, etag->value.n);
        etag->value = (struct np_bytes){h->etag, etag->value.n + 2};
    }
    add(h, "Content-Encoding", np_coding_name(c));
    struct np_http_header *ranges = find(h, "accept-ranges");
    if (ranges) *ranges = h->headers[--h->n]; /* none of these */
}

/* --- whole bodies */

static enum neap_err encode(const struct np_http_plan *plan, enum np_coding c, struct np_bytes body,
                            struct np_buf *out)
{
    struct np_encoder_options o = {.level = plan->levels[c], .size = body.n};
    struct np_encoder *e;
    enum neap_err err = np_encoder_new(c, &o, &e);
    if (err) return err;
    err = np_encoder_write(e, body.p, body.n, NP_CODING_FINISH, out);
    np_encoder_free(e);
    return err;
}

void np_http_compress_whole(const struct np_http_plan *plan, const struct np_http_exchange *x,
                            struct np_http_compress_head *h, struct np_bytes *body,
                            struct np_buf *out)
{
    if (!eligible(plan, x, h, (int64_t)body->n)) return;
    add_vary(h);
    enum np_coding c = choose(plan, x, h);
    if (c == NP_CODING_IDENTITY || encode(plan, c, *body, out)) return;
    if (np_buf_len(out) >= body->n) return;
    mark_encoded(h, c);
    *body = (struct np_bytes){np_buf_data(out), np_buf_len(out)};
}

/* --- streamed bodies */

/* Encodes and hands over what comes out. */
static enum neap_err put(struct np_http_coder *c, const char *p, size_t n, enum np_coding_op op)
{
    if (c->broken) return NEAP_ECLOSED;
    enum neap_err err = np_encoder_write(c->e, p, n, op, &c->out);
    if (!err && np_buf_len(&c->out) > 0)
        err = np_http_write(c->x, np_buf_data(&c->out), np_buf_len(&c->out));
    np_buf_clear(&c->out);
    if (err) c->broken = true;
    return err;
}

/* Who wrote may be waiting for something else now, and the client for what was written. */
static void on_later(struct np_defer *d)
{
    struct np_http_coder *c = np_container_of(d, struct np_http_coder, later);
    if (c->broken || c->ended || !np_encoder_dirty(c->e)) return;
    if (put(c, NULL, 0, NP_CODING_FLUSH)) return; /* whoever writes next is told */
}

static enum neap_err make_coder(const struct np_http_plan *plan, enum np_coding coding,
                                struct np_http_exchange *x, bool prompt, int64_t length,
                                struct np_http_coder **out)
{
    struct np_encoder_options o = {.level = plan->levels[coding]};
    struct np_http_coder *c = np_calloc(1, sizeof *c);
    if (!c) return NEAP_ENOMEM;
    if (length > 0) o.size = (uint64_t)length;
    if (prompt) o.size = EVENTS_SIZE;
    enum neap_err err = np_encoder_new(coding, &o, &c->e);
    if (err) {
        np_free(c);
        return err;
    }
    c->x = x;
    c->prompt = prompt;
    np_defer_init(&c->later, on_later);
    *out = c;
    return NEAP_OK;
}

enum neap_err np_http_coder_new(const struct np_http_plan *plan, struct np_http_exchange *x,
                                struct np_http_compress_head *h, int64_t *length,
                                struct np_http_coder **out)
{
    struct np_http_coder *made = NULL;
    if (eligible(plan, x, h, *length)) {
        bool prompt = np_http_name_is(type_of(h), "text/event-stream", 17);
        enum np_coding coding = choose(plan, x, h);
        bool none = coding == NP_CODING_IDENTITY;
        enum neap_err err = NEAP_OK;
        if (!none && x->head.method != HTTP_HEAD)
            err = make_coder(plan, coding, x, prompt, *length, &made);
        if (err) return err;
        add_vary(h);
        if (!none) {
            mark_encoded(h, coding);
            *length = -1;
        }
    }
    *out = made;
    return NEAP_OK;
}

enum neap_err np_http_coder_write(struct np_http_coder *c, const char *p, size_t n)
{
    enum neap_err err = put(c, p, n, c->prompt ? NP_CODING_FLUSH : NP_CODING_GO_ON);
    if (!err && np_encoder_dirty(c->e)) np_loop_defer(c->x->server->loop, &c->later);
    return err;
}

enum neap_err np_http_coder_end(struct np_http_coder *c)
{
    if (c->ended) return c->broken ? NEAP_ECLOSED : NEAP_OK;
    np_defer_cancel(&c->later);
    c->ended = true;
    return put(c, NULL, 0, NP_CODING_FINISH);
}

void np_http_coder_free(struct np_http_coder *c)
{
    if (!c) return;
    np_defer_cancel(&c->later);
    np_encoder_free(c->e);
    np_buf_fini(&c->out);
    np_free(c);
}
