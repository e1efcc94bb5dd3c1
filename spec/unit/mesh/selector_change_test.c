/* Selectors: trials, subsets, sticky values, sets that change, want of memory. */
#include "selector_helpers.h"

static const struct np_result ok = {.outcome = NP_OUTCOME_OK, .latency_ns = 1000};
static const struct np_result failed = {.outcome = NP_OUTCOME_FAILED, .latency_ns = 1000};
static const struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};

/* --- trials */

static struct np_endpoint *pick(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                                bool *trial)
{
    struct np_endpoint *e = NULL;
    assert_ok(np_selector_pick(s, ctx, now, &e, trial));
    return e;
}

static void an_ejection_that_is_over_is_followed_by_a_trial_of_one(void **state)
{
    struct np_selector *s = selector_over("p2c", set_make(5, NULL), NULL);
    struct np_endpoint *held[20];
    bool trial[20];
    (void)state;
    eject(at(s, 2), 10 * S);
    (void)pick_many(s, 50, NULL, 2 * S);
    assert_int_equal(pick_many(s, 50, NULL, 9 * S).trials, 0);
    unsigned trials = 0, there = 0;
    for (int i = 0; i < 20; i++) {
        held[i] = pick(s, NULL, 11 * S, &trial[i]);
        trials += trial[i];
        there += held[i] == at(s, 2);
    }
    assert_int_equal(trials, 1);
    assert_int_equal(there, 1);
    for (int i = 0; i < 20; i++)
        np_selector_release(s, held[i], trial[i], &ok, 11 * S);
    struct picks p = pick_many(s, 100, NULL, 12 * S); /* readmitted */
    assert_int_equal(p.trials, 0);
    assert_true(p.by[2] > 5);
    assert_int_equal(atomic_load(&at(s, 2)->stats->since_ns), 11 * S);
    np_selector_free(s);
}

static void a_trial_that_fails_ejects_again(void **state)
{
    struct np_selector *s = selector_over("p2c", set_make(3, NULL), NULL);
    bool trial;
    (void)state;
    eject(at(s, 0), 10 * S);
    (void)pick_many(s, 20, NULL, 9 * S);
    struct np_endpoint *e = pick(s, NULL, 11 * S, &trial);
    assert_true(trial);
    assert_ptr_equal(e, at(s, 0));
    np_selector_release(s, e, trial, &canceled, 12 * S); /* says nothing: another may try */
    e = pick(s, NULL, 12 * S, &trial);
    assert_true(trial);
    np_selector_release(s, e, trial, &failed, 13 * S);
    struct picks p = pick_many(s, 50, NULL, 14 * S);
    assert_int_equal(p.by[0], 0);
    p = pick_many(s, 50, NULL, 44 * S); /* half a minute later */
    assert_int_equal(p.trials, 1);
    assert_true(p.by[0] > 1);
    np_selector_free(s);
}

static void a_retry_is_no_trial(void **state)
{
    struct np_selector *s = selector_over("p2c", set_make(3, NULL), NULL);
    struct np_pick_ctx strict = {.strict = true};
    struct np_endpoint *tried = at(s, 1);
    struct np_pick_ctx again = {.exclude = &tried, .nexclude = 1};
    (void)state;
    eject(at(s, 0), 10 * S);
    (void)pick_many(s, 20, NULL, 9 * S);
    assert_int_equal(pick_many(s, 10, &strict, 11 * S).trials, 0);
    assert_int_equal(pick_many(s, 10, &again, 11 * S).trials, 0);
    assert_int_equal(pick_many(s, 10, NULL, 11 * S).trials, 1);
    np_selector_free(s);
}

/* --- who is chosen by others */

