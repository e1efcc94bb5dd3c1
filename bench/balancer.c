/* What the rules of src/mesh cost: nanoseconds of one thread's CPU time for a pick and its release
 * by each policy over 10 and over 10,000 endpoints, for a limiter's check, and for a call through a
 * cluster with its whole stack of rules. And how evenly hashing spreads keys, and what share of
 * them moves when one endpoint of so many goes.
 *
 * Medians of rounds, as lines of JSON for scripts/bench, or as a table with --table. The
 * clock moves on by a microsecond a request, latencies vary, every request has another key, and
 * each is released before the next one is picked (--window N: N later).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mesh/cluster.h"

enum { ROUNDS = 9, REQUESTS = 100000, WINDOW_MAX = 1024, NAME_MAX_LEN = 64 };

struct setup {
    int rounds;
    unsigned window;
    bool table;
    const char *only;
};

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check(enum neap_err err)
{
    if (err == NEAP_OK) return;
    fprintf(stderr, "bench_balancer: %s\n", neap_err_text(err));
    exit(1);
}

static struct np_snapshot *endpoints(size_t n, bool weighted)
{
    struct np_endpoint **v = calloc(n, sizeof *v);
    struct np_snapshot *set = NULL;
    if (v == NULL) check(NEAP_ENOMEM);
    for (size_t i = 0; i < n; i++) {
        char id[32], address[64];
        snprintf(id, sizeof id, "e%zu", i);
        snprintf(address, sizeof address, "10.%zu.%zu.%zu:80", i / 62500, i / 250 % 250, i % 250);
        struct np_endpoint_desc d = {.id = id,
                                     .service = "bench",
                                     .address = address,
                                     .weight = weighted ? 1 + (uint32_t)(i % 7) : 1};
        check(np_endpoint_new(&d, NULL, &v[i], NULL));
    }
    check(np_snapshot_new(v, n, 0, &set));
    for (size_t i = 0; i < n; i++)
        np_endpoint_unref(v[i]);
    free(v);
    return set;
}

struct flight {
    struct np_endpoint *ring[WINDOW_MAX];
    struct np_result results[256];
    int64_t now;
    uint64_t number;
};

static void flight_init(struct flight *f)
{
    struct np_rng rng;
    memset(f, 0, sizeof *f);
    np_rng_init(&rng, 7);
    f->now = INT64_C(1000000000);
    for (int i = 0; i < 256; i++) {
        f->results[i] = np_result_of(NP_OUTCOME_OK, 500000 + np_rng_below(&rng, 2000000));
    }
}

static void requests(struct np_balancer *b, struct flight *f, unsigned window, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct np_endpoint **slot = &f->ring[f->number % window];
        struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(f->number++)};
        if (window > 1 && *slot) np_balancer_release(b, *slot, &f->results[i % 256], f->now);
        check(np_balancer_pick(b, &ctx, f->now, slot));
        if (window == 1) np_balancer_release(b, *slot, &f->results[i % 256], f->now);
        f->now += 1000;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const struct setup *s, const char *name, double *ns)
{
    qsort(ns, (size_t)s->rounds, sizeof *ns, by_size);
    if (s->table) {
        printf("%-48s %8.1f ns   (%.1f ... %.1f)\n", name, ns[s->rounds / 2], ns[0],
               ns[s->rounds - 1]);
    } else {
        printf("{\"name\": \"%s\", \"ns\": %.1f}\n", name, ns[s->rounds / 2]);
    }
    fflush(stdout);
}

static bool wanted(const struct setup *s, const char *name)
{
    return s->only == NULL || strstr(name, s->only) != NULL;
}

static void measure(const struct setup *s, const char *name, struct np_balancer *b)
{
    static struct flight f;
    double ns[64];
    flight_init(&f);
    requests(b, &f, s->window, REQUESTS);
    for (int r = 0; r < s->rounds; r++) {
        int64_t begun = clock_ns();
        requests(b, &f, s->window, REQUESTS);
        ns[r] = (double)(clock_ns() - begun) / REQUESTS;
    }
    struct np_result r = np_result_of(NP_OUTCOME_CANCELED, -1);
    for (unsigned i = 0; s->window > 1 && i < s->window; i++) {
        if (f.ring[i]) np_balancer_release(b, f.ring[i], &r, f.now);
    }
    print(s, name, ns);
}

static void measure_policy(const struct setup *s, const struct np_balancer_ops *ops, size_t n,
                           bool weighted, double load_factor)
{
    char name[NAME_MAX_LEN];
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    struct np_balancer *b = NULL;
    snprintf(name, sizeof name, "%s%s%s.%zu", ops->name, weighted ? ".weighted" : "",
             load_factor > 0 ? ".bounded" : "", n);
    if (!wanted(s, name)) return;
    struct np_snapshot *set = endpoints(n, weighted);
    o.seed = 1;
    o.load_factor = load_factor;
    check(np_balancer_new(ops, &o, &b));
    check(np_balancer_update(b, set));
    measure(s, name, b);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void balancers(const struct setup *s)
{
    static const size_t sizes[] = {10, 10000};
    for (size_t k = 0; k < 2; k++) {
        for (size_t p = 0; np_balancer_at(p) != NULL; p++) {
            const struct np_balancer_ops *ops = np_balancer_at(p);
            bool weighs = strncmp(ops->name, "weighted", 8) == 0;
            measure_policy(s, ops, sizes[k], weighs, 0);
            if (strcmp(ops->name, "least_request") == 0) measure_policy(s, ops, sizes[k], true, 0);
            if (ops->stable) measure_policy(s, ops, sizes[k], false, 1.25);
        }
    }
}

enum { KEYS = 200000, GONE = 5 };

static size_t owner(struct np_balancer *b, uint64_t key)
{
    struct np_endpoint *e = NULL;
    struct np_pick_ctx ctx = {.has_hash = true, .hash = np_hash_mix(key + 1)};
    struct np_result r = np_result_of(NP_OUTCOME_CANCELED, -1);
    check(np_balancer_pick(b, &ctx, 1, &e));
    size_t n = (size_t)strtoul(e->id + 1, NULL, 10);
    np_balancer_release(b, e, &r, 1);
    return n;
}

static struct np_snapshot *without(const struct np_snapshot *set, size_t gone)
{
    struct np_endpoint **v = calloc(set->len, sizeof *v);
    struct np_snapshot *out = NULL;
    size_t n = 0;
    if (v == NULL) check(NEAP_ENOMEM);
    for (size_t i = 0; i < set->len; i++) {
        if (i != gone) v[n++] = set->endpoints[i];
    }
    check(np_snapshot_new(v, n, 0, &out));
    free(v);
    return out;
}

/* Shares of all keys, in percent: those of who goes, and others that move beside. */
static void count_moves(struct np_balancer *b, const struct np_snapshot *set,
                        const uint32_t *before, double *own, double *others)
{
    for (size_t g = 0; g < GONE; g++) {
        size_t gone = g * 7919 % set->len;
        struct np_snapshot *fewer = without(set, gone);
        check(np_balancer_update(b, fewer));
        for (uint64_t k = 0; k < KEYS; k++) {
            if (owner(b, k) == before[k]) continue;
            *(before[k] == gone ? own : others) += 100.0 / KEYS / GONE;
        }
        np_snapshot_unref(fewer);
    }
}

