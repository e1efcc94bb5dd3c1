/* Policies written in Lua: asking one for a pick, and telling it what came of it (see
 * bind_balancer.h and lua/neap/balancer.lua).
 *
 * Its hooks run protected and may wait, so everything here ends in a continuation that finds all on
 * the stack. A fault (it raises, is stopped by the watchdog, gives what is no endpoint or none of
 * those it was given) is counted and logged now and then, and the policy inside, P2C as a rule,
 * picks instead. A pick that was cancelled is no fault.
 *
 * An array of views is made once for each set (see struct np_choice) and kept while that does not
 * change; the one that was used last is at hand.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/balancer_draw.h"
#include "script/bind_balancer.h"
#include "script/luax.h"
#include "script/state.h"
#include "script/watch.h"

#define LOG_EVERY_NS (10 * NP_NS_PER_SEC)
#define MAX_ARRAYS 256 /* of sets that are not used any more, too */

enum { AT_CTX = 2, AT_ARRAY = 3, AT_HANDLER = 4 };
enum { MODE_PICK, MODE_CHOOSE };

/* --- faults */

static int add_traceback(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

static struct np_log_field text(const char *name, const char *value)
{
    struct np_log_field f = {.name = name, .type = NP_LOG_STR};
    f.as.str.p = value;
    f.as.str.n = strlen(value);
    return f;
}

static void log_fault(lua_State *L, struct np_lua_balancer *b, const char *what)
{
    struct np_log *log = np_script_of(L)->log;
    int64_t now = np_balancer_now(L);
    static const char words[] = "a balancer's policy failed; another picks instead";
    if (b->logged_at != 0 && now - b->logged_at < LOG_EVERY_NS) return;
    b->logged_at = now ? now : 1;
    if (!np_log_enabled(log, NP_LOG_ERROR)) return;
    lua_getiuservalue(L, 1, NP_UV_POLICY);
    struct np_log_field fields[] = {
        text("policy", lua_tostring(L, -1)),
        {.name = "faults", .type = NP_LOG_INT, .as.i = (int64_t)b->faults},
        text("error", what)};
    np_log_write(log, NP_LOG_ERROR, words, strlen(words), fields, 3);
    lua_pop(L, 1);
}

static void fault(lua_State *L, struct np_lua_balancer *b, const char *what)
{
    b->faults++;
    log_fault(L, b, what);
}

/* Whether the error at the top ends the task itself. */
static bool ends_task(lua_State *L)
{
    enum neap_err canceled = np_task_current(L)->cancel_code;
    enum neap_err code = lua_istable(L, -1) ? np_error_code(L, -1) : NEAP_OK;
    if (canceled != NEAP_OK && code == canceled) return true;
    return code == NEAP_ECANCELED && np_stop_is(L, -1); /* a person's interruption */
}

/* In protected mode: __tostring is a script's. */
static int describe(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* The error at the top: counted, or it goes on. */
static void caught(lua_State *L, struct np_lua_balancer *b, int status)
{
    np_stop_caught(L, status);
    if (ends_task(L)) lua_error(L);
    lua_pushcfunction(L, describe);
    lua_insert(L, -2);
    bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK;
    fault(L, b, ok ? lua_tostring(L, -1) : "what it raised cannot be described");
    lua_pop(L, 1);
}

/* --- arrays */

void np_policy_forget(lua_State *L, struct np_lua_balancer *b, int b_idx)
{
    b_idx = lua_absindex(L, b_idx);
    b->array_id = 0;
    b->array_set = NULL;
    b->arrays = 0;
    for (int uv = NP_UV_ARRAY; uv <= NP_UV_INNER; uv++) {
        lua_pushnil(L);
        lua_setiuservalue(L, b_idx, uv);
    }
    for (int uv = NP_UV_ARRAYS; uv <= NP_UV_INNERS; uv++) {
        lua_newtable(L);
        lua_setiuservalue(L, b_idx, uv);
    }
}

/* inner([ctx]) → endpoint | nil: whom the policy inside picks of that set; nothing is begun.
 * Upvalues: the balancer, the set's id. */
static int ask_inner(lua_State *L)
{
    struct np_lua_wishes w;
    struct np_lua_balancer *b = lua_touserdata(L, lua_upvalueindex(1));
    uint64_t id = (uint64_t)lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 1);
    if (b->selector == NULL) return np_misuse(L, "this balancer is closed");
    np_balancer_read_some(L, b, 1, &w);
    struct np_endpoint *e = np_selector_propose(b->selector, id, &w.ctx, np_balancer_now(L));
    if (e == NULL) return lua_pushnil(L), 1;
    (void)np_endpoint_push(L, e);
    return 1;
}

/* The set was not the last one: its array is found, or made. True: it is new. Leaves it at
 * AT_ARRAY. */
static bool find_array(lua_State *L, struct np_lua_balancer *b, const struct np_choice *c)
{
    if (b->arrays >= MAX_ARRAYS) np_policy_forget(L, b, 1);
    lua_getiuservalue(L, 1, NP_UV_ARRAYS);
    bool known = lua_rawgeti(L, -1, (lua_Integer)c->id) == LUA_TTABLE;
    bool fresh = !known || np_endpoint_array(L, -1) != c->set;
    if (fresh) {
        struct np_snapshot *held = np_snapshot_ref((struct np_snapshot *)c->set);
        lua_pop(L, 1);
        np_endpoint_push_held(L, held);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)c->id);
        b->arrays += !known;
    }
    lua_remove(L, -2);
    lua_getiuservalue(L, 1, NP_UV_INNERS);
    if (lua_rawgeti(L, -1, (lua_Integer)c->id) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, (lua_Integer)c->id);
        lua_pushcclosure(L, ask_inner, 2);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)c->id);
    }
    lua_setiuservalue(L, 1, NP_UV_INNER);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, NP_UV_ARRAY);
    b->array_id = c->id;
    b->array_set = np_endpoint_array(L, -1);
    return fresh;
}

