/* A session: messages read are done one after the other; what goes back is gathered in `out` and
 * written once a read, or once a batch that the bus hands over.
 *
 * A session that is closing has left the bus (no subscriptions, no timer) and only waits for its
 * stream, so nothing but on_close comes any more. */
#include "bus/session.h"

#include <string.h>

#include "base/alloc.h"
#include "net/stream.h"
#include "proto/nats_header.h"
#include "proto/nats_json.h"
#include "proto/nats_write.h"

enum { KEEP_OUT = 64 * 1024 };
static const int64_t linger_default = 2 * NP_NS_PER_SEC;
static const char too_many_subs[] = "maximum subscriptions exceeded";

struct session_sub {
    struct session *session;
    struct np_bus_sub *sub;
    size_t sid_len;
    char sid[];
};

static struct np_log *log_of(const struct session *c)
{
    return c->stream->loop->log;
}

static struct np_bytes text_of(const char *s)
{
    return (struct np_bytes){s, s ? strlen(s) : 0};
}

static size_t pending(const struct session *c)
{
    return np_buf_len(&c->out) + np_stream_queued(c->stream);
}

/* --- the end --- */

static void leave_bus(struct session *c)
{
    struct np_map_entry *e;
    size_t it = 0;
    while ((e = np_map_next(&c->subs, &it))) {
        struct session_sub *cs = e->value;
        np_bus_unsubscribe(cs->sub);
        np_free(cs);
    }
    np_map_fini(&c->subs);
    np_map_init(&c->subs);
    np_timer_stop(&c->ping);
    c->server->stats.clients--;
    c->state = SESSION_CLOSING;
}

static void drop(struct session *c)
{
    if (c->state == SESSION_CLOSING) return;
    leave_bus(c);
    np_defer_cancel(&c->flush);
    np_stream_close(c->stream);
}

static void slow_consumer(struct session *c)
{
    if (c->state == SESSION_CLOSING) return;
    c->server->stats.slow_consumers++;
    np_logf(log_of(c), NP_LOG_WARN, "bus: client %llu closed as a slow consumer: %zu bytes pending",
            (unsigned long long)c->id, pending(c));
    drop(c);
}

static void flush(struct session *c)
{
    if (np_buf_len(&c->out) == 0) return;
    enum neap_err err = np_stream_write(c->stream, np_buf_data(&c->out), np_buf_len(&c->out));
    np_buf_clear(&c->out);
    np_buf_shrink(&c->out, KEEP_OUT);
    if (err == NEAP_ENOMEM) drop(c);
    if (!err && c->state == SESSION_OPEN && pending(c) > c->server->opts.max_pending)
        slow_consumer(c);
}

static void flush_later(struct np_defer *d)
{
    flush(np_container_of(d, struct session, flush));
}

void np_bus_session_close(struct session *c, int64_t linger)
{
    if (c->state == SESSION_CLOSING) return;
    leave_bus(c);
    np_defer_cancel(&c->flush);
    flush(c);
    np_stream_finish(c->stream, linger);
}

/* Ends it for what it did. */
static void fail(struct session *c, const char *why)
{
    if (c->state == SESSION_CLOSING) return;
    np_logf(log_of(c), NP_LOG_INFO, "bus: client %llu closed: %s", (unsigned long long)c->id, why);
    if (np_nats_write_err(&c->out, why)) {
        drop(c);
    } else {
        np_bus_session_close(c, linger_default);
    }
}

/* What could not be written for want of memory ends the session: the peer would miss it. */
static void check(struct session *c, enum neap_err err)
{
    if (err) drop(c);
}

/* --- to the client --- */

static void deliver(struct session_sub *cs)
{
    struct session *c = cs->session;
    struct np_bus_msg *m;
    while (c->state == SESSION_OPEN && (m = np_bus_sub_pop(cs->sub))) {
        struct np_nats_out out = {m->subject, m->reply, m->headers, m->payload};
        if (!c->headers) out.headers = (struct np_bytes){NULL, 0};
        enum neap_err err =
            np_nats_write_msg(&c->out, (struct np_bytes){cs->sid, cs->sid_len}, &out);
        np_bus_msg_unref(m);
        if (err) {
            drop(c);
        } else if (pending(c) > c->server->opts.max_pending) {
            slow_consumer(c);
        }
    }
}

