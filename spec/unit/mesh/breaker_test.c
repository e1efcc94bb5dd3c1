/* Circuit breakers: each change of state, the window, probes, back-off, caps, shadow, threads. */
#include "np_test.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/breaker.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS
#define GRAIN (INT64_C(1) << 14) /* in which the end of a span is kept */

static struct np_breaker_options plain(void)
{
    struct np_breaker_options o = np_breaker_defaults;
    o.jitter = 0;
    o.failure_rate = 0;
    return o;
}

static struct np_breaker *make(const struct np_breaker_options *o)
{
    struct np_breaker *b;
    assert_ok(np_breaker_new(o, 1, &b));
    return b;
}

static enum np_breaker_pass call(struct np_breaker *b, enum np_outcome outcome, int64_t now)
{
    enum np_breaker_pass pass = np_breaker_enter(b, now);
    np_breaker_leave(b, pass, outcome, now);
    return pass;
}

static void calls(struct np_breaker *b, unsigned n, enum np_outcome outcome, int64_t now)
{
    for (unsigned i = 0; i < n; i++)
        (void)call(b, outcome, now);
}

#define OK NP_OUTCOME_OK
#define FAILED NP_OUTCOME_FAILED
#define CANCELED NP_OUTCOME_CANCELED
#define assert_state(b, now, s) \
    assert_string_equal(np_breaker_state_name(np_breaker_state((b), (now))), s)

static struct np_breaker *opened_at(int64_t now, const struct np_breaker_options *o)
{
    struct np_breaker *b = make(o);
    np_breaker_trip(b, now);
    assert_state(b, now, "open");
    return b;
}

static void opens_after_consecutive_failures(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.consecutive_failures = 3;
    struct np_breaker *b = make(&o);
    calls(b, 2, FAILED, S);
    calls(b, 1, OK, S);
    calls(b, 2, FAILED, S);
    calls(b, 5, CANCELED, S); /* no success, which would have broken the row, and no failure */
    assert_state(b, S, "closed");
    calls(b, 1, FAILED, S);
    assert_state(b, S, "open");
    assert_int_equal(np_breaker_enter(b, S), NP_PASS_REFUSED_OPEN);
    struct np_breaker_counters c = np_breaker_counters(b);
    assert_int_equal(c.opened, 1);
    assert_int_equal(c.refused_open, 1);
    assert_int_equal(c.calls, 11);
    assert_int_equal(c.failures, 5);
    assert_int_equal(c.inflight, 0);
    np_breaker_unref(b);
}

static void opens_by_the_rate_once_there_are_enough_calls(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.failure_rate = 0.5;
    o.minimum_calls = 20;
    struct np_breaker *b = make(&o);
    calls(b, 19, FAILED, S);
    assert_state(b, S, "closed");
    calls(b, 1, OK, S); /* the twentieth: 95 % have failed */
    assert_state(b, S, "open");
    np_breaker_unref(b);

    b = make(&o);
    calls(b, 51, OK, S);
    calls(b, 50, FAILED, S);
    assert_state(b, S, "closed");
    calls(b, 1, FAILED, S);
    assert_state(b, S, "open");
    np_breaker_unref(b);
}

static void the_window_forgets(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.failure_rate = 0.5;
    o.minimum_calls = 10;
    struct np_breaker *b = make(&o);
    calls(b, 9, FAILED, 100 * S);
    calls(b, 9, FAILED, 110 * S); /* of the first nine, none counts any more */
    assert_state(b, 110 * S, "closed");
    calls(b, 1, FAILED, 119 * S); /* of these, all do */
    assert_state(b, 119 * S, "open");
    np_breaker_unref(b);

    b = make(&o);
    calls(b, 9, FAILED, 100 * S);
    calls(b, 1, FAILED, 5000000 * S);
    assert_state(b, 5000000 * S, "closed");
    np_breaker_unref(b);

    /* So long after that a slot's time could be taken for a later one. */
    b = make(&o);
    calls(b, 9, FAILED, 100 * S);
    int64_t much_later = 100 * S + ((INT64_C(1) << 23) + 2) * S;
    calls(b, 9, FAILED, much_later);
    assert_state(b, much_later, "closed");
    calls(b, 1, FAILED, much_later);
    assert_state(b, much_later, "open");
    np_breaker_unref(b);
}

