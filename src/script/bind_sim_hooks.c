/* neap.core.sim: a policy written in Lua picks for the simulator's callers.
 *
 *   pick(caller, endpoints, fresh, inner, tried, attempt, now, deadline, priority, key)
 *       → endpoint | its place in `endpoints` | nil: none     anything else is a fault
 *     caller: 1 …; endpoints: those that may be picked, as neap.balancer's policies get them, the
 *     same table until they change (`fresh`: this is the first time); inner(ctx): whom the policy
 *     inside picks of them; tried: an array of endpoints, or nil; attempt: 1 …; now, deadline:
 *     seconds of the virtual clock, which all else that tells the time there follows; priority:
 *     0 … 4; key: integer or nil.
 *   release(caller, endpoint, ok, latency)    ok nil: canceled
 * They run inside a step and cannot wait. An error of theirs counts as a fault.
 */
#include "base/clock.h"
#include "script/bind_endpoint.h"
#include "script/bind_sim.h"
#include "script/luax.h"
#include "script/state.h"

static double seconds_of(int64_t moment)
{
    return np_to_seconds(moment - NP_SIM_EPOCH);
}

/* ctx.key and ctx.exclude of the table at 1; the endpoints are held by it. */
static void read_wishes(lua_State *L, struct np_pick_ctx *ctx, struct np_endpoint **excluded)
{
    size_t n = 0;
    if (!lua_istable(L, 1)) return;
    if (lua_getfield(L, 1, "key") != LUA_TNIL) {
        const char *key = lua_tolstring(L, -1, &n);
        ctx->has_hash = key != NULL;
        if (key != NULL) ctx->hash = np_pick_hash(key, n);
    }
    n = lua_getfield(L, 1, "exclude") == LUA_TTABLE ? lua_rawlen(L, -1) : 0;
    for (size_t i = 0; i < n && i < NP_CALL_ATTEMPTS; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        excluded[i] = np_endpoint_check(L, -1)->e;
        ctx->nexclude = i + 1;
        lua_pop(L, 1);
    }
    ctx->exclude = excluded;
    lua_pop(L, 2);
}

/* inner([ctx]) → endpoint | nil: whom the policy inside picks; nothing is begun. Upvalues: the
 * simulator, the caller, the set's id. */
static int ask_inner(lua_State *L)
{
    struct np_endpoint *excluded[NP_CALL_ATTEMPTS];
    struct np_pick_ctx ctx = {0};
    struct np_sim_box *b = lua_touserdata(L, lua_upvalueindex(1));
    size_t caller = (size_t)lua_tointeger(L, lua_upvalueindex(2));
    uint64_t id = (uint64_t)lua_tointeger(L, lua_upvalueindex(3));
    lua_settop(L, 1);
    if (b->L == NULL) return np_misuse(L, "this pick is over");
    read_wishes(L, &ctx, excluded);
    struct np_selector *selector = np_cluster_selector(np_sim_cluster(b->sim, caller));
    struct np_endpoint *e = np_selector_propose(selector, id, &ctx, np_sim_now(b->sim));
    if (e == NULL) return lua_pushnil(L), 1;
    (void)np_endpoint_push(L, e);
    return 1;
}

/* The caller's table: arrays of endpoints by their sets' ids, inner functions by those below 0. */
static void push_lists(lua_State *L, size_t caller)
{
    lua_getiuservalue(L, 1, NP_SIM_UV_LISTS);
    if (lua_rawgeti(L, -1, (lua_Integer)caller + 1) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)caller + 1);
    }
    lua_remove(L, -2);
}

/* Pushes the array of the set, whether it is new, and the inner function. */
static void push_choice(lua_State *L, size_t caller, const struct np_choice *c)
{
    lua_Integer id = (lua_Integer)(c->id & INT64_MAX);
    push_lists(L, caller);
    bool fresh = lua_rawgeti(L, -1, id) != LUA_TTABLE || np_endpoint_array(L, -1) != c->set;
    if (fresh) {
        lua_pop(L, 1);
        np_endpoint_push_held(L, np_snapshot_ref((struct np_snapshot *)c->set));
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, id);
    }
    lua_pushboolean(L, fresh);
    if (lua_rawgeti(L, -3, -1 - id) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, (lua_Integer)caller);
        lua_pushinteger(L, id);
        lua_pushcclosure(L, ask_inner, 3);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -5, -1 - id);
    }
    lua_remove(L, -4);
}