static void on_ready(struct np_bus_sub *s)
{
    struct session_sub *cs = np_bus_sub_arg(s);
    struct session *c = cs->session;
    deliver(cs);
    if (c->state == SESSION_OPEN) np_bus_after_batch(c->server->bus, &c->flush);
}

static void on_slow(struct np_bus_sub *s)
{
    slow_consumer(((struct session_sub *)np_bus_sub_arg(s))->session);
}

static void forget(struct session_sub *cs)
{
    np_map_remove(&cs->session->subs, cs->sid, cs->sid_len);
    np_bus_unsubscribe(cs->sub);
    np_free(cs);
}

static void on_end(struct np_bus_sub *s)
{
    forget(np_bus_sub_arg(s));
}

static const struct np_bus_sub_handler sub_handler = {
    .on_ready = on_ready, .on_slow = on_slow, .on_end = on_end};

void np_bus_session_send_info(struct session *c)
{
    struct np_bus_server *s = c->server;
    char peer[NP_ADDR_TEXT_MAX] = "", host[NP_ADDR_TEXT_MAX] = "", local[NP_ADDR_TEXT_MAX] = "";
    int port;
    if (np_stream_peer(c->stream, peer, sizeof peer) ||
        np_addr_split(peer, host, sizeof host, &port, NULL))
        host[0] = '\0';
    if (np_stream_local(c->stream, local, sizeof local) ||
        np_addr_split(local, peer, sizeof peer, &port, NULL))
        peer[0] = '\0';
    struct np_nats_info info = {
        .server_id = text_of(s->bus->id),
        .server_name = text_of(s->opts.name),
        .version = text_of(NEAP_VERSION),
        .host = text_of(peer),
        .port = (uint64_t)np_bus_server_port(s),
        .max_payload = s->bus->opts.max_payload,
        .proto = 1,
        .client_id = c->id,
        .client_ip = text_of(host),
        .headers = true,
        .neap_path = {np_buf_data(&s->bus->path), np_buf_len(&s->bus->path)},
    };
    c->path_version = s->bus->path_version;
    check(c, np_nats_write_info(&c->out, &info));
    if (c->state == SESSION_OPEN) flush(c);
}

/* --- from the client --- */

static void do_connect(struct session *c, const struct np_nats_msg *m)
{
    struct np_nats_connect hello;
    if (!np_nats_read_connect(m->text, &hello)) {
        fail(c, "Parser Error");
        return;
    }
    c->verbose = hello.verbose;
    c->echo = hello.echo;
    c->headers = hello.headers;
    c->no_responders = hello.no_responders;
    c->async_info = hello.protocol >= 1;
    np_logf(log_of(c), NP_LOG_DEBUG, "bus: client %llu is \"%.*s\" (%.*s %.*s)",
            (unsigned long long)c->id, (int)hello.name.n, hello.name.p, (int)hello.lang.n,
            hello.lang.p, (int)hello.version.n, hello.version.p);
    if (c->no_responders && !c->headers) {
        fail(c, "no responders requires headers support");
    } else if (c->async_info && c->path_version != c->server->bus->path_version) {
        np_bus_session_send_info(c);
    }
}

/* Tells the requester that nobody took its request, on its own subscription for the answer. */
static void answer_no_responders(struct session *c, struct np_bytes reply)
{
    static const char block[] = "NATS/1.0 503\r\n\r\n";
    struct np_map_entry *e;
    size_t it = 0;
    while ((e = np_map_next(&c->subs, &it))) {
        struct session_sub *cs = e->value;
        struct np_bytes pattern = np_bus_sub_pattern(cs->sub);
        if (!np_pattern_match(pattern.p, pattern.n, reply.p, reply.n)) continue;
        struct np_bus_out out = {.subject = reply, .headers = {block, sizeof block - 1}};
        struct np_bus_msg *m = np_bus_msg_new(&out);
        if (m) np_bus_sub_push(cs->sub, m);
        np_bus_msg_unref(m);
        return;
    }
}

/* These return whether it was done; false when the client was told otherwise. */

static bool refuse_message(struct session *c, const char *why)
{
    check(c, np_nats_write_err(&c->out, why));
    return false;
}

