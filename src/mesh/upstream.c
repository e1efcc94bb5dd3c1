/* Upstreams (see upstream.h). */
#include "mesh/upstream.h"

#include <string.h>

#include "base/alloc.h"

struct np_upstream {
    struct np_view_service *service;
    struct np_snapshot *taken; /* the service's; NULL at first */
    struct np_snapshot *set;   /* those of it that have the tags */
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
                              const char *const *tags, size_t ntags, struct np_upstream **out)
{
    struct np_upstream *u = np_calloc(1, sizeof *u);
    if (u == NULL) return NEAP_ENOMEM;
    enum neap_err err = copy_tags(u, tags, ntags);
    if (err == NEAP_OK) err = np_registry_view_pin(v, service, &u->service);
    if (err != NEAP_OK) {
        np_upstream_free(u);
        return err;
    }
    *out = u;
    return NEAP_OK;
}

void np_upstream_free(struct np_upstream *u)
{
    if (u == NULL) return;
    np_view_service_unpin(u->service);
    np_snapshot_unref(u->taken);
    np_snapshot_unref(u->set);
    for (size_t i = 0; i < u->ntags; i++)
        np_free(u->tags[i]);
    np_free(u->tags);
    np_free(u);
}

static bool take(struct np_upstream *u, struct np_snapshot *all)
{
    struct np_snapshot *set = NULL;
    if (u->ntags == 0) {
        set = np_snapshot_ref(all);
    } else if (np_snapshot_filter(all, (const char *const *)u->tags, u->ntags, &set) != NEAP_OK) {
        return false;
    }
    np_snapshot_unref(u->taken);
    np_snapshot_unref(u->set);
    u->taken = np_snapshot_ref(all);
    u->set = set;
    return true;
}

struct np_snapshot *np_upstream_poll(struct np_upstream *u, bool *changed)
{
    struct np_snapshot *all = NULL;
    bool differs = np_view_service_lookup(u->service, &all) == NEAP_OK && all != u->taken;
    if (differs) differs = take(u, all);
    if (changed != NULL) *changed = differs;
    return u->set;
}
