/* The hash map: entries in order of insertion, found through a table of indices with linear
 * probing. Removing closes the gap in the table at once (no tombstones there) and leaves a hole
 * among the entries, which the next set that needs room squeezes out. One thread at a time. */
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { MIN_SLOTS = 8, NO_SLOT = -1 };

void np_map_init(struct np_map *m)
{
    memset(m, 0, sizeof *m);
}

void np_map_fini(struct np_map *m)
{
    for (size_t i = 0; i < m->used; i++) {
        np_free(m->entries[i].key);
    }
    np_free(m->entries);
    np_free(m->slots);
    np_map_init(m);
}

static size_t entries_for(size_t slot_count)
{
    return slot_count / 4 * 3;
}

static size_t home(const struct np_map *m, uint64_t hash)
{
    return (size_t)hash & (m->slot_count - 1);
}

/* The slot that holds the key, or NO_SLOT. */
static ptrdiff_t find(const struct np_map *m, const char *key, size_t n, uint64_t hash)
{
    if (m->len == 0) return NO_SLOT;
    for (size_t s = home(m, hash); m->slots[s]; s = (s + 1) & (m->slot_count - 1)) {
        const struct np_map_entry *e = &m->entries[m->slots[s] - 1];
        if (e->hash == hash && e->key_len == n && (n == 0 || memcmp(e->key, key, n) == 0)) {
            return (ptrdiff_t)s;
        }
    }
    return NO_SLOT;
}

static void fill_slot(struct np_map *m, size_t index)
{
    size_t s = home(m, m->entries[index].hash);
    while (m->slots[s]) {
        s = (s + 1) & (m->slot_count - 1);
    }
    m->slots[s] = (uint32_t)index + 1;
}

/* Squeezes the holes out of the entries and builds the table anew. */
static void reindex(struct np_map *m)
{
    size_t live = 0;
    for (size_t i = 0; i < m->used; i++) {
        if (m->entries[i].key) m->entries[live++] = m->entries[i];
    }
    m->used = live;
    memset(m->slots, 0, m->slot_count * sizeof *m->slots);
    for (size_t i = 0; i < live; i++) {
        fill_slot(m, i);
    }
}

static enum neap_err resize(struct np_map *m, size_t slot_count)
{
    size_t cap = entries_for(slot_count);
    if (slot_count > UINT32_MAX / 2 || cap > SIZE_MAX / sizeof *m->entries) return NEAP_ENOMEM;
    uint32_t *slots = np_calloc(slot_count, sizeof *slots);
    if (!slots) return NEAP_ENOMEM;
    struct np_map_entry *entries = np_realloc(m->entries, cap * sizeof *entries);
    if (!entries) {
        np_free(slots);
        return NEAP_ENOMEM;
    }
    np_free(m->slots);
    m->slots = slots;
    m->slot_count = slot_count;
    m->entries = entries;
    m->cap = cap;
    reindex(m);
    return NEAP_OK;
}

static enum neap_err ensure_room(struct np_map *m)
{
    if (m->used < m->cap) return NEAP_OK;
    if (m->slot_count == 0) return resize(m, MIN_SLOTS);
    if (m->len <= m->used / 4 * 3) {
        reindex(m);
        return NEAP_OK;
    }
    return resize(m, m->slot_count * 2);
}

static void make_seed(struct np_map *m)
{
    struct np_rng rng;
    np_rng_init(&rng, 0);
    m->seed[0] = np_rng_next(&rng);
    m->seed[1] = np_rng_next(&rng);
}

void *np_map_get(const struct np_map *m, const char *key, size_t n)
{
    if (m->len == 0) return NULL;
    ptrdiff_t s = find(m, key, n, np_hash_seeded(key, n, m->seed));
    return s == NO_SLOT ? NULL : m->entries[m->slots[s] - 1].value;
}

enum neap_err np_map_set(struct np_map *m, const char *key, size_t n, void *value, void **old)
{
    if (m->slot_count == 0) make_seed(m);
    uint64_t hash = np_hash_seeded(key, n, m->seed);
    ptrdiff_t s = find(m, key, n, hash);
    if (s != NO_SLOT) {
        struct np_map_entry *e = &m->entries[m->slots[s] - 1];
        if (old) *old = e->value;
        e->value = value;
        return NEAP_OK;
    }
    char *copy = np_strndup(key, n);
    if (!copy) return NEAP_ENOMEM;
    enum neap_err err = ensure_room(m);
    if (err) {
        np_free(copy);
        return err;
    }
    m->entries[m->used] = (struct np_map_entry){copy, n, hash, value};
    fill_slot(m, m->used++);
    m->len++;
    if (old) *old = NULL;
    return NEAP_OK;
}

/* Empties slot `gap` and moves back what had been pushed past it, so that no probe breaks. */
static void close_gap(struct np_map *m, size_t gap)
{
    size_t mask = m->slot_count - 1;
    for (size_t s = (gap + 1) & mask; m->slots[s]; s = (s + 1) & mask) {
        size_t want = home(m, m->entries[m->slots[s] - 1].hash);
        if (((s - want) & mask) >= ((s - gap) & mask)) {
            m->slots[gap] = m->slots[s];
            gap = s;
        }
    }
    m->slots[gap] = 0;
}

void *np_map_remove(struct np_map *m, const char *key, size_t n)
{
    if (m->len == 0) return NULL;
    ptrdiff_t s = find(m, key, n, np_hash_seeded(key, n, m->seed));
    if (s == NO_SLOT) return NULL;
    struct np_map_entry *e = &m->entries[m->slots[s] - 1];
    void *value = e->value;
    np_free(e->key); /* `key` may be this one: it is not read again */
    e->key = NULL;
    e->value = NULL;
    close_gap(m, (size_t)s);
    m->len--;
    while (m->used > 0 && !m->entries[m->used - 1].key) {
        m->used--;
    }
    return value;
}

struct np_map_entry *np_map_next(const struct np_map *m, size_t *it)
{
    while (*it < m->used) {
        struct np_map_entry *e = &m->entries[(*it)++];
        if (e->key) return e;
    }
    return NULL;
}
