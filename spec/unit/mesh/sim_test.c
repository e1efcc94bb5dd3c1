/* The simulator: against queueing theory, and each thing that it says it models. */
#include "mesh_helpers.h"

#include <math.h>

#include "mesh/sim.h"
#include "mesh/sim_queue.h"

enum { SERVERS = 1000 };

/* A scenario in one place; tests change what they are about. */
struct world {
    struct np_sim_server_options servers[SERVERS];
    char names[SERVERS][32];
    struct np_sim_segment segment;
    struct np_sim_class class_;
    struct np_sim_options o;
};

/* n servers of mean 10 ms (exponential), one at a time, queues without end; plain `policy`. */
static struct world *world_new(const char *policy, size_t n, double rate, double seconds)
{
    struct world *w = np_calloc(1, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++) {
        snprintf(w->names[i], sizeof w->names[i], "e%zu", i + 1);
        w->servers[i] = (struct np_sim_server_options){
            .name = w->names[i],
            .weight = 1,
            .service = {.kind = NP_DIST_EXPONENTIAL, .a = 10e6},
            .servers = 1,
            .queue = UINT32_MAX,
            .reject_status = 503,
        };
    }
    w->segment = (struct np_sim_segment){0, rate, rate};
    w->class_ = (struct np_sim_class){
        .share = 1, .cost = {.a = 1}, .priority = NP_PRIORITY_NORMAL, .safe = true};
    w->o = (struct np_sim_options){
        .seed = 1,
        .servers = w->servers,
        .nservers = n,
        .callers = 1,
        .duration_ns = np_seconds(seconds),
        .buckets = 20,
        .load = {.segments = &w->segment,
                 .nsegments = 1,
                 .classes = &w->class_,
                 .nclasses = 1,
                 .timeout_ns = 100 * S},
    };
    np_cluster_plain(&w->o.cluster, np_balancer_find(policy));
    return w;
}

static struct np_sim *run(struct world *w)
{
    struct np_sim *s = NULL;
    struct neap_errinfo info = {0};
    bool over = false;
    if (np_sim_new(&w->o, &s, &info)) fail_msg("%s", info.message);
    while (!over)
        assert_ok(np_sim_step(s, 100000, &over));
    return s;
}

static void done(struct world *w, struct np_sim *s)
{
    np_sim_free(s);
    np_free(w);
}

static uint64_t errors_of(const struct np_sim_totals *t)
{
    uint64_t n = 0;
    for (int i = 0; i < NP_SIM_ERRORS; i++)
        n += t->errors[i];
    return n;
}

static void assert_near(double got, double wanted, double share)
{
    if (fabs(got - wanted) > share * fabs(wanted)) {
        fail_msg("%g is not within %g %% of %g", got, share * 100, wanted);
    }
}

/* --- parts */

static void draws_have_the_means_they_say(void **state)
{
    (void)state;
    static const double samples[] = {1, 2, 4, 9};
    const struct np_dist dists[] = {
        {.kind = NP_DIST_CONSTANT, .a = 3},
        {.kind = NP_DIST_UNIFORM, .a = 1, .b = 5},
        {.kind = NP_DIST_NORMAL, .a = 1, .b = 2}, /* much of it cut off */
        {.kind = NP_DIST_LOGNORMAL, .a = 2, .b = 0.5},
        {.kind = NP_DIST_EXPONENTIAL, .a = 7},
        {.kind = NP_DIST_PARETO, .a = 2, .b = 3},
        {.kind = NP_DIST_PARETO, .a = 2, .b = 1.5, .c = 20},
        {.kind = NP_DIST_EMPIRICAL, .values = samples, .nvalues = 4},
        {.kind = NP_DIST_CONSTANT, .a = 1, .tail_share = 0.1, .tail_factor = 11},
    };
    for (size_t i = 0; i < sizeof dists / sizeof *dists; i++) {
        struct np_rng rng;
        double sum = 0;
        np_rng_init(&rng, 5);
        assert_true(np_dist_ok(&dists[i]));
        for (int k = 0; k < 200000; k++)
            sum += np_dist_draw(&dists[i], &rng);
        assert_near(sum / 200000, np_dist_mean(&dists[i]), 0.02);
    }
    assert_near(np_dist_mean(&dists[8]), 2, 1e-9);
}

