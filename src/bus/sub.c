/* Subscriptions: the queue of one, what bounds it, and when its owner is called. */
#include "bus/sub.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "bus/bus_impl.h"

enum {
    BATCH = 256, /* messages handed over before the others have their turn */
    FIRST_RING = 8,
    KEEP_RING = 1024, /* a larger ring is given back when it is empty */
};

static enum neap_err insert(struct np_bus_sub *s, struct np_bus *bus)
{
    const char *queue = s->queue_len ? s->text + s->pattern_len + 1 : NULL;
    return np_trie_insert(bus->trie, s->text, s->pattern_len, queue, s->queue_len, s, &s->handle);
}

/* Takes messages from here on. It stands in the bus' list. */
static enum neap_err enter(struct np_bus_sub *s)
{
    struct np_bus *bus = s->bus;
    enum neap_err err = insert(s, bus);
    if (!err && bus->remote) err = bus->remote->ops->added(bus->remote, s);
    if (!err) err = np_hub_added(bus, s);
    if (!err) {
        bus->nsubs++;
        return NEAP_OK;
    }
    np_trie_remove(bus->trie, s->handle);
    s->handle = NULL;
    return err;
}

/* Whether it could. */
static enum neap_err try_out(struct np_bus_sub *s, struct np_bus *bus)
{
    enum neap_err err = insert(s, bus);
    if (!err) np_trie_remove(bus->trie, s->handle);
    s->handle = NULL;
    return err;
}

enum neap_err np_bus_subscribe(struct np_bus *bus, struct np_bytes pattern,
                               const struct np_bus_sub_options *opts,
                               const struct np_bus_sub_handler *h, void *arg,
                               struct np_bus_sub **out)
{
    static const struct np_bus_sub_options defaults = NP_BUS_SUB_OPTIONS_INIT;
    if (!opts) opts = &defaults;
    struct np_bytes queue = opts->queue;
    assert(!h->on_message != !h->on_ready);
    if (pattern.n > NP_SUBJECT_MAX_LEN || queue.n > NP_SUBJECT_MAX_LEN) return NEAP_EINVAL;
    if (bus->nsubs >= bus->opts.max_subs) return NEAP_ELIMIT;
    struct np_bus_sub *s = np_calloc(1, sizeof *s + pattern.n + queue.n + 2);
    if (!s) return NEAP_ENOMEM;
    np_link_init(&s->all);
    np_link_init(&s->ready);
    np_link_init(&s->interest_link);
    s->bus = bus;
    s->handler = h;
    s->arg = arg;
    s->refs = 1;
    s->deaf_to = opts->deaf_to;
    s->max = opts->max;
    s->max_bytes = opts->pending_bytes ? opts->pending_bytes : SIZE_MAX;
    s->max_messages = opts->pending_messages ? opts->pending_messages : SIZE_MAX;
    s->pattern_len = pattern.n;
    s->queue_len = queue.n;
    if (pattern.n > 0) memcpy(s->text, pattern.p, pattern.n);
    if (queue.n > 0) memcpy(s->text + pattern.n + 1, queue.p, queue.n);
    np_list_push_back(&bus->subs, &s->all);
    enum neap_err err = opts->held ? try_out(s, bus) : enter(s);
    if (err) {
        np_list_remove(&s->all);
        np_free(s);
        return err;
    }
    s->held = opts->held;
    *out = s;
    return NEAP_OK;
}

enum neap_err np_bus_sub_release(struct np_bus_sub *s)
{
    if (!s->held || !s->bus) return NEAP_OK;
    enum neap_err err = enter(s);
    if (err) return err;
    s->held = false;
    return NEAP_OK;
}

void np_bus_sub_unref(struct np_bus_sub *s)
{
    if (--s->refs > 0) return;
    np_free(s->ring);
    np_free(s);
}

/* Takes no more messages. */
static void leave(struct np_bus_sub *s)
{
    if (!s->handle) return;
    np_trie_remove(s->bus->trie, s->handle);
    s->handle = NULL;
    s->bus->nsubs--;
    if (s->bus->remote) s->bus->remote->ops->removed(s->bus->remote, s);
    np_hub_removed(s->bus, s);
}

void np_bus_unsubscribe(struct np_bus_sub *s)
{
    struct np_bus_msg *m;
    if (!s || s->gone) return;
    s->gone = true;
    leave(s);
    np_list_remove(&s->all);
    while ((m = np_bus_sub_pop(s)))
        np_bus_msg_unref(m);
    np_list_remove(&s->ready);
    np_bus_sub_unref(s);
}

void np_bus_sub_wake(struct np_bus_sub *s)
{
    if (s->gone || s->paused || !s->bus || np_link_linked(&s->ready)) return;
    np_list_push_back(&s->bus->ready, &s->ready);
    if (!s->bus->delivering) np_loop_defer(s->bus->loop, &s->bus->deliver);
}

static void end(struct np_bus_sub *s)
{
    leave(s);
    if (s->end_owed) return;
    s->end_owed = true;
    np_bus_sub_wake(s);
}