/* --- picking */

/* The policy inside picks, as if there were no other. */
static int fall_back(lua_State *L, struct np_lua_balancer *b, int mode)
{
    struct np_lua_wishes w;
    struct np_endpoint *e = NULL;
    struct np_choice c;
    bool trial = false;
    int64_t now = np_balancer_now(L);
    lua_settop(L, 2);
    np_balancer_read_some(L, b, AT_CTX, &w);
    if (mode == MODE_CHOOSE) {
        if (np_selector_narrow(b->selector, &w.ctx, now, &c) == NEAP_OK) {
            e = np_selector_propose(b->selector, c.id, &w.ctx, now);
        }
        if (e == NULL) return np_balancer_none(L);
        (void)np_endpoint_push(L, e);
        return 1;
    }
    if (np_selector_pick(b->selector, &w.ctx, now, &e, &trial) != NEAP_OK) {
        return np_balancer_none(L);
    }
    return np_balancer_push_picked(L, b, e, trial);
}

/* The policy's word is at -2, its second result at the top. Whom it means, or NULL: a fault. */
static struct np_endpoint_view *understand(lua_State *L, struct np_lua_balancer *b)
{
    if (lua_isinteger(L, -2))
        lua_rawgeti(L, AT_ARRAY, lua_tointeger(L, -2));
    else
        lua_pushvalue(L, -2);
    struct np_endpoint_view *v = np_endpoint_test(L, -1);
    if (v == NULL) {
        char what[96];
        snprintf(what, sizeof what, "pick: expected an endpoint or its place, got %s",
                 lua_isinteger(L, -3) ? "a number that is none" : luaL_typename(L, -3));
        fault(L, b, what);
    }
    return v;
}

static bool was_given(lua_State *L, const struct np_endpoint *e)
{
    const struct np_snapshot *set = np_endpoint_array(L, AT_ARRAY);
    for (size_t i = 0; set != NULL && i < set->len; i++) {
        if (np_endpoint_same(set->endpoints[i], e)) return true;
    }
    return false;
}

/* It was tried before, and another of those that were given was not. */
static bool is_second_best(lua_State *L, const struct np_pick_ctx *ctx, const struct np_endpoint *e)
{
    const struct np_snapshot *set = np_endpoint_array(L, AT_ARRAY);
    if (ctx->nexclude == 0 || set == NULL || !np_excluded(ctx, e)) return false;
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excluded(ctx, set->endpoints[i])) return true;
    }
    return false;
}

