/* A circuit breaker: calls to what surely fails are refused at once, until a probe goes well.
 *
 * It opens after so many consecutive failures, or when, in a sliding window that has seen a minimum
 * of calls, the share of failures reaches a threshold (as resilience4j and linkerd have it). Open,
 * it refuses for a span that doubles with each failed probe, with jitter; then it is half open: so
 * many probes may pass, and as many successes close it while one failure opens it again. Beside
 * that it caps what is in flight (Envoy's circuit breaking). Any thread; a check is a few atomic
 * operations. In shadow mode it decides and counts but lets all pass.
 */
#ifndef NP_MESH_BREAKER_H
#define NP_MESH_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mesh/endpoint.h"

#define NP_BREAKER_SLOTS 10 /* of the window */

struct np_breaker_options {
    bool shadow;
    uint32_t consecutive_failures; /* default 0 (off) */
    double failure_rate;           /* 0 … 1, default 0.5; 0: off */
    uint32_t minimum_calls;        /* in the window, default 20 (resilience4j has 100) */
    int64_t window_ns;             /* default 10 s */
    int64_t open_ns;               /* the first time open, default 5 s (linkerd starts with 1 s) */
    int64_t max_open_ns;           /* default 60 s */
    double jitter;                 /* share of a span that is drawn, default 0.2: a span is
                                      between 1 - jitter and 1 of its length */
    uint32_t half_open_probes;     /* at once, and to close; default 1, at most 1000 */
    uint32_t max_requests;         /* in flight at most; default 0: no cap (Envoy has 1024) */
};
extern const struct np_breaker_options np_breaker_defaults;

enum np_breaker_state { NP_BREAKER_CLOSED, NP_BREAKER_OPEN, NP_BREAKER_HALF_OPEN };
const char *np_breaker_state_name(enum np_breaker_state s);

/* What a call was let in as; given back when it ends. */
enum np_breaker_pass {
    NP_PASS_REFUSED_OPEN, /* no call: nothing is to be ended */
    NP_PASS_REFUSED_CAP,
    NP_PASS_CALL,
    NP_PASS_PROBE
};

/* `calls` were let in; in shadow mode `refused_…` is what would have been refused, and of `calls`.
 */
struct np_breaker_counters {
    uint64_t opened, closed, refused_open, refused_cap, calls, failures;
    uint32_t inflight;
};

struct np_breaker; /* shared, counted by reference */

/* What is wrong with the options, as a message; NULL if nothing is. */
const char *np_breaker_options_problem(const struct np_breaker_options *opts);
/* `opts` may be NULL; seed 0: from the system's randomness. NEAP_EINVAL for options out of range,
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_breaker_new(const struct np_breaker_options *opts, uint64_t seed,
                                             struct np_breaker **out);
/* Other options, beside its users; it stays open, or what it is, and the window begins anew.
 * NEAP_EINVAL: nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_breaker_set(struct np_breaker *b,
                                             const struct np_breaker_options *opts);
struct np_breaker *np_breaker_ref(struct np_breaker *b);
void np_breaker_unref(struct np_breaker *b); /* NULL is allowed */

enum np_breaker_pass np_breaker_enter(struct np_breaker *b, int64_t now);
/* NP_OUTCOME_CANCELED: neither success nor failure; a probe's place is free again. */
void np_breaker_leave(struct np_breaker *b, enum np_breaker_pass pass, enum np_outcome outcome,
                      int64_t now);
enum np_breaker_state np_breaker_state(const struct np_breaker *b, int64_t now);
/* ns until a call may pass; 0 when one may. Half open with all probes under way, when that is is
 * not known: a tenth of open_ns. */
int64_t np_breaker_wait(const struct np_breaker *b, int64_t now);
void np_breaker_reset(struct np_breaker *b); /* closes it */
void np_breaker_trip(struct np_breaker *b,
                     int64_t now); /* opens it, for open_ns as of the first time */
bool np_breaker_shadow(const struct np_breaker *b);
/* Grows with each change of state, so that who has seen one need not compare. */
uint32_t np_breaker_changes(const struct np_breaker *b);
struct np_breaker_counters np_breaker_counters(const struct np_breaker *b);

#endif
