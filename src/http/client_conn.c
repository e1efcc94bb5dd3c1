/* A connection of the client, and the call that it carries.
 *
 * It reads all the time, but while its call is paused, so that a server's closing is seen; bytes on
 * an idle connection are nobody's answer and close it. One thread, the loop's.
 */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "http/client_impl.h"

static void set_state(struct np_http_client_conn *conn, enum np_http_client_conn_state next)
{
    static const bool legal[4][4] = {
        [NP_CCONN_CONNECTING] = {[NP_CCONN_BUSY] = true, [NP_CCONN_CLOSING] = true},
        [NP_CCONN_BUSY] = {[NP_CCONN_IDLE] = true, [NP_CCONN_CLOSING] = true},
        [NP_CCONN_IDLE] = {[NP_CCONN_BUSY] = true, [NP_CCONN_CLOSING] = true},
    };
    assert(legal[conn->state][next]);
    (void)legal;
    conn->state = next;
}

void np_http_client_conn_close(struct np_http_client_conn *conn)
{
    struct np_http_origin *o = conn->origin;
    if (conn->state == NP_CCONN_CLOSING) return;
    np_http_pool_unidle(conn);
    set_state(conn, NP_CCONN_CLOSING);
    if (conn->call) conn->call->conn = NULL;
    conn->call = NULL;
    conn->origin = NULL;
    np_timer_stop(&conn->timer);
    np_defer_cancel(&conn->later);
    np_stream_close(conn->stream);
    conn->client->nopen--;
    o->nopen--;
    np_http_pool_left(o);
}

/* Takes the call off a connection that is of no use any more, and closes that. */
static struct np_http_call *break_off(struct np_http_client_conn *conn)
{
    struct np_http_call *call = conn->call;
    call->conn = NULL;
    conn->call = NULL;
    return call;
}

/* The answer is complete: the connection is kept if it can be, the call ends. */
static void finish(struct np_http_client_conn *conn)
{
    struct np_http_call *call = break_off(conn);
    bool keep = conn->head.keep_alive && !call->close && call->body_done && !conn->peer_ended &&
                np_buf_len(&conn->in) == 0 && np_stream_queued(conn->stream) == 0 &&
                !conn->stream->err && !conn->client->closing;
    conn->uses++;
    if (keep) {
        set_state(conn, NP_CCONN_IDLE);
        np_http_pool_release(conn);
        if (conn->state == NP_CCONN_IDLE) {
            np_http1_next(&conn->parser, -1);
            np_stream_set_ref(conn->stream, false);
            if (np_timer_start(&conn->timer, conn->client->opts.idle_timeout) ||
                np_stream_read_start(conn->stream))
                np_http_client_conn_close(conn);
        }
    } else {
        np_http_client_conn_close(conn);
    }
    np_http_call_end(call, NEAP_OK, "%s", "");
}

/* Nothing more comes, or nothing sensible. A kept connection that died under a call before a byte
 * of its answer came may have been closed already when the call was given it: once more, then. */
static void fail_call(struct np_http_client_conn *conn, enum neap_err err, const char *what)
{
    struct np_http_call *call = break_off(conn);
    struct np_http_origin *o = conn->origin;
    bool again = conn->uses > 0 && np_http_call_may_retry(call);
    char key[NP_CALL_WHY_MAX / 2];
    snprintf(key, sizeof key, "%s", o->key);
    o->nopen += again; /* so that the origin outlives its connection */
    np_http_client_conn_close(conn);
    if (again) {
        o->nopen--;
        call->retried = true;
        call->client->nretried++;
        if (np_http_pool_assign(call, true) == NEAP_OK) return;
    }
    np_http_call_end(call, err, "%s %s", key, what);
}

/* --- the answer */

static void on_head(struct np_http1_parser *p)
{
    struct np_http_client_conn *conn = p->arg;
    struct np_http_call *call = conn->call;
    if (np_http1_keep(p)) {
        np_http_call_end_later(call, NEAP_ENOMEM, "out of memory");
        return;
    }
    if (call->handler->on_head) call->handler->on_head(call, &conn->head);
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct np_http_client_conn *conn = p->arg;
    struct np_http_call *call = conn->call;
    if (call && call->handler->on_body) call->handler->on_body(call, data, n);
}