static void distributions_out_of_range_are_refused(void **state)
{
    (void)state;
    static const double falling[] = {2, 1};
    const struct np_dist bad[] = {
        {.kind = NP_DIST_CONSTANT, .a = -1},
        {.kind = NP_DIST_CONSTANT, .a = NAN},
        {.kind = NP_DIST_UNIFORM, .a = 2, .b = 1},
        {.kind = NP_DIST_PARETO, .a = 1, .b = 1},
        {.kind = NP_DIST_EMPIRICAL, .values = falling, .nvalues = 2},
        {.kind = NP_DIST_EMPIRICAL},
        {.kind = NP_DIST_CONSTANT, .a = 1, .tail_share = 1.5},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(np_dist_ok(&bad[i]));
}

static void quantiles_are_right_within_two_percent(void **state)
{
    (void)state;
    static struct np_sim_hist h;
    for (int64_t i = 1; i <= 100000; i++)
        np_sim_hist_add(&h, i * 10000);
    assert_near((double)np_sim_hist_at(&h, 0.5), 0.5e9, 0.02);
    assert_near((double)np_sim_hist_at(&h, 0.99), 0.99e9, 0.02);
    assert_int_equal(np_sim_hist_at(&h, 1), 1000000000);
    assert_near(np_sim_hist_mean(&h), 0.500005e9, 1e-9);
    np_sim_hist_add(&h, INT64_MAX); /* what is beyond the end is kept at it */
    assert_true(np_sim_hist_at(&h, 1) > 0);
}

/* Set, moved and cleared at random; those of one moment in the order they were set. */
static void timers_come_in_order(void **state)
{
    (void)state;
    enum { TIMERS = 300 };
    static struct np_sim_timer timers[TIMERS];
    struct np_sim_queue q = {0};
    struct np_rng rng;
    np_rng_init(&rng, 9);
    assert_ok(np_sim_queue_reserve(&q, TIMERS));
    for (int i = 0; i < 5000; i++) {
        struct np_sim_timer *t = &timers[np_rng_below(&rng, TIMERS)];
        if (np_rng_below(&rng, 4) == 0)
            np_sim_queue_clear(&q, t);
        else
            np_sim_queue_set(&q, t, np_rng_below(&rng, 50));
    }
    size_t set = 0, came = 0;
    for (int i = 0; i < TIMERS; i++)
        set += timers[i].place != 0;
    struct np_sim_timer *last = NULL, *t;
    for (; (t = np_sim_queue_pop(&q)) != NULL; last = t, came++) {
        assert_int_equal(t->place, 0);
        if (last == NULL) continue;
        assert_true(t->at > last->at || (t->at == last->at && t->seq > last->seq));
    }
    assert_true(set > 100);
    assert_int_equal(came, set);
    np_sim_queue_fini(&q);
}

/* --- against theory */

/* The mean time in an M/M/c system: Erlang's C formula. */
static double erlang_mean(double lambda, double mean, int c)
{
    double a = lambda * mean;
    double term = 1, sum = 1;
    for (int k = 1; k < c; k++) {
        term *= a / k;
        sum += term;
    }
    double last = term * a / c / (1 - a / c);
    return mean + last / (sum + last) * mean / (c - a);
}

static void one_server_waits_as_m_m_c_does(void **state)
{
    (void)state;
    const struct {
        uint32_t c;
        double rho;
    } cases[] = {{1, 0.5}, {1, 0.8}, {4, 0.7}, {16, 0.9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double rate = cases[i].rho * cases[i].c / 0.010;
        struct world *w = world_new("random", 1, rate, 400000 / rate);
        w->servers[0].servers = cases[i].c;
        struct np_sim *s = run(w);
        const struct np_sim_totals *t = np_sim_totals(s);
        double wanted = erlang_mean(rate, 0.010, (int)cases[i].c);
        assert_near(np_sim_hist_mean(&t->latency) / 1e9, wanted, 0.05);
        assert_near(np_sim_server(s, 0).busy, cases[i].rho, 0.02);
        done(w, s);
    }
}

/* Mitzenmacher's supermarket model: in the limit of many servers the mean time with d = 2 choices
 * is the sum over i of rho^(2^i - 2); by chance alone 1 / (1 - rho). */
static void two_choices_wait_as_the_supermarket_model_says(void **state)
{
    (void)state;
    double rho = 0.9, wanted = 0;
    for (int i = 1; i < 8; i++)
        wanted += pow(rho, pow(2, i) - 2);
    struct world *w = world_new("p2c", SERVERS, rho * SERVERS / 0.010, 5);
    w->o.warmup_ns = 2 * S;
    struct np_sim *s = run(w);
    assert_near(np_sim_hist_mean(&np_sim_totals(s)->latency) / 1e7, wanted, 0.03);
    double p2c = (double)np_sim_hist_at(&np_sim_totals(s)->latency, 0.99);
    done(w, s);

    w = world_new("random", SERVERS, 0.7 * SERVERS / 0.010, 5);
    w->o.warmup_ns = 2 * S;
    s = run(w);
    assert_near(np_sim_hist_mean(&np_sim_totals(s)->latency) / 1e7, 1 / 0.3, 0.05);
    /* At less load than P2C had. */
    assert_true((double)np_sim_hist_at(&np_sim_totals(s)->latency, 0.99) > p2c);
    done(w, s);
}

/* A closed system without waiting: each user comes once in (service + thought). */
static void closed_loops_obey_the_law_of_response_times(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 50, 0, 50);
    w->o.load.closed = true;
    w->o.load.users = 50;
    w->o.load.think = (struct np_dist){.kind = NP_DIST_EXPONENTIAL, .a = 90e6};
    for (int i = 0; i < 50; i++)
        w->servers[i].servers = 50;
    struct np_sim *s = run(w);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_near((double)t->ok / t->span, 50 / 0.100, 0.03);
    done(w, s);
}

static void arrivals_follow_the_rate(void **state)
{
    (void)state;
    const struct np_sim_segment rates[] = {
        {0, 100, 100}, {10 * S, 100, 500}, {20 * S, 0, 0}, {30 * S, 1000, 1000}};
    for (int even = 0; even < 2; even++) {
        struct world *w = world_new("round_robin", 100, 0, 40);
        w->o.load.segments = rates;
        w->o.load.nsegments = 4;
        w->o.load.even = even;
        w->o.buckets = 4;
        struct np_sim *s = run(w);
        double slack = even ? 0.003 : 0.06;
        assert_near(np_sim_point(s, 0)->requests, 1000, even ? 0.003 : 0.15);
        assert_near(np_sim_point(s, 1)->requests, 3000, slack);
        assert_int_equal(np_sim_point(s, 2)->requests, 0);
        assert_near(np_sim_point(s, 3)->requests, 10000, slack);
        done(w, s);
    }
}

/* --- runs */

static void a_run_is_the_same_for_its_seed(void **state)
{
    (void)state;
    uint64_t events[3];
    int64_t p99[3];
    for (int i = 0; i < 3; i++) {
        struct world *w = world_new("p2c", 10, 800, 10);
        w->o.callers = 3;
        w->o.seed = i == 2 ? 2 : 1;
        struct np_sim *s = run(w);
        events[i] = np_sim_totals(s)->events;
        p99[i] = np_sim_totals(s)->latency.max;
        done(w, s);
    }
    assert_int_equal(events[0], events[1]);
    assert_int_equal(p99[0], p99[1]);
    assert_true(events[0] != events[2] || p99[0] != p99[2]);
}

static void policies_meet_the_same_users(void **state)
{
    (void)state;
    uint64_t requests[2];
    const char *policies[] = {"p2c", "round_robin"};
    for (int i = 0; i < 2; i++) {
        struct world *w = world_new(policies[i], 10, 800, 10);
        struct np_sim *s = run(w);
        requests[i] = np_sim_totals(s)->requests;
        assert_int_equal(np_sim_totals(s)->ok, requests[i]);
        done(w, s);
    }
    assert_int_equal(requests[0], requests[1]);
}

static void requests_can_be_bounded(void **state)
{
    (void)state;
    struct world *w = world_new("p2c", 10, 800, 100);
    w->o.requests = 1234;
    struct np_sim *s = run(w);
    assert_int_equal(np_sim_totals(s)->requests, 1234);
    assert_true(np_sim_progress(s) == 1);
    done(w, s);
}

static void a_run_may_be_broken_off(void **state)
{
    (void)state;
    struct world *w = world_new("p2c", 10, 800, 100);
    struct np_sim *s = NULL;
    bool over = false;
    w->o.load.retries = 2;
    w->o.load.retry_delay.a = 1e8;
    int64_t live = np_alloc_live();
    assert_ok(np_sim_new(&w->o, &s, NULL));
    assert_ok(np_sim_step(s, 777, &over));
    assert_false(over);
    np_sim_free(s);
    assert_int_equal(np_alloc_live(), live);
    np_free(w);
}

static void want_of_memory_is_survived(void **state)
{
    (void)state;
    struct world *w = world_new("p2c", 5, 400, 1);
    int64_t live = np_alloc_live();
    w->o.callers = 2;
    for (uint64_t n = 1;; n++) {
        struct np_sim *s = NULL;
        bool over = false;
        np_alloc_fail_at(n);
        enum neap_err err = np_sim_new(&w->o, &s, NULL);
        while (err == NEAP_OK && !over)
            err = np_sim_step(s, 1000, &over);
        int failed = np_alloc_did_fail();
        np_alloc_fail_at(0);
        np_sim_free(s);
        assert_int_equal(np_alloc_live(), live);
        if (!failed) break;
        assert_true(err == NEAP_ENOMEM || err == NEAP_OK);
    }
    np_free(w);
}

static void nonsense_is_refused_with_words(void **state)
{
    (void)state;
    struct neap_errinfo info = {0};
    struct np_sim *s = NULL;
    static const uint32_t nobody = 7;
    const struct np_sim_change change = {.at = 0, .until = S, .servers = &nobody, .nservers = 1};
    struct world *w = world_new("p2c", 5, 400, 1);
    w->o.changes = &change;
    w->o.nchanges = 1;
    assert_int_equal(np_sim_new(&w->o, &s, &info), NEAP_EINVAL);
    assert_string_equal(info.message, "change 1: there is no such endpoint");
    w->o.nchanges = 0;
    w->o.load.timeout_ns = 0;
    assert_int_equal(np_sim_new(&w->o, &s, &info), NEAP_EINVAL);
    assert_string_equal(info.message, "load: no time-out");
    np_free(w);
}

/* --- what servers suffer */

static struct np_sim *run_with(struct world *w, struct np_sim_change change, uint32_t server)
{
    change.servers = &server;
    change.nservers = 1;
    if (change.until == 0) change.until = INT64_MAX;
    w->o.changes = &change;
    w->o.nchanges = 1;
    return run(w);
}

static void a_black_hole_takes_its_share_to_the_time_out(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 10, 500, 20);
    w->o.load.timeout_ns = S / 2;
    struct np_sim *s = run_with(w, (struct np_sim_change){.black_hole = 1}, 3);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_near((double)t->errors[NP_SIM_TIMEOUT] / (double)t->requests, 0.1, 0.02);
    assert_int_equal(t->ok + errors_of(t), t->requests);
    assert_near((double)np_sim_hist_at(&t->latency, 0.95), 0.5e9, 0.02);
    assert_true(np_sim_hist_at(&t->success, 0.999) < S / 2);
    done(w, s);
}

