/* Policies that weigh: smooth round robin over many endpoints, weights from reports, slow start. */
#include "balancer_helpers.h"

enum { MANY = 300 };

static void mixed_weights(uint32_t *weights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        weights[i] = 1 + (uint32_t)(i * 7 % 5);
}

static uint64_t sum_of(const uint32_t *weights, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weights[i];
    return sum;
}

/* In as many picks as the weights' sum each has its weight in turns, give or take one; and never
 * two at once that could be apart. */
static void many_endpoints_have_their_turns_spread_out(void **state)
{
    uint32_t weights[MANY];
    (void)state;
    mixed_weights(weights, MANY);
    uint64_t sum = sum_of(weights, MANY);
    struct np_snapshot *set = set_make(MANY, weights);
    struct np_balancer *b = lb_make("weighted_round_robin", NULL, set);
    unsigned total[MANY] = {0};
    uint64_t last[MANY] = {0}, at = 1;
    for (int round = 1; round <= 20; round++) {
        for (uint64_t i = 0; i < sum; i++, at++) {
            unsigned n = lb_turn_at(b, NULL, S);
            total[n]++;
            if (last[n] != 0) {
                double apart = (double)(at - last[n]), fair = (double)sum / weights[n];
                assert_true(apart > fair * 0.6 && apart < fair * 1.4);
            }
            last[n] = at;
        }
        for (int i = 0; i < MANY; i++)
            assert_in_range(total[i], (unsigned)round * weights[i] - 1,
                            (unsigned)round * weights[i] + 1);
    }
    lb_drop(b, set);
}

static void many_different_weights_are_exact(void **state)
{
    uint32_t weights[MANY];
    unsigned seen[MANY] = {0};
    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        weights[i] = 100 + i;
    weights[7] = NP_WEIGHT_MAX;
    uint64_t sum = sum_of(weights, MANY);
    struct np_snapshot *set = set_make(MANY, weights);
    struct np_balancer *b = lb_make("weighted_round_robin", NULL, set);
    for (uint64_t i = 0; i < sum; i++)
        seen[lb_turn_at(b, NULL, S)]++;
    for (int i = 0; i < MANY; i++)
        assert_in_range(seen[i], weights[i] - 1, weights[i] + 1);
    lb_drop(b, set);
}

/* Endpoints come and go, from few to many and back; who stays loses no turn by it. */
static void turns_are_kept_when_the_set_changes(void **state)
{
    enum { ALL = 60 };
    uint32_t weights[ALL];
    unsigned seen[ALL] = {0};
    double owed[ALL] = {0};
    (void)state;
    mixed_weights(weights, ALL);
    struct np_snapshot *all = set_make(ALL, weights);
    struct np_balancer *b = lb_make("weighted_round_robin", NULL, all);
    for (unsigned round = 0; round < 400; round++) {
        /* 20 … 59 of them, so both ways of doing it take turns; two picks each. */
        struct np_snapshot *set = NULL;
        size_t n = 20 + round * 17 % 40;
        double sum = 0;
        assert_ok(np_snapshot_new(all->endpoints, n, 0, &set));
        assert_ok(np_balancer_update(b, set));
        for (size_t i = 0; i < n; i++)
            sum += weights[i];
        for (int i = 0; i < 2; i++)
            seen[lb_turn_at(b, NULL, S)]++;
        for (size_t i = 0; i < n; i++)
            owed[i] += 2 * weights[i] / sum;
        np_snapshot_unref(set);
    }
    /* Were the turns forgotten with each change, some would have none at all. */
    for (size_t i = 0; i < 20; i++)
        assert_true(fabs(seen[i] - owed[i]) < 0.35 * owed[i] + 3);
    lb_drop(b, all);
}

static void who_is_excluded_has_its_turn_later(void **state)
{
    uint32_t weights[MANY];
    unsigned seen[MANY] = {0};
    (void)state;
    mixed_weights(weights, MANY);
    uint64_t sum = sum_of(weights, MANY);
    struct np_snapshot *set = set_make(MANY, weights);
    struct np_balancer *b = lb_make("weighted_round_robin", NULL, set);
    struct np_rng rng;
    np_rng_init(&rng, 3);
    for (uint64_t i = 0; i < 20 * sum; i++) {
        struct np_endpoint *tried[3];
        for (int k = 0; k < 3; k++)
            tried[k] = set->endpoints[np_rng_below(&rng, MANY)];
        struct np_pick_ctx ctx = {.exclude = tried, .nexclude = 3};
        unsigned n = lb_turn_at(b, i % 2 ? &ctx : NULL, S);
        if (i % 2) {
            for (int k = 0; k < 3; k++)
                assert_int_not_equal(n, lb_number(tried[k]));
        }
        seen[n]++;
    }
    for (int i = 0; i < MANY; i++)
        assert_in_range(seen[i], 20 * weights[i] - 2, 20 * weights[i] + 2);
    lb_drop(b, set);
}

