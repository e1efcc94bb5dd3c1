/* Who is in the hub: joining, leaving, and what the others hear of it.
 *
 * Who joins takes, under the hub's lock, the place, what all the others have told so far and their
 * word of whatever they tell from then on; so nothing falls between. Who leaves, or is taken out
 * by another thread, gets no more parcels from then on, and hears of it by a notice of its own. */
#include "bus/hub.h"

#include <string.h>

#include "base/alloc.h"
#include "bus/hub_impl.h"

#define MAX_PENDING ((size_t)64 * 1024 * 1024)

enum neap_err np_bus_hub_new(unsigned workers, const struct np_bus_hub_options *opts,
                             struct np_bus_hub **out)
{
    struct np_bus_hub *hub = np_calloc(1, sizeof *hub);
    enum neap_err err = NEAP_ENOMEM;
    if (!hub) return err;
    hub->members = np_calloc(workers, sizeof *hub->members);
    if (!hub->members) goto fail;
    int rc = uv_mutex_init(&hub->lock);
    if (rc < 0) {
        err = np_err_from_uv(rc);
        goto fail;
    }
    atomic_init(&hub->refs, 1);
    hub->workers = workers;
    hub->max_pending = opts && opts->max_pending ? opts->max_pending : MAX_PENDING;
    np_bus_random_id(hub->id);
    *out = hub;
    return NEAP_OK;
fail:
    np_free(hub->members);
    np_free(hub);
    return err;
}

void np_bus_hub_free(struct np_bus_hub *hub)
{
    if (!hub || atomic_fetch_sub_explicit(&hub->refs, 1, memory_order_acq_rel) > 1) return;
    uv_mutex_destroy(&hub->lock);
    np_free(hub->members);
    np_free(hub);
}

void np_bus_hub_get_stats(struct np_bus_hub *hub, struct np_bus_hub_stats *out)
{
    *out = (struct np_bus_hub_stats){.forwarded = atomic_load(&hub->forwarded),
                                     .dropped = atomic_load(&hub->dropped)};
    uv_mutex_lock(&hub->lock);
    for (unsigned i = 0; i < hub->workers; i++) {
        if (!hub->members[i]) continue;
        out->joined++;
        out->pending += atomic_load(&hub->members[i]->pending);
    }
    uv_mutex_unlock(&hub->lock);
}

/* --- seats and peers */

static void clear_peer(struct np_bus_seat *seat, struct peer *peer)
{
    np_hub_forget_wants(seat, peer);
    np_hub_batch_drop(peer);
    np_hub_member_unref(peer->to);
    peer->to = NULL;
}

static void set_peer(struct np_bus_seat *seat, struct peer *peer, struct member *who)
{
    if (peer->to) clear_peer(seat, peer);
    peer->to = np_hub_member_ref(who);
    peer->ponged = seat->pings; /* it was not asked */
    peer->lost = 0;
    peer->logged = 0;
}

static void seat_free(struct np_bus_seat *seat)
{
    np_defer_cancel(&seat->send);
    np_hub_drop_late(seat);
    for (unsigned i = 0; seat->peers && i < seat->me->hub->workers; i++)
        clear_peer(seat, &seat->peers[i]);
    np_trie_free(seat->others);
    np_hub_member_unref(seat->me);
    np_free(seat->peers);
    np_free(seat->concerned);
    np_free(seat->picks);
    np_free(seat);
}

