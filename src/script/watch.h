/* The worker's end of the watchdog: what the scheduler notes, and how a turn is stopped.
 *
 * A turn is what happens between a resumption of a task and its end or wait. For each coroutine
 * that runs in it, the task's own and those of the script's own within, a frame stands on the C
 * stack, linked from the slot, the innermost first. The signal handler of the watchdog (it runs on
 * this same thread) follows them.
 *
 * A stop goes through stages:
 *
 *   NONE ──► ASKED ──► GRACE ──► FINAL ──► NONE, when the turn is over
 *     handler   hook      hook or handler
 *
 * ASKED: each running coroutine has a count hook. The first that fires raises the error that names
 * the line. GRACE: who catches it may clean up, for some thousand instructions and no longer than
 * the watchdog's next looks. FINAL: the error comes at every instruction. A task that was stopped
 * shortly before has no grace.
 *
 * Inside an xpcall the error travels as Lua's memory error, since that alone calls no message
 * handler: Lua calls handlers of errors raised in a hook with hooks off, so that one that spins
 * could not be stopped. Whoever catches errors for a script (pcall, xpcall and resume, which are
 * neap's own, and the task's main function) names it then: np_stop_caught.
 *
 * The slot's thread, but for what is atomic.
 */
#ifndef NP_SCRIPT_WATCH_H
#define NP_SCRIPT_WATCH_H

#include "script/watchdog.h"

struct np_script;
struct np_task;

/* A coroutine that runs. */
struct np_frame {
    lua_State *L; /* the main state's, where the coroutine may be freed before the turn is over;
                     NULL while the whole state closes */
    struct np_frame *prev;
    struct np_task *task; /* of the outermost of a turn; else NULL */
};

enum np_stop_stage { NP_STAGE_NONE, NP_STAGE_ASKED, NP_STAGE_GRACE, NP_STAGE_FINAL };
enum np_stop_reason { NP_STOPPED_BY_TIME, NP_STOPPED_BY_PERSON };

/* What a signal asks of the handler; bits. */
enum np_watch_ask { NP_ASK_STOP = 1, NP_ASK_FINAL = 2, NP_ASK_LOOK = 4, NP_ASK_INTERRUPT = 8 };
enum np_watch_seen { NP_SEEN_NOTHING, NP_SEEN_LATER, NP_SEEN };

#define NP_WATCH_WHAT 160

/* For what the signal handler runs: nothing there may call into a sanitizer's runtime, which it may
 * have interrupted. And for what errors leap over. */
#if defined(__clang__)
#define NP_UNSANITIZED __attribute__((disable_sanitizer_instrumentation))
#elif defined(__SANITIZE_THREAD__)
#define NP_UNSANITIZED __attribute__((no_sanitize_thread))
#else
#define NP_UNSANITIZED
#endif

struct np_watch_slot {
    /* written at each turn, read by the watchdog */
    atomic_ullong beat; /* a turn began or ended */
    _Atomic(struct np_frame *) frames;
    atomic_bool loading; /* the turn is of a main chunk */
    /* this thread's and its signal handler's */
    volatile enum np_stop_stage stage;
    volatile enum np_stop_reason reason;
    volatile bool no_grace;
    volatile bool in_flight; /* the error was raised, and not caught by what knows it */
    volatile unsigned long long stop_beat;
    int grace;         /* instructions left, in GRACE */
    char where[80];    /* "main.lua:12" */
    size_t moves_seen; /* by the last look */
    /* between the watchdog's thread and the handler */
    atomic_uint asked; /* of enum np_watch_ask */
    atomic_ullong asked_beat;
    atomic_int seen;             /* enum np_watch_seen; `what` is the watchdog's once it is SEEN */
    _Atomic(const char *) label; /* of the task that was asked to stop; static text */
    char what[NP_WATCH_WHAT];
    _Atomic(int64_t) limit; /* ns, that were over when it was told to stop */
    atomic_uint looked;     /* how often the watchdog has looked at it */
    /* the watchdog's */
    struct np_watchdog *owner;
    struct np_watch_slot *next;
    unsigned worker;
    pthread_t thread;
    unsigned long long last_beat; /* seen at the last look … */
    int64_t busy;                 /* … and for how long, ns */
    unsigned looks;               /* how often it was asked where it is stuck */
    bool stopped;                 /* it was told to stop … */
    int64_t press_at;             /* … and is told again when `busy` is this */
    bool told;                    /* `stuck` was called */
    bool gave_up;                 /* `hard` was called */
    unsigned magic;
};