/* The policy's two results are at the top. */
static int judge(lua_State *L, struct np_lua_balancer *b, const struct np_pick_ctx *ctx, int mode,
                 int64_t now)
{
    bool trial = false;
    if (b->selector == NULL) return np_balancer_none(L); /* closed while it waited */
    if (lua_isnil(L, -2)) {
        b->refusals++;
        if (!lua_isnil(L, -1)) return 2;
        return np_fail(L, NEAP_ENOENDPOINT, "the policy picked none");
    }
    struct np_endpoint_view *v = understand(L, b);
    if (v == NULL || is_second_best(L, ctx, v->e)) return fall_back(L, b, mode);
    if (mode == MODE_CHOOSE && was_given(L, v->e)) return 1;
    if (mode == MODE_PICK && np_selector_take(b->selector, v->e, false, now, &trial)) {
        v->picks++;
        v->trials += trial;
        b->picks++;
        return 1;
    }
    /* It is gone or unavailable by now, or it never was one of them. */
    if (!was_given(L, v->e)) fault(L, b, "pick: an endpoint that was not among those given");
    return fall_back(L, b, mode);
}

static int failed(lua_State *L, struct np_lua_balancer *b, int mode, int status)
{
    caught(L, b, status);
    return b->selector ? fall_back(L, b, mode) : np_balancer_none(L);
}

/* The policy has waited. */
static int after_wait(lua_State *L, int status, lua_KContext mode)
{
    struct np_lua_balancer *b = lua_touserdata(L, 1);
    struct np_lua_wishes w;
    if (status != LUA_YIELD) return failed(L, b, (int)mode, status);
    np_balancer_read_some(L, b, AT_CTX, &w);
    return judge(L, b, &w.ctx, (int)mode, np_balancer_now(L));
}

static void push_ctx(lua_State *L)
{
    static const char nothing_key;
    if (!lua_isnil(L, AT_CTX)) {
        lua_pushvalue(L, AT_CTX);
    } else if (lua_rawgetp(L, LUA_REGISTRYINDEX, &nothing_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &nothing_key);
    }
}

NP_UNSANITIZED int np_policy_pick(lua_State *L, struct np_lua_balancer *b,
                                  const struct np_pick_ctx *ctx, bool choose, int64_t now)
{
    struct np_choice c;
    int uv = NP_UV_PICK, mode = choose ? MODE_CHOOSE : MODE_PICK;
    if (np_selector_narrow(b->selector, ctx, now, &c) != NEAP_OK) {
        return np_balancer_none(L);
    }
    if (c.id == b->array_id && c.set == b->array_set) {
        lua_getiuservalue(L, 1, NP_UV_ARRAY);
    } else if (find_array(L, b, &c)) {
        uv = NP_UV_FIRST;
    }
    lua_pushcfunction(L, add_traceback);
    lua_getiuservalue(L, 1, uv);
    push_ctx(L);
    lua_pushvalue(L, AT_ARRAY);
    lua_getiuservalue(L, 1, NP_UV_STATE);
    lua_getiuservalue(L, 1, NP_UV_INNER);
    int status = lua_pcallk(L, 4, 2, AT_HANDLER, mode, after_wait);
    return status == LUA_OK ? judge(L, b, ctx, mode, now) : failed(L, b, mode, status);
}

/* --- the end of a request */

static int after_release(lua_State *L, int status, lua_KContext unused)
{
    (void)unused;
    if (status != LUA_OK && status != LUA_YIELD) caught(L, lua_touserdata(L, 1), status);
    return 0;
}

NP_UNSANITIZED int np_policy_release(lua_State *L, struct np_lua_balancer *b)
{
    (void)b;
    lua_pushcfunction(L, add_traceback);
    lua_getiuservalue(L, 1, NP_UV_RELEASE);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    lua_getiuservalue(L, 1, NP_UV_STATE);
    lua_pushvalue(L, 5);
    int status = lua_pcallk(L, 5, 0, 6, 0, after_release);
    return after_release(L, status, 0);
}

void np_policy_keep(lua_State *L, int b_idx, int idx)
{
    static const struct {
        const char *name;
        int uv;
    } fields[] = {{"name", NP_UV_POLICY},
                  {"pick", NP_UV_PICK},
                  {"first", NP_UV_FIRST},
                  {"release", NP_UV_RELEASE},
                  {"state", NP_UV_STATE}};
    struct np_lua_balancer *b = lua_touserdata(L, b_idx);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_getfield(L, idx, fields[i].name);
        if (fields[i].uv == NP_UV_RELEASE) b->has_release = !lua_isnil(L, -1);
        lua_setiuservalue(L, b_idx, fields[i].uv);
    }
    b->scripted = true;
    np_policy_forget(L, b, b_idx);
}