static struct member *member_new(struct np_bus_hub *hub, unsigned worker, struct np_bus *bus)
{
    struct member *m = np_calloc(1, sizeof *m);
    if (!m) return NULL;
    m->leaving = np_calloc(hub->workers, sizeof *m->leaving);
    if (!m->leaving || uv_mutex_init(&m->lock) < 0) {
        np_free(m->leaving);
        np_free(m);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    atomic_fetch_add(&hub->refs, 1);
    m->hub = hub;
    m->worker = worker;
    m->loop = bus->loop;
    m->bus = bus;
    np_map_init(&m->interest);
    return m;
}

static struct np_bus_seat *seat_new(struct np_bus_hub *hub, unsigned worker, struct np_bus *bus)
{
    struct np_trie_options to = NP_TRIE_OPTIONS_INIT;
    to.max_subs = SIZE_MAX;
    to.seed = bus->opts.seed;
    struct np_bus_seat *seat = np_calloc(1, sizeof *seat);
    if (!seat) return NULL;
    np_link_init(&seat->late);
    np_link_init(&seat->flushes);
    np_defer_init(&seat->send, np_hub_send_later);
    np_rng_init(&seat->rng, bus->opts.seed ? bus->opts.seed + 1 : 0);
    seat->bus = bus;
    seat->me = member_new(hub, worker, bus);
    if (!seat->me) {
        np_free(seat);
        return NULL;
    }
    seat->concerned = np_calloc(hub->workers, sizeof(struct peer *));
    seat->peers = np_calloc(hub->workers, sizeof *seat->peers);
    for (unsigned i = 0; seat->peers && i < hub->workers; i++)
        np_map_init(&seat->peers[i].wants);
    if (seat->concerned && seat->peers && np_trie_new(&to, &seat->others) == NEAP_OK) return seat;
    seat_free(seat);
    return NULL;
}

/* The bus is on its own again. What it has published still goes. */
static void leave_seat(struct np_bus *bus)
{
    struct np_bus_seat *seat = bus->seat;
    struct np_link *l;
    bus->seat = NULL;
    seat->me->bus = NULL;
    np_hub_send(seat);
    while ((l = np_list_pop_front(&seat->flushes)))
        np_loop_defer(bus->loop, &np_container_of(l, struct np_bus_flush, link)->defer);
    seat_free(seat);
    if (np_bus_renew_path(bus))
        np_logf(bus->loop->log, NP_LOG_WARN,
                "bus: out of memory; clients are not told that the "
                "worker left the others");
}

struct np_bus_seat *np_bus_seat(struct np_bus *bus)
{
    if (!bus->seat) return NULL;
    if (!atomic_load_explicit(&bus->seat->me->left, memory_order_acquire)) return bus->seat;
    leave_seat(bus);
    return NULL;
}

struct np_bus_seat *np_hub_seat_of(struct member *m)
{
    return m->bus ? np_bus_seat(m->bus) : NULL;
}

const char *np_hub_id(struct np_bus *bus)
{
    struct np_bus_seat *seat = np_bus_seat(bus);
    return seat ? seat->me->hub->id : NULL;
}

/* --- notices */

/* One that is part of who it tells of: its two references go. */
static void free_leaving(struct parcel *p)
{
    struct notice *n = np_container_of(p, struct notice, parcel);
    struct member *who = n->who;
    np_hub_member_unref(p->to);
    np_hub_member_unref(who);
}

static void on_left(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct notice *n = np_container_of(p, struct notice, parcel);
    struct np_bus_seat *seat = np_hub_seat_of(p->to); /* it leaves here when it is itself meant */
    if (seat) {
        struct peer *peer = &seat->peers[n->who->worker];
        if (peer->to == n->who) clear_peer(seat, peer);
        np_hub_check_flushes(seat);
    }
    p->free(p);
}

static void free_joined(struct parcel *p)
{
    struct notice *n = np_container_of(p, struct notice, parcel);
    np_hub_member_unref(n->who);
    np_hub_member_unref(p->to);
    np_free(n);
}

static void on_joined(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct notice *n = np_container_of(p, struct notice, parcel);
    struct np_bus_seat *seat = np_hub_seat_of(p->to);
    if (seat) {
        set_peer(seat, &seat->peers[n->who->worker], n->who);
        np_hub_check_flushes(seat); /* one before it is gone */
    }
    p->free(p);
}

/* --- joining and leaving */

static enum neap_err prepare_joined(struct np_bus_seat *seat, struct parcels *list)
{
    struct np_bus_hub *hub = seat->me->hub;
    for (unsigned i = 0; i < hub->workers; i++) {
        struct member *m = hub->members[i];
        if (!m) continue;
        struct notice *n = np_alloc(sizeof *n);
        if (!n) return NEAP_ENOMEM;
        np_hub_parcel_init(&n->parcel, m, on_joined, free_joined);
        n->who = np_hub_member_ref(seat->me);
        np_hub_parcels_add(list, &n->parcel);
    }
    return NEAP_OK;
}

/* With the hub's lock held. On failure nobody has heard of it. */
static enum neap_err enter(struct np_bus_seat *seat)
{
    struct np_bus_hub *hub = seat->me->hub;
    struct parcels list;
    np_hub_parcels_init(&list);
    if (hub->members[seat->me->worker]) return NEAP_EBUSY;
    enum neap_err err = prepare_joined(seat, &list);
    for (unsigned i = 0; i < hub->workers && !err; i++) {
        if (!hub->members[i]) continue;
        set_peer(seat, &seat->peers[i], hub->members[i]);
        err = np_hub_learn(seat, &seat->peers[i], hub->members[i]);
    }
    seat->me->era = ++hub->eras;
    if (!err) err = np_hub_tell_all(seat, &list);
    if (err) {
        np_hub_parcels_free(&list);
        return err;
    }
    hub->members[seat->me->worker] = np_hub_member_ref(seat->me);
    np_hub_parcels_post(&list);
    return NEAP_OK;
}

enum neap_err np_bus_hub_join(struct np_bus_hub *hub, unsigned worker, struct np_bus *bus)
{
    if (worker >= hub->workers || hub->workers > UINT16_MAX) return NEAP_EINVAL;
    if (np_bus_seat(bus)) return NEAP_EBUSY;
    struct np_bus_seat *seat = seat_new(hub, worker, bus);
    if (!seat) return NEAP_ENOMEM;
    uv_mutex_lock(&hub->lock);
    enum neap_err err = enter(seat);
    uv_mutex_unlock(&hub->lock);
    if (err) {
        seat->me->bus = NULL;
        seat_free(seat);
        return err;
    }
    bus->seat = seat;
    err = np_bus_renew_path(bus);
    if (err) np_bus_hub_leave(hub, worker);
    return err;
}

static void say_leaving(struct member *m, struct member *to, struct notice *n)
{
    np_hub_parcel_init(&n->parcel, to, on_left, free_leaving);
    n->who = np_hub_member_ref(m);
    np_hub_post(&n->parcel);
}

/* With the hub's lock held. */
static void leave(struct np_bus_hub *hub, struct member *m)
{
    hub->members[m->worker] = NULL;
    atomic_store_explicit(&m->left, true, memory_order_release);
    for (unsigned i = 0; i < hub->workers; i++) {
        if (hub->members[i]) say_leaving(m, hub->members[i], &m->leaving[i]);
    }
    say_leaving(m, m, &m->leaving[m->worker]);
    uv_mutex_lock(&m->lock);
    m->loop = NULL;
    uv_mutex_unlock(&m->lock);
}

void np_bus_hub_leave(struct np_bus_hub *hub, unsigned worker)
{
    if (!hub || worker >= hub->workers) return;
    uv_mutex_lock(&hub->lock);
    struct member *m = hub->members[worker];
    if (m) leave(hub, m);
    uv_mutex_unlock(&hub->lock);
    np_hub_member_unref(m);
}

void np_hub_abandon(struct np_bus *bus)
{
    struct np_bus_seat *seat = bus->seat;
    if (!seat) return;
    struct np_bus_hub *hub = seat->me->hub;
    struct member *m = NULL;
    uv_mutex_lock(&hub->lock);
    if (hub->members[seat->me->worker] == seat->me) {
        m = seat->me;
        leave(hub, m);
    }
    uv_mutex_unlock(&hub->lock);
    np_hub_member_unref(m);
    leave_seat(bus);
}
