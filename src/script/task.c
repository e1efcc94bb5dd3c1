/* The task scheduler; see task.h. The one place where lua_resume stands. */
#include "script/task.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/state.h"

#define MAX_FREE_TASKS 1024 /* kept with their coroutines */
#define MAX_TURNS 4096      /* resumes in one drain before I/O gets its share */
#define SPARE_TURNS 16      /* … and beside one for each task, when the state closes */
#define MAX_REFUSALS 16     /* waits that a cancelled task is refused at once */

/* What a wait yields, so that a coroutine of the script's own can tell it from its own yields. */
static char wait_mark;

void *np_task_wait_mark(void)
{
    return &wait_mark;
}

/* --- the ready queue */

static void on_idle(uv_idle_t *h)
{
    (void)h; /* only keeps the poll from blocking; prepare and check do the work */
}

static void queue(struct np_task *t, struct np_link *list)
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
    queue(t, &t->script->sched.ready);
}

static void on_prepare(uv_prepare_t *h)
{
    np_sched_run(h->data);
}

static void on_check(uv_check_t *h)
{
    np_sched_run(h->data);
}

static struct np_task *end_wait(struct np_wait *w)
{
    struct np_task *t = w->task;
    w->task = NULL;
    t->wait = NULL;
    if (np_timer_armed(&t->timer)) np_timer_stop(&t->timer);
    return t;
}

/* --- running */

/* The message handler of every task: notes where the error was raised, in the Lua registry by the
 * task. The error stays what it is, for the variables that are closed on its way (__close gets it).
 */
static int note_traceback(lua_State *L)
{
    luaL_traceback(L, L, NULL, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, np_script_of(L)->sched.current);
    lua_settop(L, 1);
    return 1;
}

/* Makes the failure box of the error on top: the error and its traceback. */
static void box_failure(lua_State *L, struct np_task *t)
{
    lua_createtable(L, 2, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, t);
    lua_rawseti(L, -2, 2);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
}

