/* The loop: libuv's, with what every room on it shares: a read buffer, timers, a log, DNS.
 *
 * A loop is used by one thread. It may own its uv_loop_t or live on an embedder's. Everything
 * opened on it through net counts in `handles` until its memory is gone, so a test can see a leak.
 * uv_now and uv_hrtime stand in loop.c alone.
 */
#ifndef NP_NET_LOOP_H
#define NP_NET_LOOP_H

#include <uv.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/log.h"

#define NP_READ_BUF_SIZE ((size_t)64 * 1024)

struct np_dns;

struct np_loop {
    uv_loop_t *uv;
    bool owns_uv;
    bool read_buf_lent; /* between uv's alloc and read callbacks */
    struct np_log *log; /* not owned; may be NULL */
    char *read_buf;     /* NP_READ_BUF_SIZE bytes; what a stream reads into */
    struct np_heap timers;
    size_t foreground_timers; /* armed timers that keep the loop alive */
    uv_timer_t timer;         /* the one uv timer that serves the heap */
    struct np_dns *dns;       /* made at first use */
    size_t handles;           /* streams, listeners, sockets, lookups not yet gone */
    bool closing;
};

/* A new loop on `uv`, or on a loop of its own when `uv` is NULL. The struct must not move. */
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

/* libuv's negative error codes as neap's. */
enum neap_err np_err_from_uv(int uv_err);

#endif