static void takes_what_somebody_else_chose(void **state)
{
    struct np_selector *s = selector_over("p2c", set_make(30, NULL), NULL);
    struct np_endpoint *stranger = endpoint_make("x", "10.9.9.9:1", 1);
    bool trial = true;
    (void)state;
    assert_true(np_selector_take(s, at(s, 29), false, S, &trial));
    assert_false(trial);
    assert_int_equal(np_endpoint_active(at(s, 29)), 1);
    np_selector_release(s, at(s, 29), trial, &ok, S);
    assert_false(np_selector_take(s, stranger, true, S, &trial));
    eject(at(s, 1), 10 * S);
    assert_false(np_selector_take(s, at(s, 1), false, 2 * S, &trial));
    assert_true(np_selector_take(s, at(s, 1), true, 2 * S, &trial));
    np_selector_release(s, at(s, 1), trial, &canceled, S);
    assert_true(np_selector_take(s, at(s, 1), false, 11 * S, &trial));
    assert_true(trial);
    bool second = false;
    assert_false(np_selector_take(s, at(s, 1), false, 11 * S, &second));
    np_selector_release(s, at(s, 1), trial, &ok, 11 * S);
    np_endpoint_unref(stranger);
    np_selector_free(s);
    assert_int_equal(np_alloc_live(), 0);
}

static void a_policy_of_ones_own_chooses_from_the_set_and_may_ask_the_inner_one(void **state)
{
    struct np_selector *s = selector_over("random", set_make(4, NULL), NULL);
    struct np_pick_ctx ctx = {0};
    struct np_choice c = {0}, again = {0};
    (void)state;
    set_health(at(s, 3), NP_HEALTH_UNHEALTHY, true);
    (void)pick_many(s, 20, NULL, 2 * S);
    assert_ok(np_selector_narrow(s, &ctx, 2 * S, &c));
    assert_int_equal(c.set->len, 3);
    for (int i = 0; i < 20; i++) {
        struct np_endpoint *e = np_selector_propose(s, c.id, &ctx, 2 * S);
        assert_true(e != NULL && e != at(s, 3));
        assert_int_equal(np_endpoint_active(e), 0);
    }
    set_health(at(s, 3), NP_HEALTH_UNHEALTHY, false);
    assert_ok(np_selector_narrow(s, &ctx, 4 * S, &again));
    assert_int_equal(again.set->len, 4);
    assert_int_equal(again.id, c.id);
    assert_null(np_selector_propose(s, c.id + 100, &ctx, 4 * S));
    np_selector_free(s);
}

/* --- subsets */

static const struct host versions[] = {
    {"a", NULL, NULL, "1"},
    {"b", NULL, NULL, "1"},
    {"c", NULL, NULL, "2"},
    {"d", NULL, NULL, NULL},
};
static const char *const version_key[] = {"version"};

static struct np_pick_ctx wants(struct np_pair *p, const char *version)
{
    *p = (struct np_pair){"version", version};
    return (struct np_pick_ctx){.subset = p, .nsubset = 1};
}

static struct np_selector *of_versions(int fallback)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.subset_keys = version_key;
    o.nsubset_keys = 1;
    o.subset_fallback = fallback;
    return selector_over("random", hosts_make(versions, 4), &o);
}

static void keeps_to_the_subset_that_is_asked_for(void **state)
{
    struct np_selector *s = of_versions(NP_SUBSET_ANY);
    struct np_pair pair, other = {"stage", "beta"};
    struct np_pick_ctx v1 = wants(&pair, "1");
    (void)state;
    struct picks p = pick_many(s, 200, &v1, 2 * S);
    assert_true(p.by[0] > 50 && p.by[1] > 50);
    assert_int_equal(p.by[0] + p.by[1], 200);
    set_health(at(s, 0), NP_HEALTH_UNHEALTHY, true);
    p = pick_many(s, 200, &v1, 3 * S);
    assert_int_equal(p.by[1], 200);
    struct np_pick_ctx v9 = wants(&pair, "9");
    p = pick_many(s, 400, &v9, 4 * S);
    assert_true(p.by[2] > 20 && p.by[3] > 20);
    assert_int_equal(np_selector_stats(s).fallbacks, 400);
    struct np_pick_ctx unknown = {.subset = &other, .nsubset = 1};
    assert_int_equal(pick_many(s, 10, &unknown, 4 * S).none, 0);
    assert_int_equal(np_selector_stats(s).fallbacks, 410);
    np_selector_free(s);
    assert_int_equal(np_alloc_live(), 0);
}

