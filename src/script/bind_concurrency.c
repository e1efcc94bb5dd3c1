/* neap.core.concurrency: concurrency limits and bulkheads (mesh/concurrency.h), shared by name.
 * Type "neap.concurrency.limit"; lua/neap/concurrency.lua makes tickets of it.
 *
 * Who waits stands in a queue of its class, in this state: the highest class first, and within a
 * class who came first. When somebody leaves, on whichever worker, the limit tells every state
 * where one waits, by a post to its loop. The C object outlives its userdata while such a post is
 * on its way. What a state has entered and not left when it closes is left then.
 */
#include "script/bind_concurrency.h"

#include <string.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/rules.h"

#define TYPE "neap.concurrency.limit"

struct limit {
    struct np_script *script; /* NULL once the state closes */
    struct np_loop *loop;
    struct np_common *rule; /* NULL: closed */
    struct limit **handle;  /* the userdata; NULL when collected */
    struct np_at_close at_close;
    struct np_link queues[NP_PRIORITY_CLASSES]; /* of struct waiter */
    size_t waiting, max_waiting;
    size_t entered; /* and not left */
    uint64_t queued, displaced, gave_up;
    struct np_concurrency_watch watch;
    struct np_post post;
    atomic_bool posted;
};

/* Who waits: a userdata on the stack of its task. */
struct waiter {
    struct np_wait wait;
    struct limit *limit; /* NULL: it waits no more */
    enum np_priority class;
};

static struct np_concurrency *object_of(const struct limit *l)
{
    return l->rule->object;
}

static struct limit *check_any(lua_State *L)
{
    return *(struct limit **)luaL_checkudata(L, 1, TYPE);
}

static struct limit *check_open(lua_State *L)
{
    struct limit *l = check_any(L);
    if (!l || !l->rule) np_misuse(L, "this concurrency limit is closed");
    return l;
}

/* --- life */

static void release(struct limit *l)
{
    if (l->handle || l->rule || atomic_load(&l->posted)) return;
    np_free(l);
}

static void take_out(struct waiter *w)
{
    struct limit *l = w->limit;
    w->limit = NULL;
    np_list_remove(&w->wait.link);
    l->waiting--;
    np_concurrency_waiting(object_of(l), &l->watch, -1);
}

static void wake(struct waiter *w, enum neap_err err)
{
    take_out(w);
    np_wake(&w->wait, err);
}

static struct waiter *first_of(struct np_link *queue)
{
    if (np_list_empty(queue)) return NULL;
    return np_container_of(queue->next, struct waiter, wait.link);
}

static void close_limit(struct limit *l)
{
    struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};
    if (!l->rule) return;
    for (unsigned p = 0; p < NP_PRIORITY_CLASSES; p++) {
        struct waiter *w;
        while ((w = first_of(&l->queues[p])))
            wake(w, NEAP_ECLOSED);
    }
    np_concurrency_unwatch(object_of(l), &l->watch);
    for (; l->entered > 0; l->entered--)
        np_concurrency_leave(object_of(l), &canceled, np_loop_hrtime());
    np_at_close_remove(&l->at_close);
    np_common_unref(l->rule);
    l->rule = NULL;
}

static void on_state_closing(struct np_at_close *c)
{
    struct limit *l = np_container_of(c, struct limit, at_close);
    close_limit(l);
    l->script = NULL;
}

/* Lets in who may come in now. */
static void serve(struct limit *l)
{
    for (int p = NP_PRIORITY_CLASSES - 1; p >= 0; p--) {
        struct waiter *w;
        while ((w = first_of(&l->queues[p]))) {
            struct np_concurrency *c = object_of(l);
            if (!np_concurrency_room(c, w->class)) return;
            if (!np_concurrency_enter(c, w->class, np_loop_hrtime())) return;
            l->entered++;
            wake(w, NEAP_OK);
        }
    }
}

