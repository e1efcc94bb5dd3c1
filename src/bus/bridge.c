/* The life of a bridge: dial, INFO, CONNECT and PING, PONG, ready; lost, wait, dial again. */
#include "bus/bridge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "bus/bridge_impl.h"
#include "net/stream.h"
#include "proto/nats_write.h"

enum {
    MAX_CONTROL = 64 * 1024, /* an INFO with many addresses is long */
    KEEP_BUF = 64 * 1024,
};
/* --- the end of a connection --- */

static void free_if_gone(struct np_bus_bridge *b)
{
    if (b->state != NP_BUS_BRIDGE_CLOSED || b->streams > 0) return;
    void (*closed)(void *arg) = b->closed;
    void *arg = b->closed_arg;
    np_defer_cancel(&b->gone);
    np_buf_fini(&b->upstream);
    np_free(b);
    if (closed) closed(arg);
}

static void gone(struct np_defer *d)
{
    free_if_gone(np_container_of(d, struct np_bus_bridge, gone));
}

static void on_close(struct np_stream *s)
{
    struct np_bus_bridge *b = s->arg;
    b->streams--;
    free_if_gone(b);
}
static const struct np_stream_handler leaving = {.on_close = on_close};

/* Lets go of the stream, which may go on sending what it was given for so long. */
static void drop_stream(struct np_bus_bridge *b, int64_t linger)
{
    struct np_stream *s = b->stream;
    b->link = LINK_NONE;
    b->stream = NULL;
    np_nats_parser_fini(&b->parser);
    np_buf_clear(&b->out);
    np_timer_stop(&b->timer);
    np_defer_cancel(&b->flush);
    if (!s) return;
    np_stream_set_handler(s, &leaving, b);
    if (linger > 0) {
        s->awaited = true; /* the bridge's end is its stream's */
        np_stream_finish(s, linger);
    } else {
        np_stream_close(s);
    }
}

static void end_flushes(struct np_bus_bridge *b, enum neap_err err)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&b->flushes))) {
        struct np_bus_flush *f = np_container_of(l, struct np_bus_flush, link);
        f->err = err;
        np_loop_defer(b->loop, &f->defer);
    }
}

void np_bridge_change(struct np_bus_bridge *b, enum np_bus_bridge_state state, enum neap_err err,
                      const char *why)
{
    struct np_link *l, *next;
    b->state = state;
    if (b->fn) b->fn(b, state, err, why); /* may close it; the memory stays until a later turn */
    np_list_each_safe (l, next, &b->watches) {
        struct np_bus_bridge_watch *w = np_container_of(l, struct np_bus_bridge_watch, link);
        if (b->state == state) w->fn(w, state, err, why);
    }
}

/* Full jitter over the upper half: half a crowd never comes back at once. */
static int64_t backoff(struct np_bus_bridge *b)
{
    int64_t span = b->opts.reconnect_min;
    for (unsigned i = 0; i < b->attempts && span < b->opts.reconnect_max; i++)
        span *= 2;
    if (span > b->opts.reconnect_max) span = b->opts.reconnect_max;
    if (b->attempts < 32) b->attempts++;
    int64_t half = span / 2;
    return half + (int64_t)(np_rng_unit(&b->rng) * (double)half);
}

void np_bridge_lost(struct np_bus_bridge *b, enum neap_err err, const char *fmt, ...)
{
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    bool first = b->state == NP_BUS_BRIDGE_CONNECTING && !b->opts.retry;
    bool was_ready = b->link == LINK_READY;
    drop_stream(b, 0);
    end_flushes(b, NEAP_ECONNRESET);
    if (!b->opts.held && np_bus_set_path(b->bus, (struct np_bytes){NULL, 0}))
        np_logf(b->loop->log, NP_LOG_WARN, "bus: out of memory; clients are not told of the loss");
    np_buf_clear(&b->upstream);
    np_timer_set_background(&b->timer, false);
    if (!first && np_timer_start(&b->timer, backoff(b))) first = true; /* no memory to try again */
    np_logf(b->loop->log, NP_LOG_WARN, "bus: %s %s:%d: %s%s",
            was_ready ? "lost" : "cannot connect to", b->host, b->port, why,
            first ? "" : "; trying again");
    if (first) np_bus_detach(b->bus, &b->remote);
    if (b->bus->remote != &b->remote) np_interests_fini(&b->interests);
    if (first) {
        np_bridge_change(b, NP_BUS_BRIDGE_FAILED, err, why);
    } else if (b->state != NP_BUS_BRIDGE_AWAY) {
        np_bridge_change(b, NP_BUS_BRIDGE_AWAY, err, why);
    }
}

