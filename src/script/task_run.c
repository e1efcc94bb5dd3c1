/* Tasks are made and run; see task.h. The one place where lua_resume stands. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "script/luax.h"
#include "script/state.h"
#include "script/task_impl.h"
#include "script/watch.h"

#define MAX_FREE_TASKS 1024 /* kept with their coroutines */
#define MAX_TURNS 4096      /* resumes in one drain before I/O gets its share … */
#define MAX_LOOKS 1         /* … or that many of the watchdog's looks */
#define SPARE_TURNS 16      /* … and beside one for each task, when the state closes */

/* --- the ready queue */

static void on_idle(uv_idle_t *h)
{
    (void)h; /* only keeps the poll from blocking; prepare and check do the work */
}

void np_task_queue(struct np_task *t, struct np_link *list)
{
    struct np_sched *s = &t->script->sched;
    t->state = NP_TASK_READY;
    np_list_push_back(list, &t->ready);
    if (!s->idle_active) { /* the loop must not sleep before it is drained */
        uv_idle_start(&s->idle, on_idle);
        s->idle_active = true;
    }
}

static void push_ready(struct np_task *t)
{
    np_task_queue(t, &t->script->sched.ready);
}

/* --- running */

/* Whether it ends as it was told to, which nobody is told of in detail: a traceback costs some
 * 400,000 instructions, and clients that leave cancel tasks. */
static bool is_usual_end(lua_State *L, const struct np_task *t)
{
    return t->cancel_code && np_error_code(L, 1) == t->cancel_code &&
           !np_log_enabled(t->script->log, NP_LOG_DEBUG);
}

/* The message handler of every task: makes the failure box, the error and where it was raised, and
 * keeps it in the Lua registry by the task. (Here, while all that the task holds is still on its
 * stack: `done` wants to find that, so nothing may be collected from then on.) The error stays what
 * it is, for the variables that are closed on its way (__close gets it). */
static int make_box(lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, 2, 1);
    lua_pushvalue(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    if (is_usual_end(L, t))
        lua_pushliteral(L, "");
    else
        luaL_traceback(L, L, NULL, 1);
    lua_rawseti(L, 2, 2);
    lua_settop(L, 1);
    return 1;
}

/* Pushes the box for the error on top; false (nothing pushed) when there was no memory for one. */
static bool push_box(lua_State *L, struct np_task *t, int status)
{
    if (np_stop_is(L, -1)) return np_stop_push_box(L);
    if (status != LUA_ERRMEM && lua_rawgetp(L, LUA_REGISTRYINDEX, t) == LUA_TTABLE) {
        lua_pushvalue(L, -2); /* not what the handler saw, if closing raised another error */
        lua_rawseti(L, -2, 1);
        return true;
    }
    if (status != LUA_ERRMEM) lua_pop(L, 1);
    return false;
}

static void box_failure(lua_State *L, struct np_task *t, int status)
{
    np_stop_caught(L, status);
    if (push_box(L, t, status)) lua_replace(L, -2);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
}

static int task_main_k(lua_State *L, int status, lua_KContext ctx)
{
    struct np_task *t = (struct np_task *)ctx;
    if (status != LUA_OK && status != LUA_YIELD) {
        t->failed = true;
        box_failure(L, t, status);
    }
    return lua_gettop(L);
}

/* Stack: the function, the message handler, the function again, its arguments. Returns the
 * function, for `done`, the message handler, and then the results or the failure box. */
static int task_main(lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    int nargs = lua_gettop(L) - 3;
    int status = lua_pcallk(L, nargs, LUA_MULTRET, 2, (lua_KContext)t, task_main_k);
    return task_main_k(L, status, (lua_KContext)t);
}

static void adopt_children(struct np_task *t)
{
    struct np_link *l;
    np_list_each (l, &t->children) {
        np_container_of(l, struct np_task, sibling)->parent = t->parent;
    }
    np_list_splice(&t->parent->children, &t->children);
}

static void free_task(struct np_task *t)
{
    if (t->co_ref != LUA_NOREF) luaL_unref(t->script->L, LUA_REGISTRYINDEX, t->co_ref);
    np_free(t);
}

/* What it left to close has been closed; see end_task. */
static void recycle(struct np_task *t)
{
    struct np_sched *s = &t->script->sched;
    lua_settop(t->co, 0);
    if (s->free_count >= MAX_FREE_TASKS || t->script->closing) {
        free_task(t);
        return;
    }
    s->free_count++;
    np_list_push_front(&s->free_tasks, &t->ready);
}

/* What the task's frames held is not on its stack any more, but `done` may look at it. */
static void tell_failure(struct np_task *t)
{
    lua_State *L = t->script->L;
    bool collects = lua_gc(L, LUA_GCISRUNNING) > 0;
    if (collects) lua_gc(L, LUA_GCSTOP);
    t->done(t, false, 1);
    if (collects) lua_gc(L, LUA_GCRESTART);
}

