/* Pairs of streams in memory.
 *
 * Each end has a box of bytes that are under way to it, at most `capacity` of them. One end's work
 * (hand over what is in its box, move what it has queued to the other's box, report its end) is
 * done by its deferred `turn`, from the loop. A closed end stays linked until its memory goes, so
 * `peer` is NULL or valid. One thread, the loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "net/dial.h"

struct np_pipe {
    struct np_stream s;
    struct np_pipe *peer;
    struct np_buf box;   /* under way to this end */
    struct np_buf spare; /* swapped with the box while its bytes are lent */
    size_t capacity;
    bool box_ended;          /* the peer has shut down or closed: the end follows the box */
    bool writes_refused;     /* the peer has closed */
    struct np_defer turn;    /* work to do */
    struct np_timer waiting; /* never due: keeps the loop alive while reading is on */
};

static struct np_pipe *pipe_of(struct np_stream *s)
{
    return np_container_of(s, struct np_pipe, s);
}

static void wake(struct np_pipe *p)
{
    if (p && p->s.state < NP_STREAM_CLOSING) np_loop_defer(p->s.loop, &p->turn);
}

/* Moves as much as fits into the peer's box. */
static enum neap_err give(struct np_pipe *p, const char *data, size_t n, size_t *taken)
{
    struct np_pipe *to = p->peer;
    *taken = 0;
    if (!to || p->writes_refused) return NEAP_EPIPE;
    size_t room = to->capacity - np_buf_len(&to->box);
    if (n > room) n = room;
    enum neap_err err = np_buf_append(&to->box, data, n);
    if (err) return err;
    *taken = n;
    if (n > 0) wake(to);
    return NEAP_OK;
}

static void deliver(struct np_pipe *p)
{
    if (!p->s.reading || np_buf_len(&p->box) == 0) return;
    struct np_buf lent = p->box;
    p->box = p->spare;
    p->spare = (struct np_buf){0};
    wake(p->peer); /* there is room again */
    np_stream_received(&p->s, np_buf_data(&lent), np_buf_len(&lent));
    np_buf_clear(&lent);
    p->spare = lent;
}

static void flush_queue(struct np_pipe *p)
{
    size_t queued = np_buf_len(&p->s.out);
    size_t taken;
    if (queued == 0 || p->s.state != NP_STREAM_OPEN) return;
    enum neap_err err = give(p, np_buf_data(&p->s.out), queued, &taken);
    if (err) {
        np_stream_failed(&p->s, err);
    } else if (taken > 0) {
        np_buf_consume(&p->s.out, taken);
        np_stream_flushed(&p->s);
    }
}

static void turn(struct np_defer *d)
{
    struct np_pipe *p = np_container_of(d, struct np_pipe, turn);
    if (p->s.state == NP_STREAM_CLOSING) {
        np_stream_gone(&p->s);
        return;
    }
    deliver(p);
    if (p->s.reading && p->box_ended && np_buf_len(&p->box) == 0) {
        np_timer_stop(&p->waiting);
        np_stream_received_end(&p->s);
    }
    flush_queue(p);
}

static void never(struct np_timer *t)
{
}

static enum neap_err op_read_start(struct np_stream *s)
{
    struct np_pipe *p = pipe_of(s);
    wake(p);
    return np_timer_start(&p->waiting, NP_TIME_NEVER - 1 - np_loop_now(s->loop));
}

static void op_read_stop(struct np_stream *s)
{
    np_timer_stop(&pipe_of(s)->waiting);
}

static enum neap_err op_write(struct np_stream *s, const struct np_slice *v, size_t nv,
                              size_t *taken)
{
    size_t done = 0;
    for (size_t i = 0; i < nv; i++) {
        size_t n;
        enum neap_err err = give(pipe_of(s), v[i].p, v[i].n, &n);
        if (err) return err;
        done += n;
        if (n < v[i].n) break;
    }
    *taken = done;
    return NEAP_OK;
}

/* The peer wakes this end when it has read. */
static enum neap_err op_flush(struct np_stream *s)
{
    return NEAP_OK;
}

static void end_peer(struct np_pipe *p)
{
    if (!p->peer) return;
    p->peer->box_ended = true;
    wake(p->peer);
}

static enum neap_err op_shutdown(struct np_stream *s)
{
    end_peer(pipe_of(s));
    return NEAP_OK;
}

static void op_close(struct np_stream *s)
{
    struct np_pipe *p = pipe_of(s);
    np_timer_stop(&p->waiting);
    np_buf_clear(&p->box);
    end_peer(p);
    if (p->peer) p->peer->writes_refused = true;
    np_loop_defer(s->loop, &p->turn);
}

static void op_free(struct np_stream *s)
{
    struct np_pipe *p = pipe_of(s);
    if (p->peer) p->peer->peer = NULL;
    np_buf_fini(&p->box);
    np_buf_fini(&p->spare);
    np_free(p);
}

static void op_set_ref(struct np_stream *s, bool ref)
{
    np_timer_set_background(&pipe_of(s)->waiting, !ref);
}

static enum neap_err op_name(struct np_stream *s, char *out, size_t size)
{
    if (size > 0) {
        strncpy(out, "pipe", size - 1);
        out[size - 1] = '\0';
    }
    return NEAP_OK;
}

static const struct np_stream_ops pipe_ops = {
    .kind = "pipe",
    .read_start = op_read_start,
    .read_stop = op_read_stop,
    .write = op_write,
    .flush = op_flush,
    .shutdown = op_shutdown,
    .close = op_close,
    .free = op_free,
    .set_ref = op_set_ref,
    .peer = op_name,
    .local = op_name,
};

static void init_end(struct np_pipe *p, struct np_pipe *peer, struct np_loop *loop, size_t capacity)
{
    *p = (struct np_pipe){.peer = peer, .capacity = capacity};
    np_defer_init(&p->turn, turn);
    np_timer_init(&p->waiting, loop, never);
    np_stream_init(&p->s, &pipe_ops, loop, NP_STREAM_OPEN);
}

enum neap_err np_pipe_pair(struct np_loop *loop, size_t capacity, struct np_stream **a,
                           struct np_stream **b)
{
    struct np_pipe *x = np_alloc(sizeof *x);
    struct np_pipe *y = np_alloc(sizeof *y);
    if (!x || !y) {
        np_free(x);
        np_free(y);
        return NEAP_ENOMEM;
    }
    if (capacity == 0) capacity = (size_t)64 << 10;
    init_end(x, y, loop, capacity);
    init_end(y, x, loop, capacity);
    *a = &x->s;
    *b = &y->s;
    return NEAP_OK;
}
