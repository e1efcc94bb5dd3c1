/* Reloading; see reload.h.
 *
 * Each round has a serial number; a worker's answer to an older one is not counted (its round was
 * given up when the load timeout had passed).
 */
#include "host/reload.h"

#include <stdio.h>

#include "base/alloc.h"
#include "host/host.h"

#define LOAD_TIMEOUT 10.0 /* seconds */

/* What a round sends to a worker, and the answer that comes back. */
struct order {
    unsigned serial;
    struct np_sources sources;
    enum neap_err err;
    char *error;
};

static void order_free(struct order *o)
{
    np_sources_fini(&o->sources);
    np_free(o->error);
    np_free(o);
}

void np_reload_forget(void *order)
{
    if (order) order_free(order);
}

static double load_timeout(const neap_t *n)
{
    double seconds = n->options.script_load_timeout;
    return seconds > 0 ? seconds : LOAD_TIMEOUT;
}

static bool concerns(const struct np_reload *r, unsigned worker)
{
    return r->only < 0 || (unsigned)r->only == worker;
}

/* --- the end of a round */

static void tell_waits(struct np_link *waits, enum neap_err err, const char *message)
{
    struct np_link *l;
    while ((l = np_list_pop_front(waits))) {
        struct np_reload_wait *w = np_container_of(l, struct np_reload_wait, link);
        w->fn(w, err, message);
    }
}

static void log_end(struct np_reload *r)
{
    neap_t *n = r->host;
    double took = np_to_seconds(np_loop_hrtime() - r->begun);
    char which[32] = "";
    if (r->only >= 0) snprintf(which, sizeof which, "worker %d: ", r->only);
    if (r->err) {
        np_logf(n->log, NP_LOG_ERROR, "%sreload failed, the old code serves on: %s", which,
                r->error ? r->error : neap_err_text(r->err));
    } else {
        np_logf(n->log, NP_LOG_INFO, "%sreloaded in %.3g s", which, took);
    }
}

static void start_round(struct np_reload *r);

/* What was asked for meanwhile. */
static void start_again(struct np_reload *r)
{
    neap_t *n = r->host;
    if (n->closing || n->stopping || n->stopped) {
        r->again = false;
        tell_waits(&r->later, NEAP_ECANCELED, "the host stops");
        return;
    }
    if (!r->again) return;
    r->again = false;
    r->only = -1;
    np_list_splice(&r->waits, &r->later);
    start_round(r);
}

static void end_round(struct np_reload *r)
{
    neap_t *n = r->host;
    enum neap_err err = r->err;
    char *error = r->error;
    np_timer_stop(&r->timer);
    log_end(r);
    r->phase = NP_RELOAD_IDLE;
    r->error = NULL;
    r->err = NEAP_OK;
    if (n->options.on_reloaded) n->options.on_reloaded(n, err, error, n->options.user);
    tell_waits(&r->waits, err, error ? error : neap_err_text(err));
    np_free(error);
    start_again(r);
}

/* --- switching */

/* A worker's turn to switch, and then its answer: there is no way back from here, so that all of
 * them are made before the first is sent. */
struct turn {
    struct np_post post;
    struct turn *next;
    struct np_worker *worker;
    unsigned serial;
};

static void on_switched(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct turn *t = np_container_of(p, struct turn, post);
    struct np_reload *r = &t->worker->host->reload;
    bool wanted = r->phase == NP_RELOAD_SWITCHING && r->serial == t->serial;
    np_free(t);
    if (wanted && !r->host->closing && --r->left == 0) end_round(r);
}

static void do_switch(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct turn *t = np_container_of(p, struct turn, post);
    if (!t->worker->stopping) np_worker_switch(t->worker);
    p->fn = on_switched;
    np_loop_post(np_host_loop(t->worker->host), p);
}

static void free_turns(struct turn *t)
{
    while (t) {
        struct turn *next = t->next;
        np_free(t);
        t = next;
    }
}

static enum neap_err make_turns(struct np_reload *r, struct turn **out)
{
    neap_t *n = r->host;
    struct turn *all = NULL;
    for (unsigned i = 0; i < n->options.workers; i++) {
        if (!concerns(r, i)) continue;
        struct turn *t = np_alloc(sizeof *t);
        if (!t) {
            free_turns(all);
            return NEAP_ENOMEM;
        }
        *t = (struct turn){{.fn = do_switch}, all, n->workers[i], r->serial};
        all = t;
    }
    *out = all;
    return NEAP_OK;
}

static void send_turns(struct np_reload *r, struct turn *t)
{
    r->left = 0;
    while (t) {
        struct turn *next = t->next;
        r->left++;
        np_loop_post(&t->worker->loop, &t->post);
        t = next;
    }
}

