/* Weighted round robin whose turns are spread out.
 *
 * Up to NP_SMOOTH_SMALL endpoints it is nginx's: each pick adds every weight to its endpoint's
 * standing, takes the highest and subtracts the sum from it. Weights 5, 1, 1 give a a b a c a a. A
 * larger set is served by balancer_edf.h, which looks at a few endpoints only. What an endpoint was
 * owed stays its own when the set changes, also from the one to the other.
 *
 * A factor may make the weights differ from one pick to the next, which least_request makes use of.
 */
#ifndef NP_MESH_BALANCER_SMOOTH_H
#define NP_MESH_BALANCER_SMOOTH_H

#include "mesh/balancer_edf.h"

#define NP_SMOOTH_SMALL 32

struct np_smooth {
    double *weights;    /* by index in the snapshot; may be changed, to no less than 2^-16 */
    double *standing;   /* in a small set */
    struct np_edf *edf; /* in a large one */
};

/* Carries over what is owed to `set`: whoever is new begins at 0. `varies`: there is a factor, or
 * the weights will be changed. NEAP_ENOMEM: nothing changed. */
NEAP_MUST_CHECK enum neap_err np_smooth_update(struct np_smooth *s, struct np_balancer *b,
                                               const struct np_snapshot *set, bool varies);
void np_smooth_fini(struct np_smooth *s);

static inline size_t np_smooth_pick_small(struct np_smooth *s, struct np_balancer *b,
                                          const struct np_pick_ctx *ctx, np_factor_fn factor,
                                          int64_t now)
{
    size_t best = NP_NONE;
    double total = 0, highest = 0;
    for (size_t i = 0; i < b->set->len; i++) {
        if (ctx->nexclude > 0 && np_excludes(ctx, b->slots[i].stats)) continue;
        double w = factor ? s->weights[i] * factor(b, i, now) : s->weights[i];
        double standing = s->standing[i] += w;
        total += w;
        if (best != NP_NONE && standing <= highest) continue;
        best = i;
        highest = standing;
    }
    s->standing[best] -= total;
    return best;
}

/* `factor` may be NULL: 1 for all. */
static inline size_t np_smooth_pick(struct np_smooth *s, struct np_balancer *b,
                                    const struct np_pick_ctx *ctx, np_factor_fn factor, int64_t now)
{
    if (s->edf != NULL) return np_edf_pick(s->edf, b, ctx, s->weights, factor, now);
    return np_smooth_pick_small(s, b, ctx, factor, now);
}

#endif
