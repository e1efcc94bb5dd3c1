/* Threads for what takes long to compute ("neap.thread"): a pool of Lua states, each on a thread of
 * its own, off every loop.
 *
 * A job carries a function, as bytecode or by name, and plain values; it runs in one of the states
 * from beginning to end, and its results, plain values as well, come back to its loop. The threads
 * are started when jobs wait and none is free. A state has the standard libraries and those modules
 * of neap's that need no loop; it is kept for later jobs, unless one left it short of memory or had
 * to be stopped. The pool: any thread. A job: its loop's thread, but while it is in the pool.
 */
#ifndef NP_SCRIPT_THREADS_H
#define NP_SCRIPT_THREADS_H

#include <stdatomic.h>

#include "base/arena.h"
#include "net/loop.h"

struct np_threads;
struct np_runtime;

struct np_threads_options {
    unsigned max_threads;       /* default: one for each core */
    size_t max_queue;           /* jobs that wait, default 1024 */
    size_t memory_limit;        /* of each state, bytes, default 512 MiB */
    const char *lua_path;       /* as np_script_options; lives as long as the pool */
    struct np_runtime *runtime; /* whose shared maps the states see; or NULL */
    struct np_log *log;
    bool sandbox;
};

enum np_job_kind {
    NP_JOB_BYTECODE,
    NP_JOB_FILE, /* a file, called with the arguments */
    NP_JOB_NAME  /* "module:function" */
};

struct np_job {
    struct np_post post;
    struct np_link link;
    struct np_threads *pool;
    struct np_loop *loop;
    enum np_job_kind kind;
    const char *code; /* bytecode, file or name; in the arena */
    size_t len;
    const char *base;      /* of a script in a sandbox: where its files are; or NULL */
    struct np_arena arena; /* arguments, then results too */
    neap_value *args;
    size_t nargs;
    neap_value *results;
    size_t nresults;
    enum neap_err err; /* ESCRIPT, ENOMEM, ECANCELED, ECLOSED */
    const char *message;
    atomic_bool stop; /* nobody wants the results; any thread */
    /* From its loop, once, unless np_threads_run failed. The job is the callee's again. */
    void (*done)(struct np_job *j);
    void *user; /* the owner's */
};

/* `opts` may be NULL. */
NEAP_MUST_CHECK enum neap_err np_threads_new(const struct np_threads_options *opts,
                                             struct np_threads **out);
/* Takes no more jobs; tells those that run to stop and gives back those that wait. Waits for the
 * threads, for at most a second: one that is in a C function that does not return is left behind,
 * and gives nothing back any more: false, and what `opts` names must stay. Before the loops end. */
bool np_threads_stop(struct np_threads *t);
void np_threads_free(struct np_threads *t); /* stops it first, if need be; NULL is allowed */

/* Zeroed but for loop and done. */
struct np_job *np_job_new(struct np_loop *loop, void (*done)(struct np_job *j));
void np_job_free(struct np_job *j);
/* NEAP_ELIMIT: too many wait. NEAP_ECLOSED. NEAP_ENOMEM. Then `done` is not called. */
NEAP_MUST_CHECK enum neap_err np_threads_run(struct np_threads *t, struct np_job *j);

#endif
