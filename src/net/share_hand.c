/* Connections that go to another worker than the one that accepted them; see share.h.
 *
 * A hand-out is a post that carries the descriptor. It is listed with its group until its target
 * has taken it, so that a worker that is replaced before it comes to it loses nothing: those are
 * sent to others, and the post arrives empty.
 */
#include <unistd.h>

#include "base/alloc.h"
#include "net/share_impl.h"

#define SLACK_MIN 4    /* more connections than another worker has, before one is passed on … */
#define SLACK_PART 8   /* … and that part of the other's */
#define MAX_UNTAKEN 16 /* handed out and not taken: that worker does not come to it */
#define MAX_HOPS 8     /* a connection goes from one that is paused to another */

struct hand_out {
    struct np_post post;
    struct np_link link; /* in its group's `on_way` */
    struct np_share_group *group;
    struct np_share_count *count; /* where it is counted as untaken */
    unsigned to;
    unsigned hops;
    int fd; /* -1: it went to another */
};

atomic_uint *np_share_open_count(struct np_share_claim *c)
{
    return &c->count->open;
}

static unsigned connections(const struct np_share_count *k)
{
    return atomic_load_explicit(&k->open, memory_order_relaxed) +
           atomic_load_explicit(&k->untaken, memory_order_relaxed);
}

static unsigned load_of(const struct np_share_slot *slot)
{
    return connections(slot->count);
}

static bool takes(const struct np_share_slot *slot)
{
    return slot->active && !atomic_load_explicit(&slot->active->paused, memory_order_relaxed) &&
           atomic_load_explicit(&slot->count->untaken, memory_order_relaxed) <= MAX_UNTAKEN;
}

/* Under the lock. The one with the fewest connections that takes any, but `not_this`; -1: nobody.
 */
static int least_loaded(const struct np_share_group *g, int not_this)
{
    int best = -1;
    for (unsigned i = 0; i < g->share->workers; i++) {
        const struct np_share_slot *slot = &g->slots[i];
        if ((int)i == not_this || !takes(slot)) continue;
        if (best < 0 || load_of(slot) < load_of(&g->slots[best])) best = (int)i;
    }
    return best;
}

/* Under the lock. Where `self` sends what it has accepted: to the other one that has clearly fewer;
 * when it must be fair, to one that has fewer at all. -1: it stays. */
static int better_than(const struct np_share_group *g, unsigned self)
{
    int best = least_loaded(g, (int)self);
    if (best < 0) return -1;
    unsigned least = load_of(&g->slots[best]);
    unsigned slack = g->share->mode == NP_SHARE_HAND_OUT ? 0 : SLACK_MIN + least / SLACK_PART;
    return load_of(&g->slots[self]) > least + slack ? best : -1;
}

static void send_to(struct np_share_group *g, struct hand_out *h, unsigned to)
{
    h->to = to;
    h->count = g->slots[to].count;
    atomic_fetch_add_explicit(&h->count->untaken, 1, memory_order_relaxed);
    np_list_push_back(&g->on_way, &h->link);
    np_loop_post(g->slots[to].loop, &h->post);
}

static void on_hand_out(struct np_post *p, struct np_loop *loop);

static struct hand_out *hand_out_new(struct np_share_group *g, int fd)
{
    struct hand_out *h = np_alloc(sizeof *h);
    if (h) *h = (struct hand_out){.post.fn = on_hand_out, .group = g, .fd = fd};
    return h;
}

/* Under the lock. Who is to take `h` now that it has come; NULL: it was sent on, or is nobody's. */
static struct np_share_claim *arrive(struct hand_out *h, struct np_loop *loop, bool *sent)
{
    struct np_share_group *g = h->group;
    struct np_share_slot *slot = &g->slots[h->to];
    np_list_remove(&h->link);
    atomic_fetch_sub_explicit(&h->count->untaken, 1, memory_order_relaxed);
    if (h->fd < 0) return NULL;
    /* Another thread may have taken the worker's place meanwhile. */
    struct np_share_claim *c = slot->loop == loop ? slot->active : NULL;
    if (c && !atomic_load_explicit(&c->paused, memory_order_relaxed)) return c;
    int next = h->hops++ < MAX_HOPS ? least_loaded(g, c ? (int)h->to : -1) : -1;
    if (next < 0) return c;
    send_to(g, h, (unsigned)next);
    *sent = true;
    return NULL;
}

static void on_hand_out(struct np_post *p, struct np_loop *loop)
{
    struct hand_out *h = np_container_of(p, struct hand_out, post);
    struct np_share *s = h->group->share;
    bool sent = false;
    uv_mutex_lock(&s->lock);
    struct np_share_claim *c = arrive(h, loop, &sent);
    uv_mutex_unlock(&s->lock);
    if (sent) return;
    if (c) {
        c->take(c, h->fd);
    } else if (h->fd >= 0) {
        close(h->fd); /* nobody listens there any more */
    }
    np_free(h);
}

/* Whether the lock is worth taking: most connections stay where they were accepted. */
static bool is_light(const struct np_share_claim *c)
{
    const struct np_share_group *g = c->group;
    if (g->share->workers == 1) return true;
    return g->share->mode != NP_SHARE_HAND_OUT && connections(c->count) <= SLACK_MIN;
}

bool np_share_hand_out(struct np_share_claim *c, int fd)
{
    struct np_share_group *g = c->group;
    if (is_light(c)) return false;
    uv_mutex_lock(&g->share->lock);
    int to = better_than(g, c->worker);
    struct hand_out *h = to >= 0 ? hand_out_new(g, fd) : NULL;
    if (h) send_to(g, h, (unsigned)to);
    uv_mutex_unlock(&g->share->lock);
    return h != NULL;
}

void np_share_redirect(struct np_share_group *g, unsigned worker)
{
    struct np_link *l, *tmp, mine;
    np_link_init(&mine);
    np_list_splice(&mine, &g->on_way);
    np_list_each_safe (l, tmp, &mine) {
        struct hand_out *h = np_container_of(l, struct hand_out, link);
        int next = h->to == worker && h->fd >= 0 ? least_loaded(g, -1) : -1;
        struct hand_out *anew = next >= 0 ? hand_out_new(g, h->fd) : NULL;
        np_list_remove(l);
        np_list_push_back(&g->on_way, l);
        if (!anew) continue; /* it takes its chance when it arrives */
        h->fd = -1;
        send_to(g, anew, (unsigned)next);
    }
}