static void push_tried(lua_State *L, const struct np_call *call)
{
    if (call->attempts == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, call->attempts, 0);
    for (lua_Integer i = 0; i < call->attempts && i < NP_CALL_ATTEMPTS; i++) {
        np_endpoint_push(L, call->tried[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

struct hook {
    struct np_sim_box *box;
    size_t caller;
    const struct np_call *call;
    const struct np_choice *choice;
    struct np_endpoint *e; /* what is picked, or released */
    const struct np_result *result;
    bool none; /* it picked none */
};

/* Whom the policy's word at the top means, an endpoint or a place in the array at `array`. */
static struct np_endpoint *understand(lua_State *L, int array)
{
    if (lua_isinteger(L, -1)) lua_rawgeti(L, array, lua_tointeger(L, -1));
    struct np_endpoint_view *v = np_endpoint_test(L, -1);
    return v ? v->e : NULL; /* its set holds it, or it is none of the cluster's */
}

static int call_pick(lua_State *L)
{
    enum { ARRAY = 3 };
    struct hook *h = lua_touserdata(L, 2);
    const struct np_call *call = h->call;
    push_choice(L, h->caller, h->choice);
    lua_getiuservalue(L, 1, NP_SIM_UV_PICK);
    lua_pushinteger(L, (lua_Integer)h->caller + 1);
    for (int i = ARRAY; i < ARRAY + 3; i++)
        lua_pushvalue(L, i);
    push_tried(L, call);
    lua_pushinteger(L, call->attempts + 1);
    lua_pushnumber(L, seconds_of(np_sim_now(h->box->sim)));
    lua_pushnumber(L, seconds_of(call->deadline));
    lua_pushinteger(L, call->priority);
    if (call->ctx.has_hash)
        lua_pushinteger(L, (lua_Integer)call->ctx.hash);
    else
        lua_pushnil(L);
    lua_call(L, 10, 1);
    h->none = lua_isnil(L, -1);
    h->e = understand(L, ARRAY);
    return 0;
}

static int call_release(lua_State *L)
{
    struct hook *h = lua_touserdata(L, 2);
    const struct np_result *r = h->result;
    lua_getiuservalue(L, 1, NP_SIM_UV_RELEASE);
    lua_pushinteger(L, (lua_Integer)h->caller + 1);
    np_endpoint_push(L, h->e);
    if (r->outcome == NP_OUTCOME_CANCELED)
        lua_pushnil(L);
    else
        lua_pushboolean(L, r->outcome == NP_OUTCOME_OK);
    if (r->latency_ns >= 0)
        lua_pushnumber(L, np_to_seconds(r->latency_ns));
    else
        lua_pushnil(L);
    lua_call(L, 4, 0);
    return 0;
}

/* Runs it on the virtual clock; whether it went well. */
static bool call_hook(struct np_sim_box *b, lua_CFunction fn, struct hook *h)
{
    lua_State *L = b->L;
    struct np_script *script = np_script_of(L);
    if (!lua_checkstack(L, 4)) return false;
    script->pretended_now = np_sim_now(b->sim);
    lua_pushcfunction(L, fn);
    lua_pushvalue(L, b->self);
    lua_pushlightuserdata(L, h);
    bool ok = lua_pcall(L, 2, 0, 0) == LUA_OK;
    if (!ok) lua_pop(L, 1);
    script->pretended_now = 0;
    return ok;
}

enum neap_err np_sim_script_pick(void *arg, struct np_sim *s, size_t caller,
                                 const struct np_call *call, struct np_endpoint **out)
{
    struct np_choice choice;
    struct hook h = {.box = arg, .caller = caller, .call = call, .choice = &choice};
    struct np_selector *selector = np_cluster_selector(np_sim_cluster(s, caller));
    enum neap_err err = np_selector_narrow(selector, &call->ctx, np_sim_now(s), &choice);
    if (err != NEAP_OK) return err;
    if (!call_hook(h.box, call_pick, &h)) return NEAP_EAGAIN;
    if (h.none) return NEAP_ENOENDPOINT;
    if (h.e == NULL) return NEAP_EAGAIN;
    *out = h.e;
    return NEAP_OK;
}

void np_sim_script_release(void *arg, struct np_sim *s, size_t caller, struct np_endpoint *e,
                           const struct np_result *r)
{
    (void)s;
    struct hook h = {.box = arg, .caller = caller, .e = e, .result = r};
    (void)call_hook(h.box, call_release, &h);
}
