/* Registrations with several holders (see registry.h). */
#include <string.h>

#include "base/alloc.h"
#include "mesh/address.h"
#include "mesh/registry_impl.h"

static struct holder *find_holder(struct lease *l, const void *who)
{
    for (size_t i = 0; i < l->nholders; i++) {
        if (l->holders[i].who == who) return &l->holders[i];
    }
    return NULL;
}

static struct lease *find_lease(struct np_registry *r, const char *id)
{
    return np_map_get(&r->leases, id, strlen(id));
}

/* The instance at that address that others have joined, or NULL. */
static struct lease *find_joined(struct np_registry *r, const struct np_endpoint_desc *d,
                                 const void *who)
{
    char text[NP_ADDRESS_TEXT_MAX + 1];
    struct np_address address;
    struct service *s = np_map_get(&r->services, d->service, strlen(d->service));
    if (s == NULL || d->address == NULL) return NULL;
    if (np_address_parse(d->address, strlen(d->address), &address, NULL) != NEAP_OK) return NULL;
    np_address_format(&address, text);
    for (size_t i = 0; i < s->len; i++) {
        struct lease *l = find_lease(r, s->members[i]->id);
        bool match = l->joined && strcmp(s->members[i]->address, text) == 0;
        if (match && find_holder(l, who) == NULL) return l;
    }
    return NULL;
}

static enum neap_err add_holder(struct lease *l, const void *who, unsigned worker)
{
    if (find_holder(l, who) != NULL) return NEAP_OK;
    struct holder *more = np_realloc(l->holders, (l->nholders + 1) * sizeof *more);
    if (more == NULL) return NEAP_ENOMEM;
    l->holders = more;
    l->holders[l->nholders++] = (struct holder){who, worker};
    l->joined = true;
    return NEAP_OK;
}

enum neap_err np_registry_join(struct np_registry *r, const struct np_registration *reg,
                               const void *who, unsigned worker, int64_t now,
                               struct np_endpoint **out, struct neap_errinfo *info)
{
    struct np_registration mine = *reg;
    struct np_endpoint *e = NULL;
    NP_REGISTRY_LOCKED(r);
    struct lease *known =
        mine.desc.id || !mine.desc.service ? NULL : find_joined(r, &mine.desc, who);
    if (known != NULL) mine.desc.id = known->endpoint->id;
    bool is_new = mine.desc.id == NULL || find_lease(r, mine.desc.id) == NULL;
    enum neap_err err = np_registry_register(r, &mine, now, &e, info);
    if (err != NEAP_OK) return err;
    np_endpoint_ref(e);
    err = add_holder(find_lease(r, e->id), who, worker);
    if (err != NEAP_OK) {
        if (is_new && np_registry_deregister(r, e->id) != NEAP_OK) np_err_plain(info, err);
        np_endpoint_unref(e);
        return np_err_plain(info, err);
    }
    np_map_remove(&r->reserved, e->id, strlen(e->id));
    *out = e;
    return NEAP_OK;
}

static void remove_holder(struct lease *l, struct holder *h)
{
    *h = l->holders[--l->nholders];
}

enum neap_err np_registry_leave(struct np_registry *r, const char *id, const void *who)
{
    NP_REGISTRY_LOCKED(r);
    struct lease *l = find_lease(r, id);
    if (l == NULL) return NEAP_ENOTFOUND;
    struct holder *h = find_holder(l, who);
    if (h != NULL) remove_holder(l, h);
    if (l->nholders > 0) return NEAP_OK;
    return np_registry_deregister(r, id);
}

enum neap_err np_registry_reserve(struct np_registry *r, const struct np_registration *reg,
                                  const void *who, char *id, size_t size, struct neap_errinfo *info)
{
    uint64_t serial = 0;
    NP_REGISTRY_LOCKED(r);
    enum neap_err err = np_registry_check(&r->opts, reg, info);
    if (err != NEAP_OK) return err;
    struct lease *known = find_joined(r, &reg->desc, who);
    const char *have = reg->desc.id ? reg->desc.id : known ? known->endpoint->id : NULL;
    if (have != NULL) {
        if (strlen(have) >= size) return np_err_plain(info, NEAP_ELIMIT);
        memcpy(id, have, strlen(have) + 1);
        return NEAP_OK;
    }
    err = np_registry_free_id(r, reg->desc.service, id, size, &serial, info);
    if (err != NEAP_OK) return err;
    err = np_map_set(&r->reserved, id, strlen(id), r, NULL);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

void np_registry_unreserve(struct np_registry *r, const char *id)
{
    NP_REGISTRY_LOCKED(r);
    np_map_remove(&r->reserved, id, strlen(id));
}

static void drop_holders(struct lease *l, unsigned worker)
{
    for (size_t i = l->nholders; i-- > 0;) {
        if (l->holders[i].worker == worker) remove_holder(l, &l->holders[i]);
    }
}

void np_registry_drop_worker(struct np_registry *r, unsigned worker)
{
    struct np_map_entry *entry = NULL;
    NP_REGISTRY_LOCKED(r);
    for (size_t it = 0; (entry = np_map_next(&r->leases, &it)) != NULL;) {
        struct lease *l = entry->value;
        size_t before = l->nholders;
        drop_holders(l, worker);
        bool orphan = before > 0 && l->nholders == 0 && l->ttl == 0;
        if (orphan && np_registry_deregister(r, l->endpoint->id) != NEAP_OK) return;
    }
}
