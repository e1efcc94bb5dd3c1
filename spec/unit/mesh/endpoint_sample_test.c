/* Statistics: what each kind of end adds to them, and that several threads lose nothing. */
#include "balancer_helpers.h"

#include <pthread.h>

#include "mesh/endpoint_cost.h"

static void fail_with(struct np_endpoint *e, enum np_fault fault, int64_t now)
{
    struct np_result r = np_result_of(NP_OUTCOME_FAILED, 1000);
    r.fault = fault;
    np_endpoint_begin(e);
    np_endpoint_end(e, &r, now);
}

static void succeed(struct np_endpoint *e, int64_t latency, int64_t now)
{
    np_endpoint_begin(e);
    end_with(e, NP_OUTCOME_OK, latency, now);
}

static void assert_rows(const struct np_endpoint *e, unsigned all, unsigned gateway, unsigned local)
{
    assert_int_equal(atomic_load(&e->stats->consecutive_5xx), all);
    assert_int_equal(atomic_load(&e->stats->consecutive_gateway), gateway);
    assert_int_equal(atomic_load(&e->stats->consecutive_local), local);
}

/* As Envoy counts them. */
static void rows_of_failures(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    fail_with(e, NP_FAULT_NONE, S); /* one of the server's */
    assert_rows(e, 1, 0, 0);
    fail_with(e, NP_FAULT_GATEWAY, S);
    assert_rows(e, 2, 1, 0);
    fail_with(e, NP_FAULT_LOCAL, S);
    fail_with(e, NP_FAULT_LOCAL, S);
    assert_rows(e, 4, 3, 2);
    fail_with(e, NP_FAULT_GATEWAY, S);
    assert_rows(e, 5, 4, 0);
    fail_with(e, NP_FAULT_SERVER, S);
    assert_rows(e, 6, 0, 0);
    np_endpoint_begin(e);
    end_with(e, NP_OUTCOME_CANCELED, -1, S); /* says nothing */
    assert_rows(e, 6, 0, 0);
    succeed(e, S, S);
    assert_rows(e, 0, 0, 0);
    fail_with(e, NP_FAULT_LOCAL, S);
    fail_with(e, NP_FAULT_OVERLOAD, S); /* an answer, if no good one */
    assert_rows(e, 0, 0, 0);
    assert_int_equal(np_endpoint_errors(e), 8);
    assert_int_equal(atomic_load(&e->stats->interval_total), 9);
    assert_int_equal(atomic_load(&e->stats->interval_success), 2);
    np_endpoint_unref(e);
}

static void bytes_are_summed_up(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct np_result r = np_result_of(i ? NP_OUTCOME_OK : NP_OUTCOME_CANCELED, 1000);
        r.bytes_in = 10;
        r.bytes_out = 1000;
        np_endpoint_begin(e);
        np_endpoint_end(e, &r, S);
    }
    assert_int_equal(atomic_load(&e->stats->bytes_in), 30);
    assert_int_equal(atomic_load(&e->stats->bytes_out), 3000);
    np_endpoint_unref(e);
}

static void the_success_rate_follows_what_happens(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    assert_true(np_endpoint_success(e) == 1);
    /* Many at one moment: each counts for a sixty-fourth. */
    for (int i = 0; i < 1000; i++) {
        if (i % 4 == 0) {
            fail_with(e, NP_FAULT_SERVER, S);
        } else {
            succeed(e, 1000, S);
        }
    }
    assert_true(fabs(np_endpoint_success(e) - 0.75) < 0.05);
    /* Few, far between: the last ones decide. */
    succeed(e, 1000, 61 * S);
    assert_true(np_endpoint_success(e) > 0.99);
    fail_with(e, NP_FAULT_SERVER, 121 * S);
    assert_true(np_endpoint_success(e) < 0.01);
    np_endpoint_unref(e);
}

