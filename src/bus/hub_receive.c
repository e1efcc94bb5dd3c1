/* What comes from another worker: batches of messages, for the plain subscriptions here and for a
 * member of the groups they name; and pings, which go back when all before them was done. */
#include <string.h>

#include "base/alloc.h"
#include "bus/hub_impl.h"

/* --- messages */

struct arrival {
    struct np_bus_seat *seat;
    struct carried *c;
    const char *names;  /* of its groups */
    uint64_t served;    /* which of the first 64 groups had somebody here */
    const void *origin; /* a message that came back to its publisher */
    size_t interested;
};

/* Which of the groups it is for; -1: none of them. */
static int group_index(const struct arrival *a, const char *queue)
{
    const char *name = a->names;
    for (unsigned i = 0; i < a->c->groups; i++, name += strlen(name) + 1) {
        if (strcmp(name, queue) == 0) return (int)i;
    }
    return -1;
}

static bool take(struct np_sub *handle, void *value, void *arg)
{
    struct arrival *a = arg;
    struct np_bus_sub *s = value;
    int group = -1;
    if (s->queue_len > 0) {
        group = a->c->groups ? group_index(a, np_sub_queue(handle)) : -1;
        if (group < 0) return true; /* another worker's: nobody else of it need be asked */
    } else if (!a->c->plain) {
        return false;
    }
    if (s->deaf_to && s->deaf_to == a->origin) return false;
    a->interested++;
    if (group >= 0 && group < 64) a->served |= UINT64_C(1) << group;
    return np_bus_sub_push(s, a->c->msg);
}

/* The last who could have had somebody for it, and has not. */
static void no_hope(struct np_bus *bus, struct np_bus_msg *m)
{
    static const char block[] = "NATS/1.0 503\r\n\r\n";
    struct np_bus_out out = {.subject = m->reply, .headers = {block, sizeof block - 1}};
    if (atomic_fetch_sub_explicit(&m->hopes, 1, memory_order_acq_rel) != 1) return;
    if (np_bus_publish(bus, &out, NULL, NULL))
        np_logf(bus->loop->log, NP_LOG_WARN, "bus: a request cannot be told that nobody answers");
}

/* Groups that have nobody here any more. */
static void pass_on(struct arrival *a)
{
    const char *name = a->names;
    for (unsigned i = 0; i < a->c->groups; i++, name += strlen(name) + 1) {
        if (i >= 64 || (a->served & UINT64_C(1) << i)) continue;
        if (atomic_load_explicit(&a->c->msg->hopes, memory_order_relaxed) == 0) {
            np_hub_pass_on(a->seat, a->c, name);
            continue;
        }
        atomic_fetch_add_explicit(&a->c->msg->hopes, 1, memory_order_relaxed);
        if (!np_hub_pass_on(a->seat, a->c, name))
            atomic_fetch_sub_explicit(&a->c->msg->hopes, 1, memory_order_relaxed);
    }
}

static void arrive(struct np_bus_seat *seat, struct carried *c, const char *names)
{
    struct np_bus *bus = seat->bus;
    struct arrival a = {.seat = seat, .c = c, .names = names + c->groups_at};
    if (c->publisher == seat->me->worker) a.origin = c->origin;
    if (np_trie_match(bus->trie, c->msg->subject.p, c->msg->subject.n, take, &a, NULL)) {
        bus->stats.dropped++;
        return;
    }
    if (c->groups > 0) pass_on(&a);
    if (a.interested == 0 && atomic_load_explicit(&c->msg->hopes, memory_order_relaxed) > 0)
        no_hope(bus, c->msg);
}

void np_hub_on_batch(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct batch *b = np_container_of(p, struct batch, parcel);
    for (size_t i = 0; i < b->len; i++) {
        struct np_bus_seat *seat = np_hub_seat_of(p->to); /* it may leave between two */
        if (seat) arrive(seat, &b->carried[i], np_buf_data(&b->names));
    }
    atomic_fetch_sub_explicit(&p->to->pending, b->bytes, memory_order_relaxed);
    p->free(p);
}

/* --- flushing */

static void ping_free(struct parcel *p)
{
    struct ping *ping = np_container_of(p, struct ping, parcel);
    np_hub_member_unref(ping->from);
    np_hub_member_unref(ping->visited);
    np_hub_member_unref(p->to);
    np_free(ping);
}

void np_hub_check_flushes(struct np_bus_seat *seat)
{
    struct np_link *l, *next;
    uint64_t back = UINT64_MAX;
    for (unsigned i = 0; i < seat->me->hub->workers; i++) {
        if (seat->peers[i].to && seat->peers[i].ponged < back) back = seat->peers[i].ponged;
    }
    np_list_each_safe (l, next, &seat->flushes) {
        struct np_bus_flush *f = np_container_of(l, struct np_bus_flush, link);
        if (f->ping > back) continue;
        np_list_remove(&f->link);
        np_loop_defer(seat->bus->loop, &f->defer);
    }
}

static void on_pong(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct ping *ping = np_container_of(p, struct ping, parcel);
    struct np_bus_seat *seat = np_hub_seat_of(p->to);
    if (seat) {
        struct peer *peer = &seat->peers[ping->visited->worker];
        if (peer->to == ping->visited) peer->ponged = ping->serial;
        np_hub_check_flushes(seat);
    }
    p->free(p);
}

static void on_ping(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct ping *ping = np_container_of(p, struct ping, parcel);
    ping->visited = p->to;
    p->to = ping->from;
    ping->from = NULL;
    p->post.fn = on_pong;
    np_hub_post(p);
}

static enum neap_err add_ping(struct np_bus_seat *seat, struct peer *peer, struct parcels *list)
{
    struct ping *ping = np_alloc(sizeof *ping);
    if (!ping) return NEAP_ENOMEM;
    np_hub_parcel_init(&ping->parcel, peer->to, on_ping, ping_free);
    ping->from = np_hub_member_ref(seat->me);
    ping->visited = NULL;
    ping->serial = seat->pings + 1;
    np_hub_parcels_add(list, &ping->parcel);
    return NEAP_OK;
}

enum neap_err np_hub_flush(struct np_bus *bus, struct np_bus_flush *f, bool *waits)
{
    struct np_bus_seat *seat = np_bus_seat(bus);
    struct parcels list;
    if (!seat) return NEAP_OK;
    np_hub_parcels_init(&list);
    for (unsigned i = 0; i < seat->me->hub->workers; i++) {
        enum neap_err err = seat->peers[i].to ? add_ping(seat, &seat->peers[i], &list) : NEAP_OK;
        if (!err) continue;
        np_hub_parcels_free(&list);
        return err;
    }
    if (!list.first) return NEAP_OK;
    f->ping = ++seat->pings;
    np_list_push_back(&seat->flushes, &f->link);
    np_hub_send(seat);
    np_hub_parcels_post(&list);
    *waits = true;
    return NEAP_OK;
}
