/* Balancers: each policy's choice, with fixed seeds and a fake clock. */
#include "mesh_helpers.h"

#include <math.h>

#include "mesh/balancer.h"

enum { MAX = 512 };

static struct np_balancer *make(const char *policy, struct np_snapshot *set)
{
    struct np_balancer *b = NULL;
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    o.seed = 12345;
    assert_non_null(np_balancer_find(policy));
    assert_ok(np_balancer_new(np_balancer_find(policy), &o, &b));
    assert_ok(np_balancer_update(b, set));
    return b;
}

static unsigned number(const struct np_endpoint *e)
{
    return (unsigned)strtoul(e->id + 1, NULL, 10);
}

/* Picks and releases at once; the number of the endpoint. */
static unsigned turn_with(struct np_balancer *b, const struct np_pick_ctx *ctx)
{
    struct np_endpoint *e = NULL;
    assert_ok(np_balancer_pick(b, ctx, S, &e));
    unsigned n = number(e);
    release_with(b, e, NP_OUTCOME_OK, -1, S);
    return n;
}

static unsigned turn(struct np_balancer *b)
{
    return turn_with(b, NULL);
}

static void count_turns(struct np_balancer *b, const struct np_pick_ctx *ctx, unsigned turns,
                        unsigned seen[MAX])
{
    memset(seen, 0, MAX * sizeof *seen);
    for (unsigned i = 0; i < turns; i++)
        seen[turn_with(b, ctx)]++;
}

/* Each count lies within five standard deviations of its share. */
static void assert_shares(const unsigned *seen, const uint32_t *weights, size_t n, unsigned turns)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weights ? weights[i] : 1;
    for (size_t i = 0; i < n; i++) {
        double p = (weights ? weights[i] : 1) / sum;
        double slack = 5 * sqrt(turns * p * (1 - p));
        if (fabs(seen[i] - turns * p) > slack) {
            fail_msg("endpoint %zu: %u of %u, expected %.0f", i, seen[i], turns, turns * p);
        }
    }
}

static void drop(struct np_balancer *b, struct np_snapshot *set)
{
    np_balancer_free(b);
    np_snapshot_unref(set);
    assert_int_equal(np_alloc_live(), 0);
}

static void policies_are_found_by_name(void **state)
{
    (void)state;
    size_t n = 0;
    for (; np_balancer_at(n) != NULL; n++) {
        assert_ptr_equal(np_balancer_find(np_balancer_at(n)->name), np_balancer_at(n));
    }
    assert_int_equal(n, 11);
    assert_ptr_equal(np_balancer_find("consistent_hash"), np_balancer_find("ring_hash"));
    assert_null(np_balancer_find("magic"));
}

/* What holds for every policy. */
static void none_one_and_excluded(void **state)
{
    (void)state;
    for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
        struct np_snapshot *none = set_make(0, NULL);
        struct np_snapshot *set = set_make(5, NULL);
        struct np_balancer *b = make(np_balancer_at(p)->name, none);
        struct np_endpoint *e = NULL;
        assert_err(np_balancer_pick(b, NULL, S, &e), NEAP_ENOENDPOINT);
        assert_null(e);
        assert_ok(np_balancer_update(b, set));

        /* All but one were tried: it is the one, however often. */
        struct np_endpoint *tried[5];
        for (int i = 0; i < 5; i++)
            tried[i] = set->endpoints[i == 3 ? 4 : i];
        struct np_pick_ctx ctx = {.exclude = tried, .nexclude = 4};
        tried[3] = set->endpoints[4];
        for (int i = 0; i < 50; i++)
            assert_int_equal(turn_with(b, &ctx), 3);

        /* All were tried: any of them, or none if that is asked for. */
        tried[4] = set->endpoints[3];
        ctx.nexclude = 5;
        assert_in_range(turn_with(b, &ctx), 0, 4);
        ctx.strict = true;
        assert_err(np_balancer_pick(b, &ctx, S, &e), NEAP_ENOENDPOINT);

        assert_ok(np_balancer_update(b, none));
        assert_err(np_balancer_pick(b, NULL, S, &e), NEAP_ENOENDPOINT);
        np_snapshot_unref(none);
        drop(b, set);
    }
}

