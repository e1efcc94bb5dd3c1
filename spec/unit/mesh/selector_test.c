/* Selectors: availability, levels, zones, panic. */
#include "selector_helpers.h"

static const char *const every_policy[] = {"round_robin", "random",    "least_request", "p2c",
                                           "peak_ewma",   "ring_hash", "maglev"};
#define POLICIES (sizeof every_policy / sizeof *every_policy)

static void picks_of_all_while_all_are_available(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        struct np_selector *s = selector_over(every_policy[i], set_make(10, NULL), NULL);
        struct picks p = pick_many(s, 2000, NULL, S);
        for (size_t k = 0; k < 10; k++)
            assert_in_range(p.by[k], 60, 600);
        assert_int_equal(np_selector_stats(s).rebuilds, 1);
        assert_ptr_equal(np_selector_usable(s, S), np_selector_all(s));
        np_selector_free(s);
    }
    assert_int_equal(np_alloc_live(), 0);
}

static void has_nothing_to_pick_from_at_first(void **state)
{
    struct np_selector *s = NULL;
    struct np_endpoint *e = NULL;
    bool trial;
    (void)state;
    assert_ok(np_selector_new(np_balancer_find("p2c"), NULL, NULL, &s));
    assert_err(np_selector_pick(s, NULL, S, &e, &trial), NEAP_ENOENDPOINT);
    assert_int_equal(np_selector_usable(s, S)->len, 0);
    np_selector_free(s);
}

static void passes_over_who_is_unavailable(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        struct np_selector *s = selector_over(every_policy[i], set_make(10, NULL), NULL);
        eject(at(s, 3), 100 * S);
        set_health(at(s, 7), NP_HEALTH_UNHEALTHY, true);
        struct picks p = pick_many(s, 500, NULL, 2 * S);
        assert_int_equal(p.by[3] + p.by[7] + p.none, 0);
        p = pick_many(s, 500, NULL, 3 * S);
        assert_int_equal(p.by[3] + p.by[7] + p.none, 0);
        np_selector_free(s);
    }
}

static void a_check_that_finds_it_well_brings_it_back(void **state)
{
    struct np_selector *s = selector_over("random", set_make(4, NULL), NULL);
    (void)state;
    set_health(at(s, 2), NP_HEALTH_UNHEALTHY, true);
    assert_int_equal(pick_many(s, 100, NULL, 2 * S).by[2], 0);
    set_health(at(s, 2), NP_HEALTH_UNHEALTHY, false);
    assert_true(pick_many(s, 100, NULL, 2 * S + NP_RECHECK_NS).by[2] > 5);
    assert_int_equal(np_selector_usable(s, 3 * S)->len, 4);
    np_selector_free(s);
}

static void uses_all_of_them_in_panic(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        struct np_selector *s = selector_over(every_policy[i], set_make(10, NULL), NULL);
        for (size_t k = 0; k < 6; k++)
            set_health(at(s, k), NP_HEALTH_UNHEALTHY, true);
        struct picks p = pick_many(s, 2000, NULL, 2 * S);
        if (p.by[0] == 0) fail_msg("%s keeps to the few", every_policy[i]);
        for (size_t k = 0; k < 10; k++)
            assert_in_range(p.by[k], 40, 700);
        assert_true(np_selector_stats(s).panics > 1900);
        assert_int_equal(np_selector_usable(s, 2 * S)->len, 10);
        set_health(at(s, 0), NP_HEALTH_UNHEALTHY, false); /* half of them: no panic any more */
        p = pick_many(s, 500, NULL, 3 * S);
        assert_int_equal(sum(&p, 1, 6), 0);
        np_selector_free(s);
    }
}

static void knows_no_panic_without_a_threshold(void **state)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.panic_threshold = 0;
    struct np_selector *s = selector_over("p2c", set_make(4, NULL), &o);
    (void)state;
    for (size_t k = 0; k < 3; k++)
        set_health(at(s, k), NP_HEALTH_UNHEALTHY, true);
    assert_int_equal(pick_many(s, 100, NULL, 2 * S).by[3], 100);
    set_health(at(s, 3), NP_HEALTH_UNHEALTHY, true);
    assert_int_equal(pick_many(s, 10, NULL, 3 * S).none, 10);
    np_selector_free(s);
}

static void a_draining_endpoint_gets_nothing_even_in_panic(void **state)
{
    struct np_selector *s = selector_over("random", set_make(3, NULL), NULL);
    (void)state;
    set_health(at(s, 0), NP_HEALTH_DRAINING, true);
    set_health(at(s, 1), NP_HEALTH_UNHEALTHY, true);
    set_health(at(s, 2), NP_HEALTH_UNHEALTHY, true);
    struct picks p = pick_many(s, 100, NULL, 2 * S);
    assert_int_equal(p.by[0], 0);
    assert_int_equal(p.by[1] + p.by[2], 100);
    set_health(at(s, 1), NP_HEALTH_DRAINING, true);
    set_health(at(s, 2), NP_HEALTH_DRAINING, true);
    assert_int_equal(pick_many(s, 10, NULL, 3 * S).none, 10);
    np_selector_free(s);
}

