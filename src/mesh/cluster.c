/* Clusters: a call from its admission to its end (see cluster.h). */
#include "mesh/cluster.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mesh/cluster_impl.h"

static const struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};

/* --- making */

enum neap_err np_cluster_new(const struct np_cluster_options *o, struct np_cluster_rules *rules,
                             struct np_cluster **out)
{
    enum neap_err err = np_cluster_check(o, NULL);
    if (err != NEAP_OK) return err;
    struct np_cluster *c = np_calloc(1, sizeof *c);
    if (c == NULL) return NEAP_ENOMEM;
    /* Where the caller chooses, a policy still stands by for when it cannot. */
    const struct np_balancer_ops *policy = o->policy ? o->policy : np_balancer_find("p2c");
    err = np_selector_new(policy, &o->balancer, &o->selector, &c->selector);
    if (err != NEAP_OK) goto fail;
    c->rules = np_cluster_rules_ref(rules);
    c->retry = o->retry;
    c->hedge = o->hedge;
    c->most = o->retry.attempts + (o->hedge.on ? o->hedge.max : 0);
    if (c->most > NP_CALL_ATTEMPTS) c->most = NP_CALL_ATTEMPTS;
    c->shadow_limiter = o->limiter_on && o->limiter.shadow;
    c->leaky = o->limiter_on && o->limiter.algorithm == NP_LEAKY_BUCKET;
    c->shadow_concurrency = o->concurrency_on && o->concurrency.shadow;
    c->shadow_breaker = o->breaker_on && o->breaker.shadow;
    c->shadow_budget = o->retry.shadow || (o->hedge.on && o->hedge.shadow);
    np_rng_init(&c->rng, o->balancer.seed ? np_hash_mix(o->balancer.seed) : 0);
    *out = c;
    return NEAP_OK;
fail:
    np_free(c);
    return err;
}

void np_cluster_free(struct np_cluster *c)
{
    if (c == NULL) return;
    np_selector_free(c->selector);
    np_cluster_rules_unref(c->rules);
    np_free(c);
}

enum neap_err np_cluster_update(struct np_cluster *c, struct np_snapshot *set, int64_t now)
{
    return np_selector_update(c->selector, set, now);
}

uint32_t np_cluster_most_attempts(const struct np_cluster *c)
{
    return c->most;
}

struct np_selector *np_cluster_selector(struct np_cluster *c)
{
    return c->selector;
}

const struct np_cluster_rules *np_cluster_rules_of(const struct np_cluster *c)
{
    return c->rules;
}

/* --- admission */

enum neap_err np_call_refuse(struct np_cluster *c, struct np_call *call, enum np_rule rule,
                             int64_t retry_after_ns, enum neap_err err)
{
    call->refused_by = rule;
    call->retry_after_ns = retry_after_ns;
    c->n.refused[rule]++;
    return err;
}

static void call_init(struct np_call *call, int64_t now)
{
    call->ctx.exclude = NULL;
    call->ctx.nexclude = 0;
    call->ctx.strict = false;
    call->began = now;
    call->wait_ns = 0;
    call->refused_by = NP_RULE_NONE;
    call->retry_after_ns = 0;
    call->last_began = now;
    call->attempts = call->inflight = call->hedges = call->hedges_asked = 0;
    call->winner = 0;
    call->pass = NP_PASS_REFUSED_OPEN;
    call->in_concurrency = call->decided = call->over = false;
}

/* A leaky bucket: its places come one after the other, and a call that would have no time left for
 * its own takes none. */
static bool queued(struct np_cluster *c, struct np_call *call, int64_t now)
{
    int64_t left = call->deadline != 0 ? call->deadline - now - 1 : INT64_MAX;
    struct np_limit limit = np_limiter_reserve(&c->rules->limiter, 1, left, now, &call->ticket);
    if (limit.allowed) {
        call->wait_ns = limit.wait_ns;
        return true;
    }
    (void)np_call_refuse(c, call, NP_RULE_RATE_LIMIT, limit.wait_ns, NEAP_ELIMIT);
    return false;
}

