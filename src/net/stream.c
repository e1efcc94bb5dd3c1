/* The stream: what all transports have in common: state, queue, water marks, failure and the end.
 *
 * A write that fails does not report the failure at once: what the peer sent before it went (an
 * early answer, say) is still to be read. So the loop polls once more first (`fail_turns`), and
 * on_error comes then. Timeouts stand in stream_timeout.c. One thread, the loop's.
 */
#include "net/stream.h"

#include <assert.h>
#include <string.h>

#include "net/stream_timeout.h"

enum { KEEP_BLOCK = 64 << 10 }; /* bytes of an empty queue's block that are kept */

static void report_later(struct np_defer *d);

/* Until its owner sets one. */
static void nobody_closed(struct np_stream *s)
{
}
static const struct np_stream_handler nobody = {.on_close = nobody_closed};

void np_stream_init(struct np_stream *s, const struct np_stream_ops *ops, struct np_loop *loop,
                    enum np_stream_state state)
{
    *s = (struct np_stream){
        .ops = ops,
        .handler = &nobody,
        .loop = loop,
        .state = state,
        .high_water = (size_t)64 << 10,
        .low_water = (size_t)16 << 10,
        .max_queue = (size_t)64 << 20,
        .open_by = NP_TIME_NEVER,
    };
    np_buf_init(&s->out);
    np_link_init(&s->link);
    np_defer_init(&s->later, report_later);
    np_stream_timeout_init(s);
    np_loop_retain(loop);
}

static void set_state(struct np_stream *s, enum np_stream_state next)
{
    static const bool legal[5][5] = {
        [NP_STREAM_CONNECTING] =
            {[NP_STREAM_OPEN] = true, [NP_STREAM_BROKEN] = true, [NP_STREAM_CLOSING] = true},
        [NP_STREAM_OPEN] = {[NP_STREAM_BROKEN] = true, [NP_STREAM_CLOSING] = true},
        [NP_STREAM_BROKEN] = {[NP_STREAM_CLOSING] = true},
        [NP_STREAM_CLOSING] = {[NP_STREAM_CLOSED] = true},
    };
    assert(legal[s->state][next]);
    (void)legal;
    s->state = next;
}

static bool alive(const struct np_stream *s)
{
    return s->state <= NP_STREAM_OPEN;
}

void np_stream_set_handler(struct np_stream *s, const struct np_stream_handler *h, void *arg)
{
    s->handler = h;
    s->arg = arg;
}

/* Reading. */

enum neap_err np_stream_read_start(struct np_stream *s)
{
    if (!alive(s) || s->lingering) return NEAP_ECLOSED;
    if (s->reading) return NEAP_OK;
    s->reading = true;
    s->last_read = np_loop_now(s->loop);
    if (s->extra) np_stream_offer_unread(s);
    if (s->state == NP_STREAM_CONNECTING || s->ended) return NEAP_OK;
    enum neap_err err = s->ops->read_start(s);
    if (err) s->reading = false;
    return err;
}

void np_stream_read_stop(struct np_stream *s)
{
    if (!s->reading || s->lingering) return;
    s->reading = false;
    if (s->state == NP_STREAM_OPEN && !s->ended) s->ops->read_stop(s);
}

void np_stream_received(struct np_stream *s, const char *data, size_t n)
{
    if (!alive(s) || n == 0) return;
    s->bytes_in += n;
    s->last_read = np_loop_now(s->loop);
    if (s->extra) np_stream_deliver_unread(s);
    if (alive(s) && !s->lingering && s->handler->on_read) s->handler->on_read(s, data, n);
}

static void linger_on(struct np_stream *s)
{
    if (!s->lingering || !s->shut_sent) return;
    if (s->ended)
        np_stream_close(s);
    else if (!s->awaited)
        np_stream_set_ref(s, false); /* all has left: no reason for the loop to stay */
}

void np_stream_received_end(struct np_stream *s)
{
    if (!alive(s) || s->ended) return;
    if (s->extra) np_stream_deliver_unread(s);
    if (!alive(s)) return;
    s->ended = true;
    s->last_read = np_loop_now(s->loop);
    if (s->lingering)
        linger_on(s);
    else if (s->handler->on_end)
        s->handler->on_end(s);
}

