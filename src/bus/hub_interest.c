/* Interest: what this bus tells the others it wants, and what it knows that they want.
 *
 * What was told stands in a table of the member's, so that who joins later reads it there. A plain
 * pattern is told when the first subscription wants it and withdrawn with the last; of a queue
 * group each member is told, for they are chosen among by number. */
#include <string.h>

#include "base/alloc.h"
#include "bus/hub_impl.h"

/* --- what is told */

static size_t key_len(const struct np_bus_sub *s)
{
    return s->pattern_len + 1 + s->queue_len;
}

static struct told *told_new(const struct np_bus_sub *s)
{
    struct told *t = np_calloc(1, sizeof *t + key_len(s) + 1);
    if (!t) return NULL;
    t->pattern_len = s->pattern_len;
    t->queue_len = s->queue_len;
    memcpy(t->key, s->text, key_len(s));
    return t;
}

/* One more wants it. */
static enum neap_err tell_one(struct member *m, const struct np_bus_sub *s, struct told **out)
{
    struct told *t = np_map_get(&m->interest, s->text, key_len(s));
    if (!t) {
        t = told_new(s);
        if (!t) return NEAP_ENOMEM;
        enum neap_err err = np_map_set(&m->interest, t->key, key_len(s), t, NULL);
        if (err) {
            np_free(t);
            return err;
        }
    }
    t->count++;
    *out = t;
    return NEAP_OK;
}

/* One less; how many are left. */
static size_t untell_one(struct member *m, const struct np_bus_sub *s)
{
    struct told *t = np_map_get(&m->interest, s->text, key_len(s));
    if (!t) return 0;
    if (--t->count > 0) return t->count;
    np_map_remove(&m->interest, s->text, key_len(s));
    np_free(t);
    return 0;
}

void np_hub_forget_told(struct member *m)
{
    struct np_map_entry *e;
    for (size_t it = 0; (e = np_map_next(&m->interest, &it));)
        np_free(e->value);
    np_map_fini(&m->interest);
    np_map_init(&m->interest);
}

/* --- changes out */

static void on_change(struct np_post *post, struct np_loop *loop);

static void change_free(struct parcel *p)
{
    struct change *c = np_container_of(p, struct change, parcel);
    np_hub_member_unref(p->to);
    np_free(c);
}

static enum neap_err add_change(struct parcels *list, struct member *from, struct member *to,
                                enum change_kind kind, const struct told *t, size_t count)
{
    size_t n = t ? t->pattern_len + 1 + t->queue_len + 1 : 0;
    struct change *c = np_calloc(1, sizeof *c + n);
    if (!c) return NEAP_ENOMEM;
    np_hub_parcel_init(&c->parcel, to, on_change, change_free);
    np_link_init(&c->late);
    c->kind = kind;
    c->from = from->worker;
    c->era = from->era;
    c->count = count;
    if (t) {
        c->pattern_len = t->pattern_len;
        c->queue_len = t->queue_len;
        memcpy(c->key, t->key, n);
    }
    np_hub_parcels_add(list, &c->parcel);
    return NEAP_OK;
}

/* With the hub's lock held. */
static enum neap_err add_changes(struct parcels *list, struct member *from, enum change_kind kind,
                                 const struct told *t, size_t count)
{
    struct np_bus_hub *hub = from->hub;
    for (unsigned i = 0; i < hub->workers; i++) {
        struct member *to = hub->members[i];
        if (!to || to == from) continue;
        enum neap_err err = add_change(list, from, to, kind, t, count);
        if (err) return err;
    }
    return NEAP_OK;
}

enum neap_err np_hub_tell_all(struct np_bus_seat *seat, struct parcels *list)
{
    struct np_bus *bus = seat->bus;
    struct told *t;
    struct np_link *l;
    struct np_map_entry *e;
    np_hub_forget_told(seat->me);
    np_list_each (l, &bus->subs) {
        struct np_bus_sub *s = np_container_of(l, struct np_bus_sub, all);
        s->told = false;
        if (!s->handle || bus->remote) continue;
        enum neap_err err = tell_one(seat->me, s, &t);
        if (err) return err;
        s->told = true;
    }
    enum neap_err err = add_changes(list, seat->me, CHANGE_NONE, NULL, 0);
    for (size_t it = 0; !err && (e = np_map_next(&seat->me->interest, &it));) {
        t = e->value;
        err = add_changes(list, seat->me, CHANGE_MORE, t, t->count);
    }
    return err;
}

/* From the beginning; what fails is tried again when there is something to do anyway. */
static void tell_anew(struct np_bus_seat *seat)
{
    struct parcels list;
    np_hub_parcels_init(&list);
    np_hub_send(seat); /* what was published before */
    uv_mutex_lock(&seat->me->hub->lock);
    seat->stale = np_hub_tell_all(seat, &list) != NEAP_OK;
    if (!seat->stale) np_hub_parcels_post(&list);
    uv_mutex_unlock(&seat->me->hub->lock);
    np_hub_parcels_free(&list);
}

