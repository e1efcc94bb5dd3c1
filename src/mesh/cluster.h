/* A cluster: a service as a caller sees it, with every rule that stands between a call and its
 * answer. A machine without I/O: the caller tells it what happens and when, and does what it says.
 * The HTTP client, gateways, the C API and the simulator all run this one.
 *
 * The order, which docs/guide.md draws:
 *
 *   call ─ deadline ─ rate limit ─ concurrency (by priority) ─ circuit breaker ─┐
 *          ┌────────────────────────────────────────────────────────────────────┘
 *          └─ attempt ─ selector: subset, priority, zone, health ─ policy ─ per-try time-out ─
 * answer ▲                                                                            │ └── retry
 * (budget, back-off, other host) or hedge (p95, budget) ─────────────┤ statistics, outlier
 * detection, breaker, concurrency ◄────────────────────┘
 *
 * What is refused before the first attempt costs no endpoint anything. A rule in shadow mode
 * decides and counts and does not act.
 *
 * Who sees what: outlier detection and the endpoints' statistics see every attempt, since they ask
 * which endpoint is ill. The breaker and the concurrency limit see each call once, with the result
 * it has in all (and the latency of the attempt that decided it), since they ask whether the
 * service is: a failure that a retry made good is none to them, and one bad host of ten opens no
 * breaker. The retry budget gets a deposit for each call that is admitted and pays for retries and
 * hedges alike; calls below normal priority leave it something and do not touch the reserve.
 *
 * A failure without a fault (NP_OUTCOME_FAILED, NP_FAULT_NONE) is the caller's own: it ends the
 * call and is held against nobody.
 *
 * Of an attempt that is canceled, the time it had taken is a lower bound of its latency. Endpoints
 * are told it (np_result: CANCELED with a latency), for else a black hole whose hedges always win,
 * or whose clients always leave first, would never be learnt about. And while an attempt waits for
 * its answer the endpoint's cost is no less than that (see cluster_watch.c).
 *
 * A cluster belongs to a thread; its rules (struct np_cluster_rules) are shared by all clusters of
 * one name in a host. Nothing allocates between np_cluster_admit and np_cluster_end.
 */
#ifndef NP_MESH_CLUSTER_H
#define NP_MESH_CLUSTER_H

#include "mesh/breaker.h"
#include "mesh/concurrency.h"
#include "mesh/limiter.h"
#include "mesh/outlier.h"
#include "mesh/quantile.h"
#include "mesh/retry_budget.h"
#include "mesh/selector.h"

#define NP_CALL_ATTEMPTS 16 /* of one call at most */

enum np_rule {
    NP_RULE_NONE,
    NP_RULE_DEADLINE,
    NP_RULE_RATE_LIMIT,
    NP_RULE_CONCURRENCY,
    NP_RULE_BREAKER,
    NP_RULE_ENDPOINTS, /* there is none */
    NP_RULE_OUTLIER,
    NP_RULE_RETRY,
    NP_RULE_HEDGE,
    NP_RULES
};
const char *np_rule_name(enum np_rule r);

struct np_retry_options {
    uint32_t attempts; /* in all; default 3, 1: no retry */
    bool shadow;
    double budget;           /* share of calls, default 0.2 */
    uint32_t reserve;        /* default 3 */
    int64_t backoff_ns;      /* default 25 ms, doubled each time up to max, full jitter */
    int64_t max_backoff_ns;  /* default 250 ms (Envoy: ten times the base) */
    int64_t per_try_ns;      /* 0: what the call has left */
    bool honour_retry_after; /* default true: where the retry would meet the same endpoint again,
                                or the fault is overload (429: the service's limit), it comes no
                                sooner than that; a call that has no time left for it is done.
                                Elsewhere another endpoint is asked at the usual back-off */
};
struct np_hedge_options {
    bool on; /* default false */
    bool shadow;
    double quantile;      /* of the service's latencies, default 0.95 */
    int64_t min_delay_ns; /* default 1 ms */
    uint32_t max;         /* hedges a call, default 1, at most 8 */
    uint32_t min_samples; /* before there is one, default 50 */
    int64_t window_ns;    /* default 10 s */
};

