/* A host's birth and death. See neap.h for what each function promises. */
#include "host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/append.h"
#include "mesh/commons.h"
#include "net/netpolicy.h"
#include "net/tls.h"
#include "script/native.h"
#include "script/threads.h"

#define DRAIN_TIMEOUT 30.0
#define LOAD_TIMEOUT 10.0
#define MAX_WORKERS 1024

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

static enum neap_err copy_text(neap_t *n, const char **text)
{
    if (!*text) return NEAP_OK;
    *text = np_arena_strndup(&n->strings, *text, strlen(*text));
    return *text ? NEAP_OK : NEAP_ENOMEM;
}

static bool options_ok(const neap_options *o)
{
    if (!(o->drain_timeout >= 0) || o->log_format > NEAP_LOG_JSON) return false;
    if (o->workers > MAX_WORKERS || o->threads > MAX_WORKERS) return false;
    return o->script_timeout >= 0 && o->script_load_timeout >= 0 && o->script_hard_timeout >= 0;
}

static enum neap_err copy_options(neap_t *n, const neap_options *given)
{
    neap_options all = NEAP_OPTIONS_INIT;
    if (given) {
        if (given->size < sizeof given->size) return NEAP_EINVAL;
        memcpy(&all, given, given->size < sizeof all ? given->size : sizeof all);
    }
    if (!options_ok(&all)) return NEAP_EINVAL;
    if (all.drain_timeout == 0) all.drain_timeout = DRAIN_TIMEOUT;
    if (all.workers == 0) all.workers = 1;
    n->options = all;
    enum neap_err err = copy_text(n, &n->options.lua_path);
    if (!err) err = copy_text(n, &n->options.allow_net);
    return err ? err : copy_args(n);
}

