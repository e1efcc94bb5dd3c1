/* A worker: a thread's share of a host. A loop, a bus, a view of the registry, and the script
 * states that live there: the current one, the next one while a reload loads it, and those that
 * still have something in flight.
 *
 * Others reach it by np_loop_post. Its thread.
 */
#ifndef NP_HOST_WORKER_H
#define NP_HOST_WORKER_H

#include <stdatomic.h>

#include "host/instance.h"
#include "net/loop.h"

struct np_bus;
struct suspect;

struct np_worker {
    struct np_link link; /* in neap_t.deposed, when another has taken its place */
    neap_t *host;
    unsigned id;
    struct np_loop loop;
    struct np_bus *bus;
    struct np_registry_view *view;
    struct np_watch_slot *watchdog;
    struct np_instance *current;
    struct np_instance *next; /* of a reload */
    struct np_link retiring;  /* of struct np_instance */
    struct suspect *suspect;  /* it is stuck, and watched closer; worker 0's */
    bool deposed;             /* worker 0's to write, before the thread hears of it */
    bool substitute;          /* it took another's place, and was not reloaded since */
    bool stop_seen;           /* worker 0's: its stop is through, or … */
    bool overdue;             /* … was given up */
    bool open;                /* the loop is there */
    bool stopping;
    bool stop_told;  /* worker 0 knows that the stop is through */
    bool expired;    /* something had not drained in time */
    bool quit;       /* its thread is to end */
    bool has_thread; /* all but the first */
    /* What must get through where no memory is left: */
    struct np_post quit_call;
    struct np_post stop_call;
    struct np_post stopped_call; /* to worker 0 */
    atomic_bool stop_queued;
    atomic_bool stop_now; /* no grace */
    atomic_size_t mail;   /* bytes of values that others sent and it has not taken; any thread */
    uv_thread_t thread;
    uv_sem_t opened; /* posted by the thread when it is open, or has failed */
    enum neap_err open_err;
    struct neap_errinfo open_info;
    uv_mutex_t lock; /* of what follows */
    uv_cond_t changed;
    bool dropped;   /* its script states are gone … */
    bool may_close; /* … and so are everybody else's, who might have called it */
    bool ended;     /* the thread is through; any thread */
};

/* Not open yet; freed by np_free when it is closed. NULL: out of memory. */
struct np_worker *np_worker_new(neap_t *n, unsigned id);
/* Makes loop, bus, view and the first instance; whatever fails, np_worker_close takes it down. */
NEAP_MUST_CHECK enum neap_err np_worker_open(struct np_worker *w, uv_loop_t *uv,
                                             struct neap_errinfo *info);
/* Ends its script states at once. */
void np_worker_drop_scripts(struct np_worker *w);
/* Closes what stands on the loop; `closed` is called when all handles are gone (inside this, on a
 * loop of its own). */
void np_worker_close(struct np_worker *w, void (*closed)(void *arg), void *arg);

/* Makes the other workers' threads and waits until all are open. workers.c */
NEAP_MUST_CHECK enum neap_err np_workers_start(neap_t *n);
/* The same for one. */
NEAP_MUST_CHECK enum neap_err np_worker_start(struct np_worker *w);
/* Ends all workers' script states, and the other workers' threads. False: one does not end, and the
 * host must not be freed. */
bool np_workers_join(neap_t *n);
/* Calls `fn` on the worker's thread, soon. Out of memory: false. */
bool np_worker_call(struct np_worker *w, void (*fn)(struct np_worker *w, void *arg), void *arg);
/* Has every worker but the first load it. */
NEAP_MUST_CHECK enum neap_err np_workers_load(neap_t *n, struct np_source *src);
NEAP_MUST_CHECK enum neap_err np_worker_load(struct np_worker *w, struct np_source *src);
/* Asks the other workers whether they have anything left to do; runs worker 0's loop meanwhile. */
bool np_workers_idle(neap_t *n);

/* Begins a stop, or shortens its grace. Any thread. */
void np_worker_stop(struct np_worker *w, bool now);
/* An instance of the worker's has drained, or not in time. */
void np_worker_instance_gone(struct np_worker *w, bool expired);
/* A main chunk failed after its instance was loaded: ends the host's run. Where that loaded alone,
 * in a substitute, it ends what is there of it, and the others serve on. */
void np_worker_main_failed(struct np_worker *w, enum neap_err err, const char *message);
/* Activates `next` and retires what was current. */
void np_worker_switch(struct np_worker *w);
/* It took another's place, and all sources were given to it: says how that went. */
void np_worker_substituted(struct np_worker *w);
/* Another has taken its place: what is in flight here may end. */
void np_worker_depose(struct np_worker *w);
/* Drops `next`, if there is one. */
void np_worker_discard(struct np_worker *w);

#endif
