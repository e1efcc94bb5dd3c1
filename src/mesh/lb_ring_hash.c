/* ring_hash: consistent hashing on a ring (ketama). Each endpoint has points in proportion to its
 * weight, placed by the hash of its address (or of its metadata's "hash_key") and the point's
 * number; a key goes to the first point at or behind its hash. So every process that knows the same
 * addresses sends a key to the same endpoint, and one that comes or goes moves its own share only.
 *
 * The ring is cut into arcs of equal length, of which each knows its first point, so that a key's
 * point is found in O(1): among the few of its arc. Of a point's hash 32 bits are kept, those
 * behind the arc's number.
 */
#include "base/alloc.h"
#include "mesh/balancer_policies.h"
#include "mesh/balancer_stable.h"

enum { POINTS_PER_ARC = 4, PACKED = 16384 /* points from which on they are packed */ };

struct point {
    uint32_t rest;     /* of the hash */
    uint32_t endpoint; /* index in the snapshot */
};
struct wheel {
    struct point *points; /* by hash; one of the two is NULL */
    uint32_t *packed;     /* rest in the upper half, endpoint in the lower */
    uint32_t *arcs;       /* each one's first point, or where that would be; and the end */
    size_t len;
    unsigned bits; /* of the arcs' numbers; 1 or more */
};
struct ring {
    struct np_balancer b;
    struct wheel wheel;
    struct np_loads loads;
};
/* While it is made. */
struct mark {
    uint64_t hash;
    uint32_t endpoint;
};

static double total_weight(const struct np_snapshot *set)
{
    double sum = 0;
    for (size_t i = 0; i < set->len; i++)
        sum += set->endpoints[i]->weight;
    return sum;
}

/* Points of one endpoint. Where the ring would be too large all shrink alike; each has one. */
static size_t points_of(const struct np_balancer_options *o, const struct np_endpoint *e,
                        double weights)
{
    double want = (double)e->weight * o->ring_points;
    double all = weights * o->ring_points;
    if (all > o->ring_max) want *= o->ring_max / all;
    return want < 1 ? 1 : (size_t)want;
}

static size_t place(struct mark *marks, size_t n, uint32_t index, uint64_t name)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = np_hash_mix(name + i * UINT64_C(0x9e3779b97f4a7c15));
        marks[i] = (struct mark){hash, index};
    }
    return n;
}

static bool before(const struct mark *x, const struct mark *y)
{
    return x->hash != y->hash ? x->hash < y->hash : x->endpoint < y->endpoint;
}

