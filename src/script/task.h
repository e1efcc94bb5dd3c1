/* Tasks: recycled coroutines, and the one way to wait.
 *
 * Everything a script does runs in a task. A binding that must wait arms its operation and returns
 * np_wait(…), which yields; whoever completes the operation calls np_wake once, from the loop; the
 * scheduler then resumes the task, and the binding's continuation pushes the results in the task's
 * own, protected context. lua_resume stands in task_run.c alone.
 *
 * What always holds:
 * - One task runs at a time; one wait at most is open in a task.
 * - np_wake never runs Lua: it puts the task on the ready queue, which is drained before the loop
 *   next polls. Waking a wait that is not armed does nothing.
 * - A wait ends exactly once: by np_wake, by its timeout (NEAP_ETIMEDOUT), or by the task's being
 *   cancelled. In the last two cases the wait's `cancel` is called first: it takes the operation
 * back (or marks it to be ignored) and must not wake.
 * - A timeout of the operation is a result (the continuation gets NEAP_ETIMEDOUT). Cancellation and
 * the task's deadline raise an error object (ECANCELED, ETIMEDOUT) out of the wait, and out of each
 *   later one. A loop that catches them and waits again gets its turn with the others, so that it
 *   does not stop the host.
 * - Tasks form a tree: cancelling one cancels its children. Children of a task that ends by itself
 *   become its parent's.
 * - In a shield a task hears of no cancellation, nor do the children it starts there, until the
 *   shield ends.
 * - A wait inside a coroutine of the script's own suspends the whole task (lua/neap/prelude.lua
 *   passes it up); nobody else may resume or close that coroutine meanwhile.
 */
#ifndef NP_SCRIPT_TASK_H
#define NP_SCRIPT_TASK_H

#include <lua.h>

#include "base/list.h"
#include "net/timer.h"

struct np_script;
struct np_task;

/* One wait; embedded in the object that is waited for, which outlives it. Zero-initialised: not
 * armed. */
struct np_wait {
    struct np_task *task; /* who waits; NULL when nobody does */
    void (*cancel)(struct np_wait *w);
    struct np_link
        link; /* for the object's own queue of waits, if it has one; see np_wait_queue_* */
};

/* Pushes the results. `err` is what np_wake was given, or NEAP_ETIMEDOUT. The stack is as it was
 * when np_wait was called, so arguments (the userdata that keeps the object alive) are still there.
 */
typedef int (*np_wait_fn)(lua_State *L, enum neap_err err, void *ctx);

#define NP_NO_TIMEOUT INT64_C(0)

/* Use as `return np_wait(L, …)`. Waits until np_wake(w, …), at most `timeout` ns (NP_NO_TIMEOUT: no
 * bound but the task's deadline). Raises where the script cannot wait (inside a C call that cannot
 * be yielded across, such as a table.sort comparator), after calling cancel. */
int np_wait(lua_State *L, struct np_wait *w, int64_t timeout, void (*cancel)(struct np_wait *w),
            np_wait_fn k, void *ctx);
void np_wake(struct np_wait *w, enum neap_err err);
/* Gives other tasks a turn: a wait that is over at once. Use as `return np_task_yield(L, …)`. */
int np_task_yield(lua_State *L, np_wait_fn k, void *ctx);
/* The light userdata that a wait yields (for lua/neap/prelude.lua). */
void *np_task_wait_mark(void);
/* Pushes the weak table of the coroutines that only the scheduler may resume: the tasks' own, and
 * those that the prelude adds while a wait in them is passed up. */
void np_task_push_held(lua_State *L);
/* For the prelude as well: a coroutine's wait cannot be passed up, as its caller cannot be
 * suspended. Takes the wait back; it raises when the coroutine is resumed. */
void np_task_refuse_wait(struct np_task *t);
/* coroutine.resume and .close for the prelude: as Lua's own, but the watchdog knows what runs. */
int np_task_resume_coroutine(lua_State *L);
int np_task_close_coroutine(lua_State *L);
static inline bool np_waiting(const struct np_wait *w)
{
    return w->task != NULL;
}
/* A queue of waits on one object, first come first served: put `w` in before np_wait with
 * np_wait_dequeue as its cancel. */
static inline void np_wait_enqueue(struct np_link *queue, struct np_wait *w)
{
    np_list_push_back(queue, &w->link);
}
void np_wait_dequeue(struct np_wait *w);
/* Takes the first out of the queue and wakes it; false when the queue is empty. */
bool np_wake_first(struct np_link *queue, enum neap_err err);
void np_wake_all(struct np_link *queue, enum neap_err err);

enum np_task_state { NP_TASK_NEW, NP_TASK_READY, NP_TASK_RUNNING, NP_TASK_WAITING, NP_TASK_DONE };

