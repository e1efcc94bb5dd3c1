/* The memory of results by subject: a table with one slot for a subject, the newer one wins.
 *
 * An entry is good for one generation of the trie, so a change of subscriptions costs nothing here.
 * The memory is bounded: so many slots, so long a subject, so many hits a slot.
 */
#include <string.h>

#include "base/alloc.h"
#include "mesh/subject_trie_impl.h"

enum { MAX_HITS = 256, MAX_SUBJECT = 256 };

enum neap_err np_hits_reserve(struct hits *h, size_t extra)
{
    size_t need = h->len + extra;
    if (need <= h->cap) return NEAP_OK;
    size_t cap = h->cap ? h->cap * 2 : 16;
    if (cap < need) cap = need;
    struct hit *v = np_realloc(h->v, cap * sizeof *v);
    if (v == NULL) return NEAP_ENOMEM;
    h->v = v;
    h->cap = cap;
    return NEAP_OK;
}

enum neap_err np_cache_init(struct cache *c, size_t slots)
{
    struct np_rng rng;
    size_t count = 1;
    memset(c, 0, sizeof *c);
    if (slots == 0) return NEAP_OK;
    while (count < slots && count < (size_t)1 << 20)
        count *= 2;
    c->slots = np_calloc(count, sizeof *c->slots);
    if (c->slots == NULL) return NEAP_ENOMEM;
    c->count = count;
    np_rng_init(&rng, 0);
    c->seed[0] = np_rng_next(&rng);
    c->seed[1] = np_rng_next(&rng);
    return NEAP_OK;
}

void np_cache_fini(struct cache *c)
{
    for (size_t i = 0; i < c->count; i++) {
        np_free(c->slots[i].subject);
        np_free(c->slots[i].hits.v);
    }
    np_free(c->slots);
}

struct cache_slot *np_cache_slot(struct cache *c, uint64_t generation, const char *subject,
                                 size_t n, bool *hit)
{
    *hit = false;
    if (c->count == 0 || n > MAX_SUBJECT) return NULL;
    uint64_t hash = np_hash_seeded(subject, n, c->seed);
    struct cache_slot *s = &c->slots[hash & (c->count - 1)];
    *hit = s->generation == generation && s->hash == hash && s->subject_len == n &&
           memcmp(s->subject, subject, n) == 0;
    s->generation = *hit ? generation : 0;
    s->hash = hash;
    return s;
}

void np_cache_fill(struct cache_slot *slot, uint64_t generation, const char *subject, size_t n,
                   const struct hit *v, size_t len)
{
    if (slot == NULL || len > MAX_HITS) return;
    if (slot->subject_cap < n) {
        char *copy = np_realloc(slot->subject, n);
        if (copy == NULL) return;
        slot->subject = copy;
        slot->subject_cap = n;
    }
    slot->hits.len = 0;
    if (np_hits_reserve(&slot->hits, len) != NEAP_OK) return;
    memcpy(slot->subject, subject, n);
    slot->subject_len = n;
    if (len > 0) memcpy(slot->hits.v, v, len * sizeof *v);
    slot->hits.len = len;
    slot->generation = generation;
}
