/* neap.core.cluster: the options of a cluster, read and checked (see
 * bind_cluster.h). */
#include <stdio.h>
#include <string.h>

#include "script/bind_cluster.h"
#include "script/luax.h"

/* A field of `type` in `structure`; the bounds count for numbers alone. */
#define FIELD(type, structure, name, field, min, max)                    \
    {                                                                    \
        name, NP_OPT_##type, offsetof(struct structure, field), min, max \
    }
#define NO_MORE                   \
    {                             \
        NULL, NP_OPT_ANY, 0, 0, 0 \
    }

#define SECONDS_MAX 86400.0 /* of what is measured in seconds here: a day */
#define MANY 1000000.0
#define RETRY_ATTEMPTS 3 /* where retries are asked for without a number */

static const struct np_opt retry_list[] = {
    FIELD(INT, np_retry_options, "attempts", attempts, 1, NP_CALL_ATTEMPTS),
    FIELD(NUMBER, np_retry_options, "budget", budget, 0, 10),
    FIELD(INT, np_retry_options, "reserve", reserve, 0, MANY),
    FIELD(SECONDS, np_retry_options, "backoff", backoff_ns, 0, SECONDS_MAX),
    FIELD(SECONDS, np_retry_options, "max_backoff", max_backoff_ns, 0, SECONDS_MAX),
    FIELD(SECONDS, np_retry_options, "timeout", per_try_ns, 0, SECONDS_MAX),
    FIELD(BOOL, np_retry_options, "retry_after", honour_retry_after, 0, 0),
    FIELD(BOOL, np_retry_options, "shadow", shadow, 0, 0),
    {"statuses", NP_OPT_TABLE, 0, 0, 0},
    NO_MORE,
};

static const struct np_opt hedge_list[] = {
    FIELD(NUMBER, np_hedge_options, "quantile", quantile, 0.01, 0.9999),
    FIELD(SECONDS, np_hedge_options, "min_delay", min_delay_ns, 0, SECONDS_MAX),
    FIELD(INT, np_hedge_options, "max", max, 1, 8),
    FIELD(INT, np_hedge_options, "min_samples", min_samples, 1, MANY),
    FIELD(SECONDS, np_hedge_options, "window", window_ns, 0.1, SECONDS_MAX),
    FIELD(BOOL, np_hedge_options, "shadow", shadow, 0, 0),
    NO_MORE,
};

static const struct np_opt outlier_list[] = {
    FIELD(BOOL, np_outlier_options, "shadow", shadow, 0, 0),
    FIELD(INT, np_outlier_options, "consecutive_5xx", consecutive_5xx, 0, MANY),
    FIELD(INT, np_outlier_options, "consecutive_gateway_failure", consecutive_gateway_failure, 0,
          MANY),
    FIELD(INT, np_outlier_options, "consecutive_local_failure", consecutive_local_failure, 0, MANY),
    FIELD(SECONDS, np_outlier_options, "interval", interval_ns, 0.001, SECONDS_MAX),
    FIELD(SECONDS, np_outlier_options, "base_ejection_time", base_ejection_ns, 0.001, SECONDS_MAX),
    FIELD(SECONDS, np_outlier_options, "max_ejection_time", max_ejection_ns, 0.001, SECONDS_MAX),
    FIELD(SECONDS, np_outlier_options, "max_ejection_jitter", max_jitter_ns, 0, SECONDS_MAX),
    FIELD(NUMBER, np_outlier_options, "max_ejection_percent", max_ejection_percent, 0, 100),
    FIELD(NUMBER, np_outlier_options, "success_rate_stdev_factor", success_rate_stdev_factor, 0,
          100),
    FIELD(INT, np_outlier_options, "success_rate_minimum_hosts", success_rate_minimum_hosts, 0,
          MANY),
    FIELD(INT, np_outlier_options, "success_rate_request_volume", success_rate_request_volume, 0,
          MANY),
    FIELD(NUMBER, np_outlier_options, "failure_percentage_threshold", failure_percentage_threshold,
          0, 100),
    FIELD(INT, np_outlier_options, "failure_percentage_minimum_hosts",
          failure_percentage_minimum_hosts, 0, MANY),
    FIELD(INT, np_outlier_options, "failure_percentage_request_volume",
          failure_percentage_request_volume, 0, MANY),
    FIELD(BOOL, np_outlier_options, "retry_after", retry_after, 0, 0),
    NO_MORE,
};