static void do_discard(struct np_worker *w, void *arg)
{
    (void)arg;
    np_worker_discard(w);
}

static void to_all(struct np_reload *r, void (*fn)(struct np_worker *w, void *arg))
{
    neap_t *n = r->host;
    for (unsigned i = 0; i < n->options.workers; i++) {
        if (concerns(r, i)) np_worker_call(n->workers[i], fn, (void *)(uintptr_t)r->serial);
    }
}

static void all_loaded(struct np_reload *r)
{
    neap_t *n = r->host;
    struct turn *turns = NULL;
    if (!r->err) r->err = make_turns(r, &turns);
    if (r->err) {
        if (r->only < 0) n->generation--;
        to_all(r, do_discard);
        end_round(r);
        return;
    }
    r->phase = NP_RELOAD_SWITCHING;
    if (r->only < 0) np_onces_go_over(n->runtime.onces, n->generation);
    send_turns(r, turns);
    np_timer_stop(&r->timer);
    if (np_timer_start(&r->timer, np_seconds(load_timeout(n))) != NEAP_OK)
        np_logf(n->log, NP_LOG_WARN, "no memory for a timer: the reload waits for every worker");
}

/* --- loading */

static void fail_round(struct np_reload *r, enum neap_err err, unsigned worker, const char *words)
{
    if (r->err) return; /* the first says enough */
    char text[1024];
    bool many = r->host->options.workers > 1;
    r->err = err;
    if (many) {
        snprintf(text, sizeof text, "worker %u: %s", worker, words);
        words = text;
    }
    r->error = np_strdup(words);
}

static void settle_first(struct np_reload *r)
{
    neap_t *n = r->host;
    np_timer_stop(&r->timer);
    r->phase = NP_RELOAD_IDLE;
    if (r->err) {
        np_host_fail_late(n, r->err, r->error ? r->error : neap_err_text(r->err));
        np_free(r->error);
        r->error = NULL;
        r->err = NEAP_OK;
        if (!n->failed) start_again(r);
        return;
    }
    n->ready = true;
    if (n->options.on_ready) n->options.on_ready(n, n->options.user);
    start_again(r);
}

static void answer_loaded(struct np_worker *w0, void *arg)
{
    struct np_reload *r = &w0->host->reload;
    struct order *o = arg;
    bool first = r->phase == NP_RELOAD_STARTING;
    bool wanted = o->serial == r->serial && !w0->host->closing;
    if (wanted && (first || r->phase == NP_RELOAD_LOADING)) {
        unsigned worker = (unsigned)o->sources.len; /* see tell_loaded */
        o->sources.len = 0;
        if (o->err) fail_round(r, o->err, worker, o->error ? o->error : neap_err_text(o->err));
        if (--r->left == 0) {
            if (first) {
                settle_first(r);
            } else {
                all_loaded(r);
            }
        }
    }
    o->sources.len = 0;
    order_free(o);
}

/* The order goes back as the answer; its list of sources is spent and its length says who answers.
 */
static void tell_loaded(struct np_worker *w, struct order *o, enum neap_err err, const char *words)
{
    np_sources_fini(&o->sources);
    o->sources.len = w->id;
    o->err = err;
    o->error = err && words ? np_strdup(words) : NULL;
    if (!np_worker_call(w->host->workers[0], answer_loaded, o)) {
        o->sources.len = 0;
        order_free(o);
    }
}

static void on_settled(struct np_instance *i)
{
    struct order *o = i->order;
    i->order = NULL;
    np_share_user_loaded(i->share);
    tell_loaded(i->worker, o, i->err, i->error);
}

static void do_load(struct np_worker *w, void *arg)
{
    struct order *o = arg;
    struct neap_errinfo info = {0};
    np_worker_discard(w); /* of a round that was given up */
    if (w->stopping) {
        tell_loaded(w, o, NEAP_ECANCELED, "the host stops");
        return;
    }
    enum neap_err err = np_instance_new(w, true, &w->next, &info);
    if (err) {
        tell_loaded(w, o, err, info.message);
        return;
    }
    w->next->order = o;
    for (size_t k = 0; k < o->sources.len && !err; k++)
        err = np_instance_load(w->next, o->sources.list[k]);
    if (err && !w->next->err) w->next->err = err;
    np_instance_await(w->next, on_settled);
}

