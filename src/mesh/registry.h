/* The registry: which instances each service has, for as long as their leases are renewed.
 *
 * Any thread may change and ask it: it has a lock, held for one call. What it lends ("borrowed
 * until the next change") is only safe inside np_registry_lock. Snapshots and endpoints any thread
 * may read; view.h is the way to read often. Ids are unique in the whole registry. Every change of
 * a service raises the global index by one and gives the service that number as its own; neither is
 * ever 0 or goes back, and one service's churn leaves the index of the others alone. A service that
 * has no instance has the index at which a service last lost its last one.
 *
 * Time is passed in; nothing here knows a clock.
 */
#ifndef NP_MESH_REGISTRY_H
#define NP_MESH_REGISTRY_H

#include "mesh/endpoint_stats.h"
#include "mesh/snapshot.h"

struct np_registry;
struct np_watch;

struct np_registry_options {
    size_t max_services;   /* default 4096: services that have instances */
    size_t max_endpoints;  /* default 65536, of all services */
    size_t max_watches;    /* default 65536 */
    size_t max_name;       /* default 128: bytes of a service's name */
    size_t max_id;         /* default 255 */
    size_t max_tags;       /* default 64 of an endpoint */
    size_t max_tag;        /* default 255 bytes */
    size_t max_meta;       /* default 64 pairs of an endpoint */
    size_t max_meta_bytes; /* default 8192: keys and values of an endpoint */
    int64_t max_ttl;       /* default one day, in nanoseconds */
};
#define NP_REGISTRY_OPTIONS_INIT                                                     \
    {                                                                                \
        4096, 65536, 65536, 128, 255, 64, 255, 64, 8192, INT64_C(86400) * 1000000000 \
    }

struct np_registration {
    struct np_endpoint_desc desc; /* desc.id may be NULL: "<service>-<n>", counted up */
    int64_t ttl;                  /* nanoseconds; 0: no lease, it stands until deregistered */
    bool foreign; /* np_registry_join: another process's, known here; joined by its id only */
};

/* `opts` may be NULL. */
NEAP_MUST_CHECK enum neap_err np_registry_new(const struct np_registry_options *opts,
                                              struct np_registry **out);
/* Closes the watches that are still open. Snapshots and endpoints live on. NULL is allowed. */
void np_registry_free(struct np_registry *r);

/* Of endpoints that stand in no registry; borrowed. */
struct np_stats_table *np_registry_stats(struct np_registry *r);

/* Keeps the other threads out; nests. */
void np_registry_lock(struct np_registry *r);
void np_registry_unlock(struct np_registry *r);

/* Registers, or updates the instance with that id in place: its lease starts anew and its
 * statistics stay; if nothing differs, no index moves and no watch is called. An id that stood in
 * another service moves. `*out` (may be NULL) is borrowed until the next change.
 * NEAP_EINVAL, NEAP_ELIMIT, NEAP_EBUSY (from inside a watch), NEAP_ENOMEM: nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_registry_register(struct np_registry *r,
                                                   const struct np_registration *reg, int64_t now,
                                                   struct np_endpoint **out,
                                                   struct neap_errinfo *info);
/* NEAP_ENOTFOUND, NEAP_EBUSY (from inside a watch). Never out of memory. */
NEAP_MUST_CHECK enum neap_err np_registry_deregister(struct np_registry *r, const char *id);
/* Renews the lease. NEAP_ENOTFOUND when it was expired or never was: register again. */
NEAP_MUST_CHECK enum neap_err np_registry_heartbeat(struct np_registry *r, const char *id,
                                                    int64_t now);
/* Removes what has a lease that ended at or before `now`. The moment of the next end, or
 * NP_TIME_NEVER. From inside a watch it removes nothing. */
int64_t np_registry_expire(struct np_registry *r, int64_t now);

/* The instances of a service (one reference for the caller); empty if there are none. Between two
 * changes the same snapshot is handed out and nothing is allocated. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_registry_lookup(struct np_registry *r, const char *service,
                                                 struct np_snapshot **out);
/* Borrowed until the next change; NULL when absent. `*ttl`, `*expires` may be NULL. */
struct np_endpoint *np_registry_get(const struct np_registry *r, const char *id, int64_t *ttl,
                                    int64_t *expires);
