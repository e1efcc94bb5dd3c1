/* Balancers: finding policies, and what all of them share (see balancer.h).
 *
 * Whoever picks gets a reference to the endpoint. So that this costs no atomic operation, and does
 * not move the endpoint's line of cache between the workers' cores, a balancer takes references in
 * advance and hands them out (np_slot.spare); what is released goes back among the spare ones while
 * the endpoint stands in the set. Where it stands is remembered in its statistics, as a hint: all
 * balancers of one snapshot agree about it.
 */
#include "mesh/balancer.h"

#include <string.h>

#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

static const struct np_balancer_options default_options = NP_BALANCER_OPTIONS_INIT;
static const struct np_pick_ctx no_wishes;

static const struct np_balancer_ops *const policies[] = {
    &np_lb_round_robin,
    &np_lb_weighted_round_robin,
    &np_lb_random,
    &np_lb_weighted_random,
    &np_lb_least_request,
    &np_lb_p2c,
    &np_lb_ring_hash,
    &np_lb_peak_ewma,
    &np_lb_maglev,
    &np_lb_first,
    &np_lb_client_side_weighted,
};
enum { POLICIES = sizeof policies / sizeof policies[0] };
enum { SPARE = 64, SPARE_MOST = 4096 }; /* references taken at a time, and kept */
#define UPDATE_MIN_NS INT64_C(100000000)

const struct np_balancer_ops *np_balancer_find(const char *name)
{
    if (strcmp(name, "consistent_hash") == 0) return &np_lb_ring_hash;
    for (size_t i = 0; i < POLICIES; i++) {
        if (strcmp(policies[i]->name, name) == 0) return policies[i];
    }
    return NULL;
}

const struct np_balancer_ops *np_balancer_at(size_t n)
{
    return n < POLICIES ? policies[n] : NULL;
}

/* Of a table's size: 3 … 2^23. */
static bool is_prime(uint32_t n)
{
    if (n < 3 || n > 1u << 23 || n % 2 == 0) return false;
    for (uint32_t d = 3; d * d <= n; d += 2) {
        if (n % d == 0) return false;
    }
    return true;
}

/* Written, as the next one is, so that a NaN is refused. */
static bool slow_start_ok(const struct np_slow_start *s)
{
    if (s->window_ns < 0 || !(s->min >= 0 && s->min <= 1)) return false;
    return s->aggression > 0 && s->aggression <= 100;
}

static bool options_ok(const struct np_balancer_options *o)
{
    if (o->choices < 1 || o->choices > 64) return false;
    if (!(o->active_bias >= 0 && o->active_bias <= 100)) return false;
    if (o->ring_points < 1 || o->ring_points > 65536) return false;
    if (o->ring_max < 1 || o->ring_max > 8u << 20) return false;
    if (o->max_active < 1 || !is_prime(o->table_size)) return false;
    if (!(o->error_penalty >= 0 && o->error_penalty <= 1e6)) return false;
    if (o->blackout_ns < 0 || o->expiry_ns <= 0 || o->update_ns < UPDATE_MIN_NS) return false;
    if (!slow_start_ok(&o->slow)) return false;
    return o->load_factor == 0 || (o->load_factor >= 1 && o->load_factor <= 1e6);
}

enum neap_err np_balancer_new(const struct np_balancer_ops *ops,
                              const struct np_balancer_options *opts, struct np_balancer **out)
{
    const struct np_balancer_options *o = opts ? opts : &default_options;
    if (!options_ok(o)) return NEAP_EINVAL;
    struct np_balancer *b = np_calloc(1, ops->size);
    if (b == NULL) return NEAP_ENOMEM;
    b->ops = ops;
    b->opts = *o;
    np_rng_init(&b->rng, o->seed);
    enum neap_err err = np_snapshot_new(NULL, 0, 0, &b->set);
    if (err != NEAP_OK) goto fail;
    if (ops->init != NULL) err = ops->init(b);
    if (err != NEAP_OK) goto fail;
    *out = b;
    return NEAP_OK;
fail:
    np_snapshot_unref(b->set);
    np_free(b);
    return err;
}

