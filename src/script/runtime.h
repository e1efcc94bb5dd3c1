/* The runtime: what scripts may ask of and tell the host they run in ("neap.core.runtime").
 *
 * A host embeds this and gives it to its script states as np_script_options.host; a state without a
 * host (a unit test's) has NULL there, and stopping does nothing. The worker's thread.
 */
#ifndef NP_SCRIPT_RUNTIME_H
#define NP_SCRIPT_RUNTIME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "net/loop.h"

struct np_append_set;
struct np_commons;
struct np_native;
struct np_onces;
struct np_script;
struct np_shared_maps;
struct np_threads;

/* A task's wish for a reload. Made by who asks, who sets `loop` and `done`; `done` is called
 * exactly once, from that loop or, when the host closes, from wherever it closes. */
struct np_reload_request {
    struct np_post post;
    struct np_loop *loop;
    enum neap_err err;
    char message[240]; /* of a failure */
    void (*done)(struct np_reload_request *r);
};

#define NP_ALL_WORKERS (-1)

struct np_runtime;

/* What scripts ask of their host; from any worker's thread. */
struct np_runtime_ops {
    void (*reload)(struct np_runtime *rt, struct np_reload_request *r);
    /* neap.ready(): the script is loaded, though its main chunk goes on. */
    void (*ready)(struct np_script *s);
    /* Sends a plain value to one worker, or to all but the sender. It is copied, and handed to
     * np_script.on_mail of the state that then does the work there. NEAP_ENOTFOUND: no such worker;
     * NEAP_ELIMIT: too much is on its way to one, or to some. */
    enum neap_err (*send)(struct np_script *from, int to, const neap_value *v);
};

struct np_runtime {
    atomic_int exit_code; /* of the program, where the script set one; any thread */
    /* Stops the host: at once, or by a drain. NULL: cannot be stopped. */
    void (*stop)(struct np_runtime *rt, bool now);
    /* The first native call is outstanding, or none is any more: the loop is to live on for it, or
     * need not. NULL: nobody minds. */
    void (*hold)(struct np_runtime *rt, bool on);
    struct np_loop *first; /* worker 0's, where natives run; NULL: the state's own */
    size_t outstanding;    /* native calls that tasks wait for; worker 0's */
    struct np_link calls;  /* of neap_call: those that C has not finished; worker 0's */
    bool natives_closed;   /* the host is closing: no native is called any more; worker 0's */
    /* C functions that scripts may call: see native.h. Worker 0 adds at the front; any thread may
     * read it. */
    _Atomic(struct np_native *) natives;
    struct np_shared_maps *shared; /* "neap.shared": the host's, any thread; NULL: there is none */
    struct np_threads
        *threads; /* "neap.thread": the host's pool, any thread; NULL: there is none */
    struct np_append_set *appends; /* access logs: the host's, any thread; NULL: there are none */
    struct np_commons *commons;    /* rules by name: the host's, any thread; NULL: there are none */
    struct np_onces *onces; /* "neap.worker".once: the host's, any thread; NULL: there is none */
    const struct np_runtime_ops *ops; /* NULL where a test made the state */
    unsigned workers;                 /* how many there are; at least 1 */
};

void np_runtime_init(struct np_runtime *rt);

#endif
