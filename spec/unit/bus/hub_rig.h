/* Several buses joined by a hub, each on a loop of its own: turned by hand on the test's thread, so
 * that a test decides who comes first, or each on a thread of its own. */
#ifndef BUS_HUB_RIG_H
#define BUS_HUB_RIG_H

#include <stdio.h>
#include <string.h>

#include "bus/hub.h"
#include "bus/request.h"
#include "bus/sub.h"
#include "np_test.h"

#define BYTES(s) ((struct np_bytes){(s), strlen(s)})
enum { MAX_WORKERS = 4 };

/* A subscriber that counts. */
struct taker {
    struct np_bus_sub *sub;
    int count;
    int ended;
    char got[512];
    size_t len;
    const struct np_bus_msg *last;
    const char *answer; /* to each message */
    int leave_after;
};

static inline void taker_message(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct taker *t = np_bus_sub_arg(s);
    t->count++;
    t->last = m;
    if (t->len < sizeof t->got / 2)
        t->len += (size_t)snprintf(t->got + t->len, sizeof t->got - t->len, "%s=%s ", m->subject.p,
                                   m->payload.p);
}

static inline void taker_end(struct np_bus_sub *s)
{
    ((struct taker *)np_bus_sub_arg(s))->ended++;
}

static const struct np_bus_sub_handler taking = {.on_message = taker_message, .on_end = taker_end};

static inline void take(struct np_bus *bus, struct taker *t, const char *pattern, const char *queue)
{
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    memset(t, 0, sizeof *t);
    if (queue) opts.queue = BYTES(queue);
    assert_ok(np_bus_subscribe(bus, BYTES(pattern), &opts, &taking, t, &t->sub));
}

static inline size_t publish(struct np_bus *bus, const char *subject, const char *payload)
{
    size_t interested = 99;
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES(payload)};
    assert_ok(np_bus_publish(bus, &m, NULL, &interested));
    return interested;
}

/* --- turned by hand */

struct world {
    int64_t live;
    unsigned n;
    struct np_bus_hub *hub;
    struct np_loop loops[MAX_WORKERS];
    struct np_bus *buses[MAX_WORKERS];
};

static inline void world_open(struct world *w, unsigned n, size_t max_pending)
{
    struct np_bus_hub_options ho = {.max_pending = max_pending};
    struct np_bus_options opts = NP_BUS_OPTIONS_INIT;
    opts.seed = 7;
    w->live = np_alloc_live();
    w->n = n;
    assert_ok(np_bus_hub_new(n, &ho, &w->hub));
    for (unsigned i = 0; i < n; i++) {
        assert_ok(np_loop_init(&w->loops[i], NULL, NULL));
        np_loop_await_posts(&w->loops[i], true); /* as a worker's does */
        assert_ok(np_bus_new(&w->loops[i], &opts, &w->buses[i]));
        assert_ok(np_bus_hub_join(w->hub, i, w->buses[i]));
    }
}

/* Until nothing is to be done at once: a parcel's way takes a few turns. */
static inline void settle(struct world *w)
{
    for (int turn = 0; turn < 12; turn++) {
        for (unsigned i = 0; i < w->n; i++)
            np_loop_poll(&w->loops[i]);
    }
}

static inline void turn(struct world *w, unsigned i)
{
    for (int k = 0; k < 4; k++)
        np_loop_poll(&w->loops[i]);
}

static inline void world_close(struct world *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        np_bus_hub_leave(w->hub, i);
        np_bus_free(w->buses[i]);
    }
    for (unsigned i = 0; i < w->n; i++) {
        np_loop_await_posts(&w->loops[i], false);
        assert_int_equal(w->loops[i].handles, 0);
        np_loop_fini(&w->loops[i], NULL, NULL);
    }
    np_bus_hub_free(w->hub);
    assert_no_leak(w->live);
}

#endif
