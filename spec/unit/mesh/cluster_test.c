/* Clusters: admission, attempts, retries and the end of a call. Hedges: cluster_hedge_test.c. */
#include "cluster_helpers.h"

/* --- the plain case */

static void a_call_goes_well(void **state)
{
    struct np_cluster_options o = plain_options();
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_call call = call_of(false, 3 * S);
    struct np_attempt a;
    struct np_result r = ok_after(MS);
    int64_t at = 0;
    (void)state;
    assert_ok(np_cluster_admit(c, &call, S));
    assert_ok(np_cluster_start(c, &call, S, &a));
    assert_non_null(a.e);
    assert_int_equal(a.number, 1);
    assert_int_equal(a.timeout_ns, 2 * S);
    assert_false(a.retry || a.hedge || a.trial);
    assert_int_equal(in_flight(c), 1);
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, S + MS, &at), NP_CALL_DONE);
    assert_null(a.e);
    assert_int_equal(in_flight(c), 0);
    np_cluster_end(c, &call, &r, S + MS);
    struct np_cluster_counters n = np_cluster_counters(c);
    assert_int_equal(n.calls, 1);
    assert_int_equal(n.attempts, 1);
    assert_int_equal(n.succeeded, 1);
    assert_int_equal(n.failed + n.retries + n.hedges + n.canceled, 0);
    np_cluster_free(c);
    assert_int_equal(np_alloc_live(), 0);
}

static void the_attempt_has_the_smaller_time(void **state)
{
    struct np_cluster_options o = plain_options();
    o.retry.per_try_ns = 500 * MS;
    struct np_cluster *c = cluster_make(&o, 1);
    static const struct {
        int64_t deadline, timeout;
    } t[] = {{0, 500 * MS}, {S + 200 * MS, 200 * MS}, {9 * S, 500 * MS}};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct np_call call = call_of(false, t[i].deadline);
        struct np_attempt a;
        struct np_result r = ok_after(MS);
        int64_t at;
        assert_ok(np_cluster_admit(c, &call, S));
        assert_ok(np_cluster_start(c, &call, S, &a));
        assert_int_equal(a.timeout_ns, t[i].timeout);
        (void)np_cluster_finish(c, &call, &a, &r, false, S, &at);
        np_cluster_end(c, &call, &r, S);
    }
    np_cluster_free(c);
}

/* --- what is refused before it begins */

static void a_call_whose_time_is_over_is_refused(void **state)
{
    struct np_cluster_options o = plain_options();
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call = call_of(true, S);
    struct np_attempt a;
    (void)state;
    assert_err(np_cluster_admit(c, &call, S), NEAP_ETIMEDOUT);
    assert_int_equal(call.refused_by, NP_RULE_DEADLINE);
    call = call_of(true, 2 * S);
    assert_ok(np_cluster_admit(c, &call, S));
    assert_err(np_cluster_start(c, &call, 2 * S, &a), NEAP_ETIMEDOUT);
    assert_int_equal(call.refused_by, NP_RULE_DEADLINE);
    np_cluster_end(c, &call, NULL, 2 * S);
    assert_int_equal(np_cluster_counters(c).refused[NP_RULE_DEADLINE], 2);
    assert_int_equal(np_cluster_counters(c).attempts, 0);
    np_cluster_free(c);
}

static void without_endpoints_no_attempt_begins(void **state)
{
    struct np_cluster_options o = plain_options();
    struct np_cluster *c = cluster_make(&o, 0);
    struct np_call call = call_of(true, 0);
    struct np_attempt a;
    (void)state;
    assert_ok(np_cluster_admit(c, &call, S));
    assert_err(np_cluster_start(c, &call, S, &a), NEAP_ENOENDPOINT);
    assert_int_equal(call.refused_by, NP_RULE_ENDPOINTS);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    np_cluster_end(c, &call, &r, S);
    assert_int_equal(np_cluster_counters(c).failed, 1);
    np_cluster_free(c);
}