/* --- writing --- */

void np_bridge_flush(struct np_bus_bridge *b)
{
    if (!b->stream || np_buf_len(&b->out) == 0) return;
    enum neap_err err = np_stream_write(b->stream, np_buf_data(&b->out), np_buf_len(&b->out));
    np_buf_clear(&b->out);
    np_buf_shrink(&b->out, KEEP_BUF);
    if (err == NEAP_ENOMEM) np_bridge_lost(b, err, "out of memory"); /* else on_error comes */
}

static void flush_later(struct np_defer *d)
{
    np_bridge_flush(np_container_of(d, struct np_bus_bridge, flush));
}

void np_bridge_want_flush(struct np_bus_bridge *b)
{
    np_loop_defer(b->loop, &b->flush);
}

/* --- the stream --- */

static void on_open(struct np_stream *s)
{
    struct np_bus_bridge *b = s->arg;
    b->link = LINK_INFO;
}

static void on_read(struct np_stream *s, const char *data, size_t n)
{
    struct np_bus_bridge *b = s->arg;
    struct np_nats_msg m;
    enum neap_err err = NEAP_OK;
    np_nats_feed(&b->parser, data, n);
    while (b->stream == s && (err = np_nats_next(&b->parser, &m)) == NEAP_OK) {
        if (b->link == LINK_INFO && m.op != NP_NATS_INFO) {
            np_bridge_lost(b, NEAP_EPROTO, "it is no NATS server: no INFO came");
        } else {
            np_bridge_handle(b, &m);
        }
    }
    if (b->stream != s) return;
    if (err != NEAP_EAGAIN) {
        np_bridge_lost(b, err, "%s", b->parser.why);
    } else {
        np_bridge_flush(b);
    }
}

static void on_end(struct np_stream *s)
{
    np_bridge_lost(s->arg, NEAP_ECONNRESET, "closed by the remote");
}

static void on_error(struct np_stream *s, enum neap_err err)
{
    np_bridge_lost(s->arg, err, "%s", neap_err_text(err));
}

static const struct np_stream_handler handler = {
    .on_open = on_open,
    .on_read = on_read,
    .on_end = on_end,
    .on_error = on_error,
    .on_close = on_close,
};

static enum neap_err dial(struct np_bus_bridge *b)
{
    struct np_nats_limits limits = {MAX_CONTROL, BRIDGE_MAX_PAYLOAD};
    struct np_dial_options opts = NP_DIAL_OPTIONS_INIT;
    opts.timeout = 0; /* ours bounds INFO and PONG too */
    np_nats_parser_init(&b->parser, NP_NATS_CLIENT, &limits);
    np_timer_set_background(&b->timer, false);
    enum neap_err err = np_timer_start(&b->timer, b->opts.connect_timeout);
    if (!err) err = np_tcp_dial(b->loop, b->host, b->port, &opts, &handler, b, &b->stream);
    if (err) return err;
    b->link = LINK_DIALLING;
    b->streams++;
    b->pings = b->pongs = b->in_place = b->seen = 0;
    b->stream->max_queue = SIZE_MAX / 2; /* bounded by max_pending here */
    return np_stream_read_start(b->stream);
}

static void keep_alive(struct np_bus_bridge *b)
{
    enum neap_err err = NEAP_OK;
    bool quiet = b->stream->bytes_in == b->seen;
    b->seen = b->stream->bytes_in;
    if (quiet && b->pings - b->pongs >= (uint64_t)b->opts.max_pings) {
        np_bridge_lost(b, NEAP_ETIMEDOUT, "it does not answer");
        return;
    }
    if (quiet) {
        err = np_nats_write_ping(&b->out);
        if (!err) b->pings++;
        np_bridge_flush(b);
    }
    if (b->link != LINK_READY) return;
    if (!err) err = np_timer_start(&b->timer, b->opts.ping_interval);
    if (err) np_bridge_lost(b, err, "%s", neap_err_text(err));
}

static void on_timer(struct np_timer *t)
{
    struct np_bus_bridge *b = np_container_of(t, struct np_bus_bridge, timer);
    enum neap_err err;
    switch (b->link) {
    case LINK_NONE:
        err = dial(b);
        if (err) np_bridge_lost(b, err, "%s", neap_err_text(err));
        break;
    case LINK_READY:
        keep_alive(b);
        break;
    default:
        np_bridge_lost(b, NEAP_ETIMEDOUT, "timed out");
    }
}

/* --- open and close --- */