static bool do_pub(struct session *c, const struct np_nats_msg *m)
{
    if (m->headers.n > 0 && !c->headers) {
        fail(c, "message headers not supported");
        return false;
    }
    struct np_bus_out out = {m->subject, m->reply, m->headers, m->payload, c->no_responders};
    size_t interested = 0;
    enum neap_err err =
        np_bus_publish(c->server->bus, &out, c->echo ? NULL : (const void *)c, &interested);
    if (err == NEAP_EINVAL) return refuse_message(c, "Invalid Publish Subject");
    if (err == NEAP_EMSGSIZE) { /* the bus this one is bridged to takes less */
        fail(c, "Maximum Payload Violation");
        return false;
    }
    if (err) { /* lost, as messages may be; clients would take an -ERR for the end of all */
        c->server->bus->stats.dropped++;
        interested = 0;
    }
    if (interested == 0 && m->reply.n > 0 && c->no_responders) answer_no_responders(c, m->reply);
    return true;
}

static bool do_sub(struct session *c, const struct np_nats_msg *m)
{
    struct np_bus_server *server = c->server;
    if (np_map_get(&c->subs, m->sid.p, m->sid.n)) return true; /* as nats-server: the first stays */
    if (c->subs.len >= server->opts.max_subs) return refuse_message(c, too_many_subs);
    struct np_bus_sub_options opts = {
        .queue = m->queue,
        .pending_bytes = server->opts.max_pending,
        .deaf_to = c->echo ? NULL : c,
    };
    struct session_sub *cs = np_alloc(sizeof *cs + m->sid.n);
    enum neap_err err = cs ? NEAP_OK : NEAP_ENOMEM;
    if (err) goto fail;
    cs->session = c;
    cs->sid_len = m->sid.n;
    memcpy(cs->sid, m->sid.p, m->sid.n);
    err = np_map_set(&c->subs, cs->sid, cs->sid_len, cs, NULL);
    if (err) goto fail;
    err = np_bus_subscribe(server->bus, m->subject, &opts, &sub_handler, cs, &cs->sub);
    if (!err) return true;
    np_map_remove(&c->subs, cs->sid, cs->sid_len);
fail:
    np_free(cs);
    if (err != NEAP_ENOMEM)
        return refuse_message(c, err == NEAP_ELIMIT ? too_many_subs : "Invalid Subject");
    drop(c);
    return false;
}

static void do_unsub(struct session *c, const struct np_nats_msg *m)
{
    struct session_sub *cs = np_map_get(&c->subs, m->sid.p, m->sid.n);
    if (!cs) return;
    if (m->max > 0) {
        np_bus_sub_limit(cs->sub, m->max);
        return;
    }
    deliver(cs); /* what was published before still comes */
    if (c->state == SESSION_OPEN) forget(cs);
}

static void do_ping(struct session *c)
{
    /* A client that waits for the PONG takes it that all it published before has come back. */
    np_bus_hand_over(c->server->bus);
    if (c->state == SESSION_OPEN) check(c, np_nats_write_pong(&c->out));
}

static void handle(struct session *c, const struct np_nats_msg *m)
{
    bool done = true;
    switch (m->op) {
    case NP_NATS_CONNECT:
        do_connect(c, m);
        break;
    case NP_NATS_PUB:
    case NP_NATS_HPUB:
        done = do_pub(c, m);
        break;
    case NP_NATS_SUB:
        done = do_sub(c, m);
        break;
    case NP_NATS_UNSUB:
        do_unsub(c, m);
        break;
    case NP_NATS_PING:
        do_ping(c);
        return;
    case NP_NATS_PONG:
        c->pings = 0;
        return;
    default:
        return;
    }
    if (done && c->verbose && c->state == SESSION_OPEN) check(c, np_nats_write_ok(&c->out));
}

static void on_read(struct np_stream *stream, const char *data, size_t n)
{
    struct session *c = stream->arg;
    struct np_nats_msg m;
    enum neap_err err = NEAP_OK;
    np_nats_feed(&c->parser, data, n);
    while (c->state == SESSION_OPEN && (err = np_nats_next(&c->parser, &m)) == NEAP_OK)
        handle(c, &m);
    if (c->state != SESSION_OPEN) return;
    if (err != NEAP_EAGAIN) {
        fail(c, c->parser.why);
    } else {
        flush(c);
    }
}

static void on_stream_end(struct np_stream *stream)
{
    np_bus_session_close(stream->arg, linger_default);
}

static void on_stream_error(struct np_stream *stream, enum neap_err err)
{
    struct session *c = stream->arg;
    if (err == NEAP_ETIMEDOUT) {
        slow_consumer(c);
    } else {
        drop(c);
    }
}