struct np_task {
    struct np_script *script;
    lua_State *co;
    int co_ref;
    enum np_task_state state;
    struct np_task *parent;
    struct np_link children;
    struct np_link sibling;
    struct np_link ready;
    struct np_wait *wait; /* armed while WAITING */
    struct np_wait sleep; /* for waits that belong to no object: sleep, yield */
    np_wait_fn wait_fn;
    void *wait_ctx;
    enum neap_err wait_err;
    struct np_timer timer; /* of the wait: its timeout or the task's deadline */
    bool timer_is_deadline;
    int64_t deadline;              /* NP_TIME_NEVER if none; inherited: the smaller wins */
    enum neap_err cancel_code;     /* NEAP_OK until cancelled; ECANCELED or ETIMEDOUT */
    bool raise;                    /* the wait ended by cancellation: its continuation raises */
    bool refused;                  /* the wait cannot be: its continuation raises */
    bool failed;                   /* its function raised */
    bool sheltered;                /* started inside a shield of its parent's */
    unsigned shield;               /* > 0: cancellation is held back */
    unsigned refusals;             /* waits it was refused since it was cancelled */
    int nargs;                     /* for the first resume */
    const char *label;             /* static text for logs: "request", "timer" … */
    bool loading;                  /* a main chunk: it has --load-timeout for a turn */
    int64_t stopped_at;            /* when the watchdog last stopped it, 0 never */
    int64_t cpu;                   /* ns, of the turns that are over, while that is accounted */
    struct np_task_handle *handle; /* what neap.task.current() gave; NULL: nobody asked */
    /* Called once when the task has ended, not in Lua. The function it ran is at index 1 of `co`;
     * on top are its results, or on failure one failure box (np_task_error reads it). Must not
     * raise: only look at what is there. Set before it starts; may be NULL, then a failure is
     * logged. */
    void (*done)(struct np_task *t, bool ok, int nresults);
    void *arg; /* the creator's */
};

struct np_sched {
    struct np_task *current;
    struct np_link ready;
    struct np_link yielded;    /* ready too, but at the next turn: I/O comes first */
    struct np_link free_tasks; /* with their coroutines, recycled; by `ready` */
    size_t free_count;
    struct np_task *root; /* parent of what has no other; never runs */
    size_t live;          /* tasks not done */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    bool idle_active;
    bool accounting; /* CPU time of tasks is counted */
    uint64_t epoch;  /* grows by one with each turn of a task, and more between the loop's turns */
    int64_t turn_began; /* on the thread's CPU clock, while a turn is counted; else 0 */
};

/* Takes a function and its `nargs` arguments from the top of `from` (popped) into a new task.
 * `parent` NULL: the root. Not started. NULL when out of memory (the values are popped all the
 * same). */
struct np_task *np_task_new(struct np_script *s, lua_State *from, int nargs, struct np_task *parent,
                            const char *label);
/* The same for a C function that gets `arg` as a light userdata; touches no other state, so that it
 * may be called from the loop. NULL when out of memory. */
struct np_task *np_task_new_c(struct np_script *s, lua_CFunction fn, void *arg,
                              struct np_task *parent, const char *label);
/* Runs it right now until it first waits or ends, when called from the loop; when called from
 * within a running task, or `later`, it is queued and runs soon. After this the task belongs to the
 * scheduler: the pointer holds until `done` returns. */
void np_task_start(struct np_task *t, bool later);
/* Cancels it and its children. Idempotent; a task that is done is left alone. */
void np_task_cancel(struct np_task *t, enum neap_err code);
/* Holds cancellation back until the same number of ends; with the last, what came meanwhile reaches
 * the children started inside, and the task at its next wait. */
void np_task_shield_begin(struct np_task *t);
void np_task_shield_end(struct np_task *t);
/* Makes the deadline the smaller of what it is and `at` (loop time, ns). */
void np_task_set_deadline(struct np_task *t, int64_t at);
/* The running task; raises outside one. */
struct np_task *np_task_current(lua_State *L);
/* Runs what is ready. Called by the loop's hooks; returns when the queue is empty or after a
 * bounded number of turns, so that I/O gets its share. */
void np_sched_run(struct np_sched *s);

/* For `done` functions of a task that failed: pushes the error value and its traceback (a string,
 * or nil) on `t->co`. Does not raise. */
void np_task_error(struct np_task *t);
/* Logs the failure with its traceback; a mere cancellation only at debug level. */
void np_task_log_error(struct np_task *t);

/* bind_task_current.c: the task that `handle` stands for has ended. */
void np_task_handle_ended(struct np_task *t);

/* Whether a task is ready to run. */
static inline bool np_sched_busy(const struct np_sched *s)
{
    return !np_list_empty(&s->ready) || !np_list_empty(&s->yielded);
}

NEAP_MUST_CHECK enum neap_err np_sched_init(struct np_sched *s, struct np_script *script);
void np_sched_cancel_all(struct np_sched *s, enum neap_err code);
/* Takes back every operation that is waited for; the tasks get no further turn. Before lua_close.
 */
void np_sched_abandon(struct np_sched *s);
/* Frees the tasks (after lua_close). The three handles are closed by the script state. */
void np_sched_fini(struct np_sched *s);

#endif
