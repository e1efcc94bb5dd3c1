/* Publishing and handing over: publish matches and puts the message on queues; `hand_over`,
 * deferred once for whatever came meanwhile, calls each subscription that has something. */
#include "bus/bus.h"

#include <string.h>

#include "base/alloc.h"
#include "bus/bus_impl.h"

void np_bus_random_id(char *out)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct np_rng a, b;
    np_rng_init(&a, 0);
    np_rng_init(&b, 0);
    for (int i = 0; i < NP_BUS_ID_LEN; i++)
        out[i] = letters[np_rng_below(i % 2 ? &a : &b, sizeof letters - 1)];
    out[NP_BUS_ID_LEN] = '\0';
}

static void run_after_batch(struct np_bus *bus)
{
    struct np_link now;
    struct np_link *l;
    np_link_init(&now);
    np_list_splice(&now, &bus->after_batch);
    while ((l = np_list_pop_front(&now))) {
        struct np_defer *d = np_container_of(l, struct np_defer, link);
        d->fn(d);
    }
}

static void hand_over(struct np_bus *bus)
{
    struct np_link now;
    struct np_link *l;
    np_link_init(&now);
    np_list_splice(&now, &bus->ready);
    bus->delivering = true;
    while ((l = np_list_pop_front(&now))) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, ready);
        s->refs++;
        np_bus_sub_run(s);
        np_bus_sub_unref(s);
    }
    run_after_batch(bus);
    bus->delivering = false;
    if (!np_list_empty(&bus->ready)) np_loop_defer(bus->loop, &bus->deliver);
}

static void deliver(struct np_defer *d)
{
    hand_over(np_container_of(d, struct np_bus, deliver));
}

void np_bus_hand_over(struct np_bus *bus)
{
    if (!bus->delivering && !np_list_empty(&bus->ready)) hand_over(bus);
}

enum neap_err np_bus_new(struct np_loop *loop, const struct np_bus_options *opts,
                         struct np_bus **out)
{
    static const struct np_bus_options defaults = NP_BUS_OPTIONS_INIT;
    struct np_bus *bus = np_calloc(1, sizeof *bus);
    if (!bus) return NEAP_ENOMEM;
    bus->loop = loop;
    bus->opts = opts ? *opts : defaults;
    np_link_init(&bus->subs);
    np_link_init(&bus->ready);
    np_link_init(&bus->after_batch);
    np_link_init(&bus->path_watches);
    np_defer_init(&bus->deliver, deliver);
    np_buf_init(&bus->path);
    np_bus_random_id(bus->id);
    struct np_trie_options to = NP_TRIE_OPTIONS_INIT;
    to.max_subs = SIZE_MAX; /* counted in sub.c */
    to.seed = bus->opts.seed;
    enum neap_err err = np_trie_new(&to, &bus->trie);
    if (!err) err = np_buf_append(&bus->path, bus->id, NP_BUS_ID_LEN);
    if (err) goto fail;
    bus->upstream_at = NP_BUS_ID_LEN;
    *out = bus;
    return NEAP_OK;
fail:
    np_trie_free(bus->trie);
    np_buf_fini(&bus->path);
    np_free(bus);
    return err;
}

void np_bus_free(struct np_bus *bus)
{
    struct np_link *l;
    if (!bus) return;
    np_bus_inboxes_free(bus->inboxes);
    np_hub_abandon(bus);
    while ((l = np_list_pop_front(&bus->subs))) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, all);
        np_list_remove(&s->ready);
        s->handle = NULL;
        s->bus = NULL;
    }
    while (np_list_pop_front(&bus->after_batch))
        ;
    while (np_list_pop_front(&bus->path_watches))
        ;
    np_defer_cancel(&bus->deliver);
    np_trie_free(bus->trie);
    np_buf_fini(&bus->path);
    np_free(bus);
}

struct np_loop *np_bus_loop(const struct np_bus *bus)
{
    return bus->loop;
}

const char *np_bus_id(const struct np_bus *bus)
{
    return bus->id;
}

size_t np_bus_max_payload(const struct np_bus *bus)
{
    return bus->opts.max_payload;
}

void np_bus_get_stats(const struct np_bus *bus, struct np_bus_stats *out)
{
    *out = bus->stats;
    out->subs = bus->nsubs;
}

struct np_bus_msg *np_bus_publication_msg(struct publication *p)
{
    if (!p->msg) p->msg = np_bus_msg_new(p->out);
    if (!p->msg) p->no_memory = true;
    return p->msg;
}

static bool offer(struct np_sub *handle, void *value, void *arg)
{
    struct np_bus_sub *s = value;
    struct publication *p = arg;
    bool shared = p->seat && s->queue_len > 0;
    if (shared && !np_hub_keeps(p, handle)) return true; /* another worker's member gets it */
    if (s->deaf_to && s->deaf_to == p->origin) return false;
    p->interested++;
    struct np_bus_msg *m = np_bus_publication_msg(p);
    bool taken = m && np_bus_sub_push(s, m);
    if (taken && shared) np_hub_kept(p, handle);
    return taken;
}

static enum neap_err distribute(struct np_bus *bus, struct publication *p)
{
    const struct np_bus_out *m = p->out;
    enum neap_err err = NEAP_OK;
    p->seat = np_bus_seat(bus);
    if (p->seat) err = np_hub_gather(p);
    if (!err) err = np_trie_match(bus->trie, m->subject.p, m->subject.n, offer, p, NULL);
    if (!err && p->seat) err = np_hub_forward(p);
    if (!err && p->no_memory) err = NEAP_ENOMEM;
    np_bus_msg_unref(p->msg);
    return err;
}

