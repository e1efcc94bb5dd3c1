/* Maglev, and what it shares with the ring: who is unavailable is passed over, loads are bounded.
 */
#include "balancer_helpers.h"

enum { KEYS = 20000, TABLE = 65537 };

/* How many of the table's slots each has, by asking for every slot. */
static void count_slots(struct np_balancer *b, unsigned *slots, size_t n)
{
    memset(slots, 0, n * sizeof *slots);
    for (uint64_t slot = 0; slot < TABLE; slot++) {
        struct np_pick_ctx ctx = {.has_hash = true};
        ctx.hash = ((slot << 32) / TABLE + 1) << 32;
        slots[lb_turn_at(b, &ctx, S)]++;
    }
}

static void slots_are_spread_evenly(void **state)
{
    static const size_t sizes[] = {3, 10, 100, 500};
    static unsigned slots[512];
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct np_snapshot *set = set_make(sizes[k], NULL);
        struct np_balancer *b = lb_make("maglev", NULL, set);
        double share = (double)TABLE / (double)sizes[k];
        count_slots(b, slots, sizes[k]);
        /* All take a slot in turns, so nobody has two more than another. */
        for (size_t i = 0; i < sizes[k]; i++)
            assert_in_range(slots[i], floor(share), ceil(share));
        lb_drop(b, set);
    }
}

static void slots_follow_weights(void **state)
{
    static const uint32_t weights[] = {1, 2, 4, 93};
    unsigned slots[4];
    (void)state;
    struct np_snapshot *set = set_make(4, weights);
    struct np_balancer *b = lb_make("maglev", NULL, set);
    count_slots(b, slots, 4);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(slots[i] - TABLE * weights[i] / 100.0) < 20);
    lb_drop(b, set);
}

static void order_does_not_matter(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(20, NULL), *turned = NULL;
    struct np_endpoint *v[20];
    for (int i = 0; i < 20; i++)
        v[i] = set->endpoints[(i * 7 + 3) % 20];
    assert_ok(np_snapshot_new(v, 20, 0, &turned));
    struct np_balancer *a = lb_make("maglev", NULL, set);
    struct np_balancer *b = lb_make("maglev", NULL, turned);
    for (unsigned k = 0; k < KEYS; k++)
        assert_int_equal(lb_owner(a, k), lb_owner(b, k));
    np_balancer_free(a);
    np_snapshot_unref(turned);
    lb_drop(b, set);
}

/* The placing is part of the contract between versions: these owners may never change. */
static void owners_are_the_same_in_every_version(void **state)
{
    static const unsigned want[] = {1, 6, 9, 0, 9, 3, 8, 2};
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = lb_make("maglev", NULL, set);
    for (unsigned k = 0; k < 8; k++)
        assert_int_equal(lb_owner(b, k), want[k]);
    lb_drop(b, set);
}

/* One of N goes, then it comes back: its keys move, 1/N of all, and the paper's few percent more.
 */
static void a_change_moves_little_more_than_its_share(void **state)
{
    enum { N = 20 };
    static unsigned before[KEYS];
    (void)state;
    struct np_snapshot *set = set_make(N, NULL);
    struct np_balancer *b = lb_make("maglev", NULL, set);
    for (unsigned k = 0; k < KEYS; k++)
        before[k] = lb_owner(b, k);
    for (unsigned gone = 0; gone < N; gone += 7) {
        struct np_snapshot *fewer = set_without(set, gone);
        unsigned moved = 0, others = 0;
        assert_ok(np_balancer_update(b, fewer));
        for (unsigned k = 0; k < KEYS; k++) {
            unsigned now = lb_owner(b, k);
            assert_int_not_equal(now, gone);
            moved += now != before[k];
            others += now != before[k] && before[k] != gone;
        }
        assert_in_range(moved - others, KEYS / N * 0.9, KEYS / N * 1.1);
        assert_true(others < KEYS * 0.03);
        assert_ok(np_balancer_update(b, set));
        for (unsigned k = 0; k < KEYS; k++)
            assert_int_equal(lb_owner(b, k), before[k]);
        np_snapshot_unref(fewer);
    }
    lb_drop(b, set);
}

static void a_larger_table_is_disturbed_less(void **state)
{
    unsigned others[2] = {0};
    (void)state;
    for (int large = 0; large < 2; large++) {
        static unsigned before[KEYS];
        struct np_balancer_options o = options_make();
        o.table_size = large ? 655373 : 5003;
        struct np_snapshot *set = set_make(50, NULL), *fewer = set_without(set, 17);
        struct np_balancer *b = lb_make("maglev", &o, set);
        for (unsigned k = 0; k < KEYS; k++)
            before[k] = lb_owner(b, k);
        assert_ok(np_balancer_update(b, fewer));
        for (unsigned k = 0; k < KEYS; k++)
            others[large] += before[k] != 17 && lb_owner(b, k) != before[k];
        np_snapshot_unref(fewer);
        lb_drop(b, set);
    }
    assert_true(others[1] * 2 < others[0]);
}

