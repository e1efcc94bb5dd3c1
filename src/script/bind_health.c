/* neap.core.health: the state of active checks (mesh/health_check.h), driven by
 * lua/neap/health.lua. Type "neap.core.health".
 *
 * The checks of one name are one object for all workers and for the code before and after a reload,
 * so that neither a hand-over nor a reload forgets what is known; but one at a time drives it: who
 * holds the claim of that name (neap.worker), between `start` and `halt`. Nobody else touches it:
 * a worker that was stuck, and finds that another has taken its place, leaves it alone. Whose it is
 * is asked, and the checks are used, under a lock, within which nothing of Lua's is called.
 */
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/health_check.h"
#include "mesh/upstream.h"
#include "script/bind_endpoint.h"
#include "script/bind_endpoint_list.h"
#include "script/bind_health.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/rules.h"
#include "script/state.h"

#define TYPE "neap.core.health"
#define MAX_CONCURRENCY 10000

/* What the workers share. */
struct shared {
    pthread_mutex_t lock;
    struct np_check *check;
    const void *driver; /* a box; NULL: nobody */
};

struct box {
    struct np_loop *loop;
    struct np_common *rule; /* NULL: it could not be made, or is closed */
    bool driving;
    struct np_at_close at_close; /* while driving */
    struct np_upstream *up;      /* of a service; or */
    struct np_snapshot *set;     /* what was told by update */
    bool missing;                /* the last update wanted memory */
    struct np_check_options opts;
    struct np_check_entry **running; /* opts.concurrency places; NULL: free */
};

static enum neap_err make(void *arg, void **object, struct neap_errinfo *info)
{
    struct shared *s = np_calloc(1, sizeof *s);
    enum neap_err err = s ? np_check_new(arg, 0, &s->check) : NEAP_ENOMEM;
    if (err) {
        np_free(s);
        return np_err_plain(info, err);
    }
    pthread_mutex_init(&s->lock, NULL);
    *object = s;
    return NEAP_OK;
}

static void destroy(void *object)
{
    struct shared *s = object;
    np_check_free(s->check, 0);
    pthread_mutex_destroy(&s->lock);
    np_free(s);
}

static const struct np_common_kind kind = {"health", make, NULL, destroy};

static int64_t now_of(lua_State *L)
{
    return np_loop_now(np_script_of(L)->loop);
}

static struct box *check_any(lua_State *L)
{
    return luaL_checkudata(L, 1, TYPE);
}

static struct shared *shared_of(const struct box *b)
{
    return b->rule->object;
}

static void leave(const struct box *b)
{
    pthread_mutex_unlock(&shared_of(b)->lock);
}

