/* Signals on a thread of their own; see signals.h. */
#include "host/signals.h"

#include <signal.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/append.h"
#include "base/log_file.h"
#include "host/host.h"
#include "net/loop.h"

#define LAST_WORDS 0.2 /* seconds for the log to be written when the process is ended */
/* After the grace of a stop, for all that is bounded beside it: answers, threads, ends. */
#define STOP_EXTRA (8 * NP_NS_PER_SEC)

struct np_signal_thread {
    uv_thread_t thread;
    uv_loop_t loop;
    uv_async_t quit;
    uv_signal_t interrupt;
    uv_signal_t terminate;
    uv_signal_t hang_up;
    uv_signal_t user1;
    uv_timer_t limit; /* of a stop, whatever worker 0 is doing */
    neap_t *host;     /* NULL: there is none that is stopped */
    void (*fn)(int signum, void *arg);
    void *arg;
};

static void stop_host(int signum, void *arg)
{
    neap_t *n = arg;
    int none = 0;
    if (signum == SIGHUP) {
        neap_reload(n);
        return;
    }
    if (signum == SIGUSR1) {
        np_append_set_reopen(n->runtime.appends);
        if (n->log_path && np_log_reopen(n->log, n->log_path))
            np_logf(n->log, NP_LOG_ERROR, "no memory to open %s anew", n->log_path);
        return;
    }
    if (atomic_compare_exchange_strong(&n->signal, &none, signum)) {
        neap_stop(n);
        return;
    }
    np_log_flush(n->log, LAST_WORDS);
    _exit(128 + signum);
}

static void on_overdue(uv_timer_t *h)
{
    const struct np_signal_thread *t = h->data;
    np_logf(t->host->log, NP_LOG_ERROR, "the stop does not come to its end: the process ends");
    np_log_flush(t->host->log, LAST_WORDS);
    _exit(128 + atomic_load(&t->host->signal));
}

static void limit_stop(struct np_signal_thread *t)
{
    int64_t grace = np_time_add(np_seconds(t->host->options.drain_timeout), STOP_EXTRA);
    uv_timer_start(&t->limit, on_overdue, (uint64_t)(grace / NP_NS_PER_MS), 0);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct np_signal_thread *t = h->data;
    t->fn(signum, t->arg);
    if (t->host && (signum == SIGINT || signum == SIGTERM)) limit_stop(t);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void on_quit(uv_async_t *h)
{
    uv_walk(h->loop, close_handle, NULL);
}

static void run_thread(void *arg)
{
    struct np_signal_thread *t = arg;
    uv_run(&t->loop, UV_RUN_DEFAULT);
}

static int listen_for(struct np_signal_thread *t, uv_signal_t *h, int signum)
{
    h->data = t;
    return uv_signal_start(h, on_signal, signum);
}

static enum neap_err start(struct np_signals *s, void (*fn)(int, void *), void *arg, neap_t *host)
{
    bool service = host != NULL;
    struct np_signal_thread *t = np_calloc(1, sizeof *t);
    if (!t) return NEAP_ENOMEM;
    t->fn = fn;
    t->arg = arg;
    t->host = host;
    int rc = uv_loop_init(&t->loop);
    if (rc < 0) {
        np_free(t);
        return np_err_from_uv(rc);
    }
    rc = uv_async_init(&t->loop, &t->quit, on_quit);
    if (rc == 0) rc = uv_timer_init(&t->loop, &t->limit);
    t->limit.data = t;
    if (rc == 0) rc = uv_signal_init(&t->loop, &t->interrupt);
    if (rc == 0) rc = uv_signal_init(&t->loop, &t->terminate);
    if (rc == 0) rc = listen_for(t, &t->interrupt, SIGINT);
    if (rc == 0) rc = listen_for(t, &t->terminate, SIGTERM);
    if (rc == 0 && service) rc = uv_signal_init(&t->loop, &t->hang_up);
    if (rc == 0 && service) rc = listen_for(t, &t->hang_up, SIGHUP);
    if (rc == 0 && service) rc = uv_signal_init(&t->loop, &t->user1);
    if (rc == 0 && service) rc = listen_for(t, &t->user1, SIGUSR1);
    if (rc == 0) rc = uv_thread_create(&t->thread, run_thread, t);
    if (rc == 0) {
        s->thread = t;
        return NEAP_OK;
    }
    uv_walk(&t->loop, close_handle, NULL);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    uv_loop_close(&t->loop);
    np_free(t);
    return np_err_from_uv(rc);
}

enum neap_err np_signals_start(struct np_signals *s, neap_t *n)
{
    signal(SIGPIPE, SIG_IGN);
    return start(s, stop_host, n, n);
}

enum neap_err np_signals_start_fn(struct np_signals *s, void (*fn)(int signum, void *arg),
                                  void *arg)
{
    signal(SIGPIPE, SIG_IGN);
    return start(s, fn, arg, NULL);
}

void np_signals_stop(struct np_signals *s)
{
    struct np_signal_thread *t = s->thread;
    if (!t) return;
    s->thread = NULL;
    uv_async_send(&t->quit);
    uv_thread_join(&t->thread);
    uv_loop_close(&t->loop);
    np_free(t);
}