static const char *const hashing[] = {"ring_hash", "maglev"};

/* An ejected endpoint's keys, and no others, go elsewhere, to more than one; and come back. */
static void only_the_keys_of_the_unavailable_move(void **state)
{
    static unsigned before[KEYS];
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_snapshot *set = set_make(10, NULL);
        struct np_balancer *b = lb_make(hashing[p], NULL, set);
        for (unsigned k = 0; k < KEYS; k++)
            before[k] = lb_owner(b, k);
        for (int way = 0; way < 4; way++) {
            struct np_stats *s = set->endpoints[4]->stats;
            unsigned heirs[10] = {0};
            atomic_store(&s->health, way == 0   ? NP_HEALTH_UNHEALTHY
                                     : way == 1 ? NP_HEALTH_DRAINING
                                                : 0);
            /* Ejected, or on trial, which is not for those who hash to find out. */
            atomic_store(&s->ejected_until, way == 2 ? 2 * S : way == 3 ? S / 2 : 0);
            for (unsigned k = 0; k < KEYS; k++) {
                unsigned now = lb_owner(b, k);
                if (before[k] == 4) heirs[now]++;
                if (before[k] != 4) assert_int_equal(now, before[k]);
            }
            assert_int_equal(heirs[4], 0);
            for (int i = 0; i < 10; i++)
                if (i != 4) assert_in_range(heirs[i], KEYS / 10 / 9 / 4, KEYS / 10 / 9 * 3);
            atomic_store(&s->health, 0);
            atomic_store(&s->ejected_until, 0);
        }
        for (unsigned k = 0; k < KEYS; k++)
            assert_int_equal(lb_owner(b, k), before[k]);
        lb_drop(b, set);
    }
}

static void in_panic_nobody_is_passed_over(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_snapshot *set = set_make(10, NULL);
        struct np_balancer *b = lb_make(hashing[p], NULL, set);
        for (unsigned k = 0; k < 500; k++) {
            struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(k), .panic = true};
            unsigned home = lb_turn_at(b, &ctx, S);
            atomic_store(&set->endpoints[home]->stats->health, NP_HEALTH_UNHEALTHY);
            assert_int_equal(lb_turn_at(b, &ctx, S), home);
            ctx.panic = false;
            assert_int_not_equal(lb_turn_at(b, &ctx, S), home);
            atomic_store(&set->endpoints[home]->stats->health, 0);
        }
        lb_drop(b, set);
    }
}

/* Where all, or all but one of many, are unavailable there is an answer still, and at home. */
static void it_finds_the_last_one_and_else_the_first(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_snapshot *set = set_make(500, NULL);
        struct np_balancer *b = lb_make(hashing[p], NULL, set);
        unsigned before[200];
        for (unsigned k = 0; k < 200; k++)
            before[k] = lb_owner(b, k);
        for (size_t i = 0; i < 500; i++)
            atomic_store(&set->endpoints[i]->stats->health, NP_HEALTH_UNHEALTHY);
        for (unsigned k = 0; k < 200; k++)
            assert_int_equal(lb_owner(b, k), before[k]);
        atomic_store(&set->endpoints[321]->stats->health, 0);
        for (unsigned k = 0; k < 200; k++)
            assert_int_equal(lb_owner(b, k), 321);
        /* Unless that was tried already. */
        struct np_pick_ctx ctx = {.has_hash = true, .exclude = &set->endpoints[321], .nexclude = 1};
        assert_int_not_equal(lb_turn_at(b, &ctx, S), 321);
        lb_drop(b, set);
    }
}

/* A hot key may fill nobody beyond the bound, with few endpoints (where the sum is exact) and with
 * many, by weight; what other balancers have in flight counts as well. */
static void a_load_factor_bounds_a_hot_key(void **state)
{
    enum { N = 100, PICKS = 3000 };
    static struct np_endpoint *held[PICKS];
    (void)state;
    for (int p = 0; p < 2; p++) {
        uint32_t weights[N];
        struct np_balancer_options o = options_make();
        struct np_pick_ctx hot = {.has_hash = true, .hash = 42};
        for (int i = 0; i < N; i++)
            weights[i] = 1 + (uint32_t)i % 3;
        o.load_factor = 1.25;
        struct np_snapshot *set = set_make(N, weights);
        struct np_balancer *b = lb_make(hashing[p], &o, set);
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += weights[i];
        for (int i = 0; i < PICKS; i++) {
            assert_ok(np_balancer_pick(b, &hot, S, &held[i]));
            double bound = ceil(1.25 * (i + 1) * held[i]->weight / sum);
            assert_true(np_endpoint_active(held[i]) <= bound);
        }
        for (int i = 0; i < PICKS; i++)
            release_with(b, held[i], NP_OUTCOME_OK, -1, S);
        lb_drop(b, set);
    }
}

