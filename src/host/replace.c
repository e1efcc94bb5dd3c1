/* What becomes of a worker that cannot go on.
 *
 * One whose script is stuck where no hook reaches (a C function, a finaliser) is replaced: a new
 * thread under its number takes over its listening sockets, its place in the bus, its claims; the
 * others notice nothing. Its own thread cannot be ended; when its script does come back, what was
 * in flight there ends, and the thread waits for the end of the host. Worker 0 is the program's own
 * thread and is never replaced. One whose state is out of memory gets a new state, as by a reload
 * of its own.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "host/host.h"

#define PATIENCE 4 /* script_timeouts, after it was found stuck, until it is replaced */

struct suspect {
    struct np_timer timer;
    struct np_worker *worker;
    unsigned long long beats;
};

struct report {
    unsigned worker;
    neap_t *host;
};

static size_t deposed_count(neap_t *n)
{
    size_t count = 0;
    struct np_link *l;
    np_list_each (l, &n->deposed)
        count++;
    return count;
}

static void depose(struct np_worker *w, void *arg)
{
    (void)arg;
    np_worker_depose(w);
}

static void drop_claims(neap_t *n, struct np_worker *old)
{
    old->deposed = true;
    np_onces_drop_worker(n->runtime.onces, old->id);
    np_registry_drop_worker(n->registry, old->id);
    np_bus_hub_leave(n->hub, old->id);
    np_share_drop_worker(n->share, old->id);
}

static void substituted(struct np_worker *w, void *arg)
{
    (void)arg;
    np_worker_substituted(w);
}

static void put_in_place(neap_t *n, struct np_worker *old, struct np_worker *w)
{
    enum neap_err err = NEAP_OK;
    n->workers[old->id] = w;
    np_list_push_back(&n->deposed, &old->link);
    n->replaced++;
    for (size_t i = 0; i < n->sources.len && !err; i++)
        err = np_worker_load(w, n->sources.list[i]);
    np_worker_call(w, substituted, NULL);
    np_worker_call(old, depose, NULL);
    np_logf(n->log, NP_LOG_WARN, "worker %u is stuck and was replaced", old->id);
}

static enum neap_err start_substitute(neap_t *n, unsigned id, struct np_worker **out)
{
    struct np_worker *w = np_worker_new(n, id);
    if (!w) return NEAP_ENOMEM;
    w->substitute = true;
    enum neap_err err = np_worker_start(w);
    if (err) {
        np_free(w);
        return err;
    }
    *out = w;
    return NEAP_OK;
}

/* False: it is to be tried again. Its claims are gone then, so that it must be replaced even if its
 * script comes back. */
static bool replace(neap_t *n, struct np_worker *old)
{
    struct np_worker *w;
    if (n->stopping || n->closing) return true;
    if (deposed_count(n) >= n->options.workers) {
        np_logf(n->log, NP_LOG_ERROR, "worker %u is stuck; not replaced: %u others are", old->id,
                n->options.workers);
        return true;
    }
    if (!old->deposed) drop_claims(n, old);
    enum neap_err err = start_substitute(n, old->id, &w);
    if (!err) {
        put_in_place(n, old, w);
        return true;
    }
    np_logf(n->log, NP_LOG_ERROR, "worker %u is stuck and cannot be replaced yet: %s", old->id,
            neap_err_text(err));
    return false;
}

static bool start_patience(struct suspect *s)
{
    double seconds = s->worker->host->options.script_timeout * PATIENCE;
    return np_timer_start(&s->timer, np_seconds(seconds)) == NEAP_OK;
}

static void on_patience_over(struct np_timer *t)
{
    struct suspect *s = np_container_of(t, struct suspect, timer);
    struct np_worker *w = s->worker;
    bool stuck = w->deposed || np_watchdog_beats(w->watchdog) == s->beats;
    if (stuck && !replace(w->host, w) && start_patience(s)) return;
    w->suspect = NULL;
    np_free(s);
}

static void watch_closer(struct np_worker *w0, void *arg)
{
    neap_t *n = w0->host;
    struct np_worker *w = n->workers[(uintptr_t)arg];
    if (w->id == 0 || w->suspect || n->stopping || n->closing) return;
    /* What is stuck may be one that had the number before. */
    if (!np_watchdog_in_turn(w->watchdog)) return;
    struct suspect *s = np_calloc(1, sizeof *s);
    if (!s) return;
    s->worker = w;
    s->beats = np_watchdog_beats(w->watchdog);
    np_timer_init(&s->timer, &w0->loop, on_patience_over);
    np_timer_set_background(&s->timer, true);
    if (!start_patience(s)) {
        np_free(s);
        return;
    }
    w->suspect = s;
}

void np_host_on_stuck(unsigned worker, const char *what, void *host)
{
    neap_t *n = host;
    np_logf(n->log, NP_LOG_ERROR, "worker %u is stuck in %s", worker, what);
    np_worker_call(n->workers[0], watch_closer, (void *)(uintptr_t)worker);
}

static void forget_suspect(struct np_worker *w)
{
    struct suspect *s = w->suspect;
    if (!s) return;
    w->suspect = NULL;
    np_timer_stop(&s->timer);
    np_free(s);
}

void np_host_forget_suspects(neap_t *n)
{
    for (unsigned i = 0; i < n->options.workers; i++)
        forget_suspect(n->workers[i]);
}

void np_host_forget_deposed(neap_t *n)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&n->deposed)))
        np_free(np_container_of(l, struct np_worker, link));
}

/* --- out of memory */

static void renew(struct np_worker *w0, void *arg)
{
    neap_t *n = w0->host;
    if (n->stopping || n->closing) return;
    np_reload_renew(n, (unsigned)(uintptr_t)arg, "its memory is used up");
}

void np_host_on_exhausted(struct np_script *s)
{
    struct np_instance *i = s->owner;
    if (i->retiring || i != i->worker->current) return;
    neap_t *n = i->worker->host;
    np_worker_call(n->workers[0], renew, (void *)(uintptr_t)i->worker->id);
}
