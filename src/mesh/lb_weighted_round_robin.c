/* weighted_round_robin: smooth, as nginx does it. Who is in slow start lets some turns pass. */
#include "mesh/balancer_policies.h"
#include "mesh/balancer_smooth.h"

enum { PASSES = 8 };

struct weighted {
    struct np_balancer b;
    struct np_smooth smooth;
};

static void fini(struct np_balancer *b)
{
    np_smooth_fini(&((struct weighted *)b)->smooth);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    return np_smooth_update(&((struct weighted *)b)->smooth, b, set, false);
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct weighted *w = (struct weighted *)b;
    size_t at = np_smooth_pick(&w->smooth, b, ctx, NULL, now);
    for (int i = 0; i < PASSES && !np_slot_keeps(b, at, now); i++)
        at = np_smooth_pick(&w->smooth, b, ctx, NULL, now);
    return at;
}

const struct np_balancer_ops np_lb_weighted_round_robin = {
    .name = "weighted_round_robin",
    .size = sizeof(struct weighted),
    .fini = fini,
    .update = update,
    .pick = pick,
};
