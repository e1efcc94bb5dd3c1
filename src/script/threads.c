/* The pool: threads, the queue, the end. What a job does in a state stands in thread_state.c. */
#include "script/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "script/thread_state.h"

#define MAX_QUEUE 1024
#define STOP_PATIENCE NP_NS_PER_SEC

struct np_threads {
    uv_mutex_t lock;
    uv_cond_t wake;  /* a job has come, or the end */
    uv_cond_t ended; /* a thread has ended */
    struct np_threads_options opts;
    struct np_link queue;   /* of struct np_job */
    struct np_link running; /* the same */
    size_t queued;
    unsigned threads; /* that have not ended */
    unsigned idle;
    unsigned refs; /* one for each thread, one for the owner */
    bool stopped;
    atomic_bool quit;
};

static void unref(struct np_threads *t)
{
    uv_mutex_lock(&t->lock);
    bool last = --t->refs == 0;
    uv_mutex_unlock(&t->lock);
    if (!last) return;
    uv_cond_destroy(&t->wake);
    uv_cond_destroy(&t->ended);
    uv_mutex_destroy(&t->lock);
    np_free(t);
}

static int init_locks(struct np_threads *t)
{
    int rc = uv_mutex_init(&t->lock);
    if (rc < 0) return rc;
    rc = uv_cond_init(&t->wake);
    if (rc == 0) rc = uv_cond_init(&t->ended);
    if (rc < 0) uv_mutex_destroy(&t->lock);
    return rc;
}

enum neap_err np_threads_new(const struct np_threads_options *opts, struct np_threads **out)
{
    struct np_threads *t = np_calloc(1, sizeof *t);
    if (!t) return NEAP_ENOMEM;
    if (opts) t->opts = *opts;
    if (t->opts.max_threads == 0) t->opts.max_threads = uv_available_parallelism();
    if (t->opts.max_queue == 0) t->opts.max_queue = MAX_QUEUE;
    np_link_init(&t->queue);
    np_link_init(&t->running);
    t->refs = 1;
    int rc = init_locks(t);
    if (rc < 0) {
        np_free(t);
        return np_err_from_uv(rc);
    }
    *out = t;
    return NEAP_OK;
}

/* --- jobs */

struct np_job *np_job_new(struct np_loop *loop, void (*done)(struct np_job *j))
{
    struct np_job *j = np_calloc(1, sizeof *j);
    if (!j) return NULL;
    np_link_init(&j->link);
    np_arena_init(&j->arena, 512);
    j->loop = loop;
    j->done = done;
    return j;
}

void np_job_free(struct np_job *j)
{
    np_arena_fini(&j->arena);
    np_free(j);
}

static void on_back(struct np_post *p, struct np_loop *loop)
{
    struct np_job *j = np_container_of(p, struct np_job, post);
    np_loop_release(loop);
    j->done(j);
}

/* Under the lock. */
static void give_back(struct np_job *j)
{
    np_list_remove(&j->link);
    np_loop_post(j->loop, &j->post);
}

/* --- threads */

/* The next job, or NULL at the end. Under the lock. */
static struct np_job *take_job(struct np_threads *t)
{
    while (np_list_empty(&t->queue) && !t->quit) {
        t->idle++;
        uv_cond_wait(&t->wake, &t->lock);
        t->idle--;
    }
    if (t->quit) return NULL;
    struct np_link *l = np_list_pop_front(&t->queue);
    t->queued--;
    np_list_push_back(&t->running, l);
    return np_container_of(l, struct np_job, link);
}

static void run_jobs(struct np_threads *t)
{
    struct np_thread_state *state = NULL;
    struct np_job *j;
    uv_mutex_lock(&t->lock);
    while ((j = take_job(t))) {
        uv_mutex_unlock(&t->lock);
        np_thread_state_run(&state, &t->opts, &t->quit, j);
        uv_mutex_lock(&t->lock);
        if (!t->stopped) give_back(j); /* else its loop may be gone, and the job is left */
    }
    uv_mutex_unlock(&t->lock);
    np_thread_state_free(state);
}

static void *run_thread(void *arg)
{
    struct np_threads *t = arg;
    run_jobs(t);
    uv_mutex_lock(&t->lock);
    t->threads--;
    uv_cond_signal(&t->ended);
    uv_mutex_unlock(&t->lock);
    unref(t);
    return NULL;
}

/* Detached, with all signals blocked. Under the lock. */
static bool start_thread(struct np_threads *t)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    t->threads++;
    t->refs++;
    bool ok = pthread_create(&thread, NULL, run_thread, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok) {
        pthread_detach(thread);
        return true;
    }
    t->threads--;
    t->refs--;
    return t->threads > 0;
}

enum neap_err np_threads_run(struct np_threads *t, struct np_job *j)
{
    enum neap_err err = NEAP_OK;
    uv_mutex_lock(&t->lock);
    if (t->quit) {
        err = NEAP_ECLOSED;
    } else if (t->queued >= t->opts.max_queue) {
        err = NEAP_ELIMIT;
    } else if (t->queued >= t->idle && t->threads < t->opts.max_threads && !start_thread(t)) {
        err = NEAP_ENOMEM;
    }
    if (!err) {
        j->pool = t;
        j->post.fn = on_back;
        np_loop_retain(j->loop);
        np_list_push_back(&t->queue, &j->link);
        t->queued++;
        uv_cond_signal(&t->wake);
    }
    uv_mutex_unlock(&t->lock);
    return err;
}

/* --- the end */

bool np_threads_stop(struct np_threads *t)
{
    struct np_link *l;
    int64_t until = np_loop_hrtime() + STOP_PATIENCE;
    int64_t left;
    uv_mutex_lock(&t->lock);
    t->quit = true;
    while (!t->stopped && (l = t->queue.next) != &t->queue) {
        struct np_job *j = np_container_of(l, struct np_job, link);
        j->err = NEAP_ECLOSED;
        give_back(j);
    }
    t->queued = 0;
    uv_cond_broadcast(&t->wake);
    while (t->threads > 0 && (left = until - np_loop_hrtime()) > 0)
        uv_cond_timedwait(&t->ended, &t->lock, (uint64_t)left);
    if (t->threads > 0 && !t->stopped)
        np_logf(t->opts.log, NP_LOG_ERROR, "%u computing threads do not end", t->threads);
    t->stopped = true;
    bool ended = t->threads == 0;
    uv_mutex_unlock(&t->lock);
    return ended;
}

void np_threads_free(struct np_threads *t)
{
    if (!t) return;
    if (!t->stopped) (void)np_threads_stop(t);
    t->opts.log = NULL;
    t->opts.runtime = NULL;
    unref(t);
}
