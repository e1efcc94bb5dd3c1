/* Clusters under random events: whatever happens, what was begun is ended, nothing is spent that
 * was not paid in, and threads that share rules and endpoints agree in the end. */
#include "cluster_helpers.h"

#include <pthread.h>

#define OPEN_CALLS 24

/* A call that is under way, with its attempts. */
struct slot {
    bool open;
    struct np_call call;
    struct np_attempt attempts[NP_CALL_ATTEMPTS];
    int64_t not_before;
    bool due; /* a retry was told to start */
};

struct player {
    struct np_cluster *c;
    struct np_rng rng;
    int64_t now;
    struct slot slots[OPEN_CALLS];
    uint64_t admitted, ended, began, finished;
};

static struct np_cluster_options everything(void)
{
    struct np_cluster_options o;
    np_cluster_defaults(&o);
    o.balancer.seed = 7;
    o.outlier.interval_ns = S;
    o.outlier.base_ejection_ns = S;
    o.breaker_on = o.limiter_on = o.hedge.on = true;
    o.breaker.consecutive_failures = 3;
    o.breaker.open_ns = S / 10;
    o.limiter.rate = 100;
    o.hedge.min_samples = 20;
    o.hedge.max = 2;
    o.retry.attempts = 4;
    o.concurrency.initial = 15;
    return o;
}

static struct np_result random_result(struct player *p)
{
    struct np_result r = {.latency_ns = np_rng_below(&p->rng, 50) * MS};
    uint32_t what = np_rng_below(&p->rng, 20);
    if (what < 13) {
        r.outcome = NP_OUTCOME_OK;
    } else if (what < 15) {
        r.outcome = NP_OUTCOME_CANCELED;
    } else {
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = (enum np_fault)np_rng_below(&p->rng, NP_FAULT_OVERLOAD + 1);
        if (np_rng_below(&p->rng, 8) == 0) r.retry_after_ns = 30 * MS;
    }
    return r;
}

static void end_call(struct player *p, struct slot *s, const struct np_result *r)
{
    for (int i = 0; i < s->call.attempts; i++) {
        struct np_result lost = cancellation();
        int64_t at;
        if (s->attempts[i].e == NULL) continue;
        (void)np_cluster_finish(p->c, &s->call, &s->attempts[i], &lost, false, p->now, &at);
        p->finished++;
    }
    assert_int_equal(s->call.inflight, 0);
    np_cluster_end(p->c, &s->call, r, p->now);
    p->ended++;
    s->open = false;
}

static void begin_call(struct player *p, struct slot *s)
{
    s->call = (struct np_call){
        .priority = (enum np_priority)np_rng_below(&p->rng, NP_PRIORITY_CLASSES),
        .safe = np_rng_below(&p->rng, 4) > 0,
        .deadline = np_rng_below(&p->rng, 3) ? p->now + np_rng_below(&p->rng, 300) * MS : 0,
    };
    if (np_cluster_admit(p->c, &s->call, p->now) != NEAP_OK) {
        assert_int_not_equal(s->call.refused_by, NP_RULE_NONE);
        return;
    }
    p->admitted++;
    s->open = s->due = true;
    s->not_before = p->now + s->call.wait_ns;
}

/* The next place, as the machine counts. */
static struct np_attempt *place(struct slot *s)
{
    return &s->attempts[s->call.attempts < NP_CALL_ATTEMPTS ? s->call.attempts : 0];
}

static void start_attempt(struct player *p, struct slot *s)
{
    s->due = false;
    if (np_cluster_start(p->c, &s->call, p->now, place(s)) == NEAP_OK) {
        p->began++;
    } else if (s->call.inflight == 0) {
        end_call(p, s, NULL);
    }
}

static void finish_attempt(struct player *p, struct slot *s)
{
    int i = (int)np_rng_below(&p->rng, s->call.attempts ? s->call.attempts : 1);
    struct np_attempt *a = &s->attempts[i];
    struct np_result r = random_result(p);
    if (i >= s->call.attempts || a->e == NULL) return;
    p->finished++;
    switch (np_cluster_finish(p->c, &s->call, a, &r, np_rng_below(&p->rng, 5) == 0, p->now,
                              &s->not_before)) {
    case NP_CALL_DONE:
        end_call(p, s, &r);
        break;
    case NP_CALL_RETRY:
        assert_int_equal(s->call.inflight, 0);
        assert_true(s->not_before >= p->now);
        assert_true(s->call.deadline == 0 || s->not_before < s->call.deadline);
        s->due = true;
        break;
    case NP_CALL_WAIT:
        assert_true(s->call.inflight > 0);
        break;
    }
}

static void step(struct player *p)
{
    struct slot *s = &p->slots[np_rng_below(&p->rng, OPEN_CALLS)];
    p->now += np_rng_below(&p->rng, 4) * (MS / 2);
    if (!s->open) {
        begin_call(p, s);
    } else if (s->due) {
        if (p->now >= s->not_before) start_attempt(p, s);
    } else if (np_cluster_hedge_at(p->c, &s->call) <= p->now) {
        if (np_cluster_hedge(p->c, &s->call, p->now, place(s)) == NEAP_OK) p->began++;
    } else if (np_rng_below(&p->rng, 50) == 0) {
        end_call(p, s, NULL); /* its caller left */
    } else {
        finish_attempt(p, s);
    }
}

