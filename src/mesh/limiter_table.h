/* A limiter per key: per client address, per token, per tenant.
 *
 * All keys go by the same options. A key is known by its hash alone (64 bits, with a secret), so a
 * peer that makes up keys costs no memory beyond the table's: NP_LIMITER_KEY_COST bytes a key and
 * as many keys as `max_keys`, all allocated at once. It is cut into shards by the hash, each with
 * its part of the keys and a lock that is held for one check (some 20 ns). When a shard is full the
 * key that was used longest ago goes: if it was seen again it would begin with nothing taken, which
 * counts as `evicted`, or, where something of it was still taken, as `forgotten`: a peer that owns
 * more addresses than the table has room for can get its limits back so. Nothing else allocates.
 * Any thread.
 */
#ifndef NP_MESH_LIMITER_TABLE_H
#define NP_MESH_LIMITER_TABLE_H

#include "mesh/limiter.h"

#define NP_LIMITER_KEY_COST 44 /* bytes, about */
#define NP_LIMITER_MAX_KEYS_DEFAULT 65536
#define NP_LIMITER_MAX_KEYS (16u << 20)

struct np_limiter_table;

struct np_limiter_table_stats {
    size_t keys, max_keys;
    uint64_t allowed, refused; /* `refused` counts in shadow mode too */
    uint64_t evicted, forgotten;
};

/* `max_keys` 0: the default. NEAP_EINVAL (see np_limiter_problem; more than NP_LIMITER_MAX_KEYS),
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_limiter_table_new(const struct np_limiter_options *opts,
                                                   size_t max_keys, int64_t now,
                                                   struct np_limiter_table **out);
void np_limiter_table_free(struct np_limiter_table *t); /* NULL is allowed */
/* As np_limiter_check and _reserve, for that key. */
struct np_limit np_limiter_table_check(struct np_limiter_table *t, const void *key, size_t n,
                                       double cost, int64_t now);
struct np_limit np_limiter_table_reserve(struct np_limiter_table *t, const void *key, size_t n,
                                         double cost, int64_t max_wait, int64_t now,
                                         uint64_t *ticket);
void np_limiter_table_give_back(struct np_limiter_table *t, const void *key, size_t n, double cost,
                                uint64_t ticket);
/* Another rate, burst or algorithm for all keys, whose number stays; what was taken stays taken.
 * Costs a visit to each key; one at a time. NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_limiter_table_set(struct np_limiter_table *t,
                                                   const struct np_limiter_options *opts,
                                                   int64_t now);
void np_limiter_table_get_stats(struct np_limiter_table *t, struct np_limiter_table_stats *out);

#endif
