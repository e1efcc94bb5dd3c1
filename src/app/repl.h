/* The REPL: reads lines, runs each as a task on the host's live loop. The main thread, but for what
 * the signal thread sets.
 *
 * libedit is never given the thread for long: the function it reads characters with runs the loop
 * until there is one. So there is one thread for editing, completing and running, and all is done
 * outside of the loop's callbacks.
 */
#ifndef NP_APP_REPL_H
#define NP_APP_REPL_H

#include <stdatomic.h>
#include <stdio.h>

#include "app/app.h"
#include "app/input.h"
#include "base/buf.h"
#include "host/host.h"
#include "host/signals.h"
#include "script/run.h"

#define NP_REPL_OUT_SIZE ((size_t)64 * 1024)

struct np_editor;

struct np_repl {
    neap_t *host;
    uv_loop_t *uv;
    uv_async_t wake; /* keeps the loop alive */
    bool has_input;
    struct np_input input;
    struct np_signals signals;
    struct np_editor *editor; /* NULL: lines are read plainly */
    atomic_bool interrupted;  /* SIGINT came */
    atomic_bool quit;         /* SIGTERM came */
    bool editing;             /* a prompt and a line are on the screen */
    struct np_buf plain;      /* what was read and is no whole line yet */
    bool at_end;              /* of plain input */
    char prompt[16];
    struct np_buf log; /* lines of the log that are to be shown */
    uv_pipe_t log_pipe;
    bool has_log_pipe;
    char out_buf[NP_REPL_OUT_SIZE]; /* stdout's, on a terminal */
};

/* Runs the loop until standard input can be read; false: interrupted, or to end. */
bool np_repl_wait_input(struct np_repl *r);
/* Whether the REPL is to end, whatever is typed. */
bool np_repl_ending(const struct np_repl *r);
/* Shows what scripts and the log have written meanwhile, above the line that is being edited. */
void np_repl_show_output(struct np_repl *r);

/* Calls neap.repl.<name>(arg); `on_value` (may be NULL) gets its results one by one. False when it
 * does not end at once. Not while a line runs. */
typedef void (*np_repl_value_fn)(void *arg, size_t i, const neap_value *v);
bool np_repl_call(struct np_repl *r, const char *name, const char *text, size_t len,
                  np_repl_value_fn on_value, void *arg);

/* editor.c: libedit on a terminal. */
NEAP_MUST_CHECK enum neap_err np_editor_open(struct np_repl *r, struct np_editor **out);
void np_editor_close(struct np_editor *e); /* writes the history */
/* The next line, without its end, lent until the next call. NULL: the end, or interrupted (then
 * `*cleared` is true). */
const char *np_editor_read(struct np_editor *e, size_t *len, bool *cleared);
/* Takes the line from the screen; draws it again. */
void np_editor_hide(struct np_editor *e);
void np_editor_redraw(struct np_editor *e);

#endif
