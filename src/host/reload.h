/* Reloading: every worker loads the sources into a new, held state; when all have, all switch; if
 * one fails, or takes longer than the load timeout, none does, and the old code serves on.
 *
 * The first load is settled the same way: when all workers have loaded the host is ready. Worker
 * 0's thread.
 */
#ifndef NP_HOST_RELOAD_H
#define NP_HOST_RELOAD_H

#include "host/source.h"
#include "net/timer.h"

struct np_worker;

enum np_reload_phase { NP_RELOAD_IDLE, NP_RELOAD_STARTING, NP_RELOAD_LOADING, NP_RELOAD_SWITCHING };

/* Somebody who wants to hear how it went. */
struct np_reload_wait {
    struct np_link link;
    void (*fn)(struct np_reload_wait *w, enum neap_err err, const char *message);
};

struct np_reload {
    neap_t *host;
    enum np_reload_phase phase;
    unsigned serial; /* tells late answers from those that are waited for */
    int only;        /* the worker that is renewed, or -1: all */
    unsigned left;   /* answers to come */
    bool again;      /* asked for meanwhile */
    enum neap_err err;
    char *error;
    int64_t begun;
    struct np_timer timer;
    struct np_link waits; /* of struct np_reload_wait */
    struct np_link later; /* those for the next one */
};

void np_reload_init(struct np_reload *r, neap_t *n);
/* Tells who waits: ECANCELED. */
void np_reload_fini(struct np_reload *r);
/* Waits for the first load of all workers, then calls on_ready. */
void np_reload_first(neap_t *n);
/* Starts one, or notes that another is wanted when one is under way. `wait` (may be NULL) is called
 * once, from worker 0's loop. */
void np_reload_start(neap_t *n, struct np_reload_wait *wait);
/* The host stops: a round that has not come to the switch fails, and none begins any more. */
void np_reload_stop(neap_t *n);
/* An instance ends that a round waits for. */
void np_reload_forget(void *order);
/* Renews one worker's state only: it cannot be used any more, for the reason given. */
void np_reload_renew(neap_t *n, unsigned worker, const char *why);

#endif
