/* Shared statistics (see endpoint_stats.h).
 *
 * The last reference to an object of a table is dropped under the table's lock, where it also
 * leaves the table; so what is found there is alive. Others are dropped without.
 */
#include "mesh/endpoint_stats.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"

#define CACHE_LINE 64u

_Static_assert(offsetof(struct np_stats, errors) == CACHE_LINE, "what a pick reads: a line");
_Static_assert(offsetof(struct np_stats, latency) == 2 * CACHE_LINE, "what a release writes");

struct np_stats_table {
    pthread_mutex_t lock;
    struct np_map map; /* key → struct shared */
    size_t refs;       /* under the lock: its owner's, and each object's */
};

/* An object of a table. */
struct shared {
    struct np_stats stats;
    struct np_stats_table *table;
    size_t key_len;
    char key[];
};

/* Beginning with a pair of lines of cache (which some processors fetch together), so that two
 * endpoints' counters share none. Where malloc's block begins stands before it. */
static void *lines(size_t size)
{
    char *block = np_calloc(1, sizeof(void *) + 2 * CACHE_LINE - 1 + size);
    if (block == NULL) return NULL;
    uintptr_t at = (uintptr_t)block + sizeof(void *) + 2 * CACHE_LINE - 1;
    void **p = (void **)(at / (2 * CACHE_LINE) * (2 * CACHE_LINE));
    p[-1] = block;
    return p;
}

static void free_lines(void *p)
{
    np_free(((void **)p)[-1]);
}

static void stats_init(struct np_stats *s, unsigned refs)
{
    atomic_init(&s->refs, refs);
    atomic_init(&s->success, 1.0);
    np_quantile_init(&s->latency, 0.95, NP_LATENCY_WINDOW_NS, NP_LATENCY_MIN_COUNT);
}

struct np_stats *np_stats_new(void)
{
    struct np_stats *s = lines(sizeof *s);
    if (s != NULL) stats_init(s, 1);
    return s;
}

enum neap_err np_stats_table_new(struct np_stats_table **out)
{
    struct np_stats_table *t = np_calloc(1, sizeof *t);
    if (t == NULL) return NEAP_ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    np_map_init(&t->map);
    t->refs = 1;
    *out = t;
    return NEAP_OK;
}

size_t np_stats_table_len(struct np_stats_table *t)
{
    pthread_mutex_lock(&t->lock);
    size_t len = t->map.len;
    pthread_mutex_unlock(&t->lock);
    return len;
}

/* Unlocks. */
static void drop_table(struct np_stats_table *t)
{
    bool last = --t->refs == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last) return;
    np_map_fini(&t->map);
    pthread_mutex_destroy(&t->lock);
    np_free(t);
}

void np_stats_table_unref(struct np_stats_table *t)
{
    if (t == NULL) return;
    pthread_mutex_lock(&t->lock);
    drop_table(t);
}

static void shared_unref(struct shared *s)
{
    struct np_stats_table *t = s->table;
    unsigned n = atomic_load_explicit(&s->stats.refs, memory_order_relaxed);
    while (n > 1) {
        if (atomic_compare_exchange_weak_explicit(&s->stats.refs, &n, n - 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return;
    }
    pthread_mutex_lock(&t->lock);
    if (atomic_fetch_sub_explicit(&s->stats.refs, 1, memory_order_acq_rel) != 1) {
        pthread_mutex_unlock(&t->lock);
        return;
    }
    np_map_remove(&t->map, s->key, s->key_len);
    free_lines(s);
    drop_table(t);
}

void np_stats_unref(struct np_stats *s)
{
    if (s->shared) {
        shared_unref(np_container_of(s, struct shared, stats));
    } else if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        free_lines(s);
    }
}

/* Under the lock. */
static struct shared *add(struct np_stats_table *t, const char *key, size_t n)
{
    struct shared *s = lines(sizeof *s + n);
    if (s == NULL) return NULL;
    if (np_map_set(&t->map, key, n, s, NULL) != NEAP_OK) {
        free_lines(s);
        return NULL;
    }
    stats_init(&s->stats, 0);
    s->stats.shared = true;
    s->table = t;
    s->key_len = n;
    memcpy(s->key, key, n);
    t->refs++;
    return s;
}

/* One reference, or NULL. */
static struct np_stats *get(struct np_stats_table *t, const char *key, size_t n)
{
    pthread_mutex_lock(&t->lock);
    struct shared *s = np_map_get(&t->map, key, n);
    if (s == NULL) s = add(t, key, n);
    if (s != NULL) atomic_fetch_add_explicit(&s->stats.refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&t->lock);
    return s ? &s->stats : NULL;
}

enum neap_err np_endpoint_share_stats(struct np_endpoint *e, struct np_stats_table *t, bool apart)
{
    size_t n = strlen(e->address), id = apart ? strlen(e->id) + 1 : 0;
    char *key = np_alloc(n + id + 1);
    if (key == NULL) return NEAP_ENOMEM;
    memcpy(key, e->address, n + 1);
    if (apart) memcpy(key + n + 1, e->id, id); /* behind a NUL, which no address has */
    struct np_stats *s = get(t, key, n + id);
    np_free(key);
    if (s == NULL) return NEAP_ENOMEM;
    np_stats_unref(e->stats);
    e->stats = s;
    return NEAP_OK;
}
