/* A parser whose events are written down as text, for the tests of the codec. */
#ifndef HTTP1_RIG_H
#define HTTP1_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "np_test.h"
#include "proto/http1.h"

struct rig {
    struct np_http1_parser p;
    struct np_http_head head;
    struct np_buf log;
    bool keep;         /* np_http1_keep in on_head */
    bool oom;          /* an append to the log failed */
    size_t pause_body; /* pause after this many body bytes */
    size_t body;
};

static inline void rig_note(struct rig *r, enum neap_err err)
{
    if (err) r->oom = true;
}

static inline void rig_head(struct np_http1_parser *p)
{
    struct rig *r = p->arg;
    const struct np_http_head *h = &r->head;
    if (r->keep && np_http1_keep(p)) r->oom = true;
    if (p->type == NP_HTTP1_REQUEST)
        rig_note(r, np_buf_printf(&r->log, "%.*s %.*s path=%.*s query=%.*s", (int)h->method_name.n,
                                  h->method_name.p, (int)h->target.n, h->target.p, (int)h->path.n,
                                  h->path.p, (int)h->query.n, h->query.n ? h->query.p : ""));
    else
        rig_note(r, np_buf_printf(&r->log, "%d %.*s", h->status, (int)h->reason.n, h->reason.p));
    rig_note(r, np_buf_printf(&r->log, " 1.%d len=%lld%s%s%s%s%s\n", h->minor,
                              (long long)h->content_length, h->chunked ? " chunked" : "",
                              h->has_body ? " body" : "", h->keep_alive ? " keep" : "",
                              h->expect_continue ? " expect" : "", h->upgrade ? " upgrade" : ""));
    for (size_t i = 0; i < h->nheaders; i++)
        rig_note(r, np_buf_printf(&r->log, "%.*s=[%.*s]\n", (int)h->headers[i].name.n,
                                  h->headers[i].name.p, (int)h->headers[i].value.n,
                                  h->headers[i].value.p));
    rig_note(r, np_buf_append_str(&r->log, "body:"));
}

static inline void rig_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct rig *r = p->arg;
    rig_note(r, np_buf_append(&r->log, data, n));
    r->body += n;
    if (r->pause_body && r->body >= r->pause_body) np_http1_pause(p, true);
}

static inline void rig_end(struct np_http1_parser *p)
{
    struct rig *r = p->arg;
    rig_note(r, np_buf_append_str(&r->log, "\n"));
    for (size_t i = 0; i < r->head.ntrailers; i++) {
        const struct np_http_header *h = &r->head.trailers[i];
        rig_note(r, np_buf_printf(&r->log, "trailer %.*s=[%.*s]\n", (int)h->name.n, h->name.p,
                                  (int)h->value.n, h->value.p));
    }
    rig_note(r, np_buf_append_str(&r->log, "end\n"));
}

static inline void rig_interim(struct np_http1_parser *p)
{
    struct rig *r = p->arg;
    rig_note(r, np_buf_printf(&r->log, "interim %d\n", r->head.status));
}

static inline void rig_init(struct rig *r, enum np_http1_type type,
                            const struct np_http_limits *limits)
{
    static const struct np_http1_events events = {
        .on_head = rig_head, .on_body = rig_body, .on_end = rig_end, .on_interim = rig_interim};
    memset(r, 0, sizeof *r);
    np_http1_init(&r->p, type, limits, &r->head, &events, r);
}

static inline void rig_fini(struct rig *r)
{
    np_http1_fini(&r->p);
    np_buf_fini(&r->log);
}

/* Feeds all of it, message after message, cut at `step` bytes (0: not at all). Every piece stands
 * in a block of its own that is freed when it was fed. */
static inline enum neap_err rig_feed(struct rig *r, const char *data, size_t n, size_t step)
{
    size_t at = 0;
    while (at < n) {
        size_t piece = step && n - at > step ? step : n - at;
        char *copy = malloc(piece);
        size_t done = 0;
        enum neap_err err = NEAP_OK;
        memcpy(copy, data + at, piece);
        while (!err && done < piece) {
            size_t used = 0;
            err = np_http1_feed(&r->p, copy + done, piece - done, &used);
            done += used;
            if (r->p.state == NP_HTTP1_END) np_http1_next(&r->p, r->p.request_method);
        }
        free(copy);
        if (err) return err;
        at += piece;
    }
    return NEAP_OK;
}

static inline const char *rig_text(struct rig *r)
{
    rig_note(r, np_buf_append(&r->log, "", 1));
    r->log.tail--;
    return np_buf_data(&r->log);
}

#endif
