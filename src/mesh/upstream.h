/* An upstream: a service as a caller sees it, a balancer that follows the registry.
 *
 * Each pick looks whether the service has changed, which is one load, and takes the new snapshot if
 * so; a burst of changes costs one update. It belongs to its view's thread and is freed before the
 * view.
 */
#ifndef NP_MESH_UPSTREAM_H
#define NP_MESH_UPSTREAM_H

#include "mesh/balancer.h"
#include "mesh/view.h"

struct np_upstream;

/* Follows `service`, those of its instances that carry every one of `tags` (copied).
 * `opts` may be NULL. NEAP_EINVAL, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_upstream_new(struct np_registry_view *v, const char *service,
                                              const char *const *tags, size_t ntags,
                                              const struct np_balancer_ops *ops,
                                              const struct np_balancer_options *opts,
                                              struct np_upstream **out);
void np_upstream_free(struct np_upstream *u); /* NULL is allowed */

/* As np_balancer_pick and np_balancer_release. When the new snapshot cannot be had for want of
 * memory, the pick goes on with what was known, and the next one tries again. */
NEAP_MUST_CHECK enum neap_err np_upstream_pick(struct np_upstream *u, const struct np_pick_ctx *ctx,
                                               int64_t now, struct np_endpoint **out);
void np_upstream_release(struct np_upstream *u, struct np_endpoint *e, const struct np_result *r,
                         int64_t now);
/* The endpoints the next pick chooses from, borrowed until then. */
const struct np_snapshot *np_upstream_endpoints(struct np_upstream *u);

#endif