static bool rate_allows(struct np_cluster *c, struct np_call *call, int64_t now)
{
    struct np_limiter *l = &c->rules->limiter;
    if (c->shadow_limiter) {
        if (!np_limiter_check(l, 1, now).would_allow) c->n.would_refuse[NP_RULE_RATE_LIMIT]++;
        return true;
    }
    if (c->leaky) return queued(c, call, now);
    if (np_limiter_allow(l, now)) return true;
    int64_t wait = np_limiter_check(l, 0, now).wait_ns;
    (void)np_call_refuse(c, call, NP_RULE_RATE_LIMIT, wait, NEAP_ELIMIT);
    return false;
}

static enum neap_err pass_breaker(struct np_cluster *c, struct np_call *call, int64_t now)
{
    struct np_breaker *b = c->rules->breaker;
    enum np_breaker_pass pass = np_breaker_enter(b, now);
    if (pass == NP_PASS_CALL || pass == NP_PASS_PROBE) {
        call->pass = (uint8_t)pass;
        return NEAP_OK;
    }
    if (call->in_concurrency) {
        np_concurrency_leave(c->rules->concurrency, &canceled, now);
        call->in_concurrency = false;
    }
    int64_t wait = pass == NP_PASS_REFUSED_OPEN ? np_breaker_wait(b, now) : 0;
    return np_call_refuse(c, call, NP_RULE_BREAKER, wait, NEAP_EBUSY);
}

static enum neap_err admit(struct np_cluster *c, struct np_call *call, int64_t now)
{
    struct np_cluster_rules *r = c->rules;
    if (call->deadline != 0 && now >= call->deadline) {
        return np_call_refuse(c, call, NP_RULE_DEADLINE, 0, NEAP_ETIMEDOUT);
    }
    if (r->limited && !rate_allows(c, call, now)) return NEAP_ELIMIT;
    if (r->concurrency != NULL) {
        if (!np_concurrency_enter(r->concurrency, call->priority, now)) {
            return np_call_refuse(c, call, NP_RULE_CONCURRENCY, 0, NEAP_ELIMIT);
        }
        call->in_concurrency = true;
    }
    return r->breaker != NULL ? pass_breaker(c, call, now) : NEAP_OK;
}

enum neap_err np_cluster_admit(struct np_cluster *c, struct np_call *call, int64_t now)
{
    call_init(call, now);
    c->n.calls++;
    enum neap_err err = admit(c, call, now);
    if (err != NEAP_OK) {
        /* A place in line that is not needed after all. */
        if (c->leaky && !c->shadow_limiter && call->refused_by > NP_RULE_RATE_LIMIT) {
            np_limiter_give_back(&c->rules->limiter, 1, call->ticket);
        }
        call->over = true;
        return err;
    }
    np_retry_budget_deposit(&c->rules->budget, now);
    if (c->shadow_budget) np_retry_budget_deposit(&c->rules->shadow, now);
    return NEAP_OK;
}

/* --- attempts */

static int64_t timeout_of(const struct np_cluster *c, const struct np_call *call, int64_t now)
{
    int64_t bound = c->retry.per_try_ns;
    if (call->deadline == 0) return bound;
    int64_t left = call->deadline - now;
    return bound == 0 || left < bound ? left : bound;
}

/* The endpoint was picked or taken: its reference is the attempt's; the call
 * has one of its own. */
static void attempt_init(struct np_cluster *c, struct np_call *call, struct np_endpoint *e,
                         bool trial, int64_t now, struct np_attempt *out)
{
    call->tried[call->attempts++] = np_endpoint_ref(e);
    call->inflight++;
    call->last_began = now;
    c->n.attempts++;
    *out = (struct np_attempt){
        .e = e,
        .began = now,
        .timeout_ns = timeout_of(c, call, now),
        .number = call->attempts,
        .trial = trial,
    };
    np_watch_begin(c, out);
}