static void a_subset_that_is_empty_gets_nobody_if_so_wanted(void **state)
{
    struct np_selector *s = of_versions(NP_SUBSET_NONE);
    struct np_pair pair;
    struct np_pick_ctx v9 = wants(&pair, "9");
    (void)state;
    assert_int_equal(pick_many(s, 10, &v9, 2 * S).none, 10);
    struct np_pick_ctx v2 = wants(&pair, "2");
    assert_int_equal(pick_many(s, 10, &v2, 2 * S).by[2], 10);
    set_health(at(s, 2), NP_HEALTH_UNHEALTHY, true); /* panic of the subset, not of the rest */
    assert_int_equal(pick_many(s, 10, &v2, 3 * S).by[2], 10);
    np_selector_free(s);
}

static void subsets_follow_the_set(void **state)
{
    struct np_selector *s = of_versions(NP_SUBSET_NONE);
    struct host now[] = {{"a", NULL, NULL, "2"}, {"e", NULL, NULL, "3"}};
    struct np_pair pair;
    struct np_pick_ctx v3 = wants(&pair, "3");
    (void)state;
    assert_int_equal(pick_many(s, 10, &v3, 2 * S).none, 10);
    struct np_snapshot *set = hosts_make(now, 2);
    assert_ok(np_selector_update(s, set, 2 * S));
    np_snapshot_unref(set);
    assert_int_equal(pick_many(s, 10, &v3, 2 * S).by[1], 10);
    struct np_pick_ctx v1 = wants(&pair, "1");
    assert_int_equal(pick_many(s, 10, &v1, 2 * S).none, 10);
    np_selector_free(s);
}

static void values_that_come_and_go_do_not_pile_up(void **state)
{
    struct np_selector *s = of_versions(NP_SUBSET_NONE);
    struct np_pair pair;
    int64_t live = 0;
    (void)state;
    for (int i = 0; i < 5000; i++) {
        char version[16];
        snprintf(version, sizeof version, "v%d", i);
        struct host now[] = {{"a", NULL, NULL, version}, {"b", NULL, NULL, "1"}};
        struct np_snapshot *set = hosts_make(now, 2);
        assert_ok(np_selector_update(s, set, 2 * S));
        np_snapshot_unref(set);
        struct np_pick_ctx ctx = wants(&pair, version);
        assert_int_equal(pick_many(s, 2, &ctx, 2 * S).by[0], 2);
        struct np_pick_ctx v1 = wants(&pair, "1");
        assert_int_equal(pick_many(s, 2, &v1, 2 * S).by[1], 2);
        if (i == 2500) live = np_alloc_live();
    }
    assert_true(np_alloc_live() < live + 1500);
    np_selector_free(s);
    assert_int_equal(np_alloc_live(), 0);
}

/* --- sticky values and keys */

static struct np_selector *sticky_over(size_t n, const char *secret)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.sticky = secret;
    return selector_over("random", set_make(n, NULL), &o);
}

static void a_sticky_value_leads_back_while_it_can(void **state)
{
    struct np_selector *s = sticky_over(40, "s3cret");
    struct np_selector *elsewhere = sticky_over(40, "s3cret"), *other = sticky_over(40, "other");
    char text[NP_STICKY_TEXT + 1], same[NP_STICKY_TEXT + 1], differs[NP_STICKY_TEXT + 1];
    struct np_pick_ctx ctx = {0};
    (void)state;
    assert_true(np_selector_sticky_text(s, at(s, 33), text));
    assert_true(np_selector_sticky_text(elsewhere, at(elsewhere, 33), same));
    assert_true(np_selector_sticky_text(other, at(other, 33), differs));
    assert_string_equal(text, same);
    assert_string_not_equal(text, differs);
    assert_true(np_sticky_parse(text, strlen(text), &ctx));
    assert_int_equal(pick_many(s, 20, &ctx, 2 * S).by[33], 20);
    assert_int_equal(np_selector_stats(s).sticky, 20);
    struct np_endpoint *tried = at(s, 33);
    ctx.exclude = &tried;
    ctx.nexclude = 1;
    assert_int_equal(pick_many(s, 20, &ctx, 2 * S).by[33], 0);
    ctx.nexclude = 0;
    eject(at(s, 33), 100 * S);
    assert_int_equal(pick_many(s, 20, &ctx, 2 * S).by[33], 0);
    assert_int_equal(np_selector_stats(s).unstuck, 40);
    np_selector_free(s);
    np_selector_free(elsewhere);
    np_selector_free(other);
}

