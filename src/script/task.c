/* Tasks wait, are cancelled, and fail; see task.h. How they run is in task_run.c. */
#include "script/task.h"

#include <string.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/state.h"
#include "script/task_impl.h"
#include "script/watch.h"

#define MAX_REFUSALS 16 /* waits that a cancelled task is refused at once */

/* What a wait yields, so that a coroutine of the script's own can tell it from its own yields. */
static char wait_mark;

void *np_task_wait_mark(void)
{
    return &wait_mark;
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
    np_task_queue(t, &t->script->sched.yielded);
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
    np_task_queue(t, &t->script->sched.yielded);
    lua_pushlightuserdata(L, &wait_mark);
    return lua_yieldk(L, 1, (lua_KContext)t, wait_k);
}

void np_wake(struct np_wait *w, enum neap_err err)
{
    if (!w->task) return;
    struct np_task *t = np_task_end_wait(w);
    t->wait_err = err;
    np_task_queue(t, &t->script->sched.ready);
}

void np_task_on_timer(struct np_timer *timer)
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
    np_task_leave_nothing(t);
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
    np_task_end_wait(w);
    t->raise = true;
    np_task_queue(t, &t->script->sched.ready);
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
    if (code == NEAP_ETIMEDOUT && np_stop_is(co, -2)) { /* that was told when it struck */
        lua_settop(co, top);
        return;
    }
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

static void on_prepare(uv_prepare_t *h)
{
    np_sched_run(h->data);
}

static void on_check(uv_check_t *h)
{
    struct np_sched *s = h->data;
    s->epoch += 2;
    np_sched_run(s);
}

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
        np_task_end_wait(w);
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
