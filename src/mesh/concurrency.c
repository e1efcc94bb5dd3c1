/* Adaptive concurrency: who is let in, and what is learnt when they leave (see concurrency.h).
 *
 * The way in is a compare-and-swap of the number in flight against the caller's class's cap. The
 * caps are made from the limit whenever that changes, which is under the lock; so is all that
 * learns, and a thread that finds the lock taken leaves it to the other. Samples go into a
 * histogram of atomics, eight buckets for each doubling.
 */
#include "mesh/concurrency.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mesh/concurrency_impl.h"

#define LOWEST_NS 1024 /* what is faster counts as this */

const struct np_concurrency_options np_concurrency_defaults = {
    .adaptive = true,
    .initial = 20,
    .min = 3,
    .max = 1000,
    .window_ns = 100 * NP_NS_PER_MS,
    .min_samples = 50,
    .quantile = 0.5,
    .buffer = 0.25,
    .backoff = 0.9,
    .forget_ns = 60 * NP_NS_PER_SEC,
    .share = {0.5, 0.7, 0.9, 1.0, 1.1},
};

/* --- priorities */

static const char *const names[NP_PRIORITY_CLASSES] = {"sheddable", "low", "normal", "high",
                                                       "critical"};

const char *np_priority_name(enum np_priority p)
{
    return names[p];
}

bool np_priority_parse(const char *text, size_t n, enum np_priority *out)
{
    static const enum np_priority urgencies[] = {
        NP_PRIORITY_CRITICAL, NP_PRIORITY_HIGH,   NP_PRIORITY_HIGH, NP_PRIORITY_NORMAL,
        NP_PRIORITY_NORMAL,   NP_PRIORITY_NORMAL, NP_PRIORITY_LOW,  NP_PRIORITY_SHEDDABLE};
    for (unsigned i = 0; i < NP_PRIORITY_CLASSES; i++) {
        if (strlen(names[i]) != n || memcmp(names[i], text, n) != 0) continue;
        *out = (enum np_priority)i;
        return true;
    }
    if (n < 3 || memcmp(text, "u=", 2) != 0 || text[2] < '0' || text[2] > '7') return false;
    if (n > 3 && text[3] != ',' && text[3] != ';' && text[3] != ' ') return false;
    *out = urgencies[text[2] - '0'];
    return true;
}

/* --- options */

const char *np_concurrency_problem(const struct np_concurrency_options *o)
{
    if (o->min < 1 || o->min > o->max) return "min: at least 1 and at most max";
    if (o->max > NP_CONCURRENCY_MAX) return "max: at most 1000000";
    if (o->initial < 1 || o->initial > NP_CONCURRENCY_MAX) return "initial: 1 to 1000000";
    if (o->window_ns <= 0 || o->forget_ns <= 0) return "window, forget: above 0";
    if (o->min_samples < 1) return "min_samples: at least 1";
    if (!(o->quantile > 0 && o->quantile < 1)) return "quantile: above 0 and below 1";
    if (!(o->buffer >= 0 && o->buffer <= 10)) return "buffer: 0 to 10";
    if (!(o->backoff > 0 && o->backoff < 1)) return "backoff: above 0 and below 1";
    for (unsigned i = 0; i < NP_PRIORITY_CLASSES; i++)
        if (!(o->share[i] > 0 && o->share[i] <= 10)) return "share: above 0 and at most 10";
    return NULL;
}

static double clamp(double x, double min, double max)
{
    return x < min ? min : x > max ? max : x;
}

/* Under the lock. */
void np_concurrency_set_limit(struct np_concurrency *c, double limit)
{
    const struct np_concurrency_options *o = &c->opts;
    c->exact = o->adaptive ? clamp(limit, o->min, o->max) : o->initial;
    double whole = floor(c->exact);
    atomic_store_explicit(&c->limit, (uint32_t)whole, memory_order_relaxed);
    for (unsigned i = 0; i < NP_PRIORITY_CLASSES; i++) {
        double cap = whole * o->share[i] + 1e-9;
        cap = o->share[i] > 1 ? ceil(cap - 2e-9) : floor(cap);
        atomic_store_explicit(&c->caps[i], cap < 1 ? 1 : (uint32_t)cap, memory_order_relaxed);
    }
}

static void take_options(struct np_concurrency *c, const struct np_concurrency_options *o)
{
    c->opts = *o;
    atomic_store_explicit(&c->shadow, o->shadow, memory_order_relaxed);
    atomic_store_explicit(&c->adaptive, o->adaptive, memory_order_relaxed);
    atomic_store_explicit(&c->window_ns, o->window_ns, memory_order_relaxed);
    atomic_store_explicit(&c->min_samples, o->min_samples, memory_order_relaxed);
}

