/* Shared maps (see shared_map.h). A shard: a hash table with chains, a list by last use, and a heap
 * of what expires. */
#include "mesh/shared_map.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"

enum { SHARDS = 16, FIRST_BUCKETS = 64 };

struct entry {
    struct np_link used; /* in shard.used, latest first */
    struct entry *next;  /* in its bucket */
    struct np_heap_node expiry;
    uint64_t hash;
    size_t cost;
    uint32_t key_len;
    struct np_shared_value value; /* a string's bytes stand after the key */
    char data[];
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    size_t nbuckets; /* a power of two, or 0 */
    size_t entries;
    size_t bytes;
    size_t capacity;
    struct np_link used;
    struct np_heap expiries;
    uint64_t hits, misses, evictions, expired, refused;
    char apart[64]; /* so that two locks share no cache line */
};

struct np_shared_map {
    struct shard shards[SHARDS];
    uint64_t key[2];
};

struct np_shared_maps {
    pthread_mutex_t lock;
    struct np_map by_name;
};

/* --- entries; under the shard's lock */

static struct entry **find(struct shard *s, uint64_t hash, const char *key, size_t n)
{
    if (s->nbuckets == 0) return NULL;
    struct entry **at = &s->buckets[(hash >> 8) & (s->nbuckets - 1)];
    for (; *at != NULL; at = &(*at)->next) {
        struct entry *e = *at;
        if (e->hash == hash && e->key_len == n && memcmp(e->data, key, n) == 0) return at;
    }
    return NULL;
}

static void drop(struct shard *s, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    np_list_remove(&e->used);
    np_heap_remove(&s->expiries, &e->expiry);
    s->entries--;
    s->bytes -= e->cost;
    np_free(e);
}

static void drop_entry(struct shard *s, struct entry *e)
{
    drop(s, find(s, e->hash, e->data, e->key_len));
}

static bool is_over(const struct entry *e, int64_t now)
{
    return e->expiry.index != 0 && e->expiry.key <= now;
}

/* The entry that stands, or NULL; one whose time is over goes. */
static struct entry **find_live(struct shard *s, uint64_t hash, const char *key, size_t n,
                                int64_t now)
{
    struct entry **at = find(s, hash, key, n);
    if (at == NULL || !is_over(*at, now)) return at;
    s->expired++;
    drop(s, at);
    return NULL;
}

static void touch(struct shard *s, struct entry *e)
{
    if (s->used.next == &e->used) return;
    np_list_remove(&e->used);
    np_list_push_front(&s->used, &e->used);
}

static void make_room(struct shard *s, size_t bytes, int64_t now)
{
    while (s->entries > 0 && s->bytes + bytes > s->capacity) {
        struct np_heap_node *first = np_heap_min(&s->expiries);
        if (first != NULL && first->key <= now) {
            s->expired++;
            drop_entry(s, np_container_of(first, struct entry, expiry));
        } else {
            s->evictions++;
            drop_entry(s, np_container_of(s->used.prev, struct entry, used));
        }
    }
}

static enum neap_err grow(struct shard *s)
{
    if (s->entries < s->nbuckets) return NEAP_OK;
    size_t n = s->nbuckets ? s->nbuckets * 2 : FIRST_BUCKETS;
    struct entry **buckets = np_calloc(n, sizeof *buckets);
    if (buckets == NULL) return s->nbuckets ? NEAP_OK : NEAP_ENOMEM; /* longer chains, then */
    for (size_t i = 0; i < s->nbuckets; i++) {
        for (struct entry *e = s->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            struct entry **at = &buckets[(e->hash >> 8) & (n - 1)];
            e->next = *at;
            *at = e;
        }
    }
    np_free(s->buckets);
    s->buckets = buckets;
    s->nbuckets = n;
    return NEAP_OK;
}

static enum neap_err set_expiry(struct shard *s, struct entry *e, int64_t ttl, int64_t now)
{
    if (ttl > 0) return np_heap_put(&s->expiries, &e->expiry, np_time_add(now, ttl));
    np_heap_remove(&s->expiries, &e->expiry);
    return NEAP_OK;
}

static size_t string_len(const struct np_shared_value *v)
{
    return v->type == NP_SHARED_STRING ? v->as.string.n : 0;
}

