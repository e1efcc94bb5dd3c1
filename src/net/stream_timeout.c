/* A stream's timeouts. The timer runs at or before the earliest moment at which any could expire,
 * counting those that do not apply now (nothing queued, reading off) as if they began now; so it
 * need not be touched when they do. One thread, the loop's.
 */
#include "net/stream_timeout.h"

#include "net/stream.h"

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t sooner_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The moment of the earliest expiry; at or before `now` only if something has expired. */
static int64_t next_expiry(const struct np_stream *s, int64_t now)
{
    if (s->state == NP_STREAM_CONNECTING) return s->open_by;
    if (s->lingering) return np_time_add(s->last_write, s->linger);
    int64_t at = NP_TIME_NEVER;
    if (s->read_timeout) {
        bool waits = s->reading && !s->ended;
        at = sooner_of(at, np_time_add(waits ? s->last_read : now, s->read_timeout));
    }
    if (s->write_timeout) {
        bool waits = np_stream_queued(s) > 0;
        at = sooner_of(at, np_time_add(waits ? s->last_write : now, s->write_timeout));
    }
    if (s->idle_timeout)
        at = sooner_of(at, np_time_add(later_of(s->last_read, s->last_write), s->idle_timeout));
    return at;
}

/* What left the transport since it was last looked at counts as a write. */
static void note_progress(struct np_stream *s, int64_t now)
{
    if (!s->flushing || !s->ops->unsent) return;
    size_t unsent = s->ops->unsent(s);
    if (unsent != s->last_unsent) s->last_write = now;
    s->last_unsent = unsent;
}

enum neap_err np_stream_timeout_update(struct np_stream *s)
{
    int64_t now = np_loop_now(s->loop);
    int64_t at = next_expiry(s, now);
    if (at == NP_TIME_NEVER) {
        np_timer_stop(&s->timer);
        return NEAP_OK;
    }
    return np_timer_start(&s->timer, at - now);
}

static void on_timer(struct np_timer *t)
{
    struct np_stream *s = np_container_of(t, struct np_stream, timer);
    int64_t now = np_loop_now(s->loop);
    if (s->state > NP_STREAM_OPEN) return;
    note_progress(s, now);
    if (next_expiry(s, now) > now) {
        /* Its place in the heap has just become free, so this does not allocate. */
        if (np_stream_timeout_update(s) != NEAP_OK) np_stream_failed(s, NEAP_ENOMEM);
    } else if (s->lingering) {
        np_stream_close(s);
    } else {
        np_stream_failed(s, NEAP_ETIMEDOUT);
    }
}

void np_stream_timeout_init(struct np_stream *s)
{
    s->last_read = s->last_write = np_loop_now(s->loop);
    np_timer_init(&s->timer, s->loop, on_timer);
}

enum neap_err np_stream_set_timeouts(struct np_stream *s, int64_t read_ns, int64_t write_ns,
                                     int64_t idle_ns)
{
    if (s->state > NP_STREAM_OPEN) return NEAP_OK;
    s->read_timeout = read_ns;
    s->write_timeout = write_ns;
    s->idle_timeout = idle_ns;
    s->last_read = s->last_write = np_loop_now(s->loop);
    return np_stream_timeout_update(s);
}

enum neap_err np_stream_open_within(struct np_stream *s, int64_t ns)
{
    s->open_by = ns > 0 ? np_time_add(np_loop_now(s->loop), ns) : NP_TIME_NEVER;
    return np_stream_timeout_update(s);
}