static void others_requests_count_for_the_bound(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_balancer_options o = options_make();
        struct np_pick_ctx key = {.has_hash = true, .hash = 42};
        struct np_endpoint *home = NULL, *e = NULL;
        o.load_factor = 1.5;
        struct np_snapshot *set = set_make(40, NULL);
        struct np_balancer *b = lb_make(hashing[p], &o, set);
        assert_ok(np_balancer_pick(b, &key, S, &home));
        /* Another worker has begun ten on each but one, where the key would go if its own were
         * full: compared with that the home's one is little, so it has room. */
        size_t idle = set->endpoints[0] == home ? 1 : 0;
        for (size_t i = 0; i < 40; i++) {
            for (int n = 0; n < 10 && i != idle && set->endpoints[i] != home; n++)
                np_endpoint_begin(set->endpoints[i]);
        }
        /* It comes to know in so many picks. */
        for (size_t i = 0; i < 40; i++)
            (void)lb_turn_at(b, &key, S);
        assert_ok(np_balancer_pick(b, &key, S, &e));
        assert_ptr_equal(e, home);
        release_with(b, e, NP_OUTCOME_OK, -1, S);
        release_with(b, home, NP_OUTCOME_OK, -1, S);
        for (size_t i = 0; i < 40; i++) {
            while (np_endpoint_active(set->endpoints[i]) > 0)
                end_with(set->endpoints[i], NP_OUTCOME_CANCELED, -1, S);
        }
        lb_drop(b, set);
    }
}

/* What is begun here and released by others, or the other way round, does not unhinge the bound. */
static void the_bound_is_that_of_what_is_in_flight(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct np_balancer_options o = options_make();
        struct np_pick_ctx hot = {.has_hash = true, .hash = 42};
        struct np_endpoint *e = NULL, *held[20];
        o.load_factor = 1.25;
        struct np_snapshot *set = set_make(20, NULL);
        struct np_balancer *b = lb_make(hashing[p], &o, set);
        for (int i = 0; i < 5000; i++) {
            assert_ok(np_balancer_pick(b, &hot, S, &e));
            if (i % 2) {
                end_with(e, NP_OUTCOME_OK, 1, S);
                np_endpoint_unref(e);
            } else {
                release_with(b, e, NP_OUTCOME_OK, 1, S);
            }
            e = set->endpoints[i % 20];
            np_endpoint_begin(np_endpoint_ref(e));
            release_with(b, e, NP_OUTCOME_OK, 1, S);
        }
        for (int i = 0; i < 20; i++)
            assert_ok(np_balancer_pick(b, &hot, S, &held[i]));
        for (int i = 0; i < 20; i++) {
            assert_true(np_endpoint_active(held[i]) <= 2);
            assert_in_range(atomic_load(&held[i]->refs), 2, 5000);
        }
        for (int i = 0; i < 20; i++)
            release_with(b, held[i], NP_OUTCOME_OK, 1, S);
        lb_drop(b, set);
    }
}

static void a_table_wants_a_prime(void **state)
{
    static const uint32_t bad[] = {0, 1, 2, 9, 65536, 65535, 8388609 + 2};
    (void)state;
    for (int i = 0; i < 7; i++) {
        struct np_balancer_options o = options_make();
        struct np_balancer *b = NULL;
        o.table_size = bad[i];
        assert_err(np_balancer_new(np_balancer_find("maglev"), &o, &b), NEAP_EINVAL);
    }
    struct np_snapshot *set = set_make(3, NULL);
    struct np_balancer_options o = options_make();
    o.table_size = 3; /* the least there is */
    struct np_balancer *b = lb_make("maglev", &o, set);
    assert_in_range(lb_owner(b, 1), 0, 2);
    lb_drop(b, set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_spread_evenly),
        cmocka_unit_test(slots_follow_weights),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(owners_are_the_same_in_every_version),
        cmocka_unit_test(a_change_moves_little_more_than_its_share),
        cmocka_unit_test(a_larger_table_is_disturbed_less),
        cmocka_unit_test(only_the_keys_of_the_unavailable_move),
        cmocka_unit_test(in_panic_nobody_is_passed_over),
        cmocka_unit_test(it_finds_the_last_one_and_else_the_first),
        cmocka_unit_test(a_load_factor_bounds_a_hot_key),
        cmocka_unit_test(others_requests_count_for_the_bound),
        cmocka_unit_test(the_bound_is_that_of_what_is_in_flight),
        cmocka_unit_test(a_table_wants_a_prime),
    };
    return cmocka_run_group_tests_name("mesh.maglev", tests, NULL, NULL);
}
