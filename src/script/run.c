/* Runs: tasks that C starts; see run.h. */
#include "script/run.h"

#include <string.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/sandbox.h"
#include "script/value.h"

#define FIRST_CHUNK 512 /* bytes of the arena: most calls need no more */

struct np_run *np_run_new(struct np_script *s, enum np_run_kind kind, const char *name,
                          const char *code, size_t code_len)
{
    struct np_run *r = np_calloc(1, sizeof *r);
    if (!r) return NULL;
    np_link_init(&r->link);
    r->script = s;
    r->kind = kind;
    r->want_values = kind == NP_RUN_FUNCTION;
    np_arena_init(&r->arena, FIRST_CHUNK);
    r->name = np_arena_strndup(&r->arena, name, strlen(name));
    if (!r->name) goto fail;
    if (code) {
        r->code = np_arena_strndup(&r->arena, code, code_len);
        r->code_len = code_len;
        if (!r->code) goto fail;
    }
    return r;
fail:
    np_run_free(r);
    return NULL;
}

void np_run_free(struct np_run *r)
{
    np_arena_fini(&r->arena);
    np_free(r);
}

enum neap_err np_run_set_args(struct np_run *r, const neap_value *args, size_t n)
{
    if (n == 0) return NEAP_OK;
    if (n > NP_VALUE_MAX_FIELDS) return NEAP_EINVAL;
    r->args = np_arena_alloc(&r->arena, n * sizeof *args);
    if (!r->args) return NEAP_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        enum neap_err err = np_value_copy(&r->arena, &args[i], &r->args[i]);
        if (err) return err;
    }
    r->nargs = n;
    return NEAP_OK;
}

/* --- inside the task */

static void compile(lua_State *L, struct np_run *r)
{
    int status;
    if (r->kind == NP_RUN_TEXT) {
        status = luaL_loadbufferx(L, r->code, r->code_len, r->name, "t");
    } else {
        bool standard_input = strcmp(r->name, "-") == 0;
        bool sandbox = r->script->sandbox;
        if (sandbox && !standard_input) np_sandbox_enter(L, r->name);
        status = luaL_loadfilex(L, standard_input ? NULL : r->name, sandbox ? "t" : NULL);
    }
    if (status != LUA_OK) lua_error(L);
}

/* Pushes the value that the first name of a path means: a global, or a loaded module. */
static void push_root(lua_State *L, const char *name)
{
    lua_pushglobaltable(L);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1)) return;
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

static void look_up(lua_State *L, struct np_run *r)
{
    char *at = r->name; /* the run's own copy, cut into names and put together again */
    char *dot = strchr(at, '.');
    if (dot) *dot = '\0';
    push_root(L, at);
    while (dot && lua_type(L, -1) == LUA_TTABLE) {
        *dot = '.';
        at = dot + 1;
        dot = strchr(at, '.');
        if (dot) *dot = '\0';
        lua_pushstring(L, at);
        lua_rawget(L, -2);
        lua_remove(L, -2);
    }
    bool found = !dot && lua_type(L, -1) == LUA_TFUNCTION;
    if (dot) *dot = '.';
    if (found) return;
    np_push_error(L, NEAP_ENOTFOUND, "no function '%s'", r->name);
    lua_error(L);
}

/* A table that a file returned is the module of that name. */
static void keep_module(lua_State *L, struct np_run *r)
{
    if (r->kind == NP_RUN_FUNCTION || !lua_istable(L, 2)) return;
    int top = lua_gettop(L);
    const char *base = strrchr(r->name, '/');
    base = base ? base + 1 : r->name + (r->name[0] == '@' || r->name[0] == '=');
    const char *dot = strrchr(base, '.');
    if (dot && strcmp(dot, ".lua") == 0) {
        lua_pushlstring(L, base, (size_t)(dot - base));
    } else {
        lua_pushstring(L, base);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pushvalue(L, -3);
        lua_pushvalue(L, 2);
        lua_rawset(L, -4);
    }
    lua_settop(L, top);
}