static void a_forged_sticky_value_is_none(void **state)
{
    struct np_pick_ctx ctx = {0};
    (void)state;
    assert_false(np_sticky_parse("", 0, &ctx));
    assert_false(np_sticky_parse("0123456789abcde", 15, &ctx));
    assert_false(np_sticky_parse("0123456789abcdeF", 16, &ctx));
    assert_false(np_sticky_parse("0123456789abcde\n", 16, &ctx));
    assert_false(ctx.has_sticky);
    assert_true(np_sticky_parse("0123456789abcdef", 16, &ctx));
    assert_int_equal(ctx.sticky, 0x0123456789abcdef);
    struct np_selector *s = sticky_over(3, "");
    struct picks p = pick_many(s, 90, &ctx, 2 * S);
    assert_true(p.by[0] > 5 && p.by[1] > 5 && p.by[2] > 5);
    np_selector_free(s);
}

static void keys_stick_and_others_go_by_the_policy(void **state)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.keyed = np_balancer_find("ring_hash");
    struct np_selector *s = selector_over("round_robin", set_make(5, NULL), &o);
    struct np_pick_ctx ctx = {.has_hash = true, .hash = 12345};
    (void)state;
    struct picks p = pick_many(s, 50, &ctx, 2 * S);
    size_t home = 0;
    while (p.by[home] == 0)
        home++;
    assert_int_equal(p.by[home], 50);
    p = pick_many(s, 50, NULL, 2 * S);
    for (size_t k = 0; k < 5; k++)
        assert_int_equal(p.by[k], 10);
    eject(at(s, home), 100 * S);
    p = pick_many(s, 50, &ctx, 3 * S);
    assert_int_equal(p.by[home], 0);
    np_selector_free(s);
}

/* --- sets that change */

static struct np_snapshot *with_other(const struct np_snapshot *set, size_t at)
{
    struct np_endpoint **v = np_calloc(set->len, sizeof *v);
    struct np_snapshot *out = NULL;
    memcpy(v, set->endpoints, set->len * sizeof *v);
    v[at] = endpoint_make("new", "10.99.0.1:80", 1);
    assert_ok(np_snapshot_new(v, set->len, 0, &out));
    np_endpoint_unref(v[at]);
    np_free(v);
    return out;
}

static void one_of_ten_thousand_changes_and_the_others_keep_what_is_known(void **state)
{
    struct np_selector *s = selector_over("least_request", set_make(10000, NULL), NULL);
    (void)state;
    eject(at(s, 17), 100 * S);
    (void)pick_many(s, 10, NULL, 2 * S);
    bool trial;
    struct np_endpoint *busy = at(s, 9000), *gone = np_endpoint_ref(at(s, 5000));
    assert_true(np_selector_take(s, busy, false, 2 * S, &trial));
    struct np_snapshot *set = with_other(np_selector_all(s), 5000);
    assert_ok(np_selector_update(s, set, 3 * S));
    np_snapshot_unref(set);
    assert_int_equal(np_endpoint_active(at(s, 9000)), 1);
    assert_int_equal(np_endpoint_availability(at(s, 17), 3 * S), NP_UNAVAILABLE);
    assert_int_equal(np_selector_usable(s, 3 * S)->len, 9999);
    assert_false(np_selector_take(s, gone, true, 3 * S, &trial));
    assert_true(np_selector_take(s, at(s, 5000), false, 3 * S, &trial));
    np_selector_release(s, at(s, 5000), trial, &ok, 3 * S);
    np_selector_release(s, busy, false, &ok, 3 * S);
    np_endpoint_unref(gone);
    np_selector_free(s);
    assert_int_equal(np_alloc_live(), 0);
}

/* Many are ejected at once: what is picked is available, and the sets are not made anew each time.
 */
static void a_storm_of_ejections_costs_few_looks(void **state)
{
    struct np_selector *s = selector_over("random", set_make(1000, NULL), NULL);
    (void)state;
    uint64_t before = np_selector_stats(s).rebuilds;
    for (size_t i = 0; i < 400; i++) {
        bool trial;
        eject(at(s, i), 100 * S);
        struct np_endpoint *e = pick(s, NULL, 2 * S + (int64_t)i, &trial);
        assert_int_equal(np_endpoint_availability(e, 2 * S), NP_AVAILABLE);
        np_selector_release(s, e, trial, &ok, 2 * S);
    }
    assert_true(np_selector_stats(s).rebuilds - before < 5);
    np_selector_free(s);
}