static void a_pick_is_counted_until_released(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(1, NULL);
    struct np_balancer *b = make("round_robin", set);
    struct np_endpoint *x = NULL, *y = NULL;
    assert_ok(np_balancer_pick(b, NULL, S, &x));
    assert_ok(np_balancer_pick(b, NULL, S, &y));
    assert_int_equal(np_endpoint_active(x), 2);
    assert_int_equal(b->inflight, 2);
    release_with(b, x, NP_OUTCOME_FAILED, 1, S);
    release_with(b, y, NP_OUTCOME_OK, S, S);
    assert_int_equal(np_endpoint_active(set->endpoints[0]), 0);
    assert_int_equal(np_endpoint_errors(set->endpoints[0]), 1);
    assert_true(np_endpoint_ewma(set->endpoints[0]) == 1e9);
    assert_int_equal(b->inflight, 0);
    drop(b, set);
}

static void an_endpoint_in_use_outlives_its_set(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(2, NULL);
    struct np_snapshot *none = set_make(0, NULL);
    struct np_balancer *b = make("random", set);
    struct np_endpoint *e = NULL;
    assert_ok(np_balancer_pick(b, NULL, S, &e));
    np_snapshot_unref(set);
    assert_ok(np_balancer_update(b, none));
    assert_int_equal(e->id[0], 'e');
    release_with(b, e, NP_OUTCOME_OK, 1, S);
    drop(b, none);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
        struct np_balancer *b = NULL;
        if (i == 0) o.choices = 0;
        if (i == 1) o.choices = 65;
        if (i == 2) o.active_bias = -1;
        if (i == 3) o.active_bias = NAN;
        if (i == 4) o.ring_points = 0;
        if (i == 5) o.ring_max = 0;
        if (i == 6) o.load_factor = 0.5;
        if (i == 7) o.load_factor = NAN;
        assert_err(np_balancer_new(np_balancer_find("p2c"), &o, &b), NEAP_EINVAL);
    }
}

static void round_robin_takes_turns(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = make("round_robin", set);
    unsigned first = turn(b);
    for (unsigned i = 1; i < 20; i++)
        assert_int_equal(turn(b), (first + i) % 4);
    drop(b, set);
}

static void round_robin_goes_on_where_it_was(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = make("round_robin", set);
    unsigned last = turn(b);
    struct np_snapshot *fewer = set_without(set, last);
    assert_ok(np_balancer_update(b, fewer));
    assert_int_equal(turn(b), (last + 1) % 4);
    assert_int_equal(turn(b), (last + 2) % 4);
    assert_ok(np_balancer_update(b, set));
    assert_int_equal(turn(b), (last + 3) % 4);
    assert_int_equal(turn(b), last);
    np_snapshot_unref(fewer);
    drop(b, set);
}

static void round_robin_begins_at_a_random_one(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(8, NULL);
    unsigned seen[MAX] = {0};
    for (uint64_t seed = 1; seed <= 800; seed++) {
        struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
        struct np_balancer *b = NULL;
        o.seed = seed;
        assert_ok(np_balancer_new(np_balancer_find("round_robin"), &o, &b));
        assert_ok(np_balancer_update(b, set));
        seen[turn(b)]++;
        np_balancer_free(b);
    }
    assert_shares(seen, NULL, 8, 800);
    np_snapshot_unref(set);
}

/* The sequence in the comment of nginx's own source for weights 5, 1, 1. */
static void weighted_round_robin_is_smooth(void **state)
{
    static const uint32_t weights[] = {5, 1, 1};
    static const unsigned want[] = {0, 0, 1, 0, 2, 0, 0};
    (void)state;
    struct np_snapshot *set = set_make(3, weights);
    struct np_balancer *b = make("weighted_round_robin", set);
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(turn(b), want[i % 7]);
    drop(b, set);
}