static void errors_and_refusals_are_counted_by_kind(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 4, 200, 20);
    struct np_sim *s = run_with(w, (struct np_sim_change){.error_rate = 0.5, .error_ns = 1}, 0);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_near((double)t->errors[NP_SIM_STATUS] / (double)t->requests, 0.125, 0.1);
    done(w, s);

    w = world_new("round_robin", 4, 200, 20);
    w->servers[1].rtt_ns = S / 1000;
    s = run_with(w, (struct np_sim_change){.refuse = 1}, 1);
    t = np_sim_totals(s);
    assert_near((double)t->errors[NP_SIM_REFUSED] / (double)t->requests, 0.25, 0.02);
    assert_int_equal(np_sim_server(s, 1).served, 0);
    done(w, s);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 1, 200, 20); /* twice what it can do */
    w->servers[0].queue = 10;
    struct np_sim *s = run(w);
    const struct np_sim_totals *t = np_sim_totals(s);
    /* M/M/1/11 with rho 2: almost every second one is lost. */
    assert_near((double)t->errors[NP_SIM_FULL] / (double)t->requests, 0.5, 0.03);
    assert_int_equal(np_sim_server(s, 0).queued_most, 10);
    assert_near(np_sim_server(s, 0).busy, 1, 0.02);
    done(w, s);
}