static void a_worker_whose_clock_is_behind_still_counts(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.failure_rate = 0.5;
    o.minimum_calls = 4;
    struct np_breaker *b = make(&o);
    calls(b, 2, FAILED, 101 * S + 5 * MS);
    calls(b, 1, FAILED, 100 * S + 990 * MS);
    calls(b, 1, FAILED, 101 * S + 6 * MS);
    assert_state(b, 102 * S, "open");
    np_breaker_unref(b);
}

static void is_open_for_its_span_then_lets_a_probe_pass(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    struct np_breaker *b = opened_at(S, &o);
    assert_in_range(np_breaker_wait(b, S), 5 * S, 5 * S + GRAIN);
    assert_int_equal(np_breaker_enter(b, 6 * S - 1), NP_PASS_REFUSED_OPEN);
    assert_state(b, 6 * S + GRAIN, "half_open");
    assert_int_equal(np_breaker_wait(b, 6 * S + GRAIN), 0);
    assert_int_equal(np_breaker_enter(b, 6 * S + GRAIN), NP_PASS_PROBE);
    assert_int_equal(np_breaker_enter(b, 6 * S + GRAIN), NP_PASS_REFUSED_OPEN);
    assert_int_equal(np_breaker_wait(b, 6 * S + GRAIN), 500 * MS);
    np_breaker_leave(b, NP_PASS_PROBE, OK, 7 * S);
    assert_state(b, 7 * S, "closed");
    assert_int_equal(np_breaker_wait(b, 7 * S), 0);
    assert_int_equal(np_breaker_enter(b, 7 * S), NP_PASS_CALL);
    assert_int_equal(np_breaker_counters(b).closed, 1);
    assert_int_equal(np_breaker_changes(b), 3);
    np_breaker_unref(b);
}

static void a_failed_probe_doubles_the_span_up_to_its_limit(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    struct np_breaker *b = opened_at(0, &o);
    int64_t now = 0;
    static const int spans[] = {10, 20, 40, 60, 60};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        now += np_breaker_wait(b, now);
        assert_int_equal(np_breaker_enter(b, now), NP_PASS_PROBE);
        np_breaker_leave(b, NP_PASS_PROBE, FAILED, now);
        assert_in_range(np_breaker_wait(b, now), spans[i] * S, spans[i] * S + GRAIN);
    }
    now += np_breaker_wait(b, now);
    calls(b, 1, OK, now);
    np_breaker_trip(b, now); /* it has closed meanwhile: the first span again */
    assert_in_range(np_breaker_wait(b, now), 5 * S, 5 * S + GRAIN);
    np_breaker_unref(b);
}

static void the_exponent_has_an_end(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.open_ns = MS;
    o.max_open_ns = NP_TIME_NEVER;
    struct np_breaker *b = opened_at(0, &o);
    int64_t now = 0;
    for (int i = 0; i < 40; i++) {
        now += np_breaker_wait(b, now);
        np_breaker_leave(b, np_breaker_enter(b, now), FAILED, now);
        assert_true(np_breaker_wait(b, now) > 0);
    }
    np_breaker_unref(b);
}

static void jitter_is_drawn_and_stays_within_its_share(void **state)
{
    struct np_breaker_options o = plain();
    int64_t least = INT64_MAX, most = 0;
    (void)state;
    o.jitter = 0.2;
    struct np_breaker *b = make(&o);
    for (int i = 0; i < 1000; i++) {
        np_breaker_trip(b, 0);
        int64_t wait = np_breaker_wait(b, 0);
        assert_in_range(wait, 4 * S, 5 * S + GRAIN);
        if (wait < least) least = wait;
        if (wait > most) most = wait;
    }
    assert_true(least < 4 * S + 20 * MS);
    assert_true(most > 5 * S - 20 * MS);
    np_breaker_unref(b);
}

