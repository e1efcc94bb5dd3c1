/* The workers beside the first: their threads, and how they are reached. */
#include "host/worker.h"

#include <stdio.h>

#include "base/alloc.h"
#include "host/host.h"
#include "net/timer.h"

#define JOIN_TIMEOUT (5 * NP_NS_PER_SEC) /* for a thread whose script does not come back */
#define LOST_TIMEOUT NP_NS_PER_SEC       /* … which is known already */
#define IDLE_LOOK (100 * NP_NS_PER_MS)   /* how often the others are asked whether all is done */

/* --- calls */

struct call {
    struct np_post post;
    struct np_worker *worker;
    void (*fn)(struct np_worker *w, void *arg);
    void *arg;
};

static void on_call(struct np_post *p, struct np_loop *loop)
{
    (void)loop;
    struct call *c = np_container_of(p, struct call, post);
    struct call now = *c;
    np_free(c);
    now.fn(now.worker, now.arg);
}

bool np_worker_call(struct np_worker *w, void (*fn)(struct np_worker *w, void *arg), void *arg)
{
    struct call *c = np_alloc(sizeof *c);
    if (!c) {
        np_logf(w->host->log, NP_LOG_ERROR, "no memory to reach worker %u", w->id);
        return false;
    }
    *c = (struct call){.post.fn = on_call, .worker = w, .fn = fn, .arg = arg};
    np_loop_post(&w->loop, &c->post);
    return true;
}

/* --- threads */

static void on_worker_closed(void *arg)
{
    (void)arg;
}

static void say(struct np_worker *w, bool *what)
{
    uv_mutex_lock(&w->lock);
    *what = true;
    uv_cond_broadcast(&w->changed);
    uv_mutex_unlock(&w->lock);
}

/* Scripts that unwind may still call any worker: no loop goes before all scripts have. */
static void wait_for_others(struct np_worker *w)
{
    np_worker_drop_scripts(w);
    say(w, &w->dropped);
    uv_mutex_lock(&w->lock);
    while (!w->may_close)
        uv_cond_wait(&w->changed, &w->lock);
    uv_mutex_unlock(&w->lock);
}

static void run_thread(void *arg)
{
    struct np_worker *w = arg;
    w->open_err = np_worker_open(w, NULL, &w->open_info);
    bool ok = w->open_err == NEAP_OK;
    if (ok) np_loop_await_posts(&w->loop, true);
    uv_sem_post(&w->opened);
    while (ok && !w->quit)
        np_loop_run(&w->loop);
    if (ok) np_loop_await_posts(&w->loop, false);
    if (ok) wait_for_others(w);
    np_worker_close(w, on_worker_closed, w);
    say(w, &w->ended);
}

static int make_locks(struct np_worker *w)
{
    int rc = uv_sem_init(&w->opened, 0);
    if (rc < 0) return rc;
    rc = uv_mutex_init(&w->lock);
    if (rc == 0) {
        rc = uv_cond_init(&w->changed);
        if (rc == 0) return 0;
        uv_mutex_destroy(&w->lock);
    }
    uv_sem_destroy(&w->opened);
    return rc;
}

static void drop_locks(struct np_worker *w)
{
    uv_cond_destroy(&w->changed);
    uv_mutex_destroy(&w->lock);
}

static enum neap_err start_thread(struct np_worker *w)
{
    int rc = make_locks(w);
    if (rc < 0) return np_err_from_uv(rc);
    rc = uv_thread_create(&w->thread, run_thread, w);
    if (rc < 0) {
        uv_sem_destroy(&w->opened);
        drop_locks(w);
        return np_err_from_uv(rc);
    }
    w->has_thread = true;
    return NEAP_OK;
}

static enum neap_err wait_open(struct np_worker *w)
{
    uv_sem_wait(&w->opened);
    uv_sem_destroy(&w->opened);
    if (!w->open_err) return NEAP_OK;
    return np_host_fail(w->host, w->open_err, "worker %u: %s", w->id, w->open_info.message);
}

static void end_thread(struct np_worker *w)
{
    uv_thread_join(&w->thread);
    drop_locks(w);
    w->has_thread = false;
}

enum neap_err np_worker_start(struct np_worker *w)
{
    enum neap_err err = start_thread(w);
    if (err) return np_host_fail(w->host, err, "cannot start the thread of worker %u", w->id);
    err = wait_open(w);
    if (err) end_thread(w);
    return err;
}