static struct entry *entry_new(uint64_t hash, const char *key, size_t n,
                               const struct np_shared_value *v)
{
    size_t len = string_len(v);
    struct entry *e = np_alloc(sizeof *e + n + len);
    if (e == NULL) return NULL;
    *e = (struct entry){.hash = hash, .key_len = (uint32_t)n, .value = *v};
    e->cost = n + len + NP_SHARED_ENTRY_COST;
    memcpy(e->data, key, n);
    if (v->type == NP_SHARED_STRING) {
        if (len > 0) memcpy(e->data + n, v->as.string.p, len);
        e->value.as.string.p = e->data + n;
    }
    np_link_init(&e->used);
    return e;
}

/* Puts a new entry in the place of `at` (NULL: there is none). */
static enum neap_err put(struct shard *s, struct entry **at, uint64_t hash, const char *key,
                         size_t n, const struct np_shared_value *v, int64_t ttl, int64_t now)
{
    size_t cost = n + string_len(v) + NP_SHARED_ENTRY_COST;
    if (cost > s->capacity) {
        s->refused++;
        return NEAP_EMSGSIZE;
    }
    struct entry *e = entry_new(hash, key, n, v);
    if (e == NULL) return NEAP_ENOMEM;
    enum neap_err err = set_expiry(s, e, ttl, now);
    if (err == NEAP_OK) err = grow(s);
    if (err != NEAP_OK) {
        np_heap_remove(&s->expiries, &e->expiry);
        np_free(e);
        return err;
    }
    at = find(s, hash, key, n); /* growing has moved it */
    if (at != NULL) drop(s, at);
    np_heap_remove(&s->expiries, &e->expiry); /* or it might make room for itself */
    make_room(s, cost, now);
    if (set_expiry(s, e, ttl, now) != NEAP_OK) { /* its place in the heap is still there */
        np_free(e);
        return NEAP_ENOMEM;
    }
    struct entry **bucket = &s->buckets[(hash >> 8) & (s->nbuckets - 1)];
    e->next = *bucket;
    *bucket = e;
    np_list_push_front(&s->used, &e->used);
    s->entries++;
    s->bytes += cost;
    return NEAP_OK;
}

/* A value that takes the old one's place without another block. */
static bool put_in_place(struct shard *s, struct entry *e, const struct np_shared_value *v,
                         int64_t ttl, int64_t now)
{
    if (v->type == NP_SHARED_STRING || e->value.type == NP_SHARED_STRING) return false;
    if (set_expiry(s, e, ttl, now) != NEAP_OK) return false;
    e->value = *v;
    touch(s, e);
    return true;
}

/* --- the map's functions */

