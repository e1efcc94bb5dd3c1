/* Hedges: when they are due, who pays, who wins, and what the losers tell. And who is ejected. */
#include "cluster_helpers.h"

static struct np_cluster_options with_hedges(void)
{
    struct np_cluster_options o = plain_options();
    o.hedge.on = true;
    o.hedge.min_samples = 20;
    o.hedge.window_ns = 3600 * S;
    o.retry.reserve = 1000;
    return o;
}

/* Ninety-six of a hundred calls took 10 ms, four took 100 ms. */
static void teach(struct np_cluster *c)
{
    for (int i = 0; i < 200; i++)
        good_call(c, S, i % 25 == 0 ? 100 * MS : 10 * MS);
}

static void begin(struct np_cluster *c, struct np_call *call, int64_t now, struct np_attempt *a)
{
    assert_ok(np_cluster_admit(c, call, now));
    assert_ok(np_cluster_start(c, call, now, a));
}

static void a_hedge_is_due_at_the_observed_quantile(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_call call = call_of(true, 0);
    struct np_attempt a;
    struct np_result r = ok_after(MS);
    int64_t at;
    (void)state;
    begin(c, &call, S, &a);
    assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX); /* nothing is known yet */
    (void)np_cluster_finish(c, &call, &a, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    for (int i = 0; i < 18; i++)
        good_call(c, S, 10 * MS);
    begin(c, &call, S, &a);
    assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX); /* 19 samples */
    (void)np_cluster_finish(c, &call, &a, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    teach(c);
    begin(c, &call, 2 * S, &a);
    assert_in_range(np_cluster_hedge_at(c, &call), 2 * S + 9 * MS, 2 * S + 11 * MS);
    assert_in_range((int64_t)np_cluster_counters(c).hedge_delay_ns, 9 * MS, 11 * MS);
    (void)np_cluster_finish(c, &call, &a, &r, false, 2 * S, &at);
    assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX); /* it is answered */
    np_cluster_end(c, &call, &r, 2 * S);
    np_cluster_free(c);
}

static void nobody_hedges_what_is_not_safe_or_has_no_time(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_call unsafe = call_of(false, 0), late = call_of(true, S + 8 * MS);
    struct np_attempt a;
    struct np_result r = ok_after(MS);
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &unsafe, S, &a);
    assert_int_equal(np_cluster_hedge_at(c, &unsafe), INT64_MAX);
    assert_err(np_cluster_hedge(c, &unsafe, S, &a), NEAP_ELIMIT);
    (void)np_cluster_finish(c, &unsafe, &a, &r, false, S, &at);
    np_cluster_end(c, &unsafe, &r, S);
    begin(c, &late, S, &a);
    assert_int_equal(np_cluster_hedge_at(c, &late), INT64_MAX);
    (void)np_cluster_finish(c, &late, &a, &r, false, S, &at);
    np_cluster_end(c, &late, &r, S);
    np_cluster_free(c);
}

static void the_delay_has_a_floor(void **state)
{
    struct np_cluster_options o = with_hedges();
    o.hedge.min_delay_ns = 40 * MS;
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_call call = call_of(true, 0);
    struct np_attempt a;
    struct np_result r = ok_after(MS);
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &a);
    assert_int_equal(np_cluster_hedge_at(c, &call), S + 40 * MS);
    (void)np_cluster_finish(c, &call, &a, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    np_cluster_free(c);
}

static void a_hedge_wins_and_the_loser_is_remembered(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result r = ok_after(10 * MS), lost = cancellation();
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, 2 * S, &first);
    struct np_endpoint *slow = np_endpoint_ref(first.e);
    uint64_t errors = np_endpoint_errors(slow);
    double before = np_endpoint_cost(slow, 2 * S);
    assert_ok(np_cluster_hedge(c, &call, 2 * S + 12 * MS, &hedge));
    assert_true(hedge.hedge);
    assert_false(hedge.retry);
    assert_int_equal(hedge.number, 2);
    assert_ptr_not_equal(hedge.e, slow);
    assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX); /* one is enough */
    assert_int_equal(np_cluster_finish(c, &call, &hedge, &r, false, 2 * S + 900 * MS, &at),
                     NP_CALL_DONE);
    assert_int_equal(np_cluster_finish(c, &call, &first, &lost, false, 2 * S + 900 * MS, &at),
                     NP_CALL_DONE);
    np_cluster_end(c, &call, &r, 2 * S + 900 * MS);
    struct np_cluster_counters n = np_cluster_counters(c);
    assert_int_equal(n.hedges, 1);
    assert_int_equal(n.hedges_won, 1);
    assert_int_equal(n.failed + n.canceled + n.retries, 0);
    assert_int_equal(np_endpoint_errors(slow), errors);
    assert_true(before < 2e8);
    assert_true(np_endpoint_cost(slow, 2 * S + 900 * MS) >= 9e8 * 0.99);
    np_endpoint_unref(slow);
    np_cluster_free(c);
}

