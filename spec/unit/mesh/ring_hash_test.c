/* The hash ring: stable, even, disturbed by no more than its share, bounded if asked. */
#include "mesh_helpers.h"

#include <math.h>

#include "mesh/balancer.h"

enum { KEYS = 20000 };

static struct np_balancer *ring(struct np_snapshot *set, const struct np_balancer_options *opts)
{
    struct np_balancer *b = NULL;
    assert_ok(np_balancer_new(np_balancer_find("ring_hash"), opts, &b));
    assert_ok(np_balancer_update(b, set));
    return b;
}

static unsigned owner(struct np_balancer *b, unsigned key)
{
    char text[32];
    struct np_endpoint *e = NULL;
    int n = snprintf(text, sizeof text, "user-%u", key);
    struct np_pick_ctx ctx = {.has_hash = true, .hash = np_pick_hash(text, (size_t)n)};
    assert_ok(np_balancer_pick(b, &ctx, S, &e));
    unsigned number = (unsigned)strtoul(e->id + 1, NULL, 10);
    release_with(b, e, NP_OUTCOME_OK, -1, S);
    return number;
}

static void a_key_has_one_owner_in_every_process(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_snapshot *again = set_make(10, NULL); /* as another process would know them */
    struct np_balancer *a = ring(set, NULL);
    struct np_balancer *b = ring(again, NULL);
    for (unsigned k = 0; k < 1000; k++)
        assert_int_equal(owner(a, k), owner(b, k));
    np_balancer_free(a);
    np_balancer_free(b);
    np_snapshot_unref(set);
    np_snapshot_unref(again);
}

