/* What the tests of bridges share: buses joined over TCP on one loop, and who takes messages there.
 */
#ifndef NP_BUS_BRIDGE_RIG_H
#define NP_BUS_BRIDGE_RIG_H

#include "np_test.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "bus/bridge.h"
#include "bus/hub.h"
#include "bus/request.h"
#include "bus/server.h"
#include "bus/sub.h"
#include "bus/url.h"

static const int64_t linger = NP_NS_PER_SEC;
#define BYTES(s) ((struct np_bytes){(s), strlen(s)})

/* One bus of several, as a process would have it. */
struct node {
    struct np_bus *bus;
    struct np_bus_server *server;
    struct np_bus_bridge *bridge;
    enum np_bus_bridge_state state; /* as told last */
    int told;
    enum neap_err err;
    char why[240];
};

struct world {
    int64_t live;
    struct np_loop loop;
    struct node nodes[4];
};

static inline int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.live = np_alloc_live();
    assert_ok(np_loop_init(&w.loop, NULL, NULL));
    *state = &w;
    return 0;
}

static inline struct node *node(struct world *w, int i, bool serve)
{
    struct node *n = &w->nodes[i];
    assert_ok(np_bus_new(&w->loop, NULL, &n->bus));
    if (!serve) return n;
    assert_ok(np_bus_server_new(n->bus, NULL, &n->server));
    assert_ok(np_bus_server_listen(n->server, "127.0.0.1", 0, NULL));
    return n;
}

static inline void stop(struct node *n)
{
    if (n->bridge) np_bus_bridge_close(n->bridge, linger, NULL, NULL);
    if (n->server) np_bus_server_close(n->server, linger, NULL, NULL);
    np_bus_free(n->bus);
    memset(n, 0, sizeof *n);
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 4; i++)
        stop(&w->nodes[i]);
    while (w->loop.handles > 0 || !np_list_empty(&w->loop.deferred))
        np_loop_poll(&w->loop);
    np_loop_fini(&w->loop, NULL, NULL);
    assert_no_leak(w->live);
    return 0;
}

static inline void on_state(struct np_bus_bridge *b, enum np_bus_bridge_state state,
                            enum neap_err err, const char *why)
{
    struct node *n = np_bus_bridge_arg(b);
    n->state = state;
    n->told++;
    n->err = err;
    snprintf(n->why, sizeof n->why, "%s", why);
}

static inline void bridge_with(struct node *n, int port, struct np_bus_bridge_options opts)
{
    assert_ok(np_bus_bridge_open(n->bus, "127.0.0.1", port, &opts, on_state, n, &n->bridge, NULL));
}

static inline struct np_bus_bridge_options quick(bool retry)
{
    struct np_bus_bridge_options opts = NP_BUS_BRIDGE_OPTIONS_INIT;
    opts.reconnect_min = opts.reconnect_max = 2 * NP_NS_PER_MS;
    opts.retry = retry;
    return opts;
}

static inline void run_until_state(struct world *w, struct node *n, enum np_bus_bridge_state state)
{
    while (n->state != state)
        np_loop_poll(&w->loop);
}

static inline void join(struct world *w, struct node *n, struct node *to)
{
    bridge_with(n, np_bus_server_port(to->server), quick(false));
    run_until_state(w, n, NP_BUS_BRIDGE_CONNECTED);
}

static bool flushed;
static inline void on_flush(struct np_bus_flush *f, enum neap_err err)
{
    flushed = true;
    f->err = err;
}

/* All that `n` published has reached its remote, and what was to come back has come. */
static inline void settle(struct world *w, struct node *n)
{
    struct np_bus_flush f;
    for (int i = 0; i < 2; i++) {
        np_bus_flush_init(&f, on_flush);
        flushed = false;
        assert_ok(np_bus_flush_start(n->bus, &f));
        while (!flushed)
            np_loop_poll(&w->loop);
        assert_ok(f.err);
    }
    for (int i = 0; i < 10; i++)
        np_loop_poll(&w->loop);
}

struct taker {
    struct np_bus_sub *sub;
    char got[512];
    int count;
};

static inline void on_message(struct np_bus_sub *s, struct np_bus_msg *m)
{
    struct taker *t = np_bus_sub_arg(s);
    size_t n = strlen(t->got);
    t->count++;
    snprintf(t->got + n, sizeof t->got - n, "%s=%s ", m->subject.p, m->payload.p);
}
static const struct np_bus_sub_handler taking = {.on_message = on_message};

static inline void take(struct node *n, struct taker *t, const char *pattern, const char *queue,
                        uint64_t max)
{
    struct np_bus_sub_options opts = NP_BUS_SUB_OPTIONS_INIT;
    if (queue) opts.queue = BYTES(queue);
    opts.max = max;
    memset(t, 0, sizeof *t);
    assert_ok(np_bus_subscribe(n->bus, BYTES(pattern), &opts, &taking, t, &t->sub));
}

static inline enum neap_err try_publish(struct node *n, const char *subject, const char *payload)
{
    struct np_bus_out m = {.subject = BYTES(subject), .payload = BYTES(payload)};
    return np_bus_publish(n->bus, &m, NULL, NULL);
}

static inline void publish(struct node *n, const char *subject, const char *payload)
{
    assert_ok(try_publish(n, subject, payload));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
