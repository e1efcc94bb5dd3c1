/* Adaptive concurrency, before a server that queues, on virtual time. */
#include "np_test.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/heap.h"
#include "mesh/concurrency.h"

#define S NP_NS_PER_SEC
#define MS NP_NS_PER_MS

/* --- a server of so many hands; who finds none free waits, first come first served */

#define REQUESTS 20000

struct request {
    struct np_heap_node done_at; /* while it is served */
    int64_t began;
    struct request *next; /* in the server's queue, or free */
};

struct world {
    struct np_concurrency *c;
    struct np_rng rng;
    int64_t now;
    double rate;     /* arrivals a second */
    int64_t service; /* mean of the service time, half of which is fixed */
    unsigned hands, busy;
    struct np_heap serving;
    struct request *first, *last, *free;
    struct request pool[REQUESTS];
    unsigned failing; /* of 100 requests so many end with 503 */
    /* measured, since measure() */
    uint64_t served, refused, latency_sum, limit_sum, looks;
    int64_t latency_max, since;
};

static struct world *world_new(const struct np_concurrency_options *o)
{
    struct world *w = np_calloc(1, sizeof *w);
    assert_non_null(w);
    assert_ok(np_concurrency_new(o, &w->c));
    np_rng_init(&w->rng, 11);
    np_heap_init(&w->serving);
    w->now = 1000 * S;
    for (size_t i = 0; i < REQUESTS; i++) {
        w->pool[i].next = w->free;
        w->free = &w->pool[i];
    }
    return w;
}

static void world_free(struct world *w)
{
    np_heap_fini(&w->serving);
    np_concurrency_unref(w->c);
    np_free(w);
}

static double exponential(struct world *w)
{
    return -log(1 - np_rng_unit(&w->rng));
}

static void serve(struct world *w, struct request *r)
{
    double t = (double)w->service * (0.5 + 0.5 * exponential(w));
    w->busy++;
    assert_ok(np_heap_put(&w->serving, &r->done_at, w->now + (int64_t)t));
}

static void arrive(struct world *w)
{
    struct request *r = w->free;
    w->looks++;
    w->limit_sum += np_concurrency_counters(w->c).limit;
    if (!np_concurrency_enter(w->c, NP_PRIORITY_HIGH, w->now)) {
        w->refused++;
        return;
    }
    assert_non_null(r);
    w->free = r->next;
    r->began = w->now;
    r->next = NULL;
    if (w->busy < w->hands) {
        serve(w, r);
    } else {
        if (w->first)
            w->last->next = r;
        else
            w->first = r;
        w->last = r;
    }
}

static void finish(struct world *w, struct request *r)
{
    struct np_result result = {.latency_ns = w->now - r->began};
    np_heap_remove(&w->serving, &r->done_at);
    w->busy--;
    if (np_rng_below(&w->rng, 100) < w->failing) {
        result.outcome = NP_OUTCOME_FAILED;
        result.fault = NP_FAULT_OVERLOAD;
    }
    np_concurrency_leave(w->c, &result, w->now);
    w->served++;
    w->latency_sum += (uint64_t)result.latency_ns;
    if (result.latency_ns > w->latency_max) w->latency_max = result.latency_ns;
    r->next = w->free;
    w->free = r;
    while (w->first && w->busy < w->hands) {
        struct request *next = w->first;
        w->first = next->next;
        serve(w, next);
    }
}

static void run(struct world *w, int64_t span)
{
    int64_t end = w->now + span, next = w->now;
    while (w->now < end) {
        struct np_heap_node *n = np_heap_min(&w->serving);
        if (n && n->key <= next) {
            w->now = n->key;
            finish(w, np_container_of(n, struct request, done_at));
        } else {
            w->now = next;
            if (w->now < end) arrive(w);
            next = w->now + (int64_t)(exponential(w) * 1e9 / w->rate);
        }
    }
}

static void measure(struct world *w, int64_t span)
{
    w->served = w->refused = w->latency_sum = w->limit_sum = w->looks = 0;
    w->latency_max = 0;
    w->since = w->now;
    run(w, span);
}

