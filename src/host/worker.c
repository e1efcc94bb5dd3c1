/* A worker's life: its loop, its script state, and how other threads reach it. */
#include "base/alloc.h"
#include "bus/bus.h"
#include "host/host.h"
#include "script/run.h"

struct post {
    struct np_mpsc_node node;
    void (*fn)(neap_t *n, void *user);
    void *user;
};

void np_worker_run_posts(struct np_worker *w)
{
    struct np_mpsc_node *node;
    while ((node = np_mpsc_pop(&w->posts))) {
        struct post *p = np_container_of(node, struct post, node);
        p->fn(w->host, p->user);
        np_free(p);
    }
}

static void on_wake(uv_async_t *h)
{
    struct np_worker *w = h->data;
    np_worker_run_posts(w);
    enum np_stop_request how = atomic_load(&w->host->stop_request);
    if (how != NP_STOP_NONE) np_host_stop(w->host, how);
}

enum neap_err neap_post(neap_t *n, void (*fn)(neap_t *n, void *user), void *user)
{
    struct post *p = np_alloc(sizeof *p);
    if (!p) return NEAP_ENOMEM;
    p->fn = fn;
    p->user = user;
    np_mpsc_push(&n->worker.posts, &p->node);
    if (atomic_load(&n->can_wake)) uv_async_send(&n->worker.wake);
    return NEAP_OK;
}

/* Natives that scripts wait for keep the loop alive, as nothing else of theirs may. */
static void hold(struct np_runtime *rt, bool on)
{
    neap_t *n = np_host_of(rt);
    if (n->options.keep_alive || n->closing) return;
    if (on) {
        uv_ref((uv_handle_t *)&n->worker.wake);
    } else {
        uv_unref((uv_handle_t *)&n->worker.wake);
    }
}

static enum neap_err open_script(struct np_worker *w)
{
    neap_t *n = w->host;
    n->runtime.hold = hold;
    struct np_script_options so = {.loop = &w->loop,
                                   .log = n->log,
                                   .registry = n->registry,
                                   .bus = n->bus,
                                   .memory_limit = n->options.memory_limit,
                                   .lua_path = n->options.lua_path,
                                   .host = &n->runtime};
    struct neap_errinfo info = {0};
    enum neap_err err = np_script_new(&so, &w->script, &info);
    return err ? np_host_fail(n, err, "%s", info.message) : NEAP_OK;
}

enum neap_err np_worker_open(struct np_worker *w, neap_t *n, uv_loop_t *uv)
{
    enum neap_err err = np_loop_init(&w->loop, uv, n->log);
    if (err) return np_host_fail(n, err, NULL);
    int rc = uv_async_init(w->loop.uv, &w->wake, on_wake);
    if (rc < 0) {
        np_loop_fini(&w->loop, NULL, NULL);
        return np_host_fail(n, np_err_from_uv(rc), NULL);
    }
    np_loop_retain(&w->loop);
    n->started = true; /* whatever fails from here on, neap_close takes it down */
    w->wake.data = w;
    if (!n->options.keep_alive) uv_unref((uv_handle_t *)&w->wake);
    err = np_bus_new(&w->loop, NULL, &n->bus);
    if (!err) err = np_leases_open(&n->leases, &w->loop, n->registry);
    if (err) return np_host_fail(n, err, NULL);
    return open_script(w);
}

static void on_wake_closed(uv_handle_t *h)
{
    struct np_worker *w = h->data;
    np_loop_release(&w->loop);
}

void np_worker_close(struct np_worker *w, void (*closed)(void *arg), void *arg)
{
    neap_t *n = w->host;
    atomic_store(&n->can_wake, false);
    np_worker_run_posts(w);
    np_host_end_subscriptions(n);
    np_host_end_pickers(n);
    np_script_free(w->script);
    w->script = NULL;
    np_run_cut_off(&n->runs);
    np_leases_close(&n->leases);
    np_bus_free(n->bus);
    n->bus = NULL;
    uv_close((uv_handle_t *)&w->wake, on_wake_closed);
    np_loop_fini(&w->loop, closed, arg);
}
