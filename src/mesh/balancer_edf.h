/* Weighted round robin over many endpoints: earliest deadline first.
 *
 * On a clock of its own an endpoint is due every 1/weight; the one that is due first has its turn.
 * Endpoints of one weight come in the order in which they went, so each weight is a queue, and only
 * the queues' heads stand in a heap: with w different weights a pick costs O(log w). Where weights
 * vary from pick to pick, those within a sixteenth of each other are one queue, at most 512 in all,
 * and an endpoint's weight is looked at when it has had its turn (as Envoy does).
 *
 * One thread. A pick allocates nothing.
 */
#ifndef NP_MESH_BALANCER_EDF_H
#define NP_MESH_BALANCER_EDF_H

#include "mesh/balancer_draw.h"

struct np_edf;
/* What a weight is multiplied with just now. */
typedef double (*np_factor_fn)(const struct np_balancer *b, size_t i, int64_t now);

/* `waits`: how much of its first turn (0 … 1) passes before it; `n` is 1 or more. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_edf_new(const double *weights, const double *waits, size_t n,
                                         bool varies, struct np_edf **out);
void np_edf_free(struct np_edf *x); /* NULL is allowed */
/* How much of the endpoint's turn is still to pass, 0 … 1. */
double np_edf_to_wait(const struct np_edf *x, size_t i);
/* `weights` and `factor` (may be NULL) are not looked at where nothing varies. */
size_t np_edf_pick(struct np_edf *x, struct np_balancer *b, const struct np_pick_ctx *ctx,
                   const double *weights, np_factor_fn factor, int64_t now);

#endif
