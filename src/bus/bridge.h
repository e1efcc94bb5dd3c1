/* A bridge: joins the bus to a remote one, another neap's or a nats-server, as a NATS client.
 *
 * While it is attached, what is published here goes to the remote alone and comes back through it
 * to local subscriptions, which are subscribed remotely (once for each pattern and queue). So every
 * message is delivered once, and queue groups balance over all processes joined to that remote.
 * Without `retry` it is attached once it is connected; with it, at once. It stays attached while it
 * reconnects: publishes are then kept, up to a bound, and sent in order afterwards. What was on its
 * way when a connection broke may be lost (at most once, as all of core NATS).
 *
 * Buses that are bridged form a tree: a remote that is itself bridged to this bus, directly or over
 * others, is refused. A client of this bus' server that asked for no echo hears its own messages
 * when they come back from a remote. One loop, one thread.
 */
#ifndef NP_BUS_BRIDGE_H
#define NP_BUS_BRIDGE_H

#include "bus/bus.h"
#include "net/dial.h"

struct np_bus_bridge;

enum np_bus_bridge_state {
    NP_BUS_BRIDGE_CONNECTING, /* the first time */
    NP_BUS_BRIDGE_CONNECTED,
    NP_BUS_BRIDGE_AWAY,   /* lost; tries again */
    NP_BUS_BRIDGE_FAILED, /* the first attempt failed and `retry` is off; only close is useful */
    NP_BUS_BRIDGE_CLOSED,
};

struct np_bus_bridge_options {
    const char *name;        /* told to the remote; NULL: "neap" */
    int64_t connect_timeout; /* ns until the remote has answered, default 5 s */
    int64_t ping_interval;   /* ns, default 2 min; 0 never pings */
    int max_pings;           /* unanswered, default 2 */
    int64_t reconnect_min;   /* ns of the first wait, default 100 ms; doubles, with jitter */
    int64_t reconnect_max;   /* ns, default 5 s */
    size_t max_away;         /* bytes of publishes kept while away, default 8 MiB: more fail */
    size_t max_pending;      /* bytes waiting for the socket, default 64 MiB: more fail */
    bool retry;              /* the first attempt may fail too; default false */
    bool held;               /* connects, but is not attached before np_bus_bridge_release */
};
#define NP_BUS_BRIDGE_OPTIONS_INIT                                                               \
    {                                                                                            \
        .connect_timeout = 5 * NP_NS_PER_SEC, .ping_interval = 120 * NP_NS_PER_SEC,              \
        .max_pings = 2, .reconnect_min = 100 * NP_NS_PER_MS, .reconnect_max = 5 * NP_NS_PER_SEC, \
        .max_away = (size_t)8 * 1024 * 1024, .max_pending = (size_t)64 * 1024 * 1024             \
    }

/* Told from the loop when the state has changed to CONNECTED, AWAY or FAILED. `why` is words for
 * `err`, "" when there is none. May be NULL. */
typedef void (*np_bus_bridge_fn)(struct np_bus_bridge *b, enum np_bus_bridge_state state,
                                 enum neap_err err, const char *why);

/* `opts` may be NULL. NEAP_EBUSY: the bus has a bridge already (one that is held may be beside it).
 */
NEAP_MUST_CHECK enum neap_err np_bus_bridge_open(struct np_bus *bus, const char *host, int port,
                                                 const struct np_bus_bridge_options *opts,
                                                 np_bus_bridge_fn fn, void *arg,
                                                 struct np_bus_bridge **out,
                                                 struct neap_errinfo *info);
/* A held one is like any other from now on; any other: does nothing. NEAP_EBUSY: the bus has
 * another that is attached. NEAP_ENOMEM. It is still held then. */
NEAP_MUST_CHECK enum neap_err np_bus_bridge_release(struct np_bus_bridge *b);

/* The bridge that is attached; NULL: none is. */
struct np_bus_bridge *np_bus_get_bridge(const struct np_bus *bus);
/* Whether it goes where these would go, and in the same way. How the first attempt was to be made
 * does not matter. `opts` may be NULL. */
bool np_bus_bridge_same(const struct np_bus_bridge *b, const char *host, int port,
                        const struct np_bus_bridge_options *opts);
/* It is another's from here on; who had it is told nothing more. */
void np_bus_bridge_set_owner(struct np_bus_bridge *b, np_bus_bridge_fn fn, void *arg);
/* NULL when it is told to nobody. */
np_bus_bridge_fn np_bus_bridge_get_fn(const struct np_bus_bridge *b);

/* Hears what the owner hears, and of CLOSED; then it is no watch any more. Embedded. It closes no
 * bridge. */
struct np_bus_bridge_watch {
    struct np_link link;
    void (*fn)(struct np_bus_bridge_watch *w, enum np_bus_bridge_state state, enum neap_err err,
               const char *why);
};
void np_bus_bridge_watch(struct np_bus_bridge *b, struct np_bus_bridge_watch *w);
/* Not watching: does nothing; `link` must be initialised. */
void np_bus_bridge_unwatch(struct np_bus_bridge_watch *w);

enum np_bus_bridge_state np_bus_bridge_get_state(const struct np_bus_bridge *b);
void *np_bus_bridge_arg(const struct np_bus_bridge *b);
/* The bus is on its own again at once; what was published before is still sent, for at most
 * `linger` ns, if the remote is connected. `closed` (may be NULL) comes last, from the loop, then
 * the memory is freed. Twice does nothing. */
void np_bus_bridge_close(struct np_bus_bridge *b, int64_t linger, void (*closed)(void *arg),
                         void *arg);

#endif
