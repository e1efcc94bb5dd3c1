/* The snapshot a selector works on, and what it knows of each endpoint (see selector_impl.h). */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/selector_impl.h"

enum {
    SCANNED = 24,      /* a set up to this size is searched without an index */
    SKIPPED = 16,      /* as many that are gone in a row cost nothing */
    MANY_VALUES = 1024 /* of subset keys, that are not in use any more */
};

/* What np_set_take makes before anything changes. */
struct making {
    struct np_entry *entries;
    uint32_t *values;
    struct np_endpoint **scratch;
    struct np_index by_stats, by_sticky;
};

static uint64_t stats_key(const struct np_endpoint *e)
{
    return (uint64_t)(uintptr_t)e->stats;
}

uint64_t np_set_sticky(const struct np_selector *s, const struct np_endpoint *e)
{
    return np_hash_seeded(e->id, strlen(e->id), s->sticky_key);
}

unsigned np_endpoint_level(const struct np_endpoint *e)
{
    const char *text = np_endpoint_meta(e, "priority");
    if (text == NULL) return 0;
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 0) return 0;
    return n < NP_PRIORITIES ? (unsigned)n : NP_PRIORITIES - 1;
}

static enum neap_err read_values(struct np_selector *s, const struct np_endpoint *e, uint32_t *ids)
{
    for (size_t k = 0; k < s->opts.nsubset_keys; k++) {
        const char *value = np_endpoint_meta(e, s->opts.subset_keys[k]);
        ids[k] = 0;
        if (value == NULL) continue;
        enum neap_err err = np_scope_value(s, k, value, &ids[k]);
        if (err != NEAP_OK) return err;
    }
    return NEAP_OK;
}

/* Snapshots keep their order, so an endpoint that stays is found at the next place of the old one,
 * and its entry is copied. */
static enum neap_err read_entries(struct np_selector *s, const struct np_snapshot *set,
                                  struct making *m)
{
    const char *zone = s->opts.zone;
    const struct np_snapshot *old = s->all;
    size_t nkeys = s->opts.nsubset_keys, from = 0;
    for (size_t i = 0; i < set->len; i++) {
        const struct np_endpoint *e = set->endpoints[i];
        uint32_t *ids = m->values + i * nkeys;
        size_t at = from;
        while (at < old->len && at < from + SKIPPED && old->endpoints[at] != e)
            at++; /* those are gone, or were exchanged */
        if (at < old->len && old->endpoints[at] == e && !s->afresh) {
            m->entries[i] = s->entries[at];
            memcpy(ids, s->values + at * nkeys, nkeys * sizeof *ids);
            from = at + 1;
            continue;
        }
        m->entries[i] = (struct np_entry){
            .level = (uint8_t)np_endpoint_level(e),
            .state = NP_AVAILABLE,
            .near = zone == NULL || strcmp(e->zone, zone) == 0,
        };
        enum neap_err err = read_values(s, e, ids);
        if (err != NEAP_OK) return err;
    }
    return NEAP_OK;
}

static enum neap_err index_stats(const struct np_snapshot *set, struct making *m)
{
    if (set->len <= SCANNED) return NEAP_OK;
    enum neap_err err = np_index_init(&m->by_stats, set->len);
    for (size_t i = 0; err == NEAP_OK && i < set->len; i++)
        np_index_add(&m->by_stats, stats_key(set->endpoints[i]), (uint32_t)i);
    return err;
}

static enum neap_err index_sticky(const struct np_selector *s, const struct np_snapshot *set,
                                  struct making *m)
{
    if (s->opts.sticky == NULL) return NEAP_OK;
    enum neap_err err = np_index_init(&m->by_sticky, set->len);
    for (size_t i = 0; err == NEAP_OK && i < set->len; i++)
        np_index_add(&m->by_sticky, np_set_sticky(s, set->endpoints[i]), (uint32_t)i);
    return err;
}

static void making_fini(struct making *m)
{
    np_free(m->entries);
    np_free(m->values);
    np_free(m->scratch);
    np_index_fini(&m->by_stats);
    np_index_fini(&m->by_sticky);
}

static enum neap_err make(struct np_selector *s, const struct np_snapshot *set, struct making *m)
{
    size_t n = set->len ? set->len : 1;
    m->entries = np_calloc(n, sizeof *m->entries);
    m->values = np_calloc(n * (s->opts.nsubset_keys ? s->opts.nsubset_keys : 1), sizeof *m->values);
    m->scratch = np_calloc(n, sizeof(struct np_endpoint *));
    if (m->entries == NULL || m->values == NULL || m->scratch == NULL) return NEAP_ENOMEM;
    enum neap_err err = read_entries(s, set, m);
    if (err == NEAP_OK) err = index_stats(set, m);
    if (err == NEAP_OK) err = index_sticky(s, set, m);
    return err;
}

/* Endpoints that nobody has given a request yet begin slowly, from now on; but not those that the
 * caller begins with. */
static void note_new(struct np_selector *s, const struct np_snapshot *set, int64_t now)
{
    if (s->balancer.slow.window_ns <= 0 || s->all->len == 0) return;
    for (size_t i = 0; i < set->len; i++) {
        struct np_endpoint *e = set->endpoints[i];
        long long never = 0;
        if (np_endpoint_total(e) > 0 || np_set_find(s, e) != SIZE_MAX) continue;
        (void)atomic_compare_exchange_strong_explicit(&e->stats->since_ns, &never, now ? now : 1,
                                                      memory_order_relaxed, memory_order_relaxed);
    }
}

/* Many values have come and gone: they are numbered anew. */
static bool renumber(struct np_selector *s, const struct np_snapshot *set)
{
    size_t n = s->last_value - s->values_from;
    if (n < MANY_VALUES + 2 * set->len * s->opts.nsubset_keys) return false;
    for (size_t k = 0; k < NP_SUBSET_KEYS; k++) {
        np_map_fini(&s->known[k]);
        np_map_init(&s->known[k]);
    }
    np_scopes_clear(s);
    s->values_from = s->last_value;
    return true;
}

enum neap_err np_set_take(struct np_selector *s, struct np_snapshot *set, int64_t now)
{
    struct making m = {0};
    if (renumber(s, set)) s->afresh = true;
    enum neap_err err = make(s, set, &m);
    if (err != NEAP_OK) {
        making_fini(&m);
        return err;
    }
    note_new(s, set, now);
    struct np_snapshot *old = s->all;
    s->all = np_snapshot_ref(set);
    s->afresh = false;
    np_set_fini(s);
    s->entries = m.entries;
    s->values = m.values;
    s->scratch = m.scratch;
    s->by_stats = m.by_stats;
    s->by_sticky = m.by_sticky;
    np_snapshot_unref(old);
    return NEAP_OK;
}

void np_set_fini(struct np_selector *s)
{
    np_free(s->entries);
    np_free(s->values);
    np_free(s->scratch);
    np_index_fini(&s->by_stats);
    np_index_fini(&s->by_sticky);
}

size_t np_set_find(const struct np_selector *s, const struct np_endpoint *e)
{
    if (s->by_stats.slots != NULL) return np_index_get(&s->by_stats, stats_key(e));
    for (size_t i = 0; i < s->all->len; i++) {
        if (s->all->endpoints[i] == e) return i;
    }
    for (size_t i = 0; i < s->all->len; i++) {
        if (np_endpoint_same(s->all->endpoints[i], e)) return i;
    }
    return SIZE_MAX;
}

size_t np_set_find_sticky(const struct np_selector *s, uint64_t value)
{
    return np_index_get(&s->by_sticky, value);
}
