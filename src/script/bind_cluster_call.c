/* neap.core.cluster: calls. What a caller does between asking and its answer;
 * see bind_cluster.h.
 *
 * A call is a userdata, used again by another call once it was closed: so the
 * hot path makes no garbage. Between its end and its close its methods raise.
 * It references the machine until it ends, and has its cluster as a user value,
 * into whose pool it goes.
 */
#include <string.h>

#include "base/clock.h"
#include "script/bind_cluster.h"
#include "script/bind_endpoint.h"
#include "script/luax.h"
#include "script/state.h"

#define MAX_POOLED 1024

enum { UV_CLUSTER = 1, UV_SUBSET = 2, UVS = 2 };
/* Places on the stack of begin and pick: their arguments, and then the call. */
enum { SUBSET = 6, WISHES = 7, CALL = 8 };

struct call {
    struct np_cluster_shell *shell; /* NULL: it has ended, or never begun */
    bool closed;                    /* it is in the pool, or nobody's */
    struct np_call call;
    struct np_result last; /* of the attempt that was finished last, while nothing
                              was decided */
    struct np_pair subset[NP_CLUSTER_SUBSET_MAX]; /* their strings are in UV_SUBSET's table */
    struct {
        struct np_attempt a;
        int64_t answered; /* 0: not yet */
    } attempts[];         /* as many as the cluster makes */
};

static const struct np_result nothing = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};

static struct call *check_any(lua_State *L)
{
    return np_cluster_self(L, NP_CLUSTER_CALL_TYPE);
}

static struct call *check_running(lua_State *L)
{
    struct call *k = check_any(L);
    if (k->shell == NULL) np_misuse(L, "this call has ended");
    return k;
}

static struct np_cluster *machine(const struct call *k)
{
    return k->shell->cluster;
}

/* --- its end */

static void end(struct call *k, const struct np_result *r, int64_t now)
{
    struct np_cluster_shell *s = k->shell;
    k->shell = NULL;
    np_cluster_end(s->cluster, &k->call, r, now);
    np_cluster_shell_unref(s);
}

/* Attempts that nobody will finish any more. `bound`: their callers waited
 * until now, so that the time they took says something. */
static void cancel(struct call *k, bool bound, bool expired, int64_t now)
{
    struct np_result r = nothing;
    int64_t at;
    if (expired) {
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = NP_FAULT_LOCAL;
        k->call.retriable = NP_RETRIABLE_NO;
    }
    for (int i = 0; i < k->call.attempts; i++) {
        struct np_attempt *a = &k->attempts[i].a;
        if (a->e == NULL) continue;
        r.latency_ns = -1;
        if (k->attempts[i].answered != 0) {
            r.latency_ns = k->attempts[i].answered - a->began;
        } else if (bound && now > a->began) {
            r.latency_ns = now - a->began;
        }
        (void)np_cluster_finish(machine(k), &k->call, a, &r, false, now, &at);
    }
    end(k, expired ? &r : NULL, now);
}

/* The call at `idx` is nobody's any more. */
static void into_pool(lua_State *L, int idx, struct call *k)
{
    k->closed = true;
    if (k->call.ctx.nsubset > 0) {
        lua_pushnil(L);
        lua_setiuservalue(L, idx, UV_SUBSET);
    }
    lua_getiuservalue(L, idx, UV_CLUSTER);
    struct np_cluster_box *b = lua_touserdata(L, -1);
    if (b == NULL || b->shell == NULL || b->pooled >= MAX_POOLED) {
        lua_pop(L, 1);
        return;
    }
    lua_getiuservalue(L, -1, NP_CLUSTER_UV_POOL);
    lua_pushvalue(L, idx);
    lua_rawseti(L, -2, b->pooled + 1);
    b->pooled++;
    lua_pop(L, 2);
}

/* call:close(), __close(call, err): a deadline of the task's that has passed is a failure of whom
 * it waited for, as a time-out is. */
