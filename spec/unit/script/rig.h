/* A loop with a script state on it, and an operation that scripts wait for and tests complete. */
#ifndef NP_SCRIPT_RIG_H
#define NP_SCRIPT_RIG_H

#include <stdlib.h>
#include <string.h>

#include "np_test.h"
#include "script/luax.h"
#include "script/state.h"

struct rig {
    struct np_loop loop;
    struct np_script *script;
    int64_t blocks; /* np_alloc_live before */
    /* the operation */
    struct np_wait wait;
    unsigned armed;     /* how often it was waited for */
    unsigned cancelled; /* how often taken back */
    enum neap_err result;
    unsigned resumed;
    /* the last task that ended */
    unsigned ended;
    bool ok;
    char failure[256];
};

static struct rig *rig_of(lua_State *L)
{
    return np_script_of(L)->host;
}

static void rig_cancel(struct np_wait *w)
{
    np_container_of(w, struct rig, wait)->cancelled++;
}

static int rig_k(lua_State *L, enum neap_err err, void *ctx)
{
    struct rig *r = ctx;
    r->resumed++;
    r->result = err;
    lua_pushstring(L, err ? neap_err_name(err) : "OK");
    return 1;
}

/* wait([seconds]) → the name of how it ended */
static int rig_wait(lua_State *L)
{
    struct rig *r = rig_of(L);
    r->armed++;
    return np_wait(L, &r->wait, np_check_seconds(L, 1, NP_NO_TIMEOUT), rig_cancel, rig_k, r);
}

static int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->blocks = np_alloc_live();
    assert_ok(np_loop_init(&r->loop, NULL, NULL));
    struct np_script_options o = {.loop = &r->loop, .host = r};
    struct neap_errinfo info;
    assert_ok(np_script_new(&o, &r->script, &info));
    lua_register(r->script->L, "wait", rig_wait);
    *state = r;
    return 0;
}

static int rig_teardown(void **state)
{
    struct rig *r = *state;
    np_script_free(r->script);
    np_loop_fini(&r->loop, NULL, NULL);
    assert_int_equal(r->loop.handles, 0);
    assert_no_leak(r->blocks);
    free(r);
    return 0;
}

static void rig_on_done(struct np_task *t, bool ok, int nresults)
{
    struct rig *r = t->arg;
    (void)nresults;
    r->ended++;
    r->ok = ok;
    if (ok) return;
    np_task_error(t);
    const char *text = lua_tostring(t->co, -2);
    if (lua_istable(t->co, -2)) text = neap_err_name(np_error_code(t->co, -2));
    snprintf(r->failure, sizeof r->failure, "%s", text ? text : "?");
    lua_pop(t->co, 2);
}

/* A task that runs `code`, not started. */
static struct np_task *rig_task(struct rig *r, const char *code)
{
    lua_State *L = r->script->L;
    assert_int_equal(luaL_loadstring(L, code), LUA_OK);
    struct np_task *t = np_task_new(r->script, L, 0, NULL, "test");
    assert_non_null(t);
    t->arg = r;
    t->done = rig_on_done;
    return t;
}

static inline struct np_task *rig_run(struct rig *r, const char *code)
{
    struct np_task *t = rig_task(r, code);
    np_task_start(t, false);
    return t;
}

/* The global that a script set, as text. */
static inline const char *rig_global(struct rig *r, const char *name)
{
    lua_getglobal(r->script->L, name);
    const char *text = lua_tostring(r->script->L, -1);
    lua_pop(r->script->L, 1);
    return text ? text : "nil";
}

#endif
