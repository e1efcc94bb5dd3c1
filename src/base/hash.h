/* Hashes, and a hash map from byte strings to pointers.
 *
 * `np_hash_stable` gives the same value in every process and version (consistent hashing needs
 * that). `np_hash_seeded` is SipHash-1-3 with a secret, for keys that a peer chooses. The map uses
 * the latter with a seed of its own, copies its keys and owns none of its values. Iteration is in
 * order of insertion. One thread at a time.
 */
#ifndef NP_BASE_HASH_H
#define NP_BASE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

uint64_t np_hash_stable(const void *data, size_t n, uint64_t seed);
uint64_t np_hash_seeded(const void *data, size_t n, const uint64_t key[2]);
/* A well-mixed permutation of 64 bits (splitmix64's finaliser). */
static inline uint64_t np_hash_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* A small fast generator (splitmix64): deterministic by seed, for balancers and jitter. */
struct np_rng {
    uint64_t state;
};
void np_rng_init(struct np_rng *r, uint64_t seed); /* seed 0: from the system's randomness */
static inline uint64_t np_rng_next(struct np_rng *r)
{
    return np_hash_mix(r->state += UINT64_C(0x9E3779B97F4A7C15));
}
uint32_t np_rng_below(struct np_rng *r, uint32_t n); /* 0 … n-1 without bias; n 0 gives 0 */
double np_rng_unit(struct np_rng *r);                /* [0, 1) */

struct np_map_entry {
    char *key; /* owned, NUL-terminated; NULL where removed */
    size_t key_len;
    uint64_t hash;
    void *value;
};
struct np_map {
    struct np_map_entry *entries; /* in order of insertion, holes where removed */
    uint32_t *slots;              /* open addressing: index + 1 into entries */
    size_t len;                   /* live entries */
    size_t used;                  /* entries with holes */
    size_t cap;
    size_t slot_count;
    uint64_t seed[2];
};

/* Allocates nothing until the first set. */
void np_map_init(struct np_map *m);
void np_map_fini(struct np_map *m); /* the caller has freed the values */
void *np_map_get(const struct np_map *m, const char *key, size_t n); /* NULL when absent */
/* Sets or replaces; `*old` (may be NULL) gets the value that stood there, or NULL. */
NEAP_MUST_CHECK enum neap_err np_map_set(struct np_map *m, const char *key, size_t n, void *value,
                                         void **old);
void *np_map_remove(struct np_map *m, const char *key, size_t n); /* what stood there, or NULL */
/* `*it` starts at 0; NULL at the end. The map may not be set while iterating; removing is fine. */
struct np_map_entry *np_map_next(const struct np_map *m, size_t *it);

#endif