struct np_cluster_options {
    const struct np_balancer_ops *policy; /* NULL: the caller chooses, by np_cluster_start_on */
    struct np_balancer_options balancer;
    struct np_selector_options selector;
    bool outlier_on, breaker_on, concurrency_on, limiter_on;
    struct np_outlier_options outlier;
    struct np_breaker_options breaker;
    struct np_concurrency_options concurrency;
    struct np_limiter_options limiter;
    struct np_retry_options retry;
    struct np_hedge_options hedge;
};
/* What a client of a service gets that says nothing: peak_ewma, outlier detection (at most half of
 * the endpoints ejected), three attempts within a budget, adaptive concurrency (100 at first, up to
 * 100000). docs/simulator.md shows what that is good for. */
void np_cluster_defaults(struct np_cluster_options *o);
/* Round robin or another policy and nothing else: for comparisons. */
void np_cluster_plain(struct np_cluster_options *o, const struct np_balancer_ops *policy);

/* The rules' state, shared and counted by reference. */
struct np_cluster_rules;
NEAP_MUST_CHECK enum neap_err np_cluster_rules_new(const struct np_cluster_options *o,
                                                   uint64_t seed, int64_t now,
                                                   struct np_cluster_rules **out,
                                                   struct neap_errinfo *info);
/* Of those options that the rules' state goes by: clusters of one name share their rules if it is
 * the same. The options were made by np_cluster_defaults or np_cluster_plain and changed field by
 * field. */
uint64_t np_cluster_rules_hash(const struct np_cluster_options *o);
struct np_cluster_rules *np_cluster_rules_ref(struct np_cluster_rules *r);
void np_cluster_rules_unref(struct np_cluster_rules *r); /* NULL is allowed */

struct np_cluster;
/* `rules` is referenced. */
NEAP_MUST_CHECK enum neap_err np_cluster_new(const struct np_cluster_options *o,
                                             struct np_cluster_rules *rules,
                                             struct np_cluster **out);
void np_cluster_free(struct np_cluster *c); /* every call has ended; NULL is allowed */
NEAP_MUST_CHECK enum neap_err np_cluster_update(struct np_cluster *c, struct np_snapshot *set,
                                                int64_t now);
struct np_selector *np_cluster_selector(struct np_cluster *c);
/* Attempts of a call, hedges included: NEAP_ELIMIT for more. */
uint32_t np_cluster_most_attempts(const struct np_cluster *c);

/* An attempt: a request to one endpoint. The caller's memory, zeroed by the machine. */
struct np_attempt {
    struct np_endpoint *e; /* referenced until it is finished; NULL: none */
    int64_t began;
    int64_t timeout_ns; /* of this attempt: the per-try time-out, or what is left of the call's
                           time, whichever is less; 0: no bound */
    uint8_t number;     /* 1 for the first */
    bool trial, retry, hedge;
    uint8_t watched; /* the machine's */
};

/* Whether a failed attempt is worth another one, where the fault alone does not say it (those for
 * LOCAL and GATEWAY are). It is made only if that is safe, too. */
enum np_retriable { NP_RETRIABLE_BY_FAULT, NP_RETRIABLE_YES, NP_RETRIABLE_NO };

/* A call, in the caller's memory. */
struct np_call {
    /* set by the caller, before np_cluster_admit */
    struct np_pick_ctx ctx;    /* `exclude` is the machine's */
    enum np_priority priority; /* zero is sheddable: set it */
    bool safe;        /* may be made twice whatever happened: idempotent and its body kept */
    int64_t deadline; /* 0: none */
    /* … and before np_cluster_finish */
    enum np_retriable retriable;
    /* the machine's */
    int64_t began;
    int64_t wait_ns; /* admitted, but wait so long before the first attempt (a leaky bucket) */
    uint64_t ticket; /* … its place in the line */
    enum np_rule refused_by; /* with an error: which rule it was */
    int64_t retry_after_ns;  /* with a refusal: when to come again; 0: unknown */
    int64_t last_began;      /* of the attempt begun last */
    uint8_t attempts, inflight, hedges;
    uint8_t hedges_asked; /* with those that were refused */
    uint8_t winner;       /* the number of the attempt that decided the call */
    uint8_t pass;         /* of enum np_breaker_pass */
    bool in_concurrency, decided, over;
    struct np_endpoint *tried[NP_CALL_ATTEMPTS]; /* referenced until the call ends */
};

