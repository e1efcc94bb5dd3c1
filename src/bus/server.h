/* The bus' door for others: a server that speaks the NATS protocol, so that existing clients just
 * work. A remote client is a set of subscriptions on the same bus that scripts use.
 *
 * Core NATS: CONNECT, PUB, HPUB, SUB, UNSUB with a maximum, PING and PONG both ways, verbose, echo,
 * headers, no responders. A client that reads too slowly is closed and delays nobody; one that is
 * silent is pinged and closed when it does not answer.
 *
 * A server whose listener takes over another's work (share.h: a reload) takes over its clients as
 * well: they notice nothing. One loop, one thread.
 */
#ifndef NP_BUS_SERVER_H
#define NP_BUS_SERVER_H

#include "bus/bus.h"
#include "net/listener.h"

struct np_bus_server;

struct np_bus_server_options {
    const char *name;            /* told to clients; NULL: "neap" */
    size_t max_control;          /* bytes of a protocol line, default 4096 */
    size_t max_pending;          /* bytes waiting for a client, default 64 MiB: it is closed then */
    size_t max_clients;          /* default 65536 */
    size_t max_subs;             /* of one client, default 65536 */
    int64_t ping_interval;       /* ns, default 2 min; 0 never pings */
    int max_pings;               /* unanswered, default 2: closed as stale when one more is due */
    int64_t write_timeout;       /* ns that bytes may wait and none leave, default 10 s */
    struct np_share_user *share; /* the port may be shared, see net/share.h; default NULL */
};
#define NP_BUS_SERVER_OPTIONS_INIT                                                          \
    {                                                                                       \
        .max_control = 4096, .max_pending = (size_t)64 * 1024 * 1024, .max_clients = 65536, \
        .max_subs = 65536, .ping_interval = 120 * NP_NS_PER_SEC, .max_pings = 2,            \
        .write_timeout = 10 * NP_NS_PER_SEC                                                 \
    }

struct np_bus_server_stats {
    size_t clients;
    uint64_t accepted;
    uint64_t refused;        /* above max_clients */
    uint64_t slow_consumers; /* closed as such */
    uint64_t stale;
};

/* Serves nobody yet. `opts` may be NULL; its name is copied. The bus must outlive the server's
 * np_bus_server_close. */
NEAP_MUST_CHECK enum neap_err np_bus_server_new(struct np_bus *bus,
                                                const struct np_bus_server_options *opts,
                                                struct np_bus_server **out);
/* Listens; once. As np_tcp_listen. */
NEAP_MUST_CHECK enum neap_err np_bus_server_listen(struct np_bus_server *s, const char *host,
                                                   int port, struct neap_errinfo *info);
/* Serves an open stream; it is the server's from here on, also on failure. */
NEAP_MUST_CHECK enum neap_err np_bus_server_adopt(struct np_bus_server *s,
                                                  struct np_stream *stream);
/* "127.0.0.1:4222"; "" while it does not listen. */
void np_bus_server_address(const struct np_bus_server *s, char *out, size_t size);
int np_bus_server_port(const struct np_bus_server *s);
/* Whether listening alone keeps the loop alive; it does at first. */
void np_bus_server_set_ref(struct np_bus_server *s, bool ref);
void np_bus_server_get_stats(const struct np_bus_server *s, struct np_bus_server_stats *out);
/* Leaves the bus at once; what clients were owed is still sent, for at most `linger` ns. `closed`
 * (may be NULL) comes last, from the loop, then the memory is freed. Twice does nothing. */
void np_bus_server_close(struct np_bus_server *s, int64_t linger, void (*closed)(void *arg),
                         void *arg);

#endif