static void p95_is_of_the_latest_answers(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    (void)state;
    assert_true(np_endpoint_p95(e) == 0);
    for (int i = 0; i < 1000; i++)
        succeed(e, (i % 10 == 0 ? 80 : 4) * NP_NS_PER_MS, S + i * NP_NS_PER_MS);
    assert_true(fabs(np_endpoint_p95(e) - 8e7) < 8e7 * 0.08);
    for (int i = 0; i < 1000; i++)
        fail_with(e, NP_FAULT_SERVER, 2 * S); /* how fast a failure is, is no matter */
    assert_true(fabs(np_endpoint_p95(e) - 8e7) < 8e7 * 0.08);
    for (int i = 0; i < 1000; i++)
        succeed(e, 4 * NP_NS_PER_MS, 30 * S + i * NP_NS_PER_MS);
    assert_true(fabs(np_endpoint_p95(e) - 4e6) < 4e6 * 0.08);
    np_endpoint_unref(e);
}

/* A single failure among good answers does not hide how fast an endpoint is; a row of them does. */
static void failures_in_a_row_cost_more_and_more(void **state)
{
    struct np_endpoint *fast = endpoint_make("x", "a:1", 1), *slow = endpoint_make("y", "a:2", 1);
    (void)state;
    for (int i = 0; i < 50; i++) {
        succeed(fast, NP_NS_PER_MS, S);
        fail_with(fast, NP_FAULT_SERVER, S);
        succeed(slow, 20 * NP_NS_PER_MS, S);
        fail_with(slow, NP_FAULT_SERVER, S);
    }
    assert_true(np_endpoint_cost(fast, S) == 1e7);
    assert_true(np_endpoint_cost(slow, S) == 2e8);
    fail_with(fast, NP_FAULT_SERVER, S);
    assert_true(np_endpoint_cost(fast, S) == 1e8);
    for (int i = 0; i < 10; i++)
        fail_with(fast, NP_FAULT_SERVER, S);
    assert_true(np_endpoint_cost(fast, S) == 5e9); /* linkerd's penalty is the most */
    /* Nothing is known of it but that it fails: ten times the seed. */
    struct np_endpoint *unknown = endpoint_make("z", "a:3", 1);
    fail_with(unknown, NP_FAULT_LOCAL, S);
    assert_true(np_endpoint_cost(unknown, S) == 1e8);
    np_endpoint_unref(fast);
    np_endpoint_unref(slow);
    np_endpoint_unref(unknown);
}

static void a_peer_is_left_alone_as_long_as_it_asks(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    struct np_result r = np_result_of(NP_OUTCOME_FAILED, 1000);
    (void)state;
    r.fault = NP_FAULT_OVERLOAD;
    r.retry_after_ns = 30 * S;
    np_endpoint_begin(e);
    np_endpoint_end(e, &r, S);
    assert_true(np_endpoint_cost(e, S) == 30e9);
    r.retry_after_ns = 86400 * S; /* within reason */
    np_endpoint_begin(e);
    np_endpoint_end(e, &r, S);
    assert_true(np_endpoint_cost(e, S) == 300e9);
    np_endpoint_unref(e);
}

static void availability(void **state)
{
    struct np_endpoint *e = endpoint_make("x", "a:1", 1);
    struct np_stats *s = e->stats;
    (void)state;
    assert_int_equal(np_endpoint_availability(e, S), NP_AVAILABLE);
    atomic_store(&s->ejected_until, 5 * S);
    assert_int_equal(np_endpoint_availability(e, S), NP_UNAVAILABLE);
    assert_int_equal(np_endpoint_availability(e, 5 * S), NP_TRIAL);
    assert_true(np_endpoint_try(e));
    assert_false(np_endpoint_try(e)); /* one at a time */
    atomic_store(&s->on_trial, false);
    assert_true(np_endpoint_try(e));
    atomic_store(&s->health, NP_HEALTH_DRAINING);
    assert_int_equal(np_endpoint_availability(e, 5 * S), NP_UNAVAILABLE);
    np_endpoint_unref(e);
}

