/* weighted_round_robin: smooth, as nginx does it. */
#include "mesh/balancer_policies.h"
#include "mesh/balancer_smooth.h"

struct weighted {
    struct np_balancer b;
    struct np_smooth smooth;
};

static double weight(const struct np_balancer *b, const struct np_endpoint *e)
{
    (void)b;
    return e->weight;
}

static void fini(struct np_balancer *b)
{
    np_smooth_fini(&((struct weighted *)b)->smooth);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    return np_smooth_update(&((struct weighted *)b)->smooth, b->set, set);
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    (void)now;
    return np_smooth_pick(&((struct weighted *)b)->smooth, b, ctx, weight);
}

const struct np_balancer_ops np_lb_weighted_round_robin = {
    .name = "weighted_round_robin",
    .size = sizeof(struct weighted),
    .fini = fini,
    .update = update,
    .pick = pick,
};
