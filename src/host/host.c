/* A host's birth and death. See neap.h for what each function promises. */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "script/native.h"

#define DRAIN_TIMEOUT 30.0

/* --- errors */

static char no_memory[] = "out of memory";

static void drop_error(neap_t *n)
{
    if (n->error != no_memory) np_free(n->error);
    n->error = NULL;
}

void np_host_set_error(neap_t *n, const char *message, const char *detail)
{
    size_t size = strlen(message) + (detail ? strlen(detail) + 1 : 0) + 1;
    char *text = np_alloc(size);
    drop_error(n);
    if (text) snprintf(text, size, detail ? "%s\n%s" : "%s", message, detail);
    n->error = text ? text : no_memory;
}

enum neap_err np_host_fail(neap_t *n, enum neap_err err, const char *fmt, ...)
{
    char text[512];
    if (!fmt) {
        np_host_set_error(n, neap_err_text(err), NULL);
        return err;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    np_host_set_error(n, text, NULL);
    return err;
}

const char *neap_error(const neap_t *n)
{
    return n->error ? n->error : "";
}

/* --- opening */

static void on_script_stop(struct np_runtime *rt, bool now)
{
    neap_t *n = np_host_of(rt);
    if (now) {
        neap_stop_now(n);
    } else {
        neap_stop(n);
    }
}

static enum neap_err copy_args(neap_t *n)
{
    const neap_options *o = &n->options;
    if (o->nargs == 0) return NEAP_OK;
    const char **copy = np_arena_alloc(&n->strings, o->nargs * sizeof *copy);
    if (!copy) return NEAP_ENOMEM;
    for (size_t i = 0; i < o->nargs; i++) {
        copy[i] = np_arena_strndup(&n->strings, o->args[i], strlen(o->args[i]));
        if (!copy[i]) return NEAP_ENOMEM;
    }
    n->options.args = copy;
    return NEAP_OK;
}

static enum neap_err copy_options(neap_t *n, const neap_options *given)
{
    neap_options all = NEAP_OPTIONS_INIT;
    if (given) {
        if (given->size < sizeof given->size) return NEAP_EINVAL;
        memcpy(&all, given, given->size < sizeof all ? given->size : sizeof all);
    }
    if (!(all.drain_timeout >= 0) || all.log_format > NEAP_LOG_JSON) return NEAP_EINVAL;
    if (all.drain_timeout == 0) all.drain_timeout = DRAIN_TIMEOUT;
    n->options = all;
    if (all.lua_path) {
        n->options.lua_path = np_arena_strndup(&n->strings, all.lua_path, strlen(all.lua_path));
        if (!n->options.lua_path) return NEAP_ENOMEM;
    }
    return copy_args(n);
}

static enum neap_err open_log(neap_t *n)
{
    struct np_log_options lo = NP_LOG_OPTIONS_INIT;
    const neap_options *o = &n->options;
    static const enum np_log_format formats[] = {NP_LOG_AUTO, NP_LOG_TEXT, NP_LOG_JSON};
    if (o->log_level && !np_log_level_parse(o->log_level, &lo.level)) return NEAP_EINVAL;
    n->options.log_level = NULL; /* not copied, not needed again */
    lo.format = formats[o->log_format];
    if (o->log_fd > 0) lo.fd = o->log_fd;
    return np_log_new(&lo, &n->log);
}

static void free_host(neap_t *n)
{
    np_natives_free(&n->runtime);
    np_registry_free(n->registry);
    np_log_free(n->log);
    drop_error(n);
    np_arena_fini(&n->strings);
    np_free(n);
}

enum neap_err neap_open(const neap_options *options, neap_t **out)
{
    neap_t *n = np_calloc(1, sizeof *n);
    if (!n) return NEAP_ENOMEM;
    np_runtime_init(&n->runtime);
    n->runtime.stop = on_script_stop;
    np_arena_init(&n->strings, 256);
    np_mpsc_init(&n->worker.posts);
    np_link_init(&n->runs);
    np_link_init(&n->subscribers);
    np_link_init(&n->upstreams);
    n->worker.host = n;
    enum neap_err err = copy_options(n, options);
    if (!err) err = open_log(n);
    if (!err) err = np_registry_new(NULL, &n->registry);
    if (err) {
        free_host(n);
        return err;
    }
    *out = n;
    return NEAP_OK;
}

enum neap_err np_host_start(neap_t *n, uv_loop_t *uv)
{
    if (n->started) return NEAP_OK;
    enum neap_err err = np_worker_open(&n->worker, n, uv);
    if (err) return err;
    n->attached = uv != NULL;
    atomic_store(&n->can_wake, true);
    uv_async_send(&n->worker.wake); /* for what was posted before there was a loop */
    if (n->options.handle_signals) err = np_signals_start(&n->signals, n);
    return err ? np_host_fail(n, err, "cannot listen for signals") : NEAP_OK;
}

enum neap_err neap_attach(neap_t *n, struct uv_loop_s *loop)
{
    if (!loop) return np_host_fail(n, NEAP_EINVAL, NULL);
    if (n->started) return np_host_fail(n, NEAP_EBUSY, "the host has a loop already");
    return np_host_start(n, loop);
}

/* --- closing */

static void on_worker_closed(void *arg)
{
    neap_t *n = arg;
    void (*closed)(void *user) = n->closed;
    void *user = n->closed_user;
    np_signals_stop(&n->signals);
    free_host(n);
    if (closed) closed(user);
}

void neap_close_with(neap_t *n, void (*closed)(void *user), void *user)
{
    if (!n || n->closing) return;
    n->closing = true;
    n->closed = closed;
    n->closed_user = user;
    if (!n->started) {
        np_worker_run_posts(&n->worker);
        on_worker_closed(n);
        return;
    }
    np_worker_close(&n->worker, on_worker_closed, n);
}

void neap_close(neap_t *n)
{
    neap_close_with(n, NULL, NULL);
}
