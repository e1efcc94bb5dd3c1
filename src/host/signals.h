/* Signals: SIGINT and SIGTERM stop a host; a second one ends the process, even if a script is busy,
 * and so does the first when the stop is not through some seconds after its grace. SIGHUP reloads
 * it, SIGUSR1 opens its log file anew.
 *
 * They are listened for on a thread of its own (with a loop of its own), so that a script that
 * never yields can be interrupted all the same. SIGPIPE is ignored from then on.
 */
#ifndef NP_HOST_SIGNALS_H
#define NP_HOST_SIGNALS_H

#include <uv.h>

#include "base/err.h"

struct np_signal_thread;
struct np_signals {
    struct np_signal_thread *thread; /* NULL when not started */
};

NEAP_MUST_CHECK enum neap_err np_signals_start(struct np_signals *s, neap_t *n);
/* Not started: does nothing. The signals do what they did before. */
void np_signals_stop(struct np_signals *s);

/* The same for another purpose (the REPL's): each signal calls `fn`, on that thread. */
NEAP_MUST_CHECK enum neap_err np_signals_start_fn(struct np_signals *s,
                                                  void (*fn)(int signum, void *arg), void *arg);

#endif