static int task_main_k(lua_State *L, int status, lua_KContext ctx)
{
    struct np_task *t = (struct np_task *)ctx;
    if (status != LUA_OK && status != LUA_YIELD) {
        t->failed = true;
        if (status != LUA_ERRMEM) box_failure(L, t);
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

/* Only a script that meddles with coroutines behind the prelude's back leaves something here. */
static void leave_nothing_behind(struct np_task *t)
{
    struct np_wait *w = t->wait;
    if (w && w->task == t) {
        w->cancel(w);
        end_wait(w);
    }
    np_list_remove(&t->ready);
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

static void recycle(struct np_task *t, bool clean)
{
    struct np_sched *s = &t->script->sched;
    if (clean) {
        lua_settop(t->co, 0);
    } else if (lua_resetthread(t->co) != LUA_OK) {
        lua_settop(t->co, 0);
    }
    if (s->free_count >= MAX_FREE_TASKS || t->script->closing) {
        free_task(t);
        return;
    }
    s->free_count++;
    np_list_push_front(&s->free_tasks, &t->ready);
}

static void end_task(struct np_task *t, int status, int nresults)
{
    struct np_sched *s = &t->script->sched;
    if (status != LUA_OK) t->failed = true; /* an error outside task_main's pcall: out of memory */
    t->state = NP_TASK_DONE;
    leave_nothing_behind(t);
    adopt_children(t);
    if (t->done) {
        t->done(t, !t->failed, t->failed ? 1 : nresults - 2);
    } else if (t->failed) {
        np_task_log_error(t);
    }
    np_list_remove(&t->sibling);
    s->live--;
    recycle(t, status == LUA_OK);
}

static void resume(struct np_task *t, int nargs)
{
    struct np_sched *s = &t->script->sched;
    assert(!s->current);
    s->current = t;
    t->state = NP_TASK_RUNNING;
    int nresults = 0;
    int status = lua_resume(t->co, NULL, nargs, &nresults);
    s->current = NULL;
    if (status == LUA_YIELD) {
        lua_pop(t->co, nresults);
        if (t->state == NP_TASK_RUNNING)
            queue(t, &s->yielded); /* a bare coroutine.yield: another turn */
    } else {
        end_task(t, status, nresults);
    }
    struct np_script *script = s->root->script;
    if (script->starved) np_script_relieve(script);
}

void np_sched_run(struct np_sched *s)
{
    if (s->current) return; /* an embedder runs the loop from inside a script: not our turn */
    bool closing = s->root->script->closing;
    size_t max = closing ? s->live + SPARE_TURNS : MAX_TURNS;
    np_list_splice(&s->ready, &s->yielded);
    for (size_t turns = 0; turns < max; turns++) {
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

/* --- making and starting */

static void on_timer(struct np_timer *timer);

void np_task_push_held(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &wait_mark) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &wait_mark);
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
    np_timer_init(&t->timer, s->loop, on_timer);
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
        lua_pushcfunction(t->co, note_traceback);
        lua_xmove(from, t->co, nargs + 1);
        t->nargs = nargs + 3;
        return t;
    }
    lua_pop(from, nargs + 1);
    if (t) {
        np_list_remove(&t->sibling);
        s->sched.live--;
        recycle(t, true);
    }
    return NULL;
}

struct np_task *np_task_new_c(struct np_script *s, lua_CFunction fn, void *arg,
                              struct np_task *parent, const char *label)
{
    struct np_task *t = begin_task(s, parent, label);
    if (!t) return NULL;
    lua_pushcfunction(t->co, fn);
    lua_pushcfunction(t->co, note_traceback);
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

/* --- waiting */

static int raise_refused(lua_State *L)
{
    return luaL_error(L,
                      "cannot wait here: the call crosses a C function that cannot be suspended");
}

static int raise_cancelled(lua_State *L, struct np_task *t)
{
    np_push_error(L, t->cancel_code, "%s",
                  t->cancel_code == NEAP_ETIMEDOUT ? "the task's deadline has passed"
                                                   : "the task was canceled");
    return lua_error(L);
}

static int wait_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct np_task *t = (struct np_task *)ctx;
    if (t->raise) {
        t->raise = false;
        return raise_cancelled(L, t);
    }
    if (t->refused) {
        t->refused = false;
        return raise_refused(L);
    }
    return t->wait_fn(L, t->wait_err, t->wait_ctx);
}

static int refuse_later(lua_State *L, struct np_task *t)
{
    t->raise = true;
    queue(t, &t->script->sched.yielded);
    lua_pushlightuserdata(L, &wait_mark);
    return lua_yieldk(L, 1, (lua_KContext)t, wait_k);
}

/* Why the task may not wait now, as a raised error. True when it may; false when it is to be
 * refused a turn later (refuse_later): a cancelled task that goes on asking, in a loop that catches
 * every error, must not keep the others and the loop from going on. */
static bool check_may_wait(lua_State *L, struct np_task *t, struct np_wait *w,
                           void (*cancel)(struct np_wait *w))
{
    bool expired = t && t->deadline <= np_loop_now(t->script->loop);
    if (t && expired && !t->shield && !t->cancel_code) t->cancel_code = NEAP_ETIMEDOUT;
    bool cancelled = t && t->cancel_code && !t->shield;
    bool can_yield = t && !t->wait && lua_isyieldable(L) && lua_checkstack(L, 2);
    if (can_yield && !cancelled) return true;
    cancel(w);
    if (!t) luaL_error(L, "waiting is only possible inside a task");
    if (cancelled && can_yield && ++t->refusals > MAX_REFUSALS) return false;
    if (cancelled) raise_cancelled(L, t);
    raise_refused(L);
    return false;
}

static bool arm_timer(struct np_task *t, int64_t timeout)
{
    if (timeout == NP_NO_TIMEOUT && t->deadline == NP_TIME_NEVER) return true;
    np_loop_update_time(t->script->loop); /* the script may have computed for long since */
    int64_t now = np_loop_now(t->script->loop);
    int64_t due = timeout == NP_NO_TIMEOUT ? NP_TIME_NEVER : np_time_add(now, timeout);
    t->timer_is_deadline = !t->shield && t->deadline < due;
    if (t->timer_is_deadline) due = t->deadline;
    if (due == NP_TIME_NEVER) return true;
    return np_timer_start(&t->timer, due - now) == NEAP_OK;
}

int np_wait(lua_State *L, struct np_wait *w, int64_t timeout, void (*cancel)(struct np_wait *w),
            np_wait_fn k, void *ctx)
{
    struct np_task *t = np_script_of(L)->sched.current;
    if (!check_may_wait(L, t, w, cancel)) return refuse_later(L, t);
    if (!arm_timer(t, timeout)) {
        cancel(w);
        return luaL_error(L, "not enough memory");
    }
    w->task = t;
    w->cancel = cancel;
    t->wait = w;
    t->wait_fn = k;
    t->wait_ctx = ctx;
    t->state = NP_TASK_WAITING;
    lua_pushlightuserdata(L, &wait_mark);
    return lua_yieldk(L, 1, (lua_KContext)t, wait_k);
}

/* Gives the others a turn: a wait that is over at once. */
int np_task_yield(lua_State *L, np_wait_fn k, void *ctx)
{
    struct np_task *t = np_script_of(L)->sched.current;
    if (!check_may_wait(L, t, t ? &t->sleep : NULL, np_wait_dequeue)) return refuse_later(L, t);
    t->wait_fn = k;
    t->wait_ctx = ctx;
    t->wait_err = NEAP_OK;
    queue(t, &t->script->sched.yielded);
    lua_pushlightuserdata(L, &wait_mark);
    return lua_yieldk(L, 1, (lua_KContext)t, wait_k);
}

void np_wake(struct np_wait *w, enum neap_err err)
{
    if (!w->task) return;
    struct np_task *t = end_wait(w);
    t->wait_err = err;
    push_ready(t);
}

static void on_timer(struct np_timer *timer)
{
    struct np_task *t = np_container_of(timer, struct np_task, timer);
    if (!t->wait) return;
    if (t->timer_is_deadline) {
        np_task_cancel(t, NEAP_ETIMEDOUT);
        return;
    }
    struct np_wait *w = t->wait;
    w->cancel(w);
    np_wake(w, NEAP_ETIMEDOUT);
}

void np_task_refuse_wait(struct np_task *t)
{
    if (t->state == NP_TASK_RUNNING) return; /* no wait of ours */
    leave_nothing_behind(t);
    t->state = NP_TASK_RUNNING;
    t->refused = !t->raise;
}

void np_wait_dequeue(struct np_wait *w)
{
    if (w->link.next) np_list_remove(&w->link);
}

bool np_wake_first(struct np_link *queue, enum neap_err err)
{
    struct np_link *l = np_list_pop_front(queue);
    if (!l) return false;
    np_wake(np_container_of(l, struct np_wait, link), err);
    return true;
}

void np_wake_all(struct np_link *queue, enum neap_err err)
{
    while (np_wake_first(queue, err)) {
    }
}

/* --- cancelling */

static void break_wait(struct np_task *t)
{
    if (t->shield || !t->wait) return;
    struct np_wait *w = t->wait;
    w->cancel(w);
    end_wait(w);
    t->raise = true;
    push_ready(t);
}

static void cancel_one(struct np_task *t, enum neap_err code)
{
    if (t->state == NP_TASK_DONE) return;
    if (!t->cancel_code) t->cancel_code = code;
    break_wait(t);
}

/* The first child of `parent` at or after `l`; without those in its shield, unless `all`. */
static struct np_task *child_from(struct np_link *l, struct np_task *parent, bool all)
{
    for (; l != &parent->children; l = l->next) {
        struct np_task *t = np_container_of(l, struct np_task, sibling);
        if (all || !t->sheltered || !parent->shield) return t;
    }
    return NULL;
}

/* The task after `t` in a walk of the tree under `top`, parents first; NULL at the end. */
static struct np_task *next_in_tree(struct np_task *t, struct np_task *top, bool all)
{
    struct np_task *next = child_from(t->children.next, t, all);
    while (!next && t != top) {
        next = child_from(t->sibling.next, t->parent, all);
        t = t->parent;
    }
    return next;
}

void np_task_cancel(struct np_task *t, enum neap_err code)
{
    for (struct np_task *i = t; i; i = next_in_tree(i, t, false)) {
        cancel_one(i, code);
    }
}

void np_task_shield_begin(struct np_task *t)
{
    t->shield++;
}

void np_task_shield_end(struct np_task *t)
{
    if (t->shield == 0 || --t->shield > 0) return;
    if (t->cancel_code) np_task_cancel(t, t->cancel_code);
}

void np_task_set_deadline(struct np_task *t, int64_t at)
{
    if (at < t->deadline) t->deadline = at;
}

/* --- failures */

void np_task_error(struct np_task *t)
{
    lua_State *co = t->co;
    lua_checkstack(co, 3);
    if (!lua_istable(co, -1)) { /* out of memory: no box could be made */
        lua_pushvalue(co, -1);
        lua_pushnil(co);
        return;
    }
    lua_rawgeti(co, -1, 1);
    lua_rawgeti(co, -2, 2);
}

static struct np_log_field text_field(const char *name, const char *text)
{
    struct np_log_field f = {.name = name, .type = NP_LOG_STR};
    f.as.str.p = text;
    f.as.str.n = strlen(text);
    return f;
}

/* Describes the failure in protected mode: __tostring may be a script's. Returns message,
 * traceback. */
static int describe(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    lua_pushvalue(L, 2);
    return 2;
}

void np_task_log_error(struct np_task *t)
{
    lua_State *co = t->co;
    int top = lua_gettop(co);
    np_task_error(t);
    enum neap_err code = np_error_code(co, -2);
    bool cancelled = t->cancel_code && code == t->cancel_code;
    enum np_log_level level = cancelled ? NP_LOG_DEBUG : NP_LOG_ERROR;
    if (np_log_enabled(t->script->log, level) && lua_checkstack(co, 4)) {
        lua_pushcfunction(co, describe);
        lua_insert(co, -3);
        bool ok = lua_pcall(co, 2, 2, 0) == LUA_OK;
        const char *msg = ok ? lua_tostring(co, -2) : "a failure that cannot be described";
        const char *trace = ok ? lua_tostring(co, -1) : NULL;
        struct np_log_field fields[2] = {text_field("task", t->label ? t->label : "task"),
                                         text_field("traceback", trace ? trace : "")};
        np_log_write(t->script->log, level, msg, strlen(msg), fields, trace ? 2 : 1);
    }
    lua_settop(co, top);
}

/* --- the scheduler's own life */

enum neap_err np_sched_init(struct np_sched *s, struct np_script *script)
{
    memset(s, 0, sizeof *s);
    np_link_init(&s->ready);
    np_link_init(&s->yielded);
    np_link_init(&s->free_tasks);
    s->root = np_calloc(1, sizeof *s->root);
    if (!s->root) return NEAP_ENOMEM;
    s->root->script = script;
    s->root->deadline = NP_TIME_NEVER;
    np_link_init(&s->root->children);
    np_link_init(&s->root->sibling);
    uv_loop_t *uv = script->loop->uv;
    uv_prepare_init(uv, &s->prepare);
    uv_check_init(uv, &s->check);
    uv_idle_init(uv, &s->idle);
    s->prepare.data = s->check.data = s;
    uv_prepare_start(&s->prepare, on_prepare);
    uv_check_start(&s->check, on_check);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->check);
    return NEAP_OK;
}

void np_sched_cancel_all(struct np_sched *s, enum neap_err code)
{
    struct np_task *root = s->root;
    for (struct np_task *t = next_in_tree(root, root, false); t; t = next_in_tree(t, root, false)) {
        cancel_one(t, code);
    }
}

void np_sched_abandon(struct np_sched *s)
{
    struct np_task *root = s->root;
    for (struct np_task *t = next_in_tree(root, root, true); t; t = next_in_tree(t, root, true)) {
        if (!t->wait) continue;
        struct np_wait *w = t->wait;
        w->cancel(w);
        end_wait(w);
    }
}

static void free_tree(struct np_task *root)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&root->children))) {
        struct np_task *t = np_container_of(l, struct np_task, sibling);
        np_list_splice(&root->children, &t->children);
        np_list_remove(&t->ready);
        np_timer_stop(&t->timer);
        np_free(t);
    }
}

void np_sched_fini(struct np_sched *s)
{
    free_tree(s->root);
    struct np_link *l;
    while ((l = np_list_pop_front(&s->free_tasks))) {
        np_free(np_container_of(l, struct np_task, ready));
    }
    np_free(s->root);
    s->root = NULL;
}