static void slowness_comes_on_gradually_and_goes(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 1, 5, 40);
    w->servers[0].service = (struct np_dist){.kind = NP_DIST_CONSTANT, .a = 1e6};
    w->o.buckets = 4;
    w->o.load.even = true;
    struct np_sim_change c = {.at = 10 * S, .until = 30 * S, .slow = 21, .ramp_ns = 10 * S};
    struct np_sim *s = run_with(w, c, 0);
    double means[4];
    for (size_t i = 0; i < 4; i++)
        means[i] = np_sim_hist_mean(&np_sim_point(s, i)->latency) / 1e6;
    assert_near(means[0], 1, 0.01);
    assert_near(means[1], 11, 0.05);
    assert_near(means[2], 21, 0.01);
    assert_near(means[3], 1, 0.01);
    done(w, s);
}

static void a_restart_breaks_what_is_in_flight_and_is_cold(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 1, 100, 30);
    w->servers[0].service = (struct np_dist){.kind = NP_DIST_CONSTANT, .a = 100e6};
    w->servers[0].servers = 100;
    w->o.buckets = 30;
    w->o.load.even = true;
    struct np_sim_change c = {.at = 10 * S + S / 100 / 2,
                              .until = 15 * S,
                              .restart = true,
                              .cold_ns = 10 * S,
                              .cold_slow = 3};
    struct np_sim *s = run_with(w, c, 0);
    const struct np_sim_totals *t = np_sim_totals(s);
    /* Ten were in it; five seconds' worth were refused. */
    assert_in_range(t->errors[NP_SIM_REFUSED], 505, 513);
    assert_near(np_sim_hist_mean(&np_sim_point(s, 15)->latency) / 1e6, 290, 0.03);
    assert_near(np_sim_hist_mean(&np_sim_point(s, 20)->latency) / 1e6, 190, 0.03);
    assert_near(np_sim_hist_mean(&np_sim_point(s, 28)->latency) / 1e6, 100, 0.01);
    done(w, s);
}