static void the_rate_is_limited_and_says_when_to_come_again(void **state)
{
    struct np_cluster_options o = plain_options();
    o.limiter_on = true;
    o.limiter = (struct np_limiter_options){.rate = 1, .burst = 2};
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call = call_of(true, 0);
    (void)state;
    good_call(c, S, MS);
    good_call(c, S, MS);
    assert_err(np_cluster_admit(c, &call, S), NEAP_ELIMIT);
    assert_int_equal(call.refused_by, NP_RULE_RATE_LIMIT);
    assert_in_range(call.retry_after_ns, S - MS, S + MS);
    good_call(c, 2 * S + MS, MS);
    assert_int_equal(np_cluster_counters(c).refused[NP_RULE_RATE_LIMIT], 1);
    np_cluster_free(c);
}

static void a_leaky_bucket_lets_wait(void **state)
{
    struct np_cluster_options o = plain_options();
    o.limiter_on = true;
    o.limiter = (struct np_limiter_options){
        .algorithm = NP_LEAKY_BUCKET, .rate = 10, .burst = 1, .queue = 9};
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call = call_of(true, 0), hasty = call_of(true, S + 150 * MS);
    (void)state;
    good_call(c, S, MS);
    assert_ok(np_cluster_admit(c, &call, S));
    assert_in_range(call.wait_ns, 99 * MS, 101 * MS);
    np_cluster_end(c, &call, NULL, S);
    /* It would be let in after 200 ms, when its time is over. */
    assert_err(np_cluster_admit(c, &hasty, S), NEAP_ELIMIT);
    np_cluster_free(c);
}

static void who_is_refused_later_keeps_no_place_in_line(void **state)
{
    struct np_cluster_options o = plain_options();
    o.limiter_on = o.concurrency_on = true;
    o.limiter = (struct np_limiter_options){
        .algorithm = NP_LEAKY_BUCKET, .rate = 10, .burst = 1, .queue = 9};
    o.concurrency.adaptive = false;
    o.concurrency.initial = 1;
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call first = call_of(true, 0), call = call_of(true, 0);
    (void)state;
    assert_ok(np_cluster_admit(c, &first, S));
    for (int i = 0; i < 5; i++) {
        assert_err(np_cluster_admit(c, &call, S), NEAP_ELIMIT);
        assert_int_equal(call.refused_by, NP_RULE_CONCURRENCY);
    }
    np_cluster_end(c, &first, NULL, S);
    assert_ok(np_cluster_admit(c, &call, S));
    assert_in_range(call.wait_ns, 99 * MS, 101 * MS);
    np_cluster_end(c, &call, NULL, S);
    np_cluster_free(c);
}

static void concurrency_is_left_at_the_end_however_it_comes(void **state)
{
    struct np_cluster_options o = plain_options();
    o.concurrency_on = true;
    o.concurrency.adaptive = false;
    o.concurrency.initial = 2;
    for (int i = 0; i < NP_PRIORITY_CLASSES; i++)
        o.concurrency.share[i] = 1;
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call[3];
    (void)state;
    for (int i = 0; i < 2; i++) {
        call[i] = call_of(true, 0);
        assert_ok(np_cluster_admit(c, &call[i], S));
    }
    call[2] = call_of(true, 0);
    assert_err(np_cluster_admit(c, &call[2], S), NEAP_ELIMIT);
    assert_int_equal(call[2].refused_by, NP_RULE_CONCURRENCY);
    np_cluster_end(c, &call[2], NULL, S); /* it has not begun */
    np_cluster_end(c, &call[0], NULL, S);
    assert_ok(np_cluster_admit(c, &call[2], S));
    np_cluster_end(c, &call[1], NULL, S);
    np_cluster_end(c, &call[2], NULL, S);
    np_cluster_end(c, &call[2], NULL, S); /* once is enough */
    struct np_concurrency *k = np_cluster_rules_concurrency(np_cluster_rules_of(c));
    assert_int_equal(np_concurrency_counters(k).inflight, 0);
    np_cluster_free(c);
}

/* --- the breaker */

static struct np_cluster_options with_breaker(bool shadow)
{
    struct np_cluster_options o = plain_options();
    o.breaker_on = true;
    o.breaker.consecutive_failures = 3;
    o.breaker.jitter = 0;
    o.breaker.open_ns = 5 * S;
    o.breaker.shadow = shadow;
    o.concurrency_on = true;
    return o;
}

