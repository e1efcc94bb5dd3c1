/* Loading scripts and calling their functions, for C. */
#include "host/host.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/native.h"
#include "script/run.h"

/* --- loading */

/* What stands below the script's own frames says nothing to its author. */
static void trim_traceback(char *text)
{
    static const char tail[] = "\n\t[C]: in ?";
    size_t n = text ? strlen(text) : 0;
    while (n >= sizeof tail - 1 && strcmp(text + n - (sizeof tail - 1), tail) == 0) {
        n -= sizeof tail - 1;
        text[n] = '\0';
    }
}

static void keep_failure(neap_t *n, const struct np_run_end *end)
{
    char *trace = end->traceback ? np_strdup(end->traceback) : NULL;
    trim_traceback(trace);
    np_host_set_error(n, end->message, trace);
    np_free(trace);
    n->load_err = end->err;
}

/* A loaded file failed after its first wait: nobody is there to be told but neap_run's caller. */
static void fail_late(neap_t *n, const struct np_run_end *end)
{
    keep_failure(n, end);
    if (!n->running) {
        np_logf(n->log, NP_LOG_ERROR, "%s", neap_error(n));
        return;
    }
    n->failed = true;
    np_loop_stop(&n->worker.loop);
}

static void on_main_end(struct np_run *r, const struct np_run_end *end)
{
    neap_t *n = r->arg;
    n->mains--;
    if (end->err == NEAP_OK || n->closing) return;
    if (n->loading) {
        keep_failure(n, end);
    } else if (n->stopped || np_shutting_down(&r->script->shutdown)) {
        return; /* it was cancelled by the stop, or fell over what the stop took away */
    } else {
        fail_late(n, end);
    }
}

static enum neap_err add_args(neap_t *n, struct np_run *r)
{
    size_t count = n->options.nargs;
    if (count == 0 || r->kind != NP_RUN_FILE) return NEAP_OK;
    neap_value *args = np_calloc(count, sizeof *args);
    if (!args) return NEAP_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        args[i] = neap_string(n->options.args[i]);
    }
    enum neap_err err = np_run_set_args(r, args, count);
    np_free(args);
    return err;
}

static enum neap_err load(neap_t *n, enum np_run_kind kind, const char *name, const char *code,
                          size_t len)
{
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    struct np_run *r = np_run_new(n->worker.script, kind, name, code, len);
    if (!r) return np_host_fail(n, NEAP_ENOMEM, NULL);
    r->fn = on_main_end;
    r->arg = n;
    err = add_args(n, r);
    if (err) {
        np_run_free(r);
        return np_host_fail(n, err, NULL);
    }
    np_loop_update_time(&n->worker.loop);
    bool outer = n->loading;
    n->loading = true;
    n->load_err = NEAP_OK;
    n->mains++;
    err = np_run_start(r, &n->runs, false);
    n->loading = outer;
    if (err) {
        n->mains--;
        return np_host_fail(n, err, NULL);
    }
    return n->load_err;
}

enum neap_err neap_load_file(neap_t *n, const char *path)
{
    if (!path || !path[0]) return np_host_fail(n, NEAP_EINVAL, "no file given");
    return load(n, NP_RUN_FILE, path, NULL, 0);
}

enum neap_err neap_load_string(neap_t *n, const char *code, size_t len, const char *name)
{
    char chunk[256];
    if (!code || !name) return np_host_fail(n, NEAP_EINVAL, "no code given");
    bool plain = name[0] != '=' && name[0] != '@';
    snprintf(chunk, sizeof chunk, "%s%s", plain ? "=" : "", name);
    return load(n, NP_RUN_TEXT, chunk, code, len);
}

enum neap_err neap_export(neap_t *n, const char *name, neap_function fn, void *user)
{
    enum neap_err err = np_native_add(&n->runtime, name, fn, user);
    return err ? np_host_fail(n, err, "cannot export '%s'", name ? name : "") : NEAP_OK;
}

neap_t *neap_call_host(const neap_call *call)
{
    return call->runtime ? np_host_of(call->runtime) : NULL;
}

/* --- calling */

struct host_call { /* in the run's arena */
    neap_t *host;
    neap_result_fn fn;
    void *user;
    struct now *now; /* on the stack of neap_call_now while that runs */
};

struct now {
    bool ended;
    enum neap_err err;
};

static void on_call_end(struct np_run *r, const struct np_run_end *end)
{
    struct host_call *c = r->arg;
    if (c->now) {
        c->now->ended = true;
        c->now->err = end->err;
        if (end->err) np_host_set_error(c->host, end->message, end->traceback);
    }
    neap_result result = {end->err, end->message, end->values, end->count};
    if (c->fn) c->fn(c->host, &result, c->user);
}

static enum neap_err prepare_call(neap_t *n, const char *path, const neap_value *args, size_t nargs,
                                  const struct host_call *how, struct np_run **out)
{
    if (!path || !path[0]) return np_host_fail(n, NEAP_EINVAL, "no function named");
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    struct np_run *r = np_run_new(n->worker.script, NP_RUN_FUNCTION, path, NULL, 0);
    if (!r) return np_host_fail(n, NEAP_ENOMEM, NULL);
    struct host_call *c = np_arena_alloc(&r->arena, sizeof *c);
    err = c ? np_run_set_args(r, args, nargs) : NEAP_ENOMEM;
    if (err) {
        np_run_free(r);
        return np_host_fail(n, err, "cannot pass the arguments of '%s'", path);
    }
    *c = *how;
    r->fn = on_call_end;
    r->arg = c;
    *out = r;
    return NEAP_OK;
}

enum neap_err neap_call_function(neap_t *n, const char *path, const neap_value *args, size_t nargs,
                                 neap_result_fn fn, void *user)
{
    struct np_run *r;
    struct host_call how = {n, fn, user, NULL};
    enum neap_err err = prepare_call(n, path, args, nargs, &how, &r);
    if (err) return err;
    err = np_run_start(r, &n->runs, true);
    return err ? np_host_fail(n, err, NULL) : NEAP_OK;
}

enum neap_err neap_call_now(neap_t *n, const char *path, const neap_value *args, size_t nargs,
                            neap_result_fn fn, void *user)
{
    struct np_run *r;
    struct now now = {false, NEAP_OK};
    struct host_call how = {n, fn, user, &now};
    if (n->started && n->worker.script && n->worker.script->sched.current) {
        return np_host_fail(n, NEAP_EBUSY, "a script is running");
    }
    enum neap_err err = prepare_call(n, path, args, nargs, &how, &r);
    if (err) return err;
    struct host_call *c = r->arg;
    err = np_run_start(r, &n->runs, false);
    if (err) return np_host_fail(n, err, NULL);
    if (now.ended) return now.err;
    c->now = NULL;
    c->fn = NULL;
    np_task_cancel(r->task, NEAP_ECANCELED);
    return np_host_fail(n, NEAP_EAGAIN, "'%s' would wait", path);
}
