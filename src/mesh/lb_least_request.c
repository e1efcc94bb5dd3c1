/* least_request, as Envoy has it: with equal weights the less busy of two draws (or the least busy
 * of all, if asked for); with unequal ones a smooth weighted round robin in which an endpoint's
 * weight is weight / (active + 1)^bias at the moment of the pick. */
#include <math.h>

#include "mesh/balancer_policies.h"
#include "mesh/balancer_smooth.h"

struct least_request {
    struct np_balancer b;
    struct np_smooth smooth;
    bool uniform;
};

static inline double factor(const struct np_balancer *b, size_t i, int64_t now)
{
    double busy = (double)np_stats_active(b->slots[i].stats) + 1;
    double bias = b->opts.active_bias;
    double share = np_slot_share(b, i, now);
    return share / (bias == 1.0 ? busy : pow(busy, bias));
}

static void fini(struct np_balancer *b)
{
    np_smooth_fini(&((struct least_request *)b)->smooth);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct least_request *lr = (struct least_request *)b;
    enum neap_err err = np_smooth_update(&lr->smooth, b, set, true);
    if (err == NEAP_OK) lr->uniform = np_uniform_weights(set);
    return err;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct least_request *lr = (struct least_request *)b;
    if (b->opts.full_scan) return np_scan_cheapest(b, ctx, np_cost_active, now);
    if (!lr->uniform) return np_smooth_pick(&lr->smooth, b, ctx, factor, now);
    double unused;
    return np_draw_cheapest(b, ctx, np_cost_active, now, &unused);
}

const struct np_balancer_ops np_lb_least_request = {
    .name = "least_request",
    .size = sizeof(struct least_request),
    .fini = fini,
    .update = update,
    .pick = pick,
};