static void servers_leave_and_join_the_set(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 3, 300, 30);
    w->o.buckets = 3;
    w->o.discovery_ns = S / 10;
    struct np_sim_change c = {.at = 10 * S, .until = 20 * S, .leave = true};
    struct np_sim *s = run_with(w, c, 2);
    assert_near(np_sim_server_load(s, 2, 0), 1000, 0.1);
    assert_in_range(np_sim_server_load(s, 2, 1), 1, 30); /* until it was known */
    assert_near(np_sim_server_load(s, 2, 2), 1000, 0.1);
    assert_int_equal(np_sim_totals(s)->ok, np_sim_totals(s)->requests);
    done(w, s);
}

static void load_slows_a_server_that_contends(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 1, 0, 20);
    w->o.load.closed = true;
    w->o.load.users = 4;
    w->servers[0].servers = 4;
    w->servers[0].contention = 1;
    w->servers[0].service = (struct np_dist){.kind = NP_DIST_CONSTANT, .a = 10e6};
    struct np_sim *s = run(w);
    /* With three others in it: 1 + 3/4 times as long. */
    assert_near((double)np_sim_hist_at(&np_sim_totals(s)->latency, 0.9), 17.5e6, 0.03);
    done(w, s);
}

static void users_call_again(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 2, 100, 20);
    w->o.load.retries = 3;
    w->o.load.retry_delay = (struct np_dist){.kind = NP_DIST_CONSTANT, .a = 50e6};
    struct np_sim *s = run_with(w, (struct np_sim_change){.refuse = 1}, 0);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_true(t->calls > t->requests);
    assert_true((double)t->ok / (double)t->requests > 0.9);
    assert_near((double)t->calls / (double)t->requests, 1.9, 0.06);
    done(w, s);
}