static void weighted_round_robin_keeps_its_standing(void **state)
{
    static const uint32_t weights[] = {5, 1, 1, 1};
    (void)state;
    struct np_snapshot *set = set_make(4, weights);
    struct np_snapshot *three = set_without(set, 3);
    struct np_balancer *b = make("weighted_round_robin", three);
    assert_int_equal(turn(b), 0);
    assert_int_equal(turn(b), 0);
    /* Were the standings lost, it would begin with 0 again. */
    assert_ok(np_balancer_update(b, set));
    assert_int_equal(turn(b), 1);
    assert_int_equal(turn(b), 0);
    assert_ok(np_balancer_update(b, three));
    assert_int_equal(turn(b), 2);
    np_snapshot_unref(three);
    drop(b, set);
}

static void random_is_even(void **state)
{
    static const uint32_t weights[] = {1, 100, 1, 1, 1};
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(5, weights);
    struct np_balancer *b = make("random", set);
    count_turns(b, NULL, 10000, seen);
    assert_shares(seen, NULL, 5, 10000);
    drop(b, set);
}

static void weighted_random_follows_weights(void **state)
{
    static const uint32_t weights[] = {1, 2, 3, 4, 90};
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(5, weights);
    struct np_balancer *b = make("weighted_random", set);
    count_turns(b, NULL, 20000, seen);
    assert_shares(seen, weights, 5, 20000);
    /* Without the heavy one the others share as their weights say. */
    struct np_pick_ctx ctx = {.exclude = &set->endpoints[4], .nexclude = 1};
    count_turns(b, &ctx, 20000, seen);
    assert_int_equal(seen[4], 0);
    assert_shares(seen, weights, 4, 20000);
    drop(b, set);
}

static void p2c_avoids_the_busy(void **state)
{
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = make("p2c", set);
    count_turns(b, NULL, 10000, seen);
    assert_shares(seen, NULL, 10, 10000);
    np_endpoint_begin(set->endpoints[4]);
    count_turns(b, NULL, 10000, seen);
    assert_int_equal(seen[4], 0); /* the other of any two is less busy */
    end_with(set->endpoints[4], NP_OUTCOME_CANCELED, -1, S);
    drop(b, set);
}

/* Azar et al.: the fullest of n bins after n balls has about ln ln n / ln 2 of them, far less than
 * the ln n / ln ln n of a plain draw. */
static void p2c_keeps_the_fullest_low(void **state)
{
    (void)state;
    uint32_t fullest[2] = {0, 0};
    for (int p2c = 0; p2c < 2; p2c++) {
        struct np_snapshot *set = set_make(500, NULL);
        struct np_balancer *b = make(p2c ? "p2c" : "random", set);
        struct np_endpoint *picked[500];
        for (int i = 0; i < 500; i++)
            assert_ok(np_balancer_pick(b, NULL, S, &picked[i]));
        for (int i = 0; i < 500; i++) {
            uint32_t n = np_endpoint_active(set->endpoints[i]);
            if (n > fullest[p2c]) fullest[p2c] = n;
        }
        for (int i = 0; i < 500; i++)
            release_with(b, picked[i], NP_OUTCOME_OK, 1, S);
        drop(b, set);
    }
    assert_in_range(fullest[1], 2, 3);
    assert_in_range(fullest[0], 4, 8);
}

static void least_request_with_equal_weights_is_p2c(void **state)
{
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = make("least_request", set);
    np_endpoint_begin(set->endpoints[0]);
    np_endpoint_begin(set->endpoints[0]);
    np_endpoint_begin(set->endpoints[1]);
    count_turns(b, NULL, 9000, seen);
    assert_int_equal(seen[0], 0);
    /* The second busiest wins only against the busiest: 2 of 90 draws. */
    assert_in_range(seen[1], 130, 270);
    drop(b, set);
}

static void least_request_can_look_at_all(void **state)
{
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    struct np_balancer *b = NULL;
    o.full_scan = true;
    o.seed = 1;
    assert_ok(np_balancer_new(np_balancer_find("least_request"), &o, &b));
    assert_ok(np_balancer_update(b, set));
    for (int i = 0; i < 10; i++) {
        if (i != 3 && i != 7) np_endpoint_begin(set->endpoints[i]);
    }
    count_turns(b, NULL, 1000, seen);
    assert_int_equal(seen[3] + seen[7], 1000);
    assert_in_range(seen[3], 420, 580);
    drop(b, set);
}

