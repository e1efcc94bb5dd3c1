/* Outlier detection: each detector, how long ejections are, how many may be, trials, shadow. */
#include "np_test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/outlier.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS

static struct np_snapshot *fleet(size_t n)
{
    struct np_endpoint *e[64];
    struct np_snapshot *set;
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.0.0.%zu:80", i + 1);
        struct np_endpoint_desc d = {.id = address, .service = "s", .address = address};
        assert_ok(np_endpoint_new(&d, NULL, &e[i], NULL));
    }
    assert_ok(np_snapshot_new(e, n, 0, &set));
    for (size_t i = 0; i < n; i++)
        np_endpoint_unref(e[i]);
    return set;
}

static struct np_outlier *make(const struct np_outlier_options *opts)
{
    struct np_outlier *o;
    assert_ok(np_outlier_new(opts, 1, &o));
    return o;
}

static const struct np_result ok = {.outcome = NP_OUTCOME_OK, .latency_ns = 1000};
static const struct np_result server = {
    .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_SERVER, .latency_ns = 1000};
static const struct np_result gateway = {
    .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_GATEWAY, .latency_ns = 1000};
static const struct np_result local = {
    .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_LOCAL, .latency_ns = -1};
static const struct np_result overload = {
    .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_OVERLOAD, .latency_ns = 1000};
static const struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = 1000};

/* A request as a selector and a cluster would end it. */
static enum np_ejection request(struct np_outlier *o, struct np_snapshot *set, size_t i,
                                const struct np_result *r, int64_t now)
{
    struct np_endpoint *e = set->endpoints[i];
    bool trial = np_endpoint_availability(e, now) == NP_TRIAL && np_endpoint_try(e);
    np_endpoint_begin(e);
    np_endpoint_end(e, r, now);
    enum np_ejection why = np_outlier_observe(o, set, e, trial, r, now);
    if (trial) atomic_store(&e->stats->on_trial, false);
    return why;
}

static void requests(struct np_outlier *o, struct np_snapshot *set, size_t i, unsigned n,
                     const struct np_result *r, int64_t now)
{
    for (unsigned k = 0; k < n; k++)
        (void)request(o, set, i, r, now);
}

static int64_t until(const struct np_snapshot *set, size_t i)
{
    return atomic_load(&set->endpoints[i]->stats->ejected_until);
}

static bool is_out(const struct np_snapshot *set, size_t i, int64_t now)
{
    return np_endpoint_availability(set->endpoints[i], now) != NP_AVAILABLE;
}

static size_t out(const struct np_snapshot *set, int64_t now)
{
    size_t n = 0;
    for (size_t i = 0; i < set->len; i++)
        n += is_out(set, i, now);
    return n;
}

/* --- failures in a row */

static void five_in_a_row_of_each_kind(void **state)
{
    static const struct {
        const struct np_result *r;
        enum np_ejection why;
    } kinds[] = {{&server, NP_EJECT_CONSECUTIVE_5XX},
                 {&gateway, NP_EJECT_GATEWAY_FAILURE},
                 {&local, NP_EJECT_LOCAL_FAILURE}};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct np_snapshot *set = fleet(10);
        struct np_outlier *o = make(NULL);
        requests(o, set, 0, 4, kinds[k].r, S);
        assert_false(is_out(set, 0, S));
        requests(o, set, 0, 1, &ok, S);
        requests(o, set, 0, 4, kinds[k].r, S);
        requests(o, set, 0, 9, &canceled, S);
        assert_false(is_out(set, 0, S));
        assert_int_equal(request(o, set, 0, kinds[k].r, S), kinds[k].why);
        assert_int_equal(until(set, 0), 31 * S);
        assert_int_equal(np_endpoint_availability(set->endpoints[0], 31 * S - 1), NP_UNAVAILABLE);
        assert_int_equal(np_endpoint_availability(set->endpoints[0], 31 * S), NP_TRIAL);
        assert_int_equal(np_outlier_counters(o).ejected[kinds[k].why], 1);
        assert_int_equal(out(set, S), 1);
        np_outlier_unref(o);
        np_snapshot_unref(set);
    }
}

