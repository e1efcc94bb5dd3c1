/* neap.core.sim: what came of a run, as tables. Times are seconds. */
#include "base/clock.h"
#include "script/bind_sim.h"
#include "script/luax.h"

static void set_number(lua_State *L, const char *name, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, name);
}

static double quantile(const struct np_sim_hist *h, double q)
{
    return np_to_seconds(np_sim_hist_at(h, q));
}

/* t[name] = { mean, p50, p90, p95, p99, p999, max, count } */
static void set_hist(lua_State *L, const char *name, const struct np_sim_hist *h)
{
    lua_createtable(L, 0, 8);
    set_number(L, "mean", np_sim_hist_mean(h) / 1e9);
    set_number(L, "p50", quantile(h, 0.5));
    set_number(L, "p90", quantile(h, 0.9));
    set_number(L, "p95", quantile(h, 0.95));
    set_number(L, "p99", quantile(h, 0.99));
    set_number(L, "p999", quantile(h, 0.999));
    set_number(L, "max", np_to_seconds(h->max));
    np_set_count(L, "count", h->count);
    lua_setfield(L, -2, name);
}

static void set_rules(lua_State *L, const char *name, const uint64_t *counts)
{
    lua_newtable(L);
    for (int i = 1; i < NP_RULES; i++) {
        if (counts[i] > 0) np_set_count(L, np_rule_name((enum np_rule)i), counts[i]);
    }
    lua_setfield(L, -2, name);
}

static void set_errors(lua_State *L, const struct np_sim_totals *t)
{
    lua_createtable(L, 0, NP_SIM_ERRORS);
    for (int i = 0; i < NP_SIM_ERRORS; i++)
        np_set_count(L, np_sim_error_name((enum np_sim_error)i), t->errors[i]);
    lua_setfield(L, -2, "errors");
}

/* t.classes = { { requests, good }, … } */
static void set_classes(lua_State *L, const struct np_sim_totals *t)
{
    lua_newtable(L);
    for (int i = 0; i < NP_SIM_CLASSES_MAX; i++) {
        lua_createtable(L, 0, 2);
        np_set_count(L, "requests", t->classes[i].requests);
        np_set_count(L, "good", t->classes[i].good);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "classes");
}

int np_sim_push_totals(lua_State *L)
{
    const struct np_sim_totals *t = np_sim_totals(np_sim_check_open(L)->sim);
    lua_createtable(L, 0, 24);
    set_number(L, "span", t->span);
    np_set_count(L, "requests", t->requests);
    np_set_count(L, "ok", t->ok);
    np_set_count(L, "good", t->good);
    np_set_count(L, "calls", t->calls);
    np_set_count(L, "attempts", t->attempts);
    np_set_count(L, "retries", t->retries);
    np_set_count(L, "hedges", t->hedges);
    np_set_count(L, "hedges_won", t->hedges_won);
    np_set_count(L, "ejections", t->ejections);
    np_set_count(L, "ejections_right", t->ejections_right);
    np_set_count(L, "wasted", t->wasted);
    np_set_count(L, "policy_faults", t->policy_faults);
    np_set_count(L, "events", t->events);
    set_number(L, "fairness", t->fairness);
    set_errors(L, t);
    set_classes(L, t);
    set_rules(L, "refused", t->refused);
    set_rules(L, "would_refuse", t->would_refuse);
    set_hist(L, "latency", &t->latency);
    set_hist(L, "success", &t->success);
    return 1;
}

enum column { REQUESTS, OK, GOOD, ATTEMPTS, EJECTED, LIMIT, P50, P99, COLUMNS };

static double value_of(const struct np_sim_point *p, enum column c)
{
    switch (c) {
    case REQUESTS:
        return p->requests;
    case OK:
        return p->ok;
    case GOOD:
        return p->good;
    case ATTEMPTS:
        return p->attempts;
    case EJECTED:
        return p->ejected;
    case LIMIT:
        return p->limit;
    case P50:
        return quantile(&p->latency, 0.5);
    case P99:
        return quantile(&p->latency, 0.99);
    case COLUMNS:
        break;
    }
    return 0;
}

/* Arrays by bucket. */
int np_sim_push_series(lua_State *L)
{
    static const char *const names[] = {"requests", "ok",    "good", "attempts",
                                        "ejected",  "limit", "p50",  "p99"};
    struct np_sim_box *b = np_sim_check_open(L);
    lua_createtable(L, 0, COLUMNS);
    for (int c = 0; c < COLUMNS; c++) {
        lua_createtable(L, (int)b->buckets, 0);
        for (uint32_t i = 0; i < b->buckets; i++) {
            lua_pushnumber(L, value_of(np_sim_point(b->sim, i), (enum column)c));
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        lua_setfield(L, -2, names[c]);
    }
    return 1;
}

/* An array of tables. */
int np_sim_push_servers(lua_State *L)
{
    struct np_sim_box *b = np_sim_check_open(L);
    lua_createtable(L, (int)b->servers, 0);
    for (size_t i = 0; i < b->servers; i++) {
        struct np_sim_server_totals t = np_sim_server(b->sim, i);
        lua_createtable(L, 0, 6);
        np_set_count(L, "attempts", t.attempts);
        np_set_count(L, "served", t.served);
        np_set_count(L, "failed", t.failed);
        np_set_count(L, "refused", t.refused);
        np_set_count(L, "queued_most", t.queued_most);
        set_number(L, "busy", t.busy);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

int np_sim_push_load(lua_State *L)
{
    struct np_sim_box *b = np_sim_check_open(L);
    lua_Integer server = luaL_checkinteger(L, 2);
    luaL_argcheck(L, server >= 1 && (size_t)server <= b->servers, 2, "no such endpoint");
    lua_createtable(L, (int)b->buckets, 0);
    for (uint32_t i = 0; i < b->buckets; i++) {
        lua_pushinteger(L, np_sim_server_load(b->sim, (size_t)server - 1, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}
