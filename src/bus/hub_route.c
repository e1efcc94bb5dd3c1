/* Where a publication goes. Three steps around the match of one's own subscriptions: gather what
 * the other workers want of it (plain interest, and for each queue group one worker, chosen by
 * members among those that have room); let each group's first local member decide between here and
 * there, by numbers again; forward it, once to each worker.
 *
 * What goes to a worker is gathered in a batch until the turn ends or it is large. */
#include <string.h>

#include "base/alloc.h"
#include "bus/hub_impl.h"

enum {
    MAX_BATCH = 512,
    MAX_BATCH_BYTES = 1024 * 1024,
    FIRST_BATCH = 4,
    FIRST_PICKS = 8,
    MAX_HOPS = 2, /* a group's message whose member is gone goes on so often */
};

/* --- batches */

static void batch_free(struct parcel *p)
{
    struct batch *b = np_container_of(p, struct batch, parcel);
    for (size_t i = 0; i < b->len; i++)
        np_bus_msg_unref(b->carried[i].msg);
    np_buf_fini(&b->names);
    np_free(b->carried);
    np_hub_member_unref(p->to);
    np_free(b);
}

void np_hub_batch_drop(struct peer *peer)
{
    if (peer->batch) batch_free(&peer->batch->parcel);
    peer->batch = NULL;
}

static void send_batch(struct np_bus_seat *seat, struct peer *peer)
{
    struct batch *b = peer->batch;
    if (!b) return;
    peer->batch = NULL;
    if (b->len == 0) { /* there was no memory for its first message */
        batch_free(&b->parcel);
        return;
    }
    atomic_fetch_add_explicit(&peer->to->pending, b->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&seat->me->hub->forwarded, b->len, memory_order_relaxed);
    np_hub_post(&b->parcel);
}

void np_hub_send(struct np_bus_seat *seat)
{
    for (unsigned i = 0; i < seat->me->hub->workers; i++)
        send_batch(seat, &seat->peers[i]);
}

void np_hub_send_later(struct np_defer *d)
{
    struct np_bus_seat *seat = np_container_of(d, struct np_bus_seat, send);
    if (!np_bus_seat(seat->bus)) return; /* it has left, and sent all */
    np_hub_send(seat);
    np_hub_try_again(seat);
}

static enum neap_err make_room(struct np_bus_seat *seat, struct peer *peer)
{
    struct batch *b = peer->batch;
    if (!b) {
        b = np_calloc(1, sizeof *b);
        if (!b) return NEAP_ENOMEM;
        np_hub_parcel_init(&b->parcel, peer->to, np_hub_on_batch, batch_free);
        np_buf_init(&b->names);
        peer->batch = b;
        np_loop_defer(seat->bus->loop, &seat->send);
    }
    if (b->len < b->cap) return NEAP_OK;
    size_t cap = b->cap ? b->cap * 2 : FIRST_BATCH;
    struct carried *more = np_realloc(b->carried, cap * sizeof *more);
    if (!more) return NEAP_ENOMEM;
    b->carried = more;
    b->cap = cap;
    return NEAP_OK;
}

/* What it counts against the bound; an empty message counts too. */
static size_t size_of(size_t bytes)
{
    return bytes + sizeof(struct np_bus_msg) + sizeof(struct carried);
}

/* A message larger than the whole bound goes when nothing is under way: it could never else. */
static bool has_room(const struct np_bus_seat *seat, const struct peer *peer)
{
    size_t queued = atomic_load_explicit(&peer->to->pending, memory_order_relaxed);
    if (peer->batch) queued += peer->batch->bytes;
    size_t max = seat->me->hub->max_pending;
    return queued == 0 || (seat->size <= max && queued <= max - seat->size);
}

