/* A cluster's rules: their options, and their state, which clusters of one name
 * share. */
#include <string.h>

#include "base/alloc.h"
#include "mesh/cluster_impl.h"

static const char *const rule_names[NP_RULES] = {
    [NP_RULE_NONE] = "none",
    [NP_RULE_DEADLINE] = "deadline",
    [NP_RULE_RATE_LIMIT] = "rate_limit",
    [NP_RULE_CONCURRENCY] = "concurrency",
    [NP_RULE_BREAKER] = "breaker",
    [NP_RULE_ENDPOINTS] = "endpoints",
    [NP_RULE_OUTLIER] = "outlier",
    [NP_RULE_RETRY] = "retry",
    [NP_RULE_HEDGE] = "hedge",
};

const char *np_rule_name(enum np_rule r)
{
    return r >= 0 && r < NP_RULES ? rule_names[r] : "none";
}

/* --- options */

static void defaults(struct np_cluster_options *o)
{
    static const struct np_balancer_options balancer = NP_BALANCER_OPTIONS_INIT;
    static const struct np_selector_options selector = NP_SELECTOR_OPTIONS_INIT;
    static const struct np_limiter_options limiter = NP_LIMITER_OPTIONS_INIT;
    memset(o, 0, sizeof *o);
    o->balancer = balancer;
    o->selector = selector;
    /* Bytes between the fields too, so that equal options are equal bytes. */
    memcpy(&o->outlier, &np_outlier_defaults, sizeof o->outlier);
    memcpy(&o->breaker, &np_breaker_defaults, sizeof o->breaker);
    memcpy(&o->concurrency, &np_concurrency_defaults, sizeof o->concurrency);
    memcpy(&o->limiter, &limiter, sizeof o->limiter);
    o->retry = (struct np_retry_options){
        .attempts = 3,
        .budget = 0.2,
        .reserve = 3,
        .backoff_ns = INT64_C(25) * 1000000,
        .max_backoff_ns = INT64_C(250) * 1000000,
        .honour_retry_after = true,
    };
    o->hedge = (struct np_hedge_options){
        .quantile = 0.95,
        .min_delay_ns = INT64_C(1) * 1000000,
        .max = 1,
        .min_samples = 50,
        .window_ns = INT64_C(10) * 1000000000,
    };
}

void np_cluster_defaults(struct np_cluster_options *o)
{
    defaults(o);
    o->policy = np_balancer_find("peak_ewma");
    o->outlier_on = true;
    /* Envoy's 10 % is less than a zone of three, or a deploy that went wrong. Half is where a
     * selector panics. */
    o->outlier.max_ejection_percent = 50;
    o->concurrency_on = true;
    /* Of a service nothing is known when its client starts, least of all that it is overloaded; and
     * what a thousand endpoints bear is more than Envoy's 1000. */
    o->concurrency.initial = 100;
    o->concurrency.max = 100000;
}

void np_cluster_plain(struct np_cluster_options *o, const struct np_balancer_ops *policy)
{
    defaults(o);
    o->policy = policy;
    o->retry.attempts = 1;
}

/* Written so that a NaN is refused. */
enum neap_err np_cluster_check(const struct np_cluster_options *o, struct neap_errinfo *info)
{
    const struct np_retry_options *r = &o->retry;
    const struct np_hedge_options *h = &o->hedge;
    if (r->attempts < 1 || r->attempts > NP_CALL_ATTEMPTS) {
        return np_err_set(info, NEAP_EINVAL, "retry.attempts: must be between 1 and %d",
                          NP_CALL_ATTEMPTS);
    }
    if (!(r->budget >= 0 && r->budget <= NP_BUDGET_RATIO_MAX)) {
        return np_err_set(info, NEAP_EINVAL, "retry.budget: must be between 0 and %g",
                          NP_BUDGET_RATIO_MAX);
    }
    if (r->backoff_ns < 0 || r->max_backoff_ns < 0 || r->per_try_ns < 0) {
        return np_err_set(info, NEAP_EINVAL, "retry: a span is negative");
    }
    if (!h->on) return NEAP_OK;
    if (!(h->quantile > 0 && h->quantile < 1)) {
        return np_err_set(info, NEAP_EINVAL, "hedge.quantile: must be between 0 and 1");
    }
    if (h->max < 1 || h->max > NP_HEDGES_MAX) {
        return np_err_set(info, NEAP_EINVAL, "hedge.max: must be between 1 and %d", NP_HEDGES_MAX);
    }
    if (h->min_samples < 1 || h->window_ns <= 0 || h->min_delay_ns < 0) {
        return np_err_set(info, NEAP_EINVAL, "hedge: min_samples and window must be above 0");
    }
    return NEAP_OK;
}

static uint64_t mixed(uint64_t h, const void *data, size_t n)
{
    return np_hash_stable(data, n, h);
}

