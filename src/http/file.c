/* Answers that are files; see file.h.
 *
 * Most are over inside np_http_respond_file: the kernel takes all there is, and nothing is
 * allocated. What is left goes on from on_drain, out of a `sending` in the exchange's arena. While
 * the transport sends files by itself it is told of room only when its queue is empty, as it does
 * so only then, and a full kernel is given a short piece in the ordinary way to wait behind.
 */
#include "http/file.h"

#include <string.h>

#include "base/arena.h"
#include "http/server_impl.h"

enum {
    PIECE = 16 << 10,     /* bytes read and written at once, to wait behind */
    BLOCK = 64 << 10,     /* … where the transport sends no files */
    TURN = 1 << 20,       /* bytes after which others get their turn */
    WITH_HEAD = 60 << 10, /* … behind a head: the largest packet the kernel makes */
};

struct sending {
    struct np_http_exchange *x;
    struct np_file file;
    struct np_http_part *parts;
    size_t nparts;
    size_t at;      /* the part under way */
    bool text_sent; /* … its `before` is out */
    struct np_bytes after;
    struct np_defer later;        /* goes on after the others' turn */
    size_t high_water, low_water; /* the stream's own */
};

/* --- some bytes */

static enum neap_err write_piece(struct np_http_conn *c, const struct np_file *f, uint64_t offset,
                                 uint64_t n, uint64_t *taken)
{
    char piece[BLOCK];
    size_t most = c->stream->ops->send_file ? PIECE : BLOCK;
    size_t want = n < most ? (size_t)n : most;
    enum neap_err err = np_file_read(f, offset, piece, want);
    if (err) return err;
    err = np_stream_write(c->stream, piece, want);
    if (!err) *taken = want;
    return err;
}

/* What was written before leaves, if it may be with the first of the file. */
static void flush(struct np_http_conn *c)
{
    size_t n = np_buf_len(&c->t->out);
    if (!n) return;
    enum neap_err err = np_stream_write_more(c->stream, np_buf_data(&c->t->out), n);
    if (err && !c->stream->err) np_http_conn_doom(c, err);
    np_buf_clear(&c->t->out);
}

enum neap_err np_http_send_file(struct np_http_exchange *x, const struct np_file *f,
                                uint64_t offset, uint64_t n, uint64_t *taken)
{
    struct np_http_conn *c = np_http_conn_of(x);
    size_t sent = 0;
    *taken = 0;
    if (x->finished || c->state != NP_CONN_EXCHANGE) return NEAP_ECLOSED;
    if (!x->started || c->t->framing != NP_FRAMING_LENGTH || n > c->t->left) return NEAP_EINVAL;
    if (c->stream->err) return c->stream->err;
    size_t most = n < TURN ? (size_t)n : TURN;
    if (np_buf_len(&c->t->out) && most > WITH_HEAD) most = WITH_HEAD;
    flush(c);
    if (c->doomed) return c->doomed;
    if (!np_stream_writable(c->stream)) return NEAP_OK;
    enum neap_err err = np_stream_send_file(c->stream, f->fd, (int64_t)offset, most, &sent);
    *taken = sent;
    if (err == NEAP_ENOTSUP || (!err && sent == 0)) err = write_piece(c, f, offset, n, taken);
    c->t->left -= *taken;
    return err;
}

/* --- the whole */

static void end(struct sending *s)
{
    struct np_stream *stream = np_http_conn_of(s->x)->stream;
    np_defer_cancel(&s->later);
    np_file_close(&s->file);
    stream->high_water = s->high_water;
    stream->low_water = s->low_water;
    s->x->user = NULL;
}

static void give_up(struct sending *s)
{
    end(s);
    np_http_abort(s->x);
}

/* As much as there is room for, or as is fair. NEAP_EAGAIN: there is more to send. */
static enum neap_err send_parts(struct sending *s)
{
    uint64_t budget = TURN;
    for (; s->at < s->nparts; s->at++, s->text_sent = false) {
        struct np_http_part *p = &s->parts[s->at];
        if (!s->text_sent && p->before.n) {
            enum neap_err err = np_http_write(s->x, p->before.p, p->before.n);
            if (err) return err;
        }
        s->text_sent = true;
        while (p->size > 0) {
            uint64_t taken;
            enum neap_err err = np_http_send_file(s->x, &s->file, p->offset,
                                                  p->size < budget ? p->size : budget, &taken);
            p->offset += taken;
            p->size -= taken;
            if (err) return err;
            budget -= taken;
            if (p->size > 0 && (taken == 0 || budget == 0)) return NEAP_EAGAIN;
        }
    }
    return s->after.n ? np_http_write(s->x, s->after.p, s->after.n) : NEAP_OK;
}

