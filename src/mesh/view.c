/* Views of the registry (see view.h). */
#include "mesh/view.h"

#include <string.h>

#include "base/alloc.h"
#include "mesh/registry_impl.h"

#define MAX_CACHED 4096 /* services whose snapshots are kept; then all are forgotten */

/* What is known of a service. */
struct entry {
    struct np_service_cell *cell; /* NULL: the registry did not know the service … */
    uint64_t seen;                /* … at this index of the whole registry; else the cell's */
    struct np_snapshot *snapshot;
};

struct event {
    struct np_link link;
    struct np_change change; /* owns references to its endpoints */
    uint64_t number;
};

struct np_view_watch {
    struct np_link link;
    struct np_registry_view *view;
    char *service;  /* NULL: every one */
    np_watch_fn fn; /* NULL once closed */
    void *arg;
    uint64_t born; /* the number of the last change before it was opened */
};

struct np_registry_view {
    struct np_registry *registry;
    void (*wake)(void *arg);
    void *arg;
    struct np_map entries; /* by service */
    struct np_watch *sink; /* in the registry, while there are watches */
    struct np_link watches;
    size_t watch_count;
    bool dispatching;
    bool sweep;            /* a watch was closed meanwhile */
    atomic_bool pending;   /* `events` is not empty */
    struct np_link events; /* under the registry's lock */
    size_t lost;           /* events there was no memory for; under the lock */
};

enum neap_err np_registry_view_new(struct np_registry *r, void (*wake)(void *arg), void *arg,
                                   struct np_registry_view **out)
{
    struct np_registry_view *v = np_calloc(1, sizeof *v);
    if (v == NULL) return NEAP_ENOMEM;
    v->registry = r;
    v->wake = wake;
    v->arg = arg;
    np_map_init(&v->entries);
    np_link_init(&v->watches);
    np_link_init(&v->events);
    *out = v;
    return NEAP_OK;
}

struct np_registry *np_registry_view_registry(const struct np_registry_view *v)
{
    return v->registry;
}

void *np_registry_view_arg(const struct np_registry_view *v)
{
    return v->arg;
}

/* --- reading */

static void entry_free(struct entry *e)
{
    np_snapshot_unref(e->snapshot);
    np_service_cell_unref(e->cell);
    np_free(e);
}

static void forget_entries(struct np_registry_view *v)
{
    struct np_map_entry *m = NULL;
    for (size_t it = 0; (m = np_map_next(&v->entries, &it)) != NULL;)
        entry_free(m->value);
    np_map_fini(&v->entries);
    np_map_init(&v->entries);
}

static bool is_fresh(const struct np_registry_view *v, const struct entry *e)
{
    const atomic_ullong *at = e->cell ? &e->cell->index : &v->registry->index;
    return e->snapshot && atomic_load_explicit(at, memory_order_acquire) == e->seen;
}

/* Asks the registry. What the entry had goes when the new is there. */
static enum neap_err refresh(struct np_registry_view *v, struct entry *e, const char *service)
{
    struct np_registry *r = v->registry;
    struct np_snapshot *set = NULL;
    NP_REGISTRY_LOCKED(r);
    struct service *s = np_map_get(&r->services, service, strlen(service));
    enum neap_err err = np_registry_lookup(r, service, &set);
    if (err != NEAP_OK) return err;
    bool known = s != NULL && s->len > 0;
    np_snapshot_unref(e->snapshot);
    np_service_cell_unref(e->cell);
    e->snapshot = set;
    e->cell = known ? s->cell : NULL;
    if (known) atomic_fetch_add_explicit(&s->cell->refs, 1, memory_order_relaxed);
    e->seen = known ? s->index : r->index;
    return NEAP_OK;
}

static enum neap_err add_entry(struct np_registry_view *v, const char *service, size_t n,
                               struct entry **out)
{
    if (v->entries.len >= MAX_CACHED) forget_entries(v);
    struct entry *e = np_calloc(1, sizeof *e);
    if (e == NULL) return NEAP_ENOMEM;
    enum neap_err err = np_map_set(&v->entries, service, n, e, NULL);
    if (err != NEAP_OK) {
        np_free(e);
        return err;
    }
    *out = e;
    return NEAP_OK;
}

enum neap_err np_registry_view_lookup(struct np_registry_view *v, const char *service,
                                      struct np_snapshot **out)
{
    enum neap_err err = NEAP_OK;
    size_t n = strlen(service);
    struct entry *e = np_map_get(&v->entries, service, n);
    if (e == NULL) err = add_entry(v, service, n, &e);
    if (err == NEAP_OK && !is_fresh(v, e)) err = refresh(v, e, service);
    if (err == NEAP_OK) *out = e->snapshot;
    return err;
}

/* --- watching */

