/* The watchdog's thread, its slots and its signal; see watchdog.h. What the handler does with a
 * signal is in stop.c.
 *
 * The signal is the first from SIGRTMAX-7 downwards that the program leaves at its default. Its
 * handler stays installed for good: a signal that is late, or a stranger's, is then ignored, where
 * the default would end the process. It carries the slot, so no variable of the process is needed.
 * A slot is safe to touch in the handler: signals are sent under the lock, and one that goes takes
 * back those that have not been delivered.
 */
#include "script/watchdog.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "script/watch.h"

#define MAGIC 0x6e656170u
#define MAX_TICK (250 * NP_NS_PER_MS)
#define TICKS 10       /* looks within the shortest timeout */
#define LOOKS 4        /* ticks to wait for a thread to say where it is stuck */
#define LAST_WORDS 0.2 /* seconds for the log to be written */
#define EXIT_CODE 70   /* EX_SOFTWARE */
#define OFF_LIMITS 7   /* the highest real-time signals are what others take first */

struct np_watchdog {
    struct np_watchdog_options opts;
    int signum;
    bool has_thread;
    bool quit;
    int64_t tick;
    uv_thread_t thread;
    uv_mutex_t lock; /* of all slots' list and of sending */
    uv_cond_t cond;
    struct np_watch_slot *slots;
};

/* --- the signal */

/* Runs on the worker's thread, wherever that is. */
NP_UNSANITIZED static void on_signal(int signum, siginfo_t *info, void *context)
{
    (void)signum;
    (void)context;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid()) return;
    int saved = errno;
    struct np_watch_slot *slot = info->si_value.sival_ptr;
    if (slot && slot->magic == MAGIC && pthread_equal(slot->thread, pthread_self())) {
        np_stop_signalled(slot);
    }
    errno = saved;
}

typedef int (*sigaction_fn)(int, const struct sigaction *, struct sigaction *);

/* The thread sanitizer holds signals back until the program calls one of the functions it knows,
 * which a busy script never does: there the C library is asked behind its back. The handler is not
 * instrumented, so that it may come at any moment. */
static sigaction_fn find_sigaction(void)
{
#if defined(__SANITIZE_THREAD__)
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *real = libc ? dlsym(libc, "sigaction") : NULL;
    sigaction_fn fn = NULL;
    if (real) memcpy(&fn, &real, sizeof fn);
    if (libc) dlclose(libc);
    if (fn) return fn;
#endif
    return sigaction;
}

static bool is_ours(const struct sigaction *a)
{
    return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == on_signal;
}

/* 0: every one is taken. */
static int install_signal(void)
{
    sigaction_fn action = find_sigaction();
    struct sigaction ours = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&ours.sa_mask);
    for (int signum = SIGRTMAX - OFF_LIMITS; signum > SIGRTMIN; signum--) {
        struct sigaction old;
        if (action(signum, NULL, &old) != 0) continue;
        if (is_ours(&old)) return signum;
        bool is_free = !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL;
        if (is_free && action(signum, &ours, NULL) == 0) return signum;
    }
    return 0;
}

/* With the lock. What was asked and not heard yet is heard with it, so one signal is under way at
 * most. One that cannot be queued is sent with what is asked next. */
static void ask(struct np_watch_slot *s, unsigned what, unsigned long long beat)
{
    atomic_store(&s->asked_beat, beat);
    if (atomic_fetch_or(&s->asked, what)) return;
    if (pthread_sigqueue(s->thread, s->owner->signum, (union sigval){.sival_ptr = s}) != 0)
        atomic_store(&s->asked, 0);
}

/* --- looking */

static void tell_stuck(struct np_watch_slot *s, const char *what)
{
    const struct np_watchdog_options *o = &s->owner->opts;
    s->told = true;
    if (o->stuck) {
        o->stuck(s->worker, what, o->arg);
    } else {
        np_logf(o->log, NP_LOG_ERROR, "worker %u is stuck in %s, where no error reaches it",
                s->worker, what);
    }
}

static void give_up(struct np_watch_slot *s, const char *what)
{
    const struct np_watchdog_options *o = &s->owner->opts;
    if (o->hard) {
        o->hard(s->worker, what, o->arg);
        return;
    }
    np_logf(o->log, NP_LOG_ERROR, "worker %u has been in %s for too long: the process ends",
            s->worker, what);
    np_log_flush(o->log, LAST_WORDS);
    _exit(EXIT_CODE);
}