static void on_end(struct np_http1_parser *p)
{
    struct np_http_client_conn *conn = p->arg;
    conn->complete = true;
}

static void after_peer_end(struct np_http_client_conn *conn)
{
    struct np_http_call *call = conn->call;
    if (np_http1_finish(&conn->parser))
        fail_call(conn, NEAP_ECONNRESET, "closed the connection in the middle of its answer");
    else if (conn->complete)
        finish(conn);
    else if (!call->paused) /* who has paused hears of the end later */
        fail_call(conn, NEAP_ECONNRESET, "closed the connection before it answered");
}

/* Parses these bytes for the call; returns how many were taken. The call may be gone then. */
static size_t parse(struct np_http_client_conn *conn, const char *data, size_t n)
{
    size_t used = 0;
    enum neap_err err = np_http1_feed(&conn->parser, data, n, &used);
    if (!conn->call || conn->state == NP_CCONN_CLOSING) return n;
    if (err == NEAP_ENOMEM) {
        fail_call(conn, err, "answered, but there is no memory for it");
    } else if (err) {
        char what[NP_CALL_WHY_MAX / 2];
        bool limit = err == NEAP_ELIMIT;
        snprintf(what, sizeof what, "gave %s: %s",
                 limit ? "an answer that is too large" : "a bad answer", conn->parser.why);
        fail_call(conn, limit ? NEAP_ELIMIT : NEAP_EPROTO, what);
    } else if (conn->head.status == 101) {
        fail_call(conn, NEAP_EPROTO, "switched protocols, which nobody asked for");
    } else {
        return used;
    }
    return n;
}

/* Bytes of the answer, new or (n 0) kept from before a pause. */
static void take(struct np_http_client_conn *conn, const char *data, size_t n)
{
    struct np_http_call *call = conn->call;
    size_t used, had = np_buf_len(&conn->in);
    if (had) {
        if (n && np_buf_append(&conn->in, data, n)) {
            fail_call(conn, NEAP_ENOMEM, "answered, but there is no memory for it");
            return;
        }
        used = parse(conn, np_buf_data(&conn->in), np_buf_len(&conn->in));
        np_buf_consume(&conn->in, used);
    } else {
        used = parse(conn, data, n);
        if (used < n && np_buf_append(&conn->in, data + used, n - used)) {
            fail_call(conn, NEAP_ENOMEM, "answered, but there is no memory for it");
            return;
        }
    }
    if (conn->call != call || conn->state != NP_CCONN_BUSY) return;
    if (conn->complete) {
        finish(conn);
    } else if (call->paused) {
        np_stream_read_stop(conn->stream);
    } else if (conn->peer_ended) {
        after_peer_end(conn);
    } else {
        np_buf_shrink(&conn->in, 0);
        np_http_call_progress(call);
        if (conn->call && !conn->stream->reading && np_stream_read_start(conn->stream))
            fail_call(conn, NEAP_ECLOSED, "cannot be read from");
    }
}

static void on_later(struct np_defer *d)
{
    struct np_http_client_conn *conn = np_container_of(d, struct np_http_client_conn, later);
    if (conn->state == NP_CCONN_BUSY && conn->call && !conn->call->paused) take(conn, "", 0);
}

void np_http_client_conn_pause(struct np_http_client_conn *conn, bool paused)
{
    np_http1_pause(&conn->parser, paused);
    if (!paused) np_loop_defer(conn->client->loop, &conn->later);
}

/* --- the stream */

static void stream_open(struct np_stream *s)
{
    struct np_http_client_conn *conn = s->arg;
    set_state(conn, NP_CCONN_BUSY);
    np_http_call_sent(conn->call);
}

static void stream_read(struct np_stream *s, const char *data, size_t n)
{
    struct np_http_client_conn *conn = s->arg;
    if (conn->state == NP_CCONN_IDLE) { /* nobody asked */
        np_http_client_conn_close(conn);
        return;
    }
    conn->call->answered = true;
    take(conn, data, n);
}

static void stream_end(struct np_stream *s)
{
    struct np_http_client_conn *conn = s->arg;
    conn->peer_ended = true;
    if (conn->state == NP_CCONN_IDLE)
        np_http_client_conn_close(conn);
    else if (!conn->call->paused)
        take(conn, "", 0);
}

