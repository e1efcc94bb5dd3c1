/* The server's life: listeners, accepting, draining, the end. One thread, the loop's. */
#include <string.h>

#include "base/alloc.h"
#include "http/access_log.h"
#include "http/server_impl.h"

enum {
    MAX_REFUSED = 128, /* connections over the limit that are told so at the same time */
    IDLE_TURNS = 2,    /* of the loop, for idle connections to show what has arrived already */
};

void np_http_server_options_init(struct np_http_server_options *o)
{
    *o = (struct np_http_server_options){
        .limits = NP_HTTP_LIMITS_INIT,
        .header_timeout = 10 * NP_NS_PER_SEC,
        .body_timeout = 30 * NP_NS_PER_SEC,
        .keep_alive_timeout = 75 * NP_NS_PER_SEC,
        .write_timeout = 30 * NP_NS_PER_SEC,
        .max_connections = 10000,
        .abort_on_end = true,
        .handshake_timeout = 10 * NP_NS_PER_SEC,
    };
}

/* --- the end */

static void free_server(struct np_http_server *s)
{
    struct np_link *l;
    np_http_server_leave_succession(s);
    while ((l = np_list_pop_front(&s->spare_turns)))
        np_http_turn_free(np_container_of(l, struct np_http_turn, spare));
    np_timer_stop(&s->grace);
    np_timer_stop(&s->cooling);
    np_tls_context_unref(s->opts.tls);
    if (s->proxied) np_proxied_close(s->proxied);
    np_defer_cancel(&s->later);
    np_buf_fini(&s->spare_out);
    np_cidr_list_fini(&s->forwarded.trusted);
    np_access_log_free(s->opts.access_log);
    np_free(s->listeners);
    np_free(s->server_name);
    np_free(s);
}

static void check_closed(struct np_http_server *s)
{
    if (!s->closing || s->nconns || s->listeners_left || s->turns) return;
    if (s->proxied && np_proxied_waiting(s->proxied)) return;
    struct np_loop *loop = s->loop;
    if (s->handler->on_close) s->handler->on_close(s, s->arg);
    free_server(s);
    np_loop_release(loop);
}

void np_http_server_conn_gone(struct np_http_server *s)
{
    check_closed(s);
}

static void on_listener_closed(struct np_listener *l)
{
    struct np_http_server *s = np_listener_arg(l);
    s->listeners_left--;
    check_closed(s);
}

static void end_all(struct np_http_server *s)
{
    struct np_link *pos, *tmp;
    if (s->proxied) np_proxied_close(s->proxied);
    s->proxied = NULL;
    np_list_each_safe (pos, tmp, &s->conns) {
        struct np_http_conn *c = np_container_of(pos, struct np_http_conn, link);
        np_http_conn_abort(c, NEAP_ECLOSED);
        if (c->stream) np_stream_close(c->stream); /* those that linger, too */
    }
}

/* A peer that is in the middle of asking has its next request on the way, most likely: were its
 * connection closed between two of them, that one would be lost. So what is warm is left to ask
 * once more, and is told then; what has been idle for longer is closed. */
static void end_idle(struct np_http_server *s)
{
    struct np_link *pos, *tmp;
    int64_t cold = np_loop_now(s->loop) - s->warm;
    bool warm = false;
    np_list_each_safe (pos, tmp, &s->conns) {
        struct np_http_conn *c = np_container_of(pos, struct np_http_conn, link);
        if (c->state != NP_CONN_IDLE || (c->t && np_buf_len(&c->t->in))) continue;
        if (c->idle_since > cold)
            warm = true;
        else
            np_http_conn_finish(c);
    }
    if (warm && np_timer_start(&s->cooling, s->warm) != NEAP_OK) end_all(s);
}

static void on_cool(struct np_timer *t)
{
    end_idle(np_container_of(t, struct np_http_server, cooling));
}

static void on_later(struct np_defer *d)
{
    struct np_http_server *s = np_container_of(d, struct np_http_server, later);
    if (s->aborting) s->turns = 1;
    if (--s->turns > 0) {
        np_loop_defer(s->loop, d);
        return;
    }
    if (s->aborting)
        end_all(s);
    else
        end_idle(s);
    check_closed(s);
}