static void lose(struct np_bus_seat *seat, struct peer *peer)
{
    struct np_loop *loop = seat->bus->loop;
    int64_t now = np_loop_now(loop);
    seat->bus->stats.dropped++;
    atomic_fetch_add_explicit(&seat->me->hub->dropped, 1, memory_order_relaxed);
    peer->lost++;
    if (peer->logged != 0 && now - peer->logged < NP_NS_PER_SEC) return;
    np_logf(loop->log, NP_LOG_WARN,
            "bus: worker %u does not keep up; messages to it are dropped (%llu)", peer->to->worker,
            (unsigned long long)peer->lost);
    peer->lost = 0;
    peer->logged = now;
}

/* --- groups */

static struct pick *find_pick(struct np_bus_seat *seat, const char *queue)
{
    for (size_t i = 0; i < seat->npicks; i++) {
        if (strcmp(seat->picks[i].queue, queue) == 0) return &seat->picks[i];
    }
    return NULL;
}

static struct pick *add_pick(struct np_bus_seat *seat, const char *queue)
{
    if (seat->npicks == seat->picks_cap) {
        size_t cap = seat->picks_cap ? seat->picks_cap * 2 : FIRST_PICKS;
        struct pick *more = np_realloc(seat->picks, cap * sizeof *more);
        if (!more) return NULL;
        seat->picks = more;
        seat->picks_cap = cap;
    }
    struct pick *k = &seat->picks[seat->npicks++];
    *k = (struct pick){.queue = queue};
    return k;
}

static size_t below(struct np_bus_seat *seat, size_t n)
{
    return np_rng_below(&seat->rng, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n);
}

/* One more worker's members: the chosen one stays with a chance by its share. */
static void consider(struct np_bus_seat *seat, struct pick *k, const struct want *w)
{
    if (!has_room(seat, w->peer)) {
        k->full = w->peer;
        return;
    }
    k->members += w->count;
    if (below(seat, k->members) < w->count) k->chosen = w->peer;
}

static void concern(struct np_bus_seat *seat, struct peer *peer)
{
    if (peer->mark == seat->mark) return;
    peer->mark = seat->mark;
    peer->plain = false;
    seat->concerned[seat->nconcerned++] = peer;
}

static bool on_want(struct np_sub *handle, void *value, void *arg)
{
    struct want *w = value;
    struct publication *p = arg;
    const char *queue = np_sub_queue(handle);
    if (!queue) {
        p->interested++;
        concern(p->seat, w->peer);
        w->peer->plain = true;
        return true;
    }
    struct pick *k = find_pick(p->seat, queue);
    if (!k) {
        k = add_pick(p->seat, queue);
        p->interested++;
    }
    if (k) {
        consider(p->seat, k, w);
    } else {
        p->no_memory = true;
    }
    return false; /* all of the group are to be considered */
}

enum neap_err np_hub_gather(struct publication *p)
{
    struct np_bus_seat *seat = p->seat;
    const struct np_bus_out *m = p->out;
    if (seat->stale || !np_list_empty(&seat->late)) np_hub_try_again(seat);
    seat->mark++;
    seat->npicks = 0;
    seat->nconcerned = 0;
    if (np_trie_count(seat->others) == 0) return NEAP_OK;
    seat->size = size_of(m->subject.n + m->reply.n + m->headers.n + m->payload.n);
    return np_trie_match(seat->others, m->subject.p, m->subject.n, on_want, p, NULL);
}

bool np_hub_keeps(struct publication *p, const struct np_sub *member)
{
    struct np_bus_seat *seat = p->seat;
    struct pick *k = seat->npicks > 0 ? find_pick(seat, np_sub_queue(member)) : NULL;
    if (!k || !k->chosen) return true;
    if (k->where == PICK_OPEN) {
        size_t here = np_trie_group_size(seat->bus->trie);
        k->where = below(seat, here + k->members) < here ? PICK_HERE : PICK_THERE;
    }
    return k->where == PICK_HERE;
}

void np_hub_kept(struct publication *p, const struct np_sub *member)
{
    struct np_bus_seat *seat = p->seat;
    struct pick *k = seat->npicks > 0 ? find_pick(seat, np_sub_queue(member)) : NULL;
    if (k) k->taken = true;
}

/* --- off */