static void as_many_probes_pass_as_must_go_well(void **state)
{
    struct np_breaker_options o = plain();
    int64_t now = 10 * S;
    (void)state;
    o.half_open_probes = 3;
    struct np_breaker *b = opened_at(0, &o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(np_breaker_enter(b, now), NP_PASS_PROBE);
    assert_int_equal(np_breaker_enter(b, now), NP_PASS_REFUSED_OPEN);
    np_breaker_leave(b, NP_PASS_PROBE, OK, now);
    assert_int_equal(np_breaker_enter(b, now), NP_PASS_REFUSED_OPEN);
    np_breaker_leave(b, NP_PASS_PROBE, OK, now);
    assert_state(b, now, "half_open");
    np_breaker_leave(b, NP_PASS_PROBE, OK, now);
    assert_state(b, now, "closed");
    np_breaker_unref(b);
}

static void one_failed_probe_of_some_opens_it(void **state)
{
    struct np_breaker_options o = plain();
    int64_t now = 10 * S;
    (void)state;
    o.half_open_probes = 2;
    struct np_breaker *b = opened_at(0, &o);
    assert_int_equal(np_breaker_enter(b, now), NP_PASS_PROBE);
    assert_int_equal(np_breaker_enter(b, now), NP_PASS_PROBE);
    np_breaker_leave(b, NP_PASS_PROBE, FAILED, now);
    assert_state(b, now, "open");
    int64_t wait = np_breaker_wait(b, now);
    np_breaker_leave(b, NP_PASS_PROBE, OK, now); /* too late to matter */
    assert_state(b, now, "open");
    assert_int_equal(np_breaker_wait(b, now), wait);
    assert_int_equal(np_breaker_counters(b).inflight, 0);
    np_breaker_unref(b);
}

static void a_canceled_probe_leaves_its_place_to_another(void **state)
{
    struct np_breaker_options o = plain();
    int64_t now = 10 * S;
    (void)state;
    struct np_breaker *b = opened_at(0, &o);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(np_breaker_enter(b, now), NP_PASS_PROBE);
        np_breaker_leave(b, NP_PASS_PROBE, CANCELED, now);
        assert_state(b, now, "half_open");
    }
    assert_int_equal(call(b, OK, now), NP_PASS_PROBE);
    assert_state(b, now, "closed");
    np_breaker_unref(b);
}

static void calls_of_before_it_opened_say_nothing_of_the_probe(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.consecutive_failures = 1;
    struct np_breaker *b = make(&o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    np_breaker_leave(b, NP_PASS_CALL, FAILED, 0);
    assert_state(b, 0, "open");
    np_breaker_leave(b, NP_PASS_CALL, FAILED, 0);
    assert_int_equal(np_breaker_counters(b).opened, 1);
    assert_int_equal(np_breaker_enter(b, 6 * S), NP_PASS_PROBE);
    np_breaker_leave(b, NP_PASS_CALL, OK, 6 * S);
    assert_state(b, 6 * S, "half_open");
    np_breaker_leave(b, NP_PASS_PROBE, OK, 6 * S);
    assert_state(b, 6 * S, "closed");
    np_breaker_unref(b);
}

static void closing_begins_with_an_empty_window(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.failure_rate = 0.5;
    o.minimum_calls = 10;
    o.open_ns = MS;
    struct np_breaker *b = make(&o);
    calls(b, 10, FAILED, 100 * S);
    assert_state(b, 100 * S, "open");
    calls(b, 1, OK, 100 * S + 2 * MS);
    assert_state(b, 100 * S + 2 * MS, "closed");
    calls(b, 9, FAILED, 100 * S + 3 * MS);
    assert_state(b, 100 * S + 3 * MS, "closed");
    np_breaker_unref(b);
}

static void caps_what_is_in_flight(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.max_requests = 2;
    struct np_breaker *b = make(&o);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_REFUSED_CAP);
    np_breaker_leave(b, NP_PASS_REFUSED_CAP, FAILED, 0); /* it was none: nothing happens */
    assert_int_equal(np_breaker_counters(b).inflight, 2);
    np_breaker_leave(b, NP_PASS_CALL, CANCELED, 0);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    assert_int_equal(np_breaker_counters(b).refused_cap, 1);
    /* The cap is filled by calls of before, so the probe's place is not taken for nothing. */
    np_breaker_trip(b, 0);
    assert_int_equal(np_breaker_enter(b, 6 * S), NP_PASS_REFUSED_CAP);
    np_breaker_leave(b, NP_PASS_CALL, OK, 6 * S);
    assert_int_equal(np_breaker_enter(b, 6 * S), NP_PASS_PROBE);
    np_breaker_unref(b);
}

