/* Loading scripts and calling their functions, for C. */
#include "host/host.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "script/native.h"
#include "script/run.h"

#define READ_SIZE ((size_t)64 * 1024)

/* --- loading */

size_t np_host_mains(const neap_t *n)
{
    const struct np_instance *i = n->workers[0]->current;
    return i ? i->mains : 0;
}

static enum neap_err take_failure(neap_t *n, enum neap_err err)
{
    struct np_instance *i = n->workers[0]->current;
    if (i->error) {
        np_host_set_error(n, i->error, NULL);
    } else {
        np_host_fail(n, err, NULL);
    }
    np_free(i->error);
    i->error = NULL;
    i->err = NEAP_OK;
    return err;
}

enum neap_err np_host_load(neap_t *n, struct np_source *src)
{
    if (!src) return np_host_fail(n, NEAP_ENOMEM, NULL);
    enum neap_err err = np_host_start(n, NULL);
    if (err) goto fail;
    err = np_instance_load(n->workers[0]->current, src);
    if (err) {
        take_failure(n, err);
        goto fail;
    }
    err = np_workers_load(n, src);
    if (!err) err = np_sources_add(&n->sources, src);
    if (!err) return NEAP_OK;
    np_host_fail(n, err, NULL);
fail:
    np_source_unref(src);
    return err;
}

/* Standard input can be read once: what is loaded again is its text. */
static enum neap_err load_standard_input(neap_t *n, const neap_value *args)
{
    struct np_buf text;
    np_buf_init(&text);
    char *room;
    size_t got = 1;
    enum neap_err err = NEAP_OK;
    while (got > 0 && !err) {
        err = np_buf_reserve(&text, READ_SIZE, &room);
        if (err) break;
        got = fread(room, 1, READ_SIZE, stdin);
        np_buf_added(&text, got);
    }
    const char *code = np_buf_data(&text);
    size_t len = np_buf_len(&text);
    if (len > 0 && code[0] == '#') { /* a script's first line, as luaL_loadfile skips it */
        const char *end = memchr(code, '\n', len);
        size_t skip = end ? (size_t)(end - code) : len;
        code += skip;
        len -= skip;
    }
    if (!err) {
        struct np_source *src =
            np_source_new(NP_RUN_TEXT, "=stdin", len ? code : "", len, args, n->options.nargs);
        err = np_host_load(n, src);
    } else {
        np_host_fail(n, err, NULL);
    }
    np_buf_fini(&text);
    return err;
}

enum neap_err neap_load_file(neap_t *n, const char *path)
{
    size_t count = n->options.nargs;
    if (!path || !path[0]) return np_host_fail(n, NEAP_EINVAL, "no file given");
    neap_value *args = np_calloc(count + 1, sizeof *args);
    if (!args) return np_host_fail(n, NEAP_ENOMEM, NULL);
    for (size_t i = 0; i < count; i++) {
        args[i] = neap_string(n->options.args[i]);
    }
    enum neap_err err;
    if (strcmp(path, "-") == 0) {
        err = load_standard_input(n, args);
    } else {
        err = np_host_load(n, np_source_new(NP_RUN_FILE, path, NULL, 0, args, count));
    }
    np_free(args);
    return err;
}

enum neap_err neap_load_string(neap_t *n, const char *code, size_t len, const char *name)
{
    char chunk[256];
    if (!code || !name) return np_host_fail(n, NEAP_EINVAL, "no code given");
    bool plain = name[0] != '=' && name[0] != '@';
    snprintf(chunk, sizeof chunk, "%s%s", plain ? "=" : "", name);
    return np_host_load(n, np_source_new(NP_RUN_TEXT, chunk, code, len, NULL, 0));
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

struct host_call {         /* in the run's arena */
    struct np_drain drain; /* a stop, and a reload, let it end */
    neap_t *host;
    neap_result_fn fn;
    void *user;
    struct now *now; /* on the stack of neap_call_now while that runs */
};

struct now {
    bool ended;
    enum neap_err err;
};

static void on_drain(struct np_drain *d, int64_t grace)
{
    (void)d;
    (void)grace; /* it ends by itself, or with its state */
}

static void on_call_end(struct np_run *r, const struct np_run_end *end)
{
    struct host_call *c = r->arg;
    np_drain_remove(&c->drain);
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
    struct np_run *r = np_run_new(np_host_script(n), NP_RUN_FUNCTION, path, NULL, 0);
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
    struct host_call how = {.host = n, .fn = fn, .user = user};
    enum neap_err err = prepare_call(n, path, args, nargs, &how, &r);
    if (err) return err;
    struct host_call *c = r->arg;
    err = np_run_start(r, np_host_runs(n), true);
    if (err) return np_host_fail(n, err, NULL);
    c->drain.drain = on_drain;
    np_drain_add(&np_host_script(n)->shutdown, &c->drain);
    return NEAP_OK;
}

enum neap_err neap_call_now(neap_t *n, const char *path, const neap_value *args, size_t nargs,
                            neap_result_fn fn, void *user)
{
    struct np_run *r;
    struct now now = {false, NEAP_OK};
    struct host_call how = {.host = n, .fn = fn, .user = user, .now = &now};
    if (n->started && np_host_script(n) && np_host_script(n)->sched.current) {
        return np_host_fail(n, NEAP_EBUSY, "a script is running");
    }
    enum neap_err err = prepare_call(n, path, args, nargs, &how, &r);
    if (err) return err;
    struct host_call *c = r->arg;
    err = np_run_start(r, np_host_runs(n), false);
    if (err) return np_host_fail(n, err, NULL);
    if (now.ended) return now.err;
    c->now = NULL;
    c->fn = NULL;
    np_task_cancel(r->task, NEAP_ECANCELED);
    return np_host_fail(n, NEAP_EAGAIN, "'%s' would wait", path);
}
