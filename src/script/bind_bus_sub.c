/* Subscriptions of scripts: with a function, each message is handled in a task of its own, started
 * in order, `concurrency` of them at a time; without one, the script asks for the next message.
 *
 * The C object outlives its userdata while handlers run. One with a function is anchored while it
 * is open, so that a subscription nobody keeps goes on; one without ends with its userdata.
 */
#include <string.h>

#include "base/alloc.h"
#include "bus/sub.h"
#include "script/bind_bus.h"
#include "script/luax.h"
#include "script/state.h"

#define SUBSCRIPTION "neap.bus.subscription"
#define NEXT "neap.bus.next"
#define MAX_STARTS 256 /* handlers started before others have their turn */

struct lua_sub {
    struct np_script *script;
    struct np_bus_sub *sub;  /* NULL when closed */
    struct lua_sub **handle; /* the userdata; NULL when collected */
    struct np_drain drain;
    struct np_at_close at_close;
    struct np_activation activation; /* where the state was held when it subscribed */
    struct np_link waiters;          /* of struct next, in order */
    struct np_bus_sub_stats last;    /* when it was closed */
    char *pattern;
    int fn_ref; /* LUA_NOREF without a function */
    int self_ref;
    int concurrency;
    int running; /* handlers */
    bool starting;
    bool ended; /* nothing comes any more */
};

/* A task that waits for the next message; a userdata on its stack. */
struct next {
    struct np_wait wait;
    struct np_bus_msg *m;
};

/* --- life */

static void drop_refs(struct lua_sub *ls)
{
    if (!ls->script->closing) {
        np_unref(ls->script, ls->fn_ref);
        np_unref(ls->script, ls->self_ref);
    }
    ls->fn_ref = ls->self_ref = LUA_NOREF;
}

static void release(struct lua_sub *ls)
{
    if (ls->sub || ls->handle || ls->running > 0 || ls->starting) return;
    drop_refs(ls);
    np_at_close_remove(&ls->at_close);
    np_free(ls->pattern);
    np_free(ls);
}

static void wake_all(struct lua_sub *ls)
{
    np_wake_all(&ls->waiters, NEAP_ECLOSED);
}

/* Ends it; handlers that run go on. May free it. */
static void close_sub(struct lua_sub *ls)
{
    if (!ls->sub) return;
    np_bus_sub_get_stats(ls->sub, &ls->last);
    ls->last.pending_messages = ls->last.pending_bytes = 0;
    np_activation_cancel(&ls->activation);
    np_bus_unsubscribe(ls->sub);
    ls->sub = NULL;
    ls->ended = true;
    wake_all(ls);
    if (ls->running == 0) np_drain_remove(&ls->drain);
    drop_refs(ls);
    release(ls);
}

/* The state takes over the work. */
static void on_activated(struct np_activation *a)
{
    struct lua_sub *ls = np_container_of(a, struct lua_sub, activation);
    enum neap_err err = np_bus_sub_release(ls->sub);
    if (!err) return;
    np_logf(ls->script->log, NP_LOG_ERROR, "bus: cannot subscribe to '%s': %s", ls->pattern,
            neap_err_text(err));
    np_bus_sub_drain(ls->sub); /* its readers hear that it has ended */
}

static bool has_function(const struct lua_sub *ls)
{
    return ls->fn_ref != LUA_NOREF;
}

/* The state closes: no handler of it runs any more. */
static void on_state_close(struct np_at_close *c)
{
    struct lua_sub *ls = np_container_of(c, struct lua_sub, at_close);
    if (ls->handle) *ls->handle = NULL;
    ls->handle = NULL;
    ls->running = 0;
    ls->starting = false;
    if (ls->sub) {
        close_sub(ls);
    } else {
        np_drain_remove(&ls->drain);
        release(ls);
    }
}

/* It was drained or had its maximum, and nothing is pending. */
static void on_end(struct np_bus_sub *s)
{
    struct lua_sub *ls = np_bus_sub_arg(s);
    ls->ended = true;
    wake_all(ls);
    if (!has_function(ls)) {
        np_drain_remove(&ls->drain);
    } else if (ls->running == 0) {
        close_sub(ls);
    }
}

static void on_drain(struct np_drain *d, int64_t grace)
{
    struct lua_sub *ls = np_container_of(d, struct lua_sub, drain);
    (void)grace;
    if (ls->sub && !ls->ended) {
        np_bus_sub_drain(ls->sub);
    } else if (ls->running == 0) {
        np_drain_remove(d);
    }
}

/* --- handlers */