void np_bus_sub_limit(struct np_bus_sub *s, uint64_t max)
{
    if (s->held) s->max = max;
    if (!s->handle) return;
    s->max = max;
    if (s->received >= max) {
        end(s);
    } else if (s->bus->remote) {
        s->bus->remote->ops->limited(s->bus->remote, s);
    }
}

void np_bus_sub_drain(struct np_bus_sub *s)
{
    if (!s->bus || (!s->handle && !s->held)) return;
    s->held = false;
    end(s);
}

static bool grow_ring(struct np_bus_sub *s)
{
    size_t cap = s->ring_cap ? s->ring_cap * 2 : FIRST_RING;
    if (cap > SIZE_MAX / sizeof *s->ring / 2) return false;
    struct np_bus_msg **ring = np_alloc(cap * sizeof *ring);
    if (!ring) return false;
    for (size_t i = 0; i < s->len; i++)
        ring[i] = s->ring[(s->head + i) & (s->ring_cap - 1)];
    np_free(s->ring);
    s->ring = ring;
    s->ring_cap = cap;
    s->head = 0;
    return true;
}

static bool refuse(struct np_bus_sub *s)
{
    s->dropped++;
    s->bus->stats.dropped++;
    if (!s->slow) {
        s->slow = s->slow_owed = true;
        np_bus_sub_wake(s);
    }
    return false;
}

/* A message larger than the whole bound is taken by an empty queue: it could never come else. */
static bool is_full(const struct np_bus_sub *s, size_t size)
{
    if (s->len >= s->max_messages) return true;
    return s->len > 0 && (size > s->max_bytes || s->pending_bytes > s->max_bytes - size);
}

bool np_bus_sub_push(struct np_bus_sub *s, struct np_bus_msg *m)
{
    size_t size = np_bus_msg_size(m);
    if (!s->handle) return false;
    if (is_full(s, size) || (s->len == s->ring_cap && !grow_ring(s))) return refuse(s);
    s->ring[(s->head + s->len++) & (s->ring_cap - 1)] = np_bus_msg_ref(m);
    s->pending_bytes += size;
    s->received++;
    s->bus->stats.delivered++;
    np_bus_sub_wake(s);
    if (s->max > 0 && s->received >= s->max) end(s);
    return true;
}

struct np_bus_msg *np_bus_sub_pop(struct np_bus_sub *s)
{
    if (s->len == 0) return NULL;
    struct np_bus_msg *m = s->ring[s->head];
    s->head = (s->head + 1) & (s->ring_cap - 1);
    s->len--;
    s->pending_bytes -= np_bus_msg_size(m);
    if (s->slow && s->len <= s->max_messages / 2 && s->pending_bytes <= s->max_bytes / 2)
        s->slow = false;
    if (s->len == 0) {
        if (s->ring_cap > KEEP_RING) {
            np_free(s->ring);
            s->ring = NULL;
            s->ring_cap = s->head = 0;
        }
        if (s->end_owed) np_bus_sub_wake(s);
    }
    return m;
}

static void hand_over(struct np_bus_sub *s)
{
    struct np_bus_msg *m;
    for (int i = 0; i < BATCH && !s->paused && (m = np_bus_sub_pop(s)); i++) {
        s->handler->on_message(s, m);
        np_bus_msg_unref(m);
    }
    if (s->len > 0) np_bus_sub_wake(s);
}

void np_bus_sub_run(struct np_bus_sub *s)
{
    if (s->paused) return;
    if (s->slow_owed) {
        s->slow_owed = false;
        if (s->handler->on_slow) s->handler->on_slow(s);
    }
    if (s->len > 0 && !s->gone) {
        if (s->handler->on_ready) {
            s->handler->on_ready(s);
        } else {
            hand_over(s);
        }
    }
    if (s->end_owed && s->len == 0 && !s->gone && !s->paused) {
        s->end_owed = false;
        np_list_remove(&s->ready);
        if (s->handler->on_end) s->handler->on_end(s);
    }
}

void np_bus_sub_pause(struct np_bus_sub *s, bool paused)
{
    s->paused = paused;
    if (paused) {
        np_list_remove(&s->ready);
    } else if (s->len > 0 || s->end_owed || s->slow_owed) {
        np_bus_sub_wake(s);
    }
}

void *np_bus_sub_arg(const struct np_bus_sub *s)
{
    return s->arg;
}

struct np_bytes np_bus_sub_pattern(const struct np_bus_sub *s)
{
    return (struct np_bytes){s->text, s->pattern_len};
}

struct np_bytes np_bus_sub_queue(const struct np_bus_sub *s)
{
    return (struct np_bytes){s->text + s->pattern_len + 1, s->queue_len};
}

bool np_bus_sub_ended(const struct np_bus_sub *s)
{
    return s->handle == NULL && !s->held;
}

void np_bus_sub_get_stats(const struct np_bus_sub *s, struct np_bus_sub_stats *out)
{
    *out = (struct np_bus_sub_stats){
        .received = s->received,
        .dropped = s->dropped,
        .pending_messages = s->len,
        .pending_bytes = s->pending_bytes,
        .slow = s->slow,
    };
}
