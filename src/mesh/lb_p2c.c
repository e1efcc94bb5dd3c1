/* p2c: of two draws the one with fewer requests in flight for its weight. */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    double unused;
    return np_draw_cheapest(b, ctx, np_cost_active, now, &unused);
}

const struct np_balancer_ops np_lb_p2c = {
    .name = "p2c",
    .size = sizeof(struct np_balancer),
    .pick = pick,
};
