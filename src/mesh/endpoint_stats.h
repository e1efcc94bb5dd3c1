/* Statistics of endpoints that stand in no registry, shared by those who know the same address.
 *
 * A script's list of addresses is made anew by every worker and by every reload; a table gives
 * all of them one object for one address, so that what one of them learns, or has in flight, the
 * others see. It is weak: an object goes with its last endpoint. Any thread.
 */
#ifndef NP_MESH_ENDPOINT_STATS_H
#define NP_MESH_ENDPOINT_STATS_H

#include "mesh/endpoint.h"

struct np_stats_table;

/* One reference for the caller; each object in it has another. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_stats_table_new(struct np_stats_table **out);
void np_stats_table_unref(struct np_stats_table *t); /* NULL is allowed */
/* The number of objects, for tests. */
size_t np_stats_table_len(struct np_stats_table *t);

/* From here on `e`, which nobody else knows yet, has the statistics that the table has for its
 * address, or, `apart`, for its address and its id. NEAP_ENOMEM: it keeps its own. */
NEAP_MUST_CHECK enum neap_err np_endpoint_share_stats(struct np_endpoint *e,
                                                      struct np_stats_table *t, bool apart);

/* For endpoint.c: one reference; NULL when there is no memory. */
struct np_stats *np_stats_new(void);
void np_stats_unref(struct np_stats *s);

#endif
