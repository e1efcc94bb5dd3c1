/* The hub and each bus' port to it; see hub.h.
 *
 * A port keeps, in its bus' trie, a proxy for each subscription of the other workers; so the trie
 * chooses among all members of a queue group by itself. What goes to a worker is gathered in a
 * batch, in order: interest, messages, flushes. A batch is posted at the end of the turn, or when
 * it is full. The hub's lock is held to post one, so that it never goes to a loop that has left.
 */
#include "bus/hub.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "bus/bus_impl.h"
#include "bus/hub_impl.h"
#include "proto/nats_header.h"

#define MAX_PENDING ((size_t)64 * 1024 * 1024)

enum neap_err np_bus_hub_new(unsigned workers, const struct np_bus_hub_options *opts,
                             struct np_bus_hub **out)
{
    struct np_bus_hub *h = np_calloc(1, sizeof *h + workers * sizeof h->members[0]);
    if (!h) return NEAP_ENOMEM;
    int rc = uv_mutex_init(&h->lock);
    if (rc < 0) {
        np_free(h);
        return np_err_from_uv(rc);
    }
    h->workers = workers;
    h->max_pending = opts && opts->max_pending ? opts->max_pending : MAX_PENDING;
    *out = h;
    return NEAP_OK;
}

void np_bus_hub_free(struct np_bus_hub *h)
{
    if (!h) return;
    uv_mutex_destroy(&h->lock);
    np_free(h);
}

/* --- batches out */

static void batch_free(struct hub_batch *b)
{
    for (size_t i = 0; i < b->len; i++) {
        np_bus_msg_unref(b->items[i].msg);
        np_free(b->items[i].text);
    }
    np_free(b->items);
    np_free(b);
}

static void on_batch(struct np_post *p, struct np_loop *loop);

/* Whoever left meanwhile gets nothing, and whoever was put in another's place sends nothing. */
static void post_batch(struct hub_port *port, unsigned to)
{
    struct np_bus_hub *h = port->hub;
    struct hub_batch *b = port->out[to];
    port->out[to] = NULL;
    uv_mutex_lock(&h->lock);
    struct hub_member *m = &h->members[to];
    bool ok = m->bus && h->members[port->worker].bus == port->bus;
    if (ok) {
        b->era = m->era;
        np_loop_post(m->loop, &b->post);
    }
    uv_mutex_unlock(&h->lock);
    if (ok) return;
    atomic_fetch_sub_explicit(&m->pending, b->bytes, memory_order_relaxed);
    batch_free(b);
}

void np_hub_flush_batches(struct hub_port *port)
{
    for (unsigned i = 0; i < port->hub->workers; i++) {
        if (port->out[i]) post_batch(port, i);
    }
}

static void on_turn_end(struct np_defer *d)
{
    np_hub_flush_batches(np_container_of(d, struct hub_port, turn_end));
}

static struct hub_batch *batch_for(struct hub_port *port, unsigned to)
{
    struct hub_batch *b = port->out[to];
    if (b && b->len < HUB_BATCH) return b;
    if (b) post_batch(port, to);
    b = np_calloc(1, sizeof *b);
    if (!b) return NULL;
    b->items = np_alloc(HUB_FIRST * sizeof *b->items);
    if (!b->items) {
        np_free(b);
        return NULL;
    }
    b->cap = HUB_FIRST;
    b->post.fn = on_batch;
    b->hub = port->hub;
    b->from = port->worker;
    b->to = to;
    port->out[to] = b;
    np_loop_defer(port->bus->loop, &port->turn_end);
    return b;
}

/* Room for one more item, zeroed; NULL when out of memory. */
static struct hub_item *add_item(struct hub_port *port, unsigned to, enum hub_kind kind)
{
    struct hub_batch *b = batch_for(port, to);
    if (!b) return NULL;
    if (b->len == b->cap) {
        struct hub_item *more = np_realloc(b->items, b->cap * 2 * sizeof *more);
        if (!more) return NULL;
        b->items = more;
        b->cap *= 2;
    }
    struct hub_item *item = &b->items[b->len++];
    *item = (struct hub_item){.kind = kind};
    return item;
}

/* --- interest out */

static void send_sub(struct hub_port *port, unsigned to, const struct np_bus_sub *s)
{
    size_t n = s->pattern_len + s->queue_len + 2;
    char *text = np_alloc(n);
    struct hub_item *item = text ? add_item(port, to, HUB_ADD) : NULL;
    if (!item) {
        np_free(text);
        np_logf(port->bus->loop->log, NP_LOG_ERROR,
                "bus: no memory to tell worker %u of a subscription", to);
        return;
    }
    memcpy(text, s->text, n);
    item->text = text;
    item->id = s->id;
    item->pattern_len = s->pattern_len;
    item->queue_len = s->queue_len;
}