uint64_t np_registry_index(const struct np_registry *r);
uint64_t np_registry_service_index(const struct np_registry *r, const char *service);

struct np_service_info {
    const char *name;
    size_t endpoints; /* at least 1 */
    uint64_t index;
};
/* `*it` starts at 0; false at the end. In order of first registration; no change meanwhile. */
bool np_registry_next_service(const struct np_registry *r, size_t *it, struct np_service_info *out);
size_t np_registry_endpoint_count(const struct np_registry *r);

/* --- one registration of many holders: what the workers of a host, which all run the same script,
 * register of one address is one instance. */

/* As np_registry_register, and `who` (of `worker`) holds it from here on. Without an id: the
 * instance of that service at that address that others, and not `who`, joined or reserved; else a
 * new one. Two who differ in the rest of the description: the last one's stands. `*out` (not NULL)
 * is one reference. */
NEAP_MUST_CHECK enum neap_err np_registry_join(struct np_registry *r,
                                               const struct np_registration *reg, const void *who,
                                               unsigned worker, int64_t now,
                                               struct np_endpoint **out, struct neap_errinfo *info);
/* Removes it when nobody else holds it. NEAP_ENOTFOUND, NEAP_EBUSY. */
NEAP_MUST_CHECK enum neap_err np_registry_leave(struct np_registry *r, const char *id,
                                                const void *who);
/* The id that np_registry_join would give it, kept for `who` until it joins with that id, or until
 * _unreserve: for a state that is not to be seen yet. Others who reserve or join the same address
 * meanwhile get the same id. */
NEAP_MUST_CHECK enum neap_err np_registry_reserve(struct np_registry *r,
                                                  const struct np_registration *reg,
                                                  const void *who, char *id, size_t size,
                                                  struct neap_errinfo *info);
void np_registry_unreserve(struct np_registry *r, const char *id, const void *who);
/* Whose it is. */
enum np_origin {
    NP_ORIGIN_NONE,   /* there is no such id */
    NP_ORIGIN_PUT,    /* np_registry_register's: whoever renews it */
    NP_ORIGIN_OWN,    /* joined by holders in this process */
    NP_ORIGIN_FOREIGN /* the same, of another process's */
};
enum np_origin np_registry_origin(struct np_registry *r, const char *id);
/* `who` is gone: leaves and unreserves all it has. Not from inside a watch. */
void np_registry_drop_holder(struct np_registry *r, const void *who);
/* A worker is gone: what only it held stands until its lease ends, for another to join; what has no
 * lease is removed. */
void np_registry_drop_worker(struct np_registry *r, unsigned worker);

enum np_change_kind { NP_CHANGE_ADDED, NP_CHANGE_UPDATED, NP_CHANGE_REMOVED };
struct np_change {
    enum np_change_kind kind;
    struct np_endpoint *endpoint; /* as it is now, or as it was if removed */
    struct np_endpoint *old;      /* as it was, if updated; else NULL */
    uint64_t index;               /* the service's index now */
    bool expired;                 /* removed because its lease ended */
};
/* Called inside the change, when it is complete. It may open and close watches (its own too), look
 * up and renew leases; a change from inside is refused with NEAP_EBUSY. The change and its
 * endpoints are lent. A watch opened from inside does not hear of the change that is under way. */
typedef void (*np_watch_fn)(const struct np_change *change, void *arg);

/* `service` NULL: every service. The service need not exist. NEAP_EINVAL, NEAP_ELIMIT, NEAP_ENOMEM.
 */
NEAP_MUST_CHECK enum neap_err np_registry_watch(struct np_registry *r, const char *service,
                                                np_watch_fn fn, void *arg, struct np_watch **out);
/* No call comes after this. NULL is allowed. Not after np_registry_free, which has closed it. */
void np_watch_close(struct np_watch *w);

/* Whether a name is fit for a service: letters, digits, '-', '_', '.', beginning with a letter or a
 * digit, at most `max` bytes. */
bool np_service_name_ok(const char *name, size_t max);

#endif
