/* An upstream: a service as a caller sees it, those of its instances that carry certain tags.
 *
 * It follows the registry: each poll looks whether the service has changed, which is one load, and
 * hands out the newest snapshot; a burst of changes costs one. It belongs to its view's thread and
 * is freed before the view.
 */
#ifndef NP_MESH_UPSTREAM_H
#define NP_MESH_UPSTREAM_H

#include "mesh/view.h"

struct np_upstream;

/* Follows `service`, those of its instances that carry every one of `tags` (copied). NEAP_EINVAL,
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_upstream_new(struct np_registry_view *v, const char *service,
                                              const char *const *tags, size_t ntags,
                                              struct np_upstream **out);
void np_upstream_free(struct np_upstream *u); /* NULL is allowed */

/* The snapshot, borrowed until the next poll; `*changed` (may be NULL): it is another one than the
 * last poll's, which the first always is. When the newest cannot be had for want of memory, it is
 * the last one again, and the next poll tries again; before the first it is NULL. */
struct np_snapshot *np_upstream_poll(struct np_upstream *u, bool *changed);

#endif
