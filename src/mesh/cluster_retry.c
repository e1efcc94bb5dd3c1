/* When a call is made once more: retries after a failure, hedges while an
 * answer is slow. */
#include "base/clock.h"
#include "mesh/balancer_draw.h"
#include "mesh/cluster_impl.h"

/* The classes below normal leave so many tokens to the others. */
#define LOW_LEAVES 2
#define SHEDDABLE_LEAVES 5

bool np_call_pay(struct np_cluster *c, const struct np_call *call, bool shadow, int64_t now)
{
    struct np_retry_budget *b = shadow ? &c->rules->shadow : &c->rules->budget;
    if (call->priority >= NP_PRIORITY_NORMAL) return np_retry_budget_withdraw(b, now);
    uint32_t leave = call->priority == NP_PRIORITY_LOW ? LOW_LEAVES : SHEDDABLE_LEAVES;
    return np_retry_budget_withdraw_over(b, leave, now);
}

/* --- retries */

static bool worth_it(const struct np_call *call, const struct np_result *r, bool unreached)
{
    if (call->retriable == NP_RETRIABLE_NO) return false;
    if (unreached) return true;
    if (!call->safe) return false;
    if (call->retriable == NP_RETRIABLE_YES) return true;
    return r->fault == NP_FAULT_LOCAL || r->fault == NP_FAULT_GATEWAY;
}

static bool was_tried(const struct np_call *call, const struct np_endpoint *e)
{
    for (size_t i = 0; i < call->attempts; i++) {
        if (np_endpoint_same(call->tried[i], e)) return true;
    }
    return false;
}

/* Whether a retry would find an endpoint that was not tried. */
static bool another_there(struct np_cluster *c, const struct np_call *call, int64_t now)
{
    const struct np_snapshot *set = np_selector_usable(c->selector, now);
    if (set->len > call->attempts) return true;
    for (size_t i = 0; i < set->len; i++) {
        if (!was_tried(call, set->endpoints[i])) return true;
    }
    return false;
}

/* "Full jitter": any part of a span that doubles. */
static int64_t backoff(struct np_cluster *c, unsigned made)
{
    int64_t cap = c->retry.max_backoff_ns, span = c->retry.backoff_ns;
    for (unsigned i = 1; i < made && span < cap; i++)
        span = span > INT64_MAX / 2 ? cap : span * 2;
    if (span > cap) span = cap;
    return (int64_t)(np_rng_unit(&c->rng) * (double)span);
}

static int64_t delay_of(struct np_cluster *c, const struct np_call *call, const struct np_result *r,
                        bool another, int64_t now)
{
    unsigned made = (unsigned)call->attempts - call->hedges;
    int64_t delay = backoff(c, made);
    bool bound = !another || r->fault == NP_FAULT_OVERLOAD;
    if (c->retry.honour_retry_after && bound && r->retry_after_ns > delay) {
        delay = r->retry_after_ns;
    }
    return delay;
}

static enum np_verdict done(struct np_call *call)
{
    call->decided = true;
    return NP_CALL_DONE;
}

/* Whether another retry may be made by its number; what it costs is another matter. */
static bool any_left(const struct np_cluster *c, const struct np_call *call)
{
    uint32_t made = (uint32_t)call->attempts - call->hedges;
    return made < c->retry.attempts && call->attempts < c->most;
}

/* Pays for a retry, unless it is `free`; in shadow mode it pretends to, and there is none. */
static bool may_retry(struct np_cluster *c, const struct np_call *call, bool is_free, int64_t now)
{
    bool paid = is_free || np_call_pay(c, call, c->retry.shadow, now);
    if (!c->retry.shadow) {
        if (!paid) c->n.refused[NP_RULE_RETRY]++;
        return paid;
    }
    if (paid) {
        c->n.would_retry++;
    } else {
        c->n.would_refuse[NP_RULE_RETRY]++;
    }
    return false;
}

enum np_verdict np_call_failed(struct np_cluster *c, struct np_call *call,
                               const struct np_result *r, bool unreached, int64_t now, int64_t *at)
{
    if (!worth_it(call, r, unreached)) return done(call);
    if (call->inflight > 0) return NP_CALL_WAIT;
    if (!any_left(c, call)) return done(call);
    bool another = another_there(c, call, now);
    /* Nobody had any work with it yet: it is the first attempt, come late. */
    bool first = unreached && another && call->attempts == 1;
    int64_t when = first ? now : np_time_add(now, delay_of(c, call, r, another, now));
    if (call->deadline != 0 && when >= call->deadline) return done(call);
    if (!may_retry(c, call, first, now)) return done(call);
    *at = when;
    return NP_CALL_RETRY;
}

/* --- hedges */

double np_hedge_delay(const struct np_cluster *c)
{
    double delay = np_quantile_cached(&c->rules->latency);
    if (delay <= 0) return 0;
    return delay < (double)c->hedge.min_delay_ns ? (double)c->hedge.min_delay_ns : delay;
}

int64_t np_cluster_hedge_at(struct np_cluster *c, const struct np_call *call)
{
    if (!c->hedge.on || !call->safe || call->decided || call->over || call->inflight == 0) {
        return INT64_MAX;
    }
    if (call->hedges_asked >= c->hedge.max || call->attempts >= c->most) return INT64_MAX;
    double delay = np_hedge_delay(c);
    if (delay <= 0) return INT64_MAX;
    int64_t at = np_time_add(call->last_began, (int64_t)delay);
    return call->deadline != 0 && at >= call->deadline ? INT64_MAX : at;
}

/* Whether as much is in flight as the concurrency limit allows. */
static bool at_the_limit(const struct np_cluster *c)
{
    if (c->rules->concurrency == NULL || c->shadow_concurrency) return false;
    struct np_concurrency_counters n = np_concurrency_counters(c->rules->concurrency);
    return n.inflight >= n.limit;
}

static bool may_hedge(struct np_cluster *c, struct np_call *call, int64_t now)
{
    if (at_the_limit(c) || !np_call_pay(c, call, c->hedge.shadow, now)) {
        if (c->hedge.shadow) {
            c->n.would_refuse[NP_RULE_HEDGE]++;
        } else {
            c->n.refused[NP_RULE_HEDGE]++;
        }
        return false;
    }
    if (c->hedge.shadow) c->n.would_hedge++;
    return !c->hedge.shadow;
}

enum neap_err np_cluster_hedge(struct np_cluster *c, struct np_call *call, int64_t now,
                               struct np_attempt *out)
{
    if (call->deadline != 0 && now >= call->deadline) return NEAP_ETIMEDOUT;
    if (np_cluster_hedge_at(c, call) == INT64_MAX) return NEAP_ELIMIT;
    call->hedges_asked++;
    if (!may_hedge(c, call, now)) return NEAP_ELIMIT;
    enum neap_err err = np_call_attempt(c, call, true, now, out);
    if (err != NEAP_OK) {
        np_retry_budget_refund(&c->rules->budget, now);
        return err;
    }
    out->hedge = true;
    call->hedges++;
    c->n.hedges++;
    return NEAP_OK;
}
