/* A connection's beginning and end, and the buffers it writes to. Connections are recycled: what a
 * new one needs is there already, mostly. One thread, the loop's. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "http/server_impl.h"

enum { MAX_SPARE_CONNS = 64, KEEP_SPARE_OUT = 256 * 1024 };

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
        if (err && !c->stream->err) np_http_conn_doom(c, err);
    }
    np_buf_clear(&c->out);
    if (!c->corked) give_out_back(c);
}

/* --- the end */

void np_http_conn_drop(struct np_http_conn *c)
{
    if (c->state == NP_CONN_CLOSING) return;
    np_http_account_end(c, true);
    np_http_conn_set_state(c, NP_CONN_CLOSING);
    c->x.finished = true;
    np_timer_stop(&c->timer);
    np_defer_cancel(&c->later);
    np_http1_pause(&c->parser, true);
    np_stream_close(c->stream);
}

void np_http_conn_doom(struct np_http_conn *c, enum neap_err err)
{
    if (c->state == NP_CONN_CLOSING || c->doomed) return;
    c->doomed = err;
    np_loop_defer(c->x.server->loop, &c->later);
}

void np_http_conn_abort(struct np_http_conn *c, enum neap_err why)
{
    if (c->state == NP_CONN_CLOSING) return;
    if (c->state == NP_CONN_EXCHANGE) {
        c->corked = true; /* whatever it writes now goes nowhere */
        if (!c->x.body_complete) np_http_conn_tell_body_end(c, why);
        if (!c->x.finished) {
            c->x.finished = true;
            if (why == NEAP_ECLOSED && !c->account.status) c->account.status = 503;
            c->x.handler->on_abort(&c->x, why);
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
    c->x.finished = true;
    np_timer_stop(&c->timer);
    np_defer_cancel(&c->later);
    np_http1_pause(&c->parser, true);
    np_stream_finish(c->stream, NP_HTTP_LINGER);
}

void np_http_conn_let_go(struct np_http_conn *c)
{
    np_http_account_end(c, false);
    np_http_conn_set_state(c, NP_CONN_CLOSING);
    c->x.finished = true;
    c->stream = NULL;
    np_timer_stop(&c->timer);
    np_http1_pause(&c->parser, true);
    np_loop_defer(c->x.server->loop, &c->later);
}

void np_http_conn_closed(struct np_stream *s)
{
    np_http_conn_gone(s->arg);
}

void np_http_conn_gone(struct np_http_conn *c)
{
    struct np_http_server *server = c->x.server;
    np_list_remove(&c->link);
    server->nconns--;
    if (c->counted) server->nserving--;
    np_buf_fini(&c->in);
    np_buf_fini(&c->out);
    np_free(c->peer);
    c->peer = NULL;
    if (server->nspare < MAX_SPARE_CONNS && !server->closing) {
        np_list_push_back(&server->spare_conns, &c->link);
        server->nspare++;
    } else {
        np_http_conn_free(c);
    }
    np_http_server_conn_gone(server);
}

const struct np_stream *np_http_exchange_stream(struct np_http_exchange *x)
{
    return np_http_conn_of(x)->stream;
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
        np_http1_init(&c->parser, NP_HTTP1_REQUEST, &s->opts.limits, &c->x.head,
                      &np_http_conn_events, c);
    }
    c->x.server = s;
    c->x.arena = &c->arena;
    return c;
}

enum neap_err np_http_conn_open(struct np_http_server *s, struct np_stream *stream,
                                struct np_http_conn **out)
{
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
    c->idle_since = np_loop_now(s->loop);
    c->corked = c->body_wanted = c->body_told = c->want_continue = false;
    c->peer_ended = c->close_after = c->counted = false;
    c->account = (struct np_http_account){.open = false};
    np_defer_init(&c->later, np_http_conn_on_later);
    np_timer_init(&c->timer, s->loop, np_http_conn_on_timer);
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
    np_stream_set_handler(stream, &np_http_conn_stream, c);
    np_list_push_back(&s->conns, &c->link);
    s->nconns++;
    *out = c;
    return NEAP_OK;
}
