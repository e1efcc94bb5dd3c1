/* An instance: a script state in a worker, from its load to its end.
 *
 *   LOADING ──► READY ──► CURRENT ──► RETIRING ──► freed
 *      └── failed or discarded ──────────────────────┘
 *
 * The first instance of a worker is not held and does its work while it loads; one that a reload
 * makes is held until the switch. It is READY when each source has been started and none of their
 * main chunks still runs, or the script said neap.ready(). The worker's thread.
 */
#ifndef NP_HOST_INSTANCE_H
#define NP_HOST_INSTANCE_H

#include "host/source.h"

struct np_worker;

struct np_instance {
    struct np_link link; /* in np_worker.retiring */
    struct np_worker *worker;
    struct np_script *script;
    struct np_share_user *share;
    struct np_link runs; /* of struct np_run */
    unsigned generation;
    size_t mains; /* loaded files whose main chunk has not ended */
    bool loading; /* inside np_instance_load: a failure is its result */
    bool said_ready;
    bool retiring;
    bool keep;         /* it stays when it has drained: the host stops */
    bool drained;      /* its shutdown is through */
    bool expired;      /* … but not all had drained in time */
    enum neap_err err; /* of the first failure while it loads */
    char *error;       /* in words */
    /* Called once, from the loop or inside np_instance_load or _await, when it is READY or has
     * failed. */
    void (*on_settled)(struct np_instance *i);
    void *order; /* of the reload that waits for it */
    struct np_defer gone;
};

NEAP_MUST_CHECK enum neap_err np_instance_new(struct np_worker *w, bool held,
                                              struct np_instance **out, struct neap_errinfo *info);
/* At once: tasks are cancelled, what is open is closed. Not from inside its own scripts. */
void np_instance_free(struct np_instance *i);

/* Runs a source until it ends or first waits. A failure until then is the result; its words are in
 * `i->error`. A later one, while it loads, settles the instance as failed; after that it ends the
 * host. */
NEAP_MUST_CHECK enum neap_err np_instance_load(struct np_instance *i, struct np_source *src);
bool np_instance_settled(const struct np_instance *i);
void np_instance_await(struct np_instance *i, void (*fn)(struct np_instance *i));
/* neap.ready() */
void np_instance_say_ready(struct np_instance *i);
/* Lets what is in flight end within `grace` ns; then it is freed, from the loop, and the worker is
 * told (np_worker_instance_gone). Again: only shortens the grace. */
void np_instance_retire(struct np_instance *i, int64_t grace);
/* The same, but it stays until np_instance_free. */
void np_instance_stop(struct np_instance *i, int64_t grace);

#endif
