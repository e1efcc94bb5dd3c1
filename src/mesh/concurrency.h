/* Adaptive concurrency: how many requests in flight a peer (or this server) bears, found out from
 * its latency; and who is let in when that is reached, by priority class.
 *
 * The gradient controller of Netflix's concurrency-limits and Envoy's adaptive concurrency: in a
 * sampling window the median (Envoy's default) of the latency is compared with the latency without
 * queues (minRTT); limit = gradient · limit + √limit, where gradient = clamp(0.5 … 2.0,
 * (minRTT + buffer) / sampled). It grows only while it is in use, and only requests that began
 * after it last fell are samples. minRTT follows lower samples soon and higher ones slowly. What
 * would make it drift, a queue of our own making that lasts, is found out by a descent every half
 * of the time it is remembered, while somebody is turned away: for a few windows the limit falls by
 * steps, as long as the latency follows (Envoy holds traffic down to 3 in flight for its
 * measurement). And when the limit was halved and the latency did not follow, there was no queue:
 * the peer has become slower, and its latency now is the new minRTT. Answers of overload (502 to
 * 504, 429), where they are more than a twentieth, and time-outs, where they are more than half as
 * many as the good answers, shrink the limit as well, at once by a factor, but not more than once
 * in the time a request takes. (Fewer time-outs are a few hosts that are gone; a limit that shrank
 * for them would be filled by the next that wait for those.)
 *
 * Priority classes share the limit: the lowest may fill only a part of it, the highest all and a
 * little more. A class may always have one request in flight when there is no other.
 * Any thread; a check is a compare-and-swap. In shadow mode it decides and counts, all pass.
 */
#ifndef NP_MESH_CONCURRENCY_H
#define NP_MESH_CONCURRENCY_H

#include "base/list.h"
#include "mesh/commons.h"
#include "mesh/endpoint.h"

enum np_priority {
    NP_PRIORITY_SHEDDABLE,
    NP_PRIORITY_LOW,
    NP_PRIORITY_NORMAL,
    NP_PRIORITY_HIGH,
    NP_PRIORITY_CRITICAL,
    NP_PRIORITY_CLASSES
};
const char *np_priority_name(enum np_priority p);
/* "sheddable", "low", "normal", "high", "critical", or RFC 9218's urgency "u=0" … "u=7" (7 and 6
 * sheddable and low, 0 critical). False for another text. */
bool np_priority_parse(const char *text, size_t n, enum np_priority *out);

struct np_concurrency_options {
    bool shadow;
    bool adaptive;        /* default true; false: the limit stays at `initial` (a bulkhead) */
    uint32_t initial;     /* default 20 */
    uint32_t min, max;    /* default 3, 1000 */
    int64_t window_ns;    /* a sample; default 100 ms (Envoy) */
    uint32_t min_samples; /* a window goes on until it has so many; default 50 (Envoy's for its
                             minRTT): a quantile of fewer is chance */
    double quantile;   /* of a window's latencies; default 0.5: a few slow hosts are no overload */
    double buffer;     /* latency above minRTT that is no queue, as a share; default 0.25 */
    double backoff;    /* of the limit at overload; default 0.9 */
    int64_t forget_ns; /* how long minRTT is remembered; default 60 s (Envoy's interval) */
    double share[NP_PRIORITY_CLASSES]; /* of the limit a class may fill; default .5 .7 .9 1 1.1 */
};
extern const struct np_concurrency_options np_concurrency_defaults;

struct np_concurrency_counters {
    uint32_t limit, inflight;
    double min_rtt_ns, sampled_ns;
    uint64_t admitted[NP_PRIORITY_CLASSES], refused[NP_PRIORITY_CLASSES];
};

struct np_concurrency; /* shared, counted by reference */

/* What is wrong with the options, as words, or NULL. */
const char *np_concurrency_problem(const struct np_concurrency_options *opts);
/* NEAP_EINVAL (see above), NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_concurrency_new(const struct np_concurrency_options *opts,
                                                 struct np_concurrency **out);
struct np_concurrency *np_concurrency_ref(struct np_concurrency *c);
void np_concurrency_unref(struct np_concurrency *c); /* NULL is allowed */
/* False: refused, nothing is to be ended. */
bool np_concurrency_enter(struct np_concurrency *c, enum np_priority p, int64_t now);
bool np_concurrency_shadows(const struct np_concurrency *c);
/* Whether one of that class would be let in just now; nothing is counted. */
bool np_concurrency_room(const struct np_concurrency *c, enum np_priority p);
/* Counts one that was turned away by somebody who keeps a queue, and asked for room only. */
void np_concurrency_refuse(struct np_concurrency *c, enum np_priority p);
void np_concurrency_leave(struct np_concurrency *c, const struct np_result *r, int64_t now);
struct np_concurrency_counters np_concurrency_counters(const struct np_concurrency *c);
/* Other options from now on; what was learnt stays, within the new bounds. NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_concurrency_set(struct np_concurrency *c,
                                                 const struct np_concurrency_options *opts);

/* For np_commons_get; `arg` is struct np_concurrency_options, the object struct np_concurrency. */
extern const struct np_common_kind np_concurrency_kind;

/* Whoever keeps a queue of those that were refused hears when somebody left, to try again: `room`
 * is called from np_concurrency_leave, on whichever thread, under a lock, while `waiting` is above
 * 0; it must not call into the controller. The memory is the caller's, until it is unwatched. */
struct np_concurrency_watch {
    struct np_link link;
    void (*room)(struct np_concurrency_watch *w);
    atomic_uint waiting;
};
void np_concurrency_watch(struct np_concurrency *c, struct np_concurrency_watch *w);
void np_concurrency_unwatch(struct np_concurrency *c, struct np_concurrency_watch *w);
/* One more waits, or one less. */
void np_concurrency_waiting(struct np_concurrency *c, struct np_concurrency_watch *w, int by);

#endif