enum neap_err np_call_attempt(struct np_cluster *c, struct np_call *call, bool strict, int64_t now,
                              struct np_attempt *out)
{
    struct np_endpoint *e = NULL;
    bool trial = false;
    call->ctx.exclude = call->tried;
    call->ctx.nexclude = call->attempts;
    call->ctx.strict = strict;
    enum neap_err err = np_selector_pick(c->selector, &call->ctx, now, &e, &trial);
    if (err == NEAP_OK) attempt_init(c, call, e, trial, now, out);
    return err;
}

/* Whether another attempt can be begun at all. */
static enum neap_err may_start(struct np_cluster *c, struct np_call *call, int64_t now)
{
    if (call->over || call->decided) return NEAP_ECLOSED;
    if (call->attempts >= c->most) return NEAP_ELIMIT;
    if (call->deadline != 0 && now >= call->deadline) {
        return np_call_refuse(c, call, NP_RULE_DEADLINE, 0, NEAP_ETIMEDOUT);
    }
    return NEAP_OK;
}

static enum neap_err started(struct np_cluster *c, struct np_call *call, enum neap_err err,
                             struct np_attempt *out)
{
    if (err == NEAP_ENOENDPOINT) return np_call_refuse(c, call, NP_RULE_ENDPOINTS, 0, err);
    if (err != NEAP_OK) return err;
    out->retry = out->number > 1;
    if (out->retry) c->n.retries++;
    return NEAP_OK;
}

enum neap_err np_cluster_start(struct np_cluster *c, struct np_call *call, int64_t now,
                               struct np_attempt *out)
{
    enum neap_err err = may_start(c, call, now);
    if (err != NEAP_OK) return err;
    np_watch_look(c, now);
    err = np_call_attempt(c, call, false, now, out);
    return started(c, call, err, out);
}

static bool stands_in(const struct np_snapshot *set, const struct np_endpoint *e)
{
    for (size_t i = 0; i < set->len; i++) {
        if (np_endpoint_same(set->endpoints[i], e)) return true;
    }
    return false;
}

enum neap_err np_cluster_start_on(struct np_cluster *c, struct np_call *call, struct np_endpoint *e,
                                  int64_t now, struct np_attempt *out)
{
    bool trial = false;
    enum neap_err err = may_start(c, call, now);
    if (err != NEAP_OK) return err;
    np_watch_look(c, now);
    bool taken = np_selector_take(c->selector, e, false, now, &trial);
    /* Where there is panic, those that are unavailable may be used. */
    if (!taken && stands_in(np_selector_usable(c->selector, now), e)) {
        taken = np_selector_take(c->selector, e, true, now, &trial);
    }
    if (taken) attempt_init(c, call, e, trial, now, out);
    return started(c, call, taken ? NEAP_OK : NEAP_ENOENDPOINT, out);
}

/* --- the end of an attempt */

/* What is told of the endpoint, which is not always what is told to the call.
 */
static struct np_result told(const struct np_call *call, const struct np_attempt *a,
                             const struct np_result *r, int64_t now)
{
    struct np_result t = *r;
    if (r->outcome == NP_OUTCOME_FAILED && r->fault == NP_FAULT_NONE) {
        t.outcome = NP_OUTCOME_CANCELED;
        t.latency_ns = -1;
    } else if (r->outcome == NP_OUTCOME_CANCELED && call->winner != 0 &&
               call->winner != a->number) {
        t.latency_ns = now > a->began ? now - a->began : 0;
    }
    return t;
}

/* A latency that is only known to be at least so long counts where it lies
 * above the quantile: there it says the same, however much longer it would have
 * been. */
static void sample(struct np_cluster *c, const struct np_result *r, int64_t now)
{
    struct np_quantile *q = &c->rules->latency;
    if (r->latency_ns < 0) return;
    bool exact = r->outcome == NP_OUTCOME_OK;
    double delay = np_quantile_cached(q);
    if (exact || (delay > 0 && (double)r->latency_ns >= delay)) {
        np_quantile_add(q, r->latency_ns, now);
    }
}