static void least_request_with_weights_follows_them_and_the_load(void **state)
{
    static const uint32_t weights[] = {4, 2, 2};
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(3, weights);
    struct np_balancer *b = make("least_request", set);
    count_turns(b, NULL, 800, seen);
    assert_int_equal(seen[0], 400);
    assert_int_equal(seen[1], 200);
    /* With three requests in flight the first one weighs as much as half of another. */
    for (int i = 0; i < 3; i++)
        np_endpoint_begin(set->endpoints[0]);
    count_turns(b, NULL, 1000, seen);
    assert_in_range(seen[0], 198, 202);
    assert_in_range(seen[1], 398, 402);
    drop(b, set);
}

static void sample(struct np_endpoint *e, enum np_outcome outcome, int64_t latency, int64_t now)
{
    np_endpoint_begin(e);
    end_with(e, outcome, latency, now);
}

static void peak_ewma_prefers_the_fast(void **state)
{
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer *b = make("peak_ewma", set);
    for (int i = 0; i < 4; i++) {
        sample(set->endpoints[i], NP_OUTCOME_OK, (i == 2 ? 100 : 10) * NP_NS_PER_MS, S);
    }
    count_turns(b, NULL, 3000, seen);
    assert_int_equal(seen[2], 0);
    for (int i = 0; i < 4; i++) {
        if (i != 2) assert_in_range(seen[i], 880, 1120);
    }
    /* Ten requests in flight make a fast one dearer than one that is five times as slow. */
    sample(set->endpoints[2], NP_OUTCOME_OK, 50 * NP_NS_PER_MS, 31 * S);
    for (int i = 0; i < 4; i++)
        sample(set->endpoints[i], NP_OUTCOME_OK, 10 * NP_NS_PER_MS, 31 * S);
    for (int i = 0; i < 30; i++)
        np_endpoint_begin(set->endpoints[i % 3 == 2 ? 3 : i % 3]);
    struct np_endpoint *e = NULL;
    for (int i = 0; i < 100; i++) {
        struct np_pick_ctx ctx = {.exclude = set->endpoints, .nexclude = 2};
        assert_ok(np_balancer_pick(b, &ctx, 31 * S, &e));
        assert_int_equal(number(e), 2);
        release_with(b, e, NP_OUTCOME_CANCELED, -1, 31 * S);
    }
    drop(b, set);
}

static void peak_ewma_comes_back_to_who_failed(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(2, NULL);
    struct np_balancer *b = make("peak_ewma", set);
    struct np_endpoint *e = NULL;
    int64_t now = S;
    for (int i = 0; i < 2; i++)
        sample(set->endpoints[i], NP_OUTCOME_OK, NP_NS_PER_MS, now);
    sample(set->endpoints[0], NP_OUTCOME_FAILED, 1000, now);
    bool back = false;
    for (int second = 0; second < 60 && !back; second++, now += S) {
        assert_ok(np_balancer_pick(b, NULL, now, &e));
        back = number(e) == 0;
        assert_false(back && second < 20);
        release_with(b, e, NP_OUTCOME_OK, NP_NS_PER_MS, now);
    }
    assert_true(back);
    drop(b, set);
}

/* Plain P2C draws both of two slow ones once in 45 picks. */
static void peak_ewma_is_not_taken_in_by_two_bad_draws(void **state)
{
    unsigned seen[MAX];
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = make("peak_ewma", set);
    for (int i = 0; i < 10; i++)
        sample(set->endpoints[i], NP_OUTCOME_OK, 5 * NP_NS_PER_MS, S);
    count_turns(b, NULL, 100, seen);
    for (int i = 0; i < 2; i++)
        sample(set->endpoints[i], NP_OUTCOME_OK, 300 * NP_NS_PER_MS, S);
    count_turns(b, NULL, 100000, seen);
    assert_in_range(seen[0] + seen[1], 0, 30);
    /* All are slow: that is the usual now, and every one has its share. */
    for (int i = 0; i < 10; i++)
        sample(set->endpoints[i], NP_OUTCOME_OK, 300 * NP_NS_PER_MS, S);
    count_turns(b, NULL, 10000, seen);
    assert_shares(seen, NULL, 10, 10000);
    drop(b, set);
}