/* Most servers do not notice that nobody waits any more. */
static void abandoned_work_is_done_unless_the_server_cancels(void **state)
{
    (void)state;
    uint64_t wasted[2], ok[2];
    for (int i = 0; i < 2; i++) {
        struct world *w = world_new("round_robin", 1, 150, 20);
        w->o.load.timeout_ns = S / 10;
        w->servers[0].cancels = i == 1;
        struct np_sim *s = run(w);
        wasted[i] = np_sim_totals(s)->wasted;
        ok[i] = np_sim_totals(s)->ok;
        done(w, s);
    }
    assert_true(wasted[0] > 1500);
    assert_true(wasted[1] < wasted[0] / 2);
    assert_true(ok[1] > 10 * ok[0]);
}

static void zones_cost_time(void **state)
{
    (void)state;
    static const char *const zones[] = {"a"};
    struct world *w = world_new("round_robin", 2, 10, 20);
    w->servers[0].zone = "a";
    w->servers[1].zone = "b";
    w->servers[0].service = w->servers[1].service = (struct np_dist){.a = 1e6};
    w->o.caller_zones = zones;
    w->o.ncaller_zones = 1;
    w->o.zone_rtt_ns = 30 * NP_NS_PER_MS;
    struct np_sim *s = run(w);
    assert_int_equal(np_sim_hist_at(&np_sim_totals(s)->latency, 1), 31000000);
    assert_near((double)np_sim_hist_at(&np_sim_totals(s)->latency, 0.4), 1e6, 0.02);
    done(w, s);
}

/* --- callers */

static enum neap_err pick_third(void *arg, struct np_sim *s, size_t caller,
                                const struct np_call *call, struct np_endpoint **out)
{
    unsigned *asked = arg;
    (void)call;
    if (++*asked % 10 == 0) return NEAP_EAGAIN;
    struct np_selector *selector = np_cluster_selector(np_sim_cluster(s, caller));
    *out = np_selector_usable(selector, np_sim_now(s))->endpoints[2];
    return NEAP_OK;
}

static void a_hook_picks_and_may_ask_for_help(void **state)
{
    (void)state;
    unsigned asked = 0;
    struct world *w = world_new("round_robin", 4, 50, 20);
    w->o.hooks = (struct np_sim_hooks){.arg = &asked, .pick = pick_third};
    struct np_sim *s = run(w);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_int_equal(asked, t->requests);
    assert_int_equal(t->policy_faults, asked / 10);
    assert_near((double)np_sim_server(s, 2).attempts / (double)t->requests, 0.925, 0.02);
    done(w, s);
}