static void in_shadow_mode_all_pass_and_it_counts(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.shadow = true;
    o.consecutive_failures = 2;
    o.max_requests = 1;
    struct np_breaker *b = make(&o);
    assert_true(np_breaker_shadow(b));
    calls(b, 2, FAILED, 0);
    assert_state(b, 0, "open");
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    struct np_breaker_counters c = np_breaker_counters(b);
    assert_int_equal(c.refused_open, 2);
    assert_int_equal(c.refused_cap, 1);
    assert_int_equal(c.calls, 4);
    np_breaker_leave(b, NP_PASS_CALL, OK, 0);
    np_breaker_leave(b, NP_PASS_CALL, OK, 0);
    assert_int_equal(call(b, OK, 6 * S), NP_PASS_PROBE);
    assert_state(b, 6 * S, "closed");
    np_breaker_unref(b);
}

static void by_hand(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.consecutive_failures = 2;
    struct np_breaker *b = make(&o);
    calls(b, 1, FAILED, 0);
    np_breaker_reset(b);
    calls(b, 1, FAILED, 0);
    assert_state(b, 0, "closed");
    np_breaker_trip(b, 0);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_REFUSED_OPEN);
    np_breaker_reset(b);
    assert_int_equal(np_breaker_enter(b, 0), NP_PASS_CALL);
    np_breaker_unref(b);
}

static void other_options_beside_its_users(void **state)
{
    struct np_breaker_options o = plain();
    (void)state;
    o.half_open_probes = 3;
    struct np_breaker *b = opened_at(0, &o);
    calls(b, 2, OK, 6 * S);
    assert_state(b, 6 * S, "half_open");
    o.half_open_probes = 1; /* of which there were two already */
    assert_ok(np_breaker_set(b, &o));
    assert_int_equal(np_breaker_wait(b, 6 * S), 0);
    assert_int_equal(call(b, OK, 6 * S), NP_PASS_PROBE);
    assert_state(b, 6 * S, "closed");
    o.consecutive_failures = 1;
    assert_ok(np_breaker_set(b, &o));
    calls(b, 1, FAILED, 6 * S);
    assert_state(b, 6 * S, "open");
    o.window_ns = 0;
    assert_err(np_breaker_set(b, &o), NEAP_EINVAL);
    np_breaker_unref(b);
}

static void options_out_of_range(void **state)
{
    struct np_breaker *b = NULL;
    (void)state;
#define REFUSED(field, v)                                                    \
    do {                                                                     \
        struct np_breaker_options o = np_breaker_defaults;                   \
        o.field = (v);                                                       \
        assert_non_null(strstr(np_breaker_options_problem(&o), "expected")); \
        assert_err(np_breaker_new(&o, 1, &b), NEAP_EINVAL);                  \
    } while (0)
    REFUSED(failure_rate, 1.1);
    REFUSED(failure_rate, -0.1);
    REFUSED(jitter, 2);
    REFUSED(minimum_calls, 0);
    REFUSED(window_ns, 10);
    REFUSED(open_ns, 0);
    REFUSED(max_open_ns, S);
    REFUSED(half_open_probes, 0);
    REFUSED(half_open_probes, 1001);
    assert_null(np_breaker_options_problem(&np_breaker_defaults));
    assert_null(b);
    np_breaker_unref(b);
}

static enum neap_err with_scarce_memory(void *arg)
{
    struct np_breaker *b = NULL;
    (void)arg;
    enum neap_err err = np_breaker_new(NULL, 0, &b);
    if (err == NEAP_OK) np_breaker_unref(np_breaker_ref(b));
    np_breaker_unref(b);
    return err;
}