enum neap_err np_concurrency_new(const struct np_concurrency_options *opts,
                                 struct np_concurrency **out)
{
    if (np_concurrency_problem(opts) != NULL) return NEAP_EINVAL;
    struct np_concurrency *c = np_calloc(1, sizeof *c);
    if (c == NULL) return NEAP_ENOMEM;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->watchers_lock, NULL);
    np_link_init(&c->watchers);
    take_options(c, opts);
    np_concurrency_set_limit(c, opts->initial);
    *out = c;
    return NEAP_OK;
}

struct np_concurrency *np_concurrency_ref(struct np_concurrency *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void np_concurrency_unref(struct np_concurrency *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->watchers_lock);
    np_free(c);
}

enum neap_err np_concurrency_set(struct np_concurrency *c,
                                 const struct np_concurrency_options *opts)
{
    if (np_concurrency_problem(opts) != NULL) return NEAP_EINVAL;
    pthread_mutex_lock(&c->lock);
    bool was_adaptive = c->opts.adaptive;
    take_options(c, opts);
    np_concurrency_set_limit(c, was_adaptive && opts->adaptive ? c->exact : opts->initial);
    pthread_mutex_unlock(&c->lock);
    return NEAP_OK;
}

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    const struct np_concurrency_options *o = arg;
    const char *problem = np_concurrency_problem(o);
    struct np_concurrency *c = NULL;
    if (problem != NULL) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    enum neap_err err = np_concurrency_new(o, &c);
    if (err) return np_err_plain(info, err);
    *object = c;
    return NEAP_OK;
}