/* What is told of a loser that had not waited long enough to be hedged: nothing that is above it.
 */
static void a_hedge_loses_and_the_quantile_stays(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = ok_after(13 * MS), lost = cancellation();
    int64_t at;
    (void)state;
    teach(c);
    double before = np_cluster_counters(c).hedge_delay_ns;
    for (int i = 0; i < 10; i++) {
        struct np_call call = call_of(true, 0);
        struct np_attempt first, hedge;
        begin(c, &call, 2 * S, &first);
        assert_ok(np_cluster_hedge(c, &call, 2 * S + 12 * MS, &hedge));
        assert_int_equal(np_cluster_finish(c, &call, &first, &r, false, 2 * S + 13 * MS, &at),
                         NP_CALL_DONE);
        assert_int_equal(np_cluster_finish(c, &call, &hedge, &lost, false, 2 * S + 13 * MS, &at),
                         NP_CALL_DONE);
        np_cluster_end(c, &call, &r, 2 * S + 13 * MS);
    }
    assert_int_equal(np_cluster_counters(c).hedges_won, 0);
    assert_true(np_cluster_counters(c).hedge_delay_ns >= before);
    np_cluster_free(c);
}

/* Or hedges would make believe that nothing is slow, and come ever sooner. */
static void losers_that_were_slow_count_in_the_quantile(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = ok_after(10 * MS), lost = cancellation();
    int64_t at;
    (void)state;
    for (int i = 0; i < 20; i++)
        good_call(c, S, 10 * MS);
    for (int i = 0; i < 10; i++) {
        struct np_call call = call_of(true, 0);
        struct np_attempt first, hedge;
        begin(c, &call, S, &first);
        if (np_cluster_hedge(c, &call, S + 12 * MS, &hedge) != NEAP_OK) fail();
        (void)np_cluster_finish(c, &call, &hedge, &r, false, S + 900 * MS, &at);
        (void)np_cluster_finish(c, &call, &first, &lost, false, S + 900 * MS, &at);
        np_cluster_end(c, &call, &r, S + 900 * MS);
    }
    for (int i = 0; i < 20; i++)
        good_call(c, 2 * S, 10 * MS);
    assert_true(np_cluster_counters(c).hedge_delay_ns > 8e8); /* 10 of 60 took 0.9 s at least */
    np_cluster_free(c);
}

static void while_a_hedge_is_out_a_failure_waits_for_it(void **state)
{
    struct np_cluster_options o = with_hedges();
    o.retry.attempts = 2;
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge, again;
    struct np_result bad = fault_of(NP_FAULT_GATEWAY), good = ok_after(MS);
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &first);
    assert_ok(np_cluster_hedge(c, &call, S + 12 * MS, &hedge));
    assert_int_equal(np_cluster_finish(c, &call, &first, &bad, false, S + 13 * MS, &at),
                     NP_CALL_WAIT);
    /* The hedge failed as well: now there is a retry, which a hedge does not count against. */
    assert_int_equal(np_cluster_finish(c, &call, &hedge, &bad, false, S + 14 * MS, &at),
                     NP_CALL_RETRY);
    assert_ok(np_cluster_start(c, &call, at, &again));
    assert_true(again.retry);
    assert_int_equal(again.number, 3);
    assert_int_equal(np_cluster_finish(c, &call, &again, &good, false, at, &at), NP_CALL_DONE);
    np_cluster_end(c, &call, &good, at);
    assert_int_equal(in_flight(c), 0);
    np_cluster_free(c);
}

static void an_answer_that_is_no_use_to_retry_ends_the_call(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result bad = fault_of(NP_FAULT_SERVER), lost = cancellation();
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &first);
    assert_ok(np_cluster_hedge(c, &call, S + 12 * MS, &hedge));
    assert_int_equal(np_cluster_finish(c, &call, &first, &bad, false, S + 13 * MS, &at),
                     NP_CALL_DONE);
    assert_int_equal(np_cluster_finish(c, &call, &hedge, &lost, false, S + 13 * MS, &at),
                     NP_CALL_DONE);
    np_cluster_end(c, &call, &bad, S + 13 * MS);
    np_cluster_free(c);
}