static const struct np_opt breaker_list[] = {
    FIELD(BOOL, np_breaker_options, "shadow", shadow, 0, 0),
    FIELD(INT, np_breaker_options, "consecutive_failures", consecutive_failures, 0, MANY),
    FIELD(NUMBER, np_breaker_options, "failure_rate", failure_rate, 0, 1),
    FIELD(INT, np_breaker_options, "minimum_calls", minimum_calls, 1, MANY),
    FIELD(SECONDS, np_breaker_options, "window", window_ns, 0.01, SECONDS_MAX),
    FIELD(SECONDS, np_breaker_options, "open", open_ns, 0.001, SECONDS_MAX),
    FIELD(SECONDS, np_breaker_options, "max_open", max_open_ns, 0.001, SECONDS_MAX),
    FIELD(NUMBER, np_breaker_options, "jitter", jitter, 0, 1),
    FIELD(INT, np_breaker_options, "half_open_probes", half_open_probes, 1, 10000),
    FIELD(INT, np_breaker_options, "max_requests", max_requests, 0, MANY),
    NO_MORE,
};

static const struct np_opt concurrency_list[] = {
    FIELD(BOOL, np_concurrency_options, "shadow", shadow, 0, 0),
    FIELD(BOOL, np_concurrency_options, "adaptive", adaptive, 0, 0),
    FIELD(INT, np_concurrency_options, "initial", initial, 1, MANY),
    FIELD(INT, np_concurrency_options, "min", min, 1, MANY),
    FIELD(INT, np_concurrency_options, "max", max, 1, MANY),
    FIELD(SECONDS, np_concurrency_options, "window", window_ns, 0.001, SECONDS_MAX),
    FIELD(INT, np_concurrency_options, "min_samples", min_samples, 1, MANY),
    FIELD(NUMBER, np_concurrency_options, "quantile", quantile, 0.01, 0.999),
    FIELD(NUMBER, np_concurrency_options, "buffer", buffer, 0, 100),
    FIELD(NUMBER, np_concurrency_options, "backoff", backoff, 0.1, 1),
    FIELD(SECONDS, np_concurrency_options, "forget", forget_ns, 0.01, SECONDS_MAX),
    {"share", NP_OPT_TABLE, 0, 0, 0},
    NO_MORE,
};

struct limiter {
    struct np_limiter_options o;
    const char *algorithm;
};
static const struct np_opt limiter_list[] = {
    {"algorithm", NP_OPT_STRING, offsetof(struct limiter, algorithm), 0, 0},
    FIELD(BOOL, limiter, "shadow", o.shadow, 0, 0),
    FIELD(NUMBER, limiter, "rate", o.rate, 1e-9, 1e9),
    FIELD(NUMBER, limiter, "burst", o.burst, 1e-9, 1e9),
    FIELD(SECONDS, limiter, "window", o.window_ns, 0.001, SECONDS_MAX),
    FIELD(NUMBER, limiter, "queue", o.queue, 0, 1e9),
    NO_MORE,
};

struct slow_start {
    int64_t duration;
    double min, aggression;
    const char *curve;
};
static const struct np_opt slow_start_list[] = {
    FIELD(SECONDS, slow_start, "duration", duration, 0.001, SECONDS_MAX),
    FIELD(NUMBER, slow_start, "min", min, 0.0001, 1),
    FIELD(NUMBER, slow_start, "aggression", aggression, 0.01, 100),
    FIELD(STRING, slow_start, "curve", curve, 0, 0),
    NO_MORE,
};

