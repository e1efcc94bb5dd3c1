/* Upstreams (see upstream.h). */
#include "mesh/upstream.h"

#include <string.h>

#include "base/alloc.h"

struct np_upstream {
    struct np_view_service *service;
    struct np_snapshot *taken; /* of the service's, what the balancer has; NULL at first */
    struct np_balancer *balancer;
    char **tags;
    size_t ntags;
};

static enum neap_err copy_tags(struct np_upstream *u, const char *const *tags, size_t ntags)
{
    if (ntags == 0) return NEAP_OK;
    u->tags = np_calloc(ntags, sizeof *u->tags);
    if (u->tags == NULL) return NEAP_ENOMEM;
    for (; u->ntags < ntags; u->ntags++) {
        u->tags[u->ntags] = np_strdup(tags[u->ntags]);
        if (u->tags[u->ntags] == NULL) return NEAP_ENOMEM;
    }
    return NEAP_OK;
}

enum neap_err np_upstream_new(struct np_registry_view *v, const char *service,
                              const char *const *tags, size_t ntags,
                              const struct np_balancer_ops *ops,
                              const struct np_balancer_options *opts, struct np_upstream **out)
{
    struct np_upstream *u = np_calloc(1, sizeof *u);
    if (u == NULL) return NEAP_ENOMEM;
    enum neap_err err = copy_tags(u, tags, ntags);
    if (err != NEAP_OK) goto fail;
    err = np_balancer_new(ops, opts, &u->balancer);
    if (err != NEAP_OK) goto fail;
    err = np_registry_view_pin(v, service, &u->service);
    if (err != NEAP_OK) goto fail;
    *out = u;
    return NEAP_OK;
fail:
    np_upstream_free(u);
    return err;
}

void np_upstream_free(struct np_upstream *u)
{
    if (u == NULL) return;
    np_view_service_unpin(u->service);
    np_snapshot_unref(u->taken);
    np_balancer_free(u->balancer);
    for (size_t i = 0; i < u->ntags; i++)
        np_free(u->tags[i]);
    np_free(u->tags);
    np_free(u);
}

static enum neap_err take(struct np_upstream *u, struct np_snapshot *all)
{
    struct np_snapshot *set = np_snapshot_ref(all);
    enum neap_err err = NEAP_OK;
    if (u->ntags > 0) {
        np_snapshot_unref(set);
        err = np_snapshot_filter(all, (const char *const *)u->tags, u->ntags, &set);
        if (err != NEAP_OK) return err;
    }
    err = np_balancer_update(u->balancer, set);
    np_snapshot_unref(set);
    return err;
}

static void refresh(struct np_upstream *u)
{
    struct np_snapshot *all = NULL;
    if (np_view_service_lookup(u->service, &all) != NEAP_OK || all == u->taken) return;
    if (take(u, all) != NEAP_OK) return;
    np_snapshot_unref(u->taken);
    u->taken = np_snapshot_ref(all);
}

enum neap_err np_upstream_pick(struct np_upstream *u, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out)
{
    refresh(u);
    return np_balancer_pick(u->balancer, ctx, now, out);
}

void np_upstream_release(struct np_upstream *u, struct np_endpoint *e, const struct np_result *r,
                         int64_t now)
{
    np_balancer_release(u->balancer, e, r, now);
}

const struct np_snapshot *np_upstream_endpoints(struct np_upstream *u)
{
    refresh(u);
    return u->balancer->set;
}
