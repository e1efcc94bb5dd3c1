/* What the simulator's callers do: np_cluster's machine is told what happens, and obeyed. */
#include "mesh/sim_impl.h"

static struct np_cluster *cluster_of(struct np_sim *s, const struct np_sim_request *r)
{
    return s->callers[r->caller].cluster;
}

static void call_over(struct np_sim *s, struct np_sim_request *r, const struct np_result *result)
{
    np_sim_queue_clear(&s->queue, &r->deadline);
    np_sim_queue_clear(&s->queue, &r->again);
    np_sim_queue_clear(&s->queue, &r->hedge);
    if (r->calling) {
        r->calling = false;
        np_cluster_end(cluster_of(s, r), &r->call, result, s->now);
    }
    np_sim_user_answered(s, r, result->outcome == NP_OUTCOME_OK);
}

static void call_failed(struct np_sim *s, struct np_sim_request *r, enum np_sim_error error,
                        enum np_fault fault)
{
    struct np_result result = {
        .outcome = NP_OUTCOME_FAILED, .fault = fault, .latency_ns = s->now - r->call.began};
    r->error = error;
    call_over(s, r, &result);
}

static void unlink_attempt(struct np_sim_request *r, struct np_sim_attempt *a)
{
    struct np_sim_attempt **at = &r->attempts;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
}

/* --- attempts */

static enum np_verdict finish(struct np_sim *s, struct np_sim_request *r, struct np_sim_attempt *a,
                              const struct np_result *result, bool unreached, int64_t *at)
{
    const struct np_sim_hooks *h = &s->o.hooks;
    if (h->release) h->release(h->arg, s, r->caller, a->a.e, result);
    unlink_attempt(r, a);
    enum np_verdict v =
        np_cluster_finish(cluster_of(s, r), &r->call, &a->a, result, unreached, s->now, at);
    np_sim_server_left(s, a);
    return v;
}

static void finish_all(struct np_sim *s, struct np_sim_request *r, enum np_outcome outcome)
{
    int64_t at;
    while (r->attempts != NULL) {
        struct np_sim_attempt *a = r->attempts;
        struct np_result result = {.outcome = outcome, .latency_ns = s->now - a->a.began};
        if (outcome == NP_OUTCOME_FAILED) result.fault = NP_FAULT_LOCAL;
        (void)finish(s, r, a, &result, false, &at);
    }
}

static void arm_hedge(struct np_sim *s, struct np_sim_request *r)
{
    if (!s->o.cluster.hedge.on) return;
    int64_t at = np_cluster_hedge_at(cluster_of(s, r), &r->call);
    if (at == INT64_MAX)
        np_sim_queue_clear(&s->queue, &r->hedge);
    else
        np_sim_queue_set(&s->queue, &r->hedge, at > s->now ? at : s->now);
}

static void send(struct np_sim *s, struct np_sim_request *r, struct np_sim_attempt *a)
{
    a->r = r;
    a->next = r->attempts;
    r->attempts = a;
    a->cost = r->cost;
    a->server = (uint32_t)np_sim_server_of(a->a.e);
    np_sim_note_attempt(s, a);
    int64_t timeout = a->a.timeout_ns;
    if (timeout > 0 && s->now + timeout < r->deadline.at) {
        np_sim_queue_set(&s->queue, &a->timeout, s->now + timeout);
    }
    arm_hedge(s, r);
    np_sim_server_receives(s, a); /* which may have answered already */
}

static struct np_sim_attempt *attempt_new(struct np_sim *s)
{
    struct np_sim_attempt *a = np_sim_pool_get(s, &s->attempts);
    if (a == NULL) return NULL;
    a->step.kind = TIMER_SERVER;
    a->timeout.kind = TIMER_TRY;
    return a;
}

static enum neap_err start_by_policy(struct np_sim *s, struct np_sim_request *r,
                                     struct np_sim_attempt *a)
{
    const struct np_sim_hooks *h = &s->o.hooks;
    struct np_cluster *c = cluster_of(s, r);
    if (h->pick == NULL) return np_cluster_start(c, &r->call, s->now, &a->a);
    struct np_endpoint *e = NULL; /* an endpoint on trial comes before every policy */
    enum neap_err err = NEAP_OK;
    if (r->call.attempts == 0)
        e = np_selector_preferred(np_cluster_selector(c), &r->call.ctx, s->now);
    if (e == NULL) err = h->pick(h->arg, s, r->caller, &r->call, &e);
    if (err == NEAP_OK)
        err = np_cluster_start_on(c, &r->call, e, s->now, &a->a);
    else if (err != NEAP_EAGAIN)
        return err;
    if (err != NEAP_EAGAIN && err != NEAP_ENOENDPOINT) return err;
    s->totals->policy_faults += err == NEAP_EAGAIN;
    return np_cluster_start(c, &r->call, s->now, &a->a);
}

static void start(struct np_sim *s, struct np_sim_request *r)
{
    struct np_sim_attempt *a = attempt_new(s);
    if (a == NULL) return;
    if (start_by_policy(s, r, a) == NEAP_OK) {
        send(s, r, a);
        return;
    }
    np_sim_pool_put(&s->attempts, a);
    if (r->attempts == NULL) call_failed(s, r, NP_SIM_SHED, NP_FAULT_LOCAL);
}

