/* A limiter per key (see limiter_table.h).
 *
 * A shard is an array of entries, found by chains over a table of buckets and ordered by use in a
 * list; all three are indices into the array, so that an entry is small. Entry 0 is the list's
 * head and no key's. Under the shard's lock an entry's atomics are as good as plain words.
 */
#include "mesh/limiter_table.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "mesh/limiter_impl.h"

#define SHARDS 16u
#define MIN_SHARD_KEYS 64u

struct entry {
    atomic_ullong state[2];
    uint64_t hash;
    uint32_t next;         /* in its bucket's chain; 0: the last */
    uint32_t newer, older; /* by use; the head's `older` is the newest */
};

struct shard {
    pthread_mutex_t lock;
    struct entry *entries; /* cap + 1 */
    uint32_t *buckets;     /* mask + 1 */
    uint32_t mask;
    uint32_t cap;
    uint32_t len;
    unsigned which; /* of the rule's terms, for a new key */
    uint64_t allowed, refused, evicted, forgotten;
    char apart[64]; /* from the next shard's lock */
};

struct np_limiter_table {
    struct np_limiter_rule rule;
    uint64_t seed[2];
    size_t max_keys;
    unsigned shards; /* a power of two */
    struct shard *shard;
};

static enum neap_err shard_init(struct shard *s, uint32_t cap)
{
    uint32_t buckets = 64;
    while (buckets < cap)
        buckets *= 2;
    s->entries = np_calloc((size_t)cap + 1, sizeof *s->entries);
    s->buckets = np_calloc(buckets, sizeof *s->buckets);
    if (s->entries == NULL || s->buckets == NULL) return NEAP_ENOMEM;
    s->mask = buckets - 1;
    s->cap = cap;
    return NEAP_OK;
}

enum neap_err np_limiter_table_new(const struct np_limiter_options *opts, size_t max_keys,
                                   int64_t now, struct np_limiter_table **out)
{
    if (np_limiter_problem(opts) != NULL || max_keys > NP_LIMITER_MAX_KEYS) return NEAP_EINVAL;
    if (max_keys == 0) max_keys = NP_LIMITER_MAX_KEYS_DEFAULT;
    struct np_limiter_options o = *opts;
    struct np_rng rng;
    struct np_limiter_table *t = np_calloc(1, sizeof *t);
    if (t == NULL) return NEAP_ENOMEM;
    t->shards = SHARDS;
    while (t->shards > 1 && max_keys / t->shards < MIN_SHARD_KEYS)
        t->shards /= 2;
    t->shard = np_calloc(t->shards, sizeof *t->shard);
    if (t->shard == NULL) {
        np_free(t);
        return NEAP_ENOMEM;
    }
    for (unsigned i = 0; i < t->shards; i++)
        pthread_mutex_init(&t->shard[i].lock, NULL);
    uint32_t cap = (uint32_t)((max_keys + t->shards - 1) / t->shards);
    for (unsigned i = 0; i < t->shards; i++) {
        if (shard_init(&t->shard[i], cap) != NEAP_OK) {
            np_limiter_table_free(t);
            return NEAP_ENOMEM;
        }
    }
    np_rng_init(&rng, 0);
    t->seed[0] = np_rng_next(&rng);
    t->seed[1] = np_rng_next(&rng);
    t->max_keys = (size_t)cap * t->shards;
    np_limiter_fill_defaults(&o);
    t->rule.base = now;
    np_limiter_rule_write(&t->rule, &o, 0);
    *out = t;
    return NEAP_OK;
}

void np_limiter_table_free(struct np_limiter_table *t)
{
    if (t == NULL) return;
    for (unsigned i = 0; i < t->shards; i++) {
        np_free(t->shard[i].entries);
        np_free(t->shard[i].buckets);
        pthread_mutex_destroy(&t->shard[i].lock);
    }
    np_free(t->shard);
    np_free(t);
}

/* --- under a shard's lock */

static void unlink_used(struct shard *s, uint32_t i)
{
    struct entry *e = &s->entries[i];
    s->entries[e->newer].older = e->older;
    s->entries[e->older].newer = e->newer;
}

static void link_newest(struct shard *s, uint32_t i)
{
    struct entry *e = &s->entries[i], *head = &s->entries[0];
    e->newer = 0;
    e->older = head->older;
    s->entries[head->older].newer = i;
    head->older = i;
}

static uint32_t find(const struct shard *s, uint64_t hash)
{
    uint32_t i = s->buckets[hash & s->mask];
    while (i != 0 && s->entries[i].hash != hash)
        i = s->entries[i].next;
    return i;
}

