/* Drawing endpoints (see balancer_draw.h). */
#include "mesh/balancer_draw.h"

#include "base/alloc.h"

enum { TRIES = 8 };

size_t np_draw(struct np_balancer *b, const struct np_pick_ctx *ctx, size_t skip)
{
    size_t n = b->set->len;
    size_t at = 0;
    for (int i = 0; i < TRIES; i++) {
        at = np_scale((uint32_t)(np_rng_next(&b->rng) >> 32), n);
        if (at != skip && !np_excludes(ctx, b->slots[at].stats)) return at;
    }
    /* Nearly all are excluded: the next one that is not. */
    for (size_t i = 0; i < n; i++, at = at + 1 == n ? 0 : at + 1) {
        if (at != skip && !np_excludes(ctx, b->slots[at].stats)) return at;
    }
    return NP_NONE;
}

size_t np_scan_cheapest(struct np_balancer *b, const struct np_pick_ctx *ctx, np_cost_fn cost,
                        int64_t now)
{
    size_t best = NP_NONE;
    double best_cost = 0;
    uint32_t equals = 0;
    for (size_t i = 0; i < b->set->len; i++) {
        if (np_excludes(ctx, b->slots[i].stats)) continue;
        double c = cost(b, i, now);
        if (best != NP_NONE && c > best_cost) continue;
        /* The k-th equal takes the place with chance 1/k, so each has the same. */
        equals = best != NP_NONE && c == best_cost ? equals + 1 : 1;
        if (equals > 1 && np_rng_below(&b->rng, equals) != 0) continue;
        best = i;
        best_cost = c;
    }
    return best;
}

bool np_uniform_weights(const struct np_snapshot *set)
{
    for (size_t i = 1; i < set->len; i++) {
        if (set->endpoints[i]->weight != set->endpoints[0]->weight) return false;
    }
    return true;
}

/* --- who stood where */

/* Open addressing, from statistics to index; UINT32_MAX is empty. */
struct places {
    uint32_t *slots;
    size_t mask;
    const struct np_snapshot *set;
};

static bool places_init(struct places *p, const struct np_snapshot *set)
{
    size_t cap = 16;
    while (cap < set->len * 2)
        cap *= 2;
    p->slots = np_alloc(cap * sizeof *p->slots);
    if (p->slots == NULL) return false;
    p->mask = cap - 1;
    p->set = set;
    for (size_t i = 0; i < cap; i++)
        p->slots[i] = UINT32_MAX;
    for (size_t i = 0; i < set->len; i++) {
        size_t at = np_hash_mix((uintptr_t)set->endpoints[i]->stats) & p->mask;
        while (p->slots[at] != UINT32_MAX)
            at = (at + 1) & p->mask;
        p->slots[at] = (uint32_t)i;
    }
    return true;
}

static uint32_t place_of(const struct places *p, const struct np_stats *s)
{
    size_t at = np_hash_mix((uintptr_t)s) & p->mask;
    while (p->slots[at] != UINT32_MAX && p->set->endpoints[p->slots[at]]->stats != s)
        at = (at + 1) & p->mask;
    return p->slots[at];
}

uint32_t *np_places_in(const struct np_snapshot *old, const struct np_snapshot *set)
{
    struct places p;
    uint32_t *from = np_alloc(set->len * sizeof *from);
    if (from == NULL) return NULL;
    if (!places_init(&p, old)) {
        np_free(from);
        return NULL;
    }
    for (size_t i = 0; i < set->len; i++)
        from[i] = place_of(&p, set->endpoints[i]->stats);
    np_free(p.slots);
    return from;
}
