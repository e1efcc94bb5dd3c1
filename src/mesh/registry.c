/* The registry's instances and leases (see registry.h; watches stand in registry_watch.c).
 *
 * A change first gets all the memory it needs, then is carried out, then is told; removing needs no
 * memory. A service's snapshot is dropped by a change and built by the next look-up.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mesh/registry_impl.h"

static const struct np_registry_options default_options = NP_REGISTRY_OPTIONS_INIT;

enum neap_err np_registry_new(const struct np_registry_options *opts, struct np_registry **out)
{
    struct np_registry *r = np_calloc(1, sizeof *r);
    if (r == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_stats_table_new(&r->stats);
    if (err != NEAP_OK) {
        np_free(r);
        return err;
    }
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&r->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    r->opts = opts ? *opts : default_options;
    r->index = r->extinct = 1;
    np_map_init(&r->reserved);
    np_map_init(&r->services);
    np_map_init(&r->leases);
    np_heap_init(&r->expiries);
    np_link_init(&r->watches);
    *out = r;
    return NEAP_OK;
}

struct np_stats_table *np_registry_stats(struct np_registry *r)
{
    return r->stats;
}

void np_registry_lock(struct np_registry *r)
{
    pthread_mutex_lock(&r->lock);
}

void np_registry_unlock(struct np_registry *r)
{
    pthread_mutex_unlock(&r->lock);
}

void np_service_cell_unref(struct np_service_cell *c)
{
    if (c == NULL) return;
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) np_free(c);
}

static struct np_service_cell *cell_new(void)
{
    struct np_service_cell *c = np_calloc(1, sizeof *c);
    if (c != NULL) atomic_init(&c->refs, 1);
    return c;
}

static void cell_set(struct np_service_cell *c, uint64_t index)
{
    if (c != NULL) atomic_store_explicit(&c->index, index, memory_order_release);
}

static void service_free(struct service *s)
{
    cell_set(s->cell, NP_CELL_GONE);
    np_service_cell_unref(s->cell);
    for (size_t i = 0; i < s->len; i++)
        np_endpoint_unref(s->members[i]);
    np_snapshot_unref(s->snapshot);
    np_free(s->members);
    np_free(s->name);
    np_free(s);
}

static void free_watches(struct np_link *head)
{
    struct np_link *l = NULL;
    while ((l = np_list_pop_front(head)) != NULL) {
        np_free(np_container_of(l, struct np_watch, link));
    }
}

void np_registry_free(struct np_registry *r)
{
    struct np_map_entry *entry = NULL;
    if (r == NULL) return;
    free_watches(&r->watches);
    for (size_t it = 0; (entry = np_map_next(&r->services, &it)) != NULL;) {
        struct service *s = entry->value;
        free_watches(&s->watches);
        service_free(s);
    }
    for (size_t it = 0; (entry = np_map_next(&r->leases, &it)) != NULL;) {
        struct lease *l = entry->value;
        np_endpoint_unref(l->endpoint);
        np_free(l->holders);
        np_free(l);
    }
    np_registry_forget_reservations(r);
    np_map_fini(&r->services);
    np_map_fini(&r->leases);
    np_heap_fini(&r->expiries);
    np_stats_table_unref(r->stats);
    pthread_mutex_destroy(&r->lock);
    np_free(r);
}

static struct service *find_service(const struct np_registry *r, const char *name)
{
    return np_map_get(&r->services, name, strlen(name));
}

enum neap_err np_registry_service(struct np_registry *r, const char *name, struct service **out)
{
    struct service *s = find_service(r, name);
    if (s == NULL) {
        s = np_calloc(1, sizeof *s);
        if (s == NULL) return NEAP_ENOMEM;
        np_link_init(&s->watches);
        s->name = np_strdup(name);
        s->cell = cell_new();
        if (s->name == NULL || s->cell == NULL) goto fail;
        if (np_map_set(&r->services, name, strlen(name), s, NULL) != NEAP_OK) goto fail;
    }
    *out = s;
    return NEAP_OK;
fail:
    service_free(s);
    return NEAP_ENOMEM;
}

void np_registry_service_gone(struct np_registry *r, struct service *s)
{
    if (s->len > 0 || !np_list_empty(&s->watches) || s == r->notifying) return;
    np_map_remove(&r->services, s->name, strlen(s->name));
    service_free(s);
}

static void touch(struct np_registry *r, struct service *s)
{
    s->index = ++r->index;
    cell_set(s->cell, s->index);
    np_snapshot_unref(s->snapshot);
    s->snapshot = NULL;
}

static enum neap_err reserve_member(struct service *s)
{
    if (s->len < s->cap) return NEAP_OK;
    size_t cap = s->cap ? s->cap * 2 : 4;
    struct np_endpoint **members = np_realloc(s->members, cap * sizeof *members);
    if (members == NULL) return NEAP_ENOMEM;
    s->members = members;
    s->cap = cap;
    return NEAP_OK;
}

static size_t member_at(const struct service *s, const struct np_endpoint *e)
{
    size_t i = 0;
    while (s->members[i] != e)
        i++;
    return i;
}

/* There is room (reserve_member). */
static void add_member(struct np_registry *r, struct service *s, struct np_endpoint *e)
{
    if (s->len == 0) r->populated++;
    s->members[s->len++] = np_endpoint_ref(e);
    touch(r, s);
}