static void a_streamed_answer_decides_with_its_head(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result r = ok_after(5 * MS), lost = cancellation();
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &first);
    assert_ok(np_cluster_hedge(c, &call, S + 12 * MS, &hedge));
    np_cluster_answered(c, &call, &hedge);
    assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX);
    assert_int_equal(np_cluster_finish(c, &call, &first, &lost, false, S + 15 * MS, &at),
                     NP_CALL_DONE);
    /* The body ends an hour later; canceled or not, that is no latency. */
    struct np_endpoint *e = np_endpoint_ref(hedge.e);
    r.outcome = NP_OUTCOME_CANCELED;
    r.latency_ns = 5 * MS;
    assert_int_equal(np_cluster_finish(c, &call, &hedge, &r, false, 3600 * S, &at), NP_CALL_DONE);
    np_cluster_end(c, &call, NULL, 3600 * S);
    assert_true(np_endpoint_cost(e, 3600 * S) < 2e8);
    assert_int_equal(np_cluster_counters(c).hedges_won, 1);
    np_endpoint_unref(e);
    np_cluster_free(c);
}

static void hedges_are_paid_from_the_retry_budget(void **state)
{
    struct np_cluster_options o = with_hedges();
    o.retry.reserve = 0;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_result r = ok_after(10 * MS), lost = cancellation();
    unsigned hedged = 0;
    int64_t at;
    (void)state;
    teach(c); /* 200 calls long ago */
    for (int i = 0; i < 100; i++) {
        struct np_call call = call_of(true, 0);
        struct np_attempt first, hedge;
        begin(c, &call, 100 * S, &first);
        if (np_cluster_hedge(c, &call, 100 * S, &hedge) == NEAP_OK) {
            hedged++;
            (void)np_cluster_finish(c, &call, &hedge, &lost, false, 100 * S, &at);
        }
        assert_int_equal(np_cluster_hedge_at(c, &call), INT64_MAX); /* asked once */
        (void)np_cluster_finish(c, &call, &first, &r, false, 100 * S, &at);
        np_cluster_end(c, &call, &r, 100 * S);
    }
    assert_int_equal(hedged, 20);
    assert_int_equal(np_cluster_counters(c).refused[NP_RULE_HEDGE], 80);
    np_cluster_free(c);
}

static void alone_there_is_nobody_to_hedge_with(void **state)
{
    struct np_cluster_options o = with_hedges();
    struct np_cluster *c = cluster_make(&o, 1);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result r = ok_after(10 * MS);
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &first);
    assert_err(np_cluster_hedge(c, &call, S + 12 * MS, &hedge), NEAP_ENOENDPOINT);
    assert_int_equal(atomic_load(&np_cluster_rules_budget(np_cluster_rules_of(c))->withdrawn), 0);
    (void)np_cluster_finish(c, &call, &first, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    np_cluster_free(c);
}

