/* What a job does in a thread's Lua state; see thread_state.h.
 *
 * The state looks like a script state without a loop: np_script_of works in it, and modules that
 * need a loop are not found (modules.c). A count hook looks whether the job is still wanted; when
 * it is not, it raises at every instruction, so that no pcall swallows it. What it raises is Lua's
 * memory error, which alone calls no message handler: of an error raised in a hook those are called
 * with hooks off, so that one that spins could not be stopped.
 */
#include "script/thread_state.h"

#include <lualib.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/commons.h"
#include "script/runtime.h"
#include "script/sandbox.h"
#include "script/state.h"
#include "script/value.h"

#define LOOK_EVERY 10000                 /* instructions */
#define MEMORY_ERROR "not enough memory" /* Lua's own word; see lua_error */
#define DEFAULT_MEMORY_LIMIT ((size_t)512 * 1024 * 1024)

struct np_thread_state {
    struct np_script script; /* no loop, no scheduler */
    const atomic_bool *quit;
    struct np_job *job;
};

static struct np_thread_state *state_of(lua_State *L)
{
    return np_container_of(np_script_of(L), struct np_thread_state, script);
}

static void *allocate(void *ud, void *p, size_t old, size_t size)
{
    struct np_script *s = ud;
    if (!p) old = 0;
    if (size == 0) {
        s->memory -= old;
        np_free(p);
        return NULL;
    }
    if (size > old && s->memory - old + size > s->memory_limit) return NULL;
    void *q = np_realloc(p, size);
    if (q) s->memory += size - old;
    return q;
}

static int set_up(lua_State *L)
{
    luaL_openlibs(L);
    np_modules_install(L, lua_touserdata(L, 1));
    if (np_script_of(L)->sandbox) np_sandbox_apply(L);
    return 0;
}

static struct np_thread_state *state_new(const struct np_threads_options *o)
{
    struct np_thread_state *t = np_calloc(1, sizeof *t);
    if (!t) return NULL;
    struct np_script *s = &t->script;
    s->memory_limit = o->memory_limit ? o->memory_limit : DEFAULT_MEMORY_LIMIT;
    s->log = o->log;
    s->host = o->runtime;
    s->sandbox = o->sandbox;
    np_link_init(&s->at_close);
    s->L = lua_newstate(allocate, s);
    if (!s->L) {
        np_free(t);
        return NULL;
    }
    *(struct np_script **)lua_getextraspace(s->L) = s;
    lua_pushcfunction(s->L, set_up);
    lua_pushlightuserdata(s->L, (void *)o->lua_path);
    if (lua_pcall(s->L, 1, 0, 0) == LUA_OK) return t;
    np_thread_state_free(t);
    return NULL;
}

void np_thread_state_free(struct np_thread_state *t)
{
    struct np_link *l;
    if (!t) return;
    while ((l = np_list_pop_front(&t->script.at_close))) {
        struct np_at_close *c = np_container_of(l, struct np_at_close, link);
        c->fn(c);
    }
    lua_sethook(t->script.L, NULL, 0, 0);
    lua_close(t->script.L);
    np_commons_unref(t->script.commons);
    np_free(t);
}

/* --- stopping */

static bool unwanted(const struct np_thread_state *t)
{
    return atomic_load(&t->job->stop) || atomic_load(t->quit);
}

static void look(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (!unwanted(state_of(L))) return;
    lua_sethook(L, look, LUA_MASKCOUNT, 1);
    lua_pushliteral(L, MEMORY_ERROR);
    lua_error(L);
}

/* --- running */

static void push_function(lua_State *L, const struct np_job *j)
{
    if (j->kind == NP_JOB_BYTECODE) {
        if (luaL_loadbufferx(L, j->code, j->len, "=thread", "b") != LUA_OK) lua_error(L);
        return;
    }
    if (j->kind == NP_JOB_FILE && np_script_of(L)->sandbox) {
        bool absent;
        if (!np_sandbox_load_file(L, j->code, &absent)) lua_error(L);
        return;
    }
    if (j->kind == NP_JOB_FILE) {
        if (luaL_loadfilex(L, j->code, "t") != LUA_OK) lua_error(L);
        return;
    }
    const char *colon = strchr(j->code, ':');
    lua_getglobal(L, "require");
    lua_pushlstring(L, j->code, (size_t)(colon - j->code));
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1) || lua_getfield(L, -1, colon + 1) != LUA_TFUNCTION)
        luaL_error(L, "no function '%s'", j->code);
    lua_remove(L, -2);
}

static void keep_results(lua_State *L, struct np_job *j, int first)
{
    int n = lua_gettop(L) - first + 1;
    if (n == 0) return;
    j->results = np_arena_alloc(&j->arena, (size_t)n * sizeof *j->results);
    if (!j->results) luaL_error(L, "not enough memory");
    for (int i = 0; i < n; i++)
        np_value_read(L, first + i, &j->arena, false, &j->results[i]);
    j->nresults = (size_t)n;
}

static int run(lua_State *L)
{
    struct np_job *j = lua_touserdata(L, 1);
    if (j->base) np_sandbox_set_base(L, j->base);
    push_function(L, j);
    luaL_checkstack(L, (int)j->nargs + 4, "too many arguments");
    for (size_t i = 0; i < j->nargs; i++)
        np_value_push(L, &j->args[i]);
    lua_call(L, (int)j->nargs, LUA_MULTRET);
    keep_results(L, j, 2);
    return 0;
}

static int add_traceback(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, text, 1);
    return 1;
}

static void keep_failure(lua_State *L, struct np_job *j, int status)
{
    bool no_memory = status == LUA_ERRMEM;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown failure";
    j->nresults = 0;
    j->err = no_memory ? NEAP_ENOMEM : NEAP_ESCRIPT;
    j->message = no_memory ? NULL : np_arena_strndup(&j->arena, text, strlen(text));
}

void np_thread_state_run(struct np_thread_state **state, const struct np_threads_options *opts,
                         const atomic_bool *quit, struct np_job *j)
{
    if (!*state) *state = state_new(opts);
    struct np_thread_state *t = *state;
    if (!t) {
        j->err = NEAP_ENOMEM;
        return;
    }
    lua_State *L = t->script.L;
    t->job = j;
    t->quit = quit;
    lua_sethook(L, look, LUA_MASKCOUNT, LOOK_EVERY);
    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, j);
    int status = lua_pcall(L, 1, 0, 1);
    bool stopped = unwanted(t);
    if (status != LUA_OK) keep_failure(L, j, status);
    if (stopped) j->err = NEAP_ECANCELED;
    lua_settop(L, 0);
    if (status != LUA_ERRMEM && !stopped) return;
    np_thread_state_free(t);
    *state = NULL;
}
