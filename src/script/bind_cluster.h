/* neap.core.cluster: np_cluster for Lua. What the HTTP client and gateways are built on; scripts
 * see it only through them, so there is no neap.cluster.
 *
 * Times are seconds, moments are seconds of runtime.monotonic(). The clock is read once a call into
 * C. Expected failures are `nil, err`, misuse raises.
 *
 *   core.new(opts) → cluster | nil, err
 *     service=, tags= | endpoints={…}   as neap.balancer.new has them; exactly one of the two first
 *     name=           for messages; default: the service, or "endpoints"
 *     share=          the rules are one for all workers that ask for this name with equal options;
 *                     default: the service (false: for this cluster alone; so for endpoints)
 *     plain=true      nothing is on but what is named here (default: as a service's client has it:
 *                     peak_ewma, outlier, retry, concurrency)
 *     policy=         a built-in policy's name; false: the caller picks and says so to start()
 *     seed, choices, full_scan, active_bias, ring_points, ring_max, load_factor, table_size,
 *     max_active, error_penalty, blackout, expiry, update: the policy's (mesh/balancer.h)
 *     panic_threshold, overprovisioning, zone, zone_min_endpoints, zone_spill, zone_callers,
 *     subset_keys={…}, subset_fallback="any"|"none", keyed="ring_hash"|"maglev", sticky=secret:
 *     the selector's (mesh/selector.h)
 *     slow_start={duration=, min=, aggression=, curve="envoy"|"linear"}
 *     retry=      true | false | {attempts, budget, reserve, backoff, max_backoff, timeout,
 *                 retry_after=true, statuses={502,503,504}, shadow}
 *     hedge=      true | false | {quantile, min_delay, max, min_samples, window, shadow}
 *     outlier=    true | false | {consecutive_5xx, consecutive_gateway_failure,
 *                 consecutive_local_failure, interval, base_ejection_time, max_ejection_time,
 *                 max_ejection_jitter, max_ejection_percent, success_rate_stdev_factor,
 *                 success_rate_minimum_hosts, success_rate_request_volume,
 *                 failure_percentage_threshold, failure_percentage_minimum_hosts,
 *                 failure_percentage_request_volume, retry_after, shadow}
 *     breaker=    true | false | {consecutive_failures, failure_rate, minimum_calls, window, open,
 *                 max_open, jitter, half_open_probes, max_requests, shadow}
 *     concurrency= true | false | {adaptive, initial, min, max, window, min_samples, quantile,
 *                 buffer, backoff, forget, shadow}
 *     rate_limit= false | {algorithm="token_bucket"|"gcra"|"sliding_window"|"leaky_bucket", rate,
 *                 burst, window, queue, shadow}
 *   Unknown keys and ill-typed or ill-ranged values raise with their path ("opts.retry.attempts").
 *   The tables are read here, so Lua may hand on what its user wrote (without what is Lua's own:
 *   retry.methods, fallback …).
 *
 *   cluster:pick([priority, [safe, [deadline, [key, [subset, [sticky]]]]]])
 *       → call, endpoint, timeout     admitted, and the first attempt is begun (its number is 1)
 *       | call, seconds               admitted; wait so long (a leaky bucket), then call:start()
 *       | nil, err                    refused
 *     priority: 0 … 4 or a name, nil: "normal"; safe: may be made twice; deadline: a moment or nil;
 *     key: string or number, for hashing policies; subset: {key = value, …}; sticky: the value that
 *     cluster:sticky(endpoint) gave for an earlier answer (another text is as none).
 *     err.code: ETIMEDOUT (deadline), ELIMIT (rate, concurrency), EBUSY (breaker), ENOENDPOINT;
 *     err.rule: "deadline", "rate_limit", "concurrency", "breaker", "endpoints";
 *     err.retry_after: seconds, if known.
 *   cluster:begin(… the same …) → call | call, seconds | nil, err     without the first attempt
 *   call:start([endpoint]) → endpoint, timeout, number | nil, err
 *     An attempt: the first, or a retry that finish() told to. timeout: seconds of this attempt
 *     (per-try time-out or what is left of the deadline), nil: none. With `endpoint` on that one;
 *     ENOENDPOINT if it is gone or not available. A call whose start failed has ended.
 *   call:finish(number, status | err | nil, [seconds, [retry_after, [bytes_in, [bytes_out]]]])
 *       → nil      done: this answer is the call's; when no other attempt is in flight the call
 *                  has ended
 *       | delay    seconds until another start() is to be made (0: at once)
 *       | false    another attempt is in flight, whose answer is to be waited for
 *     status: HTTP's; an error object (code, phase) for none; nil: canceled, it decides nothing.
 *     seconds: the latency, nil: since start. retry_after: seconds the answer asked for.
 *     After a retry's delay in which the caller lost patience, and to end a call early: call:close.
 *     A streamed answer's attempt is finished when its body ends, with the latency of its head; an
 *     answer that may be retried (call:retriable(status)) is finished at its head.
 *   call:answered(number)      its answer has begun and is the call's: the latency ends here, the
 *     others have lost (finish them with nil), and there is no further hedge or retry
 *   call:retriable(status) → whether finish with it could lead to another attempt
 *   call:hedge_delay() → seconds from now until a hedge is due | nil for never (just now)
 *   call:hedge() → endpoint, timeout, number | nil, err      ELIMIT: no budget, or in shadow mode
 *   call:tried() → array of endpoints          for policies in Lua
 *   call:attempts()                            how many were begun
 *   call:close(), __close, __gc: ends it; attempts that were not finished are canceled (the time
 *     they had taken is told to their endpoints, but not by __gc). What is closed may be used again
 * by another call of the cluster: hold it in a <close> variable, or close it once and forget it. A
 * method of an ended call raises, but close().
 *
 *   cluster:endpoints() → array; cluster:usable() → array, those that may be picked just now: the
 *     same table until they change.
 *   cluster:sticky(endpoint) → string | nil without the option `sticky`
 *   cluster:update(endpoints) → true | nil, err      of one that was made with a list
 *   cluster:stats() → table, see bind_cluster_stats.c
 *   cluster:close()      calls that have begun may end.
 *   core.priorities → {sheddable = 0, …, critical = 4}
 */