/* Writing. */

static void look_at_progress(struct np_stream *s)
{
    s->last_write = np_loop_now(s->loop);
    s->last_unsent = s->ops->unsent ? s->ops->unsent(s) : 0;
}

static enum neap_err flush(struct np_stream *s)
{
    if (s->flushing || np_stream_queued(s) == 0) return NEAP_OK;
    s->flushing = true;
    enum neap_err err = s->ops->flush(s);
    look_at_progress(s);
    return err;
}

static enum neap_err send_fin(struct np_stream *s)
{
    if (!s->shut || s->shut_sent || np_stream_queued(s) > 0) return NEAP_OK;
    s->shut_sent = true;
    s->last_write = np_loop_now(s->loop);
    return s->ops->shutdown(s);
}

static size_t total(const struct np_slice *v, size_t nv)
{
    size_t n = 0;
    for (size_t i = 0; i < nv; i++)
        n += v[i].n;
    return n;
}

/* Queues all but the first `skip` bytes, or nothing. */
static enum neap_err enqueue(struct np_stream *s, const struct np_slice *v, size_t nv, size_t skip)
{
    char *at;
    enum neap_err err = np_buf_reserve(&s->out, total(v, nv) - skip, &at);
    if (err) return err;
    for (size_t i = 0; i < nv; i++) {
        size_t from = skip < v[i].n ? skip : v[i].n;
        size_t n = v[i].n - from;
        skip -= from;
        if (n == 0) continue;
        memcpy(at, v[i].p + from, n);
        np_buf_added(&s->out, n);
        at += n;
    }
    if (np_stream_queued(s) >= s->high_water) s->above_high = true;
    return NEAP_OK;
}

enum neap_err np_stream_writev(struct np_stream *s, const struct np_slice *v, size_t nv)
{
    if (!alive(s) || s->err || s->shut) return NEAP_ECLOSED;
    size_t n = total(v, nv);
    size_t queued = np_stream_queued(s);
    if (n > s->max_queue || queued > s->max_queue - n) return NEAP_ELIMIT;
    if (n == 0) return NEAP_OK;
    size_t taken = 0;
    enum neap_err err = NEAP_OK;
    if (s->state == NP_STREAM_OPEN && queued == 0) {
        err = s->ops->write(s, v, nv, &taken);
        s->last_write = np_loop_now(s->loop);
    }
    if (!err && taken < n) {
        err = enqueue(s, v, nv, taken);
        if (err && taken == 0) return err; /* nothing has happened */
        if (!err && s->state == NP_STREAM_OPEN) err = flush(s);
    }
    if (err) { /* part of it may have left: the peer must not take what follows for the rest */
        np_stream_fail_later(s, err);
        return err;
    }
    s->bytes_out += n;
    /* A filter counts what the stream under it holds. */
    if (np_stream_queued(s) >= s->high_water) s->above_high = true;
    return NEAP_OK;
}

enum neap_err np_stream_write(struct np_stream *s, const void *p, size_t n)
{
    struct np_slice v = {p, n};
    return np_stream_writev(s, &v, 1);
}

void np_stream_flushed(struct np_stream *s)
{
    if (!alive(s)) return;
    size_t queued = np_stream_queued(s);
    if (queued == 0) s->flushing = false;
    look_at_progress(s);
    np_buf_shrink(&s->out, KEEP_BLOCK);
    enum neap_err err = send_fin(s);
    if (err) {
        np_stream_failed(s, err);
        return;
    }
    if (s->above_high && queued <= s->low_water) {
        s->above_high = false;
        if (!s->lingering && s->handler->on_drain) s->handler->on_drain(s);
    }
    linger_on(s);
}

enum neap_err np_stream_shutdown(struct np_stream *s)
{
    if (!alive(s) || s->err) return NEAP_ECLOSED;
    if (s->shut) return NEAP_OK;
    s->shut = true;
    if (s->state != NP_STREAM_OPEN) return NEAP_OK;
    enum neap_err err = send_fin(s);
    if (err) np_stream_fail_later(s, err);
    return err;
}