static void drop_member(struct np_registry *r, struct service *s, struct np_endpoint *e)
{
    size_t i = member_at(s, e);
    memmove(&s->members[i], &s->members[i + 1], (s->len - i - 1) * sizeof(struct np_endpoint *));
    s->len--;
    touch(r, s);
    if (s->len == 0) {
        r->populated--;
        r->extinct = r->index;
    }
    np_endpoint_unref(e);
}

static void tell(struct np_registry *r, struct service *s, enum np_change_kind kind,
                 struct np_endpoint *e, struct np_endpoint *old, bool expired)
{
    struct np_change change = {kind, e, old, s->index, expired};
    np_registry_notify(r, s, &change);
}

/* Takes the instance out of its service and says so. The endpoint is the caller's reference. */
static void leave_service(struct np_registry *r, struct service *s, struct np_endpoint *e,
                          bool expired)
{
    drop_member(r, s, e);
    tell(r, s, NP_CHANGE_REMOVED, e, NULL, expired);
    np_registry_service_gone(r, s);
}

static void remove_lease(struct np_registry *r, struct lease *l, bool expired)
{
    struct np_endpoint *e = l->endpoint;
    np_map_remove(&r->leases, e->id, strlen(e->id));
    np_heap_remove(&r->expiries, &l->node);
    leave_service(r, l->service, e, expired);
    np_endpoint_unref(e);
    np_free(l->holders);
    np_free(l);
}

/* Sets the lease's end; fails only when the lease had none so far. */
static enum neap_err arm(struct np_registry *r, struct lease *l, int64_t ttl, int64_t now)
{
    if (ttl > 0) return np_heap_put(&r->expiries, &l->node, np_time_add(now, ttl));
    np_heap_remove(&r->expiries, &l->node);
    return NEAP_OK;
}

/* Writes an id that is free: the service's name and `*serial`, a number it did not have lately. */
enum neap_err np_registry_free_id(struct np_registry *r, const char *service, char *buf,
                                  size_t size, uint64_t *serial, struct neap_errinfo *info)
{
    struct service *s = find_service(r, service);
    *serial = s ? s->serial + 1 : 1;
    for (size_t tries = 0; tries <= r->leases.len + r->reserved.len; tries++, ++*serial) {
        int n = snprintf(buf, size, "%s-%" PRIu64, service, *serial);
        if (n < 0 || (size_t)n >= size || (size_t)n > r->opts.max_id) break;
        bool taken = np_map_get(&r->leases, buf, (size_t)n) != NULL ||
                     np_map_get(&r->reserved, buf, (size_t)n) != NULL;
        if (!taken) return NEAP_OK;
    }
    return np_err_set(info, NEAP_ELIMIT, "no id is left for '%.64s'", service);
}