/* --- levels */

static const struct host two_levels[] = {
    {"a0", NULL, NULL, NULL}, {"a1", NULL, "0", NULL},  {"a2", NULL, "0", NULL},
    {"a3", NULL, "0", NULL},  {"b0", NULL, "1", NULL},  {"b1", NULL, "1", NULL},
    {"b2", NULL, "1", NULL},  {"b3", NULL, "99", NULL},
};

static void a_level_takes_what_it_has_health_for(void **state)
{
    struct np_selector *s = selector_over("random", hosts_make(two_levels, 7), NULL);
    (void)state;
    struct picks p = pick_many(s, 1000, NULL, 2 * S);
    assert_int_equal(sum(&p, 0, 4), 1000);
    set_health(at(s, 0), NP_HEALTH_UNHEALTHY, true);
    p = pick_many(s, 1000, NULL, 3 * S); /* 3/4 · 1.4 ≥ 1 */
    assert_int_equal(sum(&p, 0, 4), 1000);
    set_health(at(s, 1), NP_HEALTH_UNHEALTHY, true);
    p = pick_many(s, 4000, NULL, 4 * S); /* 2/4 · 1.4 = 0.7 */
    assert_near(sum(&p, 0, 4) / 4000.0, 0.7, 0.03);
    assert_int_equal(np_selector_stats(s).failed_over, sum(&p, 4, 7));
    np_selector_free(s);
}

static void fails_over_and_comes_back(void **state)
{
    struct np_selector *s = selector_over("p2c", hosts_make(two_levels, 8), NULL);
    (void)state;
    for (size_t k = 0; k < 4; k++)
        eject(at(s, k), 10 * S);
    struct picks p = pick_many(s, 300, NULL, 2 * S);
    assert_int_equal(sum(&p, 4, 7), 300);
    assert_int_equal(p.by[7], 0); /* the last level is not needed */
    for (size_t k = 4; k < 7; k++)
        eject(at(s, k), 10 * S);
    p = pick_many(s, 100, NULL, 3 * S);
    assert_int_equal(p.by[7], 100);
    for (size_t k = 0; k < 7; k++)
        readmit(at(s, k));
    p = pick_many(s, 100, NULL, 4 * S);
    assert_int_equal(sum(&p, 0, 4), 100);
    np_selector_free(s);
}

/* Another host first, on the next level if need be. */
static void a_retry_goes_to_another_level_when_one_is_used_up(void **state)
{
    struct np_selector *s = selector_over("p2c", hosts_make(two_levels, 8), NULL);
    struct np_endpoint *tried[8];
    (void)state;
    for (size_t k = 0; k < 8; k++)
        tried[k] = at(s, k);
    struct np_pick_ctx ctx = {.exclude = tried, .nexclude = 4};
    struct picks p = pick_many(s, 100, &ctx, 2 * S);
    assert_int_equal(sum(&p, 4, 7), 100);
    ctx.nexclude = 8;
    p = pick_many(s, 100, &ctx, 2 * S);
    assert_int_equal(sum(&p, 0, 4), 100);
    ctx.strict = true;
    assert_int_equal(pick_many(s, 10, &ctx, 2 * S).none, 10);
    np_selector_free(s);
}

/* --- zones */

static const struct host zones[] = {
    {"a0", "a", NULL, NULL}, {"a1", "a", NULL, NULL}, {"a2", "a", NULL, NULL},
    {"a3", "a", NULL, NULL}, {"b0", "b", NULL, NULL}, {"b1", "b", NULL, NULL},
    {"c0", "c", NULL, NULL}, {"c1", "c", NULL, NULL},
};

static struct np_selector *in_zone(const char *zone, size_t n)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.zone = zone;
    return selector_over("random", hosts_make(zones, n), &o);
}

static void keeps_to_its_own_zone_and_spills_by_health(void **state)
{
    struct np_selector *s = in_zone("a", 8);
    (void)state;
    struct picks p = pick_many(s, 1000, NULL, 2 * S);
    assert_int_equal(sum(&p, 0, 4), 1000);
    assert_int_equal(np_selector_usable(s, 2 * S)->len, 4);
    set_health(at(s, 0), NP_HEALTH_UNHEALTHY, true);
    p = pick_many(s, 1000, NULL, 3 * S); /* 3/4 is enough */
    assert_int_equal(sum(&p, 1, 4), 1000);
    set_health(at(s, 1), NP_HEALTH_UNHEALTHY, true);
    p = pick_many(s, 4000, NULL, 4 * S); /* 2/4 / 0.7 */
    assert_near(sum(&p, 0, 4) / 4000.0, 0.5 / 0.7, 0.03);
    assert_near(sum(&p, 4, 6) / 4000.0, 0.5 - 0.25 / 0.7, 0.03);
    assert_int_equal(np_selector_stats(s).spilled, sum(&p, 4, 8));
    assert_int_equal(np_selector_usable(s, 4 * S)->len, 6);
    np_selector_free(s);
}