static inline void np_frame_push(struct np_watch_slot *w, struct np_frame *f, lua_State *L,
                                 struct np_task *task)
{
    f->L = L;
    f->task = task;
    f->prev = atomic_load_explicit(&w->frames, memory_order_relaxed);
    atomic_signal_fence(memory_order_release); /* the handler sees a frame that is whole */
    atomic_store_explicit(&w->frames, f, memory_order_relaxed);
}

static inline void np_frame_pop(struct np_watch_slot *w, struct np_frame *f)
{
    atomic_signal_fence(memory_order_release);
    atomic_store_explicit(&w->frames, f->prev, memory_order_relaxed);
}

static inline void np_watch_beat(struct np_watch_slot *w)
{
    unsigned long long beat = atomic_load_explicit(&w->beat, memory_order_relaxed);
    atomic_store_explicit(&w->beat, beat + 1, memory_order_relaxed);
}

/* A clock that costs nothing to read, for turns that follow each other; NULL: it stands still. */
static inline unsigned np_watch_looked(const struct np_watch_slot *w)
{
    return w ? atomic_load_explicit(&w->looked, memory_order_relaxed) : 0;
}

/* A turn begins and ends. */
static inline void np_watch_begin(struct np_watch_slot *w, struct np_frame *f, lua_State *L,
                                  struct np_task *task, bool loading)
{
    np_frame_push(w, f, L, task);
    atomic_store_explicit(&w->loading, loading, memory_order_relaxed);
    np_watch_beat(w);
}

void np_stop_over(struct np_watch_slot *w, lua_State *L); /* L may be NULL, see np_frame */

static inline void np_watch_end(struct np_watch_slot *w, struct np_frame *f)
{
    np_watch_beat(w);
    np_frame_pop(w, f);
    if (w->stage != NP_STAGE_NONE) np_stop_over(w, f->L);
}

/* The turn goes on without the coroutine of frame `f`, which may be freed from now on. */
static inline void np_watch_drop(struct np_watch_slot *w, struct np_frame *f, lua_State *main)
{
    lua_State *co = f->L;
    f->L = main;
    f->task = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    if (w->stage != NP_STAGE_NONE) lua_sethook(co, NULL, 0, 0);
}

/* Whether the turn that runs is being stopped. */
static inline bool np_stopping(const struct np_watch_slot *w)
{
    return w && w->stage != NP_STAGE_NONE &&
           w->stop_beat == atomic_load_explicit(&w->beat, memory_order_relaxed);
}

/* The coroutine `L` is resumed in a turn that is being stopped. */
void np_stop_hook(struct np_watch_slot *w, lua_State *L);
/* An error was caught, its value is on top of `L`. If it is the stop's, the value becomes the
 * error object. Does not raise, allocates nothing. */
void np_stop_caught(lua_State *L, int status);
/* Whether the value at `idx` is the error object of the stop that is going on. */
bool np_stop_is(lua_State *L, int idx);
/* Pushes {error, traceback} of the stop that goes on; false (nothing pushed) if there is none, or
 * it could not be made. Does not raise, allocates nothing. */
bool np_stop_push_box(lua_State *L);

/* pcall, xpcall: as Lua's own, but for the error of a stop. See protect.c. */
int np_protected_call(lua_State *L);
int np_protected_call_with(lua_State *L);

/* The handler's part; see watchdog.c. Async-signal-safe. */
void np_stop_signalled(struct np_watch_slot *w);

#endif