static void on_post(struct np_post *p, struct np_loop *loop)
{
    struct limit *l = np_container_of(p, struct limit, post);
    (void)loop;
    atomic_store(&l->posted, false);
    if (l->rule) serve(l);
    release(l);
}

/* Any thread. */
static void on_room(struct np_concurrency_watch *w)
{
    struct limit *l = np_container_of(w, struct limit, watch);
    if (!atomic_exchange(&l->posted, true)) np_loop_post(l->loop, &l->post);
}

/* --- options */

struct options {
    struct np_concurrency_options limit;
    const char *name;
    size_t max_waiting;
    int initial, min, max, min_samples;
};

enum { OWN_OPTIONS = 13, MORE_OPTIONS = 4 };
#define FIELD(f) offsetof(struct options, f)
static const struct np_opt option_list[OWN_OPTIONS] = {
    {"name", NP_OPT_STRING, FIELD(name), 0, 0},
    {"adaptive", NP_OPT_BOOL, FIELD(limit.adaptive), 0, 0},
    {"initial", NP_OPT_INT, FIELD(initial), 1, 1000000},
    {"min", NP_OPT_INT, FIELD(min), 1, 1000000},
    {"max", NP_OPT_INT, FIELD(max), 1, 1000000},
    {"window", NP_OPT_SECONDS, FIELD(limit.window_ns), 0, 0},
    {"min_samples", NP_OPT_INT, FIELD(min_samples), 1, 1000000},
    {"quantile", NP_OPT_NUMBER, FIELD(limit.quantile), 0, 1},
    {"buffer", NP_OPT_NUMBER, FIELD(limit.buffer), 0, 10},
    {"backoff", NP_OPT_NUMBER, FIELD(limit.backoff), 0, 1},
    {"forget", NP_OPT_SECONDS, FIELD(limit.forget_ns), 0, 0},
    {"max_waiting", NP_OPT_SIZE, FIELD(max_waiting), 0, 1000000},
    {"shadow", NP_OPT_BOOL, FIELD(limit.shadow), 0, 0},
};

void np_lconcurrency_read(lua_State *L, int idx, const char *path, const char *const *more,
                          struct np_lconcurrency_options *out)
{
    struct np_opt spec[OWN_OPTIONS + MORE_OPTIONS + 1] = {{0}};
    const struct np_concurrency_options *d = &np_concurrency_defaults;
    struct options o = {.limit = *d,
                        .initial = (int)d->initial,
                        .min = (int)d->min,
                        .max = (int)d->max,
                        .min_samples = (int)d->min_samples};
    size_t n = OWN_OPTIONS;
    memcpy(spec, option_list, sizeof option_list);
    for (; more && *more; more++)
        spec[n++] = (struct np_opt){*more, NP_OPT_ANY, 0, 0, 0};
    np_opts_read(L, idx, path, spec, &o);
    if (o.name && (*o.name == '\0' || strlen(o.name) > NP_COMMONS_MAX_KEY))
        np_misuse(L, "%s.name: 1 to %d bytes", path, NP_COMMONS_MAX_KEY);
    o.limit.initial = (uint32_t)o.initial;
    o.limit.min = (uint32_t)o.min;
    o.limit.max = (uint32_t)o.max;
    o.limit.min_samples = (uint32_t)o.min_samples;
    const char *problem = np_concurrency_problem(&o.limit);
    if (problem) np_misuse(L, "%s.%s", path, problem);
    *out = (struct np_lconcurrency_options){o.limit, o.max_waiting, o.name};
}

