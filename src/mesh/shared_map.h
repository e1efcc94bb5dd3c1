/* A map that the workers of a host share ("neap.shared"): strings to plain scalars, with times to
 * live, atomic counters and a bound on its bytes.
 *
 * Sharded by key; each shard has a lock, held for one operation. The bound is shared out among the
 * shards; when a shard is full, what has expired goes first, then what was used longest ago; a
 * value that is larger than a shard's part is refused (NEAP_EMSGSIZE). What an entry costs is its
 * key, its value and a fixed overhead, NP_SHARED_ENTRY_COST. Time is passed in. Any thread.
 */
#ifndef NP_MESH_SHARED_MAP_H
#define NP_MESH_SHARED_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct np_shared_map;
struct np_shared_maps; /* a host's, by name */

NEAP_MUST_CHECK enum neap_err np_shared_maps_new(struct np_shared_maps **out);
void np_shared_maps_free(struct np_shared_maps *m);

#endif
