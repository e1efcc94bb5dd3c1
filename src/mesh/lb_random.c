/* random: each with the same chance, whatever its weight. */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

enum { TRIES = 8 }; /* to find one that slow start does not hold back */

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    size_t at = 0;
    for (int i = 0; i < TRIES; i++) {
        at = np_draw(b, ctx, NP_NONE);
        if (np_slot_keeps(b, at, now)) break;
    }
    return at;
}

const struct np_balancer_ops np_lb_random = {
    .name = "random",
    .size = sizeof(struct np_balancer),
    .pick = pick,
};
