/* Shares of levels and zones, against the tables of Envoy's documentation. */
#include "mesh_helpers.h"

#include <math.h>

#include "mesh/selector_load.h"

#define PANIC 0.5
#define OVER 1.4

static void assert_share(double is, double should)
{
    if (fabs(is - should) > 0.005) fail_msg("share is %.4f, not %.4f", is, should);
}

/* Two levels of a hundred endpoints each. */
static void check_two(size_t p0, size_t p1, double load0, double load1, bool panic0, bool panic1)
{
    struct np_level_load l[2] = {{.total = 100, .available = p0}, {.total = 100, .available = p1}};
    np_levels_share(l, 2, OVER, PANIC);
    assert_share(l[0].load, load0);
    assert_share(l[1].load, load1);
    assert_int_equal(l[0].panic, panic0);
    assert_int_equal(l[1].panic, panic1);
}

/* "Priority levels", P=0 and P=1, overprovisioning factor 1.4 */
static void two_levels_as_envoy_has_them(void **state)
{
    (void)state;
    check_two(100, 100, 1, 0, false, false);
    check_two(72, 72, 1, 0, false, false);
    check_two(71, 71, 0.994, 0.006, false, false);
    check_two(50, 50, 0.7, 0.3, false, false);
    check_two(25, 100, 0.35, 0.65, false, false);
    check_two(25, 25, 0.5, 0.5, true, true); /* health 35 + 35 < 100, scaled up */
    check_two(0, 100, 0, 1, false, false);
    check_two(5, 65, 0.07 / 0.98, 0.91 / 0.98, true, false);
}

static void nobody_is_available(void **state)
{
    struct np_level_load l[3] = {{.total = 10}, {.total = 30}, {.total = 0}};
    (void)state;
    np_levels_share(l, 3, OVER, PANIC); /* total panic: by numbers */
    assert_share(l[0].load, 0.25);
    assert_share(l[1].load, 0.75);
    assert_true(l[0].panic && l[1].panic && !l[2].panic);
    np_levels_share(l, 3, OVER, 0); /* no panic wanted: nobody gets anything */
    assert_share(l[0].load + l[1].load + l[2].load, 0);
    assert_false(l[0].panic);
}

static void three_levels_spill_one_into_the_next(void **state)
{
    struct np_level_load l[3] = {
        {.total = 10, .available = 5}, {.total = 10, .available = 1}, {.total = 4, .available = 4}};
    (void)state;
    np_levels_share(l, 3, OVER, PANIC);
    assert_share(l[0].load, 0.7);
    assert_share(l[1].load, 0.14);
    assert_share(l[2].load, 0.16);
    assert_false(l[1].panic); /* the others have room for its part */
}

static void one_level_panics_below_the_threshold(void **state)
{
    struct np_level_load l = {.total = 10, .available = 5};
    (void)state;
    np_levels_share(&l, 1, OVER, PANIC);
    assert_false(l.panic);
    assert_share(l.load, 1);
    l.available = 4;
    np_levels_share(&l, 1, OVER, PANIC);
    assert_true(l.panic);
    assert_share(l.load, 1);
}

static void a_zone_keeps_what_it_can_bear(void **state)
{
    struct np_zone_load z = {
        .near_total = 10, .near_available = 10, .far_available = 20, .spill = 0.7};
    (void)state;
    assert_share(np_zone_share(&z), 1);
    z.near_available = 7;
    assert_share(np_zone_share(&z), 1);
    z.near_available = 6;
    assert_share(np_zone_share(&z), 0.6 / 0.7);
    z.near_available = 1;
    assert_share(np_zone_share(&z), 0.1 / 0.7);
    z.near_available = 0;
    assert_share(np_zone_share(&z), 0);
    z.near_available = 1;
    z.far_available = 0;
    assert_share(np_zone_share(&z), 1);
}

/* Envoy's zone aware routing: half of the callers, a third of the endpoints → two thirds stay. */
static void a_zone_with_many_callers_sends_some_elsewhere(void **state)
{
    struct np_zone_load z = {
        .near_total = 10, .near_available = 10, .far_available = 20, .spill = 0.7, .callers = 0.5};
    (void)state;
    assert_share(np_zone_share(&z), 2.0 / 3);
    z.callers = 1.0 / 3;
    assert_share(np_zone_share(&z), 1);
    z.near_available = 5; /* a fifth of what is available, and half of the zone */
    assert_share(np_zone_share(&z), 0.2 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_levels_as_envoy_has_them),
        cmocka_unit_test(nobody_is_available),
        cmocka_unit_test(three_levels_spill_one_into_the_next),
        cmocka_unit_test(one_level_panics_below_the_threshold),
        cmocka_unit_test(a_zone_keeps_what_it_can_bear),
        cmocka_unit_test(a_zone_with_many_callers_sends_some_elsewhere),
    };
    return cmocka_run_group_tests_name("mesh.selector_load", tests, NULL, NULL);
}
