/* Upstreams (see upstream.h). */
#include "mesh/upstream.h"

#include <string.h>

#include "base/alloc.h"

struct np_upstream {
    struct np_registry *registry;
    struct np_watch *watch;
    struct np_balancer *balancer;
    atomic_bool stale; /* set by whoever changes the service */
    char *service;
    char **tags;
    size_t ntags;
};

static void on_change(const struct np_change *change, void *arg)
{
    (void)change;
    ((struct np_upstream *)arg)->stale = true;
}

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

enum neap_err np_upstream_new(struct np_registry *r, const char *service, const char *const *tags,
                              size_t ntags, const struct np_balancer_ops *ops,
                              const struct np_balancer_options *opts, struct np_upstream **out)
{
    enum neap_err err = NEAP_ENOMEM;
    struct np_upstream *u = np_calloc(1, sizeof *u);
    if (u == NULL) return NEAP_ENOMEM;
    u->registry = r;
    u->stale = true;
    u->service = np_strdup(service);
    if (u->service == NULL) goto fail;
    err = copy_tags(u, tags, ntags);
    if (err != NEAP_OK) goto fail;
    err = np_balancer_new(ops, opts, &u->balancer);
    if (err != NEAP_OK) goto fail;
    err = np_registry_watch(r, service, on_change, u, &u->watch);
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
    np_watch_close(u->watch);
    np_balancer_free(u->balancer);
    for (size_t i = 0; i < u->ntags; i++)
        np_free(u->tags[i]);
    np_free(u->tags);
    np_free(u->service);
    np_free(u);
}

static enum neap_err load(struct np_upstream *u, struct np_snapshot **out)
{
    struct np_snapshot *all = NULL;
    enum neap_err err = np_registry_lookup(u->registry, u->service, &all);
    if (err != NEAP_OK || u->ntags == 0) {
        if (err == NEAP_OK) *out = all;
        return err;
    }
    err = np_snapshot_filter(all, (const char *const *)u->tags, u->ntags, out);
    np_snapshot_unref(all);
    return err;
}

static void refresh(struct np_upstream *u)
{
    struct np_snapshot *set = NULL;
    if (!atomic_exchange(&u->stale, false)) return;
    if (load(u, &set) != NEAP_OK) {
        u->stale = true;
        return;
    }
    if (np_balancer_update(u->balancer, set) != NEAP_OK) u->stale = true;
    np_snapshot_unref(set);
}

enum neap_err np_upstream_pick(struct np_upstream *u, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out)
{
    refresh(u);
    return np_balancer_pick(u->balancer, ctx, now, out);
}

void np_upstream_release(struct np_upstream *u, struct np_endpoint *e, enum np_outcome outcome,
                         int64_t latency_ns, int64_t now)
{
    np_balancer_release(u->balancer, e, outcome, latency_ns, now);
}

const struct np_snapshot *np_upstream_endpoints(struct np_upstream *u)
{
    refresh(u);
    return u->balancer->set;
}
