/* A view: a worker's way to the registry that all workers share.
 *
 * The registry is changed under a lock of its own, by any thread. A view belongs to one thread and
 * reads without a lock: it keeps each service's snapshot that it was asked for, with the service's
 * cell, an atomic index that a change moves; while that has not moved the snapshot is the newest.
 * So a read sees every change that was made before it, its own thread's or another's, and costs a
 * hash look-up and one load; only the first read after a change takes the lock. Snapshots and
 * endpoints are counted: an old one goes with its last reader.
 *
 * Watches through a view are told on the view's thread, in the order of the changes, from
 * np_registry_view_dispatch: `wake` (any thread, under the registry's lock) says that there is
 * something to dispatch.
 */
#ifndef NP_MESH_VIEW_H
#define NP_MESH_VIEW_H

#include "mesh/registry.h"

struct np_registry_view;

/* `wake` may be NULL where the owner dispatches by itself. */
NEAP_MUST_CHECK enum neap_err np_registry_view_new(struct np_registry *r, void (*wake)(void *arg),
                                                   void *arg, struct np_registry_view **out);
/* Before the registry. NULL is allowed. */
void np_registry_view_free(struct np_registry_view *v);
struct np_registry *np_registry_view_registry(const struct np_registry_view *v);
void *np_registry_view_arg(const struct np_registry_view *v);

/* The newest snapshot, borrowed until the next call on the view; empty if the service has no
 * instance. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err
np_registry_view_lookup(struct np_registry_view *v, const char *service, struct np_snapshot **out);

/* One service that is looked up again and again: as above, but without the search by name. It is
 * remembered until it is unpinned, which is before the view is freed. NEAP_EINVAL, NEAP_ENOMEM. */
struct np_view_service;
NEAP_MUST_CHECK enum neap_err np_registry_view_pin(struct np_registry_view *v, const char *service,
                                                   struct np_view_service **out);
void np_view_service_unpin(struct np_view_service *s); /* NULL is allowed */
NEAP_MUST_CHECK enum neap_err np_view_service_lookup(struct np_view_service *s,
                                                     struct np_snapshot **out);

/* As np_registry_watch, but told by dispatch. Open and close from the view's thread, from inside a
 * watch as well; changing the registry from inside one is allowed here. */
struct np_view_watch;
NEAP_MUST_CHECK enum neap_err np_registry_view_watch(struct np_registry_view *v,
                                                     const char *service, np_watch_fn fn, void *arg,
                                                     struct np_view_watch **out);
void np_view_watch_close(struct np_view_watch *w); /* NULL is allowed */
/* How many changes, of any service, the view has lost since it was last asked (or opened): there
 * was no memory, or more than NP_VIEW_MAX_EVENTS waited for dispatch; the oldest go first. */
#define NP_VIEW_MAX_EVENTS 65536
size_t np_view_watch_lost(struct np_view_watch *w);
/* Tells the watches what has changed since the last call. */
void np_registry_view_dispatch(struct np_registry_view *v);

#endif
