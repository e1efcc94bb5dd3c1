/* Adaptive concurrency: how many requests in flight a peer (or this server) bears, found out from
 * its latency; and who is let in when that is reached, by priority class.
 *
 * The gradient controller of Netflix's concurrency-limits and Envoy's adaptive concurrency: in a
 * sampling window the p90 (Envoy's default) of the latency is compared with the latency without
 * queues (minRTT); limit = gradient · limit + √limit, where gradient = clamp(0.5 … 2.0,
 * (minRTT + buffer) / sampled). minRTT is the slowly forgotten minimum of windows; no window is
 * spent on measuring it, unlike Envoy's, which holds traffic down to do so. A failure for overload
 * (503, 429, time-out) shrinks the limit as well, at once by a factor.
 *
 * Priority classes share the limit: the lowest may fill only a part of it, the highest all.
 * Any thread; a check is one atomic operation. In shadow mode it decides and counts, all pass.
 */
#ifndef NP_MESH_CONCURRENCY_H
#define NP_MESH_CONCURRENCY_H

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
    uint32_t min_samples; /* a window goes on until it has so many; default 10 */
    double quantile;      /* of a window's latencies; default 0.9 */
    double buffer;        /* latency above minRTT that is no queue, as a share; default 0.25 */
    double backoff;       /* of the limit at overload; default 0.9 */
    int64_t forget_ns;    /* how long minRTT is remembered; default 60 s */
    double share[NP_PRIORITY_CLASSES]; /* of the limit a class may fill; default .5 .7 .9 1 1.1 */
};
extern const struct np_concurrency_options np_concurrency_defaults;

struct np_concurrency_counters {
    uint32_t limit, inflight;
    double min_rtt_ns, sampled_ns;
    uint64_t admitted[NP_PRIORITY_CLASSES], refused[NP_PRIORITY_CLASSES];
};

struct np_concurrency; /* shared, counted by reference */

NEAP_MUST_CHECK enum neap_err np_concurrency_new(const struct np_concurrency_options *opts,
                                                 struct np_concurrency **out);
struct np_concurrency *np_concurrency_ref(struct np_concurrency *c);
void np_concurrency_unref(struct np_concurrency *c);
/* False: refused, nothing is to be ended. */
bool np_concurrency_enter(struct np_concurrency *c, enum np_priority p, int64_t now);
void np_concurrency_leave(struct np_concurrency *c, const struct np_result *r, int64_t now);
struct np_concurrency_counters np_concurrency_counters(const struct np_concurrency *c);

#endif