static void give_back(struct np_cluster *c, struct np_call *call, struct np_attempt *a,
                      const struct np_result *r, int64_t now)
{
    struct np_outlier *o = c->rules->outlier;
    struct np_endpoint *e = a->e; /* call->tried keeps it */
    struct np_result t = told(call, a, r, now);
    np_watch_end(c, a);
    np_selector_release(c->selector, e, a->trial, &t, now);
    if (o != NULL) {
        const struct np_snapshot *set = np_selector_all(c->selector);
        (void)np_outlier_observe(o, set, e, a->trial, &t, now);
        np_outlier_tick(o, set, now);
    }
    if (c->hedge.on) sample(c, &t, now);
    a->e = NULL;
    call->inflight--;
}

void np_cluster_answered(struct np_cluster *c, struct np_call *call, const struct np_attempt *a)
{
    if (call->decided) return;
    if (a->e != NULL) np_watch_end(c, a);
    call->decided = true;
    call->winner = a->number;
    if (a->hedge) c->n.hedges_won++;
}

enum np_verdict np_cluster_finish(struct np_cluster *c, struct np_call *call, struct np_attempt *a,
                                  const struct np_result *r, bool unreached, int64_t now,
                                  int64_t *at)
{
    *at = now;
    if (a->e == NULL) return NP_CALL_DONE;
    give_back(c, call, a, r, now);
    if (call->decided) return NP_CALL_DONE;
    switch (r->outcome) {
    case NP_OUTCOME_OK:
        np_cluster_answered(c, call, a);
        return NP_CALL_DONE;
    case NP_OUTCOME_FAILED: {
        enum np_verdict v = np_call_failed(c, call, r, unreached, now, at);
        if (v == NP_CALL_DONE) call->winner = a->number;
        return v;
    }
    case NP_OUTCOME_CANCELED:
        break;
    }
    if (call->inflight > 0) return NP_CALL_WAIT;
    call->decided = true;
    return NP_CALL_DONE;
}

/* --- the end of a call */

/* What the rules that look at whole calls see. */
static struct np_result seen(const struct np_call *call, const struct np_result *r)
{
    if (r == NULL || call->attempts == 0) return canceled;
    if (r->outcome == NP_OUTCOME_FAILED && r->fault == NP_FAULT_NONE) return canceled;
    return *r;
}

static void count(struct np_cluster *c, const struct np_result *r)
{
    if (r == NULL || r->outcome == NP_OUTCOME_CANCELED) {
        c->n.canceled++;
    } else if (r->outcome == NP_OUTCOME_OK) {
        c->n.succeeded++;
    } else {
        c->n.failed++;
    }
}

void np_cluster_end(struct np_cluster *c, struct np_call *call, const struct np_result *r,
                    int64_t now)
{
    if (call->over) return;
    call->over = true;
    count(c, r);
    struct np_result s = seen(call, r);
    if (call->pass == NP_PASS_CALL || call->pass == NP_PASS_PROBE) {
        np_breaker_leave(c->rules->breaker, (enum np_breaker_pass)call->pass, s.outcome, now);
    }
    if (call->in_concurrency) np_concurrency_leave(c->rules->concurrency, &s, now);
    for (size_t i = 0; i < call->attempts; i++)
        np_endpoint_unref(call->tried[i]);
}

struct np_cluster_counters np_cluster_counters(const struct np_cluster *c)
{
    struct np_cluster_counters n = c->n;
    const struct np_cluster_rules *r = c->rules;
    if (c->shadow_concurrency && r->concurrency != NULL) {
        struct np_concurrency_counters k = np_concurrency_counters(r->concurrency);
        for (int i = 0; i < NP_PRIORITY_CLASSES; i++)
            n.would_refuse[NP_RULE_CONCURRENCY] += k.refused[i];
    }
    if (c->shadow_breaker && r->breaker != NULL) {
        struct np_breaker_counters k = np_breaker_counters(r->breaker);
        n.would_refuse[NP_RULE_BREAKER] = k.refused_open + k.refused_cap;
    }
    if (c->hedge.on) n.hedge_delay_ns = np_hedge_delay(c);
    return n;
}
