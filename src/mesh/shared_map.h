/* A map that the workers of a host share ("neap.shared"): strings to scalars, with times to live,
 * atomic counters and a bound on its bytes.
 *
 * It is cut into shards by the key's hash; each has a lock, held for one operation. The bound is
 * shared out among the shards. When one is full, what has expired goes first, then what was used
 * longest ago (read or written), counted as evictions; a value that is larger than a shard's part
 * is refused. An entry costs its key, its value and NP_SHARED_ENTRY_COST bytes. Time is passed in.
 * Any thread.
 */
#ifndef NP_MESH_SHARED_MAP_H
#define NP_MESH_SHARED_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define NP_SHARED_ENTRY_COST 128
#define NP_SHARED_DEFAULT_BYTES ((size_t)16 * 1024 * 1024)
#define NP_SHARED_MIN_BYTES ((size_t)64 * 1024)
#define NP_SHARED_MAX_MAPS 1024
#define NP_SHARED_MAX_KEY 65535

struct np_shared_map;
struct np_shared_maps; /* a host's, by name */

enum np_shared_type { NP_SHARED_STRING, NP_SHARED_INTEGER, NP_SHARED_NUMBER, NP_SHARED_BOOLEAN };
struct np_shared_value {
    enum np_shared_type type;
    union {
        int64_t integer;
        double number;
        bool boolean;
        struct {
            const char *p;
            size_t n;
        } string;
    } as;
};

struct np_shared_stats {
    size_t entries;
    size_t bytes;    /* what they cost */
    size_t capacity; /* the bound */
    uint64_t hits, misses;
    uint64_t evictions; /* entries that had to go before their time */
    uint64_t expired;   /* entries whose time was over */
    uint64_t refused;   /* values too large for a shard */
};

NEAP_MUST_CHECK enum neap_err np_shared_maps_new(struct np_shared_maps **out);
void np_shared_maps_free(struct np_shared_maps *m); /* with all maps; NULL is allowed */
/* The map of that name, made if need be; it lives as long as `m`. `bytes` 0: as it is, or the
 * default; else its bound from now on (what does not fit any more is evicted). NEAP_ELIMIT: too
 * many maps. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_shared_maps_get(struct np_shared_maps *m, const char *name,
                                                 size_t bytes, struct np_shared_map **out);

/* The functions below: `now` is any monotonic time in ns, the same clock for all; `ttl` ns, 0: for
 * ever. NEAP_EMSGSIZE: larger than a shard's part; NEAP_EINVAL: the key is too long; NEAP_ENOMEM.
 */

/* A string is copied into `room`, and `out` points there. NEAP_ENOTFOUND. */
NEAP_MUST_CHECK enum neap_err np_shared_get(struct np_shared_map *m, const char *key, size_t n,
                                            int64_t now, struct np_buf *room,
                                            struct np_shared_value *out);
enum np_shared_when { NP_SHARED_ALWAYS, NP_SHARED_IF_ABSENT, NP_SHARED_IF_PRESENT };
/* NEAP_EEXIST, NEAP_ENOTFOUND: `when` was not so. */
NEAP_MUST_CHECK enum neap_err np_shared_set(struct np_shared_map *m, const char *key, size_t n,
                                            const struct np_shared_value *v, int64_t ttl,
                                            int64_t now, enum np_shared_when when);
/* Sets it to `v` if it is `expected` (NULL: if it is absent), of the same type and value; `v` NULL
 * deletes it. NEAP_EBUSY: it is something else. */
NEAP_MUST_CHECK enum neap_err np_shared_cas(struct np_shared_map *m, const char *key, size_t n,
                                            const struct np_shared_value *expected,
                                            const struct np_shared_value *v, int64_t ttl,
                                            int64_t now);
/* Adds `by` (integer or number) to what is there, or to `init` (NULL: absent is NEAP_ENOTFOUND)
 * with `ttl`. Two integers give an integer, which wraps around as Lua's do. NEAP_EPROTO: not a
 * number. */
NEAP_MUST_CHECK enum neap_err np_shared_incr(struct np_shared_map *m, const char *key, size_t n,
                                             const struct np_shared_value *by,
                                             const struct np_shared_value *init, int64_t ttl,
                                             int64_t now, struct np_shared_value *out);
/* Whether it was there. */
bool np_shared_delete(struct np_shared_map *m, const char *key, size_t n, int64_t now);
/* The time it has left, ns; 0: for ever. NEAP_ENOTFOUND. */
NEAP_MUST_CHECK enum neap_err np_shared_ttl(struct np_shared_map *m, const char *key, size_t n,
                                            int64_t now, int64_t *out);
NEAP_MUST_CHECK enum neap_err np_shared_expire(struct np_shared_map *m, const char *key, size_t n,
                                               int64_t ttl, int64_t now);
void np_shared_clear(struct np_shared_map *m);
void np_shared_get_stats(struct np_shared_map *m, struct np_shared_stats *out);
/* Appends keys, each as a uint32_t of its length and its bytes, at most `max` of them; how many. A
 * shard is seen at one moment, the map is not. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_shared_keys(struct np_shared_map *m, size_t max, int64_t now,
                                             struct np_buf *out, size_t *count);

#endif
