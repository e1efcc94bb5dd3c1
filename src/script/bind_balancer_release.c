/* How a request ended, as scripts say it (see bind_balancer.h). */
#include <string.h>

#include "base/clock.h"
#include "script/bind_balancer.h"
#include "script/luax.h"

struct told {
    int status;
    const char *fault;
    int64_t latency, retry_after;
    double bytes_in, bytes_out;
};

static const struct np_opt told_list[] = {
    {"ok", NP_OPT_ANY, 0, 0, 0},
    {"status", NP_OPT_INT, offsetof(struct told, status), 0, 999},
    {"fault", NP_OPT_STRING, offsetof(struct told, fault), 0, 0},
    {"latency", NP_OPT_SECONDS, offsetof(struct told, latency), 0, 0},
    {"retry_after", NP_OPT_SECONDS, offsetof(struct told, retry_after), 0, 0},
    {"bytes_in", NP_OPT_NUMBER, offsetof(struct told, bytes_in), 0, 9e15},
    {"bytes_out", NP_OPT_NUMBER, offsetof(struct told, bytes_out), 0, 9e15},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

static enum np_fault fault_of_status(int status)
{
    if (status == 429) return NP_FAULT_OVERLOAD;
    if (status >= 502 && status <= 504) return NP_FAULT_GATEWAY;
    return status >= 500 ? NP_FAULT_SERVER : NP_FAULT_NONE;
}

static enum np_fault fault_of_name(lua_State *L, const char *name)
{
    static const char *const names[] = {[NP_FAULT_LOCAL] = "local",
                                        [NP_FAULT_GATEWAY] = "gateway",
                                        [NP_FAULT_SERVER] = "server",
                                        [NP_FAULT_OVERLOAD] = "overload"};
    for (size_t i = NP_FAULT_LOCAL; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return (enum np_fault)i;
    }
    np_misuse(L, "result.fault: expected local, gateway, server or overload, got '%s'", name);
    return NP_FAULT_NONE;
}

/* { ok=, status=, fault=, latency=, retry_after=, bytes_in=, bytes_out= }: without `ok` the fault
 * or the status tells. Replaces the table at 3 by ok and latency, and puts it behind them. */
static void read_told(lua_State *L, struct np_result *r)
{
    struct told o = {.latency = -1};
    np_opts_read(L, 3, "result", told_list, &o);
    r->fault = o.fault ? fault_of_name(L, o.fault) : fault_of_status(o.status);
    r->latency_ns = o.latency;
    r->retry_after_ns = o.retry_after;
    r->bytes_in = (uint64_t)o.bytes_in;
    r->bytes_out = (uint64_t)o.bytes_out;
    if (lua_getfield(L, 3, "ok") == LUA_TNIL && (o.status > 0 || o.fault)) {
        lua_pushboolean(L, r->fault == NP_FAULT_NONE);
        lua_replace(L, -2);
    }
    if (o.latency >= 0) {
        lua_pushnumber(L, np_to_seconds(o.latency));
    } else {
        lua_pushnil(L);
    }
    lua_rotate(L, 3, -1); /* b, endpoint, ok, latency, table */
}

/* Stack: b, endpoint, ok, latency → b, endpoint, ok, latency, result or nil */
static void read_result(lua_State *L, struct np_result *r)
{
    *r = (struct np_result){.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};
    if (lua_istable(L, 3)) {
        lua_settop(L, 3);
        read_told(L, r);
    } else {
        lua_settop(L, 5);
        r->latency_ns = np_check_seconds(L, 4, -1);
    }
    if (lua_isnil(L, 3)) return;
    luaL_checktype(L, 3, LUA_TBOOLEAN);
    r->outcome = lua_toboolean(L, 3) ? NP_OUTCOME_OK : NP_OUTCOME_FAILED;
}

/* b:release(endpoint, [ok, [latency]]) or b:release(endpoint, result) */
int np_balancer_release_method(lua_State *L)
{
    struct np_result r;
    struct np_lua_balancer *b = np_balancer_check_any(L);
    lua_settop(L, 4);
    read_result(L, &r);
    struct np_endpoint_view *v = np_endpoint_check(L, 2);
    if (v->picks == 0) np_misuse(L, "release: %s was not picked, or was released", v->e->id);
    bool trial = v->trials > 0;
    v->picks--;
    v->trials -= trial;
    int64_t now = np_balancer_now(L);
    if (b->selector != NULL) {
        np_selector_release(b->selector, v->e, trial, &r, now);
        return b->has_release ? np_policy_release(L, b) : 0;
    }
    np_endpoint_end(v->e, &r, now);
    if (trial) np_trial_end(v->e, &r, now);
    np_endpoint_unref(v->e);
    return 0;
}

/* b:ended(endpoint, [ok, [latency]]) or b:ended(endpoint, result): how a request went whose
 * endpoint the policy chose (choose) and somebody else began and ended. The policy's own hook hears
 * of it, the statistics do not. */
int np_balancer_ended_method(lua_State *L)
{
    struct np_result r;
    struct np_lua_balancer *b = np_balancer_check_any(L);
    lua_settop(L, 4);
    read_result(L, &r);
    (void)np_endpoint_check(L, 2);
    return b->selector != NULL && b->has_release ? np_policy_release(L, b) : 0;
}