static void to_others(struct hub_port *port, enum hub_kind kind, uint64_t id)
{
    for (unsigned i = 0; i < port->hub->workers; i++) {
        struct hub_item *item = i != port->worker ? add_item(port, i, kind) : NULL;
        if (item) item->id = id;
    }
}

void np_hub_added(struct np_bus *bus, struct np_bus_sub *s)
{
    struct hub_port *port = bus->port;
    s->id = ++port->next_id;
    np_hub_index_sub(port, s);
    if (bus->remote) return;
    for (unsigned i = 0; i < port->hub->workers; i++) {
        if (i != port->worker) send_sub(port, i, s);
    }
}

void np_hub_removed(struct np_bus *bus, struct np_bus_sub *s)
{
    struct hub_port *port = bus->port;
    np_hub_unindex_sub(port, s);
    if (!bus->remote) to_others(port, HUB_REMOVE, s->id);
}

static void send_all_subs(struct hub_port *port, unsigned to)
{
    struct np_link *l;
    np_list_each (l, &port->bus->subs) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, all);
        if (s->handle) send_sub(port, to, s);
    }
}

void np_hub_set_away(struct np_bus *bus, bool away)
{
    struct hub_port *port = bus->port;
    if (away) {
        to_others(port, HUB_FORGET, 0);
        return;
    }
    for (unsigned i = 0; i < port->hub->workers; i++) {
        if (i != port->worker) send_all_subs(port, i);
    }
}

/* --- messages out */

static bool over_bound(struct hub_port *port, unsigned to, size_t size)
{
    struct hub_member *m = &port->hub->members[to];
    size_t before = atomic_fetch_add_explicit(&m->pending, size, memory_order_relaxed);
    if (before + size <= port->hub->max_pending || before == 0) return false;
    atomic_fetch_sub_explicit(&m->pending, size, memory_order_relaxed);
    port->bus->stats.dropped++;
    int64_t now = np_loop_now(port->bus->loop);
    if (now - port->told_at >= NP_NS_PER_SEC || port->told_at == 0) {
        port->told_at = now;
        np_logf(port->bus->loop->log, NP_LOG_WARN,
                "bus: worker %u does not keep up; messages to it are dropped", to);
    }
    return true;
}

static bool send_msg(struct hub_port *port, unsigned to, enum hub_kind kind, struct np_bus_msg *msg,
                     uint64_t id, unsigned hops)
{
    size_t size = np_bus_msg_size(msg);
    if (over_bound(port, to, size)) return false;
    struct hub_item *item = add_item(port, to, kind);
    if (!item) {
        atomic_fetch_sub_explicit(&port->hub->members[to].pending, size, memory_order_relaxed);
        return false;
    }
    item->msg = np_bus_msg_ref(msg);
    item->id = id;
    item->hops = hops;
    port->out[to]->bytes += size;
    return true;
}

bool np_hub_offer(struct np_bus *bus, struct hub_proxy *proxy, struct publication *p)
{
    struct hub_port *port = bus->port;
    unsigned to = proxy->worker;
    if (proxy->in_queue) return send_msg(port, to, HUB_MEMBER, p->msg, proxy->id, 0);
    if (port->plain_for[to] == port->publication) return true; /* it has it: it matches by itself */
    if (!send_msg(port, to, HUB_PLAIN, p->msg, 0, 0)) return false;
    port->plain_for[to] = port->publication;
    return true;
}

/* The only one that wanted it, if that was another worker: it says so when nobody is there. */
void np_hub_matched(struct np_bus *bus, const struct publication *p)
{
    struct hub_port *port = bus->port;
    port->publication++;
    if (p->interested != 1 || !p->msg || p->msg->reply.n == 0) return;
    for (unsigned i = 0; i < port->hub->workers; i++) {
        struct hub_batch *b = port->out[i];
        if (!b || b->len == 0) continue;
        struct hub_item *item = &b->items[b->len - 1];
        if (item->msg == p->msg) item->only = true;
    }
}

/* --- in */

struct arrival {
    struct np_bus *bus;
    struct np_bus_msg *msg;
    const char *queue; /* NULL: plain subscriptions only */
    unsigned hops;
    size_t taken;
};

static bool take_plain(struct np_sub *handle, void *value, void *arg)
{
    struct arrival *a = arg;
    if (np_bus_proxy_of(value) || np_sub_queue(handle)) return false;
    a->taken++;
    return np_bus_sub_push(value, a->msg);
}