static void event_free(struct event *ev)
{
    np_endpoint_unref(ev->change.endpoint);
    np_endpoint_unref(ev->change.old);
    np_free(ev);
}

/* On whichever thread changes the registry, under its lock. */
static void on_change(const struct np_change *change, void *arg)
{
    struct np_registry_view *v = arg;
    struct event *ev = np_calloc(1, sizeof *ev);
    if (ev == NULL) {
        v->lost++;
        return;
    }
    ev->change = *change;
    np_endpoint_ref(change->endpoint);
    if (change->old != NULL) np_endpoint_ref(change->old);
    ev->number = v->registry->notifications;
    np_link_init(&ev->link);
    np_list_push_back(&v->events, &ev->link);
    if (!atomic_exchange(&v->pending, true) && v->wake) v->wake(v->arg);
}

enum neap_err np_registry_view_watch(struct np_registry_view *v, const char *service,
                                     np_watch_fn fn, void *arg, struct np_view_watch **out)
{
    struct np_registry *r = v->registry;
    if (service != NULL && !np_service_name_ok(service, r->opts.max_name)) return NEAP_EINVAL;
    if (v->watch_count >= r->opts.max_watches) return NEAP_ELIMIT;
    struct np_view_watch *w = np_calloc(1, sizeof *w);
    if (w == NULL) return NEAP_ENOMEM;
    w->service = service ? np_strdup(service) : NULL;
    if (service != NULL && w->service == NULL) goto fail;
    np_registry_lock(r);
    enum neap_err err = v->sink ? NEAP_OK : np_registry_watch(r, NULL, on_change, v, &v->sink);
    w->born = r->notifications;
    np_registry_unlock(r);
    if (err != NEAP_OK) {
        np_free(w->service);
        np_free(w);
        return err;
    }
    w->view = v;
    w->fn = fn;
    w->arg = arg;
    np_list_push_back(&v->watches, &w->link);
    v->watch_count++;
    *out = w;
    return NEAP_OK;
fail:
    np_free(w);
    return NEAP_ENOMEM;
}

static void watch_free(struct np_view_watch *w)
{
    np_list_remove(&w->link);
    np_free(w->service);
    np_free(w);
}

static void drop_events(struct np_registry_view *v)
{
    struct np_link *l = NULL;
    np_registry_lock(v->registry);
    np_watch_close(v->sink);
    v->sink = NULL;
    while ((l = np_list_pop_front(&v->events)) != NULL)
        event_free(np_container_of(l, struct event, link));
    atomic_store(&v->pending, false);
    np_registry_unlock(v->registry);
}

void np_view_watch_close(struct np_view_watch *w)
{
    if (w == NULL || w->fn == NULL) return;
    struct np_registry_view *v = w->view;
    w->fn = NULL;
    v->watch_count--;
    if (v->dispatching) {
        v->sweep = true; /* the round that runs may stand on it */
    } else {
        watch_free(w);
        if (v->watch_count == 0) drop_events(v);
    }
}

static void sweep(struct np_registry_view *v)
{
    struct np_link *l, *tmp;
    v->sweep = false;
    np_list_each_safe (l, tmp, &v->watches) {
        struct np_view_watch *w = np_container_of(l, struct np_view_watch, link);
        if (w->fn == NULL) watch_free(w);
    }
    if (v->watch_count == 0) drop_events(v);
}

static void tell(struct np_registry_view *v, const struct event *ev)
{
    struct np_link *l = NULL;
    const char *service = ev->change.endpoint->service;
    np_list_each (l, &v->watches) {
        struct np_view_watch *w = np_container_of(l, struct np_view_watch, link);
        bool wants = w->service == NULL || strcmp(w->service, service) == 0;
        if (w->fn != NULL && wants && w->born < ev->number) w->fn(&ev->change, w->arg);
    }
}

void np_registry_view_dispatch(struct np_registry_view *v)
{
    struct np_link events;
    struct np_link *l = NULL;
    if (v->dispatching || !atomic_load_explicit(&v->pending, memory_order_acquire)) return;
    np_link_init(&events);
    np_registry_lock(v->registry);
    np_list_splice(&events, &v->events);
    atomic_store(&v->pending, false);
    np_registry_unlock(v->registry);
    v->dispatching = true;
    while ((l = np_list_pop_front(&events)) != NULL) {
        struct event *ev = np_container_of(l, struct event, link);
        tell(v, ev);
        event_free(ev);
    }
    v->dispatching = false;
    if (v->sweep) sweep(v);
}

void np_registry_view_free(struct np_registry_view *v)
{
    struct np_link *l = NULL;
    if (v == NULL) return;
    drop_events(v);
    while ((l = v->watches.next) != &v->watches)
        watch_free(np_container_of(l, struct np_view_watch, link));
    forget_entries(v);
    np_map_fini(&v->entries);
    np_free(v);
}
