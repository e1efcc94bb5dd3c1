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

static void idle(struct np_http_client_conn *conn)
{
    const struct np_http_client_options *o = &conn->client->opts;
    int64_t span = o->idle_timeout;
    int64_t left = np_time_add(conn->born, o->max_age) - np_loop_now(conn->client->loop);
    if (o->max_age && (!span || left < span)) span = left;
    if (conn->parser.gather.cap || conn->parser.trailer) np_http1_next(&conn->parser, -1);
    np_stream_set_ref(conn->stream, false);
    if ((span && np_timer_start(&conn->timer, span)) || np_stream_read_start(conn->stream))
        np_http_client_conn_close(conn);
}

/* The answer is complete: the connection is kept if it can be, the call ends. */
static void finish(struct np_http_client_conn *conn)
{
    struct np_http_call *call = break_off(conn);
    bool keep = conn->head.keep_alive && !call->close && call->body_done && !call->held &&
                !conn->peer_ended && np_buf_len(&conn->in) == 0 &&
                np_stream_queued(conn->stream) == 0 && !conn->stream->err;
    conn->uses++;
    if (keep && np_http_pool_may_keep(conn)) {
        set_state(conn, NP_CCONN_IDLE);
        np_http_pool_release(conn);
        if (conn->state == NP_CCONN_IDLE) idle(conn);
    } else {
        np_http_client_conn_close(conn);
    }
    np_http_call_end(call, NEAP_OK, "%s", "");
}

/* A kept connection that died under a call before a byte of its answer came may have been closed
 * already when the call was given it: once more, then. */
void np_http_client_conn_fail(struct np_http_client_conn *conn, enum neap_err err, const char *what)
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
    call->headed = true;
    call->phase = NP_HTTP_BODY;
    const struct np_http_head *h = np_http_call_decode_begin(call, &conn->head, &conn->plain);
    if (!call->ended && call->handler->on_head) call->handler->on_head(call, h);
}

static void on_interim(struct np_http1_parser *p)
{
    struct np_http_client_conn *conn = p->arg;
    struct np_http_call *call = conn->call;
    if (call->handler->on_interim) call->handler->on_interim(call, &conn->head);
    if (!call->ended) np_http_call_interim(call, conn->head.status);
}

static void on_body(struct np_http1_parser *p, const char *data, size_t n)
{
    struct np_http_client_conn *conn = p->arg;
    struct np_http_call *call = conn->call;
    if (!call) return;
    if (call->decoder)
        np_http_call_decode(call, data, n);
    else if (call->handler->on_body)
        call->handler->on_body(call, data, n);
}

static void on_end(struct np_http1_parser *p)
{
    struct np_http_client_conn *conn = p->arg;
    struct np_http_call *call = conn->call;
    conn->complete = true;
    if (call) np_http_call_decode_end(call);
    if (call && !call->ended && conn->head.ntrailers && call->handler->on_trailers)
        call->handler->on_trailers(call, conn->head.trailers, conn->head.ntrailers);
}

static void after_peer_end(struct np_http_client_conn *conn)
{
    struct np_http_call *call = conn->call;
    if (np_http1_finish(&conn->parser))
        np_http_client_conn_fail(conn, NEAP_ECONNRESET,
                                 "closed the connection in the middle of its answer");
    else if (conn->complete)
        finish(conn);
    else if (!call->paused) /* who has paused hears of the end later */
        np_http_client_conn_fail(conn, NEAP_ECONNRESET, "closed the connection before it answered");
}

/* Parses these bytes for the call; returns how many were taken. The call may be gone then. */
static size_t parse(struct np_http_client_conn *conn, const char *data, size_t n)
{
    size_t used = 0;
    enum neap_err err = np_http1_feed(&conn->parser, data, n, &used);
    if (!conn->call || conn->state == NP_CCONN_CLOSING) return n;
    if (!err && conn->call->headed && !conn->complete) err = np_http1_keep(&conn->parser);
    if (err == NEAP_ENOMEM) {
        np_http_client_conn_fail(conn, err, "answered, but there is no memory for it");
    } else if (err) {
        char what[NP_CALL_WHY_MAX / 2];
        bool limit = err == NEAP_ELIMIT;
        snprintf(what, sizeof what, "gave %s: %s",
                 limit ? "an answer that is too large" : "a bad answer", conn->parser.why);
        np_http_client_conn_fail(conn, limit ? NEAP_ELIMIT : NEAP_EPROTO, what);
    } else if (conn->head.status == 101) {
        np_http_client_conn_fail(conn, NEAP_EPROTO, "switched protocols, which nobody asked for");
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
            np_http_client_conn_fail(conn, NEAP_ENOMEM, "answered, but there is no memory for it");
            return;
        }
        used = parse(conn, np_buf_data(&conn->in), np_buf_len(&conn->in));
        np_buf_consume(&conn->in, used);
    } else {
        used = parse(conn, data, n);
        if (used < n && np_buf_append(&conn->in, data + used, n - used)) {
            np_http_client_conn_fail(conn, NEAP_ENOMEM, "answered, but there is no memory for it");
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
            np_http_client_conn_fail(conn, NEAP_ECLOSED, "cannot be read from");
    }
}