static void picks_allocate_nothing(void **state)
{
    struct np_selector *s = of_versions(NP_SUBSET_ANY);
    struct np_pair pair;
    struct np_pick_ctx v1 = wants(&pair, "1");
    (void)state;
    (void)pick_many(s, 1, &v1, 2 * S);
    np_alloc_fail_at(1);
    (void)pick_many(s, 100, NULL, 2 * S);
    (void)pick_many(s, 100, &v1, 2 * S);
    assert_false(np_alloc_did_fail());
    np_alloc_fail_at(0);
    np_selector_free(s);
}

static void new_endpoints_begin_slowly_but_not_the_first_ones(void **state)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    o.slow_start_ns = 10 * S;
    struct np_selector *s = selector_over("p2c", set_make(3, NULL), &o);
    (void)state;
    assert_int_equal(atomic_load(&at(s, 0)->stats->since_ns), 0);
    struct np_snapshot *set = with_other(np_selector_all(s), 1);
    assert_ok(np_selector_update(s, set, 7 * S));
    np_snapshot_unref(set);
    assert_int_equal(atomic_load(&at(s, 0)->stats->since_ns), 0);
    assert_int_equal(atomic_load(&at(s, 1)->stats->since_ns), 7 * S);
    np_selector_free(s);
}

/* --- want of memory, and nonsense */

static void goes_on_with_what_it_had_and_catches_up(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct np_selector *s = selector_over("ring_hash", set_make(4, NULL), NULL);
        struct np_snapshot *set = with_other(np_selector_all(s), 1);
        np_alloc_fail_at(n);
        enum neap_err err = np_selector_update(s, set, 2 * S);
        bool struck = np_alloc_did_fail();
        np_alloc_fail_at(0);
        assert_int_equal(pick_many(s, 20, NULL, 2 * S).none, 0);
        if (struck) assert_err(err, NEAP_ENOMEM);
        assert_int_equal(pick_many(s, 20, NULL, 3 * S).none, 0); /* by itself */
        assert_string_equal(at(s, 1)->id, "new");
        assert_true(pick_many(s, 200, NULL, 3 * S).by[1] > 0);
        np_snapshot_unref(set);
        np_selector_free(s);
        assert_int_equal(np_alloc_live(), 0);
        if (!struck) break;
    }
}

/* Who was due a trial is known by its place, which is another one afterwards. */
static void forgets_whom_it_was_to_try(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct np_selector *s = of_versions(NP_SUBSET_ANY);
        struct np_pair pair;
        struct np_pick_ctx v1 = wants(&pair, "1");
        static const struct host few[] = {{"x", NULL, "3", "1"}};
        eject(at(s, 1), S);
        set_health(at(s, 3), NP_HEALTH_UNHEALTHY, true);
        bool trial[2];
        struct np_endpoint *held = pick(s, NULL, 2 * S, &trial[0]);
        struct np_endpoint *other = pick(s, &v1, 2 * S, &trial[1]);
        struct np_snapshot *set = hosts_make(few, 1);
        np_alloc_fail_at(n);
        enum neap_err err = np_selector_update(s, set, 2 * S);
        assert_true(err == NEAP_OK || err == NEAP_ENOMEM);
        assert_int_equal(pick_many(s, 3, NULL, 2 * S).none, 0);
        assert_int_equal(pick_many(s, 3, &v1, 2 * S).none, 0);
        bool struck = np_alloc_did_fail();
        np_alloc_fail_at(0);
        assert_int_equal(pick_many(s, 3, &v1, 3 * S).by[0], 3);
        np_selector_release(s, held, trial[0], &ok, 3 * S);
        np_selector_release(s, other, trial[1], &ok, 3 * S);
        np_snapshot_unref(set);
        np_selector_free(s);
        assert_int_equal(np_alloc_live(), 0);
        if (!struck) break;
    }
}

