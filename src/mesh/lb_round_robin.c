/* round_robin: one after the other, beginning at a random one (or all who start at one moment would
 * fall upon the same). */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

struct round_robin {
    struct np_balancer b;
    size_t next;
};

static size_t index_of(const struct np_snapshot *set, const struct np_endpoint *e)
{
    for (size_t i = 0; i < set->len; i++) {
        if (np_endpoint_same(set->endpoints[i], e)) return i;
    }
    return NP_NONE;
}

/* Goes on at the one whose turn it was, or at the first behind it that is still there. */
static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct round_robin *rr = (struct round_robin *)b;
    const struct np_snapshot *old = b->set;
    for (size_t i = 0; i < old->len; i++) {
        size_t at = index_of(set, old->endpoints[(rr->next + i) % old->len]);
        if (at == NP_NONE) continue;
        rr->next = at;
        return NEAP_OK;
    }
    rr->next = np_rng_below(&b->rng, (uint32_t)set->len);
    return NEAP_OK;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct round_robin *rr = (struct round_robin *)b;
    size_t at = rr->next;
    (void)now;
    while (np_excluded(ctx, b->set->endpoints[at]))
        at = (at + 1) % b->set->len;
    rr->next = (at + 1) % b->set->len;
    return at;
}

const struct np_balancer_ops np_lb_round_robin = {
    .name = "round_robin",
    .size = sizeof(struct round_robin),
    .update = update,
    .pick = pick,
};