/* The placing is part of the contract between versions: these owners may never change. */
static void owners_are_the_same_in_every_version(void **state)
{
    static const unsigned want[] = {2, 4, 7, 2, 9, 1, 1, 4};
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = ring(set, NULL);
    for (unsigned k = 0; k < 8; k++)
        assert_int_equal(owner(b, k), want[k]);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void the_ring_is_closed(void **state)
{
    (void)state;
    for (size_t n = 2; n < 300; n += 97) {
        struct np_snapshot *set = set_make(n, NULL);
        struct np_balancer *b = ring(set, NULL);
        struct np_endpoint *e[2] = {0};
        for (int i = 0; i < 2; i++) {
            struct np_pick_ctx ctx = {.has_hash = true, .hash = i ? UINT64_MAX : 0};
            assert_ok(np_balancer_pick(b, &ctx, S, &e[i]));
        }
        assert_ptr_equal(e[0], e[1]);
        for (int i = 0; i < 2; i++)
            release_with(b, e[i], NP_OUTCOME_OK, -1, S);
        np_balancer_free(b);
        np_snapshot_unref(set);
    }
}

static void keys_spread_by_weight(void **state)
{
    static const uint32_t weights[] = {1, 1, 2, 4};
    unsigned seen[4] = {0};
    (void)state;
    struct np_snapshot *set = set_make(4, weights);
    struct np_balancer *b = ring(set, NULL);
    for (unsigned k = 0; k < KEYS; k++)
        seen[owner(b, k)]++;
    for (int i = 0; i < 4; i++) {
        /* With n points a share's standard deviation is about 1/sqrt(n) of it; four of them. */
        double share = KEYS * weights[i] / 8.0;
        double slack = 4 * share / sqrt(160.0 * weights[i]);
        if (fabs(seen[i] - share) > slack) fail_msg("endpoint %d has %u keys", i, seen[i]);
    }
    np_balancer_free(b);
    np_snapshot_unref(set);
}

/* Who leaves gives its own keys away and no other; who comes takes its share only. */
static void a_change_moves_its_share_only(void **state)
{
    static unsigned before[KEYS];
    (void)state;
    struct np_snapshot *set = set_make(20, NULL);
    struct np_balancer *b = ring(set, NULL);
    for (unsigned k = 0; k < KEYS; k++)
        before[k] = owner(b, k);
    for (unsigned gone = 0; gone < 20; gone += 7) {
        struct np_snapshot *fewer = set_without(set, gone);
        unsigned moved = 0;
        assert_ok(np_balancer_update(b, fewer));
        for (unsigned k = 0; k < KEYS; k++) {
            unsigned now = owner(b, k);
            assert_int_not_equal(now, gone);
            if (now == before[k]) continue;
            assert_int_equal(before[k], gone);
            moved++;
        }
        /* 1/20 of the keys, give or take four standard deviations of a share. */
        assert_in_range(moved, KEYS * 0.034, KEYS * 0.066);
        assert_ok(np_balancer_update(b, set));
        for (unsigned k = 0; k < KEYS; k++)
            assert_int_equal(owner(b, k), before[k]);
        np_snapshot_unref(fewer);
    }
    np_balancer_free(b);
    np_snapshot_unref(set);
}

/* A large ring is kept differently; it is the same ring. */
static void a_large_ring_moves_its_share_only(void **state)
{
    static unsigned before[KEYS];
    (void)state;
    struct np_snapshot *set = set_make(400, NULL), *fewer = set_without(set, 123);
    struct np_balancer *b = ring(set, NULL);
    unsigned moved = 0, others = 0;
    for (unsigned k = 0; k < KEYS; k++)
        before[k] = owner(b, k);
    assert_ok(np_balancer_update(b, fewer));
    for (unsigned k = 0; k < KEYS; k++) {
        unsigned now = owner(b, k);
        moved += now != before[k];
        others += now != before[k] && before[k] != 123;
    }
    assert_in_range(moved, KEYS / 400 / 2, KEYS / 400 * 2);
    assert_in_range(others, 0, KEYS / 5000);
    np_snapshot_unref(fewer);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void a_retry_goes_to_the_next_and_stays_there(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer *b = ring(set, NULL);
    for (uint64_t key = 0; key < 100; key++) {
        struct np_endpoint *first = NULL, *second = NULL, *third = NULL;
        struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(key)};
        assert_ok(np_balancer_pick(b, &ctx, S, &first));
        ctx.exclude = &first;
        ctx.nexclude = 1;
        assert_ok(np_balancer_pick(b, &ctx, S, &second));
        assert_ok(np_balancer_pick(b, &ctx, S, &third));
        assert_ptr_not_equal(first, second);
        assert_ptr_equal(second, third);
        release_with(b, first, NP_OUTCOME_OK, -1, S);
        release_with(b, second, NP_OUTCOME_OK, -1, S);
        release_with(b, third, NP_OUTCOME_OK, -1, S);
    }
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void without_a_key_it_is_random(void **state)
{
    unsigned seen[4] = {0};
    (void)state;
    struct np_snapshot *set = set_make(4, NULL);
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    o.seed = 3;
    struct np_balancer *b = ring(set, &o);
    for (int i = 0; i < 4000; i++) {
        struct np_endpoint *e = NULL;
        assert_ok(np_balancer_pick(b, NULL, S, &e));
        seen[strtoul(e->id + 1, NULL, 10)]++;
        release_with(b, e, NP_OUTCOME_OK, -1, S);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 600, 1400);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void a_load_factor_bounds_a_hot_key(void **state)
{
    (void)state;
    struct np_snapshot *set = set_make(10, NULL);
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    struct np_endpoint *held[200];
    struct np_pick_ctx hot = {.has_hash = true, .hash = 42};
    o.load_factor = 1.5;
    struct np_balancer *b = ring(set, &o);
    for (unsigned i = 0; i < 200; i++) {
        assert_ok(np_balancer_pick(b, &hot, S, &held[i]));
        for (int e = 0; e < 10; e++) {
            assert_true(np_endpoint_active(set->endpoints[e]) <= ceil(1.5 * (i + 1) / 10));
        }
    }
    for (unsigned i = 0; i < 200; i++)
        release_with(b, held[i], NP_OUTCOME_OK, -1, S);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void a_hash_key_in_the_metadata_takes_the_addresss_place(void **state)
{
    (void)state;
    static const struct np_pair key[] = {{"hash_key", "shard-1"}};
    struct np_endpoint *v[2][2];
    struct np_snapshot *set[2];
    struct np_balancer *b[2];
    for (int i = 0; i < 2; i++) {
        struct np_endpoint_desc d = {.id = "e0", .service = "goods", .meta = key, .nmeta = 1};
        d.address = i ? "1.1.1.1:1" : "2.2.2.2:2"; /* it moved, but it is the same shard */
        assert_ok(np_endpoint_new(&d, NULL, &v[i][0], NULL));
        v[i][1] = endpoint_make("e1", "3.3.3.3:3", 1);
        assert_ok(np_snapshot_new(v[i], 2, 0, &set[i]));
        b[i] = ring(set[i], NULL);
    }
    for (unsigned k = 0; k < 200; k++)
        assert_int_equal(owner(b[0], k), owner(b[1], k));
    for (int i = 0; i < 2; i++) {
        np_balancer_free(b[i]);
        np_snapshot_unref(set[i]);
        np_endpoint_unref(v[i][0]);
        np_endpoint_unref(v[i][1]);
    }
}

static void a_large_ring_is_scaled_down(void **state)
{
    static const uint32_t weights[] = {NP_WEIGHT_MAX, NP_WEIGHT_MAX, 1};
    unsigned seen[3] = {0};
    (void)state;
    struct np_snapshot *set = set_make(3, weights);
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    o.ring_max = 2048;
    struct np_balancer *b = ring(set, &o);
    for (unsigned k = 0; k < KEYS; k++)
        seen[owner(b, k)]++;
    assert_in_range(seen[0], KEYS * 0.44, KEYS * 0.56);
    assert_true(seen[2] < KEYS / 500);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_one_owner_in_every_process),
        cmocka_unit_test(owners_are_the_same_in_every_version),
        cmocka_unit_test(the_ring_is_closed),
        cmocka_unit_test(keys_spread_by_weight),
        cmocka_unit_test(a_change_moves_its_share_only),
        cmocka_unit_test(a_large_ring_moves_its_share_only),
        cmocka_unit_test(a_retry_goes_to_the_next_and_stays_there),
        cmocka_unit_test(without_a_key_it_is_random),
        cmocka_unit_test(a_load_factor_bounds_a_hot_key),
        cmocka_unit_test(a_hash_key_in_the_metadata_takes_the_addresss_place),
        cmocka_unit_test(a_large_ring_is_scaled_down),
    };
    return cmocka_run_group_tests_name("mesh.ring_hash", tests, NULL, NULL);
}
