/* A selector: which endpoints a policy may choose from just now, and a policy over each such set.
 *
 * Endpoints are narrowed in this order: the request's subset; the priority level, by health with
 * spill-over to the next one; the zone, the caller's own first as far as its share goes; then those
 * that are available, or, where too few are (panic), all of them. Each set that comes out has a
 * balancer of its own, so policies know nothing of all this. Policies that hash (np_balancer_ops's
 * `stable`) get the whole set and pass over what is unavailable, so that an ejection moves only the
 * keys of who is ejected.
 *
 * Before all that: a request that brings a sticky value goes to the endpoint it stands for, if that
 * is available and of the subset; and an endpoint whose ejection is over gets one request to prove
 * itself with (not one that is strict or a retry).
 *
 * Availability is a few bits in the endpoint's statistics, which other threads and other selectors
 * may change at any time. The sets are made anew when the snapshot has changed, and when a look at
 * all of them finds that availability has: every NP_RECHECK_NS, and when a picked endpoint turns
 * out to be unavailable (but not so often that it would cost much). Only that allocates, and the
 * first pick of a subset since the last change; another pick never does. One thread; the endpoints
 * are shared.
 */
#ifndef NP_MESH_SELECTOR_H
#define NP_MESH_SELECTOR_H

#include "mesh/balancer.h"

#define NP_RECHECK_NS (INT64_C(250) * 1000000)
/* Levels; metadata "priority" of an endpoint, 0 (default) is used first. What is no number counts
 * as 0, what is larger as the last level. */
#define NP_PRIORITIES 16
#define NP_SUBSET_KEYS 8 /* that requests may ask for */
unsigned np_endpoint_level(const struct np_endpoint *e);

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
    int64_t slow_start_ns; /* how long a new or readmitted endpoint is spared, see slow_start.h;
                              those that the first snapshot brings are not new; default 0: not */
    double slow_start_min; /* its weight's least share; default 0.1 */
    double slow_start_aggression; /* default 1.0: linear */
    enum np_slow_start_curve slow_start_curve;
    double zone_callers; /* the share of all callers that is in the caller's zone: a zone with fewer
                            endpoints than callers sends the rest elsewhere (Envoy's zone aware
                            routing); default 0: not known */
    const char *sticky;  /* the secret of sticky values, "" for none; NULL (default): there are no
                            sticky values */
    const struct np_balancer_ops *keyed; /* requests with a key stick by this hashing policy, others
                                            go by the selector's own; default NULL */
};
enum np_subset_fallback { NP_SUBSET_ANY, NP_SUBSET_NONE }; /* when none matches; default ANY */

#define NP_SELECTOR_OPTIONS_INIT                                                                   \
    {                                                                                              \
        0.5, 1.4, NULL, 6, 0.7, NULL, 0, NP_SUBSET_ANY, 0, 0.1, 1.0, NP_SLOW_START_ENVOY, 0, NULL, \
            NULL                                                                                   \
    }

struct np_selector;

/* Options and strings are copied. NEAP_EINVAL, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_selector_new(const struct np_balancer_ops *ops,
                                              const struct np_balancer_options *balancer,
                                              const struct np_selector_options *opts,
                                              struct np_selector **out);
void np_selector_free(struct np_selector *s); /* NULL is allowed */
/* As np_balancer_update. Endpoints that stay keep all that is known of them. NEAP_ENOMEM: where
 * there was no memory it goes on with what it had, and tries again by itself. */
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

/* What a trial came to: the endpoint is readmitted, or ejected again; a result that says nothing
 * leaves it to the next. np_selector_release does it; this is for who has no selector any more. */
void np_trial_end(struct np_endpoint *e, const struct np_result *r, int64_t now);

/* --- for policies that choose by themselves (written in Lua): what precedes the policy, the set it
 * may choose from, and, as the "inner" of one that wraps another, the selector's own policy over
 * that set. What they come to is then taken, by np_selector_take. */

/* Sticky values and trials: true, with what np_selector_pick would give, if one of them decides. */
bool np_selector_first(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                       struct np_endpoint **out, bool *trial);
/* The same, but nothing is begun: borrowed, or NULL. */
struct np_endpoint *np_selector_preferred(struct np_selector *s, const struct np_pick_ctx *ctx,
                                          int64_t now);
struct np_choice {
    const struct np_snapshot *set; /* not empty; borrowed until the next update, pick or take */
    uint64_t id; /* of the place in the order (subset, level, zone), the same as long as that is
                    known; its set may change */
};
/* NEAP_ENOENDPOINT. */
NEAP_MUST_CHECK enum neap_err np_selector_narrow(struct np_selector *s,
                                                 const struct np_pick_ctx *ctx, int64_t now,
                                                 struct np_choice *out);
/* Whom the selector's own policy picks of the set with that id, borrowed; nothing is begun. NULL:
 * it is gone. */
struct np_endpoint *np_selector_propose(struct np_selector *s, uint64_t id,
                                        const struct np_pick_ctx *ctx, int64_t now);

/* --- sticky values: 64 bits that stand for an endpoint's id and do not tell it, as 16 hex digits.
 * The same in all processes that have the same secret. Who has no secret, or knows it, can test
 * whether a value is of an id that he guesses. */
#define NP_STICKY_TEXT 16
/* Writes a NUL behind. False: the selector has no sticky values. */
bool np_selector_sticky_text(const struct np_selector *s, const struct np_endpoint *e,
                             char out[NP_STICKY_TEXT + 1]);
/* Into ctx->sticky; false, and nothing is set: it is no such text. */
bool np_sticky_parse(const char *text, size_t n, struct np_pick_ctx *ctx);

/* All endpoints, and those that may be chosen just now (the same where there is panic) by a request
 * without a subset. Borrowed until the next update, pick or take. */
const struct np_snapshot *np_selector_all(const struct np_selector *s);
const struct np_snapshot *np_selector_usable(struct np_selector *s, int64_t now);

struct np_selector_stats {
    uint64_t panics;      /* picks that were made in panic */
    uint64_t spilled;     /* … in another zone than the caller's, though that has endpoints */
    uint64_t failed_over; /* … on a lower priority level */
    uint64_t fallbacks;   /* … outside the subset that was asked for */
    uint64_t trials;
    uint64_t sticky;   /* … where the sticky value said */
    uint64_t unstuck;  /* … elsewhere, as the sticky value's endpoint is gone or unavailable */
    uint64_t rebuilds; /* how often the sets were made anew */
};
struct np_selector_stats np_selector_stats(const struct np_selector *s);

#endif