static void end_task(struct np_task *t, int status, int nresults)
{
    struct np_sched *s = &t->script->sched;
    if (status != LUA_OK) t->failed = true; /* an error outside task_main's pcall: out of memory */
    t->state = NP_TASK_DONE;
    np_task_leave_nothing(t);
    adopt_children(t);
    if (t->done && t->failed) {
        tell_failure(t);
    } else if (t->done) {
        t->done(t, true, nresults - 2);
    } else if (t->failed) {
        np_task_log_error(t);
    }
    np_list_remove(&t->sibling);
    s->live--;
    if (t->handle) np_task_handle_ended(t);
    if (status != LUA_OK) lua_resetthread(t->co);
}

static void account(struct np_task *t)
{
    struct np_sched *s = &t->script->sched;
    if (s->turn_began) t->cpu += np_clock_thread_cpu() - s->turn_began;
    s->turn_began = 0;
}

static void resume(struct np_task *t, int nargs)
{
    struct np_script *script = t->script;
    struct np_sched *s = &script->sched;
    struct np_watch_slot *w = script->watchdog;
    struct np_frame frame;
    assert(!s->current);
    if (w) np_watch_begin(w, &frame, t->co, t, t->loading);
    s->current = t;
    t->state = NP_TASK_RUNNING;
    s->epoch++;
    if (s->accounting) s->turn_began = np_clock_thread_cpu();
    int nresults = 0;
    int status = lua_resume(t->co, NULL, nargs, &nresults);
    if (s->accounting) account(t);
    s->current = NULL;
    if (status == LUA_YIELD) {
        lua_pop(t->co, nresults);
        if (t->state == NP_TASK_RUNNING)
            np_task_queue(t, &s->yielded); /* a bare coroutine.yield: another turn */
    } else {
        end_task(t, status, nresults);
    }
    if (w) np_watch_drop(w, &frame, script->L);
    if (status != LUA_YIELD) recycle(t);
    if (script->starved) np_script_relieve(script);
    if (w) np_watch_end(w, &frame);
}

void np_sched_run(struct np_sched *s)
{
    if (s->current) return; /* an embedder runs the loop from inside a script: not our turn */
    bool closing = s->root->script->closing;
    size_t max = closing ? s->live + SPARE_TURNS : MAX_TURNS;
    struct np_watch_slot *w = closing ? NULL : s->root->script->watchdog;
    unsigned looked = np_watch_looked(w);
    np_list_splice(&s->ready, &s->yielded);
    for (size_t turns = 0; turns < max && np_watch_looked(w) - looked <= MAX_LOOKS; turns++) {
        struct np_link *l = np_list_pop_front(&s->ready);
        if (!l) break;
        struct np_task *t = np_container_of(l, struct np_task, ready);
        int nargs = t->nargs;
        t->nargs = 0;
        resume(t, nargs);
    }
    if (s->idle_active && !np_sched_busy(s)) {
        uv_idle_stop(&s->idle);
        s->idle_active = false;
    }
}

/* --- coroutines of the script's own */

static bool runs(const struct np_watch_slot *w, const lua_State *co)
{
    const struct np_frame *f = atomic_load_explicit(&w->frames, memory_order_relaxed);
    while (f && f->L != co) {
        f = f->prev;
    }
    return f != NULL;
}

static void leave_coroutine(struct np_watch_slot *w, struct np_frame *f)
{
    np_frame_pop(w, f);
    /* one that cannot be resumed, as it runs already, stays hooked */
    if (w->stage != NP_STAGE_NONE && !runs(w, f->L)) lua_sethook(f->L, NULL, 0, 0);
}

static int resume_inside(lua_State *co, lua_State *from, int nargs, int *nresults)
{
    struct np_watch_slot *w = np_script_of(co)->watchdog;
    struct np_frame frame;
    if (!w) return lua_resume(co, from, nargs, nresults);
    np_frame_push(w, &frame, co, NULL);
    if (np_stopping(w)) np_stop_hook(w, co);
    int status = lua_resume(co, from, nargs, nresults);
    leave_coroutine(w, &frame);
    return status;
}

/* Moves the results, or the one error, to `L`; -1 for an error. */
static int resume_coroutine(lua_State *L, lua_State *co, int nargs)
{
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    int n = 0;
    int status = resume_inside(co, L, nargs, &n);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        np_stop_caught(L, status);
        return -1;
    }
    if (!lua_checkstack(L, n + 1)) {
        lua_pop(co, n);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, n);
    return n;
}

static lua_State *check_coroutine(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    return co;
}

int np_task_resume_coroutine(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    int n = resume_coroutine(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, n >= 0);
    lua_insert(L, n >= 0 ? -(n + 1) : -2);
    return n >= 0 ? n + 1 : 2;
}