/* The checks, locked until `leave`; NULL, and not locked: they are not driven here. */
static struct np_check *enter(const struct box *b)
{
    if (!b->driving) return NULL;
    struct shared *s = shared_of(b);
    pthread_mutex_lock(&s->lock);
    if (s->driver == b) return s->check;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static struct np_check *must_enter(lua_State *L, const struct box *b)
{
    struct np_check *c = enter(b);
    if (c == NULL) np_misuse(L, "these checks are not driven here");
    return c;
}

/* --- options */

struct options {
    const char *name, *initial;
    bool shadow;
    int rise, fall, http_failures, tcp_failures, timeouts, concurrency;
    double jitter;
    int64_t interval, unhealthy_interval;
};

#define MANY 1000000
static const struct np_opt option_list[] = {
    {"name", NP_OPT_STRING, offsetof(struct options, name), 0, 0},
    {"initial", NP_OPT_STRING, offsetof(struct options, initial), 0, 0},
    {"shadow", NP_OPT_BOOL, offsetof(struct options, shadow), 0, 0},
    {"rise", NP_OPT_INT, offsetof(struct options, rise), 1, MANY},
    {"fall", NP_OPT_INT, offsetof(struct options, fall), 1, MANY},
    {"http_failures", NP_OPT_INT, offsetof(struct options, http_failures), 0, MANY},
    {"tcp_failures", NP_OPT_INT, offsetof(struct options, tcp_failures), 0, MANY},
    {"timeouts", NP_OPT_INT, offsetof(struct options, timeouts), 0, MANY},
    {"concurrency", NP_OPT_INT, offsetof(struct options, concurrency), 1, MAX_CONCURRENCY},
    {"jitter", NP_OPT_NUMBER, offsetof(struct options, jitter), 0, 0.99},
    {"interval", NP_OPT_SECONDS, offsetof(struct options, interval), 0, 0},
    {"unhealthy_interval", NP_OPT_SECONDS, offsetof(struct options, unhealthy_interval), 0, 0},
    {NULL, NP_OPT_ANY, 0, 0, 0},
};

static enum np_check_state read_state(lua_State *L, const char *name)
{
    for (int s = NP_CHECK_UNKNOWN; s <= NP_CHECK_UNHEALTHY; s++) {
        if (strcmp(name, np_check_state_name((enum np_check_state)s)) == 0)
            return (enum np_check_state)s;
    }
    np_misuse(L, "opts.initial: expected unknown, healthy or unhealthy");
    return NP_CHECK_UNKNOWN;
}

static const char *read_options(lua_State *L, struct np_check_options *out)
{
    const struct np_check_options *d = &np_check_defaults;
    struct options o = {
        .initial = "unknown",
        .rise = (int)d->rise,
        .fall = (int)d->fall,
        .concurrency = (int)d->concurrency,
        .jitter = d->jitter,
        .interval = d->interval_ns,
    };
    np_opts_read(L, 1, "opts", option_list, &o);
    *out = (struct np_check_options){
        .shadow = o.shadow,
        .interval_ns = o.interval,
        .unhealthy_interval_ns = o.unhealthy_interval,
        .jitter = o.jitter,
        .rise = (uint32_t)o.rise,
        .fall = (uint32_t)o.fall,
        .http_failures = (uint32_t)o.http_failures,
        .tcp_failures = (uint32_t)o.tcp_failures,
        .timeouts = (uint32_t)o.timeouts,
        .concurrency = (uint32_t)o.concurrency,
        .initial = read_state(L, o.initial),
    };
    const char *problem = np_check_options_problem(out);
    if (problem) np_misuse(L, "opts.%s", problem);
    return o.name;
}

static enum neap_err get_rule(lua_State *L, struct box *b, const char *name,
                              struct neap_errinfo *info)
{
    if (!name) return np_common_new(&kind, &b->opts, &b->rule, info);
    struct np_commons *t = np_script_commons(np_script_of(L));
    if (!t) return np_err_plain(info, NEAP_ENOMEM);
    return np_commons_get(t, &kind, name, strlen(name), &b->opts, &b->rule, NULL, info);
}

/* new(opts) → checks | nil, err */
static int health_new(lua_State *L)
{
    struct neap_errinfo info = {0};
    struct np_check_options opts;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    const char *name = read_options(L, &opts);
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct box){.loop = np_script_of(L)->loop, .opts = opts};
    luaL_setmetatable(L, TYPE);
    b->running = np_calloc(opts.concurrency, sizeof *b->running);
    if (b->running == NULL) return np_fail(L, NEAP_ENOMEM, NULL);
    enum neap_err err = get_rule(L, b, name, &info);
    return err ? np_fail_info(L, &info) : 1;
}

/* --- driving it */

static void halt(struct box *b)
{
    enum np_check_state state;
    if (!b->driving) return;
    struct np_check *c = enter(b);
    int64_t now = np_loop_now(b->loop);
    np_at_close_remove(&b->at_close);
    for (size_t i = 0; i < b->opts.concurrency; i++) {
        struct np_check_entry *t = b->running[i];
        b->running[i] = NULL;
        if (t != NULL && c != NULL) (void)np_check_done(c, t, NP_CHECK_CANCELED, now, &state);
    }
    if (c != NULL) {
        shared_of(b)->driver = NULL;
        leave(b);
    }
    b->driving = false;
}

/* The state closes: before it gives back the claim, which is older. */
static void on_state_close(struct np_at_close *c)
{
    halt(np_container_of(c, struct box, at_close));
}

