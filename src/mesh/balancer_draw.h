/* Drawing endpoints, for the policies. A policy's pick runs only while at least one endpoint is not
 * excluded (np_balancer_pick sees to it), so each of these finds one. They never allocate.
 */
#ifndef NP_MESH_BALANCER_DRAW_H
#define NP_MESH_BALANCER_DRAW_H

#include "mesh/balancer.h"

#define NP_NONE ((size_t)-1)

static inline bool np_excluded(const struct np_pick_ctx *ctx, const struct np_endpoint *e)
{
    for (size_t i = 0; i < ctx->nexclude; i++) {
        if (np_endpoint_same(ctx->exclude[i], e)) return true;
    }
    return false;
}

/* An endpoint by equal chance, not excluded and not `skip` (NP_NONE: any); NP_NONE if there is no
 * such one. */
size_t np_draw(struct np_balancer *b, const struct np_pick_ctx *ctx, size_t skip);

/* What an endpoint would cost the next request; the smaller the better. */
typedef double (*np_cost_fn)(const struct np_endpoint *e, int64_t now);

/* The cheapest of so many draws ("the power of choices"). */
size_t np_draw_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, uint32_t choices,
                        np_cost_fn cost, int64_t now);
/* The cheapest of all; among equals by chance. */
size_t np_scan_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, np_cost_fn cost,
                        int64_t now);
/* (active + 1) / weight. */
double np_cost_active(const struct np_endpoint *e, int64_t now);
/* Whether all weights are equal. */
bool np_uniform_weights(const struct np_snapshot *set);

#endif
