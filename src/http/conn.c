/* A connection of the server: bytes in, requests out, one at a time.
 *
 * All parsing happens in run(), which goes on until the bytes are used up or something must be
 * waited for: an answer, a body that is not wanted yet, room to write. What is left waits in `in`.
 * Every callback of the stream is one turn: run(), then settle(), which hands all answers to the
 * stream at once and looks after reading and timeouts. Handlers are called from inside run() only.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"

#define MAX_IN ((size_t)64 * 1024) /* bytes waiting at which reading stops */
enum { MAX_SPARE_CONNS = 64, KEEP_SPARE_OUT = 256 * 1024 };

static void set_state(struct np_http_conn *c, enum np_http_conn_state next)
{
    static const bool legal[5][5] = {
        [NP_CONN_IDLE] = {[NP_CONN_HEAD] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_HEAD] = {[NP_CONN_EXCHANGE] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_EXCHANGE] =
            {[NP_CONN_IDLE] = true, [NP_CONN_DISCARD] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_DISCARD] = {[NP_CONN_IDLE] = true, [NP_CONN_CLOSING] = true},
    };
    assert(legal[c->state][next]);
    c->state = next;
}

/* --- the end */

void np_http_conn_drop(struct np_http_conn *c)
{
    if (c->state == NP_CONN_CLOSING) return;
    set_state(c, NP_CONN_CLOSING);
    c->x.finished = true;
    np_timer_stop(&c->timer);
    np_defer_cancel(&c->later);
    np_http1_pause(&c->parser, true);
    np_stream_close(c->stream);
}

static void tell_body_end(struct np_http_conn *c, enum neap_err err)
{
    if (!c->body_wanted || c->body_told || c->x.finished) return;
    c->body_told = true;
    c->x.server->handler->on_body_end(&c->x, err);
}

void np_http_conn_abort(struct np_http_conn *c, enum neap_err why)
{
    if (c->state == NP_CONN_CLOSING) return;
    if (c->state == NP_CONN_EXCHANGE) {
        c->corked = true; /* whatever it writes now goes nowhere */
        if (!c->x.body_complete) tell_body_end(c, why);
        if (!c->x.finished) {
            c->x.finished = true;
            c->x.server->handler->on_abort(&c->x, why);
        }
    }
    np_http_conn_drop(c);
}

void np_http_conn_finish(struct np_http_conn *c)
{
    if (c->state == NP_CONN_CLOSING) return;
    np_http_conn_flush(c);
    set_state(c, NP_CONN_CLOSING);
    c->x.finished = true;
    np_timer_stop(&c->timer);
    np_defer_cancel(&c->later);
    np_http1_pause(&c->parser, true);
    np_stream_finish(c->stream, NP_HTTP_LINGER);
}

/* Broken off from the loop: the caller may be a handler. */
static void doom(struct np_http_conn *c, enum neap_err err)
{
    if (c->state == NP_CONN_CLOSING || c->doomed) return;
    c->doomed = err;
    np_loop_defer(c->x.server->loop, &c->later);
}

/* --- bytes out */

void np_http_conn_lend_out(struct np_http_conn *c)
{
    struct np_http_server *s = c->x.server;
    if (c->out.cap || !s->spare_out.cap) return;
    c->out = s->spare_out;
    np_buf_init(&s->spare_out);
}

static void give_out_back(struct np_http_conn *c)
{
    struct np_http_server *s = c->x.server;
    if (np_buf_len(&c->out) || !c->out.cap) return;
    if (s->spare_out.cap || c->out.cap > KEEP_SPARE_OUT) {
        np_buf_fini(&c->out);
    } else {
        s->spare_out = c->out;
    }
    np_buf_init(&c->out);
}

void np_http_conn_flush(struct np_http_conn *c)
{
    size_t n = np_buf_len(&c->out);
    if (n && c->state != NP_CONN_CLOSING) {
        enum neap_err err = np_stream_write(c->stream, np_buf_data(&c->out), n);
        /* A transport that broke is reported by the stream, after what the peer sent before. */
        if (err && !c->stream->err) doom(c, err);
    }
    np_buf_clear(&c->out);
    if (!c->corked) give_out_back(c);
}