static void mixed_failures_count_as_5xx_and_overload_as_none(void **state)
{
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    (void)state;
    requests(o, set, 0, 2, &server, S);
    requests(o, set, 0, 2, &local, S);
    assert_int_equal(request(o, set, 0, &server, S), NP_EJECT_CONSECUTIVE_5XX);
    requests(o, set, 1, 50, &overload, S);
    assert_false(is_out(set, 1, S));
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void zero_switches_a_detector_off(void **state)
{
    struct np_outlier_options opts = np_outlier_defaults;
    struct np_snapshot *set = fleet(10);
    (void)state;
    opts.consecutive_5xx = opts.consecutive_gateway_failure = opts.consecutive_local_failure = 0;
    struct np_outlier *o = make(&opts);
    requests(o, set, 0, 100, &local, S);
    assert_int_equal(out(set, S), 0);
    opts.consecutive_local_failure = 3;
    assert_ok(np_outlier_set(o, &opts));
    assert_int_equal(request(o, set, 0, &local, S), NP_EJECT_LOCAL_FAILURE);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

/* --- how long, and how many */

static void each_ejection_is_longer_up_to_the_longest(void **state)
{
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    int64_t now = S;
    (void)state;
    requests(o, set, 0, 5, &server, now);
    for (int n = 2; n <= 12; n++) {
        now = until(set, 0);
        assert_int_equal(request(o, set, 0, &server, now), NP_EJECT_TRIAL_FAILED);
        assert_int_equal(until(set, 0) - now, (n < 10 ? n * 30 : 300) * S);
    }
    assert_int_equal(np_outlier_counters(o).ejected[NP_EJECT_TRIAL_FAILED], 11);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void a_trial_that_goes_well_readmits(void **state)
{
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    (void)state;
    requests(o, set, 0, 5, &server, S);
    requests(o, set, 0, 1, &canceled, 31 * S); /* says nothing */
    assert_int_equal(np_endpoint_availability(set->endpoints[0], 31 * S), NP_TRIAL);
    requests(o, set, 0, 1, &ok, 31 * S);
    assert_int_equal(np_endpoint_availability(set->endpoints[0], 31 * S), NP_AVAILABLE);
    assert_int_equal(atomic_load(&set->endpoints[0]->stats->since_ns), 31 * S);
    assert_int_equal(np_outlier_counters(o).readmitted, 1);
    requests(o, set, 0, 4, &server, 32 * S); /* a new row */
    assert_false(is_out(set, 0, 32 * S));
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void late_failures_of_an_ejected_one_make_it_no_longer(void **state)
{
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    (void)state;
    requests(o, set, 0, 20, &server, S);
    assert_int_equal(until(set, 0), 31 * S);
    assert_int_equal(atomic_load(&set->endpoints[0]->stats->ejections), 1);
    /* Nor does a success that began before end it. */
    requests(o, set, 0, 5, &ok, 2 * S);
    assert_true(is_out(set, 0, 2 * S));
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void each_good_interval_forgives_one(void **state)
{
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    atomic_uint *n = &set->endpoints[0]->stats->ejections;
    int64_t now = S;
    (void)state;
    np_outlier_tick(o, set, now);
    requests(o, set, 0, 5, &server, now);
    now = until(set, 0);
    requests(o, set, 0, 1, &server, now);
    assert_int_equal(atomic_load(n), 2);
    np_outlier_tick(o, set, now); /* it is out: nothing to forgive */
    assert_int_equal(atomic_load(n), 2);
    now = until(set, 0);
    requests(o, set, 0, 1, &ok, now);
    np_outlier_tick(o, set, now + S); /* it was well for a second */
    assert_int_equal(atomic_load(n), 2);
    np_outlier_tick(o, set, now + 11 * S);
    assert_int_equal(atomic_load(n), 1);
    np_outlier_tick(o, set, now + 12 * S); /* no interval has passed */
    assert_int_equal(atomic_load(n), 1);
    np_outlier_tick(o, set, now + 21 * S);
    assert_int_equal(atomic_load(n), 0);
    np_outlier_tick(o, set, now + 31 * S);
    assert_int_equal(atomic_load(n), 0);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void no_more_than_a_share_but_one_always(void **state)
{
    static const struct {
        size_t n;
        double percent;
        size_t out;
    } cases[] = {{5, 10, 1}, {10, 0, 1}, {20, 10, 2}, {29, 10, 2}, {30, 10, 3}, {4, 100, 4}};
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct np_outlier_options opts = np_outlier_defaults;
        struct np_snapshot *set = fleet(cases[k].n);
        opts.max_ejection_percent = cases[k].percent;
        struct np_outlier *o = make(&opts);
        for (size_t i = 0; i < set->len; i++)
            requests(o, set, i, 5, &local, S);
        assert_int_equal(out(set, S), cases[k].out);
        assert_int_equal(np_outlier_counters(o).spared, cases[k].n - cases[k].out);
        /* Who is on trial still counts, or a quiet service would lose one after the other. */
        for (size_t i = 0; i < set->len; i++) {
            if (!is_out(set, i, S)) requests(o, set, i, 5, &local, 1000 * S);
        }
        assert_int_equal(out(set, 1000 * S), cases[k].out);
        np_outlier_unref(o);
        np_snapshot_unref(set);
    }
}

static void jitter_comes_on_top(void **state)
{
    struct np_outlier_options opts = np_outlier_defaults;
    struct np_snapshot *set = fleet(40);
    int64_t least = INT64_MAX, most = 0;
    (void)state;
    opts.max_jitter_ns = 10 * S;
    opts.max_ejection_percent = 100;
    struct np_outlier *o = make(&opts);
    for (size_t i = 0; i < set->len; i++) {
        requests(o, set, i, 5, &local, 0);
        if (until(set, i) < least) least = until(set, i);
        if (until(set, i) > most) most = until(set, i);
    }
    assert_in_range(least, 30 * S, 32 * S);
    assert_in_range(most, 38 * S, 40 * S);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

/* --- Retry-After */

static void retry_after_is_taken_at_its_word(void **state)
{
    struct np_outlier_options opts = np_outlier_defaults;
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(NULL);
    struct np_result busy = gateway;
    (void)state;
    busy.retry_after_ns = 7 * S;
    assert_int_equal(request(o, set, 0, &busy, S), NP_EJECT_RETRY_AFTER);
    assert_int_equal(until(set, 0), 8 * S);
    assert_int_equal(atomic_load(&set->endpoints[0]->stats->ejections), 0);
    assert_int_equal(request(o, set, 1, &busy, S), NP_EJECT_NONE); /* one is out of ten */
    assert_int_equal(np_outlier_counters(o).spared, 1);
    requests(o, set, 0, 1, &ok, 8 * S);
    busy.retry_after_ns = 10000 * S;
    assert_int_equal(request(o, set, 0, &busy, 8 * S), NP_EJECT_RETRY_AFTER);
    assert_int_equal(until(set, 0), 308 * S);
    np_endpoint_readmit(set->endpoints[0], 9 * S);

    busy.fault = NP_FAULT_OVERLOAD; /* the service's limit, not the host's */
    assert_int_equal(request(o, set, 0, &busy, 9 * S), NP_EJECT_NONE);
    busy.fault = NP_FAULT_GATEWAY;
    opts.retry_after = false;
    assert_ok(np_outlier_set(o, &opts));
    assert_int_equal(request(o, set, 0, &busy, 9 * S), NP_EJECT_NONE);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

/* --- what an interval brings */

/* Each endpoint gets `n` requests of which so many percent fail, one here and one there. */
static void traffic(struct np_outlier *o, struct np_snapshot *set, const int *failing, unsigned n,
                    int64_t now)
{
    for (size_t i = 0; i < set->len; i++) {
        for (unsigned k = 0; k < n; k++) {
            bool fails = k * (unsigned)failing[i] / 100 != (k + 1) * (unsigned)failing[i] / 100;
            (void)request(o, set, i, fails ? &server : &ok, now);
        }
    }
}

/* Without failures in a row, whose detectors would be first. */
static struct np_outlier_options by_interval(void)
{
    struct np_outlier_options opts = np_outlier_defaults;
    opts.consecutive_5xx = opts.consecutive_gateway_failure = opts.consecutive_local_failure = 0;
    opts.max_ejection_percent = 100;
    return opts;
}

static void one_that_does_worse_than_the_others(void **state)
{
    static const int failing[10] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 40};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(&opts);
    (void)state;
    np_outlier_tick(o, set, S);
    traffic(o, set, failing, 100, S);
    np_outlier_tick(o, set, 11 * S - 1);
    assert_int_equal(out(set, 11 * S), 0);
    np_outlier_tick(o, set, 11 * S);
    assert_true(is_out(set, 9, 11 * S));
    assert_int_equal(out(set, 11 * S), 1);
    assert_int_equal(np_outlier_counters(o).ejected[NP_EJECT_SUCCESS_RATE], 1);
    assert_int_equal(np_outlier_counters(o).intervals, 1);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void success_rate_needs_hosts_and_requests(void **state)
{
    static const int failing[10] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 40};
    struct np_outlier_options opts = by_interval();
    (void)state;
    opts.success_rate_stdev_factor = 1.0;
    for (int k = 0; k < 3; k++) {
        static const size_t hosts[] = {4, 10, 10};
        static const unsigned volume[] = {100, 99, 100};
        struct np_snapshot *set = fleet(hosts[k]);
        struct np_outlier *o = make(&opts);
        np_outlier_tick(o, set, S);
        traffic(o, set, failing + 10 - hosts[k], volume[k], S);
        np_outlier_tick(o, set, 11 * S);
        assert_int_equal(out(set, 11 * S), k == 2 ? 1 : 0);
        np_outlier_unref(o);
        np_snapshot_unref(set);
    }
}

static void equals_are_no_outliers(void **state)
{
    static const int failing[10] = {30, 30, 30, 30, 30, 30, 30, 30, 30, 30};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *set = fleet(10);
    struct np_outlier *o = make(&opts);
    (void)state;
    np_outlier_tick(o, set, S);
    for (int k = 1; k < 8; k++) {
        traffic(o, set, failing, 100 + 13 * (unsigned)k, S);
        np_outlier_tick(o, set, (1 + 10 * k) * S);
        assert_int_equal(out(set, (1 + 10 * k) * S), 0);
    }
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void most_requests_fail(void **state)
{
    static const int failing[10] = {85, 84, 85, 0, 0, 86, 0, 0, 0, 100};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *set = fleet(10);
    (void)state;
    opts.success_rate_stdev_factor = 0;
    struct np_outlier *o = make(&opts);
    np_outlier_tick(o, set, S);
    traffic(o, set, failing, 100, S);
    np_outlier_tick(o, set, 11 * S);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(is_out(set, i, 11 * S), failing[i] >= 85);
    assert_int_equal(np_outlier_counters(o).ejected[NP_EJECT_FAILURE_PERCENTAGE], 4);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void the_worst_is_ejected_where_not_all_may_be(void **state)
{
    static const int failing[10] = {90, 95, 90, 0, 0, 100, 0, 0, 0, 90};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *set = fleet(10);
    (void)state;
    opts.max_ejection_percent = 20;
    opts.success_rate_stdev_factor = 0;
    struct np_outlier *o = make(&opts);
    np_outlier_tick(o, set, S);
    traffic(o, set, failing, 100, S);
    np_outlier_tick(o, set, 11 * S);
    assert_true(is_out(set, 5, 11 * S) && is_out(set, 1, 11 * S));
    assert_int_equal(out(set, 11 * S), 2);
    assert_int_equal(np_outlier_counters(o).spared, 3);
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void only_the_interval_counts(void **state)
{
    static const int bad[6] = {100, 0, 0, 0, 0, 0}, good[6] = {0};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *set = fleet(6);
    struct np_outlier *o = make(&opts);
    (void)state;
    traffic(o, set, bad, 1000, S); /* before it begins */
    np_outlier_tick(o, set, S);
    traffic(o, set, good, 100, S);
    np_outlier_tick(o, set, 11 * S);
    assert_int_equal(out(set, 11 * S), 0);
    traffic(o, set, bad, 100, 11 * S);
    np_outlier_tick(o, set, 21 * S);
    assert_true(is_out(set, 0, 21 * S));
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

static void endpoints_that_come_go_and_change_places(void **state)
{
    static const int failing[10] = {0, 0, 0, 0, 0, 0, 0, 100, 100, 100};
    struct np_outlier_options opts = by_interval();
    struct np_snapshot *all = fleet(10), *less = NULL, *turned = NULL;
    struct np_endpoint *back[10];
    struct np_outlier *o = make(&opts);
    (void)state;
    for (size_t i = 0; i < 10; i++)
        back[i] = all->endpoints[9 - i];
    assert_ok(np_snapshot_new(all->endpoints, 8, 1, &less));
    assert_ok(np_snapshot_new(back, 10, 2, &turned));
    np_outlier_tick(o, less, S);
    traffic(o, all, failing, 100, S);
    np_outlier_tick(o, turned, 11 * S);
    assert_true(is_out(all, 7, 11 * S));
    assert_int_equal(out(all, 11 * S), 1); /* the last two are new in the set */
    traffic(o, all, failing, 100, 11 * S);
    np_outlier_tick(o, all, 21 * S);
    assert_int_equal(out(all, 21 * S), 3);
    np_snapshot_unref(less);
    np_snapshot_unref(turned);
    np_snapshot_unref(all);
    less = fleet(3);
    np_outlier_tick(o, less, 31 * S);
    np_outlier_unref(o);
    np_snapshot_unref(less);
}

/* --- shadow mode, and others on the same endpoints */

static void in_shadow_mode_it_counts_and_leaves_all_alone(void **state)
{
    static const int failing[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 95};
    struct np_outlier_options opts = np_outlier_defaults;
    struct np_snapshot *set = fleet(10);
    struct np_result busy = gateway;
    (void)state;
    opts.shadow = true;
    struct np_outlier *shadow = make(&opts), *real = make(NULL);
    busy.retry_after_ns = S;
    np_outlier_tick(shadow, set, S);
    np_outlier_tick(real, set, S);
    requests(shadow, set, 0, 5, &local, S);
    requests(shadow, set, 1, 1, &busy, S);
    traffic(shadow, set, failing, 100, S);
    np_outlier_tick(shadow, set, 11 * S);
    struct np_outlier_counters c = np_outlier_counters(shadow);
    assert_int_equal(c.ejected[NP_EJECT_LOCAL_FAILURE], 1);
    assert_int_equal(c.ejected[NP_EJECT_RETRY_AFTER], 1);
    assert_int_equal(c.ejected[NP_EJECT_SUCCESS_RATE], 1);
    assert_int_equal(out(set, 11 * S), 0);
    /* It has taken nothing from one that acts. */
    np_outlier_tick(real, set, 11 * S);
    assert_true(is_out(set, 9, 11 * S));
    np_outlier_unref(shadow);
    np_outlier_unref(real);
    np_snapshot_unref(set);
}

static void by_hand(void **state)
{
    struct np_snapshot *set = fleet(1);
    struct np_endpoint *e = set->endpoints[0];
    (void)state;
    np_endpoint_eject(e, 10 * S);
    assert_int_equal(np_endpoint_availability(e, 9 * S), NP_UNAVAILABLE);
    assert_int_equal(np_endpoint_availability(e, 10 * S), NP_TRIAL);
    np_endpoint_eject(e, 0); /* which is over at once */
    assert_int_equal(np_endpoint_availability(e, S), NP_TRIAL);
    np_endpoint_readmit(e, S);
    assert_int_equal(np_endpoint_availability(e, S), NP_AVAILABLE);

    np_endpoint_set_healthy(e, false, 2 * S);
    np_endpoint_set_draining(e, true);
    assert_int_equal(np_endpoint_availability(e, 2 * S), NP_UNAVAILABLE);
    np_endpoint_set_healthy(e, true, 3 * S);
    assert_int_equal(np_endpoint_availability(e, 3 * S), NP_UNAVAILABLE);
    np_endpoint_set_draining(e, false);
    assert_int_equal(np_endpoint_availability(e, 3 * S), NP_AVAILABLE);
    assert_int_equal(atomic_load(&e->stats->since_ns), 3 * S);
    np_endpoint_set_healthy(e, true, 9 * S); /* it was so already */
    assert_int_equal(atomic_load(&e->stats->since_ns), 3 * S);
    np_snapshot_unref(set);
}

static void options_out_of_range(void **state)
{
    struct np_outlier *o = NULL;
    (void)state;
#define REFUSED(field, v)                                                      \
    do {                                                                       \
        struct np_outlier_options bad = np_outlier_defaults;                   \
        bad.field = (v);                                                       \
        assert_non_null(strstr(np_outlier_options_problem(&bad), "expected")); \
        assert_err(np_outlier_new(&bad, 1, &o), NEAP_EINVAL);                  \
    } while (0)
    REFUSED(interval_ns, 0);
    REFUSED(base_ejection_ns, 0);
    REFUSED(max_ejection_ns, S);
    REFUSED(max_jitter_ns, -1);
    REFUSED(max_ejection_percent, 101);
    REFUSED(success_rate_stdev_factor, -1);
    REFUSED(failure_percentage_threshold, 100.5);
    assert_null(np_outlier_options_problem(&np_outlier_defaults));
    np_outlier_unref(o);
}

static enum neap_err with_scarce_memory(void *arg)
{
    struct np_snapshot *set = arg;
    struct np_outlier *o = NULL;
    struct np_outlier_options opts = by_interval();
    static const int failing[6] = {100, 0, 0, 0, 0, 0};
    enum neap_err err = np_outlier_new(&opts, 1, &o);
    if (err) return err;
    for (size_t i = 0; i < set->len; i++)
        np_endpoint_readmit(set->endpoints[i], S);
    np_outlier_tick(o, set, S);
    traffic(o, set, failing, 100, S);
    np_outlier_tick(o, set, 11 * S);
    bool judged = is_out(set, 0, 11 * S);
    np_outlier_unref(o);
    return judged ? NEAP_OK : NEAP_ENOMEM;
}

static void survives_scarce_memory(void **state)
{
    struct np_snapshot *set = fleet(6);
    (void)state;
    assert_true(np_test_oom(with_scarce_memory, set) > 0);
    np_snapshot_unref(set);
}

/* --- threads */

#define THREADS 4
#define ROUNDS 10000

struct race {
    struct np_outlier *o;
    struct np_snapshot *set;
    uint64_t seed, ejected;
};

static void *race(void *arg)
{
    struct race *r = arg;
    struct np_rng rng;
    np_rng_init(&rng, r->seed);
    for (int64_t i = 0; i < ROUNDS; i++) {
        int64_t now = (i + 1) * MS;
        size_t at = np_rng_below(&rng, (uint32_t)r->set->len);
        bool fails = at < 8 || np_rng_below(&rng, 10) == 0;
        np_outlier_tick(r->o, r->set, now);
        r->ejected += request(r->o, r->set, at, fails ? &local : &ok, now) != NP_EJECT_NONE;
    }
    return NULL;
}

static void threads_keep_the_share_and_judge_once(void **state)
{
    struct np_outlier_options opts = np_outlier_defaults;
    struct np_snapshot *set = fleet(20);
    pthread_t t[THREADS];
    struct race r[THREADS];
    uint64_t ejected = 0, counted = 0;
    (void)state;
    opts.interval_ns = 100 * MS;
    opts.base_ejection_ns = opts.max_ejection_ns = 50 * MS;
    opts.success_rate_request_volume = opts.failure_percentage_request_volume = 1;
    struct np_outlier *o = make(&opts);
    for (unsigned i = 0; i < THREADS; i++) {
        r[i] = (struct race){o, set, i + 1, 0};
        assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        ejected += r[i].ejected;
    }
    struct np_outlier_counters c = np_outlier_counters(o);
    size_t n = 0;
    for (size_t i = 0; i < set->len; i++)
        n += until(set, i) != 0;
    assert_in_range(n, 1, 2);
    for (int k = 0; k < NP_EJECTIONS; k++)
        counted += c.ejected[k];
    counted -= c.ejected[NP_EJECT_SUCCESS_RATE] + c.ejected[NP_EJECT_FAILURE_PERCENTAGE];
    assert_int_equal(counted, ejected);
    assert_true(c.intervals <= (uint64_t)THREADS * ROUNDS * MS / (100 * MS));
    np_outlier_unref(o);
    np_snapshot_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_in_a_row_of_each_kind),
        cmocka_unit_test(mixed_failures_count_as_5xx_and_overload_as_none),
        cmocka_unit_test(zero_switches_a_detector_off),
        cmocka_unit_test(each_ejection_is_longer_up_to_the_longest),
        cmocka_unit_test(a_trial_that_goes_well_readmits),
        cmocka_unit_test(late_failures_of_an_ejected_one_make_it_no_longer),
        cmocka_unit_test(each_good_interval_forgives_one),
        cmocka_unit_test(no_more_than_a_share_but_one_always),
        cmocka_unit_test(jitter_comes_on_top),
        cmocka_unit_test(retry_after_is_taken_at_its_word),
        cmocka_unit_test(one_that_does_worse_than_the_others),
        cmocka_unit_test(success_rate_needs_hosts_and_requests),
        cmocka_unit_test(equals_are_no_outliers),
        cmocka_unit_test(most_requests_fail),
        cmocka_unit_test(the_worst_is_ejected_where_not_all_may_be),
        cmocka_unit_test(only_the_interval_counts),
        cmocka_unit_test(endpoints_that_come_go_and_change_places),
        cmocka_unit_test(in_shadow_mode_it_counts_and_leaves_all_alone),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(survives_scarce_memory),
        cmocka_unit_test(threads_keep_the_share_and_judge_once),
    };
    return cmocka_run_group_tests_name("mesh.outlier", tests, NULL, NULL);
}
