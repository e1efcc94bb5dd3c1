/* neap.core.cluster: what came of an attempt, as scripts tell it: HTTP's statuses and error objects
 * as outcomes and faults (see call:finish in bind_cluster.h).
 */
#include <string.h>

#include "script/bind_cluster.h"
#include "script/luax.h"

/* The request surely came to no server: it could not be sent … */
static bool is_unreached(enum neap_err code)
{
    switch (code) {
    case NEAP_ECONNREFUSED:
    case NEAP_EHOSTUNREACH:
    case NEAP_ENETUNREACH:
    case NEAP_EADDRNOTAVAIL:
    case NEAP_EDNS:
    case NEAP_ENOTFOUND: /* the name */
    case NEAP_EPROXY:
        return true;
    default:
        return false;
    }
}

/* … or it had not come to sending. */
static bool before_sending(const char *phase)
{
    static const char *const phases[] = {"dns", "connect", "proxy", "tls", NULL};
    for (const char *const *p = phases; phase != NULL && *p != NULL; p++) {
        if (strcmp(phase, *p) == 0) return true;
    }
    return false;
}

/* It has waited for a connection of our own pool, which is no fault of the endpoint's. */
static bool was_waiting(const char *phase)
{
    return phase != NULL && strcmp(phase, "wait") == 0;
}

/* It may have been acted on, or not. */
static bool is_uncertain(enum neap_err code)
{
    switch (code) {
    case NEAP_ECONNRESET:
    case NEAP_ECONNABORTED:
    case NEAP_ENOTCONN:
    case NEAP_EPIPE:
    case NEAP_EPROTO:
    case NEAP_EOF:
    case NEAP_ETIMEDOUT:
    case NEAP_ECLOSED:
        return true;
    default:
        return false;
    }
}

void np_cluster_outcome_of_error(enum neap_err code, const char *phase,
                                 struct np_cluster_outcome *o)
{
    *o = (struct np_cluster_outcome){.r = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1}};
    if (code == NEAP_ECANCELED) return;
    o->r.outcome = NP_OUTCOME_FAILED;
    o->unreached = is_unreached(code) || before_sending(phase) || was_waiting(phase);
    if (was_waiting(phase)) {
        o->r.fault = NP_FAULT_NONE;
        o->retriable = NP_RETRIABLE_YES;
    } else if (o->unreached || is_uncertain(code) || code == NEAP_ETLS) {
        o->r.fault = NP_FAULT_LOCAL;
        o->retriable = NP_RETRIABLE_YES;
    } else {
        o->r.fault = NP_FAULT_NONE; /* ours: a limit, no memory, a misuse … */
        o->retriable = NP_RETRIABLE_NO;
    }
}

static void read_error(lua_State *L, int idx, struct np_cluster_outcome *o)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    lua_getfield(L, idx, "phase");
    const char *phase = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    np_cluster_outcome_of_error(np_error_code(L, idx), phase, o);
    lua_pop(L, 1);
}

bool np_cluster_retries(const struct np_cluster_shell *s, lua_Integer status)
{
    if (status < 0 || status > NP_CLUSTER_STATUS_MAX) return false;
    return s->statuses[status / 64] >> (status % 64) & 1;
}

void np_cluster_outcome_of_status(const struct np_cluster_shell *s, int status,
                                  struct np_cluster_outcome *o)
{
    *o = (struct np_cluster_outcome){.r = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1}};
    bool retried = np_cluster_retries(s, status);
    if (status < 500 && status != 429 && !retried) {
        o->r.outcome = NP_OUTCOME_OK;
        return;
    }
    o->r.outcome = NP_OUTCOME_FAILED;
    o->retriable = retried ? NP_RETRIABLE_YES : NP_RETRIABLE_NO;
    if (status == 429) {
        o->r.fault = NP_FAULT_OVERLOAD;
    } else if (status >= 502 && status <= 504) {
        o->r.fault = NP_FAULT_GATEWAY;
    } else {
        o->r.fault = NP_FAULT_SERVER;
    }
}

static uint64_t check_bytes(lua_State *L, int idx)
{
    lua_Number n = luaL_optnumber(L, idx, 0);
    return n > 0 && n < 1e18 ? (uint64_t)n : 0;
}

void np_cluster_read_outcome(lua_State *L, const struct np_cluster_shell *s,
                             struct np_cluster_outcome *o)
{
    *o = (struct np_cluster_outcome){.r = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1}};
    switch (lua_type(L, 3)) {
    case LUA_TNUMBER:
        np_cluster_outcome_of_status(s, (int)luaL_checkinteger(L, 3), o);
        break;
    case LUA_TNIL:
    case LUA_TNONE:
        break;
    default:
        read_error(L, 3, o);
    }
    o->r.latency_ns = np_check_seconds(L, 4, -1);
    if (lua_gettop(L) < 5) return;
    o->r.retry_after_ns = np_check_seconds(L, 5, 0);
    o->r.bytes_in = check_bytes(L, 6);
    o->r.bytes_out = check_bytes(L, 7);
}