/* The top level; what is nested is read afterwards. */
struct top {
    struct np_balancer_options balancer;
    struct np_selector_options selector;
    const char *service, *name, *subset_fallback, *keyed;
    int seed;
    bool plain;
};
static const struct np_opt top_list[] = {
    FIELD(STRING, top, "service", service, 0, 0),
    FIELD(STRING, top, "name", name, 0, 0),
    FIELD(BOOL, top, "plain", plain, 0, 0),
    FIELD(INT, top, "seed", seed, 0, 2147483647),
    FIELD(INT, top, "choices", balancer.choices, 1, 64),
    FIELD(BOOL, top, "full_scan", balancer.full_scan, 0, 0),
    FIELD(NUMBER, top, "active_bias", balancer.active_bias, 0, 100),
    FIELD(INT, top, "ring_points", balancer.ring_points, 1, 65536),
    FIELD(INT, top, "ring_max", balancer.ring_max, 1, 8 << 20),
    FIELD(NUMBER, top, "load_factor", balancer.load_factor, 0, 1e6),
    FIELD(INT, top, "table_size", balancer.table_size, 2, 8 << 20),
    FIELD(INT, top, "max_active", balancer.max_active, 1, MANY),
    FIELD(NUMBER, top, "error_penalty", balancer.error_penalty, 0, 1000),
    FIELD(SECONDS, top, "blackout", balancer.blackout_ns, 0, SECONDS_MAX),
    FIELD(SECONDS, top, "expiry", balancer.expiry_ns, 0.001, SECONDS_MAX),
    FIELD(SECONDS, top, "update", balancer.update_ns, 0.1, SECONDS_MAX),
    FIELD(NUMBER, top, "panic_threshold", selector.panic_threshold, 0, 1),
    FIELD(NUMBER, top, "overprovisioning", selector.overprovisioning, 1, 100),
    FIELD(STRING, top, "zone", selector.zone, 0, 0),
    FIELD(INT, top, "zone_min_endpoints", selector.zone_min_endpoints, 0, MANY),
    FIELD(NUMBER, top, "zone_spill", selector.zone_spill, 0, 1),
    FIELD(NUMBER, top, "zone_callers", selector.zone_callers, 0, 1),
    FIELD(STRING, top, "sticky", selector.sticky, 0, 0),
    FIELD(STRING, top, "keyed", keyed, 0, 0),
    FIELD(STRING, top, "subset_fallback", subset_fallback, 0, 0),
    {"tags", NP_OPT_TABLE, 0, 0, 0},
    {"endpoints", NP_OPT_TABLE, 0, 0, 0},
    {"subset_keys", NP_OPT_TABLE, 0, 0, 0},
    {"slow_start", NP_OPT_TABLE, 0, 0, 0},
    {"share", NP_OPT_ANY, 0, 0, 0},
    {"policy", NP_OPT_ANY, 0, 0, 0},
    {"retry", NP_OPT_ANY, 0, 0, 0},
    {"hedge", NP_OPT_ANY, 0, 0, 0},
    {"outlier", NP_OPT_ANY, 0, 0, 0},
    {"breaker", NP_OPT_ANY, 0, 0, 0},
    {"concurrency", NP_OPT_ANY, 0, 0, 0},
    {"rate_limit", NP_OPT_ANY, 0, 0, 0},
    NO_MORE,
};

/* opts[name]: true, false or a table of options, which is read into `out` and
 * stays on the stack; else nil does. Absent: `on` as it is. */
static bool read_rule(lua_State *L, int idx, const char *name, const struct np_opt *list, void *out,
                      bool on)
{
    char path[40];
    snprintf(path, sizeof path, "opts.%s", name);
    switch (lua_getfield(L, idx, name)) {
    case LUA_TNIL:
        return on;
    case LUA_TBOOLEAN:
        on = lua_toboolean(L, -1);
        lua_pop(L, 1);
        lua_pushnil(L);
        return on;
    case LUA_TTABLE:
        np_opts_read(L, -1, path, list, out);
        return true;
    default:
        np_misuse(L, "%s: expected table or boolean, got %s", path, luaL_typename(L, -1));
        return false;
    }
}

/* --- one rule after the other */

static void set_status(struct np_cluster_read *r, lua_Integer status)
{
    r->statuses[status / 64] |= UINT64_C(1) << (status % 64);
}

/* retry.statuses, with the table of retry on top, or nil. */
static void read_statuses(lua_State *L, struct np_cluster_read *r)
{
    if (lua_isnil(L, -1) || lua_getfield(L, -1, "statuses") == LUA_TNIL) {
        set_status(r, 502);
        set_status(r, 503);
        set_status(r, 504);
        return;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n && i <= 1000; i++) {
        int ok;
        lua_rawgeti(L, -1, i);
        lua_Integer status = lua_tointegerx(L, -1, &ok);
        if (!ok || status < 200 || status > NP_CLUSTER_STATUS_MAX) {
            np_misuse(L, "opts.retry.statuses[%d]: expected a status, 200 to %d", (int)i,
                      NP_CLUSTER_STATUS_MAX);
        }
        set_status(r, status);
        lua_pop(L, 1);
    }
}

