/* What scripts ask of their host, on any worker's thread; see script/runtime.h. */
#include <stdio.h>

#include "base/alloc.h"
#include "host/host.h"
#include "script/value.h"

/* --- reloading: the request goes to worker 0, and back */

struct wish {
    struct np_reload_wait wait;
    struct np_post post;
    neap_t *host;
    struct np_reload_request *request;
};

static void on_answer(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct np_reload_request *r = np_container_of(p, struct np_reload_request, post);
    r->done(r);
}

static void on_reloaded(struct np_reload_wait *w, enum neap_err err, const char *message)
{
    struct wish *wish = np_container_of(w, struct wish, wait);
    struct np_reload_request *r = wish->request;
    bool closing = wish->host->closing;
    r->err = err;
    if (err) snprintf(r->message, sizeof r->message, "%s", message);
    np_free(wish);
    if (closing) {
        r->done(r); /* the other threads have ended */
    } else {
        np_loop_post(r->loop, &r->post);
    }
}

static void start_wish(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct wish *wish = np_container_of(p, struct wish, post);
    neap_t *n = wish->host;
    if (n->stopping || n->closing) {
        on_reloaded(&wish->wait, NEAP_ECANCELED, "the host stops");
        return;
    }
    np_reload_start(n, &wish->wait);
}

static void reload(struct np_runtime *rt, struct np_reload_request *r)
{
    neap_t *n = np_host_of(rt);
    struct wish *wish = np_calloc(1, sizeof *wish);
    r->err = NEAP_OK;
    r->post.fn = on_answer;
    if (!wish) {
        r->err = NEAP_ENOMEM;
        snprintf(r->message, sizeof r->message, "%s", neap_err_text(NEAP_ENOMEM));
        np_loop_post(r->loop, &r->post);
        return;
    }
    *wish = (struct wish){.wait.fn = on_reloaded, .post.fn = start_wish, .host = n, .request = r};
    np_link_init(&wish->wait.link);
    np_loop_post(np_host_loop(n), &wish->post);
}

static void ready(struct np_script *s)
{
    np_instance_say_ready(s->owner);
}

/* --- values between workers */

#define MAX_MAIL ((size_t)64 * 1024 * 1024) /* bytes under way to a worker */

struct mail {
    atomic_uint refs;
    unsigned from;
    size_t size;
    struct np_arena arena;
    neap_value value;
};

static void mail_unref(struct mail *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    np_arena_fini(&m->arena);
    np_free(m);
}

static void deliver(struct np_worker *w, void *arg)
{
    struct mail *m = arg;
    struct np_script *s = w->current ? w->current->script : NULL;
    atomic_fetch_sub_explicit(&w->mail, m->size, memory_order_relaxed);
    if (s && s->on_mail) s->on_mail(s, m->from, &m->value);
    mail_unref(m);
}

static enum neap_err send_to(struct np_worker *w, struct mail *m)
{
    size_t before = atomic_fetch_add_explicit(&w->mail, m->size, memory_order_relaxed);
    bool has_room = before == 0 || (before < MAX_MAIL && m->size <= MAX_MAIL - before);
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    if (has_room && np_worker_call(w, deliver, m)) return NEAP_OK;
    atomic_fetch_sub_explicit(&w->mail, m->size, memory_order_relaxed);
    mail_unref(m);
    return has_room ? NEAP_ENOMEM : NEAP_ELIMIT;
}

static struct mail *make_mail(unsigned from, const neap_value *v, enum neap_err *err)
{
    struct mail *m = np_calloc(1, sizeof *m);
    *err = NEAP_ENOMEM;
    if (!m) return NULL;
    atomic_init(&m->refs, 1);
    np_arena_init(&m->arena, 256);
    m->from = from;
    *err = np_value_copy(&m->arena, v, &m->value);
    m->size = sizeof *m + m->arena.used;
    if (!*err) return m;
    mail_unref(m);
    return NULL;
}

static enum neap_err send_value(struct np_script *from, int to, const neap_value *v)
{
    neap_t *n = np_host_of(from->host);
    enum neap_err err;
    if (to >= 0 && (unsigned)to >= n->options.workers) return NEAP_ENOTFOUND;
    struct mail *m = make_mail(from->worker, v, &err);
    if (!m) return err;
    for (unsigned i = 0; i < n->options.workers; i++) {
        bool wanted = to >= 0 ? (unsigned)to == i : i != from->worker;
        enum neap_err failed = wanted ? send_to(n->workers[i], m) : NEAP_OK;
        if (!err) err = failed;
    }
    mail_unref(m);
    return err;
}

const struct np_runtime_ops np_host_runtime_ops = {reload, ready, send_value};
