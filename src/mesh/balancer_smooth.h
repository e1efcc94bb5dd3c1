/* Smooth weighted round robin (nginx's): each pick adds every weight to its endpoint's standing,
 * takes the highest and subtracts the sum from it. Weights 5, 1, 1 give a a b a c a a.
 *
 * The weights may differ from one pick to the next, which least_request makes use of.
 */
#ifndef NP_MESH_BALANCER_SMOOTH_H
#define NP_MESH_BALANCER_SMOOTH_H

#include "mesh/balancer_draw.h"

struct np_smooth {
    double *standing; /* by index in the snapshot */
};
typedef double (*np_weight_fn)(const struct np_balancer *b, const struct np_endpoint *e);

/* Carries the standings over to `set`: whoever is new begins at 0. NEAP_ENOMEM: nothing changed. */
NEAP_MUST_CHECK enum neap_err np_smooth_update(struct np_smooth *s, const struct np_snapshot *old,
                                               const struct np_snapshot *set);
void np_smooth_fini(struct np_smooth *s);
size_t np_smooth_pick(struct np_smooth *s, struct np_balancer *b, const struct np_pick_ctx *ctx,
                      np_weight_fn weight);

#endif