static struct shard *lock(struct np_shared_map *m, const char *key, size_t n, uint64_t *hash)
{
    *hash = np_hash_seeded(key, n, m->key);
    struct shard *s = &m->shards[*hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    return s;
}

static void unlock(struct shard *s)
{
    pthread_mutex_unlock(&s->lock);
}

enum neap_err np_shared_get(struct np_shared_map *m, const char *key, size_t n, int64_t now,
                            struct np_buf *room, struct np_shared_value *out)
{
    uint64_t hash;
    enum neap_err err = NEAP_ENOTFOUND;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    if (at != NULL) {
        struct entry *e = *at;
        s->hits++;
        touch(s, e);
        np_buf_clear(room);
        err = e->value.type != NP_SHARED_STRING
                  ? NEAP_OK
                  : np_buf_append(room, e->value.as.string.p, e->value.as.string.n);
        *out = e->value;
    } else {
        s->misses++;
    }
    unlock(s);
    if (err == NEAP_OK && out->type == NP_SHARED_STRING) out->as.string.p = np_buf_data(room);
    return err;
}

enum neap_err np_shared_set(struct np_shared_map *m, const char *key, size_t n,
                            const struct np_shared_value *v, int64_t ttl, int64_t now,
                            enum np_shared_when when)
{
    uint64_t hash;
    enum neap_err err = NEAP_OK;
    if (n > NP_SHARED_MAX_KEY) return NEAP_EINVAL;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    if (when == NP_SHARED_IF_ABSENT && at != NULL) err = NEAP_EEXIST;
    if (when == NP_SHARED_IF_PRESENT && at == NULL) err = NEAP_ENOTFOUND;
    bool done = err == NEAP_OK && at != NULL && put_in_place(s, *at, v, ttl, now);
    if (err == NEAP_OK && !done) err = put(s, at, hash, key, n, v, ttl, now);
    unlock(s);
    return err;
}

static bool equal(const struct np_shared_value *a, const struct np_shared_value *b)
{
    if (a->type != b->type) return false;
    switch (a->type) {
    case NP_SHARED_INTEGER:
        return a->as.integer == b->as.integer;
    case NP_SHARED_NUMBER:
        return a->as.number == b->as.number;
    case NP_SHARED_BOOLEAN:
        return a->as.boolean == b->as.boolean;
    case NP_SHARED_STRING:
        break;
    }
    return a->as.string.n == b->as.string.n &&
           (a->as.string.n == 0 || memcmp(a->as.string.p, b->as.string.p, a->as.string.n) == 0);
}

enum neap_err np_shared_cas(struct np_shared_map *m, const char *key, size_t n,
                            const struct np_shared_value *expected, const struct np_shared_value *v,
                            int64_t ttl, int64_t now)
{
    uint64_t hash;
    enum neap_err err = NEAP_OK;
    if (n > NP_SHARED_MAX_KEY) return NEAP_EINVAL;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    bool match = at == NULL ? expected == NULL : expected != NULL && equal(&(*at)->value, expected);
    if (!match) {
        err = NEAP_EBUSY;
    } else if (v == NULL) {
        if (at != NULL) drop(s, at);
    } else if (at == NULL || !put_in_place(s, *at, v, ttl, now)) {
        err = put(s, at, hash, key, n, v, ttl, now);
    }
    unlock(s);
    return err;
}

static double number_of(const struct np_shared_value *v)
{
    return v->type == NP_SHARED_INTEGER ? (double)v->as.integer : v->as.number;
}

static bool is_number(const struct np_shared_value *v)
{
    return v->type == NP_SHARED_INTEGER || v->type == NP_SHARED_NUMBER;
}

static void add(struct np_shared_value *v, const struct np_shared_value *by)
{
    if (v->type == NP_SHARED_INTEGER && by->type == NP_SHARED_INTEGER) {
        v->as.integer = (int64_t)((uint64_t)v->as.integer + (uint64_t)by->as.integer);
        return;
    }
    v->as.number = number_of(v) + number_of(by);
    v->type = NP_SHARED_NUMBER;
}

enum neap_err np_shared_incr(struct np_shared_map *m, const char *key, size_t n,
                             const struct np_shared_value *by, const struct np_shared_value *init,
                             int64_t ttl, int64_t now, struct np_shared_value *out)
{
    uint64_t hash;
    enum neap_err err = NEAP_OK;
    if (n > NP_SHARED_MAX_KEY) return NEAP_EINVAL;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    if (at != NULL && !is_number(&(*at)->value)) {
        err = NEAP_EPROTO;
    } else if (at != NULL) {
        add(&(*at)->value, by);
        touch(s, *at);
        *out = (*at)->value;
    } else if (init == NULL) {
        err = NEAP_ENOTFOUND;
    } else {
        struct np_shared_value v = *init;
        add(&v, by);
        err = put(s, NULL, hash, key, n, &v, ttl, now);
        if (err == NEAP_OK) *out = v;
    }
    unlock(s);
    return err;
}

bool np_shared_delete(struct np_shared_map *m, const char *key, size_t n, int64_t now)
{
    uint64_t hash;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    if (at != NULL) drop(s, at);
    unlock(s);
    return at != NULL;
}

enum neap_err np_shared_ttl(struct np_shared_map *m, const char *key, size_t n, int64_t now,
                            int64_t *out)
{
    uint64_t hash;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    if (at != NULL) *out = (*at)->expiry.index ? (*at)->expiry.key - now : 0;
    unlock(s);
    return at != NULL ? NEAP_OK : NEAP_ENOTFOUND;
}

enum neap_err np_shared_expire(struct np_shared_map *m, const char *key, size_t n, int64_t ttl,
                               int64_t now)
{
    uint64_t hash;
    struct shard *s = lock(m, key, n, &hash);
    struct entry **at = find_live(s, hash, key, n, now);
    enum neap_err err = at != NULL ? set_expiry(s, *at, ttl, now) : NEAP_ENOTFOUND;
    unlock(s);
    return err;
}

static void clear_shard(struct shard *s)
{
    while (s->entries > 0)
        drop_entry(s, np_container_of(s->used.next, struct entry, used));
}

void np_shared_clear(struct np_shared_map *m)
{
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&m->shards[i].lock);
        clear_shard(&m->shards[i]);
        unlock(&m->shards[i]);
    }
}

