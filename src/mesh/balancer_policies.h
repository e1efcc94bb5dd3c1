/* The policies that np_balancer_find knows, one a file (lb_<name>.c). Read-only, any thread. */
#ifndef NP_MESH_BALANCER_POLICIES_H
#define NP_MESH_BALANCER_POLICIES_H

#include "mesh/balancer.h"

extern const struct np_balancer_ops np_lb_round_robin;
extern const struct np_balancer_ops np_lb_weighted_round_robin;
extern const struct np_balancer_ops np_lb_random;
extern const struct np_balancer_ops np_lb_weighted_random;
extern const struct np_balancer_ops np_lb_least_request;
extern const struct np_balancer_ops np_lb_p2c;
extern const struct np_balancer_ops np_lb_ring_hash;
extern const struct np_balancer_ops np_lb_peak_ewma;
extern const struct np_balancer_ops np_lb_maglev;
extern const struct np_balancer_ops np_lb_first;
extern const struct np_balancer_ops np_lb_client_side_weighted;

#endif
