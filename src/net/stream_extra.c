/* What few streams need: bytes put back, addresses that a proxy gave, files sent without a copy.
 *
 * What was put back is handed out before anything newer: from the loop once reading is on, or just
 * before newer bytes, the end or a failure if those come first. One thread, the loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "net/stream.h"

struct np_stream_extra {
    struct np_stream *s;
    struct np_buf unread;
    struct np_defer deliver;
    bool end_again; /* on_end is owed behind `unread`, to an owner who has not heard it */
    char *peer, *local;
    void *note;
    void (*free_note)(void *note);
};

static bool alive(const struct np_stream *s)
{
    return s->state <= NP_STREAM_OPEN;
}

static bool due(const struct np_stream *s)
{
    const struct np_stream_extra *e = s->extra;
    return e && alive(s) && s->reading && !s->lingering &&
           (np_buf_len(&e->unread) > 0 || e->end_again);
}

/* Whoever takes the bytes may close the stream, stop reading or put some back. */
void np_stream_deliver_unread(struct np_stream *s)
{
    while (due(s) && np_buf_len(&s->extra->unread) > 0) {
        struct np_buf lent = s->extra->unread;
        np_buf_init(&s->extra->unread);
        s->last_read = np_loop_now(s->loop);
        if (s->handler->on_read) s->handler->on_read(s, np_buf_data(&lent), np_buf_len(&lent));
        np_buf_fini(&lent);
    }
    if (!due(s)) return;
    s->extra->end_again = false;
    if (s->handler->on_end) s->handler->on_end(s);
}

static void on_deliver(struct np_defer *d)
{
    np_stream_deliver_unread(np_container_of(d, struct np_stream_extra, deliver)->s);
}

void np_stream_offer_unread(struct np_stream *s)
{
    if (due(s)) np_loop_defer(s->loop, &s->extra->deliver);
}

static enum neap_err extra(struct np_stream *s, struct np_stream_extra **out)
{
    if (!s->extra) {
        struct np_stream_extra *e = np_alloc(sizeof *e);
        if (!e) return NEAP_ENOMEM;
        *e = (struct np_stream_extra){.s = s};
        np_buf_init(&e->unread);
        np_defer_init(&e->deliver, on_deliver);
        s->extra = e;
    }
    *out = s->extra;
    return NEAP_OK;
}

enum neap_err np_stream_unread(struct np_stream *s, const char *data, size_t n)
{
    if (!alive(s)) return NEAP_ECLOSED;
    if (n == 0 && !s->ended) return NEAP_OK;
    struct np_stream_extra *e;
    enum neap_err err = extra(s, &e);
    if (err) return err;
    struct np_buf all;
    np_buf_init(&all);
    err = np_buf_append(&all, data, n);
    if (!err) err = np_buf_append(&all, np_buf_data(&e->unread), np_buf_len(&e->unread));
    if (err) {
        np_buf_fini(&all);
        return err;
    }
    np_buf_fini(&e->unread);
    e->unread = all;
    e->end_again = s->ended;
    np_stream_offer_unread(s);
    return NEAP_OK;
}

void np_stream_extra_stop(struct np_stream *s)
{
    if (s->extra) np_defer_cancel(&s->extra->deliver);
}

void np_stream_extra_fini(struct np_stream *s)
{
    struct np_stream_extra *e = s->extra;
    if (!e) return;
    s->extra = NULL;
    np_defer_cancel(&e->deliver);
    np_buf_fini(&e->unread);
    np_free(e->peer);
    np_free(e->local);
    if (e->note) e->free_note(e->note);
    np_free(e);
}

/* Files. */

enum neap_err np_stream_write_more(struct np_stream *s, const void *p, size_t n)
{
    s->more = s->ops->send_file != NULL;
    enum neap_err err = np_stream_write(s, p, n);
    s->more = false;
    return err;
}

enum neap_err np_stream_send_file(struct np_stream *s, int fd, int64_t offset, size_t n,
                                  size_t *taken)
{
    if (!alive(s) || s->err || s->shut) return NEAP_ECLOSED;
    if (!s->ops->send_file) return NEAP_ENOTSUP;
    *taken = 0;
    if (n == 0 || s->state != NP_STREAM_OPEN || np_stream_queued(s) > 0) return NEAP_OK;
    enum neap_err err = s->ops->send_file(s, fd, offset, n, taken);
    s->last_write = np_loop_now(s->loop);
    s->bytes_out += *taken;
    if (err && err != NEAP_EOF && err != NEAP_ENOTSUP) np_stream_fail_later(s, err);
    return err;
}

/* Names. */

static enum neap_err replace(char **old, const char *with)
{
    if (!with) return NEAP_OK;
    char *copy = np_strdup(with);
    if (!copy) return NEAP_ENOMEM;
    np_free(*old);
    *old = copy;
    return NEAP_OK;
}

enum neap_err np_stream_set_addresses(struct np_stream *s, const char *peer, const char *local)
{
    struct np_stream_extra *e;
    enum neap_err err = extra(s, &e);
    if (!err) err = replace(&e->peer, peer);
    if (!err) err = replace(&e->local, local);
    return err;
}

static enum neap_err copy_name(const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    if (n >= size) n = size - 1;
    memcpy(out, name, n);
    out[n] = '\0';
    return NEAP_OK;
}

enum neap_err np_stream_peer(struct np_stream *s, char *out, size_t size)
{
    if (s->state > NP_STREAM_BROKEN) return NEAP_ECLOSED;
    if (s->extra && s->extra->peer) return copy_name(s->extra->peer, out, size);
    return s->ops->peer(s, out, size);
}

enum neap_err np_stream_local(struct np_stream *s, char *out, size_t size)
{
    if (s->state > NP_STREAM_BROKEN) return NEAP_ECLOSED;
    if (s->extra && s->extra->local) return copy_name(s->extra->local, out, size);
    return s->ops->local(s, out, size);
}

enum neap_err np_stream_set_note(struct np_stream *s, void *note, void (*free_note)(void *note))
{
    struct np_stream_extra *e;
    enum neap_err err = extra(s, &e);
    if (err) return err;
    if (e->note) e->free_note(e->note);
    e->note = note;
    e->free_note = free_note;
    return NEAP_OK;
}

const struct np_stream *np_stream_transport(const struct np_stream *s)
{
    const struct np_stream *under;
    while (s->ops->under && (under = s->ops->under(s)))
        s = under;
    return s;
}

const void *np_stream_note(const struct np_stream *s)
{
    s = np_stream_transport(s);
    return s->extra ? s->extra->note : NULL;
}

const char *np_stream_why(const struct np_stream *s, enum neap_err err)
{
    const char *why = s->ops->why ? s->ops->why(s) : NULL;
    return why ? why : neap_err_text(err);
}
