/* Drawing endpoints (see balancer_draw.h). */
#include "mesh/balancer_draw.h"

enum { TRIES = 8 };

size_t np_draw(struct np_balancer *b, const struct np_pick_ctx *ctx, size_t skip)
{
    const struct np_snapshot *set = b->set;
    uint32_t n = (uint32_t)set->len;
    size_t at = 0;
    for (int i = 0; i < TRIES; i++) {
        at = np_rng_below(&b->rng, n);
        if (at != skip && !np_excluded(ctx, set->endpoints[at])) return at;
    }
    /* Nearly all are excluded: the next one that is not. */
    for (size_t i = 0; i < n; i++, at = (at + 1) % n) {
        if (at != skip && !np_excluded(ctx, set->endpoints[at])) return at;
    }
    return NP_NONE;
}

size_t np_draw_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, uint32_t choices,
                        np_cost_fn cost, int64_t now)
{
    size_t best = np_draw(b, ctx, NP_NONE);
    double best_cost = cost(b->set->endpoints[best], now);
    for (uint32_t i = 1; i < choices; i++) {
        size_t other = np_draw(b, ctx, best);
        if (other == NP_NONE) break;
        double c = cost(b->set->endpoints[other], now);
        if (c >= best_cost) continue;
        best = other;
        best_cost = c;
    }
    return best;
}

size_t np_scan_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, np_cost_fn cost,
                        int64_t now)
{
    const struct np_snapshot *set = b->set;
    size_t best = NP_NONE;
    double best_cost = 0;
    uint32_t equals = 0;
    for (size_t i = 0; i < set->len; i++) {
        if (np_excluded(ctx, set->endpoints[i])) continue;
        double c = cost(set->endpoints[i], now);
        if (best != NP_NONE && c > best_cost) continue;
        /* The k-th equal takes the place with chance 1/k, so each has the same. */
        equals = best != NP_NONE && c == best_cost ? equals + 1 : 1;
        if (equals > 1 && np_rng_below(&b->rng, equals) != 0) continue;
        best = i;
        best_cost = c;
    }
    return best;
}

double np_cost_active(const struct np_endpoint *e, int64_t now)
{
    (void)now;
    return ((double)np_endpoint_active(e) + 1) / e->weight;
}

bool np_uniform_weights(const struct np_snapshot *set)
{
    for (size_t i = 1; i < set->len; i++) {
        if (set->endpoints[i]->weight != set->endpoints[0]->weight) return false;
    }
    return true;
}
