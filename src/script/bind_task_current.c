/* neap.task.current(): the running task as an object, "neap.task", and its account of CPU time.
 *
 * The object is the task's for as long as that lives and is kept by whoever asked; it outlives the
 * task, and then says what its last word was. CPU time is counted from the first time somebody asks
 * in this state (or account_cpu(true)): reading the thread's CPU clock twice a turn costs more than
 * all else in a turn.
 */
#include "script/bind_task_current.h"

#include "base/clock.h"
#include "script/luax.h"
#include "script/state.h"

#define TASK "neap.task"

struct np_task_handle {
    struct np_task *task; /* NULL when it has ended */
    const char *label;
    int64_t cpu; /* of one that has ended */
};

static const char handles_key; /* in the registry: task → handle, weakly */

void np_task_handle_ended(struct np_task *t)
{
    struct np_task_handle *h = t->handle;
    h->cpu = t->cpu;
    h->task = NULL;
    t->handle = NULL;
}

static int handle_gc(lua_State *L)
{
    struct np_task_handle *h = luaL_checkudata(L, 1, TASK);
    if (h->task) h->task->handle = NULL;
    h->task = NULL;
    return 0;
}

static void push_handles(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
}

/* current() → the task */
int np_task_push_current(lua_State *L)
{
    struct np_task *t = np_task_current(L);
    push_handles(L);
    if (t->handle && lua_rawgetp(L, -1, t) == LUA_TUSERDATA) return 1;
    lua_settop(L, 0);
    push_handles(L);
    struct np_task_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (struct np_task_handle){.label = t->label};
    luaL_setmetatable(L, TASK);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, 1, t);
    h->task = t;
    t->handle = h;
    return 1;
}

static void begin_account(struct np_sched *s)
{
    if (s->accounting) return;
    s->accounting = true;
    s->turn_began = s->current ? np_clock_thread_cpu() : 0;
}

/* t:cpu() → seconds */
static int task_cpu(lua_State *L)
{
    struct np_task_handle *h = luaL_checkudata(L, 1, TASK);
    struct np_sched *s = &np_script_of(L)->sched;
    begin_account(s);
    int64_t ns = h->task ? h->task->cpu : h->cpu;
    if (h->task && h->task == s->current && s->turn_began) {
        ns += np_clock_thread_cpu() - s->turn_began;
    }
    lua_pushnumber(L, np_to_seconds(ns));
    return 1;
}

static int task_tostring(lua_State *L)
{
    struct np_task_handle *h = luaL_checkudata(L, 1, TASK);
    lua_pushfstring(L, "%s: %p (%s, %s)", TASK, (void *)h, h->label ? h->label : "task",
                    h->task ? "live" : "ended");
    return 1;
}

/* account_cpu(on) */
int np_task_account_cpu(lua_State *L)
{
    struct np_sched *s = &np_script_of(L)->sched;
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    if (lua_toboolean(L, 1)) {
        begin_account(s);
    } else {
        s->accounting = false;
        s->turn_began = 0;
    }
    return 0;
}

void np_task_current_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"cpu", task_cpu}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", handle_gc}, {"__tostring", task_tostring}, {NULL, NULL}};
    np_type_new(L, TASK, methods, meta);
}
