/* ring_hash: consistent hashing on a ring (ketama). Each endpoint has points in proportion to its
 * weight, placed by the hash of its address (or of its metadata's "hash_key") and the point's
 * number; a key goes to the first point at or behind its hash. So every process that knows the same
 * addresses sends a key to the same endpoint, and one that comes or goes moves its own share only.
 *
 * With a load factor a key whose endpoint is full goes on to the next one (bounded loads).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

struct point {
    uint64_t hash;
    uint32_t endpoint; /* index in the snapshot */
};
struct ring {
    struct np_balancer b;
    struct point *points; /* by hash */
    size_t len;
    uint64_t weights; /* the sum */
};

static int by_hash(const void *a, const void *b)
{
    const struct point *x = a;
    const struct point *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static uint64_t total_weight(const struct np_snapshot *set)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < set->len; i++)
        sum += set->endpoints[i]->weight;
    return sum;
}

/* Points of one endpoint. Where the ring would be too large all shrink alike; each has one. */
static size_t points_of(const struct ring *r, const struct np_endpoint *e, uint64_t weights)
{
    double want = (double)e->weight * r->b.opts.ring_points;
    double all = (double)weights * r->b.opts.ring_points;
    if (all > r->b.opts.ring_max) want *= r->b.opts.ring_max / all;
    return want < 1 ? 1 : (size_t)want;
}

static void place(struct point *points, size_t n, uint32_t index, const struct np_endpoint *e)
{
    const char *key = np_endpoint_meta(e, "hash_key");
    if (key == NULL) key = e->address;
    uint64_t base = np_hash_stable(key, strlen(key), 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = np_hash_mix(base + i * UINT64_C(0x9e3779b97f4a7c15));
        points[i] = (struct point){hash, index};
    }
}

static void fini(struct np_balancer *b)
{
    np_free(((struct ring *)b)->points);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct ring *r = (struct ring *)b;
    uint64_t weights = total_weight(set);
    size_t len = 0;
    for (size_t i = 0; i < set->len; i++)
        len += points_of(r, set->endpoints[i], weights);
    struct point *points = np_calloc(len ? len : 1, sizeof *points);
    if (points == NULL) return NEAP_ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < set->len; i++) {
        size_t n = points_of(r, set->endpoints[i], weights);
        place(points + at, n, (uint32_t)i, set->endpoints[i]);
        at += n;
    }
    qsort(points, len, sizeof *points, by_hash);
    np_free(r->points);
    r->points = points;
    r->len = len;
    r->weights = weights;
    return NEAP_OK;
}

/* The first point at or behind the hash. */
static size_t find(const struct ring *r, uint64_t hash)
{
    size_t lo = 0;
    size_t hi = r->len;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->points[mid].hash < hash) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo == r->len ? 0 : lo;
}

/* Requests in flight that the whole set may have per unit of weight, with this one. */
static double bound(const struct ring *r)
{
    const struct np_snapshot *set = r->b.set;
    double active = 1;
    if (r->b.opts.load_factor <= 0) return HUGE_VAL;
    for (size_t i = 0; i < set->len; i++)
        active += np_endpoint_active(set->endpoints[i]);
    return r->b.opts.load_factor * active / (double)r->weights;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct ring *r = (struct ring *)b;
    size_t home = NP_NONE;
    size_t at = find(r, ctx->has_hash ? ctx->hash : np_rng_next(&b->rng));
    double limit = bound(r);
    (void)now;
    for (size_t i = 0; i < r->len; i++, at = at + 1 == r->len ? 0 : at + 1) {
        uint32_t index = r->points[at].endpoint;
        const struct np_endpoint *e = b->set->endpoints[index];
        if (np_excludes(ctx, e->stats)) continue;
        if (np_endpoint_active(e) < ceil(limit * e->weight)) return index;
        if (home == NP_NONE) home = index;
    }
    return home;
}

const struct np_balancer_ops np_lb_ring_hash = {
    .name = "ring_hash",
    .size = sizeof(struct ring),
    .fini = fini,
    .update = update,
    .pick = pick,
};
