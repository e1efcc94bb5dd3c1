/* The flow of bytes through the parser: head, body, trailer, end.
 *
 * llhttp sees heads and bodies of a known length (or none); chunks are not its business. It sees a
 * head only in one block (the caller's bytes or the gather buffer), and its first line only when
 * that is complete. It is stopped at the end of every message. One thread at a time. */
#include "proto/http1.h"

#include <string.h>

#include "base/alloc.h"
#include "proto/http1_impl.h"

enum {
    MAX_INTERIM = 32,   /* 1xx heads before an answer */
    GATHER_KEPT = 1024, /* bytes of the gather buffer that an idle parser holds on to */
};

enum neap_err np_http1_fail(struct np_http1_parser *p, int status, enum neap_err err,
                            const char *why)
{
    p->state = NP_HTTP1_FAILED;
    p->status = status;
    p->err = err;
    p->why = why;
    return err;
}

static struct np_http1_parser *parser_of(llhttp_t *ll)
{
    return (struct np_http1_parser *)((char *)ll - offsetof(struct np_http1_parser, ll));
}

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
    struct np_bytes *t = &parser_of(ll)->head->target;
    if (!t->p) t->p = at;
    t->n = (size_t)(at + n - t->p);
    return 0;
}

static int on_status(llhttp_t *ll, const char *at, size_t n)
{
    struct np_bytes *r = &parser_of(ll)->head->reason;
    if (!r->p) r->p = at;
    r->n = (size_t)(at + n - r->p);
    return 0;
}

static int on_header_field(llhttp_t *ll, const char *at, size_t n)
{
    return np_http1_head_field(parser_of(ll), at, n) ? -1 : 0;
}

static int on_header_value(llhttp_t *ll, const char *at, size_t n)
{
    return np_http1_head_value(parser_of(ll), at, n) ? -1 : 0;
}

static int on_header_value_complete(llhttp_t *ll)
{
    return np_http1_head_value_done(parser_of(ll)) ? -1 : 0;
}

static bool is_interim(const struct np_http1_parser *p)
{
    return p->type == NP_HTTP1_RESPONSE && p->ll.status_code < 200 && p->ll.status_code != 101;
}

/* llhttp's answers: 0 go on, 1 no body follows, 2 nor another message. */
static int on_headers_complete(llhttp_t *ll)
{
    struct np_http1_parser *p = parser_of(ll);
    if (np_http1_head_done(p)) return -1;
    if (is_interim(p)) return 1;
    p->head_len = p->head_bytes;
    p->state = NP_HTTP1_BODY;
    p->events->on_head(p);
    if (p->type == NP_HTTP1_RESPONSE && !p->head->has_body)
        return p->request_method == HTTP_CONNECT && p->head->status < 300 ? 2 : 1;
    return p->paused || p->head->chunked ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *ll, const char *at, size_t n)
{
    struct np_http1_parser *p = parser_of(ll);
    p->body_bytes += n;
    if (p->body_bytes > p->limits.max_body) {
        (void)np_http1_fail(p, 413, NEAP_ELIMIT, "the body is too large");
        return -1;
    }
    if (n) p->events->on_body(p, at, n);
    return p->paused ? HPE_PAUSED : 0;
}