static void on_stream_close(struct np_stream *stream)
{
    struct session *c = stream->arg;
    if (c->state == SESSION_OPEN) leave_bus(c);
    np_defer_cancel(&c->flush);
    np_nats_parser_fini(&c->parser);
    np_buf_fini(&c->out);
    np_bus_server_session_gone(c->server, c);
    np_free(c);
}

static void on_ping_due(struct np_timer *t)
{
    struct session *c = np_container_of(t, struct session, ping);
    bool quiet = c->stream->bytes_in == c->seen;
    c->seen = c->stream->bytes_in;
    if (!quiet) c->pings = 0;
    if (c->pings >= c->server->opts.max_pings) {
        c->server->stats.stale++;
        fail(c, "Stale Connection");
        return;
    }
    if (quiet) {
        c->pings++;
        check(c, np_nats_write_ping(&c->out));
        if (c->state == SESSION_OPEN) flush(c);
    }
    if (c->state == SESSION_OPEN) check(c, np_timer_start(t, c->server->opts.ping_interval));
}

/* --- the beginning --- */

static void no_session(struct np_stream *stream)
{
}
static const struct np_stream_handler refused_handler = {.on_close = no_session};
static const struct np_stream_handler handler = {.on_read = on_read,
                                                 .on_end = on_stream_end,
                                                 .on_error = on_stream_error,
                                                 .on_close = on_stream_close};

static enum neap_err refuse(struct np_stream *stream)
{
    static const char text[] = "-ERR 'maximum connections exceeded'\r\n";
    enum neap_err err = np_stream_write(stream, text, sizeof text - 1);
    np_stream_finish(stream, err ? 0 : linger_default);
    return NEAP_ELIMIT;
}

static enum neap_err start(struct session *c)
{
    struct np_bus_server *server = c->server;
    enum neap_err err = np_stream_set_timeouts(c->stream, 0, server->opts.write_timeout, 0);
    if (!err && server->opts.ping_interval > 0)
        err = np_timer_start(&c->ping, server->opts.ping_interval);
    if (!err) err = np_stream_read_start(c->stream);
    if (err) return err;
    np_bus_session_send_info(c);
    return NEAP_OK;
}

void np_bus_session_pass(struct session *c, struct np_bus_server *to)
{
    struct np_bus_server *from = c->server;
    int64_t interval = to->opts.ping_interval;
    if (c->state == SESSION_CLOSING) return;
    bool renamed = strcmp(from->opts.name, to->opts.name) != 0;
    np_list_remove(&c->link);
    np_list_push_back(&to->sessions, &c->link);
    from->stats.clients--;
    to->stats.clients++;
    c->server = to;
    c->parser.limits.max_control = to->opts.max_control;
    enum neap_err err = np_stream_set_timeouts(c->stream, 0, to->opts.write_timeout, 0);
    if (interval != from->opts.ping_interval) {
        np_timer_stop(&c->ping);
        if (!err && interval > 0) err = np_timer_start(&c->ping, interval);
    }
    check(c, err);
    if (renamed && c->async_info && c->state == SESSION_OPEN) np_bus_session_send_info(c);
}

enum neap_err np_bus_session_new(struct np_bus_server *server, struct np_stream *stream)
{
    np_stream_set_handler(stream, &refused_handler, NULL);
    if (server->closing || server->stats.clients >= server->opts.max_clients) {
        server->stats.refused++;
        return refuse(stream);
    }
    struct session *c = np_calloc(1, sizeof *c);
    if (!c) {
        np_stream_close(stream);
        return NEAP_ENOMEM;
    }
    c->server = server;
    c->stream = stream;
    c->id = ++server->next_id;
    c->verbose = c->echo = true;
    struct np_nats_limits limits = {server->opts.max_control, server->bus->opts.max_payload};
    np_nats_parser_init(&c->parser, NP_NATS_SERVER, &limits);
    np_map_init(&c->subs);
    np_buf_init(&c->out);
    np_defer_init(&c->flush, flush_later);
    np_timer_init(&c->ping, stream->loop, on_ping_due);
    np_timer_set_background(&c->ping, true);
    stream->max_queue = SIZE_MAX / 2; /* bounded by max_pending here */
    np_stream_set_handler(stream, &handler, c);
    np_list_push_back(&server->sessions, &c->link);
    server->stats.clients++;
    server->stats.accepted++;
    enum neap_err err = start(c);
    if (err) drop(c);
    return err;
}