/* A member of the group, here or, a bounded number of times, elsewhere again. */
static bool take_member(struct np_sub *handle, void *value, void *arg)
{
    struct arrival *a = arg;
    const char *queue = np_sub_queue(handle);
    struct hub_proxy *proxy = np_bus_proxy_of(value);
    if (!queue || strcmp(queue, a->queue) != 0) return false;
    bool ok = proxy ? a->hops < HUB_MAX_HOPS && send_msg(a->bus->port, proxy->worker, HUB_MEMBER,
                                                         a->msg, proxy->id, a->hops + 1)
                    : np_bus_sub_push(value, a->msg);
    if (ok) a->taken++;
    return ok;
}

static void match(struct arrival *a, np_trie_visit_fn fn)
{
    struct np_bytes s = a->msg->subject;
    enum neap_err err = np_trie_match(a->bus->trie, s.p, s.n, fn, a, NULL);
    if (err) a->bus->stats.dropped++;
}

static void answer_nobody(struct np_bus *bus, const struct np_bus_msg *msg)
{
    static const char headers[] = "NATS/1.0 503\r\n\r\n";
    struct np_bus_out out = {
        .subject = msg->reply, .headers = {headers, sizeof headers - 1}, .payload = {"", 0}};
    if (np_bus_publish(bus, &out, NULL, NULL) != NEAP_OK) bus->stats.dropped++;
}

static void take_msg(struct hub_port *port, const struct hub_item *item)
{
    struct arrival a = {.bus = port->bus, .msg = item->msg, .hops = item->hops};
    if (item->kind == HUB_PLAIN) {
        match(&a, take_plain);
    } else {
        struct np_bus_sub *s = np_hub_find_sub(port, item->id);
        if (s && np_bus_sub_push(s, item->msg)) {
            a.taken++;
        } else {
            a.queue = np_hub_queue_of(port, item->id);
            if (a.queue) match(&a, take_member);
        }
    }
    if (a.taken == 0 && item->only && item->msg->reply.n > 0) answer_nobody(port->bus, item->msg);
}

static void take_flush(struct hub_port *port, unsigned from, uint64_t token)
{
    struct hub_item *item = add_item(port, from, HUB_FLUSHED);
    if (item) item->id = token;
}

static void end_flush(struct np_bus *bus, struct np_bus_flush *f)
{
    if (f->waiting > 0 && --f->waiting > 0) return;
    np_list_remove(&f->link);
    np_loop_defer(bus->loop, &f->defer);
}

static void take_flushed(struct hub_port *port, uint64_t token)
{
    struct np_link *l, *next;
    np_list_each_safe (l, next, &port->flushes) {
        struct np_bus_flush *f = np_container_of(l, struct np_bus_flush, link);
        if (f->ping == token) end_flush(port->bus, f);
    }
}

static void take_item(struct hub_port *port, struct hub_item *item, unsigned from)
{
    switch (item->kind) {
    case HUB_ADD:
        np_hub_proxy_add(port, from, item);
        break;
    case HUB_REMOVE:
        np_hub_proxy_remove(port, from, item->id);
        break;
    case HUB_FORGET:
        np_hub_proxies_forget(port, from);
        break;
    case HUB_HELLO:
        np_hub_proxies_forget(port, from);
        if (!port->bus->remote) send_all_subs(port, from);
        break;
    case HUB_PLAIN:
    case HUB_MEMBER:
        if (!port->bus->remote) take_msg(port, item);
        break;
    case HUB_FLUSH:
        take_flush(port, from, item->id);
        break;
    case HUB_FLUSHED:
        take_flushed(port, item->id);
        break;
    }
}

static void on_batch(struct np_post *p, struct np_loop *loop)
{
    struct hub_batch *b = np_container_of(p, struct hub_batch, post);
    struct np_bus_hub *h = b->hub;
    struct hub_member *m = &h->members[b->to];
    uv_mutex_lock(&h->lock);
    struct np_bus *bus = m->era == b->era && m->loop == loop ? m->bus : NULL;
    uv_mutex_unlock(&h->lock);
    if (bus) atomic_fetch_sub_explicit(&m->pending, b->bytes, memory_order_relaxed);
    for (size_t i = 0; bus && i < b->len; i++)
        take_item(bus->port, &b->items[i], b->from);
    batch_free(b);
    if (!bus) return;
    np_bus_hand_over(bus);
    np_hub_flush_batches(bus->port);
}

/* --- flushing */