static void on_grace(struct np_timer *t)
{
    struct np_http_server *s = np_container_of(t, struct np_http_server, grace);
    s->aborting = true;
    end_all(s);
}

void np_http_server_close(struct np_http_server *s, int64_t grace)
{
    bool at_once = grace <= 0;
    if (s->closing && (s->aborting || !at_once)) return;
    if (!s->closing) {
        for (size_t i = 0; i < s->nlisteners; i++) {
            if (!at_once) np_listener_accept_pending(s->listeners[i]);
            np_listener_close(s->listeners[i]);
        }
        s->nlisteners = 0;
    }
    s->closing = true;
    s->warm = grace / 2 < NP_HTTP_WARM ? grace / 2 : NP_HTTP_WARM;
    if (!at_once && np_timer_start(&s->grace, grace)) at_once = true;
    s->aborting = at_once;
    s->turns = IDLE_TURNS;
    np_loop_defer(s->loop, &s->later);
}

/* --- accepting */

static void nobody_closed(struct np_stream *stream)
{
}

/* Over the limit: a short word, or nothing when there are too many of those already. */
static bool over_limit(const struct np_http_server *s)
{
    return s->opts.max_connections && s->nserving >= s->opts.max_connections;
}

static void turn_away(struct np_stream *stream)
{
    static const struct np_stream_handler nobody = {.on_close = nobody_closed};
    np_stream_set_handler(stream, &nobody, NULL);
    np_stream_close(stream);
}

/* A connection is served while its handshake is still under way: what is read and written waits. */
static enum neap_err secure(struct np_http_server *s, struct np_stream **stream)
{
    static const struct np_stream_handler nobody = {.on_close = nobody_closed};
    static const char alpn[] = "\x08http/1.1";
    if (!s->opts.tls) return NEAP_OK;
    enum neap_err err =
        np_tls_wrap_server(s->opts.tls, *stream, s->opts.handshake_timeout, &nobody, NULL, stream);
    /* A client that speaks none of it is told so, and no other server's words reach it. */
    if (!err) np_tls_stream_set_alpn(*stream, alpn, sizeof alpn - 1);
    return err;
}

static void serve(struct np_http_server *s, struct np_stream *stream)
{
    struct np_http_conn *c;
    bool full = over_limit(s);
    if ((full && s->nconns - s->nserving >= MAX_REFUSED) || secure(s, &stream) ||
        np_http_conn_open(s, stream, &c)) {
        turn_away(stream);
    } else if (full) {
        np_http_conn_refuse(c, 503, "too many connections");
    } else {
        c->counted = true;
        s->nserving++;
    }
}

static void on_accept(struct np_listener *l, struct np_stream *stream)
{
    struct np_http_server *s = np_listener_arg(l);
    if (s->closing)
        turn_away(stream);
    else if (s->proxied)
        np_proxied_take(s->proxied, stream);
    else
        serve(s, stream);
}

/* Its PROXY header was read; a server that drains had accepted it before. */
static void on_proxied(void *arg, struct np_stream *stream)
{
    serve(arg, stream);
}

static void on_proxied_left(void *arg)
{
    check_closed(arg);
}

enum neap_err np_http_server_adopt(struct np_http_server *s, struct np_stream *stream)
{
    struct np_http_conn *c;
    if (s->closing) return NEAP_ECLOSED;
    if (over_limit(s)) return NEAP_ELIMIT;
    enum neap_err err = np_http_conn_open(s, stream, &c);
    if (err) return err;
    c->counted = true;
    s->nserving++;
    return NEAP_OK;
}

static const struct np_listener_handler on_listener = {.on_accept = on_accept,
                                                       .on_close = on_listener_closed};

static enum neap_err make_room(struct np_http_server *s, struct neap_errinfo *info)
{
    if (s->closing) return np_err_plain(info, NEAP_ECLOSED);
    struct np_listener **more =
        np_realloc(s->listeners, (s->nlisteners + 1) * sizeof *s->listeners);
    if (!more) return np_err_plain(info, NEAP_ENOMEM);
    s->listeners = more;
    return NEAP_OK;
}

