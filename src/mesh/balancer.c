/* Balancers: finding policies, and what all of them share (see balancer.h). */
#include "mesh/balancer.h"

#include <string.h>

#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

static const struct np_balancer_options default_options = NP_BALANCER_OPTIONS_INIT;
static const struct np_pick_ctx no_wishes;

static const struct np_balancer_ops *const policies[] = {
    &np_lb_round_robin,   &np_lb_weighted_round_robin,
    &np_lb_random,        &np_lb_weighted_random,
    &np_lb_least_request, &np_lb_p2c,
    &np_lb_ring_hash,     &np_lb_peak_ewma,
};
enum { POLICIES = sizeof policies / sizeof policies[0] };

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

/* Written so that a NaN is refused. */
static bool options_ok(const struct np_balancer_options *o)
{
    if (o->choices < 1 || o->choices > 64) return false;
    if (!(o->active_bias >= 0 && o->active_bias <= 100)) return false;
    if (o->ring_points < 1 || o->ring_points > 65536) return false;
    if (o->ring_max < 1 || o->ring_max > 8u << 20) return false;
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

void np_balancer_free(struct np_balancer *b)
{
    if (b == NULL) return;
    if (b->ops->fini != NULL) b->ops->fini(b);
    np_snapshot_unref(b->set);
    np_free(b);
}

enum neap_err np_balancer_update(struct np_balancer *b, struct np_snapshot *set)
{
    if (b->ops->update != NULL) {
        enum neap_err err = b->ops->update(b, set);
        if (err != NEAP_OK) return err;
    }
    struct np_snapshot *old = b->set;
    b->set = np_snapshot_ref(set);
    np_snapshot_unref(old);
    return NEAP_OK;
}

static bool all_excluded(const struct np_snapshot *set, const struct np_pick_ctx *ctx)
{
    if (ctx->nexclude == 0) return false;
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excluded(ctx, set->endpoints[i])) return false;
    }
    return true;
}

enum neap_err np_balancer_pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out)
{
    struct np_pick_ctx anyone;
    if (ctx == NULL) ctx = &no_wishes;
    if (b->set->len == 0) return NEAP_ENOENDPOINT;
    if (all_excluded(b->set, ctx)) {
        if (ctx->strict) return NEAP_ENOENDPOINT;
        anyone = *ctx;
        anyone.nexclude = 0;
        ctx = &anyone;
    }
    size_t at = b->set->len == 1 ? 0 : b->ops->pick(b, ctx, now);
    struct np_endpoint *e = np_endpoint_ref(b->set->endpoints[at]);
    np_endpoint_begin(e);
    b->inflight++;
    *out = e;
    return NEAP_OK;
}

void np_balancer_release(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r,
                         int64_t now)
{
    np_endpoint_end(e, r, now);
    b->inflight--;
    if (b->ops->release != NULL) b->ops->release(b, e, r);
    np_endpoint_unref(e);
}
