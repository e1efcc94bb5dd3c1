/* A host: a registry, a bus, a logger and the worker that runs the scripts. The inside of neap_t.
 *
 * Made in two steps: neap_open makes what needs no loop; the worker is made at its first use, on a
 * loop of its own or on the one that neap_attach gave. All fields belong to the worker's thread,
 * but for those that say otherwise.
 */
#ifndef NP_HOST_HOST_H
#define NP_HOST_HOST_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/mpsc.h"
#include "host/leases.h"
#include "host/signals.h"
#include "mesh/upstream.h"
#include "script/runtime.h"
#include "script/state.h"

struct np_bus;

/* A thread's share of a host. There is one so far. */
struct np_worker {
    neap_t *host;
    struct np_loop loop;
    struct np_script *script;
    uv_async_t wake; /* any thread may send it */
    struct np_mpsc posts;
};

enum np_stop_request { NP_STOP_NONE, NP_STOP_DRAIN, NP_STOP_NOW };

struct neap {
    struct np_runtime runtime; /* what scripts see of it; np_script.host */
    neap_options options; /* as neap_open was given them; what they point to stands in strings */
    struct np_arena strings;
    struct np_log *log;
    struct np_registry *registry;
    struct np_bus *bus;
    struct np_leases leases;
    struct np_signals signals;
    struct np_worker worker;
    bool started;       /* the worker is there */
    bool attached;      /* on a program's loop */
    bool running;       /* inside neap_run */
    bool stopped;       /* a stop is through */
    bool closing;       /* neap_close was called */
    bool had_drains;    /* something had to be drained when the stop began */
    bool drain_expired; /* not all had drained in time */
    bool failed;        /* a loaded file failed after it had first waited */
    bool loading;       /* inside neap_load_*: a failure is its result */
    enum neap_err load_err;
    size_t mains;               /* loaded files that have not ended */
    atomic_int stop_request;    /* enum np_stop_request; any thread */
    atomic_bool can_wake;       /* `wake` is open; any thread */
    atomic_int signal;          /* the signal that stopped it, 0 none; any thread */
    struct np_link runs;        /* of struct np_run */
    struct np_link subscribers; /* of neap_subscription */
    struct np_link upstreams;   /* of struct picker, see services.c */
    char *error;                /* of the last call; NULL: none */
    void (*closed)(void *user);
    void *closed_user;
};

/* Makes the worker, on `uv` or on a loop of its own, unless it is there. */
NEAP_MUST_CHECK enum neap_err np_host_start(neap_t *n, uv_loop_t *uv);

/* Keeps the words for neap_error and returns `err`. `fmt` NULL: the code's own. */
enum neap_err np_host_fail(neap_t *n, enum neap_err err, const char *fmt, ...) NEAP_PRINTF(3, 4);
void np_host_set_error(neap_t *n, const char *message, const char *detail);
static inline neap_t *np_host_of(struct np_runtime *rt)
{
    return np_container_of(rt, neap_t, runtime);
}

/* worker.c */
NEAP_MUST_CHECK enum neap_err np_worker_open(struct np_worker *w, neap_t *n, uv_loop_t *uv);
/* Closes what stands on the loop; `closed` is called when all handles are gone (inside this, on a
 * loop of its own). */
void np_worker_close(struct np_worker *w, void (*closed)(void *arg), void *arg);

/* Calls what neap_post left. */
void np_worker_run_posts(struct np_worker *w);

/* What a stop asks for, on the worker's thread. */
void np_host_stop(neap_t *n, enum np_stop_request how);

/* Before np_script_free: ends subscriptions and pickers, the C side's. */
void np_host_end_subscriptions(neap_t *n);
void np_host_end_pickers(neap_t *n);

#endif