static int call_close(lua_State *L)
{
    struct call *k = check_any(L);
    bool expired = np_error_code(L, 2) == NEAP_ETIMEDOUT;
    lua_settop(L, 1);
    if (k->closed) return 0;
    if (k->shell != NULL) cancel(k, true, expired, np_loop_hrtime());
    into_pool(L, 1, k);
    return 0;
}

static int call_gc(lua_State *L)
{
    struct call *k = lua_touserdata(L, 1);
    if (k->shell != NULL) cancel(k, false, false, np_loop_hrtime());
    k->closed = true;
    return 0;
}

/* --- its beginning */

/* Pushes a call that has not begun; the cluster is at 1. */
static struct call *push_call(lua_State *L, struct np_cluster_box *b)
{
    struct call *k;
    if (b->pooled > 0) {
        lua_getiuservalue(L, 1, NP_CLUSTER_UV_POOL);
        lua_rawgeti(L, -1, b->pooled);
        lua_pushnil(L);
        lua_rawseti(L, -3, b->pooled);
        b->pooled--;
        lua_remove(L, -2);
        return lua_touserdata(L, -1);
    }
    size_t places = np_cluster_most_attempts(b->shell->cluster) * sizeof k->attempts[0];
    k = lua_newuserdatauv(L, sizeof *k + places, UVS);
    k->shell = NULL;
    k->closed = true;
    luaL_setmetatable(L, NP_CLUSTER_CALL_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, UV_CLUSTER);
    return k;
}

/* nil, err of the call at `idx`. */
static int refused(lua_State *L, int idx, const struct np_call *call, enum neap_err err)
{
    lua_getiuservalue(L, idx, UV_CLUSTER);
    return np_cluster_push_refusal(L, lua_gettop(L), call, err);
}

/* Pushes the call, admitted, or nil and an error; true: admitted. */
static bool admit(lua_State *L, struct np_cluster_box *b, int64_t now)
{
    lua_settop(L, WISHES);
    struct call *k = push_call(L, b);
    np_cluster_read_wishes(L, &k->call);
    if (!lua_isnil(L, SUBSET)) {
        k->call.ctx.nsubset = np_cluster_read_subset(L, SUBSET, k->subset);
        k->call.ctx.subset = k->subset;
        lua_setiuservalue(L, CALL, UV_SUBSET);
    }
    enum neap_err err = np_cluster_admit(b->shell->cluster, &k->call, now);
    if (err != NEAP_OK) {
        into_pool(L, CALL, k);
        (void)refused(L, CALL, &k->call, err);
        return false;
    }
    b->shell->refs++;
    k->shell = b->shell;
    k->closed = false;
    k->last = nothing;
    return true;
}

int np_cluster_begin(lua_State *L)
{
    int64_t now = np_loop_hrtime();
    struct np_cluster_box *b = np_cluster_box_check(L, now);
    if (!admit(L, b, now)) return 2;
    struct call *k = lua_touserdata(L, CALL);
    if (k->call.wait_ns == 0) return 1;
    lua_pushnumber(L, np_to_seconds(k->call.wait_ns));
    return 2;
}

/* --- attempts */

/* Pushes endpoint, timeout, number. The attempt is begun: should the push
 * raise, the call's end gives it back. */
static int push_attempt(lua_State *L, struct call *k, const struct np_attempt *a)
{
    k->attempts[a->number - 1].answered = 0;
    np_endpoint_push(L, a->e);
    if (a->timeout_ns > 0) {
        lua_pushnumber(L, np_to_seconds(a->timeout_ns));
    } else {
        lua_pushnil(L);
    }
    lua_pushinteger(L, a->number);
    return 3;
}

/* The next attempt's place. */
static struct np_attempt *next_place(struct call *k)
{
    int most = (int)np_cluster_most_attempts(machine(k));
    int i = k->call.attempts < most ? k->call.attempts : most - 1;
    return &k->attempts[i].a;
}

/* The call at `idx` could not begin an attempt. With none in flight it ends, as
 * its last one did. */