static void failing_call(struct np_cluster *c, int64_t now, enum np_fault fault)
{
    struct np_call call = call_of(false, 0);
    struct np_attempt a;
    struct np_result r = fault_of(fault);
    int64_t at;
    assert_ok(np_cluster_admit(c, &call, now));
    assert_ok(np_cluster_start(c, &call, now, &a));
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, now, &at), NP_CALL_DONE);
    np_cluster_end(c, &call, &r, now);
}

static void an_open_breaker_refuses_and_gives_its_place_back(void **state)
{
    struct np_cluster_options o = with_breaker(false);
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call = call_of(true, 0);
    struct np_concurrency *k = np_cluster_rules_concurrency(np_cluster_rules_of(c));
    (void)state;
    for (int i = 0; i < 3; i++)
        failing_call(c, S, NP_FAULT_SERVER);
    assert_err(np_cluster_admit(c, &call, S), NEAP_EBUSY);
    assert_int_equal(call.refused_by, NP_RULE_BREAKER);
    np_cluster_end(c, &call, NULL, S); /* it has not begun */
    assert_in_range(call.retry_after_ns, 5 * S - MS, 5 * S + MS);
    assert_int_equal(np_concurrency_counters(k).inflight, 0);
    /* Half open: a probe, and a second call is refused meanwhile. */
    assert_ok(np_cluster_admit(c, &call, 6 * S + MS));
    struct np_call other = call_of(true, 0);
    assert_err(np_cluster_admit(c, &other, 6 * S + MS), NEAP_EBUSY);
    np_cluster_end(c, &call, NULL, 6 * S + MS); /* canceled: the probe's place is free again */
    good_call(c, 6 * S + MS, MS);
    good_call(c, 7 * S, MS);
    np_cluster_free(c);
}

static void the_callers_own_failures_open_no_breaker(void **state)
{
    struct np_cluster_options o = with_breaker(false);
    struct np_cluster *c = cluster_make(&o, 1);
    (void)state;
    for (int i = 0; i < 10; i++)
        failing_call(c, S, NP_FAULT_NONE);
    good_call(c, S, MS);
    assert_int_equal(np_cluster_counters(c).failed, 10);
    const struct np_snapshot *set = np_selector_all(np_cluster_selector(c));
    assert_int_equal(np_endpoint_errors(set->endpoints[0]), 0);
    np_cluster_free(c);
}

static void a_failure_that_a_retry_made_good_opens_no_breaker(void **state)
{
    struct np_cluster_options o = with_breaker(false);
    o.retry.attempts = 2;
    o.retry.reserve = 100;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result bad = fault_of(NP_FAULT_GATEWAY), good = ok_after(MS);
    int64_t at;
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct np_call call = call_of(true, 0);
        struct np_attempt a;
        assert_ok(np_cluster_admit(c, &call, S));
        assert_ok(np_cluster_start(c, &call, S, &a));
        assert_int_equal(np_cluster_finish(c, &call, &a, &bad, false, S, &at), NP_CALL_RETRY);
        assert_ok(np_cluster_start(c, &call, at, &a));
        assert_int_equal(np_cluster_finish(c, &call, &a, &good, false, at, &at), NP_CALL_DONE);
        np_cluster_end(c, &call, &good, at);
    }
    assert_int_equal(np_cluster_counters(c).succeeded, 20);
    np_cluster_free(c);
}

/* --- retries */

static struct np_cluster_options with_retries(uint32_t attempts)
{
    struct np_cluster_options o = plain_options();
    o.retry.attempts = attempts;
    o.retry.reserve = 1000;
    return o;
}

/* What follows on a first attempt that ended with `r`. */
static enum np_verdict verdict_on(struct np_cluster *c, struct np_call *call,
                                  const struct np_result *r, bool unreached, int64_t *at)
{
    struct np_attempt a;
    assert_ok(np_cluster_admit(c, call, S));
    assert_ok(np_cluster_start(c, call, S, &a));
    enum np_verdict v = np_cluster_finish(c, call, &a, r, unreached, S, at);
    np_cluster_end(c, call, r, S);
    return v;
}

