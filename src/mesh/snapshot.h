/* A snapshot: the endpoints of a service at one moment, immutable and counted by reference.
 *
 * It holds a reference to each endpoint. Any thread may read it and drop its reference.
 */
#ifndef NP_MESH_SNAPSHOT_H
#define NP_MESH_SNAPSHOT_H

#include "mesh/endpoint.h"

struct np_snapshot {
    atomic_uint refs;
    uint64_t index; /* the service's modify index; 0 for a list that stands in no registry */
    size_t len;
    struct np_endpoint *endpoints[]; /* in order of registration */
};

/* One reference for the caller; each endpoint is referenced. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_snapshot_new(struct np_endpoint *const *endpoints, size_t n,
                                              uint64_t index, struct np_snapshot **out);
/* The same, of those of `from` that carry every one of `tags`. */
NEAP_MUST_CHECK enum neap_err np_snapshot_filter(const struct np_snapshot *from,
                                                 const char *const *tags, size_t ntags,
                                                 struct np_snapshot **out);
struct np_snapshot *np_snapshot_ref(struct np_snapshot *s);
void np_snapshot_unref(struct np_snapshot *s); /* NULL is allowed */

#endif