#ifndef NP_SCRIPT_BIND_CLUSTER_H
#define NP_SCRIPT_BIND_CLUSTER_H

#include <lauxlib.h>
#include <lua.h>

#include "mesh/cluster.h"
#include "mesh/commons.h"
#include "mesh/upstream.h"

#define NP_CLUSTER_TYPE "neap.cluster"
#define NP_CLUSTER_CALL_TYPE "neap.cluster.call"
#define NP_CLUSTER_STATUS_MAX 599
#define NP_CLUSTER_SUBSET_MAX 8 /* pairs that a call may ask for */

struct np_cluster_read {
    struct np_cluster_options o;
    const char *service, *name, *share; /* held by the table; service and share may be NULL */
    uint64_t statuses[(NP_CLUSTER_STATUS_MAX + 64) / 64]; /* that are retried, a bit each */
};

/* What a cluster's userdata and its calls share: the machine lives on until the last call has
 * ended. One thread. */
struct np_cluster_shell {
    unsigned refs;
    struct np_cluster *cluster;
    uint64_t statuses[(NP_CLUSTER_STATUS_MAX + 64) / 64];
};
void np_cluster_shell_unref(struct np_cluster_shell *s);

/* The userdata "neap.cluster". */
struct np_cluster_box {
    struct np_cluster_shell *shell; /* NULL: closed */
    struct np_common *rules;        /* its part of those that are shared */
    struct np_upstream *up;         /* NULL: over a list */
    struct np_snapshot *taken;      /* what the machine has */
    struct np_snapshot *listed[2];  /* what the arrays were made from */
    int pooled;                     /* calls in the pool */
};
enum np_cluster_uv {
    NP_CLUSTER_UV_NAME = 1,
    NP_CLUSTER_UV_POOL,   /* an array of calls that wait for their next use */
    NP_CLUSTER_UV_ALL,    /* the array that endpoints() gave last */
    NP_CLUSTER_UV_USABLE, /* … usable() */
    NP_CLUSTER_UVS = NP_CLUSTER_UV_USABLE
};

/* bind_cluster.c: as np_type_new, with the type's metatable as the upvalue of its methods, by which
 * np_cluster_self knows the object at 1 faster than by name. */
void np_cluster_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);
void *np_cluster_self(lua_State *L, const char *name);
/* bind_cluster_options.c: reads the table at `idx`; may push what holds its strings. */
void np_cluster_read_options(lua_State *L, int idx, struct np_cluster_read *r);
/* bind_cluster_stats.c: cluster:stats() */
int np_cluster_push_stats(lua_State *L);
/* bind_cluster_outcome.c */
struct np_cluster_outcome {
    struct np_result r;
    bool unreached;
    enum np_retriable retriable;
};
void np_cluster_outcome_of_status(const struct np_cluster_shell *s, int status,
                                  struct np_cluster_outcome *out);
/* `phase`: where the call stood, as the HTTP client names it; or NULL. */
void np_cluster_outcome_of_error(enum neap_err code, const char *phase,
                                 struct np_cluster_outcome *out);
/* call:finish's arguments from 3 on; a latency that is not given is -1. */
void np_cluster_read_outcome(lua_State *L, const struct np_cluster_shell *s,
                             struct np_cluster_outcome *out);
/* Whether an answer with that status is worth another attempt. */
bool np_cluster_retries(const struct np_cluster_shell *s, lua_Integer status);
/* bind_cluster.c: the cluster at 1, open, which has seen what its service has become. */
struct np_cluster_box *np_cluster_box_check(lua_State *L, int64_t now);
/* bind_cluster_call.c: a call at `idx`, lent while its userdata lives, for those who see an
 * answer's head before Lua does: the attempt begun last is answered, as by call:answered. The
 * second does not raise; of an ended call it does nothing. */
void *np_cluster_call_check(lua_State *L, int idx);
void np_cluster_call_answered(void *call);
void np_cluster_open_calls(lua_State *L);
/* bind_cluster_wishes.c: arguments from 2 on: priority, safe, deadline, key, (the subset,) sticky.
 */
void np_cluster_read_wishes(lua_State *L, struct np_call *call);
/* The table at `idx` as at most NP_CLUSTER_SUBSET_MAX pairs; gives how many, and pushes a table
 * that keeps their strings, whatever becomes of the caller's. */
size_t np_cluster_read_subset(lua_State *L, int idx, struct np_pair *out);
/* nil, err of a call that the cluster at that index has refused. */
int np_cluster_push_refusal(lua_State *L, int cluster, const struct np_call *call,
                            enum neap_err err);
int np_cluster_begin(lua_State *L); /* cluster:begin(…) */
int np_cluster_pick(lua_State *L);  /* cluster:pick(…) */

#endif