static void on_timeout(struct np_timer *t)
{
    struct np_reload *r = np_container_of(t, struct np_reload, timer);
    char text[160];
    if (r->phase == NP_RELOAD_STARTING) {
        r->serial++;
        settle_first(r); /* it may well be a main chunk that goes on for ever */
        return;
    }
    if (r->phase == NP_RELOAD_SWITCHING) { /* who is stuck switches when it comes back */
        end_round(r);
        return;
    }
    snprintf(text, sizeof text,
             "not loaded within %g s (a main chunk that goes on for ever says when it is loaded: "
             "neap.ready())",
             load_timeout(r->host));
    if (!r->err) r->error = np_strdup(text);
    if (!r->err) r->err = NEAP_ETIMEDOUT;
    r->serial++;
    all_loaded(r);
}

static bool send_orders(struct np_reload *r, void (*fn)(struct np_worker *w, void *arg))
{
    neap_t *n = r->host;
    r->left = 0;
    for (unsigned i = 0; i < n->options.workers; i++) {
        if (!concerns(r, i)) continue;
        struct order *o = np_calloc(1, sizeof *o);
        if (!o) return false;
        o->serial = r->serial;
        if (np_sources_copy(&n->sources, &o->sources) != NEAP_OK ||
            !np_worker_call(n->workers[i], fn, o)) {
            order_free(o);
            return false;
        }
        r->left++;
    }
    return true;
}

static void start_round(struct np_reload *r)
{
    neap_t *n = r->host;
    r->phase = NP_RELOAD_LOADING;
    r->serial++;
    r->begun = np_loop_hrtime();
    if (r->only < 0) n->generation++; /* a state that is renewed has the code that others have */
    if (n->options.on_reloading) n->options.on_reloading(n, n->options.user);
    bool ok = send_orders(r, do_load) &&
              np_timer_start(&r->timer, np_seconds(load_timeout(n))) == NEAP_OK;
    if (ok) return;
    r->serial++;
    r->err = NEAP_ENOMEM;
    all_loaded(r);
}

/* --- asking for one */

void np_reload_start(neap_t *n, struct np_reload_wait *wait)
{
    struct np_reload *r = &n->reload;
    bool idle = r->phase == NP_RELOAD_IDLE;
    if (wait) np_list_push_back(idle ? &r->waits : &r->later, &wait->link);
    if (!idle) {
        r->again = true;
        return;
    }
    r->only = -1;
    start_round(r);
}

void np_reload_renew(neap_t *n, unsigned worker, const char *why)
{
    struct np_reload *r = &n->reload;
    np_logf(n->log, NP_LOG_WARN, "worker %u: its script state is renewed: %s", worker, why);
    if (r->phase != NP_RELOAD_IDLE) {
        r->again = true;
        return;
    }
    r->only = (int)worker;
    start_round(r);
}

static void do_await(struct np_worker *w, void *arg)
{
    struct order *o = arg;
    if (!w->current || w->current->order) {
        tell_loaded(w, o, NEAP_OK, NULL);
        return;
    }
    w->current->order = o;
    np_instance_await(w->current, on_settled);
}

void np_reload_first(neap_t *n)
{
    struct np_reload *r = &n->reload;
    if (n->ready || n->stopping || n->stopped || r->phase != NP_RELOAD_IDLE) return;
    r->phase = NP_RELOAD_STARTING;
    r->only = -1;
    r->serial++;
    if (!send_orders(r, do_await) ||
        np_timer_start(&r->timer, np_seconds(load_timeout(n))) != NEAP_OK) {
        r->serial++;
        settle_first(r);
    }
}

void np_reload_stop(neap_t *n)
{
    struct np_reload *r = &n->reload;
    if (r->phase == NP_RELOAD_SWITCHING) return; /* it ends by itself */
    r->serial++;                                 /* nobody's answer is waited for */
    if (r->phase == NP_RELOAD_LOADING) {
        if (!r->err) r->error = np_strdup("the host stops");
        if (!r->err) r->err = NEAP_ECANCELED;
        all_loaded(r);
        return;
    }
    np_timer_stop(&r->timer);
    np_free(r->error);
    r->error = NULL;
    r->err = NEAP_OK;
    r->phase = NP_RELOAD_IDLE;
    start_again(r);
}

void np_reload_init(struct np_reload *r, neap_t *n)
{
    *r = (struct np_reload){.host = n, .only = -1};
    np_link_init(&r->waits);
    np_link_init(&r->later);
    np_timer_init(&r->timer, np_host_loop(n), on_timeout);
    np_timer_set_background(&r->timer, true);
}

void np_reload_fini(struct np_reload *r)
{
    if (!r->host) return;
    np_timer_stop(&r->timer);
    tell_waits(&r->waits, NEAP_ECANCELED, "the host closes");
    tell_waits(&r->later, NEAP_ECANCELED, "the host closes");
    np_free(r->error);
    r->error = NULL;
}
