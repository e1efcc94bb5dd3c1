/* What the files of the selector share; nobody else includes it.
 *
 * Of each endpoint of the snapshot an entry says its level, its zone and its availability when it
 * was last looked at. A scope is what requests of one subset see (the root: all), a group one set
 * of a scope: of one level, the caller's own zone (NEAR), the others (FAR), or all of them. Entries
 * are renewed by np_plan_look, groups by np_plan_scope; both may fail for want of memory, and leave
 * what can still be picked from.
 */
#ifndef NP_MESH_SELECTOR_IMPL_H
#define NP_MESH_SELECTOR_IMPL_H

#include "base/hash.h"
#include "mesh/selector.h"
#include "mesh/selector_index.h"

#define NP_MAX_SCOPES 4096 /* subsets that are known at a time; more: they are forgotten */

enum np_part { NP_PART_ALL, NP_PART_NEAR, NP_PART_FAR, NP_PARTS };
/* An entry's state: of enum np_availability, or that it gets nothing, even in panic. */
enum { NP_ENTRY_DRAINING = NP_UNAVAILABLE + 1 };

struct np_entry {
    uint8_t level;
    uint8_t state;
    bool near;
};

struct np_group {
    struct np_balancer *lb;    /* NULL: it never had an endpoint */
    struct np_balancer *keyed; /* for requests with a key, if they stick */
    struct np_snapshot *set;   /* who may be chosen; a stable policy's balancer knows all members */
    uint64_t id;
    uint8_t level;
    uint8_t part;
    bool panic;
};

struct np_level {
    struct np_group parts[NP_PARTS];
    double until; /* a draw below this comes to this level, if not to one before */
    double near;  /* the share of NEAR, where it is divided by zones */
    bool zoned;
};

struct np_scope {
    struct np_level *levels; /* nlevels */
    size_t nlevels;          /* more than the highest in use */
    size_t first;            /* the first level that has an endpoint */
    struct np_group *only;   /* gets everything; NULL: there are several, or none */
    uint32_t *members;       /* indices of entries; NULL: all */
    size_t n;
    uint32_t *trials; /* indices of the entries that are due a trial */
    size_t ntrials, next_trial;
    bool stale;                      /* to be planned before it is used */
    bool planned;                    /* once at least; else there was no memory */
    bool used;                       /* since the last update */
    uint32_t wanted[NP_SUBSET_KEYS]; /* ids of values, by key; 0: any */
};

struct np_selector {
    struct np_balancer *plain; /* takes all requests without wishes, and there is nothing to count;
                                  NULL: it is not so easy */
    const struct np_balancer_ops *ops;
    struct np_balancer_options balancer;
    struct np_selector_options opts; /* the strings are owned */
    uint64_t sticky_key[2];
    struct np_rng rng;
    struct np_snapshot *none;    /* empty */
    struct np_snapshot *pending; /* not taken yet for want of memory; else NULL */
    struct np_snapshot *all;
    struct np_entry *entries;     /* by index in `all` */
    uint32_t *values;             /* … times nsubset_keys: ids of subset values, 0: none */
    struct np_endpoint **scratch; /* all->len */
    struct np_index by_stats;     /* of a large set: np_stats → index in `all` */
    struct np_index by_sticky;    /* sticky value → index in `all`, if there are any */
    struct np_scope root;
    struct np_map known[NP_SUBSET_KEYS]; /* value → id */
    uint32_t last_value, values_from;
    bool afresh;                /* the values' ids in `values` do not hold any more */
    struct np_map scopes;       /* wanted → np_scope */
    struct np_group *narrowed;  /* chosen last by np_selector_narrow; or NULL */
    struct np_snapshot *usable; /* made when asked for; NULL: not yet */
    uint64_t last_id;
    int64_t looked_at;  /* when the entries' states were last renewed */
    int64_t recheck_at; /* when they are to be, at the latest */
    struct np_selector_stats stats;
};

/* Whether the endpoint gets no new requests at all, not even in panic. */
static inline bool np_endpoint_draining(const struct np_endpoint *e)
{
    unsigned health = atomic_load_explicit(&e->stats->health, memory_order_relaxed);
    return (health & NP_HEALTH_DRAINING) != 0;
}
/* The one request of an endpoint on trial. True: it is the caller's, until the end. */
static inline bool np_trial_begin(struct np_endpoint *e)
{
    bool before = atomic_load_explicit(&e->stats->on_trial, memory_order_relaxed);
    return !before &&
           atomic_compare_exchange_strong_explicit(&e->stats->on_trial, &before, true,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* --- selector_plan.c */

/* Looks at every endpoint's availability; the scopes are stale if one has changed. */
void np_plan_look(struct np_selector *s, int64_t now);
/* Makes the scope's groups anew, as far as they differ. */
NEAP_MUST_CHECK enum neap_err np_plan_scope(struct np_selector *s, struct np_scope *scope);
void np_scope_fini(struct np_scope *scope);
/* --- selector_scope.c */

/* The scope of a request's subset; NULL: no endpoint is of it. */
struct np_scope *np_scope_find(struct np_selector *s, const struct np_pick_ctx *ctx);
/* The id of a value that endpoints have, which is made if need be. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_scope_value(struct np_selector *s, size_t key, const char *value,
                                             uint32_t *id);
/* The snapshot has changed, so what was an index holds no more: scopes that nobody asked for since
 * the last time go, the others and the root are stale. */
void np_scopes_changed(struct np_selector *s);
void np_scopes_clear(struct np_selector *s);

/* --- selector_set.c */

/* Takes the snapshot and makes the entries; on failure nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_set_take(struct np_selector *s, struct np_snapshot *set,
                                          int64_t now);
void np_set_fini(struct np_selector *s);
/* The index in s->all of the endpoint or another description of it; SIZE_MAX: it is not there. */
size_t np_set_find(const struct np_selector *s, const struct np_endpoint *e);
size_t np_set_find_sticky(const struct np_selector *s, uint64_t value);
uint64_t np_set_sticky(const struct np_selector *s, const struct np_endpoint *e);

/* --- selector.c, for selector_choose.c */

void np_selector_keep_up_slowly(struct np_selector *s, int64_t now);
static inline void np_selector_keep_up(struct np_selector *s, int64_t now)
{
    if (now >= s->recheck_at) np_selector_keep_up_slowly(s, now);
}
/* The scope that the request asks for; NULL: no endpoint may take it. */
struct np_scope *np_selector_scope(struct np_selector *s, const struct np_pick_ctx *ctx);
/* The set that the request is given to, with one that it was not tried on, if there is any. */
struct np_group *np_selector_group(struct np_selector *s, struct np_scope *scope,
                                   const struct np_pick_ctx *ctx);
void np_selector_account(struct np_selector *s, const struct np_scope *scope,
                         const struct np_group *g);
struct np_endpoint *np_group_choose(const struct np_group *g, const struct np_pick_ctx *ctx,
                                    int64_t now, bool strict);
/* Whom a sticky value or a trial that is due means, as an index; SIZE_MAX: nobody. */
size_t np_selector_prefer(struct np_selector *s, struct np_scope *scope,
                          const struct np_pick_ctx *ctx, int64_t now);
/* The same, and the request is begun. */
bool np_selector_precede(struct np_selector *s, struct np_scope *scope,
                         const struct np_pick_ctx *ctx, int64_t now, struct np_endpoint **out,
                         bool *trial);

#endif