/* new{name=, …} → limit | nil, err */
static int limit_new(lua_State *L)
{
    struct np_lconcurrency_options o;
    struct neap_errinfo info;
    np_lconcurrency_read(L, 1, "opts", NULL, &o);
    struct limit **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, TYPE);
    struct limit *l = np_calloc(1, sizeof *l);
    if (!l) return np_fail(L, NEAP_ENOMEM, NULL);
    struct np_script *s = np_script_of(L);
    if (np_script_rule(s, &np_concurrency_kind, o.name, &o.limit, sizeof o.limit, &l->rule,
                       &info)) {
        np_free(l);
        return np_fail_info(L, &info);
    }
    for (unsigned p = 0; p < NP_PRIORITY_CLASSES; p++)
        np_link_init(&l->queues[p]);
    *handle = l;
    l->handle = handle;
    l->script = s;
    l->loop = s->loop;
    l->max_waiting = o.max_waiting;
    l->post.fn = on_post;
    l->watch.room = on_room;
    l->at_close.fn = on_state_closing;
    np_at_close_add(s, &l->at_close);
    np_concurrency_watch(object_of(l), &l->watch);
    return 1;
}

/* --- in and out */

static bool somebody_before(const struct limit *l, enum np_priority p)
{
    for (unsigned q = p; l->waiting > 0 && q < NP_PRIORITY_CLASSES; q++)
        if (!np_list_empty(&l->queues[q])) return true;
    return false;
}

/* The queue is full: whoever came last of the lowest class below `p` goes. False: there is none. */
static bool displace(struct limit *l, enum np_priority p)
{
    for (unsigned q = 0; q < p; q++) {
        if (np_list_empty(&l->queues[q])) continue;
        l->displaced++;
        np_concurrency_refuse(object_of(l), (enum np_priority)q);
        wake(np_container_of(l->queues[q].prev, struct waiter, wait.link), NEAP_ELIMIT);
        return true;
    }
    return false;
}

/* Its time was over, or its task's. */
static void on_cancel(struct np_wait *w)
{
    struct waiter *waiter = np_container_of(w, struct waiter, wait);
    waiter->limit->gave_up++;
    take_out(waiter);
}

static int enter_k(lua_State *L, enum neap_err err, void *ctx)
{
    (void)ctx;
    if (err == NEAP_ETIMEDOUT) return np_fail(L, err, "there was no room in time");
    if (err == NEAP_ELIMIT) return np_fail(L, err, "the concurrency limit is reached");
    if (err) return np_fail(L, err, "this concurrency limit is closed");
    lua_pushinteger(L, np_loop_hrtime());
    return 1;
}

/* enter(class, timeout | nil) → when | nil, err: waits where it may and must */
static int limit_enter(lua_State *L)
{
    struct limit *l = check_open(L);
    lua_Integer class = luaL_checkinteger(L, 2);
    int64_t timeout = np_check_seconds(L, 3, NP_NO_TIMEOUT);
    bool at_once = !lua_isnoneornil(L, 3) && timeout == 0;
    luaL_argcheck(L, class >= 0 && class < NP_PRIORITY_CLASSES, 2, "a priority class");
    enum np_priority p = (enum np_priority) class;
    struct np_concurrency *c = object_of(l);
    bool queue = l->max_waiting > 0 && !at_once && !np_concurrency_shadows(c);
    if (!somebody_before(l, p) && (!queue || np_concurrency_room(c, p)) &&
        np_concurrency_enter(c, p, np_loop_hrtime())) {
        l->entered++;
        return enter_k(L, NEAP_OK, NULL);
    }
    if (!queue) return enter_k(L, NEAP_ELIMIT, NULL);
    (void)np_task_current(L);
    struct waiter *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct waiter){.class = p};
    if (l->waiting >= l->max_waiting && !displace(l, p)) {
        np_concurrency_refuse(c, p);
        return enter_k(L, NEAP_ELIMIT, NULL);
    }
    w->limit = l;
    l->waiting++;
    l->queued++;
    np_list_push_back(&l->queues[p], &w->wait.link);
    np_concurrency_waiting(c, &l->watch, 1);
    on_room(&l->watch); /* somebody may have left before it was seen to wait */
    return np_wait(L, &w->wait, timeout, on_cancel, enter_k, NULL);
}

