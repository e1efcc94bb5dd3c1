/* Registrations with several holders (see registry.h).
 *
 * A reservation is a registration to come: an id, and who was promised it. It stands beside the
 * leases; the id that it keeps may be a lease's already, of the state that is being replaced.
 */
#include <string.h>

#include "base/alloc.h"
#include "mesh/address.h"
#include "mesh/registry_impl.h"

struct reservation {
    char *id;
    char *service;
    char *address; /* canonical */
    const void **whos;
    size_t len;
};

static struct lease *find_lease(struct np_registry *r, const char *id)
{
    return np_map_get(&r->leases, id, strlen(id));
}

static struct holder *find_holder(struct lease *l, const void *who)
{
    for (size_t i = 0; i < l->nholders; i++) {
        if (l->holders[i].who == who) return &l->holders[i];
    }
    return NULL;
}

/* --- reservations */

static struct reservation *find_reservation(struct np_registry *r, const char *id)
{
    return np_map_get(&r->reserved, id, strlen(id));
}

static bool is_promised(const struct reservation *v, const void *who)
{
    for (size_t i = 0; v != NULL && i < v->len; i++) {
        if (v->whos[i] == who) return true;
    }
    return false;
}

static void reservation_free(struct reservation *v)
{
    np_free(v->id);
    np_free(v->service);
    np_free(v->address);
    np_free((void *)v->whos);
    np_free(v);
}

static enum neap_err promise(struct reservation *v, const void *who)
{
    if (is_promised(v, who)) return NEAP_OK;
    const void **more = np_realloc((void *)v->whos, (v->len + 1) * sizeof *more);
    if (more == NULL) return NEAP_ENOMEM;
    v->whos = more;
    v->whos[v->len++] = who;
    return NEAP_OK;
}

static enum neap_err new_reservation(struct np_registry *r, const char *id, const char *service,
                                     const char *address, const void *who)
{
    if (r->reserved.len >= r->opts.max_endpoints) return NEAP_ELIMIT;
    struct reservation *v = np_calloc(1, sizeof *v);
    if (v == NULL) return NEAP_ENOMEM;
    v->id = np_strdup(id);
    v->service = np_strdup(service);
    v->address = np_strdup(address);
    if (v->id == NULL || v->service == NULL || v->address == NULL) goto fail;
    if (promise(v, who) != NEAP_OK) goto fail;
    if (np_map_set(&r->reserved, id, strlen(id), v, NULL) != NEAP_OK) goto fail;
    return NEAP_OK;
fail:
    reservation_free(v);
    return NEAP_ENOMEM;
}

static void break_promise(struct np_registry *r, struct reservation *v, const void *who)
{
    for (size_t i = 0; v != NULL && i < v->len; i++) {
        if (v->whos[i] != who) continue;
        v->whos[i] = v->whos[--v->len];
        break;
    }
    if (v == NULL || v->len > 0) return;
    np_map_remove(&r->reserved, v->id, strlen(v->id));
    reservation_free(v);
}

void np_registry_forget_reservations(struct np_registry *r)
{
    struct np_map_entry *m = NULL;
    for (size_t it = 0; (m = np_map_next(&r->reserved, &it)) != NULL;)
        reservation_free(m->value);
    np_map_fini(&r->reserved);
}

/* --- which instance is meant */

/* The id of an instance that others have joined or are to join at the address, and `who` has no
 * part in; or NULL. */
static const char *find_shared(struct np_registry *r, const char *service, const char *address,
                               const void *who)
{
    struct np_map_entry *m = NULL;
    struct service *s = np_map_get(&r->services, service, strlen(service));
    for (size_t i = 0; s != NULL && i < s->len; i++) {
        const char *id = s->members[i]->id;
        if (strcmp(s->members[i]->address, address) != 0) continue;
        struct lease *l = find_lease(r, id);
        bool mine = find_holder(l, who) != NULL || is_promised(find_reservation(r, id), who);
        if (l->joined && !mine) return id;
    }
    for (size_t it = 0; (m = np_map_next(&r->reserved, &it)) != NULL;) {
        const struct reservation *v = m->value;
        bool there = strcmp(v->service, service) == 0 && strcmp(v->address, address) == 0;
        if (there && !is_promised(v, who) && find_lease(r, v->id) == NULL) return v->id;
    }
    return NULL;
}

/* The address as endpoints have it. */
static enum neap_err canonical(const char *address, char *text, struct neap_errinfo *info)
{
    struct np_address a;
    if (address == NULL) return np_err_set(info, NEAP_EINVAL, "an endpoint needs an address");
    enum neap_err err = np_address_parse(address, strlen(address), &a, info);
    if (err == NEAP_OK) np_address_format(&a, text);
    return err;
}