static void stream_drain(struct np_stream *s)
{
    struct np_http_client_conn *conn = s->arg;
    if (conn->call) np_http_call_drained(conn->call);
}

static void stream_error(struct np_stream *s, enum neap_err err)
{
    struct np_http_client_conn *conn = s->arg;
    char what[NP_CALL_WHY_MAX / 2];
    if (!conn->call) {
        np_http_client_conn_close(conn);
        return;
    }
    snprintf(what, sizeof what, "%s: %s",
             conn->state == NP_CCONN_CONNECTING ? "cannot be connected to"
             : conn->call->answered             ? "broke off its answer"
                                                : "broke the connection before it answered",
             neap_err_text(err));
    fail_call(conn, err, what);
}

static void stream_closed(struct np_stream *s)
{
    struct np_http_client_conn *conn = s->arg;
    struct np_http_client *c = conn->client;
    np_list_remove(&conn->link);
    np_http1_fini(&conn->parser);
    np_buf_fini(&conn->in);
    np_free(conn);
    np_http_client_check_gone(c);
}

static void on_idle_timeout(struct np_timer *t)
{
    struct np_http_client_conn *conn = np_container_of(t, struct np_http_client_conn, timer);
    if (conn->state == NP_CCONN_IDLE) np_http_client_conn_close(conn);
}

/* --- the beginning */

static enum neap_err dial(struct np_http_origin *o, struct np_http_client_conn *conn)
{
    static const struct np_stream_handler handler = {.on_open = stream_open,
                                                     .on_read = stream_read,
                                                     .on_end = stream_end,
                                                     .on_drain = stream_drain,
                                                     .on_error = stream_error,
                                                     .on_close = stream_closed};
    struct np_dial_options d = NP_DIAL_OPTIONS_INIT;
    struct np_loop *loop = o->client->loop;
    d.timeout = o->client->opts.connect_timeout;
    if (o->is_unix) return np_unix_dial(loop, o->host, &d, &handler, conn, &conn->stream);
    return np_tcp_dial(loop, o->host, o->port, &d, &handler, conn, &conn->stream);
}

enum neap_err np_http_client_conn_open(struct np_http_origin *o, struct np_http_client_conn **out)
{
    static const struct np_http1_events events = {
        .on_head = on_head, .on_body = on_body, .on_end = on_end};
    struct np_http_client *c = o->client;
    struct np_http_client_conn *conn = np_calloc(1, sizeof *conn);
    if (!conn) return NEAP_ENOMEM;
    conn->client = c;
    conn->origin = o;
    np_link_init(&conn->idle);
    np_link_init(&conn->in_origin);
    np_timer_init(&conn->timer, c->loop, on_idle_timeout);
    np_timer_set_background(&conn->timer, true);
    np_defer_init(&conn->later, on_later);
    np_http1_init(&conn->parser, NP_HTTP1_RESPONSE, &c->opts.limits, &conn->head, &events, conn);
    enum neap_err err = dial(o, conn);
    if (err) {
        np_http1_fini(&conn->parser);
        np_free(conn);
        return err;
    }
    np_list_push_back(&c->conns, &conn->link);
    c->nopen++;
    o->nopen++;
    *out = conn;
    return NEAP_OK;
}

void np_http_client_conn_start(struct np_http_client_conn *conn, struct np_http_call *call)
{
    struct np_stream *s = conn->stream;
    conn->call = call;
    call->conn = conn;
    conn->complete = false;
    np_http1_next(&conn->parser, call->method);
    np_http1_pause(&conn->parser, call->paused);
    if (conn->state == NP_CCONN_IDLE) {
        set_state(conn, NP_CCONN_BUSY);
        np_stream_set_ref(s, true);
    }
    enum neap_err err = np_stream_write(s, np_buf_data(&call->req), np_buf_len(&call->req));
    if (!err) err = np_stream_read_start(s);
    /* What the transport finds wrong it reports itself, from the loop. */
    if (err && !s->err && s->state <= NP_STREAM_OPEN)
        np_http_call_end_later(call, err, "cannot write the request: %s", neap_err_text(err));
    else if (conn->state == NP_CCONN_BUSY)
        np_http_call_sent(call);
}
