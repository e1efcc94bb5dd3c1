/* round_robin: one after the other, beginning at a random one (or all who start at one moment would
 * fall upon the same). Who is in slow start lets some of its turns pass. */
#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

enum { PASSES = 8 }; /* turns that slow start may let pass in one pick */

struct round_robin {
    struct np_balancer b;
    size_t next;
};

/* Goes on at the one whose turn it was, or at the first behind it that is still there. */
static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct round_robin *rr = (struct round_robin *)b;
    size_t n = b->set->len;
    size_t nearest = SIZE_MAX;
    uint32_t *from = np_places_in(b->set, set);
    if (from == NULL) return NEAP_ENOMEM;
    size_t next = np_rng_below(&b->rng, (uint32_t)set->len);
    for (size_t i = 0; i < set->len; i++) {
        if (from[i] == UINT32_MAX) continue;
        size_t ahead = (from[i] + n - rr->next) % n;
        if (ahead >= nearest) continue;
        nearest = ahead;
        next = i;
    }
    rr->next = next;
    np_free(from);
    return NEAP_OK;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct round_robin *rr = (struct round_robin *)b;
    size_t n = b->set->len;
    int passes = 0;
    for (;;) {
        size_t at = rr->next;
        rr->next = at + 1 == n ? 0 : at + 1;
        if (np_excludes(ctx, b->slots[at].stats)) continue;
        __builtin_prefetch(b->slots[rr->next].stats); /* the next one's */
        if (np_slot_keeps(b, at, now) || ++passes > PASSES) return at;
    }
}

const struct np_balancer_ops np_lb_round_robin = {
    .name = "round_robin",
    .size = sizeof(struct round_robin),
    .update = update,
    .pick = pick,
};
