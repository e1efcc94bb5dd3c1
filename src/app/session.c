/* A session: the host that a command works with, made as the options say, and how it ends. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/service.h"
#include "base/alloc.h"
#include "host/host.h"
#include "net/netpolicy.h"
#include "script/run.h"

/* Run first in each session: the global `arg` as the standalone lua has it, an os.exit that does
 * not lose log lines, and at a prompt a print that lets the REPL choose the moment. Arguments:
 * whether interactive, whether in a sandbox, program, command, script or nil, then the script's
 * own. */
static const char start[] =
    "local interactive, sandbox, program, command, script = ...\n"
    "arg = { [-2] = program, [-1] = command, [0] = script, select(6, ...) }\n"
    "if not sandbox then os.exit = require 'neap.core.runtime'.exit end\n"
    "if interactive then print = require 'neap.repl.print'.print end\n";
#define START_ARGS 5

#define SCRIPT_TIMEOUT 1.0 /* seconds, of a service */
#define MAX_COUNT 1024     /* of workers, and of threads */

bool np_app_parse_seconds(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0 && *out < 1e9;
}

static bool parse_count(const char *text, unsigned *out)
{
    char *end;
    if (strcmp(text, "auto") == 0) {
        *out = uv_available_parallelism();
        return true;
    }
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || n < 1 || n > MAX_COUNT) return false;
    *out = (unsigned)n;
    return true;
}

static int read_worker_options(struct np_app *app, neap_options *o)
{
    if (app->workers && !parse_count(app->workers, &o->workers)) {
        return np_app_complain(NP_EXIT_USAGE, "--workers: not 1 to %d, or auto: '%s'", MAX_COUNT,
                               app->workers);
    }
    if (app->threads && !parse_count(app->threads, &o->threads)) {
        return np_app_complain(NP_EXIT_USAGE, "--threads: not 1 to %d, or auto: '%s'", MAX_COUNT,
                               app->threads);
    }
    o->hand_out = app->hand_out;
    return 0;
}

bool np_app_parse_bytes(const char *text, size_t *out)
{
    static const char units[] = "kmg";
    char *end;
    double n = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        n *= 1024;
    if (unit) end++;
    if (end == text || *end || !(n >= 1 && n < 1e18)) return false;
    *out = (size_t)n;
    return true;
}

static bool is_service(const struct np_app *app)
{
    return strcmp(app->command, "run") == 0 && !app->interactive;
}

static int read_seconds(const char *option, const char *text, double *out)
{
    if (!text || np_app_parse_seconds(text, out)) return 0;
    return np_app_complain(NP_EXIT_USAGE, "%s: not a number of seconds: '%s'", option, text);
}

/* What keeps scripts from harm. Only a service has bounds that nobody asked for: at a prompt, and
 * in a test, it may be meant that something takes long. */
static int read_script_options(struct np_app *app, neap_options *o)
{
    o->script_timeout = is_service(app) ? SCRIPT_TIMEOUT : 0;
    int wrong = read_seconds("--script-timeout", app->script_timeout, &o->script_timeout);
    if (!wrong) wrong = read_seconds("--load-timeout", app->load_timeout, &o->script_load_timeout);
    if (!wrong)
        wrong = read_seconds("--script-hard-timeout", app->hard_timeout, &o->script_hard_timeout);
    if (wrong) return wrong;
    if (!app->script_memory || np_app_parse_bytes(app->script_memory, &o->memory_limit)) return 0;
    return np_app_complain(NP_EXIT_USAGE, "--script-memory: not a number of bytes: '%s'",
                           app->script_memory);
}

static int read_sandbox_options(struct np_app *app, neap_options *o)
{
    struct np_netpolicy *policy;
    struct neap_errinfo info = {0};
    o->sandbox = app->sandbox;
    o->allow_net = app->allow_net;
    if (app->sandbox && app->interactive)
        return np_app_complain(NP_EXIT_USAGE, "run: there is no REPL in a sandbox");
    if (!app->allow_net) return 0;
    if (np_netpolicy_new(app->allow_net, false, &policy, &info)) /* for the words */
        return np_app_complain(NP_EXIT_USAGE, "--allow-net: %s", info.message);
    np_netpolicy_free(policy);
    return 0;
}

