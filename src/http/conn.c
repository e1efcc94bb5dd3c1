/* A connection of the server: bytes in, requests out, one at a time.
 *
 * All parsing happens in run(), which goes on until the bytes are used up or something must be
 * waited for: an answer, a body that is not wanted yet, room to write. What is left waits in `in`.
 * Every callback of the stream is one turn: run(), then settle(), which hands all answers to the
 * stream at once and looks after reading and timeouts. Handlers are called from inside run() only.
 */
#include "http/server_impl.h"

#define MAX_IN ((size_t)64 * 1024) /* bytes waiting at which reading stops */

void np_http_conn_tell_body_end(struct np_http_conn *c, enum neap_err err)
{
    if (!c->body_wanted || c->body_told || c->t->x.finished) return;
    c->body_told = true;
    c->t->x.handler->on_body_end(&c->t->x, err);
}

/* --- requests */

/* The body cannot be had. A handler that has not begun its answer may do so in on_body_end; after
 * that the server answers by itself. */
static void body_failed(struct np_http_conn *c, enum neap_err err, int status, const char *why)
{
    c->close_after = true;
    np_http_conn_tell_body_end(c, err);
    if (c->state == NP_CONN_CLOSING) return;
    if (c->t->x.finished) {
        np_http_conn_finish(c);
    } else if (!c->t->x.started) {
        c->t->x.finished = true;
        np_http_conn_refuse(c, status, why);
        c->t->x.handler->on_abort(&c->t->x, err);
    }
}

static void on_head(struct np_http1_parser *p)
{
    struct np_http_conn *c = p->arg;
    struct np_http_exchange *x = &c->t->x;
    if (c->state == NP_CONN_IDLE) np_http_conn_set_state(c, NP_CONN_HEAD);
    np_http_conn_set_state(c, NP_CONN_EXCHANGE);
    c->requests++;
    x->generation++;
    x->body_complete = !x->head.has_body;
    c->want_continue = x->head.expect_continue;
    if (x->head.method == HTTP_CONNECT) c->close_after = true; /* tunnelled bytes may follow */
    x->handler = x->server->handler;
    np_http_account_begin(c, true);
    x->handler->on_request(x, x->server->arg);
    if (x->finished) return;
    if (np_http1_keep(p)) np_http_conn_doom(c, NEAP_ENOMEM);
    if (x->head.has_body && !c->body_wanted) np_http1_pause(p, true);
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct np_http_conn *c = p->arg;
    if (c->state == NP_CONN_EXCHANGE && !c->t->x.finished) {
        c->t->x.handler->on_body(&c->t->x, data, n);
        return;
    }
    c->t->discarded += n;
    if (c->t->discarded > NP_HTTP_MAX_DISCARD) {
        c->close_after = true;
        np_http1_pause(p, true);
    }
}

static void on_end(struct np_http1_parser *p)
{
    struct np_http_conn *c = p->arg;
    c->t->x.body_complete = true;
    c->t->x.trailers = c->t->x.head.trailers;
    c->t->x.ntrailers = c->t->x.head.ntrailers;
    if (c->state == NP_CONN_EXCHANGE) np_http_conn_tell_body_end(c, NEAP_OK);
}

/* The answer is complete. Ready for the next request, or for the rest of this one's body. */
static void end_exchange(struct np_http_conn *c)
{
    struct np_http_exchange *x = &c->t->x;
    np_http_account_end(c, false);
    if (x->server->closing && !x->server->successor) c->close_after = true;
    if (c->close_after) {
        np_http_conn_finish(c);
        return;
    }
    if (!x->body_complete) {
        if (c->state == NP_CONN_EXCHANGE) np_http_conn_set_state(c, NP_CONN_DISCARD);
        np_http1_pause(&c->t->parser, false);
        return;
    }
    np_http_conn_set_state(c, NP_CONN_IDLE);
    c->idle_since = np_loop_now(x->server->loop);
    np_arena_reset(&c->t->arena);
    np_http1_next(&c->t->parser, -1);
    x->user = NULL;
    x->trailers = NULL;
    x->ntrailers = 0;
    x->started = x->finished = x->body_complete = false;
    c->body_wanted = c->body_told = c->want_continue = false;
    c->t->discarded = 0;
    if (x->server->successor) np_http_conn_pass_on(c);
}