static void a_lost_zone_is_borne_by_the_others(void **state)
{
    struct np_selector *s = in_zone("a", 8);
    (void)state;
    for (size_t k = 0; k < 4; k++)
        eject(at(s, k), 10 * S);
    struct picks p = pick_many(s, 1000, NULL, 2 * S);
    assert_int_equal(sum(&p, 4, 8), 1000);
    for (size_t k = 4; k < 8; k++)
        assert_in_range(p.by[k], 150, 350);
    for (size_t k = 0; k < 4; k++)
        readmit(at(s, k));
    p = pick_many(s, 100, NULL, 3 * S);
    assert_int_equal(sum(&p, 0, 4), 100);
    np_selector_free(s);
}

static void small_sets_and_strangers_have_no_zones(void **state)
{
    struct np_selector *s = in_zone("a", 5); /* fewer than six */
    (void)state;
    assert_in_range(pick_many(s, 1000, NULL, 2 * S).by[4], 100, 300);
    np_selector_free(s);
    s = in_zone("elsewhere", 8);
    struct picks p = pick_many(s, 800, NULL, 2 * S);
    for (size_t k = 0; k < 8; k++)
        assert_in_range(p.by[k], 50, 160);
    assert_int_equal(np_selector_stats(s).spilled, 0);
    np_selector_free(s);
}

static void a_retry_leaves_the_zone_when_it_is_used_up(void **state)
{
    struct np_selector *s = in_zone("a", 8);
    struct np_endpoint *tried[4];
    (void)state;
    for (size_t k = 0; k < 4; k++)
        tried[k] = at(s, k);
    struct np_pick_ctx ctx = {.exclude = tried, .nexclude = 4, .strict = true};
    struct picks p = pick_many(s, 100, &ctx, 2 * S);
    assert_int_equal(sum(&p, 4, 8), 100);
    np_selector_free(s);
}

/* A key keeps its level and zone while these spill. */
static void a_key_stays_where_it_is_while_others_spill(void **state)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.zone = "a";
    struct np_selector *s = selector_over("ring_hash", hosts_make(zones, 8), &o);
    (void)state;
    set_health(at(s, 0), NP_HEALTH_UNHEALTHY, true);
    set_health(at(s, 1), NP_HEALTH_UNHEALTHY, true);
    unsigned far = 0;
    for (uint64_t key = 0; key < 200; key++) {
        struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(key + 1)};
        struct picks p = pick_many(s, 5, &ctx, 2 * S);
        unsigned who = 0;
        for (size_t k = 0; k < 8; k++)
            who += p.by[k] == 5;
        assert_int_equal(who, 1);
        far += sum(&p, 4, 8) == 5;
    }
    assert_in_range(far, 30, 90); /* 28.6 % */
    np_selector_free(s);
}

static void an_ejection_moves_the_keys_of_who_is_ejected_alone(void **state)
{
    struct np_selector *s = selector_over("ring_hash", set_make(10, NULL), NULL);
    size_t home[100];
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (uint64_t key = 0; key < 100; key++) {
            struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(key + 1)};
            struct picks p = pick_many(s, 1, &ctx, (2 + round) * S);
            size_t who = 0;
            while (p.by[who] == 0)
                who++;
            if (round == 0) home[key] = who;
            if (round == 1 && home[key] != 4) assert_int_equal(who, home[key]);
            if (round == 1) assert_int_not_equal(who, 4);
        }
        eject(at(s, 4), 100 * S);
    }
    np_selector_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picks_of_all_while_all_are_available),
        cmocka_unit_test(has_nothing_to_pick_from_at_first),
        cmocka_unit_test(passes_over_who_is_unavailable),
        cmocka_unit_test(a_check_that_finds_it_well_brings_it_back),
        cmocka_unit_test(uses_all_of_them_in_panic),
        cmocka_unit_test(knows_no_panic_without_a_threshold),
        cmocka_unit_test(a_draining_endpoint_gets_nothing_even_in_panic),
        cmocka_unit_test(a_level_takes_what_it_has_health_for),
        cmocka_unit_test(fails_over_and_comes_back),
        cmocka_unit_test(a_retry_goes_to_another_level_when_one_is_used_up),
        cmocka_unit_test(keeps_to_its_own_zone_and_spills_by_health),
        cmocka_unit_test(a_lost_zone_is_borne_by_the_others),
        cmocka_unit_test(small_sets_and_strangers_have_no_zones),
        cmocka_unit_test(a_retry_leaves_the_zone_when_it_is_used_up),
        cmocka_unit_test(a_key_stays_where_it_is_while_others_spill),
        cmocka_unit_test(an_ejection_moves_the_keys_of_who_is_ejected_alone),
    };
    return cmocka_run_group_tests_name("mesh.selector", tests, NULL, NULL);
}
