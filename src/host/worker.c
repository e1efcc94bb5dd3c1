/* A worker's life and what happens to its script states; see worker.h. */
#include "host/worker.h"

#include "base/alloc.h"
#include "bus/bus.h"
#include "host/host.h"
#include "script/view_loop.h"

struct np_worker *np_worker_new(neap_t *n, unsigned id)
{
    struct np_worker *w = np_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->host = n;
    w->id = id;
    np_link_init(&w->link);
    np_link_init(&w->retiring);
    return w;
}

enum neap_err np_worker_open(struct np_worker *w, uv_loop_t *uv, struct neap_errinfo *info)
{
    neap_t *n = w->host;
    enum neap_err err = np_loop_init(&w->loop, uv, n->log);
    if (err) return np_err_plain(info, err);
    w->open = true;
    w->loop.policy = n->policy;
    w->loop.tls = n->tls;
    err = np_bus_new(&w->loop, NULL, &w->bus);
    if (!err) err = np_bus_hub_join(n->hub, w->id, w->bus);
    if (!err) err = np_view_loop_new(n->registry, &w->loop, &w->view);
    if (!err && n->watchdog) err = np_watchdog_add(n->watchdog, w->id, &w->watchdog);
    if (err) return np_err_plain(info, err);
    return np_instance_new(w, false, &w->current, info);
}

void np_worker_drop_scripts(struct np_worker *w)
{
    struct np_link *l;
    w->stopping = true;
    while ((l = w->retiring.next) != &w->retiring)
        np_instance_free(np_container_of(l, struct np_instance, link));
    np_worker_discard(w);
    np_instance_free(w->current);
    w->current = NULL;
}

void np_worker_close(struct np_worker *w, void (*closed)(void *arg), void *arg)
{
    if (!w->open) {
        if (closed) closed(arg);
        return;
    }
    np_worker_drop_scripts(w);
    if (w->watchdog) np_watchdog_remove(w->watchdog);
    if (!w->deposed) np_bus_hub_leave(w->host->hub, w->id);
    np_bus_free(w->bus);
    np_view_loop_free(w->view);
    w->bus = NULL;
    w->view = NULL;
    np_loop_fini(&w->loop, closed, arg);
}

/* --- reloading */

void np_worker_discard(struct np_worker *w)
{
    np_instance_free(w->next);
    w->next = NULL;
}

void np_worker_switch(struct np_worker *w)
{
    struct np_instance *old = w->current;
    if (!w->next) return;
    w->current = w->next;
    w->next = NULL;
    w->substitute = false;
    if (old) np_list_push_back(&w->retiring, &old->link);
    np_share_user_activate(w->current->share);
    np_script_activate(w->current->script);
    if (old) np_instance_retire(old, np_seconds(w->host->options.drain_timeout));
}

/* --- stopping */

static void tell_stopped(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct np_worker *w = np_container_of(p, struct np_worker, stopped_call);
    np_host_worker_stopped(w->host, w);
}

static void check_stopped(struct np_worker *w)
{
    if (!w->stopping || w->stop_told) return;
    if (!np_list_empty(&w->retiring) || (w->current && !w->current->drained)) return;
    w->expired = w->expired || (w->current && w->current->expired);
    w->stop_told = true; /* worker 0 looks at it now */
    w->stopped_call.fn = tell_stopped;
    np_loop_post(np_host_loop(w->host), &w->stopped_call);
}

static void stop(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct np_worker *w = np_container_of(p, struct np_worker, stop_call);
    atomic_store(&w->stop_queued, false);
    bool now = atomic_load(&w->stop_now);
    int64_t grace = now ? 0 : np_seconds(w->host->options.drain_timeout);
    struct np_link *l;
    w->stopping = true;
    np_worker_discard(w);
    np_list_each (l, &w->retiring)
        np_instance_retire(np_container_of(l, struct np_instance, link), grace);
    if (w->current) {
        if (!np_list_empty(&w->current->script->shutdown.objects))
            atomic_store(&w->host->had_drains, true);
        np_instance_stop(w->current, grace);
    }
    check_stopped(w);
}

void np_worker_stop(struct np_worker *w, bool now)
{
    if (now) atomic_store(&w->stop_now, true);
    if (atomic_exchange(&w->stop_queued, true)) return;
    w->stop_call.fn = stop;
    np_loop_post(&w->loop, &w->stop_call);
}

void np_worker_depose(struct np_worker *w)
{
    np_worker_discard(w);
    if (!w->current) return;
    np_list_push_back(&w->retiring, &w->current->link);
    np_instance_retire(w->current, np_seconds(w->host->options.drain_timeout));
    w->current = NULL;
}

void np_worker_instance_gone(struct np_worker *w, bool expired)
{
    if (w->stopping && !w->stop_told) w->expired = w->expired || expired;
    check_stopped(w);
}