static enum neap_err check_counts(const struct np_registry *r, const struct np_registration *reg,
                                  bool new_endpoint, struct neap_errinfo *info)
{
    struct service *s = find_service(r, reg->desc.service);
    if (new_endpoint && r->leases.len >= r->opts.max_endpoints) {
        return np_err_set(info, NEAP_ELIMIT, "the registry is full: %zu endpoints", r->leases.len);
    }
    if ((s == NULL || s->len == 0) && r->populated >= r->opts.max_services) {
        return np_err_set(info, NEAP_ELIMIT, "the registry is full: %zu services", r->populated);
    }
    return NEAP_OK;
}

/* A first registration under an id. Takes the reference to `e` when it succeeds. */
static enum neap_err add_lease(struct np_registry *r, struct np_endpoint *e, int64_t ttl,
                               int64_t now)
{
    struct service *s = NULL;
    struct lease *l = np_calloc(1, sizeof *l);
    if (l == NULL) return NEAP_ENOMEM;
    if (np_registry_service(r, e->service, &s) != NEAP_OK) goto fail;
    if (reserve_member(s) != NEAP_OK) goto fail;
    if (arm(r, l, ttl, now) != NEAP_OK) goto fail;
    if (np_map_set(&r->leases, e->id, strlen(e->id), l, NULL) != NEAP_OK) goto fail;
    l->endpoint = e;
    l->service = s;
    l->ttl = ttl;
    add_member(r, s, e);
    tell(r, s, NP_CHANGE_ADDED, e, NULL, false);
    return NEAP_OK;
fail:
    np_heap_remove(&r->expiries, &l->node);
    if (s != NULL) np_registry_service_gone(r, s);
    np_free(l);
    return NEAP_ENOMEM;
}

/* The id is known, in this service or another. Takes the reference to `e` when it succeeds. */
static enum neap_err change_lease(struct np_registry *r, struct lease *l, struct np_endpoint *e,
                                  int64_t ttl, int64_t now)
{
    struct service *from = l->service;
    struct service *to = NULL;
    struct np_endpoint *old = l->endpoint;
    if (np_registry_service(r, e->service, &to) != NEAP_OK) return NEAP_ENOMEM;
    if (to != from && reserve_member(to) != NEAP_OK) goto fail;
    if (arm(r, l, ttl, now) != NEAP_OK) goto fail;
    l->ttl = ttl;
    if (np_endpoint_equal(e, old)) {
        np_endpoint_unref(e);
        return NEAP_OK;
    }
    l->endpoint = e;
    l->service = to;
    if (to == from) {
        np_endpoint_unref(old); /* the member's; the lease's is dropped below */
        to->members[member_at(to, old)] = np_endpoint_ref(e);
        touch(r, to);
        tell(r, to, NP_CHANGE_UPDATED, e, old, false);
    } else {
        add_member(r, to, e);
        leave_service(r, from, old, false);
        tell(r, to, NP_CHANGE_ADDED, e, NULL, false);
    }
    np_endpoint_unref(old);
    return NEAP_OK;
fail:
    np_registry_service_gone(r, to);
    return NEAP_ENOMEM;
}