/* leave(when, "ok" | "failed" | "overload" | nil): nil: it says nothing */
static int limit_leave(lua_State *L)
{
    static const char *const how[] = {"ok", "failed", "overload", "canceled", NULL};
    struct limit *l = check_any(L);
    int64_t now = np_loop_hrtime();
    struct np_result r = {.latency_ns = now - luaL_checkinteger(L, 2)};
    switch (luaL_checkoption(L, 3, "canceled", how)) {
    case 0:
        break;
    case 1:
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = NP_FAULT_SERVER;
        break;
    case 2:
        r.outcome = NP_OUTCOME_FAILED;
        r.fault = NP_FAULT_OVERLOAD;
        break;
    default:
        r.outcome = NP_OUTCOME_CANCELED;
    }
    if (!l || !l->rule || l->entered == 0) return 0; /* it was closed, and all left with it */
    l->entered--;
    np_concurrency_leave(object_of(l), &r, now);
    return 0;
}

void np_lconcurrency_counters(lua_State *L, const struct np_concurrency *c)
{
    bool shadow = np_concurrency_shadows(c);
    struct np_concurrency_counters k = np_concurrency_counters(c);
    uint64_t admitted = 0, refused = 0;
    np_set_count(L, "limit", k.limit);
    np_set_count(L, "inflight", k.inflight);
    lua_pushnumber(L, k.min_rtt_ns / 1e9);
    lua_setfield(L, -2, "min_latency");
    lua_pushnumber(L, k.sampled_ns / 1e9);
    lua_setfield(L, -2, "latency");
    lua_createtable(L, 0, NP_PRIORITY_CLASSES);
    for (unsigned p = 0; p < NP_PRIORITY_CLASSES; p++) {
        lua_createtable(L, 0, 2);
        np_set_count(L, "admitted", k.admitted[p]);
        np_set_count(L, shadow ? "would_refuse" : "refused", k.refused[p]);
        lua_setfield(L, -2, np_priority_name((enum np_priority)p));
        admitted += k.admitted[p];
        refused += k.refused[p];
    }
    lua_setfield(L, -2, "classes");
    np_set_count(L, "admitted", admitted);
    np_set_count(L, shadow ? "would_refuse" : "refused", refused);
}

static int limit_stats(lua_State *L)
{
    struct limit *l = check_open(L);
    lua_createtable(L, 0, 12);
    np_lconcurrency_counters(L, object_of(l));
    np_set_count(L, "waiting", l->waiting);
    np_set_count(L, "queued", l->queued);
    np_set_count(L, "displaced", l->displaced);
    np_set_count(L, "gave_up", l->gave_up);
    lua_pushboolean(L, np_concurrency_shadows(object_of(l)));
    lua_setfield(L, -2, "shadow");
    return 1;
}

static int limit_close(lua_State *L)
{
    struct limit *l = check_any(L);
    if (l) close_limit(l);
    return 0;
}

static int limit_gc(lua_State *L)
{
    struct limit **handle = luaL_checkudata(L, 1, TYPE), *l = *handle;
    if (!l) return 0;
    *handle = NULL;
    l->handle = NULL;
    close_limit(l);
    release(l);
    return 0;
}

static int limit_tostring(lua_State *L)
{
    struct limit *l = check_any(L);
    const char *name = l && l->rule ? np_common_name(l->rule) : "closed";
    lua_pushfstring(L, "%s: %s", TYPE, *name ? name : "without a name");
    return 1;
}

int np_open_concurrency(lua_State *L)
{
    static const luaL_Reg methods[] = {{"enter", limit_enter},
                                       {"leave", limit_leave},
                                       {"stats", limit_stats},
                                       {"close", limit_close},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", limit_gc}, {"__tostring", limit_tostring}, {NULL, NULL}};
    np_type_new(L, TYPE, methods, meta);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, limit_new);
    lua_setfield(L, -2, "new");
    return 1;
}
