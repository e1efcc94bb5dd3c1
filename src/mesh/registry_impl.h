/* The registry's own structures, shared by registry*.c and view.c only. */
#ifndef NP_MESH_REGISTRY_IMPL_H
#define NP_MESH_REGISTRY_IMPL_H

#include <pthread.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "mesh/registry.h"

/* What views look at to know whether a service has changed. */
struct np_service_cell {
    atomic_uint refs;
    atomic_ullong index; /* the service's; NP_CELL_GONE when the service is forgotten */
};
#define NP_CELL_GONE UINT64_MAX

/* A service stands while it has instances or watches. */
struct service {
    char *name;
    struct np_service_cell *cell;
    uint64_t serial;              /* of the newest id that was made up for it */
    uint64_t index;               /* 0 while it has had no instance yet */
    struct np_endpoint **members; /* each owns a reference; in order of registration */
    size_t len;
    size_t cap;
    struct np_snapshot *snapshot; /* of the members as they are now; NULL when not built yet */
    struct np_link watches;
};

/* Who wants a registration to stand: it ends with the last of them. */
struct holder {
    const void *who;
    unsigned worker;
};

/* An instance's registration; in the heap while it has a time to live. */
struct lease {
    struct np_heap_node node;
    struct np_endpoint *endpoint; /* owns a reference */
    struct service *service;
    int64_t ttl;
    bool joined; /* by holders whose own it is (not foreign) */
    struct holder *holders;
    size_t nholders;
};

struct np_watch {
    struct np_link link;
    struct np_registry *registry;
    struct service *service; /* NULL: all */
    np_watch_fn fn;          /* NULL once closed */
    void *arg;
    uint64_t born; /* the count of notifications when it was opened */
};

struct np_registry {
    pthread_mutex_t lock; /* recursive: a watch may look up and renew */
    struct np_registry_options opts;
    atomic_ullong index;
    struct np_map reserved; /* ids that np_registry_reserve promised → struct reservation */
    uint64_t extinct;       /* the index at which a service last lost its last instance */
    struct np_stats_table *stats;
    struct np_map services; /* name → struct service */
    struct np_map leases;   /* id → struct lease */
    struct np_heap expiries;
    size_t populated;       /* services with instances */
    struct np_link watches; /* of all services */
    size_t watch_count;
    uint64_t notifications;
    struct service *notifying; /* whose watches are being told, or NULL */
    bool sweep;                /* one of them was closed meanwhile */
};

/* Holds the lock until the block is left. */
static inline void np_registry_unlock_at_end(struct np_registry **r)
{
    np_registry_unlock(*r);
}
#define NP_REGISTRY_LOCKED(r)                                                                 \
    struct np_registry *locked_ __attribute__((cleanup(np_registry_unlock_at_end), unused)) = \
        (np_registry_lock((struct np_registry *)(r)), (struct np_registry *)(r))

static inline struct np_service_cell *np_service_cell_ref(struct np_service_cell *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}
void np_service_cell_unref(struct np_service_cell *c); /* NULL is allowed */

/* registry.c */
NEAP_MUST_CHECK enum neap_err np_registry_service(struct np_registry *r, const char *name,
                                                  struct service **out);
/* Frees the service if nothing holds it. */
void np_registry_service_gone(struct np_registry *r, struct service *s);

/* Writes an id that is free: the service's name and `*serial`, a number it did not have lately. */
NEAP_MUST_CHECK enum neap_err np_registry_free_id(struct np_registry *r, const char *service,
                                                  char *buf, size_t size, uint64_t *serial,
                                                  struct neap_errinfo *info);

/* registry_join.c */
void np_registry_forget_reservations(struct np_registry *r);

/* registry_watch.c. The service is the caller's to drop afterwards (np_registry_service_gone). */
void np_registry_notify(struct np_registry *r, struct service *s, const struct np_change *change);

/* registry_check.c */
NEAP_MUST_CHECK enum neap_err np_registry_check(const struct np_registry_options *o,
                                                const struct np_registration *reg,
                                                struct neap_errinfo *info);

#endif
