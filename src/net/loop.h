/* The loop: libuv's, with what every room on it shares: a read buffer, timers, a log, DNS.
 *
 * A loop is used by one thread. It may own its uv_loop_t or live on an embedder's. Everything
 * opened on it through net counts in `handles` until its memory is gone, so a test can see a leak.
 * uv_now and uv_hrtime stand in loop.c alone.
 */
#ifndef NP_NET_LOOP_H
#define NP_NET_LOOP_H

#include <stdatomic.h>

#include <uv.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mpsc.h"

#define NP_READ_BUF_SIZE ((size_t)64 * 1024)

struct np_dns;
struct np_netpolicy;
struct np_tls_shared;

/* Something to be done from the loop soon: before it next waits, never from inside the call that
 * asked. Embedded in what it is for; cannot fail. */
struct np_defer {
    struct np_link link;
    void (*fn)(struct np_defer *d);
};

struct np_loop {
    uv_loop_t *uv;
    bool owns_uv;
    bool closing;       /* np_loop_fini was called */
    int own_handles;    /* timer, idle and wake, until they are closed */
    struct np_log *log; /* not owned; may be NULL */
    char *read_buf;     /* NP_READ_BUF_SIZE bytes; what streams and sockets read into */
    struct np_heap timers;
    size_t foreground_timers; /* armed timers that keep the loop alive */
    int64_t timer_at;         /* what the uv timer is armed for, or NP_TIME_NEVER */
    bool timers_running;      /* their callbacks are being called */
    struct np_defer timers_again;
    uv_timer_t timer;            /* the one uv timer that serves the heap */
    uv_idle_t idle;              /* runs what is deferred; active only when something is */
    uv_async_t wake;             /* sent by np_loop_post */
    struct np_mpsc posts;        /* of struct np_post */
    _Atomic uint64_t posts_sent; /* how many were posted, or are about to be; any thread */
    uint64_t posts_run;          /* … and how many of them have been called */
    atomic_bool deaf;         /* it wakes for no post any more: of a thread that was left behind */
    struct np_link deferred;  /* of struct np_defer */
    struct np_link lingering; /* of struct np_stream: the loop\'s end closes them */
    struct np_dns *dns;       /* made at first use */
    const struct np_netpolicy *policy; /* not owned: where it may connect to; NULL: anywhere */
    struct np_tls_shared *tls;         /* not owned: what TLS contexts share; NULL: nothing */
    size_t handles;                    /* streams, listeners, sockets, lookups not yet gone */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* A new loop on `uv`, or on a loop of its own when `uv` is NULL. The struct must not move.
 * SIGPIPE is ignored from here on, unless the program has a handler for it. */
NEAP_MUST_CHECK enum neap_err np_loop_init(struct np_loop *loop, uv_loop_t *uv, struct np_log *log);
/* Runs until np_loop_stop or until nothing is left that keeps it alive. Only on a loop of its own.
 */
void np_loop_run(struct np_loop *loop);
/* One turn without waiting; true when there is more to do. For tests and embedders. */
bool np_loop_poll(struct np_loop *loop);
void np_loop_stop(struct np_loop *loop);
/* Closes what the loop itself holds (timer, DNS). On a loop of its own it then runs the uv loop
 * until every handle is closed and closes it; on an embedder's loop its handles close as that loop
 * runs on and `closed` (may be NULL) is called when they are gone. Everything opened on it must be
 * closed or closing. */
void np_loop_fini(struct np_loop *loop, void (*closed)(void *arg), void *arg);

/* The time of this turn of the loop, ns, with a millisecond's step: cheap. */
int64_t np_loop_now(const struct np_loop *loop);
/* The time right now, ns, same scale: costs a clock read. For measuring. */
int64_t np_loop_hrtime(void);
/* Re-reads the clock that np_loop_now answers from; after work that took long. */
void np_loop_update_time(struct np_loop *loop);

void np_defer_init(struct np_defer *d, void (*fn)(struct np_defer *d));
/* Asked for already: does nothing. What is deferred keeps the loop alive and runs in order; what
 * is deferred meanwhile runs one turn later, after the loop has looked at its sockets. */
void np_loop_defer(struct np_loop *loop, struct np_defer *d);
/* Not asked for: does nothing. Call before freeing the memory it stands in. */
void np_defer_cancel(struct np_defer *d);

/* A call from any thread into the loop's. Embedded in what is sent; whose it is goes with it. */
struct np_post {
    struct np_mpsc_node node;
    void (*fn)(struct np_post *p, struct np_loop *loop);
};
/* Any thread: has p->fn called from the loop soon, in order for each sender; the loop wakes once
 * for a batch. It keeps no loop alive. The caller sees to it that the loop has not ended; what is
 * posted and not called by np_loop_fini is called inside it. The post is not the sender's any more.
 */
void np_loop_post(struct np_loop *loop, struct np_post *p);
/* On the loop's thread: calls what has come by now, rather than soon. */
void np_loop_run_posts(struct np_loop *loop);
/* While on, the loop lives on for posts to come. */
void np_loop_await_posts(struct np_loop *loop, bool on);

/* Calls what is due and arms the uv timer for the rest; timer.c's, run by the loop. */
void np_timers_run(struct np_loop *loop);

/* For what is opened on the loop: one more in `handles`, one gone (its memory is free). */
void np_loop_retain(struct np_loop *loop);
void np_loop_release(struct np_loop *loop);

/* libuv's negative error codes as neap's. */
enum neap_err np_err_from_uv(int uv_err);

#endif
