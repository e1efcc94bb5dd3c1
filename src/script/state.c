/* A script state's birth and death; see state.h. Used by its loop's thread. */
#include "script/state.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/commons.h"
#include "script/luax.h"
#include "script/sandbox.h"
#include "script/view_loop.h"
#include "script/watch.h"

#define DEFAULT_MEMORY_LIMIT ((size_t)512 * 1024 * 1024)
#define EXHAUSTED_PERCENT 95
#define EXHAUSTED_SHORTAGES 3
#define CLOSING_TURNS 64 /* of the scheduler, for tasks to unwind when their state closes */

static void *allocate(void *ud, void *p, size_t old, size_t size)
{
    struct np_script *s = ud;
    /* All that a binding opens begins with its userdata; without a pointer, `old` is the type. */
    if (!p && old == LUA_TUSERDATA && s->ending) return NULL;
    if (!p) old = 0;
    s->moved = p != NULL && size != 0;
    s->moves += s->moved;
    if (size == 0) {
        s->memory -= old;
        np_slab_free(&s->slabs, p, old);
        return NULL;
    }
    if (size > old && s->memory_limit && s->memory - old + size > s->memory_limit) {
        s->starved = true;
        return NULL;
    }
    void *q = np_slab_realloc(&s->slabs, p, old, size);
    if (q) s->memory += size - old;
    return q;
}

/* All entry into Lua is protected, so this is a defect in neap; say where before the process ends.
 */
static int on_panic(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    const char *msg = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no message";
    np_logf(s->log, NP_LOG_ERROR, "unprotected Lua error: %s", msg);
    np_log_flush(s->log, 1);
    return 0;
}

/* A warning comes in pieces. */
static void on_warning(void *ud, const char *msg, int more)
{
    struct np_script *s = ud;
    if (msg[0] == '@' && s->warned == 0 && !more) return; /* "@on", "@off": ours are always on */
    size_t room = sizeof s->warning - 1 - s->warned;
    size_t n = strlen(msg);
    if (n > room) n = room;
    memcpy(s->warning + s->warned, msg, n);
    s->warned += n;
    if (more) return;
    np_logf(s->log, NP_LOG_WARN, "Lua: %.*s", (int)s->warned, s->warning);
    s->warned = 0;
}

static int set_up(lua_State *L)
{
    const char *lua_path = lua_touserdata(L, 1);
    luaL_openlibs(L);
    np_modules_install(L, lua_path);
    if (np_script_of(L)->sandbox) np_sandbox_apply(L);
    return 0;
}

static enum neap_err run_set_up(struct np_script *s, const char *lua_path,
                                struct neap_errinfo *info)
{
    lua_pushcfunction(s->L, set_up);
    lua_pushlightuserdata(s->L, (void *)lua_path);
    if (lua_pcall(s->L, 1, 0, 0) == LUA_OK) return NEAP_OK;
    const char *msg = lua_type(s->L, -1) == LUA_TSTRING ? lua_tostring(s->L, -1) : "unknown";
    return np_err_set(info, NEAP_ESCRIPT, "cannot set up the script state: %s", msg);
}

enum neap_err np_script_new(const struct np_script_options *opts, struct np_script **out,
                            struct neap_errinfo *info)
{
    struct np_script *s = np_calloc(1, sizeof *s);
    if (!s) return np_err_plain(info, NEAP_ENOMEM);
    s->loop = opts->loop;
    s->log = opts->log;
    s->registry = opts->registry;
    s->bus = opts->bus;
    s->host = opts->host;
    s->owner = opts->owner;
    s->memory_limit = opts->memory_limit ? opts->memory_limit : DEFAULT_MEMORY_LIMIT;
    np_rng_init(&s->rng, 0);
    s->worker = opts->worker;
    s->generation = opts->generation;
    s->held = opts->held;
    s->sandbox = opts->sandbox;
    s->share = opts->share;
    s->view = opts->view;
    s->watchdog = opts->watchdog;
    np_link_init(&s->at_close);
    np_link_init(&s->activations);
    np_shutdown_init(&s->shutdown, s->loop);
    enum neap_err err = np_sched_init(&s->sched, s);
    if (err) {
        np_free(s);
        return np_err_plain(info, err);
    }
    s->open_handles = 3;
    np_loop_retain(s->loop); /* an embedder is told that all is closed when these are, too */
    np_slabs_init(&s->slabs);
    s->L = lua_newstate(allocate, s);
    if (!s->L) {
        np_script_free(s);
        return np_err_plain(info, NEAP_ENOMEM);
    }
    lua_atpanic(s->L, on_panic);
    lua_setwarnf(s->L, on_warning, s);
    *(struct np_script **)lua_getextraspace(s->L) = s;
    if (s->registry && !s->view) {
        err = np_view_loop_new(s->registry, s->loop, &s->view);
        s->owns_view = err == NEAP_OK;
        if (err) {
            np_script_free(s);
            return np_err_plain(info, err);
        }
    }
    err = run_set_up(s, opts->lua_path, info);
    if (err) {
        np_script_free(s);
        return err;
    }
    *out = s;
    return NEAP_OK;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct np_sched *sched = h->data;
    struct np_script *s = np_container_of(sched, struct np_script, sched);
    if (--s->open_handles > 0) return;
    struct np_loop *loop = s->loop;
    np_free(s);
    np_loop_release(loop);
}