static void at_the_concurrency_limit_nobody_hedges(void **state)
{
    struct np_cluster_options o = with_hedges();
    o.concurrency_on = true;
    o.concurrency.adaptive = false;
    o.concurrency.initial = 1;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result r = ok_after(10 * MS);
    int64_t at;
    (void)state;
    call.priority = NP_PRIORITY_HIGH;
    for (int i = 0; i < 100; i++) {
        begin(c, &call, S, &first);
        (void)np_cluster_finish(c, &call, &first, &r, false, S, &at);
        np_cluster_end(c, &call, &r, S);
    }
    begin(c, &call, S, &first);
    assert_err(np_cluster_hedge(c, &call, S + 12 * MS, &hedge), NEAP_ELIMIT);
    assert_int_equal(np_cluster_counters(c).refused[NP_RULE_HEDGE], 1);
    (void)np_cluster_finish(c, &call, &first, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    np_cluster_free(c);
}

static void shadowed_hedges_are_counted_and_not_made(void **state)
{
    struct np_cluster_options o = with_hedges();
    o.hedge.shadow = true;
    struct np_cluster *c = cluster_make(&o, 2);
    struct np_call call = call_of(true, 0);
    struct np_attempt first, hedge;
    struct np_result r = ok_after(10 * MS);
    int64_t at;
    (void)state;
    teach(c);
    begin(c, &call, S, &first);
    assert_true(np_cluster_hedge_at(c, &call) < INT64_MAX);
    assert_err(np_cluster_hedge(c, &call, S + 12 * MS, &hedge), NEAP_ELIMIT);
    assert_int_equal(np_cluster_counters(c).would_hedge, 1);
    assert_int_equal(np_cluster_counters(c).hedges, 0);
    assert_int_equal(in_flight(c), 1);
    (void)np_cluster_finish(c, &call, &first, &r, false, S, &at);
    np_cluster_end(c, &call, &r, S);
    np_cluster_free(c);
}

/* --- who waits */

/* One of three swallows all requests, after a while; each waits for as long as the test goes on. */
static unsigned swallowed(struct np_cluster *c, struct np_call *calls, struct np_attempt *waiting,
                          bool heads)
{
    const struct np_endpoint *hole = np_selector_all(np_cluster_selector(c))->endpoints[1];
    struct np_result r = ok_after(10 * MS);
    unsigned n = 0;
    int64_t at;
    for (int i = 0; i < 6000; i++) { /* for a minute */
        int64_t now = S + i * 10 * MS;
        calls[n] = call_of(false, 0);
        begin(c, &calls[n], now, &waiting[n]);
        if (waiting[n].e == hole && i >= 100 && n < 99) {
            if (heads) np_cluster_answered(c, &calls[n], &waiting[n]);
            n++;
            continue;
        }
        (void)np_cluster_finish(c, &calls[n], &waiting[n], &r, false, now, &at);
        np_cluster_end(c, &calls[n], &r, now);
    }
    for (unsigned i = 0; i < n; i++) {
        r = cancellation();
        (void)np_cluster_finish(c, &calls[i], &waiting[i], &r, false, 61 * S, &at);
        np_cluster_end(c, &calls[i], NULL, 61 * S);
    }
    return n;
}

static void a_black_hole_is_found_while_its_first_victims_wait(void **state)
{
    static struct np_call calls[100];
    static struct np_attempt waiting[100];
    struct np_cluster_options o = plain_options();
    o.policy = np_balancer_find("peak_ewma");
    struct np_cluster *c = cluster_make(&o, 3);
    (void)state;
    assert_in_range(swallowed(c, calls, waiting, false), 1, 8);
    assert_int_equal(in_flight(c), 0);
    np_cluster_free(c);
}

/* Streams whose head has come are no reason to avoid an endpoint for their length. */
static void who_was_answered_waits_no_longer(void **state)
{
    static struct np_call calls[100];
    static struct np_attempt waiting[100];
    struct np_cluster_options o = plain_options();
    struct np_cluster *c = cluster_make(&o, 3);
    const struct np_endpoint *hole = np_selector_all(np_cluster_selector(c))->endpoints[1];
    (void)state;
    assert_int_equal(swallowed(c, calls, waiting, true), 99); /* round robin */
    assert_true(np_endpoint_cost(hole, 61 * S) < 1e9);
    np_cluster_free(c);
}

/* --- outlier detection sees attempts */

static void who_fails_is_ejected_and_tried_out_later(void **state)
{
    struct np_cluster_options o = plain_options();
    o.outlier_on = true;
    o.retry.attempts = 3;
    o.retry.reserve = 1000;
    o.selector.panic_threshold = 0;
    struct np_cluster *c = cluster_make(&o, 3);
    struct np_result bad = fault_of(NP_FAULT_GATEWAY), good = ok_after(MS);
    struct np_endpoint *ill = NULL;
    unsigned failures = 0, trials = 0;
    int64_t at;
    (void)state;
    ill = np_endpoint_ref(np_selector_all(np_cluster_selector(c))->endpoints[1]);
    for (int i = 0; i < 1000; i++) {
        int64_t now = S + i * 50 * MS; /* 50 seconds */
        struct np_call call = call_of(true, 0);
        struct np_attempt a;
        enum np_verdict v;
        begin(c, &call, now, &a);
        do {
            bool fails = a.e == ill && i < 900;
            trials += a.trial;
            failures += fails;
            v = np_cluster_finish(c, &call, &a, fails ? &bad : &good, false, now, &at);
            if (v == NP_CALL_RETRY) assert_ok(np_cluster_start(c, &call, at, &a));
        } while (v == NP_CALL_RETRY);
        np_cluster_end(c, &call, &good, now);
    }
    assert_int_equal(np_cluster_counters(c).failed, 0);
    assert_in_range(failures, 5, 8); /* five in a row, and a trial or two */
    assert_true(trials >= 1);
    np_endpoint_unref(ill);
    np_cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hedge_is_due_at_the_observed_quantile),
        cmocka_unit_test(nobody_hedges_what_is_not_safe_or_has_no_time),
        cmocka_unit_test(the_delay_has_a_floor),
        cmocka_unit_test(a_hedge_wins_and_the_loser_is_remembered),
        cmocka_unit_test(a_hedge_loses_and_the_quantile_stays),
        cmocka_unit_test(losers_that_were_slow_count_in_the_quantile),
        cmocka_unit_test(while_a_hedge_is_out_a_failure_waits_for_it),
        cmocka_unit_test(an_answer_that_is_no_use_to_retry_ends_the_call),
        cmocka_unit_test(a_streamed_answer_decides_with_its_head),
        cmocka_unit_test(hedges_are_paid_from_the_retry_budget),
        cmocka_unit_test(alone_there_is_nobody_to_hedge_with),
        cmocka_unit_test(at_the_concurrency_limit_nobody_hedges),
        cmocka_unit_test(shadowed_hedges_are_counted_and_not_made),
        cmocka_unit_test(a_black_hole_is_found_while_its_first_victims_wait),
        cmocka_unit_test(who_was_answered_waits_no_longer),
        cmocka_unit_test(who_fails_is_ejected_and_tried_out_later),
    };
    return cmocka_run_group_tests_name("mesh.cluster_hedge", tests, NULL, NULL);
}