enum np_verdict {
    NP_CALL_DONE,  /* this answer is the call's (a success, or nothing more is to be tried) */
    NP_CALL_RETRY, /* start another attempt, not before *at */
    NP_CALL_WAIT   /* another attempt is in flight: wait for that */
};

/* May it be made at all? NEAP_ETIMEDOUT (deadline), NEAP_ELIMIT (rate, concurrency), NEAP_EBUSY
 * (the breaker is open); refused_by and retry_after_ns say more. After NEAP_OK it is ended once. */
NEAP_MUST_CHECK enum neap_err np_cluster_admit(struct np_cluster *c, struct np_call *call,
                                               int64_t now);
/* The first attempt, or a retry that was told to. NEAP_ENOENDPOINT, NEAP_ETIMEDOUT. */
NEAP_MUST_CHECK enum neap_err np_cluster_start(struct np_cluster *c, struct np_call *call,
                                               int64_t now, struct np_attempt *out);
/* The same, on an endpoint that the caller chose. NEAP_ENOENDPOINT: it is not there any more. */
NEAP_MUST_CHECK enum neap_err np_cluster_start_on(struct np_cluster *c, struct np_call *call,
                                                  struct np_endpoint *e, int64_t now,
                                                  struct np_attempt *out);
/* When a hedge is due while no answer has come: a moment, INT64_MAX for never. The delay is the
 * service's observed quantile, counted from the attempt begun last; only for calls that are safe.
 */
int64_t np_cluster_hedge_at(struct np_cluster *c, const struct np_call *call);
/* Starts it on another endpoint. NEAP_ELIMIT: the budget is used up, the concurrency limit is
 * reached (a hedge is load that need not be), or it is shadowed; NEAP_ENOENDPOINT: there is no
 * other; NEAP_ETIMEDOUT. A hedge is asked for once. */
NEAP_MUST_CHECK enum neap_err np_cluster_hedge(struct np_cluster *c, struct np_call *call,
                                               int64_t now, struct np_attempt *out);
/* The attempt's answer has begun and is the call's: other attempts have lost from here on, there is
 * no further hedge, and no retry. For answers that go on after their head; not needed before a
 * finish. */
void np_cluster_answered(struct np_cluster *c, struct np_call *call, const struct np_attempt *a);
/* An attempt ended; its endpoint is given back and a->e is NULL. `unreached`: the request surely
 * came to no server, so another attempt is safe whatever the call is. When an answer wins, the
 * losers are finished with NP_OUTCOME_CANCELED, which decides nothing; the machine knows how long
 * they took. */
enum np_verdict np_cluster_finish(struct np_cluster *c, struct np_call *call, struct np_attempt *a,
                                  const struct np_result *r, bool unreached, int64_t now,
                                  int64_t *at);
/* The call is over; every attempt has been finished. `r` is the call's result in all, that of the
 * attempt that decided it; NULL: canceled. */
void np_cluster_end(struct np_cluster *c, struct np_call *call, const struct np_result *r,
                    int64_t now);

struct np_cluster_counters {
    uint64_t calls, succeeded, failed, canceled, attempts, retries, hedges, hedges_won;
    uint64_t refused[NP_RULES];      /* by rule: calls, and retries and hedges for want of budget */
    uint64_t would_refuse[NP_RULES]; /* by a rule in shadow mode; concurrency and breaker: of all
                                        clusters that share the rules */
    uint64_t would_retry, would_hedge; /* in shadow mode */
    double hedge_delay_ns;             /* just now; 0: none yet */
};
struct np_cluster_counters np_cluster_counters(const struct np_cluster *c);
const struct np_cluster_rules *np_cluster_rules_of(const struct np_cluster *c);
struct np_outlier *np_cluster_rules_outlier(const struct np_cluster_rules *r);         /* or NULL */
struct np_breaker *np_cluster_rules_breaker(const struct np_cluster_rules *r);         /* or NULL */
struct np_concurrency *np_cluster_rules_concurrency(const struct np_cluster_rules *r); /* or NULL */
const struct np_limiter *np_cluster_rules_limiter(const struct np_cluster_rules *r);   /* or NULL */
const struct np_retry_budget *np_cluster_rules_budget(const struct np_cluster_rules *r);

#endif
