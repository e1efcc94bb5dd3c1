/* Drawing endpoints, for the policies. A policy's pick runs only while there are two endpoints or
 * more and at least one is not excluded (np_balancer_pick sees to it), so each of these finds one.
 * They never allocate. What is inlined here is compiled into each policy with its own cost.
 */
#ifndef NP_MESH_BALANCER_DRAW_H
#define NP_MESH_BALANCER_DRAW_H

#include "mesh/balancer.h"

#define NP_NONE ((size_t)-1)

static inline bool np_excludes(const struct np_pick_ctx *ctx, const struct np_stats *s)
{
    for (size_t i = 0; i < ctx->nexclude; i++) {
        if (ctx->exclude[i]->stats == s) return true;
    }
    return false;
}

static inline bool np_excluded(const struct np_pick_ctx *ctx, const struct np_endpoint *e)
{
    return np_excludes(ctx, e->stats);
}

/* 0 … n-1 from 32 random bits; none is more likely than another by more than n/2^32. */
static inline size_t np_scale(uint32_t bits, size_t n)
{
    return (size_t)((uint64_t)bits * n >> 32);
}

/* The share of its weight that slow start leaves it. */
static inline double np_slot_share(const struct np_balancer *b, size_t i, int64_t now)
{
    if (b->opts.slow.window_ns <= 0) return 1;
    long long since = atomic_load_explicit(&b->slots[i].stats->since_ns, memory_order_relaxed);
    return np_slow_start_share(&b->opts.slow, since, now);
}

/* Whether slow start lets it have the turn that has come to it. */
static inline bool np_slot_keeps(struct np_balancer *b, size_t i, int64_t now)
{
    double share = np_slot_share(b, i, now);
    return share >= 1 || np_rng_unit(&b->rng) < share;
}

/* An endpoint by equal chance, not excluded and not `skip` (NP_NONE: any); NP_NONE if there is no
 * such one. */
size_t np_draw(struct np_balancer *b, const struct np_pick_ctx *ctx, size_t skip);

/* What the endpoint at an index would cost the next request; the smaller the better. */
typedef double (*np_cost_fn)(const struct np_balancer *b, size_t i, int64_t now);

/* (active + 1) / weight. */
static inline double np_cost_active(const struct np_balancer *b, size_t i, int64_t now)
{
    const struct np_slot *slot = &b->slots[i];
    double cost = ((double)np_stats_active(slot->stats) + 1) * slot->inverse;
    return b->opts.slow.window_ns > 0 ? cost / np_slot_share(b, i, now) : cost;
}

/* The cheaper of two draws that differ, among endpoints of which none is excluded. */
static inline size_t np_draw_cheaper(struct np_balancer *b, np_cost_fn cost, int64_t now,
                                     double *best_cost)
{
    uint64_t bits = np_rng_next(&b->rng);
    size_t i = np_scale((uint32_t)(bits >> 32), b->set->len);
    size_t j = np_scale((uint32_t)bits, b->set->len - 1);
    j += j >= i;
    __builtin_prefetch(b->slots[j].stats);
    double ci = cost(b, i, now), cj = cost(b, j, now);
    *best_cost = cj < ci ? cj : ci;
    return cj < ci ? j : i;
}

/* `best`, or the cheapest of so many draws more, until one costs no more than `enough`. */
static inline size_t np_draw_on(struct np_balancer *b, const struct np_pick_ctx *ctx,
                                np_cost_fn cost, int64_t now, uint32_t draws, double enough,
                                size_t best, double *best_cost)
{
    for (uint32_t i = 0; i<draws && * best_cost> enough; i++) {
        size_t other = np_draw(b, ctx, best);
        if (other == NP_NONE) break;
        double c = cost(b, other, now);
        if (c >= *best_cost) continue;
        best = other;
        *best_cost = c;
    }
    return best;
}

/* The cheapest of opts.choices draws ("the power of choices"), and its cost. */
static inline size_t np_draw_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx,
                                      np_cost_fn cost, int64_t now, double *best_cost)
{
    if (b->opts.choices == 2 && ctx->nexclude == 0) return np_draw_cheaper(b, cost, now, best_cost);
    size_t first = np_draw(b, ctx, NP_NONE);
    *best_cost = cost(b, first, now);
    return np_draw_on(b, ctx, cost, now, b->opts.choices - 1, 0, first, best_cost);
}

/* The cheapest of all; among equals by chance. */
size_t np_scan_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, np_cost_fn cost,
                        int64_t now);
/* Whether all weights are equal. */
bool np_uniform_weights(const struct np_snapshot *set);

/* For each endpoint of `set` its index in `old`, or UINT32_MAX: an array for np_free; NULL when
 * there is no memory. O(n). */
uint32_t *np_places_in(const struct np_snapshot *old, const struct np_snapshot *set);

#endif