static void only_what_is_safe_is_made_twice(void **state)
{
    struct np_cluster_options o = with_retries(3);
    struct np_cluster *c = cluster_make(&o, 3);
    static const struct {
        bool safe, unreached;
        enum np_fault fault;
        enum np_retriable how;
        enum np_verdict verdict;
    } t[] = {
        {true, false, NP_FAULT_LOCAL, NP_RETRIABLE_BY_FAULT, NP_CALL_RETRY},
        {true, false, NP_FAULT_GATEWAY, NP_RETRIABLE_BY_FAULT, NP_CALL_RETRY},
        {true, false, NP_FAULT_SERVER, NP_RETRIABLE_BY_FAULT, NP_CALL_DONE},
        {true, false, NP_FAULT_SERVER, NP_RETRIABLE_YES, NP_CALL_RETRY},
        {true, false, NP_FAULT_OVERLOAD, NP_RETRIABLE_BY_FAULT, NP_CALL_DONE},
        {true, false, NP_FAULT_OVERLOAD, NP_RETRIABLE_YES, NP_CALL_RETRY},
        {true, false, NP_FAULT_NONE, NP_RETRIABLE_BY_FAULT, NP_CALL_DONE},
        {true, false, NP_FAULT_LOCAL, NP_RETRIABLE_NO, NP_CALL_DONE},
        {false, false, NP_FAULT_LOCAL, NP_RETRIABLE_BY_FAULT, NP_CALL_DONE},
        {false, false, NP_FAULT_GATEWAY, NP_RETRIABLE_YES, NP_CALL_DONE},
        {false, true, NP_FAULT_LOCAL, NP_RETRIABLE_BY_FAULT, NP_CALL_RETRY},
        {false, true, NP_FAULT_LOCAL, NP_RETRIABLE_NO, NP_CALL_DONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct np_call call = call_of(t[i].safe, 0);
        struct np_result r = fault_of(t[i].fault);
        int64_t at;
        call.retriable = t[i].how;
        assert_int_equal(verdict_on(c, &call, &r, t[i].unreached, &at), t[i].verdict);
    }
    np_cluster_free(c);
}

static void a_retry_goes_to_another_host_while_there_is_one(void **state)
{
    struct np_cluster_options o = with_retries(4);
    o.policy = np_balancer_find("random");
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct np_call call = call_of(true, 0);
        struct np_endpoint *seen[4] = {NULL};
        int64_t at = S;
        assert_ok(np_cluster_admit(c, &call, S));
        for (int i = 0; i < 4; i++) {
            struct np_attempt a;
            assert_ok(np_cluster_start(c, &call, at, &a));
            assert_int_equal(a.number, i + 1);
            assert_int_equal(a.retry, i > 0);
            seen[i] = a.e;
            for (int k = 0; k < i && i < 3; k++)
                assert_ptr_not_equal(seen[k], seen[i]);
            assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, at, &at),
                             i < 3 ? NP_CALL_RETRY : NP_CALL_DONE);
        }
        np_cluster_end(c, &call, &r, at);
    }
    assert_int_equal(np_cluster_counters(c).retries, 60);
    assert_int_equal(in_flight(c), 0);
    np_cluster_free(c);
}

static void the_back_off_doubles_with_full_jitter(void **state)
{
    struct np_cluster_options o = with_retries(6);
    o.retry.reserve = 100000;
    struct np_cluster *c = cluster_make(&o, 1);
    static const int64_t cap[] = {25 * MS, 50 * MS, 100 * MS, 200 * MS, 250 * MS};
    int64_t least[5], most[5] = {0};
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    (void)state;
    for (int i = 0; i < 5; i++)
        least[i] = INT64_MAX;
    for (int round = 0; round < 300; round++) {
        struct np_call call = call_of(true, 0);
        int64_t now = S, at;
        assert_ok(np_cluster_admit(c, &call, now));
        for (int i = 0; i < 5; i++) {
            struct np_attempt a;
            assert_ok(np_cluster_start(c, &call, now, &a));
            assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, now, &at), NP_CALL_RETRY);
            if (at - now < least[i]) least[i] = at - now;
            if (at - now > most[i]) most[i] = at - now;
            assert_in_range(at - now, 0, cap[i]);
            now = at;
        }
        np_cluster_end(c, &call, &r, now);
    }
    for (int i = 0; i < 5; i++) {
        assert_true(least[i] < cap[i] / 20);
        assert_true(most[i] > cap[i] * 19 / 20);
    }
    np_cluster_free(c);
}

