/* The command line: `neap <command> [options] …`. One session (a host with what the options say) a
 * process. The main thread.
 */
#ifndef NP_APP_APP_H
#define NP_APP_APP_H

#include "base/err.h"

#define NP_EXIT_FAILURE 1
#define NP_EXIT_USAGE 2

/* What `neap cert` was told. */
struct np_cert_args {
    const char *out;
    const char *ca;
    const char *name;
    const char *organization;
    const char *days;
    const char *key;
    const char *spiffe;
    const char *p12;
    bool force;
    bool mutual;
    bool revoke;
};

/* What `neap sim` was told. */
struct np_sim_args {
    const char *svg;
    const char *seed;
    const char *requests;
    const char *duration;
    const char *policy;
    bool json;
    bool markdown;
};

/* What the options said; strings are argv's. */
struct np_app {
    const char *program; /* argv[0] */
    const char *command; /* "run" */
    const char *log_level;
    const char *log_format;
    const char *drain_timeout;
    const char *script_timeout;
    const char *load_timeout;
    const char *hard_timeout;
    const char *script_memory;
    const char *workers;
    const char *threads;
    bool hand_out;
    bool sandbox;
    const char *allow_net;
    const char *pid_file;
    const char *user;
    const char *group;
    const char *directory;
    const char *log_file;
    bool watch;
    struct np_service *service; /* of `run`; or NULL */
    const char *load;           /* repl: a file to load first */
    const char *timeout;        /* test: seconds for each test */
    bool interactive;           /* run: a REPL after the file */
    bool no_leak_check;         /* test */
    struct np_cert_args cert;
    struct np_sim_args sim;
    bool help;
    int argc; /* what stands after the options */
    char **argv;
    int log_pipe[2]; /* of an interactive session: what the log writes to, else 0 */
};

struct np_option {
    const char *name;  /* "--log-level"; NULL ends the list */
    const char *brief; /* "-i" or NULL */
    const char *value; /* "LEVEL", or NULL for a flag */
    const char *text;
    size_t offset; /* in np_app: const char *, or bool for a flag */
};

struct np_command {
    const char *name;
    const char *usage;
    const char *summary;
    const char *details; /* or NULL */
    const struct np_option *options;
    bool passes_unknown; /* options it does not know go on to what it runs */
    int (*run)(struct np_app *app);
};

/* The table; a NULL name ends it. */
extern const struct np_command np_commands[];

int np_app_main(int argc, char **argv);

/* One line on standard error, "neap: …"; returns `code`. */
int np_app_complain(int code, const char *fmt, ...) NEAP_PRINTF(2, 3);
/* The same with what neap_error says. */
int np_app_complain_host(neap_t *n);

/* A number of seconds from 0; false for other text. */
bool np_app_parse_seconds(const char *text, double *out);

/* A number of bytes, as "512m" (k, m, g: times 1024 and so on); false for other text and for 0. */
bool np_app_parse_bytes(const char *text, size_t *out);

/* session.c: opens a host as the options say; 0, or the exit code after a complaint. `script` is
 * arg[0] (NULL: none), what stands in app->argv from `first` on its arguments. */
int np_app_open(struct np_app *app, const char *script, int first, neap_t **out);
/* Runs the loop until it ends, closes the host; the exit code. */
int np_app_finish(struct np_app *app, neap_t *n);
/* Closes a host that did not come to run. */
int np_app_give_up(struct np_app *app, neap_t *n, int code);

int np_cmd_run(struct np_app *app);
int np_cmd_eval(struct np_app *app);
int np_cmd_repl(struct np_app *app);
int np_cmd_test(struct np_app *app);
int np_cmd_cert(struct np_app *app);
int np_cmd_sim(struct np_app *app);

/* repl.c: reads lines until their end and closes the host; the exit code. */
int np_repl(struct np_app *app, neap_t *n);

#endif
