/* The loop's life, its clock, and what is deferred to its next turn.
 *
 * The loop closes its own uv handles last, when everything opened on it is gone. One thread.
 */
#include "net/loop.h"

#include <signal.h>

#include "base/alloc.h"
#include "net/dns.h"
#include "net/stream.h"

#define MAX_POSTS 4096 /* in one go, before I/O gets its share */

static void run_deferred(uv_idle_t *h)
{
    struct np_loop *loop = h->data;
    struct np_link batch;
    np_link_init(&batch);
    np_list_splice(&batch, &loop->deferred);
    for (struct np_link *l; (l = np_list_pop_front(&batch));) {
        struct np_defer *d = np_container_of(l, struct np_defer, link);
        d->fn(d);
    }
    if (np_list_empty(&loop->deferred)) uv_idle_stop(&loop->idle);
}

void np_defer_init(struct np_defer *d, void (*fn)(struct np_defer *d))
{
    np_link_init(&d->link);
    d->fn = fn;
}

void np_loop_defer(struct np_loop *loop, struct np_defer *d)
{
    if (np_link_linked(&d->link)) return;
    np_list_push_back(&loop->deferred, &d->link);
    uv_idle_start(&loop->idle, run_deferred);
}

void np_defer_cancel(struct np_defer *d)
{
    np_list_remove(&d->link);
}

static bool run_one_post(struct np_loop *loop)
{
    struct np_mpsc_node *node = np_mpsc_pop(&loop->posts);
    if (!node) return false;
    struct np_post *p = np_container_of(node, struct np_post, node);
    loop->posts_run++;
    p->fn(p, loop);
    return true;
}

void np_loop_run_posts(struct np_loop *loop)
{
    for (int i = 0; i < MAX_POSTS; i++) {
        if (!run_one_post(loop)) return;
    }
    uv_async_send(&loop->wake); /* the rest wakes nobody by itself */
}

static void on_wake(uv_async_t *h)
{
    np_loop_run_posts(h->data);
}

void np_loop_post(struct np_loop *loop, struct np_post *p)
{
    atomic_fetch_add_explicit(&loop->posts_sent, 1, memory_order_relaxed);
    if (np_mpsc_push(&loop->posts, &p->node) && !atomic_load(&loop->deaf))
        uv_async_send(&loop->wake);
}

void np_loop_await_posts(struct np_loop *loop, bool on)
{
    if (on)
        uv_ref((uv_handle_t *)&loop->wake);
    else
        uv_unref((uv_handle_t *)&loop->wake);
}

static void timers_again(struct np_defer *d)
{
    np_timers_run(np_container_of(d, struct np_loop, timers_again));
}

/* A write to a socket whose peer has gone is an error of that write; as a signal it would end the
 * process. A program that handles the signal itself keeps its handler. */
static void ignore_sigpipe(void)
{
    struct sigaction old;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        sigaction(SIGPIPE, &ignore, NULL);
}

enum neap_err np_loop_init(struct np_loop *loop, uv_loop_t *uv, struct np_log *log)
{
    enum neap_err err = NEAP_ENOMEM;
    uv_loop_t *own = NULL;
    char *read_buf = np_alloc(NP_READ_BUF_SIZE);
    if (!read_buf) return NEAP_ENOMEM;
    if (!uv) {
        own = np_alloc(sizeof *own);
        if (!own) goto fail;
        int rc = uv_loop_init(own);
        if (rc < 0) {
            err = np_err_from_uv(rc);
            goto fail;
        }
        uv = own;
    }
    *loop = (struct np_loop){.uv = uv, .owns_uv = own != NULL, .log = log, .read_buf = read_buf};
    ignore_sigpipe();
    np_heap_init(&loop->timers);
    np_link_init(&loop->deferred);
    np_link_init(&loop->lingering);
    np_defer_init(&loop->timers_again, timers_again);
    loop->timer_at = NP_TIME_NEVER;
    np_mpsc_init(&loop->posts);
    int rc = uv_async_init(uv, &loop->wake, on_wake);
    if (rc < 0) {
        err = np_err_from_uv(rc);
        if (own) uv_loop_close(own);
        goto fail;
    }
    uv_timer_init(uv, &loop->timer); /* neither can fail */
    uv_idle_init(uv, &loop->idle);
    uv_unref((uv_handle_t *)&loop->wake);
    uv_unref((uv_handle_t *)&loop->timer); /* until a foreground timer is armed */
    loop->timer.data = loop->idle.data = loop->wake.data = loop;
    loop->own_handles = 3;
    return NEAP_OK;
fail:
    np_free(own);
    np_free(read_buf);
    return err;
}

