/* Smooth weighted round robin (see balancer_smooth.h). */
#include "mesh/balancer_smooth.h"

#include "base/alloc.h"

/* Where `e` stands in `old`, looking from `*from` on, which moves behind it: snapshots keep their
 * order, so that a walk over both costs one step an endpoint. */
static size_t place_in(const struct np_snapshot *old, const struct np_endpoint *e, size_t *from)
{
    for (size_t i = 0; i < old->len; i++) {
        size_t at = (*from + i) % old->len;
        if (!np_endpoint_same(old->endpoints[at], e)) continue;
        *from = at + 1;
        return at;
    }
    return NP_NONE;
}

enum neap_err np_smooth_update(struct np_smooth *s, const struct np_snapshot *old,
                               const struct np_snapshot *set)
{
    size_t from = 0;
    double *standing = np_calloc(set->len ? set->len : 1, sizeof *standing);
    if (standing == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++) {
        size_t at = place_in(old, set->endpoints[i], &from);
        if (at != NP_NONE) standing[i] = s->standing[at];
    }
    np_free(s->standing);
    s->standing = standing;
    return NEAP_OK;
}

void np_smooth_fini(struct np_smooth *s)
{
    np_free(s->standing);
}

size_t np_smooth_pick(struct np_smooth *s, struct np_balancer *b, const struct np_pick_ctx *ctx,
                      np_weight_fn weight)
{
    const struct np_snapshot *set = b->set;
    size_t best = NP_NONE;
    double total = 0;
    for (size_t i = 0; i < set->len; i++) {
        if (np_excluded(ctx, set->endpoints[i])) continue;
        double w = weight(b, set->endpoints[i]);
        total += w;
        s->standing[i] += w;
        if (best == NP_NONE || s->standing[i] > s->standing[best]) best = i;
    }
    s->standing[best] -= total;
    return best;
}