/* Opening, failing, closing. */

void np_stream_opened(struct np_stream *s)
{
    if (s->state != NP_STREAM_CONNECTING) return;
    set_state(s, NP_STREAM_OPEN);
    s->open_by = NP_TIME_NEVER;
    s->last_read = s->last_write = np_loop_now(s->loop);
    enum neap_err err = np_stream_timeout_update(s);
    if (!err && s->reading) err = s->ops->read_start(s);
    if (!err) err = flush(s);
    if (!err) err = send_fin(s);
    if (err)
        np_stream_failed(s, err);
    else if (s->handler->on_open)
        s->handler->on_open(s);
}

void np_stream_failed(struct np_stream *s, enum neap_err err)
{
    if (s->extra) np_stream_deliver_unread(s);
    if (!alive(s)) return;
    np_defer_cancel(&s->later);
    np_timer_stop(&s->timer);
    if (s->state == NP_STREAM_OPEN && s->reading && !s->ended) s->ops->read_stop(s);
    set_state(s, NP_STREAM_BROKEN);
    s->reading = false;
    if (!s->err) s->err = err;
    if (s->lingering)
        np_stream_close(s);
    else if (s->handler->on_error)
        s->handler->on_error(s, s->err);
}

static void report_later(struct np_defer *d)
{
    struct np_stream *s = np_container_of(d, struct np_stream, later);
    if (s->fail_turns-- > 0)
        np_loop_defer(s->loop, d);
    else
        np_stream_failed(s, s->err);
}

void np_stream_fail_later(struct np_stream *s, enum neap_err err)
{
    if (!alive(s) || s->err) return;
    s->err = err;
    s->fail_turns = s->reading && !s->ended ? 1 : 0;
    np_loop_defer(s->loop, &s->later);
}

void np_stream_close(struct np_stream *s)
{
    if (s->state >= NP_STREAM_CLOSING) return;
    np_defer_cancel(&s->later);
    np_timer_stop(&s->timer);
    np_list_remove(&s->link);
    np_stream_extra_stop(s);
    set_state(s, NP_STREAM_CLOSING);
    s->reading = false;
    s->ops->close(s);
}

void np_stream_gone(struct np_stream *s)
{
    struct np_loop *loop = s->loop;
    set_state(s, NP_STREAM_CLOSED);
    np_buf_fini(&s->out);
    if (s->counted) atomic_fetch_sub_explicit(s->counted, 1, memory_order_release);
    s->handler->on_close(s);
    np_stream_extra_fini(s);
    s->ops->free(s);
    np_loop_release(loop);
}

void np_stream_finish(struct np_stream *s, int64_t linger_ns)
{
    if (s->state >= NP_STREAM_CLOSING || s->lingering) return;
    bool ready = s->state == NP_STREAM_OPEN && !s->err && linger_ns > 0;
    if (!ready || np_stream_shutdown(s) || (s->ended && s->shut_sent)) {
        np_stream_close(s);
        return;
    }
    bool was_reading = s->reading;
    s->lingering = s->reading = true;
    s->linger = linger_ns;
    np_list_push_back(&s->loop->lingering, &s->link);
    s->last_write = np_loop_now(s->loop);
    enum neap_err err = was_reading || s->ended ? NEAP_OK : s->ops->read_start(s);
    if (!err) err = np_stream_timeout_update(s);
    if (err)
        np_stream_close(s);
    else
        linger_on(s);
}

void np_streams_stop_lingering(struct np_loop *loop)
{
    while (!np_list_empty(&loop->lingering))
        np_stream_close(np_container_of(loop->lingering.next, struct np_stream, link));
}

void np_stream_set_ref(struct np_stream *s, bool ref)
{
    s->unref = !ref;
    np_timer_set_background(&s->timer, !ref);
    if (s->state < NP_STREAM_CLOSING) s->ops->set_ref(s, ref);
}
