/* neap.core.sim: the simulator for lua/neap/sim, which checks what a scenario says, writes it out
 * in full, and shows what came of it. Type "neap.sim".
 *
 *   core.new(spec) → sim
 *     seed, duration, warmup, requests, buckets, callers, shared, zones={…}, zone_rtt, discovery
 *     servers={ {name=, zone=, weight=, meta=, service=dist, servers=, queue=, contention=, rtt=,
 *                reject=, reject_status=, retry_after=, cancels=, absent=}, … }
 *     changes={ {at=, until=, ramp=, servers={1, …}, slow=, delay=, error_rate=, error_status=,
 *                error_time=, refuse=, black_hole=, capacity=, restart=, cold=, cold_slow=,
 *                leave=, join=}, … }
 *     load={ closed=, even=, segments={ {from=, rate=, rate_to=}, … }, users=, think=dist,
 *            classes={ {share=, cost=dist, priority=0 … 4, safe=}, … }, keys=, key_skew=,
 *            timeout=, slo=, retries=, retry_delay=dist }
 *     policy={…}      as neap.core.cluster's options, but for service and endpoints
 *     pick, release   functions, see bind_sim_hooks.c
 *     dist: {kind="constant" …, a=, b=, c=, values={…}, tail_share=, tail_factor=}
 *     Times are seconds. Misuse raises; what it says begins with the path ("opts.servers[1]: …").
 *   sim:step(events) → over, progress (0 … 1), seconds of the virtual clock
 *   sim:totals(), sim:series(), sim:servers() → tables; sim:load(server) → array by bucket
 *   sim:close(), __close, __gc
 */
#ifndef NP_SCRIPT_BIND_SIM_H
#define NP_SCRIPT_BIND_SIM_H

#include <lua.h>

#include "mesh/sim.h"

/* The table at 1 as options. What they point to is held by it, and by a table at 2, which is then
 * the top: the caller makes the simulator before these go. Raises. */
void np_sim_read_options(lua_State *L, struct np_sim_options *o);

/* The userdata. */
struct np_sim_box {
    struct np_sim *sim; /* NULL: closed */
    uint32_t buckets;
    size_t servers;
    lua_State *L; /* of the step that runs; NULL: none does */
    int self;     /* where on its stack the userdata stands */
};
enum { NP_SIM_UV_PICK = 1, NP_SIM_UV_RELEASE, NP_SIM_UV_LISTS, NP_SIM_UVS = NP_SIM_UV_LISTS };

/* bind_sim_hooks.c: `arg` is the box. */
enum neap_err np_sim_script_pick(void *arg, struct np_sim *s, size_t caller,
                                 const struct np_call *call, struct np_endpoint **out);
void np_sim_script_release(void *arg, struct np_sim *s, size_t caller, struct np_endpoint *e,
                           const struct np_result *r);
/* bind_sim_results.c: methods. */
struct np_sim_box *np_sim_check_open(lua_State *L);
int np_sim_push_totals(lua_State *L);
int np_sim_push_series(lua_State *L);
int np_sim_push_servers(lua_State *L);
int np_sim_push_load(lua_State *L);

#endif