static int not_started(lua_State *L, int idx, struct call *k, enum neap_err err, int64_t now)
{
    static const struct np_result none = {
        .outcome = NP_OUTCOME_FAILED, .fault = NP_FAULT_LOCAL, .latency_ns = -1};
    if (k->call.inflight == 0) end(k, k->call.attempts == 0 ? &none : &k->last, now);
    return refused(L, idx, &k->call, err);
}

int np_cluster_pick(lua_State *L)
{
    int64_t now = np_loop_hrtime();
    struct np_cluster_box *b = np_cluster_box_check(L, now);
    if (!admit(L, b, now)) return 2;
    struct call *k = lua_touserdata(L, CALL);
    if (k->call.wait_ns > 0) {
        lua_pushnumber(L, np_to_seconds(k->call.wait_ns));
        return 2;
    }
    struct np_attempt *a = next_place(k);
    enum neap_err err = np_cluster_start(machine(k), &k->call, now, a);
    if (err == NEAP_OK) {
        (void)push_attempt(L, k, a);
        lua_pop(L, 1);
        return 3;
    }
    (void)not_started(L, CALL, k, err, now);
    into_pool(L, CALL, k);
    return 2;
}

/* call:start([endpoint]) */
static int call_start(lua_State *L)
{
    struct call *k = check_running(L);
    int64_t now = np_loop_hrtime();
    struct np_attempt *a = next_place(k);
    enum neap_err err;
    if (lua_isnoneornil(L, 2)) {
        err = np_cluster_start(machine(k), &k->call, now, a);
    } else {
        struct np_endpoint *e = np_endpoint_check(L, 2)->e;
        err = np_cluster_start_on(machine(k), &k->call, e, now, a);
    }
    if (err != NEAP_OK) return not_started(L, 1, k, err, now);
    return push_attempt(L, k, a);
}

/* call:hedge_delay() */
static int call_hedge_delay(lua_State *L)
{
    struct call *k = check_running(L);
    int64_t at = np_cluster_hedge_at(machine(k), &k->call);
    if (at == INT64_MAX) return lua_pushnil(L), 1;
    int64_t now = np_loop_hrtime();
    lua_pushnumber(L, at > now ? np_to_seconds(at - now) : 0);
    return 1;
}

/* call:hedge() */
static int call_hedge(lua_State *L)
{
    struct call *k = check_running(L);
    struct np_attempt *a = next_place(k);
    enum neap_err err = np_cluster_hedge(machine(k), &k->call, np_loop_hrtime(), a);
    if (err != NEAP_OK) return np_fail(L, err, NULL);
    return push_attempt(L, k, a);
}

/* --- what came of them */

/* What is known of its latency, where nobody has measured it. */
static int64_t latency_of(const struct call *k, int i, const struct np_result *r, int64_t now)
{
    const struct np_attempt *a = &k->attempts[i].a;
    if (k->attempts[i].answered != 0) return k->attempts[i].answered - a->began;
    if (r->outcome == NP_OUTCOME_CANCELED) return -1;
    return now > a->began ? now - a->began : 0;
}

/* The index of the attempt that argument 2 names, which is in flight. */
static int check_attempt(lua_State *L, const struct call *k)
{
    lua_Integer number = luaL_checkinteger(L, 2);
    if (number < 1 || number > k->call.attempts) return np_misuse(L, "no attempt %d", (int)number);
    if (k->attempts[number - 1].a.e == NULL) {
        np_misuse(L, "attempt %d was finished already", (int)number);
    }
    return (int)number - 1;
}

/* The moment of an attempt's end. Who has measured the latency has read the clock: then the loop's,
 * with its step of a millisecond, is good enough for what is longer than that latency. */
static int64_t end_of(lua_State *L, const struct np_attempt *a)
{
    if (lua_type(L, 4) != LUA_TNUMBER) return np_loop_hrtime();
    int64_t now = np_loop_now(np_script_of(L)->loop);
    int64_t end = np_time_add(a->began, np_check_seconds(L, 4, 0));
    if (end > now && end < now + NP_NS_PER_SEC) return end;
    return now > a->began ? now : a->began;
}