static double throughput(const struct world *w)
{
    return (double)w->served / np_to_seconds(w->now - w->since);
}
static double latency_ms(const struct world *w)
{
    return (double)w->latency_sum / (double)w->served / 1e6;
}
static double limit(const struct world *w)
{
    return (double)w->limit_sum / (double)w->looks;
}
#ifdef SHOW
#include <stdio.h>
#define show(w, what)                                                                          \
    printf("%-28s limit %7.1f throughput %8.1f latency %7.1f max %7.1f min_rtt %6.1f\n", what, \
           limit(w), throughput(w), latency_ms(w), (double)(w)->latency_max / 1e6,             \
           np_concurrency_counters((w)->c).min_rtt_ns / 1e6)
#else
#define show(w, what) (void)0
#endif

/* Four times what it can do comes in: it does all it can, and who is let in does not wait long. */
static void overload_costs_neither_throughput_nor_latency(void **state)
{
    static const unsigned hands[] = {4, 20, 100};
    (void)state;
    for (size_t i = 0; i < sizeof hands / sizeof *hands; i++) {
        struct world *w = world_new(&np_concurrency_defaults);
        w->hands = hands[i];
        w->service = 50 * MS;
        double capacity = hands[i] / 0.05;
        w->rate = 4 * capacity;
        run(w, 10 * S);
        measure(w, 300 * S); /* five times as long as anything is remembered */
        show(w, "overload");
        assert_true(throughput(w) > 0.93 * capacity);
        assert_true(latency_ms(w) < (hands[i] < 10 ? 3.2 : 2.4) * 50);
        assert_true(limit(w) >= hands[i] && limit(w) < 2.5 * hands[i] + 6);
        world_free(w);
    }
}

static void it_falls_when_the_server_slows_down_and_rises_again(void **state)
{
    struct world *w = world_new(&np_concurrency_defaults);
    (void)state;
    w->hands = 40;
    w->service = 20 * MS;
    w->rate = 3000; /* it can do 2000 */
    measure(w, 20 * S);
    show(w, "healthy");
    w->hands = 8; /* 400 a second */
    run(w, 5 * S);
    measure(w, 60 * S);
    show(w, "slowed: fewer hands");
    assert_true(limit(w) < 30);
    assert_true(latency_ms(w) < 80);
    assert_true(throughput(w) > 0.9 * 400);
    w->hands = 40;
    run(w, 10 * S);
    measure(w, 60 * S);
    show(w, "recovered");
    assert_true(throughput(w) > 0.93 * 2000);
    assert_true(latency_ms(w) < 60);
    world_free(w);
}

/* Not more requests wait, each one takes longer: the way through is as wide as before. */
static void a_slower_service_is_no_queue(void **state)
{
    struct world *w = world_new(&np_concurrency_defaults);
    (void)state;
    w->hands = 40;
    w->service = 20 * MS;
    w->rate = 3000;
    run(w, 20 * S);
    w->service = 100 * MS; /* 400 a second */
    run(w, 5 * S);         /* it is seen soon, not only when the old latency is forgotten */
    measure(w, 60 * S);
    show(w, "slowed: longer service");
    assert_true(throughput(w) > 0.85 * 400);
    assert_true(latency_ms(w) < 250);
    w->service = 20 * MS;
    run(w, 20 * S);
    measure(w, 60 * S);
    show(w, "recovered");
    assert_true(throughput(w) > 0.93 * 2000);
    assert_true(latency_ms(w) < 60);
    world_free(w);
}

static void it_refuses_nobody_while_there_is_room(void **state)
{
    struct world *w = world_new(&np_concurrency_defaults);
    (void)state;
    w->hands = 1000;
    w->service = 50 * MS;
    w->rate = 200; /* ten in flight, from the first second on */
    measure(w, 60 * S);
    show(w, "idle");
    assert_int_equal(w->refused, 0);
    assert_true(limit(w) <= 150); /* what is not used does not grow */
    w->rate = 4000;               /* 200 at once: it must find out */
    run(w, 3 * S);
    measure(w, 30 * S);
    show(w, "grown");
    assert_true(w->refused < w->served / 100);
    world_free(w);
}