/* … but not all the turns that it has missed. */
static void who_was_away_does_not_make_up_for_all(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(MANY, NULL);
    struct np_balancer *b = lb_make("weighted_round_robin", NULL, set);
    struct np_pick_ctx ctx = {.exclude = &set->endpoints[5], .nexclude = 1};
    unsigned seen = 0;
    for (int i = 0; i < 20 * MANY; i++)
        assert_int_not_equal(lb_turn_at(b, &ctx, S), 5);
    for (int i = 0; i < MANY / 2; i++)
        seen += lb_turn_at(b, NULL, S) == 5;
    assert_in_range(seen, 1, 2);
    lb_drop(b, set);
}

static void least_request_weighs_many_by_their_load(void **state)
{
    uint32_t weights[MANY];
    unsigned seen[MANY] = {0};
    (void)state;
    mixed_weights(weights, MANY);
    struct np_snapshot *set = set_make(MANY, weights);
    struct np_balancer *b = lb_make("least_request", NULL, set);
    /* The first hundred have three requests in flight, so they weigh a quarter. */
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 3; k++)
            np_endpoint_begin(set->endpoints[i]);
    }
    double sum = 0;
    for (int i = 0; i < MANY; i++)
        sum += i < 100 ? weights[i] / 4.0 : weights[i];
    for (int i = 0; i < 100000; i++)
        seen[lb_turn_at(b, NULL, S)]++;
    for (int i = 0; i < MANY; i++) {
        double share = (i < 100 ? weights[i] / 4.0 : weights[i]) / sum * 100000;
        assert_true(fabs(seen[i] - share) < share * 0.08 + 2);
    }
    lb_drop(b, set);
}

/* --- slow start */

static void the_curves(void **state)
{
    struct np_slow_start s = NP_SLOW_START_INIT;
    (void)state;
    assert_true(np_slow_start_share(&s, 5 * S, 5 * S) == 1); /* there is none */
    s.window_ns = 10 * S;
    assert_true(np_slow_start_share(&s, 0, 5 * S) == 1); /* always been here */
    assert_true(np_slow_start_share(&s, 5 * S, 5 * S) == 0.1);
    assert_true(fabs(np_slow_start_share(&s, 5 * S, 10 * S) - 0.5) < 1e-9);
    assert_true(np_slow_start_share(&s, 5 * S, 15 * S) == 1);
    assert_true(np_slow_start_share(&s, 5 * S, 4 * S) == 0.1); /* a clock behind another's */
    s.aggression = 2;
    assert_true(fabs(np_slow_start_share(&s, 5 * S, 7 * S + S / 2) - 0.5) < 1e-9);
    s.curve = NP_SLOW_START_LINEAR;
    assert_true(fabs(np_slow_start_share(&s, 5 * S, 7 * S + S / 2) - 0.25) < 1e-9);
    s.min = 0; /* but never nothing at all */
    assert_true(np_slow_start_share(&s, 5 * S, 5 * S) > 0);
}

/* One of five is new: at half of its time it has half of what the others have, and in the end as
 * much. p2c compares loads, so there it shows while requests are in flight. */
static void who_is_new_gets_less_at_first(void **state)
{
    static const char *const names[] = {"round_robin",   "weighted_round_robin",
                                        "random",        "weighted_random",
                                        "least_request", "client_side_weighted_round_robin"};
    (void)state;
    for (int p = 0; p < 6; p++) {
        static const uint32_t weights[] = {2, 2, 2, 2, 2, 1};
        struct np_balancer_options o = options_make();
        o.slow.window_ns = 10 * S;
        /* Unequal weights, so that least_request weighs. */
        struct np_snapshot *set = set_make(strcmp(names[p], "least_request") ? 5 : 6, weights);
        struct np_balancer *b = lb_make(names[p], &o, set);
        atomic_store(&set->endpoints[2]->stats->since_ns, 100 * S);
        for (int late = 0; late < 2; late++) {
            unsigned seen[6] = {0};
            for (int i = 0; i < 20000; i++)
                seen[lb_turn_at(b, NULL, late ? 111 * S : 105 * S)]++;
            double others = (seen[0] + seen[1] + seen[3] + seen[4]) / 4.0;
            double share = seen[2] / others;
            assert_true(fabs(share - (late ? 1 : 0.5)) < 0.08);
        }
        lb_drop(b, set);
    }
}