static void play(struct player *p, int steps)
{
    for (int i = 0; i < steps; i++)
        step(p);
    for (int i = 0; i < OPEN_CALLS; i++) {
        if (p->slots[i].open) end_call(p, &p->slots[i], NULL);
    }
    assert_int_equal(p->admitted, p->ended);
    assert_int_equal(p->began, p->finished);
}

static void check_counters(struct player *p)
{
    struct np_cluster_counters n = np_cluster_counters(p->c);
    assert_int_equal(n.attempts, p->began);
    assert_int_equal(n.succeeded + n.failed + n.canceled, p->ended);
    assert_true(n.retries + n.hedges <= n.attempts);
    assert_true(n.hedges_won <= n.hedges);
}

static void check_rules(struct np_cluster *c, uint64_t calls, int64_t span)
{
    const struct np_cluster_rules *r = np_cluster_rules_of(c);
    const struct np_retry_budget *b = np_cluster_rules_budget(r);
    uint64_t spans = (uint64_t)(span / (10 * S)) + 1;
    assert_int_equal(np_concurrency_counters(np_cluster_rules_concurrency(r)).inflight, 0);
    assert_int_equal(np_breaker_counters(np_cluster_rules_breaker(r)).inflight, 0);
    assert_true(atomic_load(&b->withdrawn) <= calls / 5 + 3 * spans);
    assert_int_equal(in_flight(c), 0);
}

static void add_up(struct np_cluster_counters *sum, const struct np_cluster *c)
{
    struct np_cluster_counters n = np_cluster_counters(c);
    sum->succeeded += n.succeeded;
    sum->failed += n.failed;
    sum->canceled += n.canceled;
    sum->retries += n.retries;
    sum->hedges_won += n.hedges_won;
    for (int i = 0; i < NP_RULES; i++)
        sum->refused[i] += n.refused[i];
}

static void whatever_happens_what_was_begun_is_ended(void **state)
{
    struct np_cluster_counters all = {0};
    int64_t live = np_alloc_live();
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct np_cluster_options o = everything();
        struct player p = {.now = S};
        p.c = cluster_make(&o, 1 + seed % 12);
        np_rng_init(&p.rng, seed);
        play(&p, 5000);
        check_counters(&p);
        check_rules(p.c, p.admitted, p.now - S);
        add_up(&all, p.c);
        np_cluster_free(p.c);
    }
    /* And all of it has happened. */
    assert_true(all.succeeded && all.failed && all.canceled && all.hedges_won && all.retries);
    for (int rule = NP_RULE_DEADLINE; rule < NP_RULES; rule++)
        if (rule != NP_RULE_ENDPOINTS && rule != NP_RULE_OUTLIER && all.refused[rule] == 0)
            fail_msg("no %s", np_rule_name((enum np_rule)rule));
    assert_no_leak(live);
}

/* The endpoints come and go meanwhile. */
static void endpoints_may_change_under_calls(void **state)
{
    int64_t live = np_alloc_live();
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct np_cluster_options o = everything();
        struct player p = {.now = S};
        struct np_snapshot *all = set_make(8, NULL);
        p.c = cluster_make(&o, 0);
        np_rng_init(&p.rng, seed);
        for (int i = 0; i < 200; i++) {
            struct np_snapshot *set = set_without(all, np_rng_below(&p.rng, 8));
            assert_ok(np_cluster_update(p.c, set, p.now));
            np_snapshot_unref(set);
            for (int k = 0; k < 20; k++)
                step(&p);
        }
        play(&p, 0);
        for (size_t i = 0; i < all->len; i++)
            assert_int_equal(np_endpoint_active(all->endpoints[i]), 0);
        check_counters(&p);
        np_cluster_free(p.c);
        np_snapshot_unref(all);
    }
    assert_no_leak(live);
}

#define THREADS 4

static void *play_alone(void *arg)
{
    play(arg, 20000);
    return NULL;
}

static void threads_share_rules_and_endpoints(void **state)
{
    static struct player p[THREADS];
    struct np_cluster_options o = everything();
    struct np_cluster_rules *rules = NULL;
    struct np_snapshot *set = set_make(5, NULL);
    pthread_t t[THREADS];
    uint64_t calls = 0;
    int64_t span = 0;
    (void)state;
    assert_ok(np_cluster_rules_new(&o, 7, S, &rules, NULL));
    for (int i = 0; i < THREADS; i++) {
        p[i] = (struct player){.now = S};
        np_rng_init(&p[i].rng, (uint64_t)i + 1);
        assert_ok(np_cluster_new(&o, rules, &p[i].c));
        assert_ok(np_cluster_update(p[i].c, set, S));
    }
    np_cluster_rules_unref(rules);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, play_alone, &p[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        check_counters(&p[i]);
        calls += p[i].admitted;
        if (p[i].now - S > span) span = p[i].now - S;
    }
    check_rules(p[0].c, calls, 10 * span); /* their clocks are not one */
    for (int i = 0; i < THREADS; i++)
        np_cluster_free(p[i].c);
    np_snapshot_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_what_was_begun_is_ended),
        cmocka_unit_test(endpoints_may_change_under_calls),
        cmocka_unit_test(threads_share_rules_and_endpoints),
    };
    return cmocka_run_group_tests_name("mesh.cluster_random", tests, NULL, NULL);
}