enum neap_err np_workers_start(neap_t *n)
{
    enum neap_err err = NEAP_OK;
    unsigned started = 1;
    for (; started < n->options.workers && !err; started++) {
        err = start_thread(n->workers[started]);
        if (err) np_host_fail(n, err, "cannot start the thread of worker %u", started);
    }
    for (unsigned i = 1; i < started; i++) {
        if (!n->workers[i]->has_thread) continue;
        enum neap_err failed = wait_open(n->workers[i]);
        if (!err) err = failed;
    }
    return err;
}

static void quit(struct np_post *p, struct np_loop *loop)
{
    np_container_of(p, struct np_worker, quit_call)->quit = true;
    np_loop_stop(loop);
}

static bool wait_for(struct np_worker *w, const bool *what, int64_t until)
{
    int64_t left;
    if (w->deposed || w->overdue) until -= JOIN_TIMEOUT - LOST_TIMEOUT;
    uv_mutex_lock(&w->lock);
    while (!*what && (left = until - np_loop_hrtime()) > 0)
        uv_cond_timedwait(&w->changed, &w->lock, (uint64_t)left);
    bool ok = *what;
    uv_mutex_unlock(&w->lock);
    return ok;
}

static bool join(struct np_worker *w, int64_t until)
{
    if (!w->has_thread) return true;
    if (!w->open_err && !wait_for(w, &w->dropped, until)) {
        np_logf(w->host->log, NP_LOG_ERROR, "worker %u does not end: its script does not return",
                w->id);
        return false;
    }
    say(w, &w->may_close);
    end_thread(w);
    return true;
}

/* Calls `fn` for every worker with a thread; whether all gave true. */
static bool each_thread(neap_t *n, bool (*fn)(struct np_worker *w, int64_t until), int64_t until)
{
    bool all = true;
    struct np_link *l;
    for (unsigned i = 1; i < n->options.workers; i++)
        all = fn(n->workers[i], until) && all;
    np_list_each (l, &n->deposed)
        all = fn(np_container_of(l, struct np_worker, link), until) && all;
    return all;
}

static bool ask_to_quit(struct np_worker *w, int64_t until)
{
    (void)until;
    w->quit_call.fn = quit; /* needs no memory: a thread that is not told would not end */
    if (w->has_thread && !w->open_err) np_loop_post(&w->loop, &w->quit_call);
    return true;
}

static bool wait_dropped(struct np_worker *w, int64_t until)
{
    return !w->has_thread || w->open_err || wait_for(w, &w->dropped, until);
}

bool np_workers_join(neap_t *n)
{
    int64_t until = np_loop_hrtime() + JOIN_TIMEOUT;
    each_thread(n, ask_to_quit, until);
    np_worker_drop_scripts(n->workers[0]);
    each_thread(n, wait_dropped, until);
    return each_thread(n, join, until);
}

/* --- loading */

/* What serves on in the other workers must not end because it cannot be loaded once more: the file
 * may be another by now. */
static void give_up(struct np_worker *w, const char *message)
{
    struct np_instance *i = w->current;
    w->current = NULL;
    np_list_push_back(&w->retiring, &i->link);
    np_instance_retire(i, 0);
    np_share_leave(w->host->share, w->id);
    np_logf(w->host->log, NP_LOG_ERROR, "worker %u serves nothing until a reload: %s", w->id,
            message);
}

static void on_substituted(struct np_instance *i)
{
    if (!i->err) {
        np_share_user_loaded(i->share);
    } else if (i == i->worker->current) {
        give_up(i->worker, i->error ? i->error : neap_err_text(i->err));
    }
}

void np_worker_substituted(struct np_worker *w)
{
    if (w->current && !w->stopping && !w->current->on_settled)
        np_instance_await(w->current, on_substituted);
}

static void on_first_failure(struct np_worker *w, enum neap_err err)
{
    np_worker_main_failed(w, err, w->current->error ? w->current->error : neap_err_text(err));
}

static void load(struct np_worker *w, void *arg)
{
    struct np_source *src = arg;
    if (w->current && !w->stopping && !w->current->err) {
        enum neap_err err = np_instance_load(w->current, src);
        if (err) on_first_failure(w, err);
    }
    np_source_unref(src);
}

enum neap_err np_worker_load(struct np_worker *w, struct np_source *src)
{
    if (np_worker_call(w, load, np_source_ref(src))) return NEAP_OK;
    np_source_unref(src);
    return NEAP_ENOMEM;
}