static void what_reached_nobody_is_tried_elsewhere_at_once(void **state)
{
    struct np_cluster_options o = with_retries(3);
    struct np_cluster *c = cluster_make(&o, 2), *alone = cluster_make(&o, 1);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    int64_t at, waited = 0;
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct np_call call = call_of(false, 0);
        assert_int_equal(verdict_on(c, &call, &r, true, &at), NP_CALL_RETRY);
        assert_int_equal(at, S);
        call = call_of(false, 0);
        assert_int_equal(verdict_on(alone, &call, &r, true, &at), NP_CALL_RETRY);
        waited += at - S;
    }
    assert_true(waited > 0);
    np_cluster_free(c);
    np_cluster_free(alone);
}

static void retry_after_is_honoured_by_whom_it_binds(void **state)
{
    struct np_cluster_options o = with_retries(3);
    struct np_cluster *many = cluster_make(&o, 3), *alone = cluster_make(&o, 1);
    o.retry.honour_retry_after = false;
    struct np_cluster *deaf = cluster_make(&o, 1);
    struct np_result r = fault_of(NP_FAULT_GATEWAY), limit = fault_of(NP_FAULT_OVERLOAD);
    struct np_call call;
    int64_t at;
    (void)state;
    r.retry_after_ns = limit.retry_after_ns = 2 * S;
    call = call_of(true, 0);
    assert_int_equal(verdict_on(alone, &call, &r, false, &at), NP_CALL_RETRY);
    assert_int_equal(at, 3 * S);
    call = call_of(true, 0);
    assert_int_equal(verdict_on(many, &call, &r, false, &at), NP_CALL_RETRY);
    assert_true(at <= S + 25 * MS); /* another endpoint did not ask for it */
    call = call_of(true, 0);
    call.retriable = NP_RETRIABLE_YES;
    assert_int_equal(verdict_on(many, &call, &limit, false, &at), NP_CALL_RETRY);
    assert_int_equal(at, 3 * S); /* the service did */
    call = call_of(true, 0);
    assert_int_equal(verdict_on(deaf, &call, &r, false, &at), NP_CALL_RETRY);
    assert_true(at <= S + 25 * MS);
    /* No time left for it: done at once. */
    call = call_of(true, S + 1500 * MS);
    assert_int_equal(verdict_on(alone, &call, &r, false, &at), NP_CALL_DONE);
    np_cluster_free(many);
    np_cluster_free(alone);
    np_cluster_free(deaf);
}

static void the_budget_bounds_retries(void **state)
{
    struct np_cluster_options o = with_retries(3);
    o.retry.reserve = 3;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    unsigned retries = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct np_call call = call_of(true, 0);
        int64_t at;
        retries += verdict_on(c, &call, &r, false, &at) == NP_CALL_RETRY;
    }
    assert_int_equal(retries, 100 / 5 + 3);
    assert_int_equal(np_cluster_counters(c).refused[NP_RULE_RETRY], 100 - retries);
    np_cluster_free(c);
}

/* Nobody had work with it yet. */
static void the_first_retry_of_what_reached_nobody_is_free(void **state)
{
    struct np_cluster_options o = with_retries(3);
    o.retry.budget = 0;
    o.retry.reserve = 0;
    struct np_cluster *c = cluster_make(&o, 3), *alone = cluster_make(&o, 1);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    struct np_call call = call_of(false, 0);
    struct np_attempt a;
    int64_t at;
    (void)state;
    assert_ok(np_cluster_admit(c, &call, S));
    assert_ok(np_cluster_start(c, &call, S, &a));
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, true, S, &at), NP_CALL_RETRY);
    assert_ok(np_cluster_start(c, &call, S, &a));
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, true, S, &at), NP_CALL_DONE);
    np_cluster_end(c, &call, &r, S);
    call = call_of(false, 0);
    assert_int_equal(verdict_on(alone, &call, &r, true, &at), NP_CALL_DONE);
    np_cluster_free(c);
    np_cluster_free(alone);
}