void np_loop_run(struct np_loop *loop)
{
    uv_run(loop->uv, UV_RUN_DEFAULT);
}

bool np_loop_poll(struct np_loop *loop)
{
    return uv_run(loop->uv, UV_RUN_NOWAIT) != 0;
}

void np_loop_stop(struct np_loop *loop)
{
    uv_stop(loop->uv);
}

static void own_handle_closed(uv_handle_t *h)
{
    struct np_loop *loop = h->data;
    if (--loop->own_handles > 0) return;
    np_heap_fini(&loop->timers);
    np_free(loop->read_buf);
    loop->read_buf = NULL;
    if (!loop->owns_uv && loop->closed) loop->closed(loop->closed_arg);
}

static void close_own_handles(struct np_loop *loop)
{
    if (uv_is_closing((uv_handle_t *)&loop->timer)) return;
    atomic_store(&loop->deaf, true);
    uv_close((uv_handle_t *)&loop->timer, own_handle_closed);
    uv_close((uv_handle_t *)&loop->idle, own_handle_closed);
    uv_close((uv_handle_t *)&loop->wake, own_handle_closed);
}

static bool is_own(const struct np_loop *loop, const uv_handle_t *h)
{
    return h == (const uv_handle_t *)&loop->timer || h == (const uv_handle_t *)&loop->idle ||
           h == (const uv_handle_t *)&loop->wake;
}

/* A handle that nobody closed is a bug of its owner's; it must not hang the end of the loop. */
static void unref_left_open(uv_handle_t *h, void *arg)
{
    struct np_loop *loop = arg;
    if (uv_is_closing(h) || is_own(loop, h)) return;
    np_logf(loop->log, NP_LOG_ERROR, "a %s handle was left open at the end of its loop",
            uv_handle_type_name(h->type));
    uv_unref(h);
}

static void fini_own_uv(struct np_loop *loop)
{
    uv_run(loop->uv, UV_RUN_NOWAIT); /* what was closed just now closes */
    uv_walk(loop->uv, unref_left_open, loop);
    uv_run(loop->uv, UV_RUN_DEFAULT);
    close_own_handles(loop);
    uv_run(loop->uv, UV_RUN_DEFAULT);
    if (uv_loop_close(loop->uv) == 0) np_free(loop->uv); /* else what is left still points to it */
    loop->uv = NULL;
    if (loop->closed) loop->closed(loop->closed_arg);
}

void np_loop_fini(struct np_loop *loop, void (*closed)(void *arg), void *arg)
{
    while (run_one_post(loop))
        ;
    loop->closing = true;
    loop->closed = closed;
    loop->closed_arg = arg;
    np_dns_free(loop);
    np_streams_stop_lingering(loop);
    if (loop->handles == 0) close_own_handles(loop);
    if (loop->owns_uv) fini_own_uv(loop);
}

void np_loop_retain(struct np_loop *loop)
{
    loop->handles++;
}

void np_loop_release(struct np_loop *loop)
{
    loop->handles--;
    if (loop->closing && loop->handles == 0) close_own_handles(loop);
}

int64_t np_loop_now(const struct np_loop *loop)
{
    return (int64_t)uv_now(loop->uv) * NP_NS_PER_MS;
}

int64_t np_loop_hrtime(void)
{
    return (int64_t)uv_hrtime();
}

void np_loop_update_time(struct np_loop *loop)
{
    uv_update_time(loop->uv);
}

enum neap_err np_err_from_uv(int uv_err)
{
    if (uv_err >= 0) return NEAP_OK;
    switch (uv_err) {
    case UV_EOF:
        return NEAP_EOF;
    case UV_ECANCELED:
        return NEAP_ECANCELED;
    case UV_ECHARSET:
        return NEAP_EINVAL;
    default:
        if (uv_err <= UV_EAI_ADDRFAMILY && uv_err > UV_EAI_ADDRFAMILY - 100) return NEAP_EDNS;
        return np_err_from_errno(-uv_err);
    }
}