/* Where it is stuck, as far as can be said. NULL: it has not answered yet. */
static const char *answer_of(struct np_watch_slot *s, char *room, size_t size)
{
    if (atomic_load(&s->seen) == NP_SEEN) return s->what;
    if (s->looks < LOOKS) return NULL;
    const char *label = atomic_load(&s->label);
    snprintf(room, size, "a task ('%s')", label ? label : "unknown");
    return room;
}

static void ask_where(struct np_watch_slot *s)
{
    s->looks++;
    atomic_store(&s->seen, NP_SEEN_NOTHING);
    ask(s, NP_ASK_LOOK | (s->stopped ? NP_ASK_FINAL : 0), s->last_beat);
}

static void look_again(struct np_watch_slot *s)
{
    s->busy = 0;
    s->looks = 0;
    s->stopped = s->told = s->gave_up = false;
}

struct limits {
    int64_t stop; /* NP_TIME_NEVER: not at all */
    int64_t stuck;
    int64_t hard;
};

/* A main chunk that loads has as much more until `hard` as it has for itself. */
static struct limits limits_of(const struct np_watch_slot *s)
{
    const struct np_watchdog_options *o = &s->owner->opts;
    bool loading = atomic_load_explicit(&s->loading, memory_order_relaxed);
    int64_t stop = loading ? o->load_timeout : o->timeout;
    int64_t extra = loading && stop > o->timeout ? stop - o->timeout : 0;
    return (struct limits){.stop = stop ? stop : NP_TIME_NEVER,
                           .stuck = stop ? np_time_add(stop, stop) : NP_TIME_NEVER,
                           .hard = o->hard_timeout ? np_time_add(o->hard_timeout, extra)
                                                   : NP_TIME_NEVER};
}

static void check_stuck(struct np_watch_slot *s, struct limits l)
{
    bool hard = s->busy >= l.hard && !s->gave_up;
    if (s->told && !hard) return;
    char room[NP_WATCH_WHAT];
    const char *what = answer_of(s, room, sizeof room);
    if (!what) {
        ask_where(s);
        return;
    }
    if (!s->told) tell_stuck(s, what);
    if (hard) {
        s->gave_up = true;
        give_up(s, what);
    }
}

/* `passed` ns since the last look, of which the turn had all if its beat is still the same. */
static void check(struct np_watch_slot *s, int64_t passed)
{
    unsigned long long beat = atomic_load_explicit(&s->beat, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->looked, 1, memory_order_relaxed);
    bool runs = atomic_load_explicit(&s->frames, memory_order_relaxed) != NULL;
    if (!runs || beat != s->last_beat) {
        s->last_beat = beat;
        look_again(s);
        return;
    }
    s->busy = np_time_add(s->busy, passed);
    struct limits l = limits_of(s);
    if (s->busy < l.stop && s->busy < l.hard) return;
    if (s->busy >= l.stop && !s->stopped) {
        s->stopped = true;
        s->press_at = np_time_add(s->busy, s->owner->tick);
        atomic_store(&s->limit, l.stop);
        ask(s, NP_ASK_STOP, beat);
    } else if (s->stopped && s->busy >= s->press_at) {
        s->press_at = np_time_add(s->busy, l.stop); /* should it have got rid of its hooks */
        ask(s, NP_ASK_FINAL, beat);
    }
    if (s->busy >= l.stuck || s->busy >= l.hard) check_stuck(s, l);
}

/* A process that was halted (a debugger, SIGSTOP) or starved must not look as if its scripts had
 * been busy: a pause counts as two ticks. */
static void run_thread(void *arg)
{
    struct np_watchdog *w = arg;
    int64_t last = np_clock_now(&np_clock_system);
    uv_mutex_lock(&w->lock);
    while (!w->quit) {
        uv_cond_timedwait(&w->cond, &w->lock, (uint64_t)w->tick);
        int64_t now = np_clock_now(&np_clock_system);
        int64_t passed = now - last < 2 * w->tick ? now - last : 2 * w->tick;
        last = now;
        for (struct np_watch_slot *s = w->slots; s && !w->quit; s = s->next) {
            check(s, passed);
        }
    }
    uv_mutex_unlock(&w->lock);
}

/* --- its life */