static void what_matters_less_leaves_the_reserve_alone(void **state)
{
    struct np_cluster_options o = with_retries(3);
    o.retry.budget = 0;
    o.retry.reserve = 1;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    struct np_call call = call_of(true, 0);
    int64_t at;
    (void)state;
    call.priority = NP_PRIORITY_LOW;
    assert_int_equal(verdict_on(c, &call, &r, false, &at), NP_CALL_DONE);
    call = call_of(true, 0);
    assert_int_equal(verdict_on(c, &call, &r, false, &at), NP_CALL_RETRY);
    np_cluster_free(c);
}

static void shadowed_retries_are_counted_and_not_made(void **state)
{
    struct np_cluster_options o = with_retries(3);
    o.retry.shadow = true;
    o.retry.reserve = 1;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = fault_of(NP_FAULT_LOCAL);
    int64_t at;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct np_call call = call_of(true, 0);
        assert_int_equal(verdict_on(c, &call, &r, false, &at), NP_CALL_DONE);
    }
    struct np_cluster_counters n = np_cluster_counters(c);
    assert_int_equal(n.would_retry, 1);
    assert_int_equal(n.would_refuse[NP_RULE_RETRY], 1);
    assert_int_equal(n.retries, 0);
    assert_int_equal(atomic_load(&np_cluster_rules_budget(np_cluster_rules_of(c))->withdrawn), 0);
    np_cluster_free(c);
}

static void shadowed_rules_let_pass_and_count(void **state)
{
    struct np_cluster_options o = with_breaker(true);
    o.limiter_on = true;
    o.limiter = (struct np_limiter_options){.rate = 1, .burst = 1, .shadow = true};
    o.concurrency.adaptive = false;
    o.concurrency.initial = 1;
    o.concurrency.shadow = true;
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call[3];
    (void)state;
    for (int i = 0; i < 3; i++)
        failing_call(c, S, NP_FAULT_SERVER);
    for (int i = 0; i < 3; i++) {
        call[i] = call_of(true, 0);
        assert_ok(np_cluster_admit(c, &call[i], S));
    }
    for (int i = 0; i < 3; i++)
        np_cluster_end(c, &call[i], NULL, S);
    struct np_cluster_counters n = np_cluster_counters(c);
    assert_int_equal(n.would_refuse[NP_RULE_RATE_LIMIT], 5);
    assert_int_equal(n.would_refuse[NP_RULE_BREAKER], 3);
    assert_true(n.would_refuse[NP_RULE_CONCURRENCY] >= 2);
    for (int rule = 0; rule < NP_RULES; rule++)
        assert_int_equal(n.refused[rule], 0);
    np_cluster_free(c);
}

/* --- endpoints that the caller chose */

static void the_caller_may_choose(void **state)
{
    struct np_cluster_options o = plain_options();
    o.policy = NULL;
    struct np_cluster *c = cluster_make(&o, 3);
    const struct np_snapshot *set = np_selector_all(np_cluster_selector(c));
    struct np_endpoint *e = np_endpoint_ref(set->endpoints[1]);
    struct np_endpoint *stranger = endpoint_make("x", "a:1", 1);
    struct np_call call = call_of(true, 0);
    struct np_result r = ok_after(MS);
    struct np_attempt a;
    int64_t at;
    (void)state;
    assert_ok(np_cluster_admit(c, &call, S));
    assert_err(np_cluster_start_on(c, &call, stranger, S, &a), NEAP_ENOENDPOINT);
    assert_ok(np_cluster_start_on(c, &call, e, S, &a));
    assert_ptr_equal(a.e, e);
    assert_int_equal(np_cluster_finish(c, &call, &a, &r, false, S, &at), NP_CALL_DONE);
    assert_err(np_cluster_start(c, &call, S, &a), NEAP_ECLOSED);
    np_cluster_end(c, &call, &r, S);
    /* Where it cannot, a policy stands by. */
    good_call(c, S, MS);
    np_endpoint_unref(stranger);
    np_endpoint_unref(e);
    np_cluster_free(c);
    assert_int_equal(np_alloc_live(), 0);
}

/* --- making */