uint64_t np_cluster_rules_hash(const struct np_cluster_options *o)
{
    const bool on[] = {o->outlier_on, o->breaker_on, o->concurrency_on, o->limiter_on};
    uint64_t h = mixed(0, on, sizeof on);
    if (o->outlier_on) h = mixed(h, &o->outlier, sizeof o->outlier);
    if (o->breaker_on) h = mixed(h, &o->breaker, sizeof o->breaker);
    if (o->concurrency_on) h = mixed(h, &o->concurrency, sizeof o->concurrency);
    if (o->limiter_on) h = mixed(h, &o->limiter, sizeof o->limiter);
    h = mixed(h, &o->retry.budget, sizeof o->retry.budget);
    h = mixed(h, &o->retry.reserve, sizeof o->retry.reserve);
    h = mixed(h, &o->hedge.quantile, sizeof o->hedge.quantile);
    h = mixed(h, &o->hedge.window_ns, sizeof o->hedge.window_ns);
    return mixed(h, &o->hedge.min_samples, sizeof o->hedge.min_samples);
}

/* --- state */

static void rules_free(struct np_cluster_rules *r)
{
    if (r->outlier != NULL) np_outlier_unref(r->outlier);
    if (r->breaker != NULL) np_breaker_unref(r->breaker);
    if (r->concurrency != NULL) np_concurrency_unref(r->concurrency);
    np_free(r);
}

/* `problem`: what is wrong with the options, if anything is. */
static enum neap_err named(struct neap_errinfo *info, enum neap_err err, const char *rule,
                           const char *problem)
{
    if (err != NEAP_EINVAL) return np_err_plain(info, err);
    return np_err_set(info, err, "%s: %s", rule, problem ? problem : "an option is out of range");
}

/* Those of the rules that are switched on. */
static enum neap_err make_rules(struct np_cluster_rules *r, const struct np_cluster_options *o,
                                uint64_t seed, int64_t now, struct neap_errinfo *info)
{
    enum neap_err err;
    if (o->outlier_on) {
        err = np_outlier_new(&o->outlier, seed, &r->outlier);
        if (err != NEAP_OK)
            return named(info, err, "outlier", np_outlier_options_problem(&o->outlier));
    }
    if (o->breaker_on) {
        err = np_breaker_new(&o->breaker, seed ? np_hash_mix(seed) : 0, &r->breaker);
        if (err != NEAP_OK)
            return named(info, err, "breaker", np_breaker_options_problem(&o->breaker));
    }
    if (o->concurrency_on) {
        err = np_concurrency_new(&o->concurrency, &r->concurrency);
        if (err != NEAP_OK)
            return named(info, err, "concurrency", np_concurrency_problem(&o->concurrency));
    }
    if (o->limiter_on) {
        err = np_limiter_init(&r->limiter, &o->limiter, now);
        if (err != NEAP_OK) return named(info, err, "rate_limit", np_limiter_problem(&o->limiter));
        r->limited = true;
    }
    return NEAP_OK;
}

enum neap_err np_cluster_rules_new(const struct np_cluster_options *o, uint64_t seed, int64_t now,
                                   struct np_cluster_rules **out, struct neap_errinfo *info)
{
    enum neap_err err = np_cluster_check(o, info);
    if (err != NEAP_OK) return err;
    struct np_cluster_rules *r = np_calloc(1, sizeof *r);
    if (r == NULL) return np_err_plain(info, NEAP_ENOMEM);
    atomic_init(&r->refs, 1);
    np_retry_budget_init(&r->budget, o->retry.budget, o->retry.reserve);
    np_retry_budget_init(&r->shadow, o->retry.budget, o->retry.reserve);
    np_quantile_init(&r->latency, o->hedge.quantile, o->hedge.window_ns, o->hedge.min_samples);
    err = make_rules(r, o, seed, now, info);
    if (err != NEAP_OK) goto fail;
    *out = r;
    return NEAP_OK;
fail:
    rules_free(r);
    return err;
}

struct np_cluster_rules *np_cluster_rules_ref(struct np_cluster_rules *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void np_cluster_rules_unref(struct np_cluster_rules *r)
{
    if (r == NULL) return;
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) rules_free(r);
}

struct np_outlier *np_cluster_rules_outlier(const struct np_cluster_rules *r)
{
    return r->outlier;
}

struct np_breaker *np_cluster_rules_breaker(const struct np_cluster_rules *r)
{
    return r->breaker;
}

struct np_concurrency *np_cluster_rules_concurrency(const struct np_cluster_rules *r)
{
    return r->concurrency;
}

const struct np_limiter *np_cluster_rules_limiter(const struct np_cluster_rules *r)
{
    return r->limited ? &r->limiter : NULL;
}

const struct np_retry_budget *np_cluster_rules_budget(const struct np_cluster_rules *r)
{
    return &r->budget;
}