/* Stack: the light userdata, then what the function returned. */
static int run_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct np_run *r = (struct np_run *)ctx;
    int n = lua_gettop(L) - 1;
    if (r->kind != NP_RUN_FUNCTION) keep_module(L, r);
    if (n == 0 || !r->want_values) return 0;
    r->values = np_arena_alloc(&r->arena, (size_t)n * sizeof *r->values);
    if (!r->values) return luaL_error(L, "not enough memory");
    for (int i = 0; i < n; i++) {
        np_value_read(L, i + 2, &r->arena, true, &r->values[i]);
    }
    r->count = (size_t)n;
    return n; /* they stay on the stack while `fn` is called */
}

/* What the task runs; its argument is the run. */
static int run(lua_State *L)
{
    struct np_run *r = lua_touserdata(L, 1);
    if (r->kind == NP_RUN_FUNCTION) {
        look_up(L, r);
    } else {
        compile(L, r);
    }
    r->entered = true;
    luaL_checkstack(L, (int)r->nargs + 4, "too many arguments");
    for (size_t i = 0; i < r->nargs; i++) {
        np_value_push(L, &r->args[i]);
    }
    lua_callk(L, (int)r->nargs, LUA_MULTRET, (lua_KContext)r, run_k);
    return run_k(L, LUA_OK, (lua_KContext)r);
}

/* --- its end */

static int describe(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Stack of `co`: error value, traceback. Leaves the message there as well. */
static const char *message_of(lua_State *co)
{
    if (!lua_checkstack(co, 4)) return "not enough memory";
    lua_pushcfunction(co, describe);
    lua_pushvalue(co, -3);
    if (lua_pcall(co, 1, 1, 0) != LUA_OK) return "a failure that cannot be described";
    return lua_tostring(co, -1);
}

/* A file that is missing is a system's error, with the system's word for it. */
static enum neap_err file_error(const char *message)
{
    if (strstr(message, "No such file")) return NEAP_ENOENT;
    if (strstr(message, "Permission denied")) return NEAP_EACCES;
    return NEAP_ESCRIPT;
}

static void on_done(struct np_task *t, bool ok, int nresults)
{
    (void)nresults;
    struct np_run *r = t->arg;
    struct np_run_end end = {.values = r->values, .count = r->count};
    if (!ok) {
        np_task_error(t);
        end.err = np_error_code(t->co, -2);
        bool plain = lua_type(t->co, -2) == LUA_TTABLE; /* an error object says it all */
        end.traceback = plain || !r->entered ? NULL : lua_tostring(t->co, -1);
        end.message = message_of(t->co);
        if (!r->entered && r->kind == NP_RUN_FILE) end.err = file_error(end.message);
        end.values = NULL;
        end.count = 0;
    }
    r->task = NULL;
    np_list_remove(&r->link);
    r->fn(r, &end);
    np_run_free(r);
}

enum neap_err np_run_start(struct np_run *r, struct np_link *runs, bool later)
{
    static const char *const labels[] = {"main", "main", "call"};
    struct np_task *t = np_task_new_c(r->script, run, r, NULL, labels[r->kind]);
    if (!t) {
        np_run_free(r);
        return NEAP_ENOMEM;
    }
    t->done = on_done;
    t->arg = r;
    t->loading = r->kind != NP_RUN_FUNCTION;
    r->task = t;
    np_list_push_back(runs, &r->link);
    np_task_start(t, later);
    return NEAP_OK;
}

void np_run_cut_off(struct np_link *runs)
{
    struct np_run_end end = {.err = NEAP_ECANCELED, .message = "the host was closed"};
    struct np_link *l;
    while ((l = np_list_pop_front(runs))) {
        struct np_run *r = np_container_of(l, struct np_run, link);
        r->task = NULL;
        r->fn(r, &end);
        np_run_free(r);
    }
}