enum neap_err np_bus_publish(struct np_bus *bus, const struct np_bus_out *m, const void *origin,
                             size_t *interested)
{
    size_t size = m->headers.n + m->payload.n;
    if (size < m->payload.n || size > bus->opts.max_payload) return NEAP_EMSGSIZE;
    if (m->subject.n > NP_SUBJECT_MAX_LEN || m->reply.n > NP_SUBJECT_MAX_LEN) return NEAP_EINVAL;
    if (m->reply.n > 0 && !np_subject_ok(m->reply.p, m->reply.n)) return NEAP_EINVAL;
    struct publication p = {.out = m, .origin = origin};
    enum neap_err err;
    if (bus->remote) {
        if (!np_subject_ok(m->subject.p, m->subject.n)) return NEAP_EINVAL;
        err = bus->remote->ops->publish(bus->remote, m);
        p.interested = SIZE_MAX;
    } else {
        err = distribute(bus, &p);
    }
    if (err) return err;
    bus->stats.published++;
    bus->stats.published_bytes += size;
    if (interested) *interested = p.interested;
    return NEAP_OK;
}

void np_bus_after_batch(struct np_bus *bus, struct np_defer *d)
{
    if (!bus->delivering) {
        np_loop_defer(bus->loop, d);
    } else if (!np_link_linked(&d->link)) {
        np_list_push_back(&bus->after_batch, &d->link);
    }
}

static void flushed(struct np_defer *d)
{
    struct np_bus_flush *f = np_container_of(d, struct np_bus_flush, defer);
    f->fn(f, f->err);
}

void np_bus_flush_init(struct np_bus_flush *f,
                       void (*fn)(struct np_bus_flush *f, enum neap_err err))
{
    np_link_init(&f->link);
    np_defer_init(&f->defer, flushed);
    f->ping = 0;
    f->err = NEAP_OK;
    f->fn = fn;
}

enum neap_err np_bus_flush_start(struct np_bus *bus, struct np_bus_flush *f)
{
    bool waits = false;
    if (bus->remote) return bus->remote->ops->flush(bus->remote, f);
    f->err = NEAP_OK;
    enum neap_err err = np_hub_flush(bus, f, &waits);
    if (!err && !waits) np_loop_defer(bus->loop, &f->defer);
    return err;
}

void np_bus_flush_cancel(struct np_bus_flush *f)
{
    np_list_remove(&f->link);
    np_defer_cancel(&f->defer);
}

enum neap_err np_bus_attach(struct np_bus *bus, struct np_bus_remote *r)
{
    struct np_link *l;
    if (bus->remote) return NEAP_EBUSY;
    np_list_each (l, &bus->subs) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, all);
        enum neap_err err = s->handle ? r->ops->added(r, s) : NEAP_OK;
        if (err) return err;
    }
    bus->remote = r;
    np_hub_remote_changed(bus);
    return NEAP_OK;
}

void np_bus_detach(struct np_bus *bus, struct np_bus_remote *r)
{
    if (bus->remote != r) return;
    bus->remote = NULL;
    np_hub_remote_changed(bus);
}

static enum neap_err write_path(struct np_bus *bus, struct np_buf *path, struct np_bytes upstream,
                                size_t *upstream_at)
{
    const char *hub = np_hub_id(bus);
    enum neap_err err = np_buf_append(path, bus->id, NP_BUS_ID_LEN);
    if (!err && hub) err = np_buf_append(path, ",", 1);
    if (!err && hub) err = np_buf_append(path, hub, NP_BUS_ID_LEN);
    *upstream_at = np_buf_len(path);
    if (!err && upstream.n > 0) err = np_buf_append(path, ",", 1);
    if (!err) err = np_buf_append(path, upstream.p, upstream.n);
    return err;
}

enum neap_err np_bus_set_path(struct np_bus *bus, struct np_bytes upstream)
{
    struct np_buf path = {0};
    struct np_link *l, *next;
    size_t upstream_at;
    enum neap_err err = write_path(bus, &path, upstream, &upstream_at);
    if (err) {
        np_buf_fini(&path);
        return err;
    }
    bool same = np_buf_len(&path) == np_buf_len(&bus->path) &&
                memcmp(np_buf_data(&path), np_buf_data(&bus->path), np_buf_len(&path)) == 0;
    np_buf_fini(&bus->path);
    bus->path = path;
    bus->upstream_at = upstream_at;
    if (same) return NEAP_OK;
    bus->path_version++;
    np_list_each_safe (l, next, &bus->path_watches) {
        struct path_watch *w = np_container_of(l, struct path_watch, link);
        w->fn(w);
    }
    return NEAP_OK;
}

enum neap_err np_bus_renew_path(struct np_bus *bus)
{
    size_t len = np_buf_len(&bus->path);
    size_t from = bus->upstream_at < len ? bus->upstream_at + 1 : len;
    struct np_buf upstream = {0};
    enum neap_err err = np_buf_append(&upstream, np_buf_data(&bus->path) + from, len - from);
    if (!err)
        err =
            np_bus_set_path(bus, (struct np_bytes){np_buf_data(&upstream), np_buf_len(&upstream)});
    np_buf_fini(&upstream);
    return err;
}