static int handled_k(lua_State *L, int status, lua_KContext ctx)
{
    return 0;
}

/* What a message's task runs. Stack: the subscription's C object. */
static int run_handler(lua_State *L)
{
    struct lua_sub *ls = lua_touserdata(L, 1);
    if (!ls->sub) return 0;
    struct np_bus_msg **box = np_bus_push_msg(L);
    *box = np_bus_sub_pop(ls->sub);
    if (!*box) return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ls->fn_ref);
    lua_replace(L, 1);
    /* As much as it will weigh once its bytes are asked for. */
    size_t kib = (*box)->payload.n / 1024;
    if (kib > 4) lua_gc(L, LUA_GCSTEP, (int)kib);
    lua_callk(L, 1, 0, 0, handled_k);
    return 0;
}

static void on_handled(struct np_task *t, bool ok, int nresults)
{
    struct lua_sub *ls = t->arg;
    (void)nresults;
    if (!ok) np_task_log_error(t);
    ls->running--;
    if (ls->starting) return;
    if (!ls->sub) {
        if (ls->running == 0) np_drain_remove(&ls->drain);
        release(ls);
    } else if (ls->ended && ls->running == 0) {
        close_sub(ls);
    } else {
        np_bus_sub_pause(ls->sub, false); /* on_ready comes if more is pending */
    }
}

static bool start_handler(struct lua_sub *ls)
{
    struct np_task *t = np_task_new_c(ls->script, run_handler, ls, NULL, "message");
    if (!t) {
        np_bus_msg_unref(np_bus_sub_pop(ls->sub));
        np_logf(ls->script->log, NP_LOG_ERROR, "bus: out of memory; a message of '%s' is lost",
                ls->pattern);
        return false;
    }
    ls->running++;
    t->done = on_handled;
    t->arg = ls;
    np_task_start(t, false);
    return true;
}

static bool has_pending(const struct lua_sub *ls)
{
    struct np_bus_sub_stats stats;
    np_bus_sub_get_stats(ls->sub, &stats);
    return stats.pending_messages > 0;
}

/* Hands a message to each task that waits for one. */
static void feed_waiters(struct lua_sub *ls)
{
    while (has_pending(ls) && !np_list_empty(&ls->waiters)) {
        struct np_wait *w = np_container_of(ls->waiters.next, struct np_wait, link);
        np_container_of(w, struct next, wait)->m = np_bus_sub_pop(ls->sub);
        np_wake_first(&ls->waiters, NEAP_OK);
    }
}

static void on_ready(struct np_bus_sub *s)
{
    struct lua_sub *ls = np_bus_sub_arg(s);
    if (!has_function(ls)) {
        feed_waiters(ls);
        return;
    }
    ls->starting = true;
    for (int i = 0; i < MAX_STARTS && ls->sub && ls->running < ls->concurrency; i++) {
        if (!has_pending(ls) || !start_handler(ls)) break;
    }
    ls->starting = false;
    if (!ls->sub) {
        if (ls->running == 0) np_drain_remove(&ls->drain);
        release(ls);
    } else if (ls->running < ls->concurrency) {
        np_bus_sub_pause(s, false);
    }
}

static void on_slow(struct np_bus_sub *s)
{
    struct lua_sub *ls = np_bus_sub_arg(s);
    np_logf(ls->script->log, NP_LOG_WARN,
            "bus: the subscription to '%s' is slow; messages are being dropped", ls->pattern);
}

/* --- methods */

static struct lua_sub *check(lua_State *L)
{
    return *(struct lua_sub **)luaL_checkudata(L, 1, SUBSCRIPTION);
}

static int sub_gc(lua_State *L)
{
    struct lua_sub **handle = luaL_checkudata(L, 1, SUBSCRIPTION);
    struct lua_sub *ls = *handle;
    if (!ls) return 0;
    ls->handle = NULL;
    *handle = NULL;
    if (ls->sub) {
        close_sub(ls);
    } else {
        release(ls);
    }
    return 0;
}

/* s:unsubscribe(), s:close(): what is pending is dropped. May be called twice. */
static int sub_close(lua_State *L)
{
    struct lua_sub *ls = check(L);
    if (ls) close_sub(ls);
    return 0;
}

/* s:drain(): takes no more; what is pending is still handled. */
static int sub_drain(lua_State *L)
{
    struct lua_sub *ls = check(L);
    if (ls && ls->sub) np_bus_sub_drain(ls->sub);
    return 0;
}

