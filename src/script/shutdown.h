/* Shutdown: how what a script opened ends in good order when the host is told to stop.
 *
 * Whatever should finish its work before the process ends embeds a `struct np_drain` and adds it
 * when it opens: an HTTP or TCP server, a registration, a bus subscription. When the host stops,
 * each one's `drain` is called, last added first (so a registration made after its server leaves
 * the registry before the server stops accepting), all in one turn of the loop. An object takes
 * itself out with np_drain_remove when it has ended, however it ended; when none is left, or the
 * grace is over, the host goes on to cancel the tasks and close the state. The worker's thread.
 */
#ifndef NP_SCRIPT_SHUTDOWN_H
#define NP_SCRIPT_SHUTDOWN_H

#include "net/loop.h"
#include "net/timer.h"

struct np_shutdown;

struct np_drain {
    struct np_link link;
    struct np_shutdown *owner; /* NULL when not added; zero-initialised is not added */
    bool called;
    bool last; /* asked only when all that is left is such: what the others need to the end */
    /* Take no new work, finish what is in flight within `grace` ns (0: end at once), then call
     * np_drain_remove, which may be called right inside. Called once. The object may hold on to its
     * memory and to its tasks until then. */
    void (*drain)(struct np_drain *d, int64_t grace);
    /* The drain was a retirement and has become a stop (see np_shutdown_retire). Called once; may
     * be NULL. */
    void (*hurry)(struct np_drain *d);
};

struct np_shutdown {
    struct np_loop *loop;
    struct np_link objects; /* of struct np_drain, in the order they were added */
    bool draining;
    bool retiring;           /* … because another state does the work; nobody waits for the end */
    int64_t until;           /* loop time when the grace ends, while draining */
    struct np_timer timer;   /* the grace */
    struct np_defer step;    /* calls `drain` of what was added, and `done` */
    void (*done)(void *arg); /* called once, from the loop, never from inside start */
    void *arg;
};

/* In np_script_new and np_script_free. fini forgets what is still added. */
void np_shutdown_init(struct np_shutdown *s, struct np_loop *loop);
void np_shutdown_fini(struct np_shutdown *s);

/* Added while draining: its `drain` is called in the loop's next turn. Cannot fail. */
void np_drain_add(struct np_shutdown *s, struct np_drain *d);
/* Not added: does nothing. */
void np_drain_remove(struct np_drain *d);

/* Begins to drain; `done` is called when all is drained or `grace` ns (0: at once) have passed. A
 * second call only shortens the grace. */
void np_shutdown_start(struct np_shutdown *s, int64_t grace, void (*done)(void *arg), void *arg);
/* The same, for a state whose work another does from now on: nobody waits for the end, and what is
 * made to last (a connection between two messages) may go on until its peer ends it or the grace
 * does. np_shutdown_start makes a stop of it. */
void np_shutdown_retire(struct np_shutdown *s, int64_t grace, void (*done)(void *arg), void *arg);
/* After either: asks at once, rather than from the loop soon, so that what another state
 * takes over right now is not done by both. Not from inside a script. */
void np_shutdown_ask(struct np_shutdown *s);
static inline bool np_shutting_down(const struct np_shutdown *s)
{
    return s->draining;
}

#endif
