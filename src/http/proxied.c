/* The PROXY protocol's stage; see proxied.h. One thread, the loop's. */
#include "http/proxied.h"

#include <string.h>

#include "base/alloc.h"

struct np_proxied {
    struct np_loop *loop;
    struct np_proxied_options opts;
    void (*on_ready)(void *arg, struct np_stream *s);
    void (*on_left)(void *arg); /* or NULL */
    void *arg;
    struct np_link waiting; /* of struct entrant, those that are being closed included */
    size_t nwaiting;
    bool closed;
    int64_t told_at; /* when the log last spoke of a refusal */
};

/* A connection whose header has not come. */
struct entrant {
    struct np_proxied *p;
    struct np_stream *s;
    struct np_link link;
    struct np_timer timer;
    struct np_buf got;
    bool trusted;
};

/* A header as it came, kept with its stream. */
struct note {
    size_t n;
    char bytes[];
};

static void nobody_closed(struct np_stream *s)
{
}
static const struct np_stream_handler nobody = {.on_close = nobody_closed};

/* --- the end of waiting */

static void free_if_done(struct np_proxied *p)
{
    if (!p->closed || p->nwaiting) return;
    struct np_loop *loop = p->loop;
    np_cidr_list_fini(&p->opts.trusted);
    np_free(p);
    np_loop_release(loop);
}

static void forget(struct entrant *e)
{
    np_list_remove(&e->link);
    np_timer_stop(&e->timer);
    np_buf_fini(&e->got);
    np_free(e);
}

/* One waits no more; its owner may close the stage now. */
static void one_left(struct np_proxied *p)
{
    void (*left)(void *arg) = p->closed ? NULL : p->on_left;
    void *arg = p->arg;
    p->nwaiting--;
    free_if_done(p);
    if (left) left(arg);
}

static void on_close(struct np_stream *s)
{
    struct entrant *e = s->arg;
    struct np_proxied *p = e->p;
    forget(e);
    one_left(p);
}

static void turn_away(struct np_stream *s)
{
    np_stream_set_handler(s, &nobody, NULL);
    np_stream_close(s);
}

static void tell(struct np_proxied *p, struct np_stream *s, const char *why)
{
    char peer[NP_ADDR_TEXT_MAX] = "?";
    int64_t now = np_loop_now(p->loop);
    if (p->told_at && now - p->told_at < NP_NS_PER_SEC) return;
    p->told_at = now;
    (void)!np_stream_peer(s, peer, sizeof peer);
    np_logf(p->loop->log, NP_LOG_WARN, "refused a connection from %s: %s", peer, why);
}

static void refuse(struct entrant *e, const char *why)
{
    tell(e->p, e->s, why);
    np_timer_stop(&e->timer);
    np_stream_close(e->s);
}

/* --- going on */

static enum neap_err keep_header(struct np_stream *s, const char *data, size_t n)
{
    struct note *note = np_alloc(sizeof *note + n);
    if (!note) return NEAP_ENOMEM;
    note->n = n;
    memcpy(note->bytes, data, n);
    enum neap_err err = np_stream_set_note(s, note, np_free);
    if (err) np_free(note);
    return err;
}

static enum neap_err use_header(struct np_stream *s, const struct np_proxy_header *h)
{
    char peer[NP_PROXY_ADDRESS_TEXT], local[NP_PROXY_ADDRESS_TEXT];
    if (h->local || h->datagram || h->family == NP_PROXY_UNSPEC) return NEAP_OK;
    np_proxy_address_format(h->family, &h->source, peer);
    np_proxy_address_format(h->family, &h->destination, local);
    return np_stream_set_addresses(s, peer, local);
}

/* Gives `rest` back and the stream away. */
static void hand_on(struct entrant *e, const char *rest, size_t n)
{
    struct np_proxied *p = e->p;
    struct np_stream *s = e->s;
    np_stream_read_stop(s);
    if ((n > 0 || s->ended) && np_stream_unread(s, rest, n)) {
        refuse(e, "out of memory");
        return;
    }
    np_stream_set_handler(s, &nobody, NULL);
    forget(e);
    p->on_ready(p->arg, s); /* still counted: the stage lives on until the owner's code has run */
    one_left(p);
}

static void look(struct entrant *e, const char *data, size_t n, bool last)
{
    struct np_proxy_header h;
    size_t used;
    const char *why = "the PROXY header did not come in time";
    enum neap_err err = np_proxy_parse(data, n, &h, &used, &why);
    bool other = err == NEAP_ENOTFOUND || (err == NEAP_EAGAIN && last && n == 0);
    if (err == NEAP_EAGAIN && !last) return;
    if (other && e->p->opts.required)
        refuse(e, "it does not begin with a PROXY header");
    else if (other)
        hand_on(e, data, n);
    else if (err)
        refuse(e, why);
    else if (!e->trusted)
        refuse(e, "a PROXY header from a peer that is not trusted");
    else if (keep_header(e->s, data, used) || use_header(e->s, &h))
        refuse(e, "out of memory");
    else
        hand_on(e, data + used, n - used);
}

