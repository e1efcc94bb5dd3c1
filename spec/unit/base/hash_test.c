/* base/hash: the hash functions against published values, the generator's range and evenness. */
#include "np_test.h"

#include <string.h>

#include "base/hash.h"

static uint64_t stable(const char *s)
{
    return np_hash_stable(s, strlen(s), 0);
}

/* Values of XXH64, as its reference implementation gives them. */
static void the_stable_hash_never_changes(void **state)
{
    assert_int_equal(stable(""), 0xef46db3751d8e999);
    assert_int_equal(stable("a"), 0xd24ec4f1a98c6e5b);
    assert_int_equal(stable("abc"), 0x44bc2cf5ad770999);
    assert_int_equal(stable("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1);
    assert_int_not_equal(np_hash_stable("abc", 3, 1), stable("abc"));
}

/* Values of SipHash-1-3 with a key of zeros and of 0, 1, 2 … 15. */
static void the_seeded_hash_is_siphash_1_3(void **state)
{
    const uint64_t zero[2] = {0, 0};
    const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    assert_int_equal((int64_t)np_hash_seeded("abcdefghij", 10, zero), INT64_C(-829746140550000655));
    assert_int_equal(np_hash_seeded("", 0, key), UINT64_C(0xabac0158050fc4dc));
    assert_int_equal(np_hash_seeded("\0", 1, key), UINT64_C(0xc9f49bf37d57ca93));
}

static void the_mix_is_a_permutation_with_no_fixed_pattern(void **state)
{
    assert_int_equal(np_hash_mix(0), 0);
    assert_int_equal(np_hash_mix(UINT64_C(0x9E3779B97F4A7C15)), UINT64_C(0xe220a8397b1dcdaf));
}

static void a_seed_gives_the_same_numbers_again(void **state)
{
    struct np_rng a, b;
    np_rng_init(&a, 1234567);
    np_rng_init(&b, 1234567);
    assert_int_equal(np_rng_next(&a), UINT64_C(6457827717110365317));
    np_rng_next(&b);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(np_rng_next(&a), np_rng_next(&b));
    }
    np_rng_init(&a, 0);
    np_rng_init(&b, 0);
    assert_int_not_equal(np_rng_next(&a), np_rng_next(&b));
}

static void below_is_even_and_in_range(void **state)
{
    struct np_rng r;
    unsigned counts[7] = {0};
    np_rng_init(&r, 5);
    for (int i = 0; i < 70000; i++) {
        uint32_t n = np_rng_below(&r, 7);
        assert_true(n < 7);
        counts[n]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9600, 10400); /* four standard deviations */
    }
    assert_int_equal(np_rng_below(&r, 0), 0);
    assert_int_equal(np_rng_below(&r, 1), 0);
}

static void unit_is_in_its_interval(void **state)
{
    struct np_rng r;
    double sum = 0;
    np_rng_init(&r, 6);
    for (int i = 0; i < 10000; i++) {
        double u = np_rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 4880 && sum < 5120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stable_hash_never_changes),
        cmocka_unit_test(the_seeded_hash_is_siphash_1_3),
        cmocka_unit_test(the_mix_is_a_permutation_with_no_fixed_pattern),
        cmocka_unit_test(a_seed_gives_the_same_numbers_again),
        cmocka_unit_test(below_is_even_and_in_range),
        cmocka_unit_test(unit_is_in_its_interval),
    };
    return cmocka_run_group_tests_name("base.hash", tests, NULL, NULL);
}