enum neap_err np_hub_added(struct np_bus *bus, struct np_bus_sub *s)
{
    struct np_bus_seat *seat = np_bus_seat(bus);
    struct parcels list;
    struct told *t;
    if (!seat || bus->remote) return NEAP_OK;
    if (seat->stale) {
        tell_anew(seat);
        return seat->stale ? NEAP_ENOMEM : NEAP_OK;
    }
    np_hub_parcels_init(&list);
    np_hub_send(seat);
    uv_mutex_lock(&seat->me->hub->lock);
    enum neap_err err = tell_one(seat->me, s, &t);
    bool told = err == NEAP_OK;
    if (told && (s->queue_len > 0 || t->count == 1))
        err = add_changes(&list, seat->me, CHANGE_MORE, t, 1);
    if (!err) np_hub_parcels_post(&list);
    if (err && told) untell_one(seat->me, s);
    uv_mutex_unlock(&seat->me->hub->lock);
    np_hub_parcels_free(&list);
    s->told = err == NEAP_OK;
    return err;
}

void np_hub_removed(struct np_bus *bus, struct np_bus_sub *s)
{
    struct np_bus_seat *seat = bus->seat; /* not left here: a publication may be under way */
    struct parcels list;
    if (!s->told) return;
    s->told = false;
    if (!seat || atomic_load_explicit(&seat->me->left, memory_order_acquire)) return;
    np_hub_parcels_init(&list);
    np_hub_send(seat);
    uv_mutex_lock(&seat->me->hub->lock);
    struct told *t = np_map_get(&seat->me->interest, s->text, key_len(s));
    enum neap_err err = NEAP_OK;
    if (t && (s->queue_len > 0 || t->count == 1))
        err = add_changes(&list, seat->me, CHANGE_LESS, t, 1);
    untell_one(seat->me, s);
    if (!err) np_hub_parcels_post(&list);
    uv_mutex_unlock(&seat->me->hub->lock);
    np_hub_parcels_free(&list);
    if (err) seat->stale = true;
}

void np_hub_remote_changed(struct np_bus *bus)
{
    struct np_bus_seat *seat = np_bus_seat(bus);
    if (seat) tell_anew(seat);
}

/* --- what the others want */

static enum neap_err want_more(struct np_bus_seat *seat, struct peer *peer, const char *key,
                               size_t pattern_len, size_t queue_len, size_t count)
{
    size_t n = pattern_len + 1 + queue_len;
    struct want *w = np_map_get(&peer->wants, key, n);
    if (w) {
        w->count += count;
        return NEAP_OK;
    }
    w = np_calloc(1, sizeof *w);
    if (!w) return NEAP_ENOMEM;
    w->peer = peer;
    w->count = count;
    enum neap_err err =
        np_trie_insert(seat->others, key, pattern_len, queue_len ? key + pattern_len + 1 : NULL,
                       queue_len, w, &w->handle);
    if (!err) err = np_map_set(&peer->wants, key, n, w, NULL);
    if (!err) return NEAP_OK;
    np_trie_remove(seat->others, w->handle);
    np_free(w);
    return err;
}

static void want_less(struct np_bus_seat *seat, struct peer *peer, const struct change *c)
{
    size_t n = c->pattern_len + 1 + c->queue_len;
    struct want *w = np_map_get(&peer->wants, c->key, n);
    if (!w) return;
    if (w->count > c->count) {
        w->count -= c->count;
        return;
    }
    np_map_remove(&peer->wants, c->key, n);
    np_trie_remove(seat->others, w->handle);
    np_free(w);
}

void np_hub_forget_wants(struct np_bus_seat *seat, struct peer *peer)
{
    struct np_map_entry *e;
    for (size_t it = 0; (e = np_map_next(&peer->wants, &it));) {
        struct want *w = e->value;
        np_trie_remove(seat->others, w->handle);
        np_free(w);
    }
    np_map_fini(&peer->wants);
    np_map_init(&peer->wants);
}

enum neap_err np_hub_learn(struct np_bus_seat *seat, struct peer *peer, struct member *who)
{
    struct np_map_entry *e;
    for (size_t it = 0; (e = np_map_next(&who->interest, &it));) {
        const struct told *t = e->value;
        enum neap_err err = want_more(seat, peer, t->key, t->pattern_len, t->queue_len, t->count);
        if (err) return err;
    }
    return NEAP_OK;
}

static enum neap_err act(struct np_bus_seat *seat, const struct change *c)
{
    struct peer *peer = &seat->peers[c->from];
    if (!peer->to || peer->to->era != c->era) return NEAP_OK; /* it has gone since */
    switch (c->kind) {
    case CHANGE_MORE:
        return want_more(seat, peer, c->key, c->pattern_len, c->queue_len, c->count);
    case CHANGE_LESS:
        want_less(seat, peer, c);
        break;
    case CHANGE_NONE:
        np_hub_forget_wants(seat, peer);
        break;
    }
    return NEAP_OK;
}

static void act_on_late(struct np_bus_seat *seat)
{
    while (!np_list_empty(&seat->late)) {
        struct change *c = np_container_of(seat->late.next, struct change, late);
        if (act(seat, c)) return;
        np_list_remove(&c->late);
        change_free(&c->parcel);
    }
}

void np_hub_try_again(struct np_bus_seat *seat)
{
    act_on_late(seat);
    if (seat->stale) tell_anew(seat);
}

void np_hub_drop_late(struct np_bus_seat *seat)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&seat->late)))
        change_free(&np_container_of(l, struct change, late)->parcel);
}

static void on_change(struct np_post *post, struct np_loop *loop)
{
    struct parcel *p = np_container_of(post, struct parcel, post);
    struct change *c = np_container_of(p, struct change, parcel);
    struct np_bus_seat *seat = np_hub_seat_of(p->to);
    if (!seat) {
        change_free(p);
        return;
    }
    np_list_push_back(&seat->late, &c->late);
    act_on_late(seat);
}