static void go_on(struct sending *s)
{
    struct np_http_exchange *x = s->x;
    /* The last turn: did all of it belong together? */
    if (s->at + 1 == s->nparts && np_file_changed(&s->file)) {
        give_up(s);
        return;
    }
    enum neap_err err = send_parts(s);
    if (err == NEAP_EAGAIN) {
        if (np_http_writable(x)) np_loop_defer(x->server->loop, &s->later);
    } else if (err && np_http_conn_of(x)->stream->err) {
        return; /* on_abort follows */
    } else if (err) {
        give_up(s);
    } else {
        end(s);
        np_http_finish(x);
    }
}

static void on_later(struct np_defer *d)
{
    struct sending *s = np_container_of(d, struct sending, later);
    np_http_conn_stream.on_drain(np_http_conn_of(s->x)->stream);
}

static void on_drain(struct np_http_exchange *x)
{
    if (x->user) go_on(x->user);
}

static void on_abort(struct np_http_exchange *x, enum neap_err why)
{
    (void)why;
    if (x->user) end(x->user);
}

static void on_body(struct np_http_exchange *x, const char *data, size_t n)
{
    (void)x;
    (void)data;
    (void)n;
}

static void on_body_end(struct np_http_exchange *x, enum neap_err err)
{
    (void)x;
    (void)err;
}

static const struct np_http_server_handler file_handler = {
    .on_drain = on_drain, .on_abort = on_abort, .on_body = on_body, .on_body_end = on_body_end};

/* What is left of it moves to where it may stay. */
static struct sending *keep(const struct sending *now)
{
    struct np_arena *arena = now->x->arena;
    struct sending *s = np_arena_alloc(arena, sizeof *s);
    if (!s) return NULL;
    *s = *now;
    size_t left = now->nparts - now->at;
    s->parts = np_arena_alloc(arena, left * sizeof *s->parts);
    if (!s->parts) return NULL;
    memcpy(s->parts, now->parts + now->at, left * sizeof *s->parts);
    s->nparts = left;
    s->at = 0;
    for (size_t i = 0; i < left; i++) {
        struct np_bytes *text = &s->parts[i].before;
        if (text->n && !(text->p = np_arena_strndup(arena, text->p, text->n))) return NULL;
    }
    if (s->after.n && !(s->after.p = np_arena_strndup(arena, s->after.p, s->after.n))) return NULL;
    if (np_file_own(&s->file)) return NULL;
    np_defer_init(&s->later, on_later);
    return s;
}

static void send_first(struct sending *first)
{
    struct np_http_exchange *x = first->x;
    struct np_stream *stream = np_http_conn_of(x)->stream;
    first->high_water = stream->high_water;
    first->low_water = stream->low_water;
    if (stream->ops->send_file) {
        stream->high_water = PIECE;
        stream->low_water = 0;
    }
    enum neap_err err = send_parts(first);
    if (!err) {
        end(first);
        np_http_finish(x);
        return;
    }
    bool broken = err != NEAP_EAGAIN && !stream->err;
    struct sending *s = broken ? NULL : keep(first);
    if (!s) {
        give_up(first);
        return;
    }
    x->user = s;
    if (err == NEAP_EAGAIN && np_http_writable(x)) np_loop_defer(x->server->loop, &s->later);
}

enum neap_err np_http_respond_file(struct np_http_exchange *x, int status,
                                   const struct np_http_header *headers, size_t nheaders,
                                   struct np_file *f, const struct np_http_part *parts,
                                   size_t nparts, struct np_bytes after)
{
    enum { FEW = 4 };
    struct np_http_part few[FEW], *own = few;
    uint64_t length = after.n;
    for (size_t i = 0; i < nparts; i++)
        length += parts[i].before.n + parts[i].size;
    if (length > INT64_MAX) return NEAP_EINVAL;
    if (nparts > FEW) {
        own = np_arena_alloc(x->arena, nparts * sizeof *own);
        if (!own) return NEAP_ENOMEM;
    }
    if (nparts) memcpy(own, parts, nparts * sizeof *own);
    enum neap_err err = np_http_start(x, status, headers, nheaders, (int64_t)length);
    if (err) return err;
    struct sending first = {.x = x, .file = *f, .parts = own, .nparts = nparts, .after = after};
    f->fd = -1;
    np_defer_init(&first.later, on_later);
    x->handler = &file_handler;
    x->user = NULL;
    if (np_http_conn_of(x)->t->framing == NP_FRAMING_LENGTH) {
        send_first(&first);
    } else { /* HEAD, or a status without a body */
        np_file_close(&first.file);
        np_http_finish(x);
    }
    return NEAP_OK;
}
