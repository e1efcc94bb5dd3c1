/* Distributions of the simulator: how long an answer takes, how long a user thinks, what a request
 * costs. Pure functions; the generator is the caller's.
 */
#ifndef NP_MESH_SIM_DIST_H
#define NP_MESH_SIM_DIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"

enum np_dist_kind {
    NP_DIST_CONSTANT,    /* a */
    NP_DIST_UNIFORM,     /* a … b */
    NP_DIST_NORMAL,      /* mean a, standard deviation b; what falls below 0 is 0 */
    NP_DIST_LOGNORMAL,   /* median a, b the standard deviation of its logarithm */
    NP_DIST_EXPONENTIAL, /* mean a */
    NP_DIST_PARETO,      /* least a, shape b > 1; never more than c, if that is not 0 */
    NP_DIST_EMPIRICAL,   /* by `values`, ascending: quantiles at equal steps, linear in between */
};

struct np_dist {
    enum np_dist_kind kind;
    double a, b, c;
    const double *values; /* the caller's, or whoever copied it */
    size_t nvalues;
    double tail_share;  /* of the draws, 0 … 1, that are … */
    double tail_factor; /* … this many times as much: a collector's pause, a cold cache */
};

/* Whether every number is in its range; a NaN is not. */
bool np_dist_ok(const struct np_dist *d);
double np_dist_draw(const struct np_dist *d, struct np_rng *r); /* never below 0 */
double np_dist_mean(const struct np_dist *d);

/* Exponential with mean 1. */
double np_draw_exponential(struct np_rng *r);

#endif
