/* base/hash's map: setting, replacing, removing, order, against a reference, without memory. */
#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

static void *value(size_t n)
{
    return (void *)(uintptr_t)(n + 1);
}

static void an_empty_map_has_nothing(void **state)
{
    int64_t live = np_alloc_live();
    struct np_map m;
    size_t it = 0;
    np_map_init(&m);
    assert_null(np_map_get(&m, "x", 1));
    assert_null(np_map_remove(&m, "x", 1));
    assert_null(np_map_next(&m, &it));
    assert_no_leak(live);
    np_map_fini(&m);
}

static void set_replaces_and_tells_the_old_value(void **state)
{
    struct np_map m;
    void *old = value(99);
    np_map_init(&m);
    assert_ok(np_map_set(&m, "k", 1, value(1), &old));
    assert_null(old);
    assert_ok(np_map_set(&m, "k", 1, value(2), &old));
    assert_ptr_equal(old, value(1));
    assert_ok(np_map_set(&m, "k", 1, value(3), NULL));
    assert_ptr_equal(np_map_get(&m, "k", 1), value(3));
    assert_int_equal(m.len, 1);
    np_map_fini(&m);
}

static void keys_are_bytes_and_are_copied(void **state)
{
    struct np_map m;
    char key[] = "a\0b";
    np_map_init(&m);
    assert_ok(np_map_set(&m, key, 3, value(1), NULL));
    assert_ok(np_map_set(&m, key, 1, value(2), NULL));
    assert_ok(np_map_set(&m, "", 0, value(3), NULL));
    key[0] = 'x';
    assert_ptr_equal(np_map_get(&m, "a\0b", 3), value(1));
    assert_ptr_equal(np_map_get(&m, "a", 1), value(2));
    assert_ptr_equal(np_map_get(&m, NULL, 0), value(3));
    assert_null(np_map_get(&m, "a\0", 2));
    np_map_fini(&m);
}

static void iterates_in_order_of_insertion(void **state)
{
    struct np_map m;
    char key[16];
    size_t it = 0, want = 0;
    np_map_init(&m);
    for (size_t i = 0; i < 1000; i++) {
        int n = snprintf(key, sizeof key, "%zu", i);
        assert_ok(np_map_set(&m, key, (size_t)n, value(i), NULL));
    }
    for (size_t i = 0; i < 1000; i += 3) {
        int n = snprintf(key, sizeof key, "%zu", i);
        assert_ptr_equal(np_map_remove(&m, key, (size_t)n), value(i));
    }
    for (struct np_map_entry *e; (e = np_map_next(&m, &it)); want++) {
        if (want % 3 == 0) want++;
        assert_ptr_equal(e->value, value(want));
        assert_int_equal(e->key_len, snprintf(key, sizeof key, "%zu", want));
        assert_string_equal(e->key, key);
    }
    np_map_fini(&m);
}

static void entries_may_be_removed_while_iterating(void **state)
{
    struct np_map m;
    char key[16];
    size_t it = 0, seen = 0;
    np_map_init(&m);
    for (size_t i = 0; i < 100; i++) {
        int n = snprintf(key, sizeof key, "%zu", i);
        assert_ok(np_map_set(&m, key, (size_t)n, value(i), NULL));
    }
    for (struct np_map_entry *e; (e = np_map_next(&m, &it)); seen++) {
        assert_ptr_equal(np_map_remove(&m, e->key, e->key_len), value(seen));
    }
    assert_int_equal(seen, 100);
    assert_int_equal(m.len, 0);
    np_map_fini(&m);
}

/* A queue of keys: ever new ones come, the oldest go. The map must not grow for it. */
static void a_queue_of_keys_does_not_grow_it(void **state)
{
    struct np_map m;
    char key[24];
    np_map_init(&m);
    for (size_t i = 0; i < 100000; i++) {
        int n = snprintf(key, sizeof key, "key-%zu", i);
        assert_ok(np_map_set(&m, key, (size_t)n, value(i), NULL));
        if (i >= 50) {
            n = snprintf(key, sizeof key, "key-%zu", i - 50);
            assert_ptr_equal(np_map_remove(&m, key, (size_t)n), value(i - 50));
        }
    }
    assert_int_equal(m.len, 50);
    assert_true(m.cap <= 200);
    np_map_fini(&m);
}

static void agrees_with_a_reference(void **state)
{
    enum { KEYS = 300 };
    void *reference[KEYS] = {0};
    size_t len = 0;
    struct np_map m;
    struct np_rng rng;
    np_map_init(&m);
    np_rng_init(&rng, 7);
    for (size_t step = 0; step < 100000; step++) {
        char key[16];
        size_t k = np_rng_below(&rng, KEYS);
        size_t n = (size_t)snprintf(key, sizeof key, "%zx", k);
        /* Long runs of mostly setting and of mostly removing. */
        if (np_rng_below(&rng, 10) < (step / 5000 % 2 ? 8u : 2u)) {
            assert_ptr_equal(np_map_remove(&m, key, n), reference[k]);
            len -= reference[k] != NULL;
            reference[k] = NULL;
        } else {
            void *old;
            assert_ok(np_map_set(&m, key, n, value(step), &old));
            assert_ptr_equal(old, reference[k]);
            len += old == NULL;
            reference[k] = value(step);
        }
        assert_int_equal(m.len, len);
        k = np_rng_below(&rng, KEYS);
        n = (size_t)snprintf(key, sizeof key, "%zx", k);
        assert_ptr_equal(np_map_get(&m, key, n), reference[k]);
    }
    np_map_fini(&m);
}

static void each_map_has_a_seed_of_its_own(void **state)
{
    struct np_map a, b;
    np_map_init(&a);
    np_map_init(&b);
    assert_ok(np_map_set(&a, "k", 1, value(1), NULL));
    assert_ok(np_map_set(&b, "k", 1, value(1), NULL));
    assert_int_not_equal(a.entries[0].hash, b.entries[0].hash);
    np_map_fini(&a);
    np_map_fini(&b);
}

static enum neap_err fill(void *arg)
{
    struct np_map m;
    char key[16];
    enum neap_err err = NEAP_OK;
    size_t set = 0;
    np_map_init(&m);
    while (!err && set < 40) {
        int n = snprintf(key, sizeof key, "%zu", set);
        err = np_map_set(&m, key, (size_t)n, value(set), NULL);
        if (!err) set++;
    }
    assert_int_equal(m.len, set); /* a failed set changed nothing */
    for (size_t i = 0; i < set; i++) {
        int n = snprintf(key, sizeof key, "%zu", i);
        assert_ptr_equal(np_map_get(&m, key, (size_t)n), value(i));
    }
    np_map_fini(&m);
    return err;
}

static void survives_running_out_of_memory(void **state)
{
    assert_true(np_test_oom(fill, NULL) >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(set_replaces_and_tells_the_old_value),
        cmocka_unit_test(keys_are_bytes_and_are_copied),
        cmocka_unit_test(iterates_in_order_of_insertion),
        cmocka_unit_test(entries_may_be_removed_while_iterating),
        cmocka_unit_test(a_queue_of_keys_does_not_grow_it),
        cmocka_unit_test(agrees_with_a_reference),
        cmocka_unit_test(each_map_has_a_seed_of_its_own),
        cmocka_unit_test(survives_running_out_of_memory),
    };
    return cmocka_run_group_tests_name("base.map", tests, NULL, NULL);
}