static void answers_of_overload_shrink_it_at_once(void **state)
{
    struct world *w = world_new(&np_concurrency_defaults);
    (void)state;
    w->hands = 100;
    w->service = 50 * MS;
    w->rate = 1500; /* 75 in flight */
    run(w, 20 * S);
    uint32_t before = np_concurrency_counters(w->c).limit;
    w->failing = 30;
    run(w, S);
    assert_true(np_concurrency_counters(w->c).limit < before / 2);
    run(w, 30 * S);
    assert_true(np_concurrency_counters(w->c).limit < 20);
    assert_true(np_concurrency_counters(w->c).limit >= 3);
    w->failing = 0;
    run(w, 10 * S);
    measure(w, 30 * S);
    assert_true(w->refused < w->served / 50);
    world_free(w);
}

/* --- classes */

static unsigned fill(struct np_concurrency *c, enum np_priority p)
{
    unsigned n = 0;
    while (np_concurrency_enter(c, p, 0))
        n++;
    return n;
}

static struct np_concurrency *bulkhead(uint32_t n)
{
    struct np_concurrency *c = NULL;
    struct np_concurrency_options o = np_concurrency_defaults;
    o.adaptive = false;
    o.initial = n;
    assert_ok(np_concurrency_new(&o, &c));
    return c;
}

static void low_classes_are_shed_first(void **state)
{
    struct np_concurrency *c = bulkhead(20);
    (void)state;
    assert_int_equal(fill(c, NP_PRIORITY_SHEDDABLE), 10);
    assert_int_equal(fill(c, NP_PRIORITY_LOW), 4);
    assert_int_equal(fill(c, NP_PRIORITY_NORMAL), 4);
    assert_int_equal(fill(c, NP_PRIORITY_SHEDDABLE), 0);
    assert_int_equal(fill(c, NP_PRIORITY_HIGH), 2);
    assert_int_equal(fill(c, NP_PRIORITY_CRITICAL), 2);
    struct np_concurrency_counters k = np_concurrency_counters(c);
    assert_int_equal(k.inflight, 22);
    assert_int_equal(k.admitted[NP_PRIORITY_SHEDDABLE], 10);
    assert_int_equal(k.refused[NP_PRIORITY_SHEDDABLE], 2);
    assert_int_equal(k.refused[NP_PRIORITY_CRITICAL], 1);
    np_concurrency_unref(c);
    c = bulkhead(1); /* each class may have one where there is no other */
    for (int p = 0; p < NP_PRIORITY_CRITICAL; p++) {
        assert_int_equal(fill(c, (enum np_priority)p), 1);
        np_concurrency_leave(c, &(struct np_result){.latency_ns = -1}, 0);
    }
    np_concurrency_unref(c);
}

static void a_bulkhead_does_not_learn(void **state)
{
    struct np_concurrency_options o = np_concurrency_defaults;
    o.adaptive = false;
    o.initial = 7;
    struct world *w = world_new(&o);
    (void)state;
    w->hands = 100;
    w->service = 50 * MS;
    w->rate = 1000;
    w->failing = 10;
    run(w, 10 * S);
    assert_int_equal(np_concurrency_counters(w->c).limit, 7);
    world_free(w);
}

static void a_shadow_counts_and_lets_pass(void **state)
{
    struct np_concurrency *c = NULL;
    struct np_concurrency_options o = np_concurrency_defaults;
    (void)state;
    o.shadow = true;
    o.adaptive = false;
    o.initial = 2;
    assert_ok(np_concurrency_new(&o, &c));
    for (int i = 0; i < 5; i++)
        assert_true(np_concurrency_enter(c, NP_PRIORITY_HIGH, 0));
    struct np_concurrency_counters k = np_concurrency_counters(c);
    assert_int_equal(k.inflight, 5);
    assert_int_equal(k.refused[NP_PRIORITY_HIGH], 3);
    assert_int_equal(k.admitted[NP_PRIORITY_HIGH], 2);
    for (int i = 0; i < 5; i++)
        np_concurrency_leave(c, &(struct np_result){.latency_ns = MS}, MS);
    assert_int_equal(np_concurrency_counters(c).inflight, 0);
    np_concurrency_unref(c);
}

