/* weighted_random: each with a chance in proportion to its weight. */
#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

enum { TRIES = 8 };

struct weighted {
    struct np_balancer b;
    uint64_t *sums; /* of the weights up to and with each endpoint */
};

static void fini(struct np_balancer *b)
{
    np_free(((struct weighted *)b)->sums);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct weighted *w = (struct weighted *)b;
    uint64_t sum = 0;
    uint64_t *sums = np_calloc(set->len ? set->len : 1, sizeof *sums);
    if (sums == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        sums[i] = sum += set->endpoints[i]->weight;
    np_free(w->sums);
    w->sums = sums;
    return NEAP_OK;
}

/* A number below `n`, which is far below 2^53. */
static uint64_t below(struct np_balancer *b, uint64_t n)
{
    return (uint64_t)(np_rng_unit(&b->rng) * (double)n);
}

static size_t draw(struct weighted *w)
{
    size_t lo = 0;
    size_t hi = w->b.set->len - 1;
    uint64_t at = below(&w->b, w->sums[hi]);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (w->sums[mid] > at) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

/* Draws among those that are not excluded, by looking at all. */
static size_t scan(struct weighted *w, const struct np_pick_ctx *ctx)
{
    const struct np_snapshot *set = w->b.set;
    uint64_t total = 0;
    size_t last = NP_NONE;
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excluded(ctx, set->endpoints[i])) total += set->endpoints[i]->weight;
    }
    uint64_t at = below(&w->b, total);
    for (size_t i = 0; i < set->len; i++) {
        if (np_excluded(ctx, set->endpoints[i])) continue;
        last = i;
        if (at < set->endpoints[i]->weight) break;
        at -= set->endpoints[i]->weight;
    }
    return last;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct weighted *w = (struct weighted *)b;
    (void)now;
    for (int i = 0; i < TRIES; i++) {
        size_t at = draw(w);
        if (!np_excluded(ctx, b->set->endpoints[at])) return at;
    }
    return scan(w, ctx);
}

const struct np_balancer_ops np_lb_weighted_random = {
    .name = "weighted_random",
    .size = sizeof(struct weighted),
    .fini = fini,
    .update = update,
    .pick = pick,
};