/* --- requests */

/* The body cannot be had. A handler that has not begun its answer may do so in on_body_end; after
 * that the server answers by itself. */
static void body_failed(struct np_http_conn *c, enum neap_err err, int status, const char *why)
{
    c->close_after = true;
    tell_body_end(c, err);
    if (c->state == NP_CONN_CLOSING) return;
    if (c->x.finished) {
        np_http_conn_finish(c);
    } else if (!c->x.started) {
        c->x.finished = true;
        np_http_conn_refuse(c, status, why);
        c->x.server->handler->on_abort(&c->x, err);
    }
}

static void on_head(struct np_http1_parser *p)
{
    struct np_http_conn *c = p->arg;
    struct np_http_exchange *x = &c->x;
    if (c->state == NP_CONN_IDLE) set_state(c, NP_CONN_HEAD);
    if (x->head.method == HTTP_CONNECT) { /* where a tunnel would begin */
        c->refuse = 501;
        np_http1_pause(p, true);
        return;
    }
    set_state(c, NP_CONN_EXCHANGE);
    c->requests++;
    x->generation++;
    x->body_complete = !x->head.has_body;
    c->want_continue = x->head.expect_continue;
    x->server->handler->on_request(x, x->server->arg);
    if (x->finished) return;
    if (np_http1_keep(p)) doom(c, NEAP_ENOMEM);
    if (x->head.has_body && !c->body_wanted) np_http1_pause(p, true);
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct np_http_conn *c = p->arg;
    if (c->state == NP_CONN_EXCHANGE && !c->x.finished) {
        c->x.server->handler->on_body(&c->x, data, n);
        return;
    }
    c->discarded += n;
    if (c->discarded > NP_HTTP_MAX_DISCARD) {
        c->close_after = true;
        np_http1_pause(p, true);
    }
}

static void on_end(struct np_http1_parser *p)
{
    struct np_http_conn *c = p->arg;
    c->x.body_complete = true;
    if (c->state == NP_CONN_EXCHANGE) tell_body_end(c, NEAP_OK);
}

/* The answer is complete. Ready for the next request, or for the rest of this one's body. */
static void end_exchange(struct np_http_conn *c)
{
    struct np_http_exchange *x = &c->x;
    if (x->server->closing) c->close_after = true;
    if (c->close_after) {
        np_http_conn_finish(c);
        return;
    }
    if (!x->body_complete) {
        if (c->state == NP_CONN_EXCHANGE) set_state(c, NP_CONN_DISCARD);
        np_http1_pause(&c->parser, false);
        return;
    }
    set_state(c, NP_CONN_IDLE);
    np_arena_reset(&c->arena);
    np_http1_next(&c->parser, -1);
    x->user = NULL;
    x->started = x->finished = x->body_complete = false;
    c->body_wanted = c->body_told = c->want_continue = false;
    c->discarded = 0;
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
        return c->body_wanted && !c->parser.paused && !c->body_told;
    case NP_CONN_CLOSING:
        break;
    }
    return false;
}

