/* peak_ewma: of two draws the one with the smaller latency · (active + 1) / weight, where the
 * latency is the endpoint's peak average (see endpoint.h), as Finagle and linkerd do it. */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"
#include "mesh/endpoint_cost.h"

static inline double cost(const struct np_balancer *b, size_t i, int64_t now)
{
    return np_stats_cost(b->slots[i].stats, now) * np_cost_active(b, i, now);
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    return np_draw_cheapest(b, ctx, cost, now);
}

const struct np_balancer_ops np_lb_peak_ewma = {
    .name = "peak_ewma",
    .size = sizeof(struct np_balancer),
    .pick = pick,
};