static int next_gc(lua_State *L)
{
    struct next *n = luaL_checkudata(L, 1, NEXT);
    np_wait_dequeue(&n->wait);
    np_bus_msg_unref(n->m);
    n->m = NULL;
    return 0;
}

static int next_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct next *n = ctx;
    if (err == NEAP_ETIMEDOUT) return np_fail(L, err, "no message in time");
    if (err) return np_fail(L, err, "the subscription has ended");
    struct np_bus_msg **box = np_bus_push_msg(L);
    *box = n->m;
    n->m = NULL;
    return 1;
}

static int next_within(lua_State *L, bool bounded, int64_t timeout)
{
    struct lua_sub *ls = check(L);
    if (ls && has_function(ls))
        return np_misuse(L, "the subscription has a function that gets its messages");
    if (!ls || !ls->sub) return np_fail(L, NEAP_ECLOSED, "the subscription has ended");
    struct np_bus_msg **box = np_bus_push_msg(L);
    *box = ls->sub ? np_bus_sub_pop(ls->sub) : NULL; /* a finaliser may have closed it */
    if (*box) return 1;
    if (!ls->sub || ls->ended || np_bus_sub_ended(ls->sub))
        return np_fail(L, NEAP_ECLOSED, "the subscription has ended");
    if (bounded && timeout == 0) return np_fail(L, NEAP_ETIMEDOUT, "no message is there");
    np_task_current(L);
    struct next *n = lua_newuserdatauv(L, sizeof *n, 0);
    *n = (struct next){0};
    luaL_setmetatable(L, NEXT);
    np_wait_enqueue(&ls->waiters, &n->wait);
    return np_wait(L, &n->wait, timeout, np_wait_dequeue, next_k, n);
}

/* s:next{timeout=} → msg | nil, err. timeout 0: only what is there; none or false: no bound. */
static int sub_next(lua_State *L)
{
    struct {
        int64_t timeout;
    } o = {NP_NO_TIMEOUT};
    static const struct np_opt spec[] = {{"timeout", NP_OPT_SECONDS, 0, 0, 0}, {0}};
    bool bounded = false;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        o.timeout = np_check_seconds(L, 2, NP_NO_TIMEOUT);
        bounded = true;
    } else {
        np_opts_read(L, 2, "opts", spec, &o);
        if (lua_istable(L, 2)) bounded = lua_getfield(L, 2, "timeout") == LUA_TNUMBER;
    }
    lua_settop(L, 1);
    return next_within(L, bounded, o.timeout);
}

/* for msg in s do … end: until it ends. */
static int sub_call(lua_State *L)
{
    lua_settop(L, 1);
    return next_within(L, false, NP_NO_TIMEOUT);
}

/* s:stats() → {received=, dropped=, pending_messages=, pending_bytes=, running=, slow=} */
static int sub_stats(lua_State *L)
{
    struct lua_sub *ls = check(L);
    struct np_bus_sub_stats stats = {0};
    if (ls) stats = ls->last;
    if (ls && ls->sub) np_bus_sub_get_stats(ls->sub, &stats);
    lua_createtable(L, 0, 6);
    np_set_count(L, "received", stats.received);
    np_set_count(L, "dropped", stats.dropped);
    np_set_count(L, "pending_messages", stats.pending_messages);
    np_set_count(L, "pending_bytes", stats.pending_bytes);
    np_set_count(L, "running", ls ? (uint64_t)ls->running : 0);
    lua_pushboolean(L, stats.slow);
    lua_setfield(L, -2, "slow");
    return 1;
}

static int sub_index(lua_State *L)
{
    struct lua_sub *ls = check(L);
    const char *key = luaL_checkstring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL || !ls) return 1;
    if (strcmp(key, "pattern") == 0) return lua_pushstring(L, ls->pattern), 1;
    if (strcmp(key, "closed") == 0) return lua_pushboolean(L, ls->sub == NULL), 1;
    if (strcmp(key, "queue") == 0 && ls->sub) {
        struct np_bytes queue = np_bus_sub_queue(ls->sub);
        if (queue.n > 0) return lua_pushlstring(L, queue.p, queue.n), 1;
    }
    return 1;
}

static int sub_tostring(lua_State *L)
{
    struct lua_sub *ls = check(L);
    lua_pushfstring(L, "neap.bus.subscription: %s%s", ls ? ls->pattern : "",
                    ls && ls->sub ? "" : " (closed)");
    return 1;
}

/* --- subscribe */

struct sub_options {
    const char *queue;
    size_t max;
    size_t pending_bytes;
    size_t pending_messages;
    int concurrency;
};