static void close_handles(struct np_script *s)
{
    struct np_sched *sched = &s->sched;
    sched->idle.data = sched;
    uv_close((uv_handle_t *)&sched->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&sched->check, on_handle_closed);
    uv_close((uv_handle_t *)&sched->idle, on_handle_closed);
}

/* Finalisers are the script's: one that never ends is seen by the watchdog, as a turn is. */
static void close_state(struct np_script *s)
{
    struct np_frame frame;
    if (!s->L) {
        np_slabs_fini(&s->slabs);
        return;
    }
    if (s->watchdog) np_watch_begin(s->watchdog, &frame, NULL, NULL, false);
    s->ending = true;
    lua_close(s->L);
    np_slabs_fini(&s->slabs);
    if (s->watchdog) np_watch_end(s->watchdog, &frame);
    s->L = NULL;
}

void np_script_free(struct np_script *s)
{
    if (!s) return;
    s->closing = true;
    np_sched_cancel_all(&s->sched, NEAP_ECANCELED);
    for (int i = 0; i < CLOSING_TURNS && np_sched_busy(&s->sched); i++) {
        np_sched_run(&s->sched);
        np_sched_cancel_all(&s->sched, NEAP_ECANCELED);
    }
    struct np_link *l;
    while ((l = s->at_close.prev) != &s->at_close) {
        np_list_remove(l);
        struct np_at_close *c = np_container_of(l, struct np_at_close, link);
        c->fn(c);
    }
    while (np_list_pop_front(&s->activations))
        ;
    np_sched_abandon(&s->sched);
    close_state(s);
    if (s->owns_view) np_view_loop_free(s->view);
    s->view = NULL;
    np_commons_unref(s->commons);
    np_shutdown_fini(&s->shutdown);
    np_sched_fini(&s->sched);
    close_handles(s);
}

void np_script_relieve(struct np_script *s)
{
    s->starved = false;
    if (s->memory > s->memory_limit / 2) lua_gc(s->L, LUA_GCCOLLECT);
    bool short_still = s->memory > s->memory_limit / 100 * EXHAUSTED_PERCENT;
    s->shortages = short_still ? s->shortages + 1 : 0;
    if (s->shortages < EXHAUSTED_SHORTAGES || s->exhausted || s->closing) return;
    s->exhausted = true;
    np_logf(s->log, NP_LOG_ERROR,
            "the scripts of worker %u use %zu of the %zu MiB of memory they may have", s->worker,
            s->memory >> 20, s->memory_limit >> 20);
    if (s->on_exhausted) s->on_exhausted(s);
}

int np_ref(lua_State *L)
{
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    np_script_of(L)->refs++;
    return ref;
}

void np_unref(struct np_script *s, int ref)
{
    if (ref == LUA_NOREF || ref == LUA_REFNIL) return;
    s->refs--;
    if (s->L) luaL_unref(s->L, LUA_REGISTRYINDEX, ref);
}

void np_at_close_add(struct np_script *s, struct np_at_close *c)
{
    np_link_init(&c->link);
    if (!s->ending) np_list_push_back(&s->at_close, &c->link);
}

void np_activate(struct np_script *s, struct np_activation *a)
{
    np_link_init(&a->link);
    if (!s->held) {
        a->fn(a);
    } else if (!s->ending) {
        np_list_push_back(&s->activations, &a->link);
    }
}

void np_activation_cancel(struct np_activation *a)
{
    if (a->link.next) np_list_remove(&a->link);
}

void np_script_activate(struct np_script *s)
{
    struct np_link *l;
    s->held = false;
    while ((l = np_list_pop_front(&s->activations))) {
        struct np_activation *a = np_container_of(l, struct np_activation, link);
        a->fn(a);
    }
}

void np_at_close_remove(struct np_at_close *c)
{
    np_list_remove(&c->link);
}