/* Whether bytes may be parsed, or must wait. */
static bool may_parse(const struct np_http_conn *c)
{
    switch (c->state) {
    case NP_CONN_IDLE: /* a peer that does not read its answers gets no more of them */
        return np_stream_writable(c->stream);
    case NP_CONN_HEAD:
    case NP_CONN_DISCARD:
        return true;
    case NP_CONN_EXCHANGE:
        return c->body_wanted && !c->t->parser.paused && !c->body_told;
    case NP_CONN_CLOSING:
        break;
    }
    return false;
}

static void parse_failed(struct np_http_conn *c)
{
    const struct np_http1_parser *p = &c->t->parser;
    if (c->state == NP_CONN_EXCHANGE && !c->t->x.finished)
        body_failed(c, p->err, p->status, p->why);
    else if (c->state == NP_CONN_EXCHANGE || c->state == NP_CONN_DISCARD)
        np_http_conn_finish(c);
    else
        np_http_conn_refuse(c, p->status, p->why);
}

/* Parses as far as possible; returns how many bytes were used. */
static size_t run(struct np_http_conn *c, const char *data, size_t n)
{
    size_t at = 0;
    for (;;) {
        if (c->state >= NP_CONN_EXCHANGE && c->t->x.finished && c->state != NP_CONN_CLOSING)
            end_exchange(c);
        if (np_buf_len(&c->t->out) >= NP_HTTP_FLUSH_AT) np_http_conn_flush(c);
        if (c->doomed || !may_parse(c)) break;
        size_t used = 0;
        enum np_http1_state before = c->t->parser.state;
        enum neap_err err = np_http1_feed(&c->t->parser, data + at, n - at, &used);
        at += used;
        if (c->state == NP_CONN_CLOSING) break;
        if (err)
            parse_failed(c);
        else if (c->state == NP_CONN_IDLE && c->t->parser.state == NP_HTTP1_HEAD)
            np_http_conn_set_state(c, NP_CONN_HEAD);
        bool over = c->t->x.finished &&
                    (c->state == NP_CONN_EXCHANGE || c->t->x.body_complete || c->close_after);
        if (used == 0 && before == c->t->parser.state && !over) break;
    }
    return at;
}

/* --- timeouts */

static enum np_http_timed timed_now(const struct np_http_conn *c)
{
    switch (c->state) {
    case NP_CONN_IDLE:
        return NP_TIMED_IDLE;
    case NP_CONN_HEAD:
        return NP_TIMED_HEAD;
    case NP_CONN_EXCHANGE:
        return may_parse(c) && !c->t->x.body_complete ? NP_TIMED_BODY : NP_TIMED_NOTHING;
    case NP_CONN_DISCARD:
        return NP_TIMED_BODY;
    case NP_CONN_CLOSING:
        break;
    }
    return NP_TIMED_NOTHING;
}

/* An armed timer is only ever moved, so this does not fail and, in the steady state, stores one
 * moment. A timer that nobody needs any more runs out by itself. */
static void set_timer(struct np_http_conn *c)
{
    enum np_http_timed was = c->timed;
    const struct np_http_server_options *o = &c->server->opts;
    int64_t span = 0;
    c->timed = timed_now(c);
    if (c->timed == NP_TIMED_IDLE)
        span = o->keep_alive_timeout;
    else if (c->timed == NP_TIMED_HEAD && (was != NP_TIMED_HEAD || c->timed_head != c->requests))
        span = o->header_timeout;
    else if (c->timed == NP_TIMED_BODY)
        span = o->body_timeout;
    c->timed_head = c->requests;
    if (span > 0 && np_timer_start(&c->timer, span)) np_http_conn_doom(c, NEAP_ENOMEM);
}

/* After every turn: what was written leaves, reading goes on if there is room. */
static void settle(struct np_http_conn *c)
{
    c->corked = false;
    np_http_conn_flush(c);
    if (c->state == NP_CONN_CLOSING) return;
    if (c->t && np_buf_len(&c->t->in) >= MAX_IN)
        np_stream_read_stop(c->stream);
    else if (!c->stream->reading && np_stream_read_start(c->stream))
        np_http_conn_doom(c, NEAP_ECLOSED);
    if (c->t) np_buf_shrink(&c->t->in, 0);
    set_timer(c);
    np_http_conn_rest(c);
}

