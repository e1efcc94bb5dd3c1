/* A connection's beginning and end, and the buffers it writes to. One thread, the loop's. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"

enum { KEEP_SPARE_OUT = 256 * 1024 };

void np_http_conn_set_state(struct np_http_conn *c, enum np_http_conn_state next)
{
    static const bool legal[5][5] = {
        [NP_CONN_IDLE] = {[NP_CONN_HEAD] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_HEAD] = {[NP_CONN_EXCHANGE] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_EXCHANGE] =
            {[NP_CONN_IDLE] = true, [NP_CONN_DISCARD] = true, [NP_CONN_CLOSING] = true},
        [NP_CONN_DISCARD] = {[NP_CONN_IDLE] = true, [NP_CONN_CLOSING] = true},
    };
    assert(legal[c->state][next]);
    (void)legal;
    c->state = next;
}

/* --- bytes out */

void np_http_conn_lend_out(struct np_http_conn *c)
{
    struct np_http_server *s = c->server;
    if (!c->t || c->t->out.cap || !s->spare_out.cap) return;
    c->t->out = s->spare_out;
    np_buf_init(&s->spare_out);
}

static void give_out_back(struct np_http_conn *c)
{
    struct np_http_server *s = c->server;
    if (np_buf_len(&c->t->out) || !c->t->out.cap) return;
    if (s->spare_out.cap || c->t->out.cap > KEEP_SPARE_OUT) {
        np_buf_fini(&c->t->out);
    } else {
        s->spare_out = c->t->out;
    }
    np_buf_init(&c->t->out);
}

void np_http_conn_flush(struct np_http_conn *c)
{
    if (!c->t) return;
    size_t n = np_buf_len(&c->t->out);
    if (n && c->state != NP_CONN_CLOSING) {
        enum neap_err err = np_stream_write(c->stream, np_buf_data(&c->t->out), n);
        /* A transport that broke is reported by the stream, after what the peer sent before. */
        if (err && !c->stream->err) np_http_conn_doom(c, err);
    }
    np_buf_clear(&c->t->out);
    if (!c->corked) give_out_back(c);
}

/* --- the end */

/* Whatever it was at is over. */
static void close_turn(struct np_http_conn *c)
{
    np_timer_stop(&c->timer);
    if (!c->t) return;
    c->t->x.finished = true;
    np_http1_pause(&c->t->parser, true);
}

void np_http_conn_drop(struct np_http_conn *c)
{
    if (c->state == NP_CONN_CLOSING) return;
    np_http_account_end(c, true);
    np_http_conn_set_state(c, NP_CONN_CLOSING);
    close_turn(c);
    np_defer_cancel(&c->later);
    np_stream_close(c->stream);
}

void np_http_conn_doom(struct np_http_conn *c, enum neap_err err)
{
    if (c->state == NP_CONN_CLOSING || c->doomed) return;
    c->doomed = err;
    np_loop_defer(c->server->loop, &c->later);
}

void np_http_conn_abort(struct np_http_conn *c, enum neap_err why)
{
    if (c->state == NP_CONN_CLOSING) return;
    if (c->state == NP_CONN_EXCHANGE) {
        c->corked = true; /* whatever it writes now goes nowhere */
        if (!c->t->x.body_complete) np_http_conn_tell_body_end(c, why);
        if (!c->t->x.finished) {
            c->t->x.finished = true;
            if (why == NEAP_ECLOSED && !c->t->account.status) c->t->account.status = 503;
            c->t->x.handler->on_abort(&c->t->x, why);
        }
    }
    np_http_conn_drop(c);
}

void np_http_conn_finish(struct np_http_conn *c)
{
    if (c->state == NP_CONN_CLOSING) return;
    np_http_account_end(c, false);
    np_http_conn_flush(c);
    np_http_conn_set_state(c, NP_CONN_CLOSING);
    close_turn(c);
    np_defer_cancel(&c->later);
    np_stream_finish(c->stream, NP_HTTP_LINGER);
}

void np_http_conn_let_go(struct np_http_conn *c)
{
    np_http_account_end(c, false);
    np_http_conn_set_state(c, NP_CONN_CLOSING);
    close_turn(c);
    c->stream = NULL;
    np_loop_defer(c->server->loop, &c->later);
}

void np_http_conn_closed(struct np_stream *s)
{
    np_http_conn_gone(s->arg);
}

void np_http_conn_gone(struct np_http_conn *c)
{
    struct np_http_server *server = c->server;
    np_list_remove(&c->link);
    server->nconns--;
    if (c->counted) server->nserving--;
    np_http_conn_end_turn(c);
    np_free(c->peer);
    np_free(c);
    np_http_server_conn_gone(server);
}

const struct np_stream *np_http_exchange_stream(struct np_http_exchange *x)
{
    return np_http_conn_of(x)->stream;
}

/* --- the beginning */

enum neap_err np_http_conn_open(struct np_http_server *s, struct np_stream *stream,
                                struct np_http_conn **out)
{
    struct np_http_conn *c = np_alloc(sizeof *c);
    if (!c) return NEAP_ENOMEM;
    *c = (struct np_http_conn){
        .server = s,
        .stream = stream,
        .state = NP_CONN_IDLE,
        .timed = NP_TIMED_IDLE,
        .idle_since = np_loop_now(s->loop),
    };
    np_link_init(&c->link);
    np_defer_init(&c->later, np_http_conn_on_later);
    np_timer_init(&c->timer, s->loop, np_http_conn_on_timer);
    np_timer_set_background(&c->timer, true); /* the stream keeps the loop alive */
    int64_t idle = s->opts.keep_alive_timeout;
    enum neap_err err = idle > 0 ? np_timer_start(&c->timer, idle) : NEAP_OK;
    if (!err) err = np_stream_set_timeouts(stream, 0, s->opts.write_timeout, 0);
    if (!err) err = np_stream_read_start(stream);
    if (err) {
        np_timer_stop(&c->timer);
        np_free(c);
        return err;
    }
    np_stream_set_handler(stream, &np_http_conn_stream, c);
    np_list_push_back(&s->conns, &c->link);
    s->nconns++;
    *out = c;
    return NEAP_OK;
}