enum neap_err np_workers_load(neap_t *n, struct np_source *src)
{
    enum neap_err err = NEAP_OK;
    for (unsigned i = 1; i < n->options.workers && !err; i++)
        err = np_worker_load(n->workers[i], src);
    return err;
}

struct failure {
    enum neap_err err;
    unsigned worker;
    char *message;
};

static void tell_failure(struct np_worker *w0, void *arg)
{
    struct failure *f = arg;
    char text[512];
    const char *words = f->message ? f->message : neap_err_text(f->err);
    if (f->worker > 0) {
        snprintf(text, sizeof text, "worker %u: %s", f->worker, words);
        words = text;
    }
    np_host_fail_late(w0->host, f->err, words);
    np_free(f->message);
    np_free(f);
}

void np_worker_main_failed(struct np_worker *w, enum neap_err err, const char *message)
{
    if (w->id == 0) {
        np_host_fail_late(w->host, err, message);
        return;
    }
    if (w->substitute) {
        give_up(w, message);
        return;
    }
    struct failure *f = np_alloc(sizeof *f);
    if (f) *f = (struct failure){err, w->id, np_strdup(message)};
    if (!f || !np_worker_call(w->host->workers[0], tell_failure, f)) {
        np_logf(w->host->log, NP_LOG_ERROR, "worker %u: %s", w->id, message);
        if (f) np_free(f->message);
        np_free(f);
    }
}

/* --- idle?
 *
 * Worker 0 asks the others whether they have anything left to do. Each may be given something by
 * another right after it has answered; so all is done only when as many calls had been run by the
 * time of the answers as have been sent to anybody when the last of them is here. */

struct idle_answer {
    struct np_worker *asked;
    uint64_t posts;
    bool busy;
};

static void take_answer(struct np_worker *w0, void *arg)
{
    struct idle_answer *a = arg;
    neap_t *n = w0->host;
    n->idle_replies--;
    n->idle_posts += a->posts;
    if (a->busy) n->others_busy = true;
    np_free(a);
}

static void ask_idle(struct np_worker *w, void *arg)
{
    struct idle_answer *a = arg;
    np_loop_await_posts(&w->loop, false);
    a->busy = uv_loop_alive(w->loop.uv) != 0;
    a->posts = w->loop.posts_run;
    np_loop_await_posts(&w->loop, true);
    if (!np_worker_call(w->host->workers[0], take_answer, a)) np_free(a);
}

static bool given_up(const neap_t *n)
{
    return n->stopped || n->failed;
}

static uint64_t posts_sent(neap_t *n)
{
    uint64_t sent = 0;
    for (unsigned i = 0; i < n->options.workers; i++)
        sent += atomic_load(&n->workers[i]->loop.posts_sent);
    return sent;
}

/* Whether nobody has anything to do, or any call on its way. */
static bool ask_all(neap_t *n)
{
    struct np_loop *loop = np_host_loop(n);
    n->others_busy = false;
    n->idle_replies = 0;
    n->idle_posts = 0;
    for (unsigned i = 1; i < n->options.workers; i++) {
        struct idle_answer *a = np_calloc(1, sizeof *a);
        if (a && np_worker_call(n->workers[i], ask_idle, a)) {
            n->idle_replies++;
        } else {
            np_free(a);
            n->others_busy = true; /* not known */
        }
    }
    while (n->idle_replies > 0 && !given_up(n))
        uv_run(loop->uv, UV_RUN_ONCE);
    return !n->others_busy && n->idle_posts + loop->posts_run == posts_sent(n);
}

static void on_look(struct np_timer *t)
{
    (void)t; /* the loop comes to its end, and who runs it asks again */
}

static void wait_a_moment(neap_t *n)
{
    struct np_loop *loop = np_host_loop(n);
    struct np_timer timer;
    np_timer_init(&timer, loop, on_look);
    if (np_timer_start(&timer, IDLE_LOOK) != NEAP_OK) return;
    while (np_timer_armed(&timer) && !given_up(n))
        uv_run(loop->uv, UV_RUN_ONCE);
    np_timer_stop(&timer);
}

bool np_workers_idle(neap_t *n)
{
    struct np_loop *loop = np_host_loop(n);
    np_loop_await_posts(loop, true);
    bool idle = ask_all(n);
    bool busy = n->others_busy;
    np_loop_await_posts(loop, false);
    if (given_up(n) || idle) return true;
    if (busy) wait_a_moment(n);
    return false;
}