void np_http_conn_on_timer(struct np_timer *t)
{
    struct np_http_conn *c = np_container_of(t, struct np_http_conn, timer);
    c->corked = true;
    switch (c->timed) {
    case NP_TIMED_IDLE: /* unless it is the peer that is slow to read */
        if (np_stream_queued(c->stream) == 0 && !(c->t && np_buf_len(&c->t->in)))
            np_http_conn_finish(c);
        break;
    case NP_TIMED_HEAD:
        np_http_conn_refuse(c, 408, "the request's head did not come in time");
        break;
    case NP_TIMED_BODY:
        if (c->state == NP_CONN_DISCARD)
            np_http_conn_finish(c);
        else
            body_failed(c, NEAP_ETIMEDOUT, 408, "the request's body did not come in time");
        break;
    case NP_TIMED_NOTHING:
        return;
    }
    settle(c);
}

/* --- turns */

/* The peer has sent its last byte, and all that could be parsed was. */
static void after_end(struct np_http_conn *c)
{
    if (np_buf_len(&c->t->in)) return; /* what waits there comes first */
    switch (c->state) {
    case NP_CONN_IDLE:
    case NP_CONN_DISCARD:
        np_http_conn_finish(c);
        break;
    case NP_CONN_HEAD:
        np_http_conn_refuse(c, 400, "the connection ended inside the head");
        break;
    case NP_CONN_EXCHANGE:
        if (!c->t->x.body_complete && may_parse(c))
            body_failed(c, NEAP_ECONNRESET, 400, "the connection ended inside the body");
        break;
    case NP_CONN_CLOSING:
        break;
    }
}

static void pump(struct np_http_conn *c, const char *data, size_t n)
{
    struct np_stream *s = c->stream;
    if (np_http_conn_wake(c)) {
        np_http_conn_drop(c);
        return;
    }
    c->corked = true;
    np_http_conn_lend_out(c);
    if (np_buf_len(&c->t->in)) {
        if (n && np_buf_append(&c->t->in, data, n)) np_http_conn_doom(c, NEAP_ENOMEM);
        size_t used = run(c, np_buf_data(&c->t->in), np_buf_len(&c->t->in));
        np_buf_consume(&c->t->in, used);
        if (!c->stream) np_http_put_back(s, np_buf_data(&c->t->in), np_buf_len(&c->t->in));
    } else {
        size_t used = run(c, data, n);
        if (!c->stream)
            np_http_put_back(s, data + used, n - used);
        else if (used < n && c->state != NP_CONN_CLOSING &&
                 np_buf_append(&c->t->in, data + used, n - used))
            np_http_conn_doom(c, NEAP_ENOMEM);
    }
    if (!c->stream) return;
    if (c->peer_ended) after_end(c);
    settle(c);
}

void np_http_conn_on_later(struct np_defer *d)
{
    struct np_http_conn *c = np_container_of(d, struct np_http_conn, later);
    if (!c->stream)
        np_http_conn_gone(c);
    else if (c->doomed)
        np_http_conn_abort(c, c->doomed);
    else
        pump(c, "", 0);
}

void np_http_conn_pump_later(struct np_http_conn *c)
{
    if (c->state != NP_CONN_CLOSING) np_loop_defer(c->server->loop, &c->later);
}

void np_http_conn_answered(struct np_http_conn *c)
{
    if (c->corked) return;
    np_http_conn_flush(c);
    if (np_buf_len(&c->t->in) || !c->t->x.body_complete || c->peer_ended) {
        np_http_conn_pump_later(c); /* other handlers are not called from inside this one's */
        return;
    }
    if (!c->doomed) np_defer_cancel(&c->later); /* the flush that was due */
    end_exchange(c);
    settle(c);
}

static void stream_read(struct np_stream *s, const char *data, size_t n)
{
    pump(s->arg, data, n);
}

static void stream_end(struct np_stream *s)
{
    struct np_http_conn *c = s->arg;
    c->peer_ended = true;
    if (c->state == NP_CONN_EXCHANGE && !c->t->x.finished && c->server->opts.abort_on_end)
        np_http_conn_abort(c, NEAP_ECONNRESET);
    else
        pump(c, "", 0);
}

static void stream_drain(struct np_stream *s)
{
    struct np_http_conn *c = s->arg;
    c->corked = true;
    np_http_conn_lend_out(c);
    if (c->state == NP_CONN_EXCHANGE && c->t->x.started && !c->t->x.finished)
        c->t->x.handler->on_drain(&c->t->x);
    pump(c, "", 0);
}

static void stream_error(struct np_stream *s, enum neap_err err)
{
    np_http_conn_abort(s->arg, err);
}

const struct np_stream_handler np_http_conn_stream = {.on_read = stream_read,
                                                      .on_end = stream_end,
                                                      .on_drain = stream_drain,
                                                      .on_error = stream_error,
                                                      .on_close = np_http_conn_closed};
const struct np_http1_events np_http_conn_events = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end};
