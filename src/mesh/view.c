/* Views of the registry (see view.h). */
#include "mesh/view.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/registry_impl.h"

#define MAX_CACHED 4096 /* services that are remembered without being pinned */

/* What is known of a service. */
struct np_view_service {
    struct np_registry_view *view;
    struct np_service_cell *cell; /* NULL: the registry did not know the service … */
    uint64_t seen;                /* … at this index of the whole registry; else the cell's */
    struct np_snapshot *snapshot;
    unsigned pins;
    char name[];
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
    size_t lost;   /* of the view's, how many it knows of */
};

struct np_registry_view {
    struct np_registry *registry;
    void (*wake)(void *arg);
    void *arg;
    struct np_map services; /* name → struct np_view_service */
    size_t pinned;
    struct np_watch *sink; /* in the registry, while there are watches */
    struct np_link watches;
    size_t watch_count;
    bool dispatching;
    bool sweep;            /* a watch was closed meanwhile */
    atomic_bool pending;   /* `events` is not empty */
    struct np_link events; /* this and what follows: under the registry's lock */
    size_t waiting;        /* events */
    size_t lost;           /* since ever */
};

enum neap_err np_registry_view_new(struct np_registry *r, void (*wake)(void *arg), void *arg,
                                   struct np_registry_view **out)
{
    struct np_registry_view *v = np_calloc(1, sizeof *v);
    if (v == NULL) return NEAP_ENOMEM;
    v->registry = r;
    v->wake = wake;
    v->arg = arg;
    np_map_init(&v->services);
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

static void service_free(struct np_view_service *s)
{
    np_snapshot_unref(s->snapshot);
    np_service_cell_unref(s->cell);
    np_free(s);
}

/* Those that nobody pins; `absent`: only those the registry does not know. */
static void forget(struct np_registry_view *v, bool absent)
{
    struct np_map_entry *m = NULL;
    for (size_t it = 0; (m = np_map_next(&v->services, &it)) != NULL;) {
        struct np_view_service *s = m->value;
        if (s->pins > 0 || (absent && s->cell != NULL)) continue;
        np_map_remove(&v->services, m->key, m->key_len);
        service_free(s);
    }
}

/* Names are a peer's to choose: those that nobody has go first. */
static void make_room(struct np_registry_view *v)
{
    if (v->services.len < MAX_CACHED + v->pinned) return;
    forget(v, true);
    if (v->services.len >= MAX_CACHED / 4 * 3 + v->pinned) forget(v, false);
}

static bool is_fresh(const struct np_view_service *s)
{
    const atomic_ullong *at = s->cell ? &s->cell->index : &s->view->registry->index;
    return s->snapshot && atomic_load_explicit(at, memory_order_acquire) == s->seen;
}

/* Asks the registry. What was known goes when the new is there. */
static enum neap_err refresh(struct np_view_service *s)
{
    struct np_registry *r = s->view->registry;
    struct np_snapshot *set = NULL;
    NP_REGISTRY_LOCKED(r);
    struct service *now = np_map_get(&r->services, s->name, strlen(s->name));
    if (now != NULL && now->len == 0) now = NULL;
    bool same = now == NULL && s->snapshot && s->snapshot->index == r->extinct;
    if (!same) {
        enum neap_err err = np_registry_lookup(r, s->name, &set);
        if (err != NEAP_OK) return err;
        np_snapshot_unref(s->snapshot);
        s->snapshot = set;
    }
    np_service_cell_unref(s->cell);
    s->cell = now ? np_service_cell_ref(now->cell) : NULL;
    s->seen = now ? now->index : r->index;
    return NEAP_OK;
}

static enum neap_err find(struct np_registry_view *v, const char *name,
                          struct np_view_service **out)
{
    size_t n = strlen(name);
    struct np_view_service *s = np_map_get(&v->services, name, n);
    if (s == NULL) {
        make_room(v);
        s = np_calloc(1, sizeof *s + n + 1);
        if (s == NULL) return NEAP_ENOMEM;
        s->view = v;
        memcpy(s->name, name, n + 1);
        enum neap_err err = np_map_set(&v->services, name, n, s, NULL);
        if (err != NEAP_OK) {
            np_free(s);
            return err;
        }
    }
    *out = s;
    return NEAP_OK;
}

enum neap_err np_view_service_lookup(struct np_view_service *s, struct np_snapshot **out)
{
    enum neap_err err = is_fresh(s) ? NEAP_OK : refresh(s);
    if (err == NEAP_OK) *out = s->snapshot;
    return err;
}

enum neap_err np_registry_view_lookup(struct np_registry_view *v, const char *service,
                                      struct np_snapshot **out)
{
    struct np_view_service *s = np_map_get(&v->services, service, strlen(service));
    /* All that no service can be called are the same to us. */
    if (s == NULL && !np_service_name_ok(service, v->registry->opts.max_name)) service = "";
    if (s == NULL) {
        enum neap_err err = find(v, service, &s);
        if (err != NEAP_OK) return err;
    }
    return np_view_service_lookup(s, out);
}

enum neap_err np_registry_view_pin(struct np_registry_view *v, const char *service,
                                   struct np_view_service **out)
{
    if (!np_service_name_ok(service, v->registry->opts.max_name)) return NEAP_EINVAL;
    enum neap_err err = find(v, service, out);
    if (err == NEAP_OK && (*out)->pins++ == 0) v->pinned++;
    return err;
}

void np_view_service_unpin(struct np_view_service *s)
{
    if (s != NULL && --s->pins == 0) s->view->pinned--;
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
    if (v->waiting == NP_VIEW_MAX_EVENTS) {
        event_free(np_container_of(np_list_pop_front(&v->events), struct event, link));
        v->waiting--;
        v->lost++;
    }
    ev->change = *change;
    np_endpoint_ref(change->endpoint);
    if (change->old != NULL) np_endpoint_ref(change->old);
    ev->number = v->registry->notifications;
    np_link_init(&ev->link);
    np_list_push_back(&v->events, &ev->link);
    v->waiting++;
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
    w->lost = v->lost;
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
    v->waiting = 0;
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

size_t np_view_watch_lost(struct np_view_watch *w)
{
    struct np_registry_view *v = w->view;
    NP_REGISTRY_LOCKED(v->registry);
    size_t lost = v->lost - w->lost;
    w->lost = v->lost;
    return lost;
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
    v->waiting = 0;
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
    assert(v->pinned == 0);
    forget(v, false);
    np_map_fini(&v->services);
    np_free(v);
}
