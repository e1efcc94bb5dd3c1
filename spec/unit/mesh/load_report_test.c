/* ORCA's reports in a header. */
#include "np_test.h"

#include <string.h>

#include "base/hash.h"
#include "mesh/load_report.h"

static bool parse(const char *text, struct np_load_report *out)
{
    return np_load_report_parse(text, strlen(text), out);
}

static void both_forms_are_read(void **state)
{
    static const char *const texts[] = {
        "TEXT cpu_utilization=0.5, rps_fractional=120.5, eps=2",
        "cpu_utilization=0.5,rps_fractional=120.5,eps=2",
        "TEXT mem_utilization=0.9,named_metrics.cpu_utilization=7 ,cpu_utilization = 0.5,\teps=2,"
        "rps_fractional=1.205e2",
        "JSON {\"cpu_utilization\": 0.5, \"rps_fractional\":120.5,\"eps\" : 2, "
        "\"named_metrics\": {\"x\": 1}}",
        "{\"eps\":2,\"rps_fractional\":120.5,\"cpu_utilization\":5e-1}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct np_load_report r = {0};
        assert_true(parse(texts[i], &r));
        assert_true(r.qps == 120.5 && r.eps == 2 && r.utilization == 0.5);
    }
}

static void which_figures_count(void **state)
{
    struct np_load_report r = {0};
    (void)state;
    /* The application's own word goes before the processor's. */
    assert_true(parse("cpu_utilization=0.5,application_utilization=1.2,rps=10", &r));
    assert_true(r.utilization == 1.2 && r.qps == 10 && r.eps == 0);
    assert_true(
        parse("cpu_utilization=0.5,application_utilization=0,rps=10,rps_fractional=11", &r));
    assert_true(r.utilization == 0.5 && r.qps == 11);
}

static void what_says_nothing_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "TEXT",
                                        "cpu_utilization=0.5",
                                        "rps=10",
                                        "cpu_utilization=0,rps=10",
                                        "cpu_utilization=-1,rps=10",
                                        "cpu_utilization=nan,rps=10",
                                        "cpu_utilization=0x1p3,rps=10",
                                        "cpu_utilization=1e99999,rps=10",
                                        "cpu_utilization=,rps=10",
                                        "cpu_utilization=0.5 rps 10",
                                        "BIN CQAAAAAAAOA/"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct np_load_report r = {1, 2, 3};
        assert_false(parse(texts[i], &r));
        assert_true(r.qps == 1 && r.eps == 2 && r.utilization == 3);
    }
    static char longer[NP_LOAD_REPORT_MAX + 64] = "cpu_utilization=0.5,rps=10,";
    struct np_load_report r;
    memset(longer + strlen(longer), ' ', NP_LOAD_REPORT_MAX);
    assert_false(parse(longer, &r));
}

/* Whatever bytes come, it ends, and reads nothing behind them (the sanitizers watch). */
static void any_bytes_are_survived(void **state)
{
    static const char letters[] = "cpu_utilization=rps.:\"{} ,0123456789e-+\t";
    struct np_rng rng;
    (void)state;
    np_rng_init(&rng, 9);
    for (int i = 0; i < 20000; i++) {
        size_t n = np_rng_below(&rng, 60);
        char *text = np_alloc(n);
        struct np_load_report r;
        assert_non_null(text);
        for (size_t k = 0; k < n; k++)
            text[k] = letters[np_rng_below(&rng, sizeof letters - 1)];
        if (np_load_report_parse(text, n, &r)) assert_true(r.qps > 0 && r.utilization > 0);
        np_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_are_read),
        cmocka_unit_test(which_figures_count),
        cmocka_unit_test(what_says_nothing_is_refused),
        cmocka_unit_test(any_bytes_are_survived),
    };
    return cmocka_run_group_tests_name("mesh.load_report", tests, NULL, NULL);
}
