/* A limiter that workers share by name (commons.h): one for all, and one per key for those who give
 * a key. The table of keys is made when the first key comes. Any thread.
 */
#ifndef NP_MESH_LIMITER_SHARED_H
#define NP_MESH_LIMITER_SHARED_H

#include "mesh/commons.h"
#include "mesh/limiter_table.h"

struct np_shared_limiter;

/* What one is made of, and what np_common_set gives it anew: the newest wins, what was taken stays
 * taken. The number of keys stays as it is once there is a table. */
struct np_shared_limiter_options {
    struct np_limiter_options limiter;
    size_t max_keys; /* 0: the default */
    int64_t now;
};
extern const struct np_common_kind np_limiter_kind;

/* `key` NULL: the one for all. NEAP_ENOMEM: there is no memory for the table of keys. */
NEAP_MUST_CHECK enum neap_err np_shared_limiter_check(struct np_shared_limiter *l, const char *key,
                                                      size_t n, double cost, int64_t now,
                                                      struct np_limit *out);
NEAP_MUST_CHECK enum neap_err np_shared_limiter_reserve(struct np_shared_limiter *l,
                                                        const char *key, size_t n, double cost,
                                                        int64_t max_wait, int64_t now,
                                                        uint64_t *ticket, struct np_limit *out);
void np_shared_limiter_give_back(struct np_shared_limiter *l, const char *key, size_t n,
                                 double cost, uint64_t ticket);
struct np_limiter_options np_shared_limiter_options(struct np_shared_limiter *l);
/* All together, with and without a key; `keys` and `max_keys` are 0 while there is no table. */
void np_shared_limiter_get_stats(struct np_shared_limiter *l, struct np_limiter_table_stats *out);

#endif