static void survives_scarce_memory(void **state)
{
    (void)state;
    assert_true(np_test_oom(with_scarce_memory, NULL) > 0);
}

/* --- threads */

#define THREADS 4
#define ROUNDS 20000
#define PROBES 2
#define CAP 3

struct race {
    struct np_breaker *b;
    uint64_t seed;
    atomic_int *inside, *probes;
    uint64_t entered;
};

static void *race(void *arg)
{
    struct race *r = arg;
    struct np_rng rng;
    np_rng_init(&rng, r->seed);
    for (int64_t i = 0; i < ROUNDS; i++) {
        int64_t now = i * MS / 4;
        enum np_breaker_pass pass = np_breaker_enter(r->b, now);
        if (pass != NP_PASS_CALL && pass != NP_PASS_PROBE) continue;
        r->entered++;
        assert_true(atomic_fetch_add(r->inside, 1) < CAP);
        if (pass == NP_PASS_PROBE) assert_true(atomic_fetch_add(r->probes, 1) < PROBES);
        enum np_outcome outcome = (enum np_outcome)np_rng_below(&rng, 3);
        if (pass == NP_PASS_PROBE) atomic_fetch_sub(r->probes, 1);
        atomic_fetch_sub(r->inside, 1);
        np_breaker_leave(r->b, pass, outcome, now);
    }
    return NULL;
}

static void threads_keep_the_caps_and_the_order_of_states(void **state)
{
    struct np_breaker_options o = plain();
    atomic_int inside, probes;
    pthread_t t[THREADS];
    struct race r[THREADS];
    uint64_t entered = 0;
    (void)state;
    atomic_init(&inside, 0);
    atomic_init(&probes, 0);
    o.max_requests = CAP;
    o.consecutive_failures = 3;
    o.failure_rate = 0.8;
    o.half_open_probes = PROBES;
    o.open_ns = 2 * MS;
    o.max_open_ns = 8 * MS;
    o.jitter = 0.5;
    struct np_breaker *b = make(&o);
    for (unsigned i = 0; i < THREADS; i++) {
        r[i] = (struct race){b, i + 1, &inside, &probes, 0};
        assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        entered += r[i].entered;
    }
    struct np_breaker_counters c = np_breaker_counters(b);
    assert_int_equal(c.inflight, 0);
    assert_int_equal(c.calls, entered);
    assert_int_equal(c.calls + c.refused_open + c.refused_cap, THREADS * ROUNDS);
    assert_true(c.opened > 0 && c.closed > 0 && c.opened >= c.closed);
    /* No probe's place is lost: it still closes. */
    int64_t now = 100 * S;
    calls(b, PROBES, OK, now);
    assert_state(b, now, "closed");
    np_breaker_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_consecutive_failures),
        cmocka_unit_test(opens_by_the_rate_once_there_are_enough_calls),
        cmocka_unit_test(the_window_forgets),
        cmocka_unit_test(a_worker_whose_clock_is_behind_still_counts),
        cmocka_unit_test(is_open_for_its_span_then_lets_a_probe_pass),
        cmocka_unit_test(a_failed_probe_doubles_the_span_up_to_its_limit),
        cmocka_unit_test(the_exponent_has_an_end),
        cmocka_unit_test(jitter_is_drawn_and_stays_within_its_share),
        cmocka_unit_test(as_many_probes_pass_as_must_go_well),
        cmocka_unit_test(one_failed_probe_of_some_opens_it),
        cmocka_unit_test(a_canceled_probe_leaves_its_place_to_another),
        cmocka_unit_test(calls_of_before_it_opened_say_nothing_of_the_probe),
        cmocka_unit_test(closing_begins_with_an_empty_window),
        cmocka_unit_test(caps_what_is_in_flight),
        cmocka_unit_test(in_shadow_mode_all_pass_and_it_counts),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(other_options_beside_its_users),
        cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(survives_scarce_memory),
        cmocka_unit_test(threads_keep_the_caps_and_the_order_of_states),
    };
    return cmocka_run_group_tests_name("mesh.breaker", tests, NULL, NULL);
}