static void parse_failed(struct np_http_conn *c)
{
    const struct np_http1_parser *p = &c->parser;
    if (c->state == NP_CONN_EXCHANGE && !c->x.finished)
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
        if (c->state >= NP_CONN_EXCHANGE && c->x.finished && c->state != NP_CONN_CLOSING)
            end_exchange(c);
        if (np_buf_len(&c->out) >= NP_HTTP_FLUSH_AT) np_http_conn_flush(c);
        if (c->doomed || !may_parse(c)) break;
        size_t used = 0;
        enum np_http1_state before = c->parser.state;
        enum neap_err err = np_http1_feed(&c->parser, data + at, n - at, &used);
        at += used;
        if (c->state == NP_CONN_CLOSING) break;
        if (err)
            parse_failed(c);
        else if (c->refuse)
            np_http_conn_refuse(c, c->refuse, np_http_reason(c->refuse));
        else if (c->state == NP_CONN_IDLE && c->parser.state == NP_HTTP1_HEAD)
            set_state(c, NP_CONN_HEAD);
        bool over =
            c->x.finished && (c->state == NP_CONN_EXCHANGE || c->x.body_complete || c->close_after);
        if (used == 0 && before == c->parser.state && !over) break;
    }
    return c->state == NP_CONN_CLOSING ? n : at;
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
        return may_parse(c) && !c->x.body_complete ? NP_TIMED_BODY : NP_TIMED_NOTHING;
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
    const struct np_http_server_options *o = &c->x.server->opts;
    int64_t span = 0;
    c->timed = timed_now(c);
    if (c->timed == NP_TIMED_IDLE)
        span = o->keep_alive_timeout;
    else if (c->timed == NP_TIMED_HEAD && (was != NP_TIMED_HEAD || c->timed_head != c->requests))
        span = o->header_timeout;
    else if (c->timed == NP_TIMED_BODY)
        span = o->body_timeout;
    c->timed_head = c->requests;
    if (span > 0 && np_timer_start(&c->timer, span)) doom(c, NEAP_ENOMEM);
}

/* After every turn: what was written leaves, reading goes on if there is room. */
static void settle(struct np_http_conn *c)
{
    c->corked = false;
    np_http_conn_flush(c);
    if (c->state == NP_CONN_CLOSING) return;
    if (np_buf_len(&c->in) >= MAX_IN)
        np_stream_read_stop(c->stream);
    else if (!c->stream->reading && np_stream_read_start(c->stream))
        doom(c, NEAP_ECLOSED);
    np_buf_shrink(&c->in, 0);
    set_timer(c);
}