/* In a sandbox there is one in any case. */
static enum neap_err make_policy(neap_t *n)
{
    const neap_options *o = &n->options;
    if (!o->sandbox && !o->allow_net) return NEAP_OK;
    return np_netpolicy_new(o->allow_net, o->sandbox, &n->policy, NULL);
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

static void free_workers(neap_t *n)
{
    for (unsigned i = 0; n->workers && i < n->options.workers; i++)
        np_free(n->workers[i]);
    np_free((void *)n->workers);
    np_host_forget_deposed(n);
}

static void free_host(neap_t *n)
{
    np_threads_free(n->runtime.threads);
    np_watchdog_free(n->watchdog);
    np_natives_free(&n->runtime);
    np_share_free(n->share);
    np_netpolicy_free(n->policy);
    np_tls_shared_unref(n->tls);
    np_bus_hub_free(n->hub);
    np_registry_free(n->registry);
    np_shared_maps_free(n->runtime.shared);
    np_commons_unref(n->runtime.commons);
    np_append_set_free(n->runtime.appends);
    np_onces_free(n->runtime.onces);
    np_sources_fini(&n->sources);
    free_workers(n);
    np_log_free(n->log);
    drop_error(n);
    np_arena_fini(&n->strings);
    np_free(n);
}

static enum neap_err make_workers(neap_t *n)
{
    n->workers = np_calloc(n->options.workers, sizeof *n->workers);
    if (!n->workers) return NEAP_ENOMEM;
    for (unsigned i = 0; i < n->options.workers; i++) {
        struct np_worker *w = np_worker_new(n, i);
        if (!w) return NEAP_ENOMEM;
        n->workers[i] = w;
    }
    n->runtime.workers = n->options.workers;
    return NEAP_OK;
}

/* A chunk that loads is bounded where all else is. */
static int64_t load_timeout(const neap_options *o)
{
    if (o->script_timeout == 0) return 0;
    return np_seconds(o->script_load_timeout > 0 ? o->script_load_timeout : LOAD_TIMEOUT);
}

static enum neap_err make_watchdog(neap_t *n)
{
    struct np_watchdog_options wo = {.timeout = np_seconds(n->options.script_timeout),
                                     .load_timeout = load_timeout(&n->options),
                                     .hard_timeout = np_seconds(n->options.script_hard_timeout),
                                     .log = n->log,
                                     .stuck = np_host_on_stuck,
                                     .arg = n};
    if (wo.timeout == 0 && wo.hard_timeout == 0 && !n->interruptible) return NEAP_OK;
    return np_watchdog_new(&wo, &n->watchdog);
}

/* What all workers share. */
static enum neap_err make_common(neap_t *n)
{
    enum np_share_mode mode = n->options.hand_out ? NP_SHARE_HAND_OUT : NP_SHARE_AUTO;
    enum neap_err err = np_registry_new(NULL, &n->registry);
    if (!err) err = np_bus_hub_new(n->options.workers, NULL, &n->hub);
    if (!err) err = np_share_new(n->options.workers, mode, &n->share);
    if (!err) err = np_shared_maps_new(&n->runtime.shared);
    if (!err) err = np_commons_new(&n->runtime.commons);
    if (!err) err = np_append_set_new(&n->runtime.appends);
    if (!err) err = np_onces_new(&n->runtime.onces);
    struct np_threads_options to = {.max_threads = n->options.threads,
                                    .memory_limit = n->options.memory_limit,
                                    .lua_path = n->options.lua_path,
                                    .runtime = &n->runtime,
                                    .log = n->log,
                                    .sandbox = n->options.sandbox};
    if (!err) err = np_threads_new(&to, &n->runtime.threads);
    return err;
}

static void on_first_turn(struct np_defer *d)
{
    np_reload_first(np_container_of(d, neap_t, first_turn));
}

enum neap_err neap_open(const neap_options *options, neap_t **out)
{
    neap_t *n = np_calloc(1, sizeof *n);
    if (!n) return NEAP_ENOMEM;
    np_runtime_init(&n->runtime);
    n->runtime.stop = on_script_stop;
    n->runtime.ops = &np_host_runtime_ops;
    np_arena_init(&n->strings, 256);
    np_mpsc_init(&n->posts);
    np_link_init(&n->deposed);
    np_defer_init(&n->first_turn, on_first_turn);
    np_link_init(&n->subscribers);
    np_link_init(&n->upstreams);
    enum neap_err err = copy_options(n, options);
    if (!err) err = make_policy(n);
    if (!err) err = np_tls_shared_new(0, 0, &n->tls);
    if (!err) err = open_log(n);
    if (!err) err = make_workers(n);
    if (!err) err = make_common(n);
    if (err) {
        free_host(n);
        return err;
    }
    *out = n;
    return NEAP_OK;
}

/* --- starting */

static void on_wake(uv_async_t *h)
{
    neap_t *n = h->data;
    np_host_run_posts(n);
    enum np_stop_request how = atomic_load(&n->stop_request);
    bool reload = atomic_exchange(&n->reload_request, false);
    if (how != NP_STOP_NONE) {
        np_host_stop(n, how);
    } else if (reload) {
        np_reload_start(n, NULL);
    }
}

/* Natives that scripts wait for keep the loop alive, as nothing else of theirs may. */
static void hold(struct np_runtime *rt, bool on)
{
    neap_t *n = np_host_of(rt);
    if (n->options.keep_alive || n->closing) return;
    if (on) {
        uv_ref((uv_handle_t *)&n->wake);
    } else {
        uv_unref((uv_handle_t *)&n->wake);
    }
}

static enum neap_err open_first(neap_t *n, uv_loop_t *uv)
{
    struct neap_errinfo info = {0};
    struct np_worker *w = n->workers[0];
    n->started = true; /* whatever fails from here on, neap_close takes it down */
    enum neap_err err = np_worker_open(w, uv, &info);
    if (err) return np_host_fail(n, err, "%s", info.message);
    int rc = uv_async_init(w->loop.uv, &n->wake, on_wake);
    if (rc < 0) return np_host_fail(n, np_err_from_uv(rc), NULL);
    np_loop_retain(&w->loop);
    n->wake.data = n;
    n->has_wake = true;
    n->runtime.hold = hold;
    n->runtime.first = &w->loop;
    if (!n->options.keep_alive) uv_unref((uv_handle_t *)&n->wake);
    np_reload_init(&n->reload, n);
    np_timer_init(&n->stop_limit, &w->loop, np_host_stop_overdue);
    np_timer_set_background(&n->stop_limit, true);
    err = np_leases_open(&n->leases, &w->loop, w->view);
    return err ? np_host_fail(n, err, NULL) : NEAP_OK;
}

enum neap_err np_host_start(neap_t *n, uv_loop_t *uv)
{
    if (n->closing) return np_host_fail(n, NEAP_ECLOSED, "the host is closing");
    if (n->start_err) return n->start_err; /* neap_error has the words */
    if (n->started) return NEAP_OK;
    enum neap_err err = make_watchdog(n);
    if (err) return np_host_fail(n, err, "cannot start the watchdog");
    err = open_first(n, uv);
    if (!err) err = np_workers_start(n);
    n->start_err = err;
    if (err) return err;
    n->attached = uv != NULL;
    if (uv) np_loop_defer(np_host_loop(n), &n->first_turn);
    atomic_store(&n->can_wake, true);
    uv_async_send(&n->wake); /* for what was posted before there was a loop */
    if (n->options.handle_signals) err = np_signals_start(&n->signals, n);
    n->start_err = err;
    return err ? np_host_fail(n, err, "cannot listen for signals") : NEAP_OK;
}

enum neap_err neap_attach(neap_t *n, struct uv_loop_s *loop)
{
    if (!loop) return np_host_fail(n, NEAP_EINVAL, NULL);
    if (n->started) return np_host_fail(n, NEAP_EBUSY, "the host has a loop already");
    return np_host_start(n, loop);
}

/* --- posts */

struct post {
    struct np_mpsc_node node;
    void (*fn)(neap_t *n, void *user);
    void *user;
};

void np_host_run_posts(neap_t *n)
{
    struct np_mpsc_node *node;
    while ((node = np_mpsc_pop(&n->posts))) {
        struct post *p = np_container_of(node, struct post, node);
        p->fn(n, p->user);
        np_free(p);
    }
}

enum neap_err neap_post(neap_t *n, void (*fn)(neap_t *n, void *user), void *user)
{
    struct post *p = np_alloc(sizeof *p);
    if (!p) return NEAP_ENOMEM;
    p->fn = fn;
    p->user = user;
    np_mpsc_push(&n->posts, &p->node);
    np_host_wake(n);
    return NEAP_OK;
}

/* --- closing */

static void on_wake_closed(uv_handle_t *h)
{
    neap_t *n = h->data;
    np_loop_release(np_host_loop(n));
}

static void on_closed(void *arg)
{
    neap_t *n = arg;
    void (*closed)(void *user) = n->closed;
    void *user = n->closed_user;
    np_host_run_posts(n); /* of what was called while it closed */
    np_signals_stop(&n->signals);
    free_host(n);
    if (closed) closed(user);
}

/* A thread that does not come back goes on using what the host has: that is left to it. */
static void on_closed_beside_a_thread(void *arg)
{
    neap_t *n = arg;
    np_host_run_posts(n);
    np_signals_stop(&n->signals);
    np_log_flush(n->log, 1);
    if (n->closed) n->closed(n->closed_user);
}

void neap_close_with(neap_t *n, void (*closed)(void *user), void *user)
{
    if (!n || n->closing) return;
    n->closing = true;
    n->closed = closed;
    n->closed_user = user;
    atomic_store(&n->can_wake, false);
    np_host_run_posts(n);
    if (!n->started) {
        on_closed(n);
        return;
    }
    bool ended = np_threads_stop(n->runtime.threads);
    bool joined = np_workers_join(n) && ended;
    np_natives_close(&n->runtime);
    np_host_end_subscriptions(n);
    np_host_end_pickers(n);
    np_host_forget_suspects(n);
    if (n->reload.host) np_timer_stop(&n->stop_limit);
    np_reload_fini(&n->reload);
    np_defer_cancel(&n->first_turn);
    np_leases_close(&n->leases);
    if (n->has_wake) uv_close((uv_handle_t *)&n->wake, on_wake_closed);
    np_worker_close(n->workers[0], joined ? on_closed : on_closed_beside_a_thread, n);
}

void neap_close(neap_t *n)
{
    neap_close_with(n, NULL, NULL);
}
