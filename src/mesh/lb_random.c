/* random: each with the same chance, whatever its weight. */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    (void)now;
    return np_draw(b, ctx, NP_NONE);
}

const struct np_balancer_ops np_lb_random = {
    .name = "random",
    .size = sizeof(struct np_balancer),
    .pick = pick,
};