/* A plain cluster tries once; the default one ejects and tries elsewhere. */
static void the_defaults_eject_and_retry(void **state)
{
    (void)state;
    struct world *w = world_new("round_robin", 10, 200, 30);
    np_cluster_defaults(&w->o.cluster);
    w->o.cluster.policy = np_balancer_find("round_robin"); /* peak_ewma would go round it */
    struct np_sim *s = run_with(w, (struct np_sim_change){.at = 5 * S, .refuse = 1}, 4);
    const struct np_sim_totals *t = np_sim_totals(s);
    assert_int_equal(t->ok, t->requests);
    assert_true(t->retries >= 5);
    assert_in_range(t->ejections, 1, 3);
    assert_int_equal(t->ejections_right, t->ejections);
    assert_true(np_sim_server(s, 4).attempts < np_sim_server(s, 5).attempts / 2);
    assert_true(np_sim_point(s, 19)->limit > 0);
    done(w, s);
}

/* Workers of one process learn together; processes do not. */
static void callers_share_only_when_told(void **state)
{
    (void)state;
    uint64_t refused[2];
    for (int shared = 0; shared < 2; shared++) {
        struct world *w = world_new("round_robin", 10, 400, 20);
        np_cluster_defaults(&w->o.cluster);
        w->o.cluster.policy = np_balancer_find("round_robin");
        w->o.callers = 8;
        w->o.shared = shared;
        struct np_sim *s = run_with(w, (struct np_sim_change){.at = S, .refuse = 1}, 4);
        refused[shared] = np_sim_server(s, 4).refused;
        done(w, s);
    }
    assert_true(refused[0] > 3 * refused[1]);
}

static void ten_thousand_servers_are_no_problem(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct np_sim_server_options *servers = np_calloc(MANY, sizeof *servers);
    assert_non_null(servers);
    struct world *w = world_new("p2c", 1, 10000, 2);
    for (int i = 0; i < MANY; i++)
        servers[i] = w->servers[0];
    w->o.servers = servers;
    w->o.nservers = MANY;
    struct np_sim *s = run(w);
    assert_int_equal(np_sim_totals(s)->ok, np_sim_totals(s)->requests);
    assert_true(np_sim_totals(s)->requests > 19000);
    done(w, s);
    np_free(servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_have_the_means_they_say),
        cmocka_unit_test(distributions_out_of_range_are_refused),
        cmocka_unit_test(quantiles_are_right_within_two_percent),
        cmocka_unit_test(timers_come_in_order),
        cmocka_unit_test(one_server_waits_as_m_m_c_does),
        cmocka_unit_test(two_choices_wait_as_the_supermarket_model_says),
        cmocka_unit_test(closed_loops_obey_the_law_of_response_times),
        cmocka_unit_test(arrivals_follow_the_rate),
        cmocka_unit_test(a_run_is_the_same_for_its_seed),
        cmocka_unit_test(policies_meet_the_same_users),
        cmocka_unit_test(requests_can_be_bounded),
        cmocka_unit_test(a_run_may_be_broken_off),
        cmocka_unit_test(want_of_memory_is_survived),
        cmocka_unit_test(nonsense_is_refused_with_words),
        cmocka_unit_test(a_black_hole_takes_its_share_to_the_time_out),
        cmocka_unit_test(errors_and_refusals_are_counted_by_kind),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(slowness_comes_on_gradually_and_goes),
        cmocka_unit_test(a_restart_breaks_what_is_in_flight_and_is_cold),
        cmocka_unit_test(servers_leave_and_join_the_set),
        cmocka_unit_test(load_slows_a_server_that_contends),
        cmocka_unit_test(users_call_again),
        cmocka_unit_test(abandoned_work_is_done_unless_the_server_cancels),
        cmocka_unit_test(zones_cost_time),
        cmocka_unit_test(a_hook_picks_and_may_ask_for_help),
        cmocka_unit_test(the_defaults_eject_and_retry),
        cmocka_unit_test(callers_share_only_when_told),
        cmocka_unit_test(ten_thousand_servers_are_no_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
