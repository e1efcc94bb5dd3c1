/* A pool thread's Lua state. Private to threads.c; the thread's own. */
#ifndef NP_SCRIPT_THREAD_STATE_H
#define NP_SCRIPT_THREAD_STATE_H

#include "script/threads.h"

struct np_thread_state;

/* Runs the job; results, or what failed, are in the job afterwards. `*state` is made if need be,
 * and is NULL when it had to go. `quit`: stops it as well as j->stop. */
void np_thread_state_run(struct np_thread_state **state, const struct np_threads_options *opts,
                         const atomic_bool *quit, struct np_job *j);
void np_thread_state_free(struct np_thread_state *t); /* NULL is allowed */

#endif