int np_task_close_coroutine(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    struct np_watch_slot *w = np_script_of(L)->watchdog;
    struct np_frame frame;
    if (w) np_frame_push(w, &frame, co, NULL);
    if (np_stopping(w)) np_stop_hook(w, co);
    int status = lua_resetthread(co);
    if (w) leave_coroutine(w, &frame);
    lua_pushboolean(L, status == LUA_OK);
    if (status == LUA_OK) return 1;
    lua_xmove(co, L, 1);
    if (status == LUA_ERRMEM && np_stopping(w)) w->in_flight = true; /* it died of the stop */
    np_stop_caught(L, status);
    return 2;
}

/* --- making and starting */

void np_task_push_held(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, np_task_wait_mark()) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, np_task_wait_mark());
}

/* Returns the new coroutine's state and the reference that anchors it. */
static int make_thread(lua_State *L)
{
    np_task_push_held(L);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, -4);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, co);
    lua_pushinteger(L, ref);
    return 2;
}

/* A coroutine of its own for the task; nothing is raised. */
static bool attach_thread(struct np_task *t)
{
    lua_State *L = t->script->L;
    if (!lua_checkstack(L, 2)) return false;
    lua_pushcfunction(L, make_thread);
    if (lua_pcall(L, 0, 2, 0) != LUA_OK) {
        lua_pop(L, 1);
        return false;
    }
    t->co = lua_touserdata(L, -2);
    t->co_ref = (int)lua_tointeger(L, -1);
    lua_pop(L, 2);
    return true;
}

static struct np_task *take_task(struct np_script *s)
{
    struct np_link *l = np_list_pop_front(&s->sched.free_tasks);
    if (l) {
        s->sched.free_count--;
        return np_container_of(l, struct np_task, ready);
    }
    struct np_task *t = np_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->script = s;
    t->co_ref = LUA_NOREF;
    np_link_init(&t->children);
    np_link_init(&t->sibling);
    np_link_init(&t->ready);
    np_link_init(&t->sleep.link);
    np_timer_init(&t->timer, s->loop, np_task_on_timer);
    if (attach_thread(t)) return t;
    free_task(t);
    return NULL;
}

static struct np_task *begin_task(struct np_script *s, struct np_task *parent, const char *label)
{
    struct np_task *t = take_task(s);
    if (!t) return NULL;
    t->state = NP_TASK_NEW;
    t->parent = parent ? parent : s->sched.root;
    np_list_push_back(&t->parent->children, &t->sibling);
    t->wait = NULL;
    t->sheltered = t->parent->shield > 0;
    t->deadline = t->sheltered ? NP_TIME_NEVER : t->parent->deadline;
    t->cancel_code = t->sheltered ? NEAP_OK : t->parent->cancel_code;
    t->raise = t->refused = t->failed = false;
    t->shield = t->refusals = 0;
    t->label = label;
    t->done = NULL;
    t->arg = NULL;
    t->loading = false;
    t->stopped_at = t->cpu = 0;
    s->sched.live++;
    lua_pushcfunction(t->co, task_main);
    return t;
}

struct np_task *np_task_new(struct np_script *s, lua_State *from, int nargs, struct np_task *parent,
                            const char *label)
{
    struct np_task *t = begin_task(s, parent, label);
    if (t && lua_checkstack(t->co, nargs + 5) && lua_checkstack(from, 1)) {
        lua_pushvalue(from, -(nargs + 1));
        lua_xmove(from, t->co, 1);
        lua_pushcfunction(t->co, make_box);
        lua_xmove(from, t->co, nargs + 1);
        t->nargs = nargs + 3;
        return t;
    }
    lua_pop(from, nargs + 1);
    if (t) {
        np_list_remove(&t->sibling);
        s->sched.live--;
        recycle(t);
    }
    return NULL;
}

struct np_task *np_task_new_c(struct np_script *s, lua_CFunction fn, void *arg,
                              struct np_task *parent, const char *label)
{
    struct np_task *t = begin_task(s, parent, label);
    if (!t) return NULL;
    lua_pushcfunction(t->co, fn);
    lua_pushcfunction(t->co, make_box);
    lua_pushcfunction(t->co, fn);
    lua_pushlightuserdata(t->co, arg);
    t->nargs = 4;
    return t;
}

void np_task_start(struct np_task *t, bool later)
{
    assert(t->state == NP_TASK_NEW);
    if (later || t->script->sched.current) {
        push_ready(t);
        return;
    }
    int nargs = t->nargs;
    t->nargs = 0;
    resume(t, nargs);
}

struct np_task *np_task_current(lua_State *L)
{
    struct np_task *t = np_script_of(L)->sched.current;
    if (!t) luaL_error(L, "this can only be done inside a task");
    return t;
}