static void read_retry(lua_State *L, int idx, struct np_cluster_read *r)
{
    int top = lua_gettop(L);
    bool capped = false;
    int type = lua_getfield(L, idx, "retry");
    if (type == LUA_TTABLE || lua_toboolean(L, -1)) r->o.retry.attempts = RETRY_ATTEMPTS;
    lua_pop(L, 1);
    bool on = read_rule(L, idx, "retry", retry_list, &r->o.retry, r->o.retry.attempts > 1);
    if (lua_istable(L, -1)) {
        capped = lua_getfield(L, -1, "max_backoff") != LUA_TNIL;
        lua_pop(L, 1);
    }
    /* Envoy's: ten times the base. */
    if (!capped) r->o.retry.max_backoff_ns = r->o.retry.backoff_ns * 10;
    read_statuses(L, r);
    if (!on) r->o.retry.attempts = 1;
    lua_settop(L, top);
}

static void read_share_of_classes(lua_State *L, struct np_concurrency_options *o)
{
    static const char path[] = "opts.concurrency.share";
    if (!lua_istable(L, -1) || lua_getfield(L, -1, "share") == LUA_TNIL) return;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t n = 0;
        enum np_priority p;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &n) : NULL;
        if (name == NULL || !np_priority_parse(name, n, &p)) {
            np_misuse(L, "%s: expected names of priority classes as keys", path);
        }
        double share = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(share >= 0 && share <= 10)) {
            np_misuse(L, "%s.%s: must be between 0 and 10", path, name);
        }
        o->share[p] = share;
        lua_pop(L, 1);
    }
}

static void read_limiter(lua_State *L, int idx, struct np_cluster_read *r)
{
    struct limiter l = {.algorithm = NULL};
    memcpy(&l.o, &r->o.limiter, sizeof l.o);
    int top = lua_gettop(L);
    r->o.limiter_on = read_rule(L, idx, "rate_limit", limiter_list, &l, false);
    if (r->o.limiter_on && !(l.o.rate > 0)) np_misuse(L, "opts.rate_limit.rate: is required");
    if (l.algorithm != NULL) {
        bool found = false;
        l.o.algorithm = np_limiter_find(l.algorithm, &found);
        if (!found) np_misuse(L, "opts.rate_limit.algorithm: no algorithm '%s'", l.algorithm);
    }
    memcpy(&r->o.limiter, &l.o, sizeof l.o);
    lua_settop(L, top);
}

static void read_slow_start(lua_State *L, int idx, struct np_selector_options *o)
{
    struct slow_start s = {0, o->slow_start_min, o->slow_start_aggression, "envoy"};
    if (lua_getfield(L, idx, "slow_start") == LUA_TTABLE) {
        np_opts_read(L, -1, "opts.slow_start", slow_start_list, &s);
        if (s.duration == 0) np_misuse(L, "opts.slow_start.duration: is required");
        bool linear = strcmp(s.curve, "linear") == 0;
        if (!linear && strcmp(s.curve, "envoy") != 0) {
            np_misuse(L, "opts.slow_start.curve: expected envoy or linear, got '%s'", s.curve);
        }
        o->slow_start_ns = s.duration;
        o->slow_start_min = s.min;
        o->slow_start_aggression = s.aggression;
        o->slow_start_curve = linear ? NP_SLOW_START_LINEAR : NP_SLOW_START_ENVOY;
    }
    lua_pop(L, 1);
}

/* Pushes what holds the array. */
static void read_subset_keys(lua_State *L, int idx, struct np_selector_options *o)
{
    if (lua_getfield(L, idx, "subset_keys") != LUA_TTABLE) return;
    size_t n = lua_rawlen(L, -1);
    if (n > NP_SUBSET_KEYS) np_misuse(L, "opts.subset_keys: more than %d", NP_SUBSET_KEYS);
    const char **keys = lua_newuserdatauv(L, (n + 1) * sizeof *keys, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        size_t len = 0;
        keys[i] = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (keys[i] == NULL || strlen(keys[i]) != len) {
            np_misuse(L, "opts.subset_keys[%d]: expected string", (int)i + 1);
        }
        lua_pop(L, 1); /* the table holds it */
    }
    o->subset_keys = keys;
    o->nsubset_keys = n;
}