static void on_timer(struct np_timer *t)
{
    struct np_http_conn *c = np_container_of(t, struct np_http_conn, timer);
    c->corked = true;
    switch (c->timed) {
    case NP_TIMED_IDLE: /* unless it is the peer that is slow to read */
        if (np_stream_queued(c->stream) == 0 && np_buf_len(&c->in) == 0) np_http_conn_finish(c);
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
    if (np_buf_len(&c->in)) return; /* what waits there comes first */
    switch (c->state) {
    case NP_CONN_IDLE:
    case NP_CONN_DISCARD:
        np_http_conn_finish(c);
        break;
    case NP_CONN_HEAD:
        np_http_conn_refuse(c, 400, "the connection ended inside the head");
        break;
    case NP_CONN_EXCHANGE:
        if (!c->x.body_complete && may_parse(c))
            body_failed(c, NEAP_ECONNRESET, 400, "the connection ended inside the body");
        break;
    case NP_CONN_CLOSING:
        break;
    }
}

static void pump(struct np_http_conn *c, const char *data, size_t n)
{
    c->corked = true;
    np_http_conn_lend_out(c);
    if (np_buf_len(&c->in)) {
        if (n && np_buf_append(&c->in, data, n)) doom(c, NEAP_ENOMEM);
        size_t used = run(c, np_buf_data(&c->in), np_buf_len(&c->in));
        np_buf_consume(&c->in, used);
    } else {
        size_t used = run(c, data, n);
        if (used < n && np_buf_append(&c->in, data + used, n - used)) doom(c, NEAP_ENOMEM);
    }
    if (c->peer_ended) after_end(c);
    settle(c);
}

static void on_later(struct np_defer *d)
{
    struct np_http_conn *c = np_container_of(d, struct np_http_conn, later);
    if (c->doomed)
        np_http_conn_abort(c, c->doomed);
    else
        pump(c, "", 0);
}

void np_http_conn_pump_later(struct np_http_conn *c)
{
    if (c->state != NP_CONN_CLOSING) np_loop_defer(c->x.server->loop, &c->later);
}

void np_http_conn_answered(struct np_http_conn *c)
{
    if (c->corked) return;
    np_http_conn_flush(c);
    if (np_buf_len(&c->in) || !c->x.body_complete || c->peer_ended) {
        np_http_conn_pump_later(c); /* other handlers are not called from inside this one's */
        return;
    }
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
    if (c->state == NP_CONN_EXCHANGE && !c->x.finished && c->x.server->opts.abort_on_end)
        np_http_conn_abort(c, NEAP_ECONNRESET);
    else
        pump(c, "", 0);
}

static void stream_drain(struct np_stream *s)
{
    struct np_http_conn *c = s->arg;
    c->corked = true;
    np_http_conn_lend_out(c);
    if (c->state == NP_CONN_EXCHANGE && c->x.started && !c->x.finished)
        c->x.server->handler->on_drain(&c->x);
    pump(c, "", 0);
}

static void stream_error(struct np_stream *s, enum neap_err err)
{
    np_http_conn_abort(s->arg, err);
}

static void stream_closed(struct np_stream *s)
{
    struct np_http_conn *c = s->arg;
    struct np_http_server *server = c->x.server;
    np_list_remove(&c->link);
    server->nconns--;
    if (c->counted) server->nserving--;
    np_buf_fini(&c->in);
    np_buf_fini(&c->out);
    if (server->nspare < MAX_SPARE_CONNS && !server->closing) {
        np_list_push_back(&server->spare_conns, &c->link);
        server->nspare++;
    } else {
        np_http_conn_free(c);
    }
    np_http_server_conn_gone(server);
}

/* --- the beginning */

void np_http_conn_free(struct np_http_conn *c)
{
    np_http1_fini(&c->parser);
    np_arena_fini(&c->arena);
    np_free(c);
}

static struct np_http_conn *new_conn(struct np_http_server *s)
{
    static const struct np_http1_events events = {on_head, on_body, on_end};
    struct np_link *spare = np_list_pop_front(&s->spare_conns);
    struct np_http_conn *c;
    if (spare) {
        s->nspare--;
        c = np_container_of(spare, struct np_http_conn, link);
        uint64_t generation = c->x.generation;
        memset(&c->x, 0, sizeof c->x);
        c->x.generation = generation;
        np_arena_reset(&c->arena);
        np_http1_next(&c->parser, -1);
    } else {
        c = np_calloc(1, sizeof *c);
        if (!c) return NULL;
        np_arena_init(&c->arena, 0);
        np_http1_init(&c->parser, NP_HTTP1_REQUEST, &s->opts.limits, &c->x.head, &events, c);
    }
    c->x.server = s;
    c->x.arena = &c->arena;
    return c;
}

enum neap_err np_http_conn_open(struct np_http_server *s, struct np_stream *stream,
                                struct np_http_conn **out)
{
    static const struct np_stream_handler handler = {.on_read = stream_read,
                                                     .on_end = stream_end,
                                                     .on_drain = stream_drain,
                                                     .on_error = stream_error,
                                                     .on_close = stream_closed};
    struct np_http_conn *c = new_conn(s);
    if (!c) return NEAP_ENOMEM;
    np_link_init(&c->link);
    np_buf_init(&c->in);
    np_buf_init(&c->out);
    c->stream = stream;
    c->state = NP_CONN_IDLE;
    c->timed = NP_TIMED_IDLE;
    c->doomed = NEAP_OK;
    c->requests = c->discarded = 0;
    c->refuse = 0;
    c->corked = c->body_wanted = c->body_told = c->want_continue = false;
    c->peer_ended = c->close_after = c->counted = false;
    np_defer_init(&c->later, on_later);
    np_timer_init(&c->timer, s->loop, on_timer);
    np_timer_set_background(&c->timer, true); /* the stream keeps the loop alive */
    int64_t idle = s->opts.keep_alive_timeout;
    enum neap_err err = idle > 0 ? np_timer_start(&c->timer, idle) : NEAP_OK;
    if (!err) err = np_stream_set_timeouts(stream, 0, s->opts.write_timeout, 0);
    if (!err) err = np_stream_read_start(stream);
    if (err) {
        np_timer_stop(&c->timer);
        np_http_conn_free(c);
        return err;
    }
    np_stream_set_handler(stream, &handler, c);
    np_list_push_back(&s->conns, &c->link);
    s->nconns++;
    *out = c;
    return NEAP_OK;
}