/* What the cluster is told of an answer. */
static struct np_result result_of(struct np_sim *s, const struct np_sim_attempt *a)
{
    const struct np_sim_server_state *v = &s->servers[a->server];
    struct np_result result = {.outcome = NP_OUTCOME_FAILED, .latency_ns = s->now - a->a.began};
    if (a->status == 200) {
        result.outcome = NP_OUTCOME_OK;
    } else if (a->status <= 0) {
        result.fault = NP_FAULT_LOCAL;
    } else if (a->status == 429) {
        result.fault = NP_FAULT_OVERLOAD;
    } else if (a->status >= 502 && a->status <= 504) {
        result.fault = NP_FAULT_GATEWAY;
    } else {
        result.fault = NP_FAULT_SERVER;
    }
    if (a->status > 0 && a->place == PLACE_RETURNING && a->status == v->o.reject_status) {
        result.retry_after_ns = v->o.retry_after_ns;
    }
    return result;
}

static enum np_sim_error error_of(struct np_sim *s, const struct np_sim_attempt *a)
{
    if (a->status <= 0) return NP_SIM_REFUSED;
    return a->status == s->servers[a->server].o.reject_status ? NP_SIM_FULL : NP_SIM_STATUS;
}

static void decide(struct np_sim *s, struct np_sim_request *r, struct np_sim_attempt *a,
                   const struct np_result *result, bool unreached)
{
    int64_t at = s->now;
    enum np_verdict v = finish(s, r, a, result, unreached, &at);
    if (v == NP_CALL_WAIT) return;
    if (v == NP_CALL_RETRY) {
        np_sim_queue_clear(&s->queue, &r->hedge);
        if (at > s->now)
            np_sim_queue_set(&s->queue, &r->again, at);
        else
            start(s, r);
        return;
    }
    finish_all(s, r, NP_OUTCOME_CANCELED);
    call_over(s, r, result);
}

static enum np_retriable retriable(const struct np_sim *s, int status)
{
    const uint64_t *bits = s->o.retry_statuses;
    uint64_t any = 0;
    for (size_t i = 0; i < sizeof s->o.retry_statuses / sizeof *bits; i++)
        any |= bits[i];
    if (any == 0 || status <= 0 || status >= 640) return NP_RETRIABLE_BY_FAULT;
    return bits[status / 64] >> (status % 64) & 1 ? NP_RETRIABLE_YES : NP_RETRIABLE_NO;
}

void np_sim_answered(struct np_sim *s, struct np_sim_attempt *a)
{
    struct np_sim_request *r = a->r;
    struct np_result result = result_of(s, a);
    if (result.outcome != NP_OUTCOME_OK) r->error = error_of(s, a);
    bool unreached = a->status == -1;
    r->call.retriable = retriable(s, a->status);
    a->place = PLACE_NOWHERE;
    decide(s, r, a, &result, unreached);
}

void np_sim_try_timeout(struct np_sim *s, struct np_sim_attempt *a)
{
    struct np_result result = {
        .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_LOCAL, .latency_ns = s->now - a->a.began};
    a->r->error = NP_SIM_TIMEOUT;
    a->r->call.retriable = NP_RETRIABLE_BY_FAULT;
    decide(s, a->r, a, &result, false);
}

/* --- calls */

void np_sim_call_begin(struct np_sim *s, struct np_sim_request *r)
{
    const struct np_sim_class *c = &s->o.load.classes[r->class_index];
    r->call = (struct np_call){.priority = c->priority,
                               .safe = c->safe,
                               .began = s->now,
                               .deadline = s->now + s->o.load.timeout_ns};
    if (s->o.load.keys > 0) {
        r->call.ctx.has_hash = true;
        r->call.ctx.hash = r->hash;
    }
    if (r->counts) s->totals->calls++;
    if (np_cluster_admit(cluster_of(s, r), &r->call, s->now) != NEAP_OK) {
        call_failed(s, r, NP_SIM_SHED, NP_FAULT_LOCAL);
        return;
    }
    r->calling = true;
    np_sim_queue_set(&s->queue, &r->deadline, r->call.deadline);
    if (r->call.wait_ns > 0)
        np_sim_queue_set(&s->queue, &r->again, s->now + r->call.wait_ns);
    else
        start(s, r);
}

void np_sim_call_again(struct np_sim *s, struct np_sim_request *r)
{
    start(s, r);
}

void np_sim_call_hedge(struct np_sim *s, struct np_sim_request *r)
{
    struct np_sim_attempt *a = attempt_new(s);
    if (a == NULL) return;
    if (np_cluster_hedge(cluster_of(s, r), &r->call, s->now, &a->a) == NEAP_OK)
        send(s, r, a);
    else
        np_sim_pool_put(&s->attempts, a);
}

void np_sim_call_deadline(struct np_sim *s, struct np_sim_request *r)
{
    finish_all(s, r, NP_OUTCOME_FAILED);
    call_failed(s, r, NP_SIM_TIMEOUT, NP_FAULT_LOCAL);
}
