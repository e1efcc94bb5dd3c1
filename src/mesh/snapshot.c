/* Snapshots (see snapshot.h). */
#include "mesh/snapshot.h"

#include "base/alloc.h"

static struct np_snapshot *snapshot_alloc(size_t n, uint64_t index)
{
    struct np_snapshot *s = np_alloc(sizeof *s + n * sizeof s->endpoints[0]);
    if (s == NULL) return NULL;
    atomic_init(&s->refs, 1);
    s->index = index;
    s->len = 0;
    return s;
}

enum neap_err np_snapshot_new(struct np_endpoint *const *endpoints, size_t n, uint64_t index,
                              struct np_snapshot **out)
{
    struct np_snapshot *s = snapshot_alloc(n, index);
    if (s == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < n; i++)
        s->endpoints[s->len++] = np_endpoint_ref(endpoints[i]);
    *out = s;
    return NEAP_OK;
}

static bool has_tags(const struct np_endpoint *e, const char *const *tags, size_t ntags)
{
    for (size_t i = 0; i < ntags; i++) {
        if (!np_endpoint_has_tag(e, tags[i])) return false;
    }
    return true;
}

enum neap_err np_snapshot_filter(const struct np_snapshot *from, const char *const *tags,
                                 size_t ntags, struct np_snapshot **out)
{
    struct np_snapshot *s = snapshot_alloc(from->len, from->index);
    if (s == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < from->len; i++) {
        struct np_endpoint *e = from->endpoints[i];
        if (has_tags(e, tags, ntags)) s->endpoints[s->len++] = np_endpoint_ref(e);
    }
    *out = s;
    return NEAP_OK;
}

struct np_snapshot *np_snapshot_ref(struct np_snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void np_snapshot_unref(struct np_snapshot *s)
{
    if (s == NULL) return;
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < s->len; i++)
        np_endpoint_unref(s->endpoints[i]);
    np_free(s);
}
