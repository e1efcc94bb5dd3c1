/* What policies that hash have in common: who may take a key, and bounded loads.
 *
 * A key's endpoint is asked first, then others in an order that the key gives. Passed over are
 * those that are excluded, those that are unavailable just now (so that only their keys move, and
 * come back), and those that are full.
 *
 * Full is who has load_factor times its share of the requests in flight ("consistent hashing with
 * bounded loads", Mirrokni et al.). Those of the whole set would have to be summed up; a pick
 * renews the count of a few endpoints instead, and never takes it for less than what was picked
 * here. Up to NP_LOADS_EXACT endpoints the sum is exact.
 *
 * One thread. A pick allocates nothing.
 */
#ifndef NP_MESH_BALANCER_STABLE_H
#define NP_MESH_BALANCER_STABLE_H

#include "mesh/balancer_draw.h"

#define NP_LOADS_EXACT 8
#define NP_LOADS_LARGE 1024 /* from here on one is renewed every 32nd pick: picks do it as well */

struct np_loads {
    uint32_t *seen; /* in flight, by index; NULL without a bound */
    uint64_t sum;   /* of those */
    size_t cursor;
    unsigned picks;
    double factor; /* load_factor / sum of the weights */
};

/* For `set`, whose endpoints' counts are taken. NEAP_ENOMEM: nothing changed. */
NEAP_MUST_CHECK enum neap_err np_loads_update(struct np_loads *l, const struct np_balancer *b,
                                              const struct np_snapshot *set);
void np_loads_fini(struct np_loads *l);

/* Requests in flight that an endpoint may have for each unit of weight, with this one. */
double np_loads_bound(struct np_loads *l, const struct np_balancer *b);
static inline void np_loads_see(struct np_loads *l, size_t i, uint32_t n)
{
    l->sum += (uint64_t)n - l->seen[i];
    l->seen[i] = n;
}
/* It was picked. */
static inline void np_loads_took(struct np_loads *l, const struct np_balancer *b, size_t i)
{
    if (l->seen != NULL) np_loads_see(l, i, np_stats_active(b->slots[i].stats) + 1);
}
/* It was released, if it is there still. */
void np_loads_released(struct np_loads *l, const struct np_balancer *b,
                       const struct np_endpoint *e);

/* What a pick looks for. */
struct np_taker {
    const struct np_pick_ctx *ctx;
    int64_t now;
    bool bounded;
    double bound;
    size_t available; /* the first that is full, but else would do */
    size_t any;       /* the first that is not excluded */
};

/* Whether it takes the key; remembers who would have to do. */
static inline bool np_taker_asks(struct np_taker *t, const struct np_balancer *b, size_t i)
{
    const struct np_stats *s = b->slots[i].stats;
    if (t->ctx->nexclude > 0 && np_excludes(t->ctx, s)) return false;
    if (!t->ctx->panic && np_stats_availability(s, t->now) != NP_AVAILABLE) {
        if (t->any == NP_NONE) t->any = i;
        return false;
    }
    if (!t->bounded || (double)np_stats_active(s) * b->slots[i].inverse < t->bound) return true;
    if (t->available == NP_NONE) t->available = i;
    return false;
}
/* Nobody of those who were asked: asks all, from a place that the key gives. */
size_t np_taker_anyone(struct np_taker *t, const struct np_balancer *b, uint64_t hash);

#define NP_PROBES 64 /* of the key's own order; then all are asked */

/* The hash of what names an endpoint in a ring or a table: its metadata's "hash_key", or else its
 * address. */
uint64_t np_stable_name(const struct np_endpoint *e);

#endif