bool np_hub_flush(struct np_bus *bus, struct np_bus_flush *f)
{
    struct hub_port *port = bus->port;
    f->ping = ++port->next_flush;
    f->waiting = 0;
    uv_mutex_lock(&port->hub->lock);
    for (unsigned i = 0; i < port->hub->workers; i++)
        port->here[i] = i != port->worker && port->hub->members[i].bus != NULL;
    uv_mutex_unlock(&port->hub->lock);
    for (unsigned i = 0; i < port->hub->workers; i++) {
        struct hub_item *item = port->here[i] ? add_item(port, i, HUB_FLUSH) : NULL;
        if (!item) continue;
        item->id = f->ping;
        f->waiting++;
    }
    if (f->waiting == 0) return false;
    np_list_push_back(&port->flushes, &f->link);
    return true;
}

/* --- joining */

static struct hub_port *port_new(struct np_bus_hub *h, unsigned worker, struct np_bus *bus)
{
    struct hub_port *port = np_calloc(1, sizeof *port);
    if (!port) return NULL;
    port->out = np_calloc(h->workers, sizeof *port->out);
    port->plain_for = np_calloc(h->workers, sizeof *port->plain_for);
    port->here = np_calloc(h->workers, sizeof *port->here);
    port->peers = np_calloc(h->workers, sizeof *port->peers);
    port->hub = h;
    port->worker = worker;
    port->bus = bus;
    port->publication = 1;
    np_defer_init(&port->turn_end, on_turn_end);
    np_link_init(&port->flushes);
    if (port->out && port->plain_for && port->here && port->peers) return port;
    np_hub_port_free(port);
    return NULL;
}

void np_hub_port_free(struct hub_port *port)
{
    struct np_link *l;
    if (!port) return;
    np_defer_cancel(&port->turn_end);
    for (unsigned i = 0; port->out && i < port->hub->workers; i++) {
        if (port->out[i]) batch_free(port->out[i]);
    }
    while ((l = np_list_pop_front(&port->flushes)))
        np_container_of(l, struct np_bus_flush, link)->waiting = 0;
    for (unsigned i = 0; port->peers && i < port->hub->workers; i++)
        np_hub_proxies_forget(port, i);
    np_hub_index_fini(port);
    np_free(port->out);
    np_free(port->plain_for);
    np_free(port->here);
    np_free(port->peers);
    np_free(port);
}

static void index_subs(struct hub_port *port)
{
    struct np_link *l;
    np_list_each (l, &port->bus->subs) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, all);
        s->id = ++port->next_id;
        if (s->handle) np_hub_index_sub(port, s);
    }
}

enum neap_err np_bus_hub_join(struct np_bus_hub *h, unsigned worker, struct np_bus *bus)
{
    if (worker >= h->workers) return NEAP_EINVAL;
    if (h->workers == 1) return NEAP_OK;
    struct hub_port *port = port_new(h, worker, bus);
    if (!port) return NEAP_ENOMEM;
    uv_mutex_lock(&h->lock);
    struct hub_member *m = &h->members[worker];
    bool taken = m->bus != NULL;
    if (!taken) {
        m->bus = bus;
        m->loop = bus->loop;
        m->era++;
    }
    uv_mutex_unlock(&h->lock);
    if (taken) {
        np_hub_port_free(port);
        return NEAP_EBUSY;
    }
    bus->port = port;
    index_subs(port);
    to_others(port, HUB_HELLO, 0);
    np_hub_set_away(bus, bus->remote != NULL);
    np_hub_flush_batches(port);
    return NEAP_OK;
}

/* For the others: a batch in the name of who has left. */
static void say_forget(struct np_bus_hub *h, unsigned worker)
{
    for (unsigned i = 0; i < h->workers; i++) {
        struct hub_member *m = &h->members[i];
        if (!m->bus || i == worker) continue;
        struct hub_batch *b = np_calloc(1, sizeof *b);
        if (b) b->items = np_calloc(1, sizeof *b->items);
        if (!b || !b->items) {
            np_free(b);
            continue;
        }
        b->items[0].kind = HUB_FORGET;
        b->len = b->cap = 1;
        b->post.fn = on_batch;
        b->hub = h;
        b->from = worker;
        b->to = i;
        b->era = m->era;
        np_loop_post(m->loop, &b->post);
    }
}

void np_bus_hub_leave(struct np_bus_hub *h, unsigned worker)
{
    if (!h || worker >= h->workers) return;
    uv_mutex_lock(&h->lock);
    struct hub_member *m = &h->members[worker];
    if (m->bus) {
        m->bus = NULL;
        m->loop = NULL;
        m->era++;
        atomic_store(&m->pending, 0);
        say_forget(h, worker);
    }
    uv_mutex_unlock(&h->lock);
}
