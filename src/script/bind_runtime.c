/* neap.core.runtime: the host as its scripts see it. What is alive, for leak checks and the REPL;
 * stopping; the exit code.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script/luax.h"
#include "script/modules.h"
#include "script/runtime.h"
#include "script/state.h"
#include "script/stdlib.h"

void np_runtime_init(struct np_runtime *rt)
{
    *rt = (struct np_runtime){0};
    np_link_init(&rt->calls);
}

#define MAX_DEPTH 1000 /* of the tree of tasks, as far as tasks() looks */

static struct np_runtime *runtime_of(lua_State *L)
{
    return np_script_of(L)->host;
}

/* What is open on the loop, without the HTTP client's pool: that one lives as long as the state,
 * and what it holds open counts by itself. */
static size_t open_things(const struct np_script *s)
{
    return s->loop->handles - (s->http ? 1 : 0);
}

/* stats() → { tasks, handles, refs, drains, memory }: what is alive right now, and the bytes the
 * Lua state holds. */
static int runtime_stats(lua_State *L)
{
    struct np_script *s = np_script_of(L);
    size_t drains = 0;
    struct np_link *l;
    np_list_each (l, &s->shutdown.objects) {
        drains++;
    }
    lua_createtable(L, 0, 5);
    np_set_count(L, "tasks", s->sched.live);
    np_set_count(L, "handles", open_things(s));
    np_set_count(L, "refs", s->refs);
    np_set_count(L, "drains", drains);
    np_set_count(L, "memory", s->memory);
    return 1;
}

static const char *state_name(enum np_task_state state)
{
    static const char *const names[] = {"new", "ready", "running", "waiting", "done"};
    return names[state];
}

static void push_task(lua_State *L, struct np_task *t)
{
    lua_createtable(L, 0, 4);
    lua_pushlightuserdata(L, t);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, t->label ? t->label : "task");
    lua_setfield(L, -2, "label");
    lua_pushstring(L, state_name(t->state));
    lua_setfield(L, -2, "state");
    luaL_traceback(L, t->co, NULL, 0);
    lua_setfield(L, -2, "traceback");
}

static void push_children(lua_State *L, struct np_task *t, int list, int depth)
{
    luaL_checkstack(L, 8, "tasks nested too deeply");
    struct np_link *l;
    np_list_each (l, &t->children) {
        struct np_task *child = np_container_of(l, struct np_task, sibling);
        push_task(L, child);
        lua_rawseti(L, list, luaL_len(L, list) + 1);
        if (depth < MAX_DEPTH) push_children(L, child, list, depth + 1);
    }
}

/* tasks() → list of { id, label, state, traceback }, parents first. */
static int runtime_tasks(lua_State *L)
{
    lua_newtable(L);
    push_children(L, np_script_of(L)->sched.root, lua_gettop(L), 0);
    return 1;
}

static void count_handle(uv_handle_t *h, void *arg)
{
    size_t *counts = arg;
    if (!uv_is_closing(h)) counts[h->type]++;
}

/* open_handles() → { tcp = 2, timer = 1, … }: libuv's handles on the loop, by kind. */
static int runtime_open_handles(lua_State *L)
{
    size_t counts[UV_HANDLE_TYPE_MAX] = {0};
    uv_walk(np_script_of(L)->loop->uv, count_handle, counts);
    lua_newtable(L);
    for (int i = 0; i < UV_HANDLE_TYPE_MAX; i++) {
        if (counts[i]) np_set_count(L, uv_handle_type_name((uv_handle_type)i), counts[i]);
    }
    return 1;
}

/* modules() → the names of the modules that are built in. */
static int runtime_modules(lua_State *L)
{
    static const char *const c_modules[] = {
#define NP_MODULE_NAME(name) "neap." #name,
        NP_MODULES(NP_MODULE_NAME)
#undef NP_MODULE_NAME
            NULL};
    lua_newtable(L);
    lua_Integer n = 0;
    for (const struct np_stdlib_module *m = np_stdlib_modules; m->name; m++) {
        lua_pushstring(L, m->name);
        lua_rawseti(L, -2, ++n);
    }
    for (const char *const *name = c_modules; *name; name++) {
        lua_pushstring(L, *name);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* monotonic() → seconds on a clock of its own, for measuring. */
static int runtime_monotonic(lua_State *L)
{
    int64_t pretended = np_script_of(L)->pretended_now;
    lua_pushnumber(L, np_to_seconds(pretended ? pretended : np_loop_hrtime()));
    return 1;
}

static int runtime_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* What ends the host is not for a script that is kept in a sandbox. */
static void refuse_in_sandbox(lua_State *L, const char *name)
{
    if (np_script_of(L)->sandbox) np_misuse(L, "%s is not available in a sandbox", name);
}

/* stop([now]): ends the host as SIGTERM does; `now` without waiting for what is in flight. */
static int runtime_stop(lua_State *L)
{
    struct np_runtime *rt = runtime_of(L);
    refuse_in_sandbox(L, "neap.runtime.stop");
    if (rt && rt->stop) rt->stop(rt, lua_toboolean(L, 1));
    return 0;
}

/* exit_code([code]) → the code; sets it when given. */
static int runtime_exit_code(lua_State *L)
{
    struct np_runtime *rt = runtime_of(L);
    if (rt && !lua_isnoneornil(L, 1)) rt->exit_code = (int)luaL_checkinteger(L, 1);
    lua_pushinteger(L, rt ? rt->exit_code : 0);
    return 1;
}

/* exit([code]): what os.exit is in a host: flushes the log and ends the process at once. */
static int runtime_exit(lua_State *L)
{
    int code = EXIT_SUCCESS;
    refuse_in_sandbox(L, "os.exit");
    if (lua_isboolean(L, 1)) {
        code = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else {
        code = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    }
    np_log_flush(np_script_of(L)->log, 1);
    exit(code);
}

int np_open_runtime(lua_State *L)
{
    static const luaL_Reg functions[] = {{"stats", runtime_stats},
                                         {"tasks", runtime_tasks},
                                         {"open_handles", runtime_open_handles},
                                         {"modules", runtime_modules},
                                         {"monotonic", runtime_monotonic},
                                         {"isatty", runtime_isatty},
                                         {"stop", runtime_stop},
                                         {"exit_code", runtime_exit_code},
                                         {"exit", runtime_exit},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_pushliteral(L, NEAP_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