static enum neap_err life(void *arg)
{
    struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
    struct np_selector *s = NULL;
    struct np_snapshot *set = arg;
    struct np_pair pair;
    struct np_pick_ctx v1 = wants(&pair, "1");
    struct np_endpoint *e = NULL;
    bool trial;
    o.zone = "a";
    o.zone_min_endpoints = 2;
    o.sticky = "x";
    o.keyed = np_balancer_find("ring_hash");
    o.subset_keys = version_key;
    o.nsubset_keys = 1;
    enum neap_err err = np_selector_new(np_balancer_find("weighted_round_robin"), NULL, &o, &s);
    if (err == NEAP_OK) err = np_selector_update(s, set, 2 * S);
    if (err == NEAP_OK) { /* a subset for which there is no memory gets somebody all the same */
        assert_ok(np_selector_pick(s, &v1, 2 * S, &e, &trial));
        np_selector_release(s, e, trial, &ok, 2 * S);
        assert_true(np_selector_usable(s, 2 * S)->len > 0);
    }
    np_selector_free(s);
    return err;
}

static void survives_want_of_memory(void **state)
{
    static const struct host mixed[] = {{"a", "a", NULL, "1"}, {"b", "b", "1", "1"},
                                        {"c", "b", NULL, "2"}, {"d", "a", "1", NULL},
                                        {"e", "a", NULL, "1"}, {"f", "b", NULL, "1"}};
    struct np_snapshot *set = hosts_make(mixed, 6);
    (void)state;
    set_health(set->endpoints[0], NP_HEALTH_UNHEALTHY, true);
    eject(set->endpoints[5], S);
    assert_true(np_test_oom(life, set) > 20);
    np_snapshot_unref(set);
}

static void refuses_nonsense(void **state)
{
    struct np_selector *s = NULL;
    const struct np_balancer_ops *ops = np_balancer_find("p2c");
    (void)state;
    for (int i = 0; i < 7; i++) {
        struct np_selector_options o = NP_SELECTOR_OPTIONS_INIT;
        if (i == 0) o.panic_threshold = 1.5;
        if (i == 1) o.panic_threshold = 0.0 / 0.0;
        if (i == 2) o.overprovisioning = 0.9;
        if (i == 3) o.zone_spill = -1;
        if (i == 4) o.nsubset_keys = NP_SUBSET_KEYS + 1;
        if (i == 5) o.slow_start_aggression = 0;
        if (i == 6) o.zone_callers = 2;
        assert_err(np_selector_new(ops, NULL, &o, &s), NEAP_EINVAL);
    }
    struct np_balancer_options b = NP_BALANCER_OPTIONS_INIT;
    b.choices = 0;
    assert_err(np_selector_new(ops, &b, NULL, &s), NEAP_EINVAL);
    assert_int_equal(np_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ejection_that_is_over_is_followed_by_a_trial_of_one),
        cmocka_unit_test(a_trial_that_fails_ejects_again),
        cmocka_unit_test(a_retry_is_no_trial),
        cmocka_unit_test(takes_what_somebody_else_chose),
        cmocka_unit_test(a_policy_of_ones_own_chooses_from_the_set_and_may_ask_the_inner_one),
        cmocka_unit_test(keeps_to_the_subset_that_is_asked_for),
        cmocka_unit_test(a_subset_that_is_empty_gets_nobody_if_so_wanted),
        cmocka_unit_test(subsets_follow_the_set),
        cmocka_unit_test(values_that_come_and_go_do_not_pile_up),
        cmocka_unit_test(a_sticky_value_leads_back_while_it_can),
        cmocka_unit_test(a_forged_sticky_value_is_none),
        cmocka_unit_test(keys_stick_and_others_go_by_the_policy),
        cmocka_unit_test(one_of_ten_thousand_changes_and_the_others_keep_what_is_known),
        cmocka_unit_test(a_storm_of_ejections_costs_few_looks),
        cmocka_unit_test(picks_allocate_nothing),
        cmocka_unit_test(new_endpoints_begin_slowly_but_not_the_first_ones),
        cmocka_unit_test(goes_on_with_what_it_had_and_catches_up),
        cmocka_unit_test(forgets_whom_it_was_to_try),
        cmocka_unit_test(survives_want_of_memory),
        cmocka_unit_test(refuses_nonsense),
    };
    return cmocka_run_group_tests_name("mesh.selector_change", tests, NULL, NULL);
}