static void spread(const struct setup *s, const char *policy, size_t n)
{
    static uint32_t before[KEYS];
    char name[NAME_MAX_LEN];
    struct np_balancer *b = NULL;
    uint32_t *seen = calloc(n, sizeof *seen), most = 0;
    double own = 0, others = 0;
    snprintf(name, sizeof name, "spread.%s.%zu", policy, n);
    if (seen == NULL) check(NEAP_ENOMEM);
    struct np_snapshot *set = endpoints(n, false);
    check(np_balancer_new(np_balancer_find(policy), NULL, &b));
    check(np_balancer_update(b, set));
    for (uint64_t k = 0; k < KEYS; k++) {
        size_t to = owner(b, k);
        before[k] = (uint32_t)to;
        if (++seen[to] > most) most = seen[to];
    }
    count_moves(b, set, before, &own, &others);
    printf(s->table ? "%-40s most %.3f of the mean, moved %.3f %% and %.3f %%\n"
                    : "{\"spread\": \"%s\", \"most\": %.3f, \"own\": %.3f, \"others\": %.3f}\n",
           name + sizeof "spread", (double)most * (double)n / KEYS, own, others);
    free(seen);
    np_balancer_free(b);
    np_snapshot_unref(set);
}

static void spreads(const struct setup *s)
{
    static const size_t sizes[] = {10, 100, 500};
    for (size_t k = 0; k < 3; k++) {
        if (wanted(s, "spread.ring_hash")) spread(s, "ring_hash", sizes[k]);
        if (wanted(s, "spread.maglev")) spread(s, "maglev", sizes[k]);
    }
}