/* call:finish(number, status | err | nil, [seconds, [retry_after, [bytes_in,
 * [bytes_out]]]]) */
static int call_finish(lua_State *L)
{
    struct np_cluster_outcome o;
    struct call *k = check_running(L);
    int i = check_attempt(L, k);
    int64_t at, now = end_of(L, &k->attempts[i].a);
    np_cluster_read_outcome(L, k->shell, &o);
    if (o.r.latency_ns < 0) o.r.latency_ns = latency_of(k, i, &o.r, now);
    bool lost = k->call.decided && k->attempts[i].answered == 0;
    k->call.retriable = o.retriable;
    enum np_verdict v =
        np_cluster_finish(machine(k), &k->call, &k->attempts[i].a, &o.r, o.unreached, now, &at);
    if (!lost) k->last = o.r;
    switch (v) {
    case NP_CALL_RETRY:
        lua_pushnumber(L, at > now ? np_to_seconds(at - now) : 0);
        return 1;
    case NP_CALL_WAIT:
        lua_pushboolean(L, 0);
        return 1;
    case NP_CALL_DONE:
        break;
    }
    if (k->call.inflight == 0) end(k, &k->last, now);
    return 0;
}

static void answered(struct call *k, int i)
{
    int64_t now = np_loop_hrtime();
    k->attempts[i].answered = now > k->attempts[i].a.began ? now : k->attempts[i].a.began + 1;
    np_cluster_answered(machine(k), &k->call, &k->attempts[i].a);
}

void *np_cluster_call_check(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, NP_CLUSTER_CALL_TYPE);
}

void np_cluster_call_answered(void *call)
{
    struct call *k = call;
    if (k->shell == NULL || k->call.attempts == 0 || k->call.decided) return;
    if (k->attempts[k->call.attempts - 1].a.e != NULL) answered(k, k->call.attempts - 1);
}

/* call:answered(number): its answer has begun and is the call's; the latency
 * ends here. */
static int call_answered(lua_State *L)
{
    struct call *k = check_running(L);
    int i = check_attempt(L, k);
    if (k->attempts[i].answered != 0) return 0;
    if (k->call.decided) np_misuse(L, "another attempt was answered already");
    answered(k, i);
    return 0;
}

/* call:retriable(status) */
static int call_retriable(lua_State *L)
{
    struct call *k = check_running(L);
    lua_pushboolean(L, k->call.safe && np_cluster_retries(k->shell, luaL_checkinteger(L, 2)));
    return 1;
}

/* call:tried() → array */
static int call_tried(lua_State *L)
{
    struct call *k = check_running(L);
    lua_createtable(L, k->call.attempts, 0);
    for (int i = 0; i < k->call.attempts; i++) {
        np_endpoint_push(L, k->call.tried[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* call:attempts() → how many were begun; of an ended call, too */
static int call_attempts(lua_State *L)
{
    struct call *k = check_any(L);
    lua_pushinteger(L, k->closed ? 0 : k->call.attempts);
    return 1;
}

static int call_tostring(lua_State *L)
{
    struct call *k = check_any(L);
    const char *how = k->closed ? "closed" : k->shell == NULL ? "ended" : "running";
    lua_pushfstring(L, "%s: %s", NP_CLUSTER_CALL_TYPE, how);
    return 1;
}

void np_cluster_open_calls(lua_State *L)
{
    static const luaL_Reg methods[] = {{"start", call_start},
                                       {"finish", call_finish},
                                       {"answered", call_answered},
                                       {"retriable", call_retriable},
                                       {"hedge_delay", call_hedge_delay},
                                       {"hedge", call_hedge},
                                       {"tried", call_tried},
                                       {"attempts", call_attempts},
                                       {"close", call_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", call_gc}, {"__close", call_close}, {"__tostring", call_tostring}, {NULL, NULL}};
    np_cluster_type(L, NP_CLUSTER_CALL_TYPE, methods, meta);
}