enum neap_err np_registry_register(struct np_registry *r, const struct np_registration *reg,
                                   int64_t now, struct np_endpoint **out, struct neap_errinfo *info)
{
    NP_REGISTRY_LOCKED(r);
    char id[512];
    uint64_t serial = 0;
    struct np_endpoint_desc desc = reg->desc;
    struct np_endpoint *e = NULL;
    if (r->notifying != NULL) return np_err_set(info, NEAP_EBUSY, "inside a watch");
    enum neap_err err = np_registry_check(&r->opts, reg, info);
    if (err != NEAP_OK) return err;
    if (desc.id == NULL) {
        err = np_registry_free_id(r, desc.service, id, sizeof id, &serial, info);
        if (err != NEAP_OK) return err;
        desc.id = id;
    }
    struct lease *l = np_map_get(&r->leases, desc.id, strlen(desc.id));
    err = check_counts(r, reg, l == NULL, info);
    if (err != NEAP_OK) return err;
    err = np_endpoint_new(&desc, l ? l->endpoint->stats : NULL, &e, info);
    if (err != NEAP_OK) return err;
    err = l ? change_lease(r, l, e, reg->ttl, now) : add_lease(r, e, reg->ttl, now);
    if (err != NEAP_OK) {
        np_endpoint_unref(e);
        return np_err_plain(info, err);
    }
    if (serial != 0) find_service(r, desc.service)->serial = serial;
    if (out != NULL) *out = l ? l->endpoint : e;
    return NEAP_OK;
}

enum neap_err np_registry_deregister(struct np_registry *r, const char *id)
{
    NP_REGISTRY_LOCKED(r);
    struct lease *l = np_map_get(&r->leases, id, strlen(id));
    if (r->notifying != NULL) return NEAP_EBUSY;
    if (l == NULL) return NEAP_ENOTFOUND;
    remove_lease(r, l, false);
    return NEAP_OK;
}

enum neap_err np_registry_heartbeat(struct np_registry *r, const char *id, int64_t now)
{
    NP_REGISTRY_LOCKED(r);
    struct lease *l = np_map_get(&r->leases, id, strlen(id));
    if (l == NULL) return NEAP_ENOTFOUND;
    return arm(r, l, l->ttl, now);
}

int64_t np_registry_expire(struct np_registry *r, int64_t now)
{
    NP_REGISTRY_LOCKED(r);
    struct np_heap_node *n = NULL;
    while ((n = np_heap_min(&r->expiries)) != NULL && n->key <= now && r->notifying == NULL) {
        remove_lease(r, np_container_of(n, struct lease, node), true);
    }
    return n ? n->key : NP_TIME_NEVER;
}

enum neap_err np_registry_lookup(struct np_registry *r, const char *service,
                                 struct np_snapshot **out)
{
    NP_REGISTRY_LOCKED(r);
    struct service *s = find_service(r, service);
    uint64_t index = np_registry_service_index(r, service);
    if (s == NULL || s->len == 0) return np_snapshot_new(NULL, 0, index, out);
    if (s->snapshot == NULL) {
        enum neap_err err = np_snapshot_new(s->members, s->len, index, &s->snapshot);
        if (err != NEAP_OK) return err;
    }
    *out = np_snapshot_ref(s->snapshot);
    return NEAP_OK;
}

struct np_endpoint *np_registry_get(const struct np_registry *r, const char *id, int64_t *ttl,
                                    int64_t *expires)
{
    NP_REGISTRY_LOCKED(r);
    struct lease *l = np_map_get(&r->leases, id, strlen(id));
    if (l == NULL) return NULL;
    if (ttl != NULL) *ttl = l->ttl;
    if (expires != NULL) *expires = l->ttl > 0 ? l->node.key : NP_TIME_NEVER;
    return l->endpoint;
}

uint64_t np_registry_index(const struct np_registry *r)
{
    return r->index;
}

uint64_t np_registry_service_index(const struct np_registry *r, const char *service)
{
    NP_REGISTRY_LOCKED(r);
    struct service *s = find_service(r, service);
    return s != NULL && s->len > 0 ? s->index : r->extinct;
}

bool np_registry_next_service(const struct np_registry *r, size_t *it, struct np_service_info *out)
{
    NP_REGISTRY_LOCKED(r);
    struct np_map_entry *entry = NULL;
    while ((entry = np_map_next(&r->services, it)) != NULL) {
        struct service *s = entry->value;
        if (s->len == 0) continue;
        *out = (struct np_service_info){s->name, s->len, s->index};
        return true;
    }
    return false;
}

size_t np_registry_endpoint_count(const struct np_registry *r)
{
    NP_REGISTRY_LOCKED(r);
    return r->leases.len;
}