static void on_read(struct np_stream *s, const char *data, size_t n)
{
    struct entrant *e = s->arg;
    if (np_buf_len(&e->got) == 0) {
        struct np_proxy_header h;
        size_t used;
        if (np_proxy_parse(data, n, &h, &used, NULL) != NEAP_EAGAIN) { /* in one piece, mostly */
            look(e, data, n, false);
            return;
        }
    }
    if (np_buf_append(&e->got, data, n))
        refuse(e, "out of memory");
    else
        look(e, np_buf_data(&e->got), np_buf_len(&e->got), false);
}

static void on_end(struct np_stream *s)
{
    struct entrant *e = s->arg;
    if (e->p->opts.required)
        np_stream_close(s); /* somebody who looked whether the port is open */
    else
        look(e, np_buf_data(&e->got), np_buf_len(&e->got), true);
}

static void on_error(struct np_stream *s, enum neap_err err)
{
    (void)err;
    np_stream_close(s);
}

static void on_late(struct np_timer *t)
{
    struct entrant *e = np_container_of(t, struct entrant, timer);
    if (e->p->opts.required)
        refuse(e, "the PROXY header did not come in time");
    else
        look(e, np_buf_data(&e->got), np_buf_len(&e->got), true);
}

/* --- the beginning */

static const struct np_stream_handler handler = {
    .on_read = on_read, .on_end = on_end, .on_error = on_error, .on_close = on_close};

static bool is_trusted(const struct np_proxied *p, struct np_stream *s)
{
    char peer[NP_ADDR_TEXT_MAX];
    if (p->opts.trusted.everybody) return true;
    return np_stream_peer(s, peer, sizeof peer) == NEAP_OK &&
           np_cidr_list_has_peer(&p->opts.trusted, peer);
}

void np_proxied_take(struct np_proxied *p, struct np_stream *s)
{
    bool trusted = is_trusted(p, s);
    struct entrant *e = NULL;
    if (!trusted && p->opts.required) {
        tell(p, s, "a PROXY header is required, and the peer is not trusted to send one");
    } else if (p->closed || p->nwaiting >= p->opts.max_waiting) {
        tell(p, s, "too many connections whose PROXY header has not come");
    } else {
        e = np_alloc(sizeof *e);
    }
    if (!e) {
        turn_away(s);
        return;
    }
    *e = (struct entrant){.p = p, .s = s, .trusted = trusted};
    np_buf_init(&e->got);
    np_timer_init(&e->timer, p->loop, on_late);
    np_timer_set_background(&e->timer, true);
    np_list_push_back(&p->waiting, &e->link);
    p->nwaiting++;
    np_stream_set_handler(s, &handler, e);
    bool timed = p->opts.timeout > 0;
    if ((timed && np_timer_start(&e->timer, p->opts.timeout)) || np_stream_read_start(s))
        np_stream_close(s);
}

void np_proxied_close(struct np_proxied *p)
{
    struct np_link *l, *tmp;
    if (p->closed) return;
    p->closed = true;
    np_list_each_safe (l, tmp, &p->waiting) {
        struct entrant *e = np_container_of(l, struct entrant, link);
        np_timer_stop(&e->timer);
        np_stream_close(e->s);
    }
    free_if_done(p);
}

void np_proxied_on_left(struct np_proxied *p, void (*fn)(void *arg))
{
    p->on_left = fn;
}

size_t np_proxied_waiting(const struct np_proxied *p)
{
    return p->nwaiting;
}

enum neap_err np_proxied_new(struct np_loop *loop, const struct np_proxied_options *opts,
                             void (*on_ready)(void *arg, struct np_stream *s), void *arg,
                             struct np_proxied **out)
{
    struct np_proxied *p = np_calloc(1, sizeof *p);
    if (!p) return NEAP_ENOMEM;
    p->loop = loop;
    p->opts = *opts;
    if (np_cidr_list_copy(&opts->trusted, &p->opts.trusted)) {
        np_free(p);
        return NEAP_ENOMEM;
    }
    p->on_ready = on_ready;
    p->arg = arg;
    np_link_init(&p->waiting);
    np_loop_retain(loop);
    *out = p;
    return NEAP_OK;
}

bool np_proxied_header(const struct np_stream *s, struct np_proxy_header *out)
{
    size_t used;
    const struct note *note = np_stream_note(s);
    return note && np_proxy_parse(note->bytes, note->n, out, &used, NULL) == NEAP_OK;
}