static void decay_is_right_within_its_error(void **state)
{
    (void)state;
    for (int64_t dt = 1; dt < 100 * S; dt += dt / 7 + 1) {
        double want = exp(-(double)dt / (double)NP_EWMA_DECAY_NS);
        assert_true(fabs(np_decay(S, S + dt) - want) < 1e-8);
    }
    assert_true(np_decay(S, S) == 1);
    assert_true(np_decay(2 * S, S) == 1); /* a clock behind another's */
}

/* --- several workers, a balancer each, one set */

enum { THREADS = 4, ROUNDS = 6000, ENDPOINTS = 12 };

struct worker {
    const char *policy;
    struct np_snapshot *set, *fewer;
    uint64_t seed;
    unsigned failed;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct np_endpoint *held[8] = {0};
    struct np_balancer_options o = options_make();
    struct np_balancer *b = NULL;
    struct np_rng rng;
    np_rng_init(&rng, w->seed);
    o.seed = w->seed;
    o.load_factor = 1.5;
    if (np_balancer_new(np_balancer_find(w->policy), &o, &b) != NEAP_OK) return NULL;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t now = S + i * NP_NS_PER_MS;
        struct np_endpoint **slot = &held[i % 8];
        bool fails = np_rng_below(&rng, 10) == 0;
        if (i % 1000 == 0 && np_balancer_update(b, i % 2000 ? w->fewer : w->set) != NEAP_OK) break;
        if (*slot != NULL) {
            release_with(b, *slot, fails ? NP_OUTCOME_FAILED : NP_OUTCOME_OK,
                         (int64_t)np_rng_below(&rng, 1000000), now);
            w->failed += fails;
        }
        struct np_pick_ctx ctx = {.has_hash = true, .hash = np_rng_next(&rng)};
        if (np_balancer_pick(b, &ctx, now, slot) != NEAP_OK) break;
        np_endpoint_report(*slot, 100, 1, 0.5, now);
        atomic_store(&(*slot)->stats->health, i % 50 == 0 ? NP_HEALTH_UNHEALTHY : 0);
    }
    for (int i = 0; i < 8; i++)
        if (held[i] != NULL) release_with(b, held[i], NP_OUTCOME_OK, 1000, S + ROUNDS);
    np_balancer_free(b);
    return NULL;
}

static void no_count_and_no_reference_is_lost_between_threads(void **state)
{
    (void)state;
    for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
        struct np_snapshot *set = set_make(ENDPOINTS, NULL), *fewer = set_without(set, 3);
        struct worker workers[THREADS];
        pthread_t threads[THREADS];
        uint64_t total = 0, errors = 0, failed = 0, ended = 0;
        for (int i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){np_balancer_at(p)->name, set, fewer, 100 + (uint64_t)i, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            failed += workers[i].failed;
        }
        for (int i = 0; i < ENDPOINTS; i++) {
            const struct np_endpoint *e = set->endpoints[i];
            assert_int_equal(np_endpoint_active(e), 0);
            assert_int_equal(atomic_load(&e->refs), i == 3 ? 1 : 2); /* the snapshots' */
            total += np_endpoint_total(e);
            errors += np_endpoint_errors(e);
            ended += atomic_load(&e->stats->interval_total);
        }
        assert_int_equal(total, THREADS * ROUNDS);
        assert_int_equal(ended, THREADS * ROUNDS);
        assert_int_equal(errors, failed);
        np_snapshot_unref(set);
        np_snapshot_unref(fewer);
    }
    assert_int_equal(np_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_failures),
        cmocka_unit_test(bytes_are_summed_up),
        cmocka_unit_test(the_success_rate_follows_what_happens),
        cmocka_unit_test(p95_is_of_the_latest_answers),
        cmocka_unit_test(failures_in_a_row_cost_more_and_more),
        cmocka_unit_test(a_peer_is_left_alone_as_long_as_it_asks),
        cmocka_unit_test(availability),
        cmocka_unit_test(decay_is_right_within_its_error),
        cmocka_unit_test(no_count_and_no_reference_is_lost_between_threads),
    };
    return cmocka_run_group_tests_name("mesh.endpoint_sample", tests, NULL, NULL);
}
