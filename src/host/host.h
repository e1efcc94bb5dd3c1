/* A host: what its workers share, and the workers. The inside of neap_t.
 *
 * Made in two steps: neap_open makes what needs no loop; the workers are made at its first use.
 * Worker 0 is on the thread that uses the host, on a loop of its own or on the one that neap_attach
 * gave; it stops, reloads and closes the others, which have threads. Fields belong to worker 0's
 * thread, but for those that say otherwise.
 */
#ifndef NP_HOST_HOST_H
#define NP_HOST_HOST_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/log.h"
#include "bus/hub.h"
#include "host/leases.h"
#include "host/reload.h"
#include "host/signals.h"
#include "host/source.h"
#include "host/worker.h"
#include "mesh/shared_map.h"
#include "mesh/upstream.h"
#include "net/share.h"
#include "script/onces.h"
#include "script/runtime.h"
#include "script/state.h"
#include "script/watchdog.h"

enum np_stop_request { NP_STOP_NONE, NP_STOP_DRAIN, NP_STOP_NOW };

struct neap {
    struct np_runtime runtime; /* what scripts see of it; np_script.host */
    neap_options options; /* as neap_open was given them; what they point to stands in strings */
    struct np_arena strings;
    struct np_log *log;           /* any thread */
    struct np_registry *registry; /* any thread */
    struct np_bus_hub *hub;       /* any thread */
    struct np_share *share;       /* any thread */
    struct np_tls_shared *tls;    /* any thread; what TLS contexts share */
    struct np_netpolicy *policy;  /* any thread; where scripts may connect to; NULL: anywhere */
    struct np_watchdog *watchdog; /* any thread; NULL: nothing is watched */
    const char *log_path;         /* what SIGUSR1 opens anew; NULL: nothing. Before it starts */
    bool interruptible;           /* set before the host starts: it has a watchdog in any case */
    struct np_leases leases;
    struct np_signals signals;
    /* options.workers of them, from neap_open on. Any thread may read it; worker 0 replaces those
     * that are stuck. */
    _Atomic(struct np_worker *) *workers;
    struct np_link deposed;    /* of struct np_worker: their threads may still run */
    unsigned replaced;         /* how often one was replaced; worker 0's */
    struct np_sources sources; /* what was loaded, for the workers and for reloads */
    struct np_reload reload;
    atomic_uint generation;     /* how often it was reloaded; any thread */
    bool started;               /* the workers are there … */
    enum neap_err start_err;    /* … or not all of them */
    bool attached;              /* on a program's loop */
    bool running;               /* inside neap_run */
    bool ready;                 /* every worker has loaded; on_ready was called */
    bool stopped;               /* a stop is through */
    bool closing;               /* neap_close was called */
    bool drain_expired;         /* not all had drained in time */
    bool failed;                /* a loaded file failed after it had first waited */
    atomic_bool had_drains;     /* something had to be drained when the stop began; any thread */
    atomic_int stop_request;    /* enum np_stop_request; any thread */
    atomic_bool reload_request; /* any thread */
    atomic_bool can_wake;       /* `wake` is open; any thread */
    atomic_int signal;          /* the signal that stopped it, 0 none; any thread */
    bool has_wake;
    struct np_defer first_turn; /* of a program's loop */
    uv_async_t wake;            /* any thread, and signal handlers, may send it */
    struct np_mpsc posts;       /* of neap_post; any thread */
    unsigned stopping;          /* workers whose stop is not through */
    struct np_timer stop_limit; /* a stuck one is not waited for any longer */
    unsigned idle_replies;      /* of np_workers_idle: those still to come … */
    uint64_t idle_posts;        /* … what their loops have been sent and have run … */
    bool others_busy;           /* … and what one of them said */
    struct np_link subscribers; /* of neap_subscription */
    struct np_link upstreams;   /* of struct picker, see services.c */
    char *error;                /* of the last call; NULL: none */
    void (*closed)(void *user);
    void *closed_user;
};

/* Makes the workers, the first on `uv` or on a loop of its own, unless they are there. */
NEAP_MUST_CHECK enum neap_err np_host_start(neap_t *n, uv_loop_t *uv);

/* Keeps the words for neap_error and returns `err`. `fmt` NULL: the code's own. */
enum neap_err np_host_fail(neap_t *n, enum neap_err err, const char *fmt, ...) NEAP_PRINTF(3, 4);
void np_host_set_error(neap_t *n, const char *message, const char *detail);
static inline neap_t *np_host_of(struct np_runtime *rt)
{
    return np_container_of(rt, neap_t, runtime);
}
/* Worker 0's, where C calls go to. The script is the one that does the work now: a reload changes
 * it. */
static inline struct np_loop *np_host_loop(neap_t *n)
{
    return &n->workers[0]->loop;
}
static inline struct np_script *np_host_script(neap_t *n)
{
    struct np_instance *i = n->workers[0]->current;
    return i ? i->script : NULL;
}
static inline struct np_link *np_host_runs(neap_t *n)
{
    return &n->workers[0]->current->runs;
}
/* Loaded files that have not ended, on worker 0. */
size_t np_host_mains(const neap_t *n);

/* Loads a source on worker 0 and, when that went well, has the others load it too. The source is
 * the host's afterwards, or freed. NULL: out of memory. scripts.c */
NEAP_MUST_CHECK enum neap_err np_host_load(neap_t *n, struct np_source *src);

/* Calls what neap_post left. */
void np_host_run_posts(neap_t *n);

/* run.c: what a stop asks for, on worker 0's thread. */
void np_host_stop(neap_t *n, enum np_stop_request how);
/* A worker's stop is through; from worker 0's loop. */
void np_host_worker_stopped(neap_t *n, struct np_worker *w);
/* … or has not come to be in time. */
void np_host_stop_overdue(struct np_timer *t);
/* A main chunk failed after the load: ends neap_run. On worker 0's thread. */
void np_host_fail_late(neap_t *n, enum neap_err err, const char *message);
/* Wakes worker 0 to look at the requests. Any thread, signal handlers. */
void np_host_wake(neap_t *n);

/* replace.c: what the watchdog calls when a script is stuck where no hook reaches. */
void np_host_on_stuck(unsigned worker, const char *what, void *host);
void np_host_forget_suspects(neap_t *n);
void np_host_forget_deposed(neap_t *n);
/* A script state has no memory left, whatever is collected. Its worker's thread. */
void np_host_on_exhausted(struct np_script *s);

/* worker_ops.c: what scripts ask of their host. */
extern const struct np_runtime_ops np_host_runtime_ops;

/* Before a host ends: the C side's subscriptions and pickers. */
void np_host_end_subscriptions(neap_t *n);
void np_host_end_pickers(neap_t *n);

#endif