static int on_message_complete(llhttp_t *ll)
{
    struct np_http1_parser *p = parser_of(ll);
    p->state = NP_HTTP1_END;
    p->end_due = !is_interim(p);
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void np_http1_init(struct np_http1_parser *p, enum np_http1_type type,
                   const struct np_http_limits *limits, struct np_http_head *head,
                   const struct np_http1_events *events, void *arg)
{
    static const struct np_http_limits defaults = NP_HTTP_LIMITS_INIT;
    memset(p, 0, sizeof *p);
    p->type = type;
    p->limits = limits ? *limits : defaults;
    p->head = head;
    p->events = events;
    p->arg = arg;
    p->ll_used = true;
    np_http1_next(p, -1);
}

void np_http1_fini(struct np_http1_parser *p)
{
    np_buf_fini(&p->gather);
    np_http1_drop_trailer(p);
    np_free(p->headers);
    p->headers = NULL;
    p->headers_cap = 0;
}

void np_http1_next(struct np_http1_parser *p, int request_method)
{
    if (p->ll_used)
        llhttp_init(&p->ll, p->type == NP_HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    p->ll_used = false;
    memset(p->head, 0, sizeof *p->head);
    p->head->headers = p->headers;
    p->head->content_length = -1;
    p->state = NP_HTTP1_START;
    p->request_method = request_method;
    p->err = NEAP_OK;
    p->status = 0;
    p->why = NULL;
    p->paused = p->end_due = p->gathered = p->stopped = p->in_name = p->quick = false;
    p->seen_host = p->seen_length = p->seen_coding = false;
    p->base = NULL;
    p->skipped = 0;
    p->body_bytes = p->framing = p->chunks = p->chunk_left = 0;
    p->chunk_at = 0;
    np_http1_drop_trailer(p);
    p->interim = 0;
    np_http1_scan_start(p, 0);
    if (p->gather.cap) {
        np_buf_clear(&p->gather);
        np_buf_shrink(&p->gather, GATHER_KEPT);
    }
}

/* Shows llhttp `n` bytes; `*used` of them it took before it stopped. */
static enum neap_err execute(struct np_http1_parser *p, const char *data, size_t n, size_t *used)
{
    p->ll_used = true;
    llhttp_errno_t code = llhttp_execute(&p->ll, data, n);
    *used = n;
    p->stopped = code == HPE_PAUSED && p->state != NP_HTTP1_END;
    if (code == HPE_OK) return NEAP_OK;
    if (code == HPE_PAUSED) {
        *used = (size_t)(llhttp_get_error_pos(&p->ll) - data);
        llhttp_resume(&p->ll);
        return NEAP_OK;
    }
    if (p->state == NP_HTTP1_FAILED) return p->err;
    return np_http1_fail_from_llhttp(p, code);
}

/* Appends to the gathered head. */
static enum neap_err gather(struct np_http1_parser *p, const char *data, size_t n)
{
    const char *old = p->base;
    size_t had = np_buf_len(&p->gather);
    if (np_buf_append(&p->gather, data, n))
        return np_http1_fail(p, 500, NEAP_ENOMEM, "out of memory");
    p->base = np_buf_data(&p->gather);
    if (p->gathered && p->base != old) np_http1_head_rebase(p, old, had, p->base);
    p->gathered = true;
    return NEAP_OK;
}

/* A 1xx head is over: the next one takes its place. */
static enum neap_err skip_interim(struct np_http1_parser *p)
{
    unsigned interim = p->interim + 1;
    bool paused;
    if (interim > MAX_INTERIM)
        return np_http1_fail(p, 400, NEAP_EPROTO, "too many interim responses");
    if (p->events->on_interim) p->events->on_interim(p);
    paused = p->paused;
    np_http1_next(p, p->request_method);
    p->interim = interim;
    p->paused = paused;
    return NEAP_OK;
}

static enum neap_err feed_head(struct np_http1_parser *p, const char *data, size_t n, size_t *used)
{
    size_t skip = 0, len = 0, seen;
    bool done;
    enum neap_err err;
    if (p->state == NP_HTTP1_START) {
        if (np_http1_quick_head(p, data, n, used)) return NEAP_OK;
        err = np_http1_skip_empty(p, data, n, &skip);
        if (err) return err;
        *used = skip;
        if (p->state == NP_HTTP1_START) return NEAP_OK;
    }
    err = np_http1_scan(p, data + skip, n - skip, &len, &done);
    if (err) return err;
    *used = skip + len;
    if (p->gathered || !done) {
        err = gather(p, data + skip, len);
        if (err) return err;
    } else {
        p->base = data + skip;
    }
    if (p->lines == 0) return NEAP_OK;
    size_t from = p->executed;
    p->executed = p->head_bytes;
    err = execute(p, p->base + from, p->head_bytes - from, &seen);
    if (err) return err;
    if (p->state == NP_HTTP1_END && !p->end_due) return skip_interim(p);
    /* The empty line was there, but llhttp waits for more: for HTTP/2's preface, say. */
    if (done && p->state == NP_HTTP1_HEAD) return np_http1_fail_from_llhttp(p, HPE_OK);
    return NEAP_OK;
}

static enum neap_err feed_body(struct np_http1_parser *p, const char *data, size_t n, size_t *used)
{
    if (p->head->chunked) return np_http1_feed_chunked(p, data, n, used);
    if (p->quick) {
        np_http1_quick_body(p, data, n, used);
        return NEAP_OK;
    }
    return execute(p, data, n, used);
}

enum neap_err np_http1_feed(struct np_http1_parser *p, const char *data, size_t n, size_t *consumed)
{
    enum neap_err err = p->err;
    size_t at = 0;
    while (!err && !p->paused) {
        size_t used = 0;
        if (p->end_due) {
            p->end_due = false;
            p->events->on_end(p);
            continue;
        }
        if ((at == n && !p->stopped) || p->state == NP_HTTP1_END) break;
        if (p->state == NP_HTTP1_BODY)
            err = feed_body(p, data + at, n - at, &used);
        else if (p->state == NP_HTTP1_TRAILER)
            err = np_http1_feed_trailer(p, data + at, n - at, &used);
        else
            err = feed_head(p, data + at, n - at, &used);
        at += used;
    }
    *consumed = at;
    return err;
}

enum neap_err np_http1_finish(struct np_http1_parser *p)
{
    size_t none;
    switch (p->state) {
    case NP_HTTP1_FAILED:
        return p->err;
    case NP_HTTP1_HEAD:
        return np_http1_fail(p, 400, NEAP_EPROTO, "the connection ended inside the head");
    case NP_HTTP1_TRAILER:
        return np_http1_fail(p, 400, NEAP_EPROTO, "the connection ended inside the body");
    case NP_HTTP1_BODY:
        /* With llhttp's own word: whether this body lasts until the end. */
        if (p->head->chunked || p->ll.finish != HTTP_FINISH_SAFE_WITH_CB)
            return np_http1_fail(p, 400, NEAP_EPROTO, "the connection ended inside the body");
        on_message_complete(&p->ll);
        return np_http1_feed(p, "", 0, &none);
    case NP_HTTP1_START:
    case NP_HTTP1_END:
        break;
    }
    return NEAP_OK;
}

enum neap_err np_http1_keep(struct np_http1_parser *p)
{
    if (p->gathered || !p->base) return NEAP_OK;
    if (np_buf_append(&p->gather, p->base, p->head_len)) return NEAP_ENOMEM;
    const char *old = p->base;
    p->base = np_buf_data(&p->gather);
    p->gathered = true;
    np_http1_head_rebase(p, old, p->head_len, p->base);
    return NEAP_OK;
}