static int read_host_options(struct np_app *app, neap_options *o)
{
    enum np_log_level level;
    if (app->log_level && !np_log_level_parse(app->log_level, &level)) {
        return np_app_complain(NP_EXIT_USAGE,
                               "unknown log level '%s' (trace, debug, info, warn, error, off)",
                               app->log_level);
    }
    o->log_level = app->log_level;
    const char *format = app->log_format ? app->log_format : "auto";
    if (strcmp(format, "text") == 0) {
        o->log_format = NEAP_LOG_TEXT;
    } else if (strcmp(format, "json") == 0) {
        o->log_format = NEAP_LOG_JSON;
    } else if (strcmp(format, "auto") != 0) {
        return np_app_complain(NP_EXIT_USAGE, "unknown log format '%s' (text, json, auto)", format);
    }
    if (app->drain_timeout && !np_app_parse_seconds(app->drain_timeout, &o->drain_timeout)) {
        return np_app_complain(NP_EXIT_USAGE, "--drain-timeout: not a number of seconds: '%s'",
                               app->drain_timeout);
    }
    if (app->drain_timeout && o->drain_timeout == 0) o->drain_timeout = 1e-9; /* 0 means default */
    int wrong = read_worker_options(app, o);
    if (!wrong) wrong = read_script_options(app, o);
    if (!wrong) wrong = read_sandbox_options(app, o);
    if (wrong) return wrong;
    o->lua_path = getenv("NEAP_LUA_PATH");
    if (o->lua_path && !o->lua_path[0]) o->lua_path = NULL;
    return 0;
}

static enum neap_err run_start(struct np_app *app, const char *script, int first, neap_t *n)
{
    size_t count = START_ARGS + (size_t)(app->argc - first);
    neap_value *args = np_calloc(count, sizeof *args);
    if (!args) return np_host_fail(n, NEAP_ENOMEM, NULL);
    args[0] = neap_boolean(app->interactive);
    args[1] = neap_boolean(app->sandbox);
    args[2] = neap_string(app->program);
    args[3] = neap_string(app->command);
    args[4] = neap_string(script);
    for (size_t i = START_ARGS; i < count; i++) {
        args[i] = neap_string(app->argv[first + (int)i - START_ARGS]);
    }
    enum neap_err err =
        np_host_load(n, np_source_new(NP_RUN_TEXT, "=neap", start, sizeof start - 1, args, count));
    np_free(args);
    return err;
}

/* At a prompt the log is shown by the REPL; see repl.c. */
static void set_log_pipe(struct np_app *app, neap_options *o)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || pipe(app->log_pipe) != 0) return;
    fcntl(app->log_pipe[0], F_SETFD, FD_CLOEXEC);
    fcntl(app->log_pipe[1], F_SETFD, FD_CLOEXEC);
    o->log_fd = app->log_pipe[1];
    if (o->log_format == NEAP_LOG_AUTO) o->log_format = NEAP_LOG_TEXT;
}

int np_app_open(struct np_app *app, const char *script, int first, neap_t **out)
{
    neap_options o = NEAP_OPTIONS_INIT;
    int code = read_host_options(app, &o);
    if (code) return code;
    o.handle_signals = !app->interactive; /* the REPL has its own way */
    o.args = (const char *const *)(app->argv + first);
    o.nargs = (size_t)(app->argc - first);
    if (app->interactive) set_log_pipe(app, &o);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* a service's print is seen at once, in a pipe too */
    if (is_service(app)) code = np_service_new(app, &o, &app->service);
    if (code) return code;
    neap_t *n;
    enum neap_err err = neap_open(&o, &n);
    if (err) {
        code = np_app_complain(NP_EXIT_FAILURE, "cannot start: %s", neap_err_text(err));
        return np_service_end(app->service, code);
    }
    n->interruptible = app->interactive; /* by Ctrl-C */
    if (app->service) code = np_service_start(app->service, n, script);
    if (!code && run_start(app, script, first, n) != NEAP_OK) code = np_app_complain_host(n);
    if (code) return np_app_give_up(app, n, code);
    *out = n;
    return 0;
}

int np_app_give_up(struct np_app *app, neap_t *n, int code)
{
    np_service_leave(app->service);
    neap_close(n);
    code = np_service_end(app->service, code);
    app->service = NULL;
    return code;
}

/* A script that had something to drain ended well when it drained; any other was broken off. */
static int code_of_signal(neap_t *n)
{
    int signum = atomic_load(&n->signal);
    return signum && !atomic_load(&n->had_drains) ? 128 + signum : 0;
}

int np_app_finish(struct np_app *app, neap_t *n)
{
    int code;
    if (neap_run(n) != NEAP_OK) {
        code = np_app_complain_host(n);
    } else if (np_host_mains(n) > 0 && !n->stopped) {
        code = np_app_complain(NP_EXIT_FAILURE,
                               "the script waits for something that cannot come any more");
    } else {
        code = code_of_signal(n);
        if (!code) code = atomic_load(&n->runtime.exit_code);
    }
    fflush(stdout);
    return np_app_give_up(app, n, code);
}