static void options_can_be_set_anew(void **state)
{
    struct np_concurrency *c = bulkhead(5);
    struct np_concurrency_options o = np_concurrency_defaults;
    (void)state;
    assert_int_equal(fill(c, NP_PRIORITY_HIGH), 5);
    o.adaptive = false;
    o.initial = 8;
    assert_ok(np_concurrency_set(c, &o));
    assert_int_equal(fill(c, NP_PRIORITY_HIGH), 3);
    o.adaptive = true;
    o.max = 6;
    assert_ok(np_concurrency_set(c, &o));
    assert_int_equal(np_concurrency_counters(c).limit, 6);
    assert_int_equal(np_concurrency_counters(c).inflight, 8);
    o.min = 7;
    assert_err(np_concurrency_set(c, &o), NEAP_EINVAL);
    np_concurrency_unref(c);
}

static void what_cannot_be_is_refused(void **state)
{
    struct np_concurrency *c = NULL;
    (void)state;
#define BAD(field, value)                                          \
    do {                                                           \
        struct np_concurrency_options o = np_concurrency_defaults; \
        o.field = (value);                                         \
        assert_err(np_concurrency_new(&o, &c), NEAP_EINVAL);       \
        assert_non_null(np_concurrency_problem(&o));               \
    } while (0)
    BAD(min, 0);
    BAD(min, 2000);
    BAD(max, 2000000);
    BAD(initial, 0);
    BAD(window_ns, 0);
    BAD(forget_ns, 0);
    BAD(min_samples, 0);
    BAD(quantile, 1);
    BAD(quantile, (double)NAN);
    BAD(buffer, -1);
    BAD(backoff, 1);
    BAD(share[2], 0);
    assert_null(np_concurrency_problem(&np_concurrency_defaults));
}

static void priorities_have_names_and_urgencies(void **state)
{
    enum np_priority p;
    (void)state;
    for (int i = 0; i < NP_PRIORITY_CLASSES; i++) {
        const char *name = np_priority_name((enum np_priority)i);
        assert_true(np_priority_parse(name, strlen(name), &p));
        assert_int_equal(p, i);
    }
    assert_true(np_priority_parse("u=0", 3, &p) && p == NP_PRIORITY_CRITICAL);
    assert_true(np_priority_parse("u=3, i", 6, &p) && p == NP_PRIORITY_NORMAL);
    assert_true(np_priority_parse("u=6;x", 5, &p) && p == NP_PRIORITY_LOW);
    assert_true(np_priority_parse("u=7", 3, &p) && p == NP_PRIORITY_SHEDDABLE);
    assert_false(np_priority_parse("u=8", 3, &p));
    assert_false(np_priority_parse("u=33", 4, &p));
    assert_false(np_priority_parse("urgent", 6, &p));
    assert_false(np_priority_parse("", 0, &p));
}

/* --- who waits */

struct listener {
    struct np_concurrency_watch watch;
    unsigned told;
};

static void on_room(struct np_concurrency_watch *w)
{
    np_container_of(w, struct listener, watch)->told++;
}