static const struct np_opt sub_spec[] = {
    {"queue", NP_OPT_STRING, offsetof(struct sub_options, queue), 0, 0},
    {"max", NP_OPT_SIZE, offsetof(struct sub_options, max), 0, 0},
    {"pending_bytes", NP_OPT_SIZE, offsetof(struct sub_options, pending_bytes), 0, 0},
    {"pending_messages", NP_OPT_SIZE, offsetof(struct sub_options, pending_messages), 0, 0},
    {"concurrency", NP_OPT_INT, offsetof(struct sub_options, concurrency), 1, 1000000},
    {0}};

static struct lua_sub *new_sub(lua_State *L, struct np_bytes pattern)
{
    struct lua_sub **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, SUBSCRIPTION);
    struct lua_sub *ls = np_calloc(1, sizeof *ls);
    char *text = np_strndup(pattern.p, pattern.n);
    if (!ls || !text) {
        np_free(ls);
        np_free(text);
        luaL_error(L, "not enough memory");
    }
    ls->pattern = text;
    ls->script = np_script_of(L);
    ls->fn_ref = ls->self_ref = LUA_NOREF;
    ls->drain.drain = on_drain;
    ls->at_close.fn = on_state_close;
    np_link_init(&ls->waiters);
    ls->handle = handle;
    *handle = ls;
    np_at_close_add(ls->script, &ls->at_close);
    return ls;
}

static int subscribed(lua_State *L, struct lua_sub *ls, enum neap_err err, const char *queue)
{
    if (err == NEAP_EINVAL)
        return np_misuse(L, "bad pattern '%s'%s%s", ls->pattern, queue ? " or queue " : "",
                         queue ? queue : "");
    if (err) return np_fail(L, err, NULL);
    return 1;
}

/* subscribe(pattern, [fn,] {queue=, max=, pending_bytes=, pending_messages=, concurrency=1})
 * → subscription | nil, err */
static int bus_subscribe(lua_State *L)
{
    static const struct np_bus_sub_handler handler = {
        .on_ready = on_ready, .on_slow = on_slow, .on_end = on_end};
    struct np_bus_sub_options so = NP_BUS_SUB_OPTIONS_INIT;
    struct sub_options o = {NULL, 0, so.pending_bytes, so.pending_messages, 1};
    struct np_bus *bus = np_bus_check(L);
    struct np_bytes pattern;
    luaL_checktype(L, 1, LUA_TSTRING);
    pattern.p = lua_tolstring(L, 1, &pattern.n);
    lua_settop(L, 3);
    if (lua_istable(L, 2) && lua_isnil(L, 3)) {
        lua_insert(L, 2); /* no function: the options are the second argument */
    }
    if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    np_opts_read(L, 3, "opts", sub_spec, &o);
    if (np_script_of(L)->closing) return np_fail(L, NEAP_ECLOSED, "the host is closing");
    so.max = o.max;
    so.pending_bytes = o.pending_bytes;
    so.pending_messages = o.pending_messages;
    if (o.queue) so.queue = (struct np_bytes){o.queue, strlen(o.queue)};
    so.held = np_script_of(L)->held;
    struct lua_sub *ls = new_sub(L, pattern);
    ls->activation.fn = on_activated;
    ls->concurrency = o.concurrency;
    if (!lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        ls->fn_ref = np_ref(L);
        lua_pushvalue(L, 4);
        ls->self_ref = np_ref(L);
    }
    enum neap_err err = np_bus_subscribe(bus, pattern, &so, &handler, ls, &ls->sub);
    if (err) {
        drop_refs(ls);
        return subscribed(L, ls, err, o.queue);
    }
    np_drain_add(&ls->script->shutdown, &ls->drain);
    if (so.held) np_activate(ls->script, &ls->activation);
    return subscribed(L, ls, NEAP_OK, NULL);
}

void np_bus_add_sub(lua_State *L)
{
    static const luaL_Reg methods[] = {{"next", sub_next},   {"unsubscribe", sub_close},
                                       {"close", sub_close}, {"drain", sub_drain},
                                       {"stats", sub_stats}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", sub_gc},
                                    {"__close", sub_close},
                                    {"__call", sub_call},
                                    {"__tostring", sub_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg next_meta[] = {{"__gc", next_gc}, {NULL, NULL}};
    np_type_new(L, NEXT, NULL, next_meta);
    np_type_new(L, SUBSCRIPTION, NULL, meta);
    luaL_getmetatable(L, SUBSCRIPTION);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, sub_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, bus_subscribe);
    lua_setfield(L, -2, "subscribe");
}