void np_shared_get_stats(struct np_shared_map *m, struct np_shared_stats *out)
{
    *out = (struct np_shared_stats){0};
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];
        pthread_mutex_lock(&s->lock);
        out->entries += s->entries;
        out->bytes += s->bytes;
        out->capacity += s->capacity;
        out->hits += s->hits;
        out->misses += s->misses;
        out->evictions += s->evictions;
        out->expired += s->expired;
        out->refused += s->refused;
        unlock(s);
    }
}

static enum neap_err append_keys(struct shard *s, size_t max, int64_t now, struct np_buf *out,
                                 size_t *count)
{
    struct np_link *l;
    enum neap_err err = NEAP_OK;
    np_list_each (l, &s->used) {
        struct entry *e = np_container_of(l, struct entry, used);
        if (is_over(e, now)) continue;
        if (*count == max || err != NEAP_OK) break;
        err = np_buf_append(out, (const char *)&e->key_len, sizeof e->key_len);
        if (err == NEAP_OK) err = np_buf_append(out, e->data, e->key_len);
        ++*count;
    }
    return err;
}

enum neap_err np_shared_keys(struct np_shared_map *m, size_t max, int64_t now, struct np_buf *out,
                             size_t *count)
{
    enum neap_err err = NEAP_OK;
    *count = 0;
    for (size_t i = 0; i < SHARDS && err == NEAP_OK; i++) {
        pthread_mutex_lock(&m->shards[i].lock);
        err = append_keys(&m->shards[i], max, now, out, count);
        unlock(&m->shards[i]);
    }
    return err;
}

/* --- maps by name */

enum neap_err np_shared_maps_new(struct np_shared_maps **out)
{
    struct np_shared_maps *m = np_calloc(1, sizeof *m);
    if (m == NULL) return NEAP_ENOMEM;
    pthread_mutex_init(&m->lock, NULL);
    np_map_init(&m->by_name);
    *out = m;
    return NEAP_OK;
}

static void map_free(struct np_shared_map *m)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];
        clear_shard(s);
        np_heap_fini(&s->expiries);
        np_free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    np_free(m);
}

void np_shared_maps_free(struct np_shared_maps *m)
{
    struct np_map_entry *e = NULL;
    if (m == NULL) return;
    for (size_t it = 0; (e = np_map_next(&m->by_name, &it)) != NULL;)
        map_free(e->value);
    np_map_fini(&m->by_name);
    pthread_mutex_destroy(&m->lock);
    np_free(m);
}

static struct np_shared_map *map_new(void)
{
    struct np_rng a, b;
    struct np_shared_map *m = np_calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    np_rng_init(&a, 0);
    np_rng_init(&b, 0);
    m->key[0] = np_rng_next(&a);
    m->key[1] = np_rng_next(&b);
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        np_link_init(&s->used);
        np_heap_init(&s->expiries);
        s->capacity = NP_SHARED_DEFAULT_BYTES / SHARDS;
    }
    return m;
}

static void resize(struct np_shared_map *m, size_t bytes)
{
    if (bytes < NP_SHARED_MIN_BYTES) bytes = NP_SHARED_MIN_BYTES;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];
        pthread_mutex_lock(&s->lock);
        s->capacity = bytes / SHARDS;
        make_room(s, 0, INT64_MIN);
        unlock(s);
    }
}

static enum neap_err get_map(struct np_shared_maps *m, const char *name, struct np_shared_map **out)
{
    size_t n = strlen(name);
    *out = np_map_get(&m->by_name, name, n);
    if (*out != NULL) return NEAP_OK;
    if (m->by_name.len >= NP_SHARED_MAX_MAPS) return NEAP_ELIMIT;
    *out = map_new();
    if (*out == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_map_set(&m->by_name, name, n, *out, NULL);
    if (err != NEAP_OK) map_free(*out);
    return err;
}

enum neap_err np_shared_maps_get(struct np_shared_maps *m, const char *name, size_t bytes,
                                 struct np_shared_map **out)
{
    struct np_shared_map *map = NULL;
    pthread_mutex_lock(&m->lock);
    enum neap_err err = get_map(m, name, &map);
    pthread_mutex_unlock(&m->lock);
    if (err != NEAP_OK) return err;
    if (bytes > 0) resize(map, bytes);
    *out = map;
    return NEAP_OK;
}