static void options_are_checked(void **state)
{
    struct np_cluster_rules *rules = NULL;
    struct neap_errinfo info;
    struct np_cluster_options o;
    (void)state;
    np_cluster_defaults(&o);
    o.retry.attempts = 0;
    assert_err(np_cluster_rules_new(&o, 1, S, &rules, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "retry.attempts"));
    np_cluster_defaults(&o);
    o.retry.budget = -1;
    assert_err(np_cluster_rules_new(&o, 1, S, &rules, &info), NEAP_EINVAL);
    np_cluster_defaults(&o);
    o.hedge.on = true;
    o.hedge.quantile = 1;
    assert_err(np_cluster_rules_new(&o, 1, S, &rules, &info), NEAP_EINVAL);
    np_cluster_defaults(&o);
    o.hedge.on = true;
    o.hedge.max = 9;
    assert_err(np_cluster_rules_new(&o, 1, S, &rules, &info), NEAP_EINVAL);
    np_cluster_defaults(&o);
    o.limiter_on = true; /* and no rate */
    assert_err(np_cluster_rules_new(&o, 1, S, &rules, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "rate_limit"));
    assert_null(rules);
}

static enum neap_err make_and_call(void *arg)
{
    struct np_cluster_options o;
    struct np_cluster_rules *rules = NULL;
    struct np_cluster *c = NULL;
    (void)arg;
    np_cluster_defaults(&o);
    o.breaker_on = o.limiter_on = o.hedge.on = true;
    o.limiter.rate = 100;
    enum neap_err err = np_cluster_rules_new(&o, 1, S, &rules, NULL);
    if (err == NEAP_OK) err = np_cluster_new(&o, rules, &c);
    if (err == NEAP_OK) err = np_cluster_update(c, arg, S);
    if (err == NEAP_OK) good_call(c, S, MS);
    np_cluster_free(c);
    np_cluster_rules_unref(rules);
    return err;
}

static void memory_may_be_short(void **state)
{
    struct np_snapshot *set = set_make(3, NULL);
    (void)state;
    assert_true(np_test_oom(make_and_call, set) > 3);
    np_snapshot_unref(set);
    assert_int_equal(np_alloc_live(), 0);
}

static void rules_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < NP_RULES; i++) {
        for (int k = 0; k < i; k++)
            assert_string_not_equal(np_rule_name((enum np_rule)i), np_rule_name((enum np_rule)k));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_goes_well),
        cmocka_unit_test(the_attempt_has_the_smaller_time),
        cmocka_unit_test(a_call_whose_time_is_over_is_refused),
        cmocka_unit_test(without_endpoints_no_attempt_begins),
        cmocka_unit_test(the_rate_is_limited_and_says_when_to_come_again),
        cmocka_unit_test(a_leaky_bucket_lets_wait),
        cmocka_unit_test(who_is_refused_later_keeps_no_place_in_line),
        cmocka_unit_test(concurrency_is_left_at_the_end_however_it_comes),
        cmocka_unit_test(an_open_breaker_refuses_and_gives_its_place_back),
        cmocka_unit_test(the_callers_own_failures_open_no_breaker),
        cmocka_unit_test(a_failure_that_a_retry_made_good_opens_no_breaker),
        cmocka_unit_test(only_what_is_safe_is_made_twice),
        cmocka_unit_test(a_retry_goes_to_another_host_while_there_is_one),
        cmocka_unit_test(the_back_off_doubles_with_full_jitter),
        cmocka_unit_test(what_reached_nobody_is_tried_elsewhere_at_once),
        cmocka_unit_test(retry_after_is_honoured_by_whom_it_binds),
        cmocka_unit_test(the_budget_bounds_retries),
        cmocka_unit_test(the_first_retry_of_what_reached_nobody_is_free),
        cmocka_unit_test(what_matters_less_leaves_the_reserve_alone),
        cmocka_unit_test(shadowed_retries_are_counted_and_not_made),
        cmocka_unit_test(shadowed_rules_let_pass_and_count),
        cmocka_unit_test(the_caller_may_choose),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(rules_have_names),
    };
    return cmocka_run_group_tests_name("mesh.cluster", tests, NULL, NULL);
}