static enum neap_err add_names(struct np_bus_seat *seat, struct peer *peer, struct carried *c)
{
    struct np_buf *names = &peer->batch->names;
    c->groups_at = np_buf_len(names);
    for (size_t i = 0; i < seat->npicks; i++) {
        const struct pick *k = &seat->picks[i];
        if (k->taken || k->chosen != peer) continue;
        enum neap_err err = np_buf_append(names, k->queue, strlen(k->queue) + 1);
        if (err) return err;
        c->groups++;
    }
    return NEAP_OK;
}

static enum neap_err carry(struct np_bus_seat *seat, struct peer *peer, const struct carried *c)
{
    struct batch *b = peer->batch;
    size_t size = size_of(np_bus_msg_size(c->msg));
    b->carried[b->len] = *c;
    np_bus_msg_ref(c->msg);
    b->len++;
    b->bytes += size;
    seat->bus->stats.forwarded++;
    if (b->len >= MAX_BATCH || b->bytes >= MAX_BATCH_BYTES) send_batch(seat, peer);
    return NEAP_OK;
}

static enum neap_err forward_to(struct publication *p, struct peer *peer)
{
    struct np_bus_seat *seat = p->seat;
    if (!has_room(seat, peer)) {
        lose(seat, peer);
        return NEAP_OK;
    }
    struct carried c = {.msg = p->msg,
                        .origin = p->origin,
                        .publisher = (uint16_t)seat->me->worker,
                        .plain = peer->plain};
    enum neap_err err = make_room(seat, peer);
    if (!err) err = add_names(seat, peer, &c);
    if (!err) err = carry(seat, peer, &c);
    return err;
}

/* The groups that go to other workers concern these. */
static void settle_picks(struct np_bus_seat *seat)
{
    for (size_t i = 0; i < seat->npicks; i++) {
        struct pick *k = &seat->picks[i];
        if (k->taken) continue;
        if (k->chosen) {
            concern(seat, k->chosen);
        } else if (k->where == PICK_OPEN && k->full) {
            lose(seat, k->full);
        }
    }
}

enum neap_err np_hub_forward(struct publication *p)
{
    struct np_bus_seat *seat = p->seat;
    enum neap_err err = NEAP_OK;
    if (seat->npicks > 0) settle_picks(seat);
    if (seat->nconcerned == 0) return NEAP_OK;
    bool here = p->msg != NULL;
    if (!np_bus_publication_msg(p)) return NEAP_ENOMEM;
    if (p->out->asks && p->out->reply.n > 0)
        atomic_store_explicit(&p->msg->hopes, seat->nconcerned + here, memory_order_relaxed);
    for (unsigned i = 0; i < seat->nconcerned && !err; i++)
        err = forward_to(p, seat->concerned[i]);
    return err;
}

/* --- on */

struct passing {
    struct np_bus_seat *seat;
    const char *queue;
    struct pick pick;
};

static bool on_other(struct np_sub *handle, void *value, void *arg)
{
    struct passing *p = arg;
    const char *queue = np_sub_queue(handle);
    if (!queue) return false;
    if (strcmp(queue, p->queue) != 0) return true; /* not this one: it need not be searched */
    consider(p->seat, &p->pick, value);
    return false;
}

bool np_hub_pass_on(struct np_bus_seat *seat, const struct carried *c, const char *queue)
{
    struct passing p = {.seat = seat, .queue = queue};
    struct carried on = {.msg = c->msg,
                         .origin = c->origin,
                         .publisher = c->publisher,
                         .hops = c->hops + 1,
                         .groups = 1};
    if (c->hops >= MAX_HOPS) return false;
    seat->size = size_of(np_bus_msg_size(c->msg));
    enum neap_err err =
        np_trie_match(seat->others, c->msg->subject.p, c->msg->subject.n, on_other, &p, NULL);
    struct peer *to = p.pick.chosen;
    if (err || !to || make_room(seat, to)) return false;
    on.groups_at = np_buf_len(&to->batch->names);
    if (np_buf_append(&to->batch->names, queue, strlen(queue) + 1)) return false;
    return carry(seat, to, &on) == NEAP_OK;
}