static void on_active(struct np_listener *l, bool active)
{
    struct np_listener *old = active ? np_listener_predecessor(l) : NULL;
    if (!old || np_listener_get_handler(old) != &on_listener) return;
    np_http_server_succeed(np_listener_arg(l), np_listener_arg(old));
}

static void add_listener(struct np_http_server *s, struct np_listener *l)
{
    np_listener_on_active(l, on_active);
    s->listeners[s->nlisteners++] = l;
    s->listeners_left++;
}

enum neap_err np_http_server_listen(struct np_http_server *s, const char *host, int port,
                                    const struct np_listen_options *lo, struct neap_errinfo *info)
{
    struct np_listener *l;
    enum neap_err err = make_room(s, info);
    if (!err) err = np_tcp_listen(s->loop, host, port, lo, &on_listener, s, &l, info);
    if (!err) add_listener(s, l);
    return err;
}

enum neap_err np_http_server_listen_unix(struct np_http_server *s, const char *path,
                                         const struct np_listen_options *lo,
                                         struct neap_errinfo *info)
{
    struct np_listener *l;
    enum neap_err err = make_room(s, info);
    if (!err) err = np_unix_listen(s->loop, path, lo, &on_listener, s, &l, info);
    if (!err) add_listener(s, l);
    return err;
}

/* --- the beginning */

/* What the options point to, as the server's own. */
static enum neap_err keep_options(struct np_http_server *s)
{
    struct np_http_server_options *o = &s->opts;
    enum neap_err err = NEAP_OK;
    if (o->server_name) {
        size_t n = strlen(o->server_name);
        if (!np_http_is_value(o->server_name, n)) return NEAP_EINVAL;
        s->server_name = np_strndup(o->server_name, n);
        if (!s->server_name) return NEAP_ENOMEM;
    }
    o->server_name = s->server_name;
    if (o->forwarded) {
        s->forwarded.kind = o->forwarded->kind;
        err = np_cidr_list_copy(&o->forwarded->trusted, &s->forwarded.trusted);
        if (err) return err;
    }
    o->forwarded = &s->forwarded;
    if (o->proxied) err = np_proxied_new(s->loop, o->proxied, on_proxied, s, &s->proxied);
    if (s->proxied) np_proxied_on_left(s->proxied, on_proxied_left);
    o->proxied = NULL;
    return err;
}

enum neap_err np_http_server_new(struct np_loop *loop, const struct np_http_server_options *opts,
                                 const struct np_http_server_handler *h, void *arg,
                                 struct np_http_server **out)
{
    struct np_http_server *s = np_calloc(1, sizeof *s);
    if (!s) return NEAP_ENOMEM;
    if (opts)
        s->opts = *opts;
    else
        np_http_server_options_init(&s->opts);
    s->loop = loop;
    enum neap_err err = keep_options(s);
    if (err) {
        np_cidr_list_fini(&s->forwarded.trusted);
        np_free(s->server_name);
        np_free(s);
        return err;
    }
    if (s->opts.tls) np_tls_context_ref(s->opts.tls);
    np_rng_init(&s->ids, 0);
    s->handler = h;
    s->arg = arg;
    np_link_init(&s->predecessors);
    np_link_init(&s->succession);
    np_link_init(&s->conns);
    np_link_init(&s->spare_turns);
    np_timer_init(&s->grace, loop, on_grace);
    np_timer_init(&s->cooling, loop, on_cool);
    np_defer_init(&s->later, on_later);
    np_loop_retain(loop);
    *out = s;
    return NEAP_OK;
}

void np_http_server_address(const struct np_http_server *s, char *out, size_t size)
{
    if (s->nlisteners)
        np_listener_address(s->listeners[0], out, size);
    else if (size)
        *out = 0;
}

int np_http_server_port(const struct np_http_server *s)
{
    return s->nlisteners ? np_listener_port(s->listeners[0]) : 0;
}

size_t np_http_server_connections(const struct np_http_server *s)
{
    return s->nserving;
}

void *np_http_server_arg(const struct np_http_server *s)
{
    return s->arg;
}
