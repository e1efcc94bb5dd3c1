/* Running and stopping a host. */
#include "host/host.h"

static void wake(neap_t *n)
{
    if (atomic_load(&n->can_wake)) uv_async_send(&n->worker.wake);
}

void neap_stop(neap_t *n)
{
    int none = NP_STOP_NONE;
    if (!atomic_compare_exchange_strong(&n->stop_request, &none, NP_STOP_DRAIN)) {
        atomic_store(&n->stop_request, NP_STOP_NOW);
    }
    wake(n);
}

void neap_stop_now(neap_t *n)
{
    atomic_store(&n->stop_request, NP_STOP_NOW);
    wake(n);
}

static void on_drained(void *arg)
{
    neap_t *n = arg;
    bool now = atomic_load(&n->stop_request) == NP_STOP_NOW;
    n->drain_expired = !now && !np_list_empty(&n->worker.script->shutdown.objects);
    n->stopped = true;
    if (!n->attached) np_loop_stop(&n->worker.loop);
    if (n->options.on_stopped) n->options.on_stopped(n, n->options.user);
}

void np_host_stop(neap_t *n, enum np_stop_request how)
{
    if (n->stopped || n->closing || !n->worker.script) return;
    struct np_shutdown *s = &n->worker.script->shutdown;
    if (!np_shutting_down(s)) n->had_drains = !np_list_empty(&s->objects);
    if (n->had_drains && how == NP_STOP_DRAIN && !np_shutting_down(s)) {
        np_logf(n->log, NP_LOG_INFO, "stopping: what is in flight has %g seconds to end",
                n->options.drain_timeout);
    }
    int64_t grace = how == NP_STOP_NOW ? 0 : np_seconds(n->options.drain_timeout);
    np_shutdown_start(s, grace, on_drained, n);
}

enum neap_err neap_run(neap_t *n)
{
    enum neap_err err = np_host_start(n, NULL);
    if (err) return err;
    if (n->attached) return np_host_fail(n, NEAP_EINVAL, "the host is on a loop of the program's");
    if (n->running) return np_host_fail(n, NEAP_EBUSY, "the host runs already");
    n->running = true;
    np_worker_run_posts(&n->worker); /* they keep no loop alive by themselves */
    if (!n->failed && !n->stopped) np_loop_run(&n->worker.loop);
    n->running = false;
    if (n->failed) return NEAP_ESCRIPT; /* neap_error has the words */
    if (n->drain_expired) {
        return np_host_fail(n, NEAP_ETIMEDOUT, "not all was drained within %g seconds",
                            n->options.drain_timeout);
    }
    return NEAP_OK;
}