static void who_is_new_bears_fewer_in_flight(void **state)
{
    static const char *const names[] = {"p2c", "peak_ewma"};
    enum { PICKS = 1000 };
    static struct np_endpoint *held[PICKS];
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_balancer_options o = options_make();
        o.slow.window_ns = 10 * S;
        struct np_snapshot *set = set_make(5, NULL);
        struct np_balancer *b = lb_make(names[p], &o, set);
        atomic_store(&set->endpoints[2]->stats->since_ns, 100 * S);
        for (int i = 0; i < PICKS; i++)
            assert_ok(np_balancer_pick(b, NULL, 105 * S, &held[i]));
        unsigned n = np_endpoint_active(set->endpoints[2]);
        assert_in_range(n, PICKS / 9 * 0.9, PICKS / 9 * 1.1); /* a half of four and a half */
        for (int i = 0; i < PICKS; i++)
            release_with(b, held[i], NP_OUTCOME_CANCELED, -1, 105 * S);
        lb_drop(b, set);
    }
}

/* --- weights from reports */

static void report(struct np_snapshot *set, size_t i, double qps, double eps, double load,
                   int64_t from, int64_t to)
{
    for (int64_t now = from; now <= to; now += S)
        np_endpoint_report(set->endpoints[i], qps, eps, load, now);
}

static void shares_at(struct np_balancer *b, int64_t now, unsigned *seen, unsigned turns)
{
    memset(seen, 0, 4 * sizeof *seen);
    for (unsigned i = 0; i < turns; i++)
        seen[lb_turn_at(b, NULL, now)]++;
}

static void weights_follow_the_reports(void **state)
{
    unsigned seen[4];
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = lb_make("client_side_weighted_round_robin", NULL, set);
    shares_at(b, S, seen, 400); /* nobody has said anything: round robin */
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen[i], 100);
    report(set, 0, 100, 0, 0.5, 2 * S, 20 * S);   /* 200 */
    report(set, 1, 100, 0, 0.25, 2 * S, 20 * S);  /* 400 */
    report(set, 2, 100, 25, 0.25, 2 * S, 20 * S); /* a quarter fails: 200 */
    /* In the first ten seconds reports do not count. */
    shares_at(b, 11 * S, seen, 400);
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen[i], 100);
    /* The last one says nothing and gets the mean, 266. */
    shares_at(b, 21 * S, seen, 1600);
    assert_in_range(seen[0], 296, 304);
    assert_in_range(seen[1], 596, 604);
    assert_in_range(seen[2], 296, 304);
    assert_in_range(seen[3], 396, 404);
    lb_drop(b, set);
}

static void reports_expire(void **state)
{
    unsigned seen[4];
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = lb_make("client_side_weighted_round_robin", NULL, set);
    for (size_t i = 0; i < 4; i++)
        report(set, i, 100, 0, i == 0 ? 0.1 : 0.5, 2 * S, 20 * S);
    shares_at(b, 21 * S, seen, 800);
    assert_in_range(seen[0], 496, 504);
    shares_at(b, 199 * S, seen, 800); /* 3 minutes less a second */
    assert_in_range(seen[0], 496, 504);
    shares_at(b, 201 * S, seen, 800);
    assert_int_equal(seen[0], 200);
    /* The next ones are new: they have to come for ten seconds again. */
    for (size_t i = 0; i < 4; i++)
        report(set, i, 100, 0, i == 0 ? 0.1 : 0.5, 202 * S, 211 * S);
    shares_at(b, 211 * S, seen, 800);
    assert_int_equal(seen[0], 200);
    for (size_t i = 0; i < 4; i++)
        report(set, i, 100, 0, i == 0 ? 0.1 : 0.5, 212 * S, 213 * S);
    shares_at(b, 213 * S, seen, 800);
    assert_in_range(seen[0], 496, 504);
    /* And so for who was readmitted just now: it has the mean until then. */
    atomic_store(&set->endpoints[0]->stats->since_ns, 213 * S);
    shares_at(b, 215 * S, seen, 800);
    assert_in_range(seen[0], 198, 202);
    lb_drop(b, set);
}