/* By arc first, and then, since each arc is short, by insertion. `arcs` is zeroed. */
static void sort(const struct mark *marks, struct mark *sorted, struct wheel *w)
{
    size_t arcs = (size_t)1 << w->bits;
    unsigned shift = 64 - w->bits;
    for (size_t i = 0; i < w->len; i++)
        w->arcs[(marks[i].hash >> shift) + 1]++;
    for (size_t a = 0; a < arcs; a++)
        w->arcs[a + 1] += w->arcs[a];
    for (size_t i = 0; i < w->len; i++)
        sorted[w->arcs[marks[i].hash >> shift]++] = marks[i];
    /* Now each knows its end, which is where the next one begins. */
    for (size_t a = arcs; a > 0; a--)
        w->arcs[a] = w->arcs[a - 1];
    w->arcs[0] = 0;
    for (size_t i = 1; i < w->len; i++) {
        struct mark v = sorted[i];
        size_t at = i;
        for (; at > 0 && before(&v, &sorted[at - 1]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
}

/* `len` points of `n` endpoints. */
static enum neap_err wheel_alloc(struct wheel *w, size_t len, size_t n, struct mark **marks)
{
    w->len = len;
    w->bits = 1;
    while (((size_t)1 << w->bits) * POINTS_PER_ARC < len)
        w->bits++;
    if (len >= PACKED && n <= UINT16_MAX) {
        w->packed = np_alloc(len * sizeof *w->packed);
    } else {
        w->points = np_alloc(len * sizeof *w->points);
    }
    w->arcs = np_calloc(((size_t)1 << w->bits) + 1, sizeof *w->arcs);
    *marks = np_alloc(2 * len * sizeof **marks);
    return (w->points || w->packed) && w->arcs && *marks ? NEAP_OK : NEAP_ENOMEM;
}

static void wheel_fini(struct wheel *w)
{
    np_free(w->points);
    np_free(w->packed);
    np_free(w->arcs);
    *w = (struct wheel){0};
}

static enum neap_err wheel_init(struct wheel *w, const struct np_balancer_options *o,
                                const struct np_snapshot *set)
{
    struct mark *marks = NULL;
    double weights = total_weight(set);
    size_t len = 0, at = 0;
    for (size_t i = 0; i < set->len; i++)
        len += points_of(o, set->endpoints[i], weights);
    enum neap_err err = wheel_alloc(w, len, set->len, &marks);
    if (err != NEAP_OK) goto fail;
    for (size_t i = 0; i < set->len; i++) {
        size_t n = points_of(o, set->endpoints[i], weights);
        at += place(marks + at, n, (uint32_t)i, np_stable_name(set->endpoints[i]));
    }
    struct mark *sorted = marks + len;
    sort(marks, sorted, w);
    for (size_t i = 0; i < len; i++) {
        uint32_t rest = (uint32_t)(sorted[i].hash << w->bits >> 32);
        if (w->packed != NULL) {
            w->packed[i] = (rest & UINT32_C(0xffff0000)) | sorted[i].endpoint;
        } else {
            w->points[i] = (struct point){rest, sorted[i].endpoint};
        }
    }
    np_free(marks);
    return NEAP_OK;
fail:
    np_free(marks);
    wheel_fini(w);
    return err;
}

static void fini(struct np_balancer *b)
{
    struct ring *r = (struct ring *)b;
    wheel_fini(&r->wheel);
    np_loads_fini(&r->loads);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct ring *r = (struct ring *)b;
    struct wheel next = {0};
    enum neap_err err = wheel_init(&next, &b->opts, set);
    if (err == NEAP_OK) err = np_loads_update(&r->loads, b, set);
    if (err != NEAP_OK) {
        wheel_fini(&next);
        return err;
    }
    wheel_fini(&r->wheel);
    r->wheel = next;
    return NEAP_OK;
}

/* The first point at or behind the hash. */
static inline size_t find(const struct wheel *w, uint64_t hash)
{
    size_t arc = (size_t)(hash >> (64 - w->bits));
    uint32_t rest = (uint32_t)(hash << w->bits >> 32);
    size_t at = w->arcs[arc], end = w->arcs[arc + 1];
    if (w->packed != NULL) {
        while (at < end && w->packed[at] >> 16 < rest >> 16)
            at++;
    } else {
        while (at < end && w->points[at].rest < rest)
            at++;
    }
    return at == w->len ? 0 : at;
}

static inline size_t endpoint_at(const struct wheel *w, size_t at)
{
    return w->packed != NULL ? w->packed[at] & 0xffff : w->points[at].endpoint;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct ring *r = (struct ring *)b;
    uint64_t hash = ctx->has_hash ? ctx->hash : np_rng_next(&b->rng);
    struct np_taker t = {.ctx = ctx, .now = now, .available = NP_NONE, .any = NP_NONE};
    size_t at = find(&r->wheel, hash);
    if (r->loads.seen != NULL) {
        t.bounded = true;
        t.bound = np_loads_bound(&r->loads, b);
    }
    size_t found = NP_NONE;
    for (size_t i = 0; found == NP_NONE && i < NP_PROBES; i++) {
        size_t e = endpoint_at(&r->wheel, at);
        if (np_taker_asks(&t, b, e)) found = e;
        if (++at == r->wheel.len) at = 0;
    }
    if (found == NP_NONE) found = np_taker_anyone(&t, b, hash);
    np_loads_took(&r->loads, b, found);
    return found;
}

static void release(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r)
{
    (void)r;
    np_loads_released(&((struct ring *)b)->loads, b, e);
}

const struct np_balancer_ops np_lb_ring_hash = {
    .name = "ring_hash",
    .size = sizeof(struct ring),
    .stable = true,
    .fini = fini,
    .update = update,
    .pick = pick,
    .release = release,
};