/* The set holds a reference to each, so none of these is the last. */
static void drop_slots(const struct np_snapshot *set, struct np_slot *slots)
{
    for (size_t i = 0; slots != NULL && i < set->len; i++) {
        if (slots[i].spare == 0) continue;
        atomic_fetch_sub_explicit(&set->endpoints[i]->refs, slots[i].spare, memory_order_acq_rel);
    }
    np_free(slots);
}

void np_balancer_free(struct np_balancer *b)
{
    if (b == NULL) return;
    if (b->ops->fini != NULL) b->ops->fini(b);
    drop_slots(b->set, b->slots);
    np_snapshot_unref(b->set);
    np_free(b);
}

static struct np_slot *make_slots(const struct np_snapshot *set)
{
    struct np_slot *slots = np_calloc(set->len, sizeof *slots);
    for (size_t i = 0; slots != NULL && i < set->len; i++) {
        slots[i].stats = set->endpoints[i]->stats;
        slots[i].inverse = 1 / (float)set->endpoints[i]->weight;
    }
    return slots;
}

enum neap_err np_balancer_update(struct np_balancer *b, struct np_snapshot *set)
{
    struct np_slot *slots = make_slots(set);
    if (slots == NULL) return NEAP_ENOMEM;
    enum neap_err err = b->ops->update ? b->ops->update(b, set) : NEAP_OK;
    if (err != NEAP_OK) {
        np_free(slots);
        return err;
    }
    struct np_snapshot *old = b->set;
    drop_slots(old, b->slots);
    b->slots = slots;
    b->set = np_snapshot_ref(set);
    np_snapshot_unref(old);
    return NEAP_OK;
}

static bool all_excluded(const struct np_snapshot *set, const struct np_pick_ctx *ctx)
{
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excludes(ctx, set->endpoints[i]->stats)) return false;
    }
    return true;
}

/* Begins a request on the endpoint at `at`, with a reference for the caller. */
struct np_endpoint *np_balancer_begin(struct np_balancer *b, size_t at)
{
    struct np_slot *slot = &b->slots[at];
    struct np_stats *s = slot->stats;
    struct np_endpoint *e = b->set->endpoints[at];
    __builtin_prefetch(e); /* the caller reads it, the release writes the statistics */
    __builtin_prefetch(&s->errors, 1);
    if (slot->spare == 0) {
        atomic_fetch_add_explicit(&e->refs, SPARE, memory_order_relaxed);
        slot->spare = SPARE;
    }
    slot->spare--;
    b->inflight++;
    atomic_fetch_add_explicit(&s->begun, 1, memory_order_relaxed);
    if (atomic_load_explicit(&s->hint, memory_order_relaxed) != (unsigned)at)
        atomic_store_explicit(&s->hint, (unsigned)at, memory_order_relaxed);
    return e;
}

static enum neap_err pick_wary(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out)
{
    struct np_pick_ctx anyone;
    if (all_excluded(b->set, ctx)) {
        if (ctx->strict) return NEAP_ENOENDPOINT;
        anyone = *ctx;
        anyone.nexclude = 0;
        ctx = &anyone;
    }
    *out = np_balancer_begin(b, b->set->len == 1 ? 0 : b->ops->pick(b, ctx, now));
    return NEAP_OK;
}

enum neap_err np_balancer_pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out)
{
    if (ctx == NULL) ctx = &no_wishes;
    if (b->set->len == 0) return NEAP_ENOENDPOINT;
    if (ctx->nexclude > 0) return pick_wary(b, ctx, now, out);
    *out = np_balancer_begin(b, b->set->len == 1 ? 0 : b->ops->pick(b, ctx, now));
    return NEAP_OK;
}

void np_balancer_release(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r,
                         int64_t now)
{
    size_t at = atomic_load_explicit(&e->stats->hint, memory_order_relaxed);
    np_endpoint_end(e, r, now);
    if (b->inflight > 0) b->inflight--;
    if (b->ops->release != NULL) b->ops->release(b, e, r);
    if (at < b->set->len && b->set->endpoints[at] == e && b->slots[at].spare < SPARE_MOST) {
        b->slots[at].spare++;
    } else {
        np_endpoint_unref(e);
    }
}