/* --- all of them */

/* The policy for requests with a key, where that is another one. */
static const struct np_balancer_ops *hashing(lua_State *L, const char *name)
{
    const struct np_balancer_ops *ops = np_balancer_find(name);
    if (ops == NULL || !ops->stable) np_misuse(L, "opts.keyed: no hashing policy '%s'", name);
    return ops;
}

static void read_policy(lua_State *L, int idx, struct np_cluster_options *o)
{
    int type = lua_getfield(L, idx, "policy");
    if (type == LUA_TSTRING) {
        o->policy = np_balancer_find(lua_tostring(L, -1));
        if (o->policy == NULL) {
            np_misuse(L, "opts.policy: unknown policy '%s'", lua_tostring(L, -1));
        }
    } else if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
        o->policy = NULL;
    } else if (type != LUA_TNIL) {
        np_misuse(L, "opts.policy: expected a policy's name or false, got %s",
                  luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

static void read_top(lua_State *L, int idx, struct np_cluster_read *r)
{
    static const struct np_balancer_options balancer = NP_BALANCER_OPTIONS_INIT;
    static const struct np_selector_options selector = NP_SELECTOR_OPTIONS_INIT;
    struct top t = {.balancer = balancer, .selector = selector};
    np_opts_read(L, idx, "opts", top_list, &t);
    if (t.plain) {
        np_cluster_plain(&r->o, np_balancer_find("p2c"));
    } else {
        np_cluster_defaults(&r->o);
    }
    if (t.balancer.load_factor > 0 && t.balancer.load_factor < 1) {
        np_misuse(L, "opts.load_factor: must be 0 or at least 1");
    }
    if (t.subset_fallback != NULL) {
        bool none = strcmp(t.subset_fallback, "none") == 0;
        if (!none && strcmp(t.subset_fallback, "any") != 0) {
            np_misuse(L, "opts.subset_fallback: expected any or none, got '%s'", t.subset_fallback);
        }
        t.selector.subset_fallback = none ? NP_SUBSET_NONE : NP_SUBSET_ANY;
    }
    if (t.keyed != NULL) t.selector.keyed = hashing(L, t.keyed);
    t.balancer.seed = (uint64_t)t.seed;
    r->o.balancer = t.balancer;
    r->o.selector = t.selector;
    r->service = t.service;
    r->name = t.name ? t.name : t.service ? t.service : "endpoints";
}

static void read_share(lua_State *L, int idx, struct np_cluster_read *r)
{
    r->share = r->service;
    int type = lua_getfield(L, idx, "share");
    if (type == LUA_TSTRING) {
        r->share = lua_tostring(L, -1);
    } else if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
        r->share = NULL;
    } else if (type != LUA_TNIL) {
        np_misuse(L, "opts.share: expected string or false, got %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

void np_cluster_read_options(lua_State *L, int idx, struct np_cluster_read *r)
{
    struct np_cluster_options *o = &r->o;
    memset(r, 0, sizeof *r);
    read_top(L, idx, r);
    read_policy(L, idx, o);
    read_share(L, idx, r);
    read_retry(L, idx, r);
    o->hedge.on = read_rule(L, idx, "hedge", hedge_list, &o->hedge, o->hedge.on);
    o->outlier_on = read_rule(L, idx, "outlier", outlier_list, &o->outlier, o->outlier_on);
    o->breaker_on = read_rule(L, idx, "breaker", breaker_list, &o->breaker, o->breaker_on);
    lua_pop(L, 3);
    o->concurrency_on =
        read_rule(L, idx, "concurrency", concurrency_list, &o->concurrency, o->concurrency_on);
    int top = lua_gettop(L);
    read_share_of_classes(L, &o->concurrency);
    lua_settop(L, top - 1);
    if (o->concurrency.min > o->concurrency.max) {
        np_misuse(L, "opts.concurrency.min: must not be above max");
    }
    read_limiter(L, idx, r);
    read_slow_start(L, idx, &o->selector);
    read_subset_keys(L, idx, &o->selector);
}