void np_bridge_limit(struct np_bus_bridge_options *o)
{
    if (o->reconnect_min < NP_NS_PER_MS) o->reconnect_min = NP_NS_PER_MS;
    if (o->reconnect_max > 3600 * NP_NS_PER_SEC) o->reconnect_max = 3600 * NP_NS_PER_SEC;
    if (o->reconnect_min > o->reconnect_max) o->reconnect_min = o->reconnect_max;
}

static void init(struct np_bus_bridge *b, struct np_bus *bus,
                 const struct np_bus_bridge_options *opts, np_bus_bridge_fn fn, void *arg)
{
    b->remote.ops = &np_bridge_remote_ops;
    b->bus = bus;
    b->loop = bus->loop;
    b->opts = *opts;
    b->fn = fn;
    b->arg = arg;
    b->state = NP_BUS_BRIDGE_CONNECTING;
    b->max_payload = BRIDGE_MAX_PAYLOAD;
    snprintf(b->name, sizeof b->name, "%s", opts->name ? opts->name : "neap");
    b->opts.name = b->name;
    np_bridge_limit(&b->opts);
    np_interests_init(&b->interests);
    np_link_init(&b->flushes);
    np_link_init(&b->watches);
    np_buf_init(&b->upstream);
    np_buf_init(&b->out);
    np_buf_init(&b->away);
    np_defer_init(&b->flush, flush_later);
    np_defer_init(&b->gone, gone);
    np_timer_init(&b->timer, bus->loop, on_timer);
    np_rng_init(&b->rng, 0);
}

enum neap_err np_bus_bridge_open(struct np_bus *bus, const char *host, int port,
                                 const struct np_bus_bridge_options *opts, np_bus_bridge_fn fn,
                                 void *arg, struct np_bus_bridge **out, struct neap_errinfo *info)
{
    static const struct np_bus_bridge_options defaults = NP_BUS_BRIDGE_OPTIONS_INIT;
    if (bus->remote && !(opts && opts->held))
        return np_err_set(info, NEAP_EBUSY, "the bus is connected already");
    if (strlen(host) >= sizeof(((struct np_bus_bridge *)0)->host) || port <= 0 || port > 65535)
        return np_err_set(info, NEAP_EINVAL, "bad host or port");
    struct np_bus_bridge *b = np_calloc(1, sizeof *b);
    if (!b) return np_err_plain(info, NEAP_ENOMEM);
    init(b, bus, opts ? opts : &defaults, fn, arg);
    snprintf(b->host, sizeof b->host, "%s", host);
    b->port = port;
    bool at_once = b->opts.retry && !b->opts.held;
    enum neap_err err = at_once ? np_bus_attach(bus, &b->remote) : NEAP_OK;
    if (!err) err = dial(b);
    if (err) {
        np_bus_bridge_close(b, 0, NULL, NULL);
        if (err == NEAP_EACCES)
            return np_err_set(info, err, "network access to %s:%d is not allowed (--allow-net)",
                              host, port);
        return np_err_plain(info, err);
    }
    *out = b;
    return NEAP_OK;
}

enum np_bus_bridge_state np_bus_bridge_get_state(const struct np_bus_bridge *b)
{
    return b->state;
}

void *np_bus_bridge_arg(const struct np_bus_bridge *b)
{
    return b->arg;
}

void np_bus_bridge_close(struct np_bus_bridge *b, int64_t linger, void (*closed)(void *arg),
                         void *arg)
{
    if (b->state == NP_BUS_BRIDGE_CLOSED) return;
    bool ready = b->link == LINK_READY;
    struct np_bus *bus = b->bus;
    struct np_link *l;
    if (ready && np_buf_len(&b->out) > 0 &&
        np_stream_write(b->stream, np_buf_data(&b->out), np_buf_len(&b->out)))
        ready = false;
    b->state = NP_BUS_BRIDGE_CLOSED;
    b->closed = closed;
    b->closed_arg = arg;
    np_bus_detach(bus, &b->remote);
    np_interests_fini(&b->interests);
    drop_stream(b, ready ? linger : 0);
    end_flushes(b, NEAP_ECLOSED);
    np_buf_fini(&b->out);
    np_buf_fini(&b->away);
    if (!b->opts.held && np_bus_set_path(bus, (struct np_bytes){NULL, 0}))
        np_logf(b->loop->log, NP_LOG_WARN, "bus: out of memory; clients are not told that it left");
    b->bus = NULL;
    while ((l = np_list_pop_front(&b->watches))) {
        struct np_bus_bridge_watch *w = np_container_of(l, struct np_bus_bridge_watch, link);
        w->fn(w, NP_BUS_BRIDGE_CLOSED, NEAP_ECLOSED, "closed");
    }
    np_loop_defer(b->loop, &b->gone);
}
