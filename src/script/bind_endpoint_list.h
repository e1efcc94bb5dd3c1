/* Lists of endpoints that a script writes down: addresses, tables, or endpoints it was given. */
#ifndef NP_SCRIPT_BIND_ENDPOINT_LIST_H
#define NP_SCRIPT_BIND_ENDPOINT_LIST_H

#include <lua.h>

#include "mesh/snapshot.h"

/* The list at `idx` as a snapshot (one reference), or NULL when out of memory. An entry is an
 * endpoint, an address, or { address=, id=, weight=, zone=, tags=, meta= }; the id is the address
 * by default. Who stands in `old` (may be NULL) with the same id keeps the statistics. Raises for a
 * malformed list. */
struct np_snapshot *np_endpoint_read_list(lua_State *L, int idx, const struct np_snapshot *old);

#endif