static int64_t tick_of(const struct np_watchdog_options *o)
{
    int64_t least = NP_TIME_NEVER;
    int64_t all[] = {o->timeout, o->load_timeout, o->hard_timeout};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] > 0 && all[i] < least) least = all[i];
    }
    if (least == NP_TIME_NEVER) return 0;
    int64_t tick = least / TICKS;
    if (tick < NP_NS_PER_MS) return NP_NS_PER_MS;
    return tick < MAX_TICK ? tick : MAX_TICK;
}

/* The thread takes no signal of the program's. */
static int start_thread(struct np_watchdog *w)
{
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_thread_create(&w->thread, run_thread, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

enum neap_err np_watchdog_new(const struct np_watchdog_options *opts, struct np_watchdog **out)
{
    struct np_watchdog *w = np_calloc(1, sizeof *w);
    if (!w) return NEAP_ENOMEM;
    w->opts = *opts;
    w->tick = tick_of(opts);
    w->signum = install_signal();
    if (!w->signum) {
        np_free(w);
        return NEAP_EBUSY;
    }
    if (uv_mutex_init(&w->lock) != 0) {
        np_free(w);
        return NEAP_ENOMEM;
    }
    if (uv_cond_init(&w->cond) != 0) goto fail;
    if (w->tick > 0 && start_thread(w) != 0) {
        uv_cond_destroy(&w->cond);
        goto fail;
    }
    w->has_thread = w->tick > 0;
    *out = w;
    return NEAP_OK;
fail:
    uv_mutex_destroy(&w->lock);
    np_free(w);
    return NEAP_ENOMEM;
}

void np_watchdog_free(struct np_watchdog *w)
{
    if (!w) return;
    uv_mutex_lock(&w->lock);
    w->quit = true;
    uv_cond_signal(&w->cond);
    uv_mutex_unlock(&w->lock);
    if (w->has_thread) uv_thread_join(&w->thread);
    uv_cond_destroy(&w->cond);
    uv_mutex_destroy(&w->lock);
    np_free(w);
}

/* --- slots */

enum neap_err np_watchdog_add(struct np_watchdog *w, unsigned worker, struct np_watch_slot **out)
{
    struct np_watch_slot *s = np_calloc(1, sizeof *s);
    if (!s) return NEAP_ENOMEM;
    s->owner = w;
    s->worker = worker;
    s->thread = pthread_self();
    s->magic = MAGIC;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, w->signum);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    uv_mutex_lock(&w->lock);
    s->next = w->slots;
    w->slots = s;
    uv_mutex_unlock(&w->lock);
    *out = s;
    return NEAP_OK;
}

/* Takes back what was sent to this thread and has not been delivered: from here on it would come to
 * a slot that is gone. What is for another slot of this thread is told to that. */
static void drop_pending(int signum, struct np_watch_slot *gone)
{
    sigset_t set;
    sigset_t old;
    siginfo_t info;
    struct timespec at_once = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, signum);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    for (;;) {
        int got = sigtimedwait(&set, &info, &at_once);
        if (got < 0 && errno != EINTR) break;
        if (got > 0 && info.si_value.sival_ptr != gone) on_signal(signum, &info, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void np_watchdog_remove(struct np_watch_slot *slot)
{
    if (!slot) return;
    struct np_watchdog *w = slot->owner;
    uv_mutex_lock(&w->lock);
    struct np_watch_slot **at = &w->slots;
    while (*at != slot) {
        at = &(*at)->next;
    }
    *at = slot->next;
    uv_mutex_unlock(&w->lock);
    drop_pending(w->signum, slot);
    slot->magic = 0;
    np_free(slot);
}

void np_watchdog_interrupt(struct np_watch_slot *slot)
{
    uv_mutex_lock(&slot->owner->lock);
    unsigned long long beat = atomic_load_explicit(&slot->beat, memory_order_relaxed);
    if (atomic_load_explicit(&slot->frames, memory_order_relaxed)) {
        ask(slot, NP_ASK_INTERRUPT, beat);
    }
    uv_mutex_unlock(&slot->owner->lock);
}

unsigned long long np_watchdog_beats(const struct np_watch_slot *slot)
{
    return atomic_load_explicit(&slot->beat, memory_order_relaxed);
}

bool np_watchdog_in_turn(const struct np_watch_slot *slot)
{
    return atomic_load_explicit(&slot->frames, memory_order_relaxed) != NULL;
}