enum neap_err np_registry_reserve(struct np_registry *r, const struct np_registration *reg,
                                  const void *who, char *id, size_t size, struct neap_errinfo *info)
{
    char address[NP_ADDRESS_TEXT_MAX + 1];
    uint64_t serial = 0;
    const struct np_endpoint_desc *d = &reg->desc;
    NP_REGISTRY_LOCKED(r);
    enum neap_err err = np_registry_check(&r->opts, reg, info);
    if (err == NEAP_OK) err = canonical(d->address, address, info);
    if (err != NEAP_OK) return err;
    const char *have = d->id ? d->id : find_shared(r, d->service, address, who);
    if (have != NULL && strlen(have) >= size) return np_err_plain(info, NEAP_ELIMIT);
    if (have != NULL) memcpy(id, have, strlen(have) + 1);
    if (have == NULL) err = np_registry_free_id(r, d->service, id, size, &serial, info);
    if (err != NEAP_OK) return err;
    struct reservation *v = find_reservation(r, id);
    err = v ? promise(v, who) : new_reservation(r, id, d->service, address, who);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

void np_registry_unreserve(struct np_registry *r, const char *id, const void *who)
{
    NP_REGISTRY_LOCKED(r);
    break_promise(r, find_reservation(r, id), who);
}

/* --- joining */

/* Room for one more holder: of `l`, or, as there is no lease yet, to be given to it. */
static enum neap_err make_room(struct lease *l, struct holder **fresh)
{
    if (l == NULL) {
        *fresh = np_alloc(sizeof **fresh);
        return *fresh ? NEAP_OK : NEAP_ENOMEM;
    }
    struct holder *more = np_realloc(l->holders, (l->nholders + 1) * sizeof *more);
    if (more == NULL) return NEAP_ENOMEM;
    l->holders = more;
    return NEAP_OK;
}

static void add_holder(struct lease *l, const void *who, unsigned worker)
{
    if (find_holder(l, who) == NULL) l->holders[l->nholders++] = (struct holder){who, worker};
}

enum neap_err np_registry_join(struct np_registry *r, const struct np_registration *reg,
                               const void *who, unsigned worker, int64_t now,
                               struct np_endpoint **out, struct neap_errinfo *info)
{
    char address[NP_ADDRESS_TEXT_MAX + 1];
    struct np_registration mine = *reg;
    struct np_endpoint_desc *d = &mine.desc;
    struct holder *fresh = NULL;
    struct np_endpoint *e = NULL;
    NP_REGISTRY_LOCKED(r);
    if (d->id == NULL && d->service != NULL && canonical(d->address, address, NULL) == NEAP_OK) {
        d->id = find_shared(r, d->service, address, who);
    }
    enum neap_err err = make_room(d->id ? find_lease(r, d->id) : NULL, &fresh);
    if (err != NEAP_OK) return np_err_plain(info, err);
    err = np_registry_register(r, &mine, now, &e, info);
    if (err != NEAP_OK) {
        np_free(fresh);
        return err;
    }
    struct lease *l = find_lease(r, e->id);
    if (fresh != NULL) l->holders = fresh;
    l->joined = l->joined || !reg->foreign;
    add_holder(l, who, worker);
    break_promise(r, find_reservation(r, e->id), who);
    *out = np_endpoint_ref(e);
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
    if (r->notifying != NULL) return NEAP_EBUSY;
    struct holder *h = find_holder(l, who);
    if (h != NULL) remove_holder(l, h);
    if (l->nholders > 0) return NEAP_OK;
    return np_registry_deregister(r, id);
}

enum np_origin np_registry_origin(struct np_registry *r, const char *id)
{
    NP_REGISTRY_LOCKED(r);
    struct lease *l = find_lease(r, id);
    if (l == NULL) return NP_ORIGIN_NONE;
    if (l->joined) return NP_ORIGIN_OWN;
    return l->nholders > 0 ? NP_ORIGIN_FOREIGN : NP_ORIGIN_PUT;
}

/* --- the end of holders */

void np_registry_drop_holder(struct np_registry *r, const void *who)
{
    struct np_map_entry *m = NULL;
    NP_REGISTRY_LOCKED(r);
    for (size_t it = 0; (m = np_map_next(&r->reserved, &it)) != NULL;)
        break_promise(r, m->value, who);
    for (size_t it = 0; (m = np_map_next(&r->leases, &it)) != NULL;) {
        struct lease *l = m->value;
        if (find_holder(l, who) == NULL) continue;
        if (np_registry_leave(r, l->endpoint->id, who) != NEAP_OK) return;
    }
}

static void drop_holders(struct lease *l, unsigned worker)
{
    for (size_t i = l->nholders; i-- > 0;) {
        if (l->holders[i].worker == worker) remove_holder(l, &l->holders[i]);
    }
}

void np_registry_drop_worker(struct np_registry *r, unsigned worker)
{
    struct np_map_entry *m = NULL;
    NP_REGISTRY_LOCKED(r);
    for (size_t it = 0; (m = np_map_next(&r->leases, &it)) != NULL;) {
        struct lease *l = m->value;
        size_t before = l->nholders;
        drop_holders(l, worker);
        bool orphan = before > 0 && l->nholders == 0 && l->ttl == 0;
        if (orphan && np_registry_deregister(r, l->endpoint->id) != NEAP_OK) return;
    }
}
