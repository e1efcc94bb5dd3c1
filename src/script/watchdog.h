/* The watchdog: stops a script that keeps its worker from the loop.
 *
 * The scheduler notes in its worker's slot which coroutine runs (np_script resumes are the only
 * beats; plain stores, no clock is read). A thread of the watchdog's own looks at the slots a few
 * times within the shortest timeout; a slot whose beat has not moved for `timeout` gets a signal on
 * its worker's own thread, and the handler, if the beat is still the same, sets a count hook on the
 * running coroutines: the task's and those of the script's own that it resumed, the innermost
 * included. The hook raises an error that names the line (ETIMEDOUT) at every instruction until the
 * task's turn is over, so that no pcall swallows it. What no hook reaches (a C function, a
 * finaliser) is reported by name after another `timeout`, through `stuck`; after `hard_timeout` of
 * the same turn `hard` is called.
 *
 * The watchdog has a thread; a slot belongs to its worker's thread but for what is atomic.
 */
#ifndef NP_SCRIPT_WATCHDOG_H
#define NP_SCRIPT_WATCHDOG_H

#include <stdatomic.h>

#include <lua.h>
#include <pthread.h>

#include "base/err.h"
#include "base/log.h"

struct np_watchdog;
struct np_watch_slot;

struct np_watchdog_options {
    int64_t timeout;      /* ns of one turn of a task, default 1 s; 0: none is stopped */
    int64_t load_timeout; /* the same for turns of a main chunk while it loads, default 10 s */
    int64_t hard_timeout; /* ns; 0 (default): `hard` is never called */
    struct np_log *log;
    /* From the watchdog's thread, once a turn: the script is stuck where no hook reaches. `what`
     * says where: "string.find called at main.lua:12". */
    void (*stuck)(unsigned worker, const char *what, void *arg);
    /* From the watchdog's thread. NULL: it logs, and ends the process with code 70. */
    void (*hard)(unsigned worker, const char *what, void *arg);
    void *arg;
};

/* Starts the thread. */
NEAP_MUST_CHECK enum neap_err np_watchdog_new(const struct np_watchdog_options *opts,
                                              struct np_watchdog **out);
void np_watchdog_free(struct np_watchdog *w); /* all slots are gone; NULL is allowed */

/* From the worker's own thread, whose signal mask lets the watchdog's signal through from then on.
 */
NEAP_MUST_CHECK enum neap_err np_watchdog_add(struct np_watchdog *w, unsigned worker,
                                              struct np_watch_slot **out);
void np_watchdog_remove(struct np_watch_slot *slot);

/* Raises an error out of the turn that runs now, whatever its time: the REPL's Ctrl-C. Any thread.
 */
void np_watchdog_interrupt(struct np_watch_slot *slot);
/* When the slot's thread last began or ended a turn of a script, or was idle: how many turns so
 * far. For the supervisor's heartbeat. Any thread. */
unsigned long long np_watchdog_beats(const struct np_watch_slot *slot);
/* Whether a turn runs now. Any thread. */
bool np_watchdog_in_turn(const struct np_watch_slot *slot);

#endif