static void on_later(struct np_defer *d)
{
    struct np_http_client_conn *conn = np_container_of(d, struct np_http_client_conn, later);
    struct np_http_call *call = conn->call;
    if (conn->state != NP_CCONN_BUSY || !call || call->paused) return;
    if (np_http_call_decode_more(call)) take(conn, "", 0);
}

void np_http_client_conn_pause(struct np_http_client_conn *conn, bool paused)
{
    np_http1_pause(&conn->parser, paused);
    if (!paused) np_loop_defer(conn->client->loop, &conn->later);
}

/* --- the stream */

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
    if (err == NEAP_ETIMEDOUT) conn->call->bound = "idle"; /* the stream's own, of writing */
    snprintf(what, sizeof what, "%s: %s",
             err == NEAP_ETIMEDOUT  ? "does not take the request"
             : conn->call->answered ? "broke off its answer"
                                    : "broke the connection before it answered",
             np_stream_why(s, err));
    np_http_client_conn_fail(conn, err, what);
}

void np_http_client_conn_gone(struct np_stream *s)
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

static const struct np_stream_handler stream_handler = {.on_read = stream_read,
                                                        .on_end = stream_end,
                                                        .on_drain = stream_drain,
                                                        .on_error = stream_error,
                                                        .on_close = np_http_client_conn_gone};

/* --- the beginning */

static const struct np_http1_events events = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end, .on_interim = on_interim};

enum neap_err np_http_client_conn_open(struct np_http_origin *o, struct np_http_call *call)
{
    struct np_http_client *c = o->client;
    struct np_http_client_conn *conn = np_calloc(1, sizeof *conn);
    if (!conn) return NEAP_ENOMEM;
    conn->client = c;
    conn->origin = o;
    conn->born = np_loop_now(c->loop);
    np_link_init(&conn->idle);
    np_link_init(&conn->in_origin);
    np_timer_init(&conn->timer, c->loop, on_idle_timeout);
    np_timer_set_background(&conn->timer, true);
    np_defer_init(&conn->later, on_later);
    np_http1_init(&conn->parser, NP_HTTP1_RESPONSE, &c->opts.limits, &conn->head, &events, conn);
    enum neap_err err = np_http_client_dial(conn, call);
    if (err) {
        np_http1_fini(&conn->parser);
        np_free(conn);
        return err;
    }
    conn->call = call;
    call->conn = conn;
    np_http_call_enter(call, NP_HTTP_CONNECT, 0);
    np_list_push_back(&c->conns, &conn->link);
    c->nconnects++;
    c->nopen++;
    o->nopen++;
    return NEAP_OK;
}

static void begin(struct np_http_client_conn *conn)
{
    struct np_http_call *call = conn->call;
    conn->complete = false;
    np_http1_next(&conn->parser, call->method);
    conn->parser.limits.max_head =
        call->max_head ? call->max_head : conn->client->opts.limits.max_head;
    np_http1_pause(&conn->parser, call->paused);
    np_http_call_send(call);
}

void np_http_client_conn_ready(struct np_http_client_conn *conn)
{
    set_state(conn, NP_CCONN_BUSY);
    conn->parser.events = &events;
    np_stream_set_handler(conn->stream, &stream_handler, conn);
    begin(conn);
}

void np_http_client_conn_start(struct np_http_client_conn *conn, struct np_http_call *call)
{
    conn->call = call;
    call->conn = conn;
    set_state(conn, NP_CCONN_BUSY); /* its timer runs on, and finds it so */
    np_stream_set_ref(conn->stream, true);
    begin(conn);
}