static void limiters(const struct setup *s)
{
    static const char *const names[] = {"token_bucket", "gcra", "sliding_window", "leaky_bucket"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        char name[NAME_MAX_LEN];
        struct np_limiter l;
        bool found = false;
        double ns[64];
        int64_t now = INT64_C(1000000000);
        unsigned allowed = 0;
        snprintf(name, sizeof name, "limiter.%s", names[k]);
        if (!wanted(s, name)) continue;
        struct np_limiter_options o = {.algorithm = np_limiter_find(names[k], &found),
                                       .rate = 1e6,
                                       .burst = 100,
                                       .queue = 100,
                                       .window_ns = INT64_C(1000000000)};
        check(np_limiter_init(&l, &o, now));
        for (int r = -1; r < s->rounds; r++) {
            int64_t begun = clock_ns();
            for (int i = 0; i < REQUESTS; i++, now += 900)
                allowed += np_limiter_allow(&l, now);
            if (r >= 0) ns[r] = (double)(clock_ns() - begun) / REQUESTS;
        }
        if (allowed == 0) check(NEAP_EINVAL);
        print(s, name, ns);
    }
}

static void calls(struct np_cluster *c, struct flight *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct np_result *r = &f->results[i % 256];
        struct np_call call = {.priority = NP_PRIORITY_NORMAL, .safe = true};
        struct np_attempt a;
        int64_t at = 0;
        check(np_cluster_admit(c, &call, f->now));
        check(np_cluster_start(c, &call, f->now, &a));
        f->now += 1000;
        if (np_cluster_finish(c, &call, &a, r, false, f->now, &at) != NP_CALL_DONE)
            check(NEAP_EINVAL);
        np_cluster_end(c, &call, r, f->now);
    }
}

static void measure_cluster(const struct setup *s, const char *kind, size_t n,
                            const struct np_cluster_options *o)
{
    static struct flight f;
    char name[NAME_MAX_LEN];
    struct np_cluster_rules *rules = NULL;
    struct np_cluster *c = NULL;
    double ns[64];
    snprintf(name, sizeof name, "cluster.%s.%zu", kind, n);
    if (!wanted(s, name)) return;
    struct np_snapshot *set = endpoints(n, false);
    flight_init(&f);
    check(np_cluster_rules_new(o, 1, f.now, &rules, NULL));
    check(np_cluster_new(o, rules, &c));
    check(np_cluster_update(c, set, f.now));
    calls(c, &f, REQUESTS);
    for (int r = 0; r < s->rounds; r++) {
        int64_t begun = clock_ns();
        calls(c, &f, REQUESTS);
        ns[r] = (double)(clock_ns() - begun) / REQUESTS;
    }
    np_cluster_free(c);
    np_cluster_rules_unref(rules);
    np_snapshot_unref(set);
    print(s, name, ns);
}

/* The default stack, and one with everything in it. */
static void clusters(const struct setup *s)
{
    static const size_t sizes[] = {10, 10000};
    for (size_t k = 0; k < 2; k++) {
        struct np_cluster_options o;
        np_cluster_plain(&o, np_balancer_find("peak_ewma"));
        measure_cluster(s, "plain", sizes[k], &o);
        np_cluster_defaults(&o);
        measure_cluster(s, "default", sizes[k], &o);
        o.breaker_on = o.limiter_on = o.hedge.on = true;
        o.breaker = np_breaker_defaults;
        o.limiter = (struct np_limiter_options){.rate = 1e9, .burst = 1e9};
        measure_cluster(s, "everything", sizes[k], &o);
    }
}

static struct setup arguments(int argc, char **argv)
{
    struct setup s = {.rounds = ROUNDS, .window = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--table") == 0) {
            s.table = true;
        } else if (strcmp(argv[i], "--rounds") == 0 && atoi(value) > 0 && atoi(value) <= 64) {
            s.rounds = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--window") == 0 && atoi(value) > 0 &&
                   atoi(value) <= WINDOW_MAX) {
            s.window = (unsigned)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--only") == 0 && *value) {
            s.only = argv[++i];
        } else {
            fprintf(stderr, "usage: bench_balancer [--table] [--rounds 1..64] [--window 1..1024] "
                            "[--only TEXT]\n");
            exit(2);
        }
    }
    return s;
}

int main(int argc, char **argv)
{
    struct setup s = arguments(argc, argv);
    balancers(&s);
    limiters(&s);
    clusters(&s);
    spreads(&s);
    return 0;
}