/* The entry of the key that was used longest ago, which is forgotten. */
static uint32_t evict(const struct np_limiter_rule *r, struct shard *s, int64_t now)
{
    struct np_taken t;
    uint32_t i = s->entries[0].newer;
    uint32_t *at = &s->buckets[s->entries[i].hash & s->mask];
    (void)np_limiter_take(r, s->entries[i].state, 1, -1, true, now, &t);
    s->evicted++;
    s->forgotten += t.before > 0;
    while (*at != i)
        at = &s->entries[*at].next;
    *at = s->entries[i].next;
    unlink_used(s, i);
    return i;
}

static struct entry *get(const struct np_limiter_table *t, struct shard *s, uint64_t hash,
                         int64_t now)
{
    uint32_t i = find(s, hash);
    if (i != 0) {
        if (s->entries[0].older == i) return &s->entries[i];
        unlink_used(s, i);
    } else {
        i = s->len < s->cap ? ++s->len : evict(&t->rule, s, now);
        struct entry *e = &s->entries[i];
        np_limiter_state_init(&t->rule, s->which, now, e->state);
        e->hash = hash;
        e->next = s->buckets[hash & s->mask];
        s->buckets[hash & s->mask] = i;
    }
    link_newest(s, i);
    return &s->entries[i];
}

/* --- checks */

static struct shard *shard_of(const struct np_limiter_table *t, const void *key, size_t n,
                              uint64_t *hash)
{
    *hash = np_hash_seeded(key, n, t->seed);
    return &t->shard[*hash >> 48 & (t->shards - 1)];
}

static struct np_limit take(struct np_limiter_table *t, const void *key, size_t n, double cost,
                            int64_t patience, bool probe, int64_t now, struct np_taken *taken)
{
    uint64_t hash;
    struct shard *s = shard_of(t, key, n, &hash);
    pthread_mutex_lock(&s->lock);
    struct entry *e = get(t, s, hash, now);
    bool ok = np_limiter_take(&t->rule, e->state, cost, patience, probe, now, taken);
    if (!probe) *(ok ? &s->allowed : &s->refused) += 1;
    pthread_mutex_unlock(&s->lock);
    if (!ok) taken->word = 0;
    return np_limiter_report(taken, ok);
}

struct np_limit np_limiter_table_check(struct np_limiter_table *t, const void *key, size_t n,
                                       double cost, int64_t now)
{
    struct np_taken taken;
    bool probe = !(cost > 0);
    return take(t, key, n, probe ? 1 : cost, -1, probe, now, &taken);
}

struct np_limit np_limiter_table_reserve(struct np_limiter_table *t, const void *key, size_t n,
                                         double cost, int64_t max_wait, int64_t now,
                                         uint64_t *ticket)
{
    struct np_taken taken;
    int64_t patience = max_wait > 0 ? max_wait : 0;
    struct np_limit l = take(t, key, n, cost > 0 ? cost : 0, patience, false, now, &taken);
    *ticket = taken.word;
    return l;
}

void np_limiter_table_give_back(struct np_limiter_table *t, const void *key, size_t n, double cost,
                                uint64_t ticket)
{
    uint64_t hash;
    struct shard *s = shard_of(t, key, n, &hash);
    pthread_mutex_lock(&s->lock);
    uint32_t i = find(s, hash);
    if (i != 0) np_limiter_state_give_back(&t->rule, s->entries[i].state, cost, ticket);
    pthread_mutex_unlock(&s->lock);
}

static void lock_all(struct np_limiter_table *t)
{
    for (unsigned i = 0; i < t->shards; i++)
        pthread_mutex_lock(&t->shard[i].lock);
}

static void unlock_all(struct np_limiter_table *t)
{
    for (unsigned i = 0; i < t->shards; i++)
        pthread_mutex_unlock(&t->shard[i].lock);
}

enum neap_err np_limiter_table_set(struct np_limiter_table *t,
                                   const struct np_limiter_options *opts, int64_t now)
{
    if (np_limiter_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_limiter_options o = *opts;
    np_limiter_fill_defaults(&o);
    lock_all(t);
    unsigned which = !t->shard[0].which;
    np_limiter_rule_write(&t->rule, &o, which);
    for (unsigned i = 0; i < t->shards; i++) {
        struct shard *s = &t->shard[i];
        s->which = which;
        for (uint32_t k = 1; k <= s->len; k++)
            np_limiter_state_move(&t->rule, s->entries[k].state, now);
    }
    unlock_all(t);
    return NEAP_OK;
}

void np_limiter_table_get_stats(struct np_limiter_table *t, struct np_limiter_table_stats *out)
{
    struct np_limiter_table_stats sum = {.max_keys = t->max_keys};
    for (unsigned i = 0; i < t->shards; i++) {
        struct shard *s = &t->shard[i];
        pthread_mutex_lock(&s->lock);
        sum.keys += s->len;
        sum.allowed += s->allowed;
        sum.refused += s->refused;
        sum.evicted += s->evicted;
        sum.forgotten += s->forgotten;
        pthread_mutex_unlock(&s->lock);
    }
    *out = sum;
}
