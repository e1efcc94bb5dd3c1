/* base/clock: conversions at their edges, addition without overflow, the fake clock. */
#include "np_test.h"

#include <math.h>

#include "base/clock.h"

static void seconds_are_clamped(void **state)
{
    assert_int_equal(np_seconds(1.5), INT64_C(1500000000));
    assert_int_equal(np_seconds(0.000000001), 1);
    assert_int_equal(np_seconds(0), 0);
    assert_int_equal(np_seconds(-3), 0);
    assert_int_equal(np_seconds(NAN), 0);
    assert_int_equal(np_seconds(INFINITY), NP_TIME_NEVER);
    assert_int_equal(np_seconds(1e300), NP_TIME_NEVER);
    assert_int_equal(np_seconds(-INFINITY), 0);
    assert_true(np_to_seconds(INT64_C(2500000000)) == 2.5);
}

static void adding_does_not_overflow(void **state)
{
    assert_int_equal(np_time_add(5, 7), 12);
    assert_int_equal(np_time_add(5, -7), -2);
    assert_int_equal(np_time_add(INT64_MAX - 1, 2), NP_TIME_NEVER);
    assert_int_equal(np_time_add(NP_TIME_NEVER, -5), NP_TIME_NEVER);
    assert_int_equal(np_time_add(-5, NP_TIME_NEVER), NP_TIME_NEVER);
    assert_int_equal(np_time_add(INT64_MIN, -1), INT64_MIN);
}

static void the_system_clock_does_not_go_back(void **state)
{
    int64_t last = np_clock_now(&np_clock_system);
    for (int i = 0; i < 1000; i++) {
        int64_t now = np_clock_now(&np_clock_system);
        assert_true(now >= last);
        last = now;
    }
    assert_true(np_clock_wall() > INT64_C(1600000000) * NP_NS_PER_SEC);
}

static void a_fake_clock_moves_by_hand(void **state)
{
    struct np_fake_clock fake = {10};
    struct np_clock clock = np_fake_clock_as_clock(&fake);
    assert_int_equal(np_clock_now(&clock), 10);
    fake.now_ns += NP_NS_PER_MS;
    assert_int_equal(np_clock_now(&clock), 1000010);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_are_clamped),
        cmocka_unit_test(adding_does_not_overflow),
        cmocka_unit_test(the_system_clock_does_not_go_back),
        cmocka_unit_test(a_fake_clock_moves_by_hand),
    };
    return cmocka_run_group_tests_name("base.clock", tests, NULL, NULL);
}