/* c:start(): it is driven here from now on */
static int health_start(lua_State *L)
{
    struct box *b = check_any(L);
    if (b->rule == NULL) np_misuse(L, "these checks are closed");
    if (b->driving) return 0;
    struct shared *s = shared_of(b);
    int64_t now = now_of(L);
    pthread_mutex_lock(&s->lock);
    s->driver = b;
    np_check_take_over(s->check, now);
    enum neap_err err = np_check_set(s->check, &b->opts, now);
    pthread_mutex_unlock(&s->lock);
    if (err) return np_fail(L, err, NULL);
    b->driving = true;
    b->at_close.fn = on_state_close;
    np_at_close_add(np_script_of(L), &b->at_close);
    return 0;
}

/* c:halt(): somebody else may drive it */
static int health_halt(lua_State *L)
{
    halt(check_any(L));
    return 0;
}

/* c:close(): it may be called twice */
static int health_close(lua_State *L)
{
    struct box *b = check_any(L);
    halt(b);
    np_upstream_free(b->up);
    np_snapshot_unref(b->set);
    np_common_unref(b->rule);
    np_free(b->running);
    b->up = NULL;
    b->set = NULL;
    b->rule = NULL;
    b->running = NULL;
    return 0;
}

/* --- the set */

/* c:follow(service, tags) → true | nil, err */
static int health_follow(lua_State *L)
{
    struct box *b = check_any(L);
    const char *service = luaL_checkstring(L, 2);
    struct np_registry_view *view = np_script_of(L)->view;
    struct np_endpoint_desc wanted = {0};
    lua_settop(L, 3);
    if (view == NULL) np_misuse(L, "this host has no registry");
    np_endpoint_read_tags(L, 3, "opts.tags", &wanted);
    np_upstream_free(b->up);
    b->up = NULL;
    enum neap_err err = np_upstream_new(view, service, wanted.tags, wanted.ntags, &b->up);
    if (err == NEAP_EINVAL) np_misuse(L, "opts.service: bad name '%s'", service);
    if (err) return np_fail(L, err, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

/* c:read(endpoints): a list, to be taken over by the next poll */
static int health_read(lua_State *L)
{
    struct box *b = check_any(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct np_snapshot *set = np_endpoint_read_list(L, 2, b->set);
    if (set == NULL) return np_fail(L, NEAP_ENOMEM, NULL);
    np_snapshot_unref(b->set);
    b->set = set;
    b->missing = true;
    lua_pushboolean(L, 1);
    return 1;
}

/* c:poll([anew]): takes the service's newest instances, or what was read */
static int health_poll(lua_State *L)
{
    struct box *b = check_any(L);
    struct np_check *c = must_enter(L, b);
    bool changed = false;
    struct np_snapshot *set = b->up ? np_upstream_poll(b->up, &changed) : b->set;
    if (set != NULL && (changed || b->missing || lua_toboolean(L, 2))) {
        b->missing = np_check_update(c, set, now_of(L)) != NEAP_OK;
    }
    leave(b);
    return 0;
}

/* --- checks */

static size_t free_place(const struct box *b)
{
    size_t i = 0;
    while (i < b->opts.concurrency && b->running[i] != NULL)
        i++;
    return i;
}

/* c:next() → endpoint, place | nil, seconds to wait (nil: until a check ends, or the set changes)
 */
static int health_next(lua_State *L)
{
    struct box *b = check_any(L);
    struct np_check *c = must_enter(L, b);
    int64_t wait = NP_TIME_NEVER;
    size_t place = free_place(b);
    struct np_check_entry *t =
        place < b->opts.concurrency ? np_check_next(c, now_of(L), &wait) : NULL;
    struct np_endpoint *e = t ? np_check_endpoint(t) : NULL;
    leave(b);
    if (t == NULL) {
        lua_pushnil(L);
        if (wait == NP_TIME_NEVER) return 1;
        lua_pushnumber(L, np_to_seconds(wait));
        return 2;
    }
    b->running[place] = t; /* given back by halt, should the next line raise */
    np_endpoint_push(L, e);
    lua_pushinteger(L, (lua_Integer)place + 1);
    return 2;
}

/* c:done(place, result) → the new state and the old one, if it has changed */
static int health_done(lua_State *L)
{
    struct box *b = check_any(L);
    lua_Integer place = luaL_checkinteger(L, 2);
    const char *result = luaL_checkstring(L, 3);
    int r = 0;
    while (r < NP_CHECK_RESULTS && strcmp(result, np_check_result_name(r)) != 0)
        r++;
    luaL_argcheck(L, r < NP_CHECK_RESULTS, 3, "no such result");
    luaL_argcheck(L, place >= 1 && place <= (lua_Integer)b->opts.concurrency, 2, "no such place");
    struct np_check *c = must_enter(L, b);
    struct np_check_entry *t = b->running[place - 1];
    enum np_check_state state = NP_CHECK_UNKNOWN;
    enum np_check_state before = t ? np_check_look(t).state : NP_CHECK_UNKNOWN;
    b->running[place - 1] = NULL;
    bool changed = t && np_check_done(c, t, (enum np_check_result)r, now_of(L), &state);
    leave(b);
    luaL_argcheck(L, t != NULL, 2, "no check runs there");
    if (!changed) return 0;
    lua_pushstring(L, np_check_state_name(state));
    lua_pushstring(L, np_check_state_name(before));
    return 2;
}

/* --- what is asked of it */

static void push_endpoints(lua_State *L, const struct np_check *c)
{
    size_t it = 0;
    lua_Integer i = 0;
    int64_t now = now_of(L);
    lua_newtable(L);
    for (const struct np_check_entry *t; (t = np_check_each(c, &it)) != NULL;) {
        struct np_check_view v = np_check_look(t);
        lua_createtable(L, 0, 6);
        lua_pushstring(L, v.endpoint->id);
        lua_setfield(L, -2, "id");
        lua_pushstring(L, v.endpoint->address);
        lua_setfield(L, -2, "address");
        lua_pushstring(L, np_check_state_name(v.state));
        lua_setfield(L, -2, "state");
        if (v.last != NP_CHECK_CANCELED) {
            lua_pushstring(L, np_check_result_name(v.last));
            lua_setfield(L, -2, "last");
        }
        np_set_count(L, "row", v.row);
        lua_pushnumber(L, np_to_seconds(now - v.since));
        lua_setfield(L, -2, "for_seconds");
        lua_rawseti(L, -2, ++i);
    }
}

/* c:stats() */
static int health_stats(lua_State *L)
{
    struct box *b = check_any(L);
    struct np_check *c = enter(b);
    struct np_check_counters n = {0};
    if (c != NULL) {
        n = np_check_counters(c);
        leave(b);
    }
    lua_createtable(L, 0, 16);
    lua_pushboolean(L, c != NULL);
    lua_setfield(L, -2, "leader");
    if (c == NULL) return 1;
    np_set_count(L, "checks", n.checks);
    np_set_count(L, "successes", n.results[NP_CHECK_OK]);
    np_set_count(L, "http_failures", n.results[NP_CHECK_HTTP_FAILED]);
    np_set_count(L, "tcp_failures", n.results[NP_CHECK_TCP_FAILED]);
    np_set_count(L, "timeouts", n.results[NP_CHECK_TIMEOUT]);
    np_set_count(L, "changes", n.changes);
    np_set_count(L, "healthy", n.healthy);
    np_set_count(L, "unhealthy", n.unhealthy);
    np_set_count(L, "unknown", n.unknown);
    np_set_count(L, "running", n.running);
    lua_pushnumber(L, np_to_seconds(n.late_ns));
    lua_setfield(L, -2, "late");
    push_endpoints(L, c); /* only who drives them changes them, which is this thread … */
    lua_setfield(L, -2, "endpoints");
    if (enter(b) != NULL) leave(b); /* … and who takes them over has seen that this is done */
    return 1;
}

int np_open_health(lua_State *L)
{
    static const luaL_Reg methods[] = {{"start", health_start}, {"halt", health_halt},
                                       {"close", health_close}, {"follow", health_follow},
                                       {"read", health_read},   {"poll", health_poll},
                                       {"next", health_next},   {"done", health_done},
                                       {"stats", health_stats}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", health_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"new", health_new}, {"grpc", np_health_grpc}, {NULL, NULL}};
    np_endpoint_open(L);
    np_type_new(L, TYPE, methods, meta);
    np_health_open_grpc(L);
    luaL_newlib(L, functions);
    return 1;
}
