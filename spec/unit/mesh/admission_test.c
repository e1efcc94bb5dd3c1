/* Admission control. */
#include "np_test.h"

#include <math.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/admission.h"

#define S NP_NS_PER_SEC

static struct np_common *make(const struct np_admission_options *o, struct np_admission **out)
{
    struct np_admission_options copy = *o;
    struct np_common *c = NULL;
    assert_ok(np_common_new(&np_admission_kind, &copy, &c, NULL));
    *out = c->object;
    return c;
}

static void end_many(struct np_admission *a, int good, int bad, int64_t now)
{
    for (int i = 0; i < good; i++)
        np_admission_leave(a, true, now);
    for (int i = 0; i < bad; i++)
        np_admission_leave(a, false, now);
}

static void success_lets_all_in(void **state)
{
    struct np_admission *a;
    struct np_common *c = make(&np_admission_defaults, &a);
    (void)state;
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, 0, S)); /* nothing is known */
    end_many(a, 96, 4, S);                                        /* above the threshold */
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, 0, S));
    assert_true(np_admission_counters(a, S).rejection == 0);
    np_common_unref(c);
}

/* The formula of Envoy's documentation. */
static void failures_refuse_by_chance(void **state)
{
    struct np_admission *a;
    struct np_common *c = make(&np_admission_defaults, &a);
    (void)state;
    end_many(a, 500, 500, S);
    double p = (1000 - 500 / 0.95) / 1001;
    struct np_admission_counters k = np_admission_counters(a, S);
    assert_true(fabs(k.rejection - p) < 1e-9);
    assert_true(fabs(k.success_rate - 0.5) < 1e-9);
    assert_false(np_admission_enter(a, NP_PRIORITY_NORMAL, p - 0.001, S));
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, p + 0.001, S));
    assert_true(np_admission_enter(a, NP_PRIORITY_CRITICAL, 0, S));
    end_many(a, 0, 9000, S);
    assert_true(np_admission_counters(a, S).rejection == 0.8); /* some always find out */
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, 0.81, S));
    k = np_admission_counters(a, S);
    assert_int_equal(k.refused, 1);
    assert_int_equal(k.admitted, 3);
    np_common_unref(c);
}

static void what_is_old_does_not_count(void **state)
{
    struct np_admission *a;
    struct np_common *c = make(&np_admission_defaults, &a);
    (void)state;
    end_many(a, 0, 100, 100 * S);
    assert_false(np_admission_enter(a, NP_PRIORITY_NORMAL, 0, 129 * S));
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, 0, 131 * S));
    end_many(a, 1, 0, 130 * S + S / 2); /* in the slot of the failures */
    assert_true(np_admission_counters(a, 131 * S).success_rate == 1);
    np_common_unref(c);
}

static void options_bend_the_curve(void **state)
{
    struct np_admission_options o = np_admission_defaults;
    struct np_admission *a;
    (void)state;
    o.aggression = 2;
    o.min_rate = 10;
    struct np_common *c = make(&o, &a);
    end_many(a, 0, 299, S); /* fewer than ten a second */
    assert_true(np_admission_counters(a, S).rejection == 0);
    end_many(a, 299, 0, S);
    double p = sqrt((598 - 299 / 0.95) / 599);
    assert_true(fabs(np_admission_counters(a, S).rejection - p) < 1e-9);
    o.shadow = true;
    assert_ok(np_common_set(c, &o, NULL));
    assert_true(np_admission_enter(a, NP_PRIORITY_NORMAL, 0, S));
    assert_int_equal(np_admission_counters(a, S).refused, 1);
    np_common_unref(c);
    assert_int_equal(np_alloc_live(), 0);
}

static void what_cannot_be_is_refused(void **state)
{
    struct np_common *c = NULL;
    (void)state;
#define BAD(field, value)                                                         \
    do {                                                                          \
        struct np_admission_options o = np_admission_defaults;                    \
        o.field = (value);                                                        \
        assert_err(np_common_new(&np_admission_kind, &o, &c, NULL), NEAP_EINVAL); \
    } while (0)
    BAD(window_ns, 0);
    BAD(success_threshold, 0);
    BAD(success_threshold, 1.1);
    BAD(aggression, 0);
    BAD(max_rejection, -0.1);
    BAD(max_rejection, (double)NAN);
    BAD(min_rate, -1);
    assert_int_equal(np_alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_lets_all_in),        cmocka_unit_test(failures_refuse_by_chance),
        cmocka_unit_test(what_is_old_does_not_count), cmocka_unit_test(options_bend_the_curve),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests_name("mesh.admission", tests, NULL, NULL);
}
