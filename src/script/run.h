/* Runs: tasks that C starts in a script state and whose end it wants to hear of.
 *
 * Compiling, looking up, converting: all that may raise happens inside the task, so no entry into
 * Lua here is unprotected. The worker's thread.
 */
#ifndef NP_SCRIPT_RUN_H
#define NP_SCRIPT_RUN_H

#include "base/arena.h"
#include "script/state.h"

struct np_run;

/* How a run ended; lent to the callback. */
struct np_run_end {
    enum neap_err err;        /* NEAP_OK, or the code of the error: NEAP_ESCRIPT … */
    const char *message;      /* of a failure */
    const char *traceback;    /* NULL where there is none, or an error object or a syntax error says
                                 all    there is to say in its message */
    const neap_value *values; /* what it returned, if that was asked for */
    size_t count;
};
/* Called exactly once, unless np_run_start failed. A run that the end of its state cuts off ends
 * with NEAP_ECANCELED. */
typedef void (*np_run_fn)(struct np_run *r, const struct np_run_end *end);

enum np_run_kind { NP_RUN_FILE, NP_RUN_TEXT, NP_RUN_FUNCTION };

struct np_run {
    struct np_link link; /* in the owner's list of runs */
    struct np_script *script;
    struct np_task *task; /* NULL once it has ended */
    enum np_run_kind kind;
    bool want_values; /* what it returns is kept; set for functions */
    bool entered;     /* compiled, or found; what follows is the script's own */
    char *name;       /* file, chunk name, or path of the function */
    const char *code; /* of a text */
    size_t code_len;
    struct np_arena arena; /* arguments and results */
    neap_value *args;
    size_t nargs;
    neap_value *values;
    size_t count;
    np_run_fn fn;
    void *arg; /* the caller's */
};

/* Prepares a run; `name` is copied, and `code` of a text. NULL when out of memory. */
struct np_run *np_run_new(struct np_script *s, enum np_run_kind kind, const char *name,
                          const char *code, size_t code_len);
/* Copies the arguments. NEAP_ENOMEM, NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_run_set_args(struct np_run *r, const neap_value *args, size_t n);
/* Starts it; `runs` is the owner's list. Unless `later` is true or a script is running now, it runs
 * until it ends or waits before this returns, and `fn` may be called. Frees `r` when it fails
 * (NEAP_ENOMEM); else it is freed after `fn` was called. */
NEAP_MUST_CHECK enum neap_err np_run_start(struct np_run *r, struct np_link *runs, bool later);
/* Never started. */
void np_run_free(struct np_run *r);
/* After np_script_free: ends what is left, with NEAP_ECANCELED. */
void np_run_cut_off(struct np_link *runs);

#endif