/* Every policy in a changing set: no pick is lost, and each endpoint that stays is served. */
static void every_policy_survives_churn(void **state)
{
    (void)state;
    for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
        struct np_snapshot *all = set_make(12, NULL);
        struct np_balancer *b = make(np_balancer_at(p)->name, all);
        unsigned seen[MAX] = {0};
        for (unsigned round = 0; round < 120; round++) {
            struct np_snapshot *set = set_without(all, round % 12);
            assert_ok(np_balancer_update(b, set));
            np_snapshot_unref(set);
            for (int i = 0; i < 20; i++) {
                unsigned n = turn(b);
                assert_int_not_equal(n, round % 12);
                seen[n]++;
            }
        }
        bool even = strcmp(np_balancer_at(p)->name, "first") != 0;
        for (int i = 0; even && i < 12; i++)
            assert_in_range(seen[i], 50, 400);
        drop(b, all);
    }
}

static void a_pick_allocates_nothing(void **state)
{
    (void)state;
    for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
        struct np_snapshot *set = set_make(20, NULL);
        struct np_balancer *b = make(np_balancer_at(p)->name, set);
        struct np_pick_ctx ctx = {.exclude = set->endpoints, .nexclude = 3, .has_hash = true};
        np_alloc_fail_at(1);
        for (int i = 0; i < 50; i++)
            (void)turn_with(b, &ctx);
        assert_false(np_alloc_did_fail());
        np_alloc_fail_at(0);
        drop(b, set);
    }
}

static enum neap_err life(void *arg)
{
    struct np_snapshot **sets = arg;
    enum neap_err err = NEAP_OK;
    for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
        struct np_balancer *b = NULL;
        enum neap_err e = np_balancer_new(np_balancer_at(p), NULL, &b);
        for (int i = 0; e == NEAP_OK && i < 4; i++) {
            e = np_balancer_update(b, sets[i % 2]);
            /* It goes on with one of the two, whatever happened. */
            if (b->set->len > 0) assert_in_range(turn(b), 0, 29);
        }
        np_balancer_free(b);
        if (err == NEAP_OK) err = e;
    }
    return err;
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    struct np_snapshot *sets[2] = {set_make(20, NULL), set_make(30, NULL)};
    assert_true(np_test_oom(life, sets) > 30);
    np_snapshot_unref(sets[0]);
    np_snapshot_unref(sets[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_found_by_name),
        cmocka_unit_test(none_one_and_excluded),
        cmocka_unit_test(a_pick_is_counted_until_released),
        cmocka_unit_test(an_endpoint_in_use_outlives_its_set),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(round_robin_takes_turns),
        cmocka_unit_test(round_robin_goes_on_where_it_was),
        cmocka_unit_test(round_robin_begins_at_a_random_one),
        cmocka_unit_test(weighted_round_robin_is_smooth),
        cmocka_unit_test(weighted_round_robin_keeps_its_standing),
        cmocka_unit_test(random_is_even),
        cmocka_unit_test(weighted_random_follows_weights),
        cmocka_unit_test(p2c_avoids_the_busy),
        cmocka_unit_test(p2c_keeps_the_fullest_low),
        cmocka_unit_test(least_request_with_equal_weights_is_p2c),
        cmocka_unit_test(least_request_can_look_at_all),
        cmocka_unit_test(least_request_with_weights_follows_them_and_the_load),
        cmocka_unit_test(peak_ewma_prefers_the_fast),
        cmocka_unit_test(peak_ewma_comes_back_to_who_failed),
        cmocka_unit_test(peak_ewma_is_not_taken_in_by_two_bad_draws),
        cmocka_unit_test(every_policy_survives_churn),
        cmocka_unit_test(a_pick_allocates_nothing),
        cmocka_unit_test(survives_want_of_memory),
    };
    return cmocka_run_group_tests_name("mesh.balancer", tests, NULL, NULL);
}