static enum neap_err set(void *object, void *arg, struct neap_errinfo *info)
{
    const char *problem = np_concurrency_problem(arg);
    if (problem != NULL) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    enum neap_err err = np_concurrency_set(object, arg);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

static void drop(void *object)
{
    np_concurrency_unref(object);
}

const struct np_common_kind np_concurrency_kind = {"concurrency", make, set, drop};

/* --- in and out */

bool np_concurrency_enter(struct np_concurrency *c, enum np_priority p, int64_t now)
{
    uint32_t cap = atomic_load_explicit(&c->caps[p], memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&c->inflight, memory_order_relaxed);
    bool refused = false;
    (void)now;
    do {
        refused = n >= cap;
        if (refused && !atomic_load_explicit(&c->shadow, memory_order_relaxed)) break;
    } while (!atomic_compare_exchange_weak_explicit(&c->inflight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (!refused && n + 1 > atomic_load_explicit(&c->peak, memory_order_relaxed))
        atomic_store_explicit(&c->peak, n + 1, memory_order_relaxed);
    if (refused) {
        if (!atomic_load_explicit(&c->pressed, memory_order_relaxed))
            atomic_store_explicit(&c->pressed, true, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->refused[p], 1, memory_order_relaxed);
        return atomic_load_explicit(&c->shadow, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&c->admitted[p], 1, memory_order_relaxed);
    return true;
}

bool np_concurrency_shadows(const struct np_concurrency *c)
{
    return atomic_load_explicit(&c->shadow, memory_order_relaxed);
}

bool np_concurrency_room(const struct np_concurrency *c, enum np_priority p)
{
    return atomic_load_explicit(&c->shadow, memory_order_relaxed) ||
           atomic_load_explicit(&c->inflight, memory_order_relaxed) <
               atomic_load_explicit(&c->caps[p], memory_order_relaxed);
}

void np_concurrency_refuse(struct np_concurrency *c, enum np_priority p)
{
    atomic_store_explicit(&c->pressed, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->refused[p], 1, memory_order_relaxed);
}

static unsigned bucket_of(int64_t ns)
{
    if (ns <= LOWEST_NS) return 0;
    unsigned octave = 63u - (unsigned)__builtin_clzll((uint64_t)ns);
    unsigned eighth = (unsigned)((uint64_t)ns >> (octave - 3)) & 7u;
    unsigned b = (octave - 10) * 8 + eighth;
    return b < NP_CONCURRENCY_BUCKETS ? b : NP_CONCURRENCY_BUCKETS - 1;
}

/* The middle of a bucket. */
double np_concurrency_bucket_ns(unsigned bucket)
{
    return ldexp(1 + ((double)(bucket % 8) + 0.5) / 8, 10 + (int)(bucket / 8));
}

static void sample(struct np_concurrency *c, int64_t latency, int64_t now)
{
    if (now - latency < atomic_load_explicit(&c->fell_at, memory_order_relaxed)) return;
    atomic_fetch_add_explicit(&c->buckets[bucket_of(latency)], 1, memory_order_relaxed);
    uint32_t n = 1 + atomic_fetch_add_explicit(&c->samples, 1, memory_order_relaxed);
    int64_t began = atomic_load_explicit(&c->began, memory_order_relaxed);
    if (began == 0) {
        atomic_compare_exchange_strong_explicit(&c->began, &(long long){0}, now - latency,
                                                memory_order_relaxed, memory_order_relaxed);
        return;
    }
    if (n < atomic_load_explicit(&c->min_samples, memory_order_relaxed)) return;
    if (now - began < atomic_load_explicit(&c->window_ns, memory_order_relaxed)) return;
    if (pthread_mutex_trylock(&c->lock) != 0) return;
    np_concurrency_window(c, now);
    pthread_mutex_unlock(&c->lock);
}

static bool is_overload(const struct np_concurrency *c, const struct np_result *r)
{
    if (r->outcome != NP_OUTCOME_FAILED) return false;
    if (r->fault == NP_FAULT_OVERLOAD || r->fault == NP_FAULT_GATEWAY) return true;
    /* No answer after a long time is a time-out; one that came at once is another matter. */
    double sampled = atomic_load_explicit(&c->sampled, memory_order_relaxed);
    return r->fault == NP_FAULT_LOCAL && (double)r->latency_ns > 2 * sampled && sampled > 0;
}

static void tell_watchers(struct np_concurrency *c)
{
    struct np_link *l;
    pthread_mutex_lock(&c->watchers_lock);
    np_list_each (l, &c->watchers) {
        struct np_concurrency_watch *w = np_container_of(l, struct np_concurrency_watch, link);
        if (atomic_load_explicit(&w->waiting, memory_order_relaxed) > 0) w->room(w);
    }
    pthread_mutex_unlock(&c->watchers_lock);
}

void np_concurrency_leave(struct np_concurrency *c, const struct np_result *r, int64_t now)
{
    atomic_fetch_sub_explicit(&c->inflight, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&c->adaptive, memory_order_relaxed)) {
        if (r->outcome == NP_OUTCOME_OK && r->latency_ns >= 0) {
            sample(c, r->latency_ns, now);
        } else if (is_overload(c, r) && pthread_mutex_trylock(&c->lock) == 0) {
            np_concurrency_overload(c, r->fault == NP_FAULT_LOCAL, now);
            pthread_mutex_unlock(&c->lock);
        }
    }
    if (atomic_load_explicit(&c->waiting, memory_order_seq_cst) > 0) tell_watchers(c);
}

struct np_concurrency_counters np_concurrency_counters(const struct np_concurrency *c)
{
    struct np_concurrency_counters k = {
        .limit = atomic_load_explicit(&c->limit, memory_order_relaxed),
        .inflight = atomic_load_explicit(&c->inflight, memory_order_relaxed),
        .min_rtt_ns = atomic_load_explicit(&c->min_rtt, memory_order_relaxed),
        .sampled_ns = atomic_load_explicit(&c->sampled, memory_order_relaxed),
    };
    for (unsigned i = 0; i < NP_PRIORITY_CLASSES; i++) {
        k.admitted[i] = atomic_load_explicit(&c->admitted[i], memory_order_relaxed);
        k.refused[i] = atomic_load_explicit(&c->refused[i], memory_order_relaxed);
    }
    return k;
}

/* --- who waits */

void np_concurrency_watch(struct np_concurrency *c, struct np_concurrency_watch *w)
{
    pthread_mutex_lock(&c->watchers_lock);
    atomic_init(&w->waiting, 0);
    np_list_push_back(&c->watchers, &w->link);
    pthread_mutex_unlock(&c->watchers_lock);
}

void np_concurrency_unwatch(struct np_concurrency *c, struct np_concurrency_watch *w)
{
    pthread_mutex_lock(&c->watchers_lock);
    np_list_remove(&w->link);
    pthread_mutex_unlock(&c->watchers_lock);
    atomic_fetch_sub_explicit(&c->waiting, atomic_exchange(&w->waiting, 0), memory_order_seq_cst);
}

void np_concurrency_waiting(struct np_concurrency *c, struct np_concurrency_watch *w, int by)
{
    atomic_fetch_add_explicit(&w->waiting, (unsigned)by, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->waiting, (unsigned)by, memory_order_seq_cst);
}
