/* Policies that hash (see balancer_stable.h). */
#include "mesh/balancer_stable.h"

#include <string.h>

#include "base/alloc.h"

enum neap_err np_loads_update(struct np_loads *l, const struct np_balancer *b,
                              const struct np_snapshot *set)
{
    struct np_loads next = {0};
    double weights = 0;
    if (b->opts.load_factor <= 0) return NEAP_OK;
    next.seen = np_alloc(set->len * sizeof *next.seen);
    if (next.seen == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++) {
        weights += set->endpoints[i]->weight;
        next.seen[i] = np_endpoint_active(set->endpoints[i]);
        next.sum += next.seen[i];
    }
    next.factor = b->opts.load_factor / weights;
    np_loads_fini(l);
    *l = next;
    return NEAP_OK;
}

void np_loads_fini(struct np_loads *l)
{
    np_free(l->seen);
}

static void renew(struct np_loads *l, const struct np_balancer *b)
{
    np_loads_see(l, l->cursor, np_stats_active(b->slots[l->cursor].stats));
    if (++l->cursor == b->set->len) l->cursor = 0;
}

double np_loads_bound(struct np_loads *l, const struct np_balancer *b)
{
    size_t len = b->set->len;
    size_t n = len <= NP_LOADS_EXACT ? len : len <= NP_LOADS_LARGE || l->picks++ % 32 == 0;
    for (size_t i = 0; i < n; i++)
        renew(l, b);
    return l->factor * (double)(l->sum + 1);
}

void np_loads_released(struct np_loads *l, const struct np_balancer *b, const struct np_endpoint *e)
{
    size_t at = atomic_load_explicit(&e->stats->hint, memory_order_relaxed);
    if (l->seen == NULL || at >= b->set->len || b->slots[at].stats != e->stats) return;
    np_loads_see(l, at, np_stats_active(e->stats));
}

size_t np_taker_anyone(struct np_taker *t, const struct np_balancer *b, uint64_t hash)
{
    size_t n = b->set->len;
    size_t at = np_scale((uint32_t)(np_hash_mix(hash) >> 32), n);
    for (size_t i = 0; i < n; i++, at = at + 1 == n ? 0 : at + 1) {
        if (np_taker_asks(t, b, at)) return at;
    }
    return t->available != NP_NONE ? t->available : t->any;
}

uint64_t np_stable_name(const struct np_endpoint *e)
{
    const char *key = np_endpoint_meta(e, "hash_key");
    if (key == NULL) key = e->address;
    return np_hash_stable(key, strlen(key), 0);
}
