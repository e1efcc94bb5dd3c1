/* Calls that write down what they hear, and a raw peer that answers with what the test says. */
#ifndef HTTP_CLIENT_RIG_H
#define HTTP_CLIENT_RIG_H

#include "http/client.h"
#include "site.h"

struct heard {
    struct np_http_call *call; /* NULL when it has ended */
    struct np_loop *loop;
    int heads, drains, ends;
    int status;
    enum neap_err err;
    enum np_http_phase phase;
    const char *bound;
    int interim; /* the last 1xx status */
    char trailer[64];
    char why[256];
    struct np_buf body;
    size_t body_bytes;
    bool count_only;
    bool pause_at_body; /* pause at every piece */
    bool cancel_at_head;
    bool inside;        /* the test is in a call of the client's */
    struct heard *then; /* started in on_end */
    struct np_http_client *client;
    const struct np_http_request *then_request;
};

static inline void heard_head(struct np_http_call *c, const struct np_http_head *h)
{
    struct heard *r = np_http_call_arg(c);
    assert_false(r->inside);
    r->heads++;
    r->status = h->status;
    np_loop_stop(r->loop);
    if (r->cancel_at_head) np_http_call_cancel(c);
}

static inline void heard_body(struct np_http_call *c, const char *data, size_t n)
{
    struct heard *r = np_http_call_arg(c);
    r->body_bytes += n;
    if (!r->count_only) assert_ok(np_buf_append(&r->body, data, n));
    if (r->pause_at_body) np_http_call_pause(c, true);
    np_loop_stop(r->loop);
}

static inline void heard_drain(struct np_http_call *c)
{
    struct heard *r = np_http_call_arg(c);
    r->drains++;
    np_loop_stop(r->loop);
}

static inline void heard_interim(struct np_http_call *c, const struct np_http_head *h)
{
    struct heard *r = np_http_call_arg(c);
    r->interim = h->status;
}

static inline void heard_trailers(struct np_http_call *c, const struct np_http_header *t, size_t n)
{
    struct heard *r = np_http_call_arg(c);
    assert_true(n > 0);
    snprintf(r->trailer, sizeof r->trailer, "%.*s=%.*s", (int)t->name.n, t->name.p, (int)t->value.n,
             t->value.p);
}

static inline void heard_end(struct np_http_call *c, enum neap_err err, const char *why);

static const struct np_http_call_handler heard_handler = {.on_head = heard_head,
                                                          .on_body = heard_body,
                                                          .on_drain = heard_drain,
                                                          .on_end = heard_end,
                                                          .on_interim = heard_interim,
                                                          .on_trailers = heard_trailers};

static inline void call(struct fix *f, struct np_http_client *c, struct heard *r,
                        const struct np_http_request *q)
{
    struct neap_errinfo info;
    memset(r, 0, sizeof *r);
    r->loop = &f->loop;
    r->client = c;
    r->inside = true;
    enum neap_err err = np_http_client_call(c, q, &heard_handler, r, &r->call, &info);
    r->inside = false;
    if (err) fail_msg("%s", info.message);
}

static inline void heard_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    struct heard *r = np_http_call_arg(c);
    assert_false(r->inside);
    r->ends++;
    r->err = err;
    r->phase = np_http_call_phase(c);
    r->bound = np_http_call_bound(c);
    snprintf(r->why, sizeof r->why, "%s", why ? why : "");
    assert_true((err == NEAP_OK) == (why == NULL));
    r->call = NULL;
    np_loop_stop(r->loop);
    if (r->then) {
        struct heard *then = r->then;
        memset(then, 0, sizeof *then);
        then->loop = r->loop;
        assert_ok(np_http_client_call(r->client, r->then_request, &heard_handler, then, &then->call,
                                      NULL));
    }
}

static inline const char *heard_text(struct heard *r)
{
    assert_ok(np_buf_append(&r->body, "", 1));
    r->body.tail--;
    return np_buf_data(&r->body);
}

static inline void heard_fini(struct heard *r)
{
    assert_int_equal(r->ends, 1);
    np_buf_fini(&r->body);
}

/* A peer that takes up to eight connections and says what the test tells it to. */
struct peer {
    struct fix *f;
    struct np_listener *l;
    struct end c[8];
    int n;
    int closed;
};

static inline void peer_accept(struct np_listener *l, struct np_stream *s)
{
    struct peer *p = np_listener_arg(l);
    assert_true(p->n < 8);
    end_take(&p->c[p->n++], s);
    assert_ok(np_stream_read_start(s));
    np_loop_stop(&p->f->loop);
}

static inline void peer_closed(struct np_listener *l)
{
    struct peer *p = np_listener_arg(l);
    p->closed++;
}

static inline void peer_open(struct fix *f, struct peer *p)
{
    static const struct np_listener_handler handler = {peer_accept, peer_closed};
    memset(p, 0, sizeof *p);
    p->f = f;
    assert_ok(np_tcp_listen(&f->loop, "127.0.0.1", 0, NULL, &handler, p, &p->l, NULL));
}

static inline void peer_close(struct peer *p)
{
    for (int i = 0; i < p->n; i++)
        end_finish(p->f, &p->c[i]);
    np_listener_close(p->l);
    run_until(p->f, p->closed);
}

/* Whether the n-th connection has a whole request head. */
static inline bool peer_has_request(struct peer *p, int n)
{
    return p->n > n && has(&p->c[n], "\r\n\r\n");
}

static inline struct np_http_request get_from(int port, const char *target)
{
    return (struct np_http_request){
        .host = "127.0.0.1", .port = port, .method = "GET", .target = target, .content_length = -1};
}

#endif