static void who_waits_is_told_of_room(void **state)
{
    struct np_concurrency *c = bulkhead(1);
    struct listener a = {.watch.room = on_room}, b = {.watch.room = on_room};
    struct np_result r = {.latency_ns = -1};
    (void)state;
    np_concurrency_watch(c, &a.watch);
    np_concurrency_watch(c, &b.watch);
    assert_true(np_concurrency_enter(c, NP_PRIORITY_HIGH, 0));
    np_concurrency_leave(c, &r, 0);
    assert_int_equal(a.told + b.told, 0);
    assert_true(np_concurrency_enter(c, NP_PRIORITY_HIGH, 0));
    np_concurrency_waiting(c, &a.watch, 1);
    np_concurrency_leave(c, &r, 0);
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 0);
    np_concurrency_waiting(c, &b.watch, 1);
    np_concurrency_waiting(c, &a.watch, -1);
    assert_true(np_concurrency_enter(c, NP_PRIORITY_HIGH, 0));
    np_concurrency_unwatch(c, &a.watch);
    np_concurrency_leave(c, &r, 0);
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 1);
    np_concurrency_unwatch(c, &b.watch); /* with one that waits still */
    assert_true(np_concurrency_enter(c, NP_PRIORITY_HIGH, 0));
    np_concurrency_leave(c, &r, 0);
    np_concurrency_unref(c);
}

/* --- threads */

struct race {
    struct np_concurrency *c;
    atomic_int inside, most;
    atomic_llong now;
};

static void *rush(void *arg)
{
    struct race *r = arg;
    for (int i = 0; i < 20000; i++) {
        int64_t now = atomic_fetch_add(&r->now, 10000);
        if (!np_concurrency_enter(r->c, (enum np_priority)(i % NP_PRIORITY_CLASSES), now)) continue;
        int n = atomic_fetch_add(&r->inside, 1) + 1, most = atomic_load(&r->most);
        while (n > most && !atomic_compare_exchange_weak(&r->most, &most, n))
            ;
        atomic_fetch_sub(&r->inside, 1);
        struct np_result result = {.outcome = i % 50 ? NP_OUTCOME_OK : NP_OUTCOME_FAILED,
                                   .fault = i % 50 ? NP_FAULT_NONE : NP_FAULT_OVERLOAD,
                                   .latency_ns = 5 * MS};
        np_concurrency_leave(r->c, &result, now + 5 * MS);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    struct race r = {0};
    struct np_concurrency_options o = np_concurrency_defaults;
    pthread_t threads[4];
    (void)state;
    o.initial = o.max = o.min = 2;
    assert_ok(np_concurrency_new(&o, &r.c));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush, &r), 0);
    for (int i = 0; i < 100; i++)
        assert_ok(np_concurrency_set(r.c, &o));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(r.most <= 3); /* the highest class has a little more */
    struct np_concurrency_counters k = np_concurrency_counters(r.c);
    uint64_t all = 0;
    for (int i = 0; i < NP_PRIORITY_CLASSES; i++)
        all += k.admitted[i] + k.refused[i];
    assert_int_equal(k.inflight, 0);
    assert_int_equal(all, 80000);
    np_concurrency_unref(r.c);
}

static enum neap_err use(void *arg)
{
    struct np_concurrency *c = NULL;
    (void)arg;
    enum neap_err err = np_concurrency_new(&np_concurrency_defaults, &c);
    if (err) return err;
    np_concurrency_unref(np_concurrency_ref(c));
    np_concurrency_unref(c);
    return NEAP_OK;
}

static void running_out_of_memory_is_survived(void **state)
{
    (void)state;
    assert_int_equal(np_test_oom(use, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overload_costs_neither_throughput_nor_latency),
        cmocka_unit_test(it_falls_when_the_server_slows_down_and_rises_again),
        cmocka_unit_test(a_slower_service_is_no_queue),
        cmocka_unit_test(it_refuses_nobody_while_there_is_room),
        cmocka_unit_test(answers_of_overload_shrink_it_at_once),
        cmocka_unit_test(low_classes_are_shed_first),
        cmocka_unit_test(a_bulkhead_does_not_learn),
        cmocka_unit_test(a_shadow_counts_and_lets_pass),
        cmocka_unit_test(options_can_be_set_anew),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(priorities_have_names_and_urgencies),
        cmocka_unit_test(who_waits_is_told_of_room),
        cmocka_unit_test(threads_share_it),
        cmocka_unit_test(running_out_of_memory_is_survived),
    };
    return cmocka_run_group_tests_name("mesh.concurrency", tests, NULL, NULL);
}