static void a_report_that_says_nothing_is_ignored(void **state)
{
    unsigned seen[4];
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = lb_make("client_side_weighted_round_robin", NULL, set);
    for (size_t i = 0; i < 4; i++)
        report(set, i, 100, 0, i == 0 ? 0.1 : 0.5, 2 * S, 20 * S);
    report(set, 0, 0, 0, 0.5, 20 * S, 20 * S);
    report(set, 0, 100, 0, 0, 20 * S, 20 * S);
    report(set, 0, NAN, NAN, NAN, 20 * S, 20 * S);
    report(set, 0, 100, -1, 1, 20 * S, 20 * S);
    shares_at(b, 21 * S, seen, 800);
    assert_in_range(seen[0], 496, 504);
    /* Whatever it says, it is between a hundredth and ten times of what the others are. */
    report(set, 0, 1e12, 0, 1e-9, 21 * S, 21 * S);
    report(set, 1, 1e-9, 0, 1e12, 21 * S, 21 * S);
    shares_at(b, 23 * S, seen, 8000);
    assert_in_range(seen[1], 1, 100);
    lb_drop(b, set);
}

/* --- first */

static void first_fills_one_after_the_other(void **state)
{
    static const struct np_pair two[] = {{"max_active", "2"}}, odd[] = {{"max_active", "many"}};
    struct np_endpoint *v[3], *held[12];
    struct np_snapshot *set = NULL;
    struct np_balancer_options o = options_make();
    static const unsigned want[] = {0, 0, 0, 1, 1, 2, 2, 2, 0, 2, 1, 0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char id[8], address[16];
        snprintf(id, sizeof id, "e%d", i);
        snprintf(address, sizeof address, "10.0.0.%d:80", i + 1);
        struct np_endpoint_desc d = {.id = id, .service = "goods", .address = address};
        d.meta = i == 1 ? two : odd;
        d.nmeta = i > 0;
        assert_ok(np_endpoint_new(&d, NULL, &v[i], NULL));
    }
    assert_ok(np_snapshot_new(v, 3, 0, &set));
    o.max_active = 3;
    struct np_balancer *b = lb_make("first", &o, set);
    /* 3, 2 and 3 of them; beyond that who is least overfull. */
    for (int i = 0; i < 12; i++) {
        assert_ok(np_balancer_pick(b, NULL, S, &held[i]));
        if (i != 9 && i != 10) assert_int_equal(lb_number(held[i]), want[i]);
    }
    release_with(b, held[3], NP_OUTCOME_OK, 1, S);
    release_with(b, held[4], NP_OUTCOME_OK, 1, S);
    assert_int_equal(lb_turn_at(b, NULL, S), 1); /* it has room again */
    for (int i = 0; i < 12; i++) {
        if (i != 3 && i != 4) release_with(b, held[i], NP_OUTCOME_OK, 1, S);
        np_endpoint_unref(i < 3 ? v[i] : NULL);
    }
    assert_int_equal(lb_turn_at(b, NULL, S), 0);
    lb_drop(b, set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_endpoints_have_their_turns_spread_out),
        cmocka_unit_test(many_different_weights_are_exact),
        cmocka_unit_test(turns_are_kept_when_the_set_changes),
        cmocka_unit_test(who_is_excluded_has_its_turn_later),
        cmocka_unit_test(who_was_away_does_not_make_up_for_all),
        cmocka_unit_test(least_request_weighs_many_by_their_load),
        cmocka_unit_test(the_curves),
        cmocka_unit_test(who_is_new_gets_less_at_first),
        cmocka_unit_test(who_is_new_bears_fewer_in_flight),
        cmocka_unit_test(weights_follow_the_reports),
        cmocka_unit_test(reports_expire),
        cmocka_unit_test(a_report_that_says_nothing_is_ignored),
        cmocka_unit_test(first_fills_one_after_the_other),
    };
    return cmocka_run_group_tests_name("mesh.weighted", tests, NULL, NULL);
}
