/* A selector: which endpoints a policy may choose from just now, and a policy over each such set.
 *
 * Endpoints are narrowed in this order: the request's subset; the priority level, by health with
 * spill-over to the next one; the zone, the caller's own first as far as its share goes; then those
 * that are available, or, where too few are (panic), all of them. Each set that comes out has a
 * balancer of its own, so policies know nothing of all this. Policies that hash (np_balancer_ops's
 * `stable`) get the whole set and pass over what is unavailable, so that an ejection moves only the
 * keys of who is ejected.
 *
 * Availability is a few bits in the endpoint's statistics, which other threads and other selectors
 * may change at any time. The sets are made anew when the snapshot has changed, when a picked
 * endpoint turns out to be unavailable, and, while some are unavailable, every NP_RECHECK_NS. Only
 * that allocates; a pick never does. One thread; the endpoints are shared.
 */
#ifndef NP_MESH_SELECTOR_H
#define NP_MESH_SELECTOR_H

#include "mesh/balancer.h"

#define NP_RECHECK_NS (INT64_C(250) * 1000000)
#define NP_PRIORITIES 16 /* levels; metadata "priority" of an endpoint, 0 (default) is used first \
                          */

struct np_selector_options {
    double panic_threshold;  /* share available below which all are used; default 0.5, 0: never */
    double overprovisioning; /* health · this, capped at 1, is a level's load; default 1.4 */
    const char *zone;        /* the caller's; NULL: zones do not matter */
    uint32_t zone_min_endpoints; /* fewer than this in all: zones do not matter; default 6 */
    double zone_spill;           /* an own zone with less than this share available sends the rest
                                    elsewhere, in proportion; default 0.7 (1/overprovisioning) */
    const char *const *subset_keys; /* metadata keys requests may ask for, see np_pick_ctx.subset */
    size_t nsubset_keys;
    int subset_fallback;   /* of enum np_subset_fallback */
    int64_t slow_start_ns; /* how long a new or readmitted endpoint is spared; default 0: not */
    double slow_start_min; /* its weight's least share; default 0.1 */
    double slow_start_aggression; /* default 1.0: linear */
    enum np_slow_start_curve slow_start_curve;
};
enum np_subset_fallback { NP_SUBSET_ANY, NP_SUBSET_NONE }; /* when none matches; default ANY */

#define NP_SELECTOR_OPTIONS_INIT                                                         \
    {                                                                                    \
        0.5, 1.4, NULL, 6, 0.7, NULL, 0, NP_SUBSET_ANY, 0, 0.1, 1.0, NP_SLOW_START_ENVOY \
    }

struct np_selector;

/* Options and strings are copied. NEAP_EINVAL, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_selector_new(const struct np_balancer_ops *ops,
                                              const struct np_balancer_options *balancer,
                                              const struct np_selector_options *opts,
                                              struct np_selector **out);
void np_selector_free(struct np_selector *s); /* NULL is allowed */
/* As np_balancer_update. Endpoints that stay keep all that is known of them. */
NEAP_MUST_CHECK enum neap_err np_selector_update(struct np_selector *s, struct np_snapshot *set,
                                                 int64_t now);
/* As np_balancer_pick; NEAP_ENOENDPOINT. A request that goes to an endpoint on trial says so in
 * `*trial`. */
NEAP_MUST_CHECK enum neap_err np_selector_pick(struct np_selector *s, const struct np_pick_ctx *ctx,
                                               int64_t now, struct np_endpoint **out, bool *trial);
/* Begins a request on an endpoint that somebody else (a policy in Lua, a sticky cookie) has chosen;
 * it is referenced as a picked one is. False, and nothing is begun: it is not in the set, or it is
 * unavailable and `force` is false. */
bool np_selector_take(struct np_selector *s, struct np_endpoint *e, bool force, int64_t now,
                      bool *trial);
/* What was picked or taken is released once. */
void np_selector_release(struct np_selector *s, struct np_endpoint *e, bool trial,
                         const struct np_result *r, int64_t now);

/* All endpoints, and those that may be chosen just now (the same where there is panic). Borrowed
 * until the next update, pick or take. */
const struct np_snapshot *np_selector_all(const struct np_selector *s);
const struct np_snapshot *np_selector_usable(struct np_selector *s, int64_t now);

struct np_selector_stats {
    uint64_t panics;      /* picks that were made in panic */
    uint64_t spilled;     /* … in another zone than the caller's, though that has endpoints */
    uint64_t failed_over; /* … on a lower priority level */
    uint64_t fallbacks;   /* … outside the subset that was asked for */
    uint64_t trials;
};
struct np_selector_stats np_selector_stats(const struct np_selector *s);

#endif
