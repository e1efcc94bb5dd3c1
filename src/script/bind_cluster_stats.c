/* neap.core.cluster: cluster:stats(), a table of numbers, times in seconds:
 *
 *   calls, succeeded, failed, canceled, attempts, retries, hedges, hedges_won,
 * would_retry, would_hedge      of this worker's cluster refused, would_refuse
 * = { deadline, rate_limit, concurrency, breaker, endpoints, retry, hedge }
 *   hedge_delay      nil while too little is known, or without hedging
 *   panics, spilled, failed_over, fallbacks, trials        of its selector
 *   budget = { balance, withdrawn, refused }               of all who share the
 * rules, as what follows breaker = { state, opened, closed, refused_open,
 * refused_cap, calls, failures, wait }   or nil concurrency = { limit,
 * inflight, min_rtt, sampled, admitted = {by class}, refused = {…} } or nil
 *   outlier = { ejected = {by reason}, readmitted, spared } or nil rate_limit =
 * { allowed, refused } or nil endpoints, usable     how many there are
 */
#include "base/clock.h"
#include "script/bind_cluster.h"
#include "script/luax.h"
#include "script/state.h"

static void set_seconds(lua_State *L, const char *name, double ns)
{
    lua_pushnumber(L, ns / 1e9);
    lua_setfield(L, -2, name);
}

/* Sets field `name` of the table on top to counts by rule. */
static void set_by_rule(lua_State *L, const char *name, const uint64_t *n)
{
    lua_createtable(L, 0, NP_RULES);
    for (int r = NP_RULE_DEADLINE; r < NP_RULES; r++) {
        if (r != NP_RULE_OUTLIER) np_set_count(L, np_rule_name((enum np_rule)r), n[r]);
    }
    lua_setfield(L, -2, name);
}

static void set_by_class(lua_State *L, const char *name, const uint64_t *n)
{
    lua_createtable(L, 0, NP_PRIORITY_CLASSES);
    for (int p = 0; p < NP_PRIORITY_CLASSES; p++)
        np_set_count(L, np_priority_name((enum np_priority)p), n[p]);
    lua_setfield(L, -2, name);
}

static void set_counters(lua_State *L, const struct np_cluster *c)
{
    struct np_cluster_counters n = np_cluster_counters(c);
    np_set_count(L, "calls", n.calls);
    np_set_count(L, "succeeded", n.succeeded);
    np_set_count(L, "failed", n.failed);
    np_set_count(L, "canceled", n.canceled);
    np_set_count(L, "attempts", n.attempts);
    np_set_count(L, "retries", n.retries);
    np_set_count(L, "hedges", n.hedges);
    np_set_count(L, "hedges_won", n.hedges_won);
    np_set_count(L, "would_retry", n.would_retry);
    np_set_count(L, "would_hedge", n.would_hedge);
    set_by_rule(L, "refused", n.refused);
    set_by_rule(L, "would_refuse", n.would_refuse);
    if (n.hedge_delay_ns > 0) set_seconds(L, "hedge_delay", n.hedge_delay_ns);
}

static void set_selector(lua_State *L, struct np_selector *s, int64_t now)
{
    struct np_selector_stats n = np_selector_stats(s);
    np_set_count(L, "panics", n.panics);
    np_set_count(L, "spilled", n.spilled);
    np_set_count(L, "failed_over", n.failed_over);
    np_set_count(L, "fallbacks", n.fallbacks);
    np_set_count(L, "trials", n.trials);
    np_set_count(L, "endpoints", np_selector_all(s)->len);
    np_set_count(L, "usable", np_selector_usable(s, now)->len);
}

static void set_budget(lua_State *L, const struct np_retry_budget *b, int64_t now)
{
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, np_retry_budget_balance(b, now));
    lua_setfield(L, -2, "balance");
    np_set_count(L, "withdrawn", atomic_load_explicit(&b->withdrawn, memory_order_relaxed));
    np_set_count(L, "refused", atomic_load_explicit(&b->refused, memory_order_relaxed));
    lua_setfield(L, -2, "budget");
}

static void set_breaker(lua_State *L, const struct np_breaker *b, int64_t now)
{
    if (b == NULL) return;
    struct np_breaker_counters n = np_breaker_counters(b);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, np_breaker_state_name(np_breaker_state(b, now)));
    lua_setfield(L, -2, "state");
    np_set_count(L, "opened", n.opened);
    np_set_count(L, "closed", n.closed);
    np_set_count(L, "refused_open", n.refused_open);
    np_set_count(L, "refused_cap", n.refused_cap);
    np_set_count(L, "calls", n.calls);
    np_set_count(L, "failures", n.failures);
    set_seconds(L, "wait", (double)np_breaker_wait(b, now));
    lua_setfield(L, -2, "breaker");
}

static void set_concurrency(lua_State *L, const struct np_concurrency *c)
{
    if (c == NULL) return;
    struct np_concurrency_counters n = np_concurrency_counters(c);
    lua_createtable(L, 0, 6);
    np_set_count(L, "limit", n.limit);
    np_set_count(L, "inflight", n.inflight);
    set_seconds(L, "min_rtt", n.min_rtt_ns);
    set_seconds(L, "sampled", n.sampled_ns);
    set_by_class(L, "admitted", n.admitted);
    set_by_class(L, "refused", n.refused);
    lua_setfield(L, -2, "concurrency");
}

static void set_outlier(lua_State *L, const struct np_outlier *o)
{
    if (o == NULL) return;
    struct np_outlier_counters n = np_outlier_counters(o);
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, NP_EJECTIONS);
    for (int e = NP_EJECT_NONE + 1; e < NP_EJECTIONS; e++)
        np_set_count(L, np_ejection_name((enum np_ejection)e), n.ejected[e]);
    lua_setfield(L, -2, "ejected");
    np_set_count(L, "readmitted", n.readmitted);
    np_set_count(L, "spared", n.spared);
    lua_setfield(L, -2, "outlier");
}

static void set_limiter(lua_State *L, const struct np_limiter *l)
{
    if (l == NULL) return;
    lua_createtable(L, 0, 2);
    np_set_count(L, "allowed", atomic_load_explicit(&l->allowed, memory_order_relaxed));
    np_set_count(L, "refused", atomic_load_explicit(&l->refused, memory_order_relaxed));
    lua_setfield(L, -2, "rate_limit");
}

int np_cluster_push_stats(lua_State *L)
{
    int64_t now = np_loop_hrtime();
    struct np_cluster *c = np_cluster_box_check(L, now)->shell->cluster;
    const struct np_cluster_rules *r = np_cluster_rules_of(c);
    lua_createtable(L, 0, 24);
    set_counters(L, c);
    set_selector(L, np_cluster_selector(c), now);
    set_budget(L, np_cluster_rules_budget(r), now);
    set_breaker(L, np_cluster_rules_breaker(r), now);
    set_concurrency(L, np_cluster_rules_concurrency(r));
    set_outlier(L, np_cluster_rules_outlier(r));
    set_limiter(L, np_cluster_rules_limiter(r));
    return 1;
}
