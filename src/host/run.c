/* Running and stopping a host. */
#include "host/host.h"

#define ANSWER_TIME \
    NP_NS_PER_SEC /* after the grace, for a worker to say that its stop is through */

void np_host_wake(neap_t *n)
{
    if (atomic_load(&n->can_wake)) uv_async_send(&n->wake);
}

void neap_stop(neap_t *n)
{
    int none = NP_STOP_NONE;
    if (!atomic_compare_exchange_strong(&n->stop_request, &none, NP_STOP_DRAIN)) {
        atomic_store(&n->stop_request, NP_STOP_NOW);
    }
    np_host_wake(n);
}

void neap_stop_now(neap_t *n)
{
    atomic_store(&n->stop_request, NP_STOP_NOW);
    np_host_wake(n);
}

void neap_reload(neap_t *n)
{
    atomic_store(&n->reload_request, true);
    np_host_wake(n);
}

void np_host_worker_stopped(neap_t *n, struct np_worker *w)
{
    bool now = atomic_load(&n->stop_request) == NP_STOP_NOW;
    if (w->stop_seen) return; /* it was left behind */
    w->stop_seen = true;
    if ((w->overdue || w->expired) && !now) n->drain_expired = true;
    if (n->stopping == 0 || --n->stopping > 0) return;
    n->stopped = true;
    np_timer_stop(&n->stop_limit);
    if (!n->attached) np_loop_stop(np_host_loop(n));
    if (n->options.on_stopped) n->options.on_stopped(n, n->options.user);
}

/* Who has not answered is stuck; the others need not wait for it. */
void np_host_stop_overdue(struct np_timer *t)
{
    neap_t *n = np_container_of(t, neap_t, stop_limit);
    for (unsigned i = 0; i < n->options.workers && !n->stopped; i++) {
        struct np_worker *w = n->workers[i];
        if (w->stop_seen) continue;
        w->overdue = true;
        np_host_worker_stopped(n, w);
    }
}

/* Without the timer, the worker is waited for. */
static void limit_stop(neap_t *n, double grace)
{
    if (np_timer_start(&n->stop_limit, np_seconds(grace) + ANSWER_TIME) != NEAP_OK)
        np_timer_stop(&n->stop_limit);
}

static bool anything_to_drain(const neap_t *n)
{
    const struct np_instance *i = n->workers[0]->current;
    return i && !np_list_empty(&i->script->shutdown.objects);
}

void np_host_stop(neap_t *n, enum np_stop_request how)
{
    if (n->stopped || n->closing || !n->started) return;
    bool again = n->stopping > 0;
    if (!again && how == NP_STOP_DRAIN && anything_to_drain(n)) {
        np_logf(n->log, NP_LOG_INFO, "stopping: what is in flight has %g seconds to end",
                n->options.drain_timeout);
    }
    if (!again) n->stopping = n->options.workers;
    limit_stop(n, how == NP_STOP_NOW ? 0 : n->options.drain_timeout);
    np_onces_stop(n->runtime.onces);
    if (!again) np_reload_stop(n);
    if (!again && n->options.on_stopping) n->options.on_stopping(n, n->options.user);
    for (unsigned i = 0; i < n->options.workers; i++)
        np_worker_stop(n->workers[i], how == NP_STOP_NOW);
}

void np_host_fail_late(neap_t *n, enum neap_err err, const char *message)
{
    if (n->stopping || n->closing || n->failed) return;
    np_host_fail(n, err, NULL);
    np_host_set_error(n, message, NULL);
    if (!n->running) {
        np_logf(n->log, NP_LOG_ERROR, "%s", neap_error(n));
        return;
    }
    n->failed = true;
    np_loop_stop(np_host_loop(n));
}

static void run_loop(neap_t *n)
{
    do {
        if (n->failed || n->stopped) return;
        np_loop_run(np_host_loop(n));
        if (n->options.workers == 1) return;
    } while (!np_workers_idle(n) || uv_loop_alive(np_host_loop(n)->uv));
}

enum neap_err neap_run(neap_t *n)
{
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    if (n->attached) return np_host_fail(n, NEAP_EINVAL, "the host is on a loop of the program's");
    if (n->running) return np_host_fail(n, NEAP_EBUSY, "the host runs already");
    n->running = true;
    np_reload_first(n);
    np_loop_run_posts(np_host_loop(n)); /* they keep no loop alive by themselves */
    run_loop(n);
    n->running = false;
    if (n->failed) return NEAP_ESCRIPT; /* neap_error has the words */
    if (n->drain_expired) {
        return np_host_fail(n, NEAP_ETIMEDOUT, "not all was drained within %g seconds",
                            n->options.drain_timeout);
    }
    return NEAP_OK;
}
