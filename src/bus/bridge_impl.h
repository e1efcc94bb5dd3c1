/* A bridge's own structures, shared by bridge.c (its life), bridge_proto.c (what the remote says),
 * bridge_remote.c (what the bus asks of it) and bridge_handover.c (reloads). */
#ifndef NP_BUS_BRIDGE_IMPL_H
#define NP_BUS_BRIDGE_IMPL_H

#include "bus/bridge.h"
#include "bus/interest.h"
#include "proto/nats.h"

enum { BRIDGE_MAX_PAYLOAD = 64 * 1024 * 1024 }; /* whatever the remote says */

/* How far the present connection has come. */
enum link {
    LINK_NONE,
    LINK_DIALLING,
    LINK_INFO, /* waits for INFO */
    LINK_PONG, /* CONNECT and PING are sent */
    LINK_READY,
};

struct np_bus_bridge {
    struct np_bus_remote remote;
    struct np_bus *bus; /* NULL once closed */
    struct np_loop *loop;
    struct np_bus_bridge_options opts;
    np_bus_bridge_fn fn;
    void *arg;
    char host[256];
    int port;
    char name[64];
    enum np_bus_bridge_state state;
    enum link link;
    struct np_stream *stream; /* NULL while there is none */
    size_t streams;           /* not yet gone, old ones too */
    struct np_nats_parser parser;
    struct interests interests;
    struct np_buf out;
    struct np_buf away;
    size_t max_payload; /* what the remote takes */
    struct np_defer flush;
    struct np_defer gone;
    struct np_timer timer; /* LINK_NONE: the next attempt; READY: ping; else: giving up */
    struct np_rng rng;
    unsigned attempts; /* since it was last ready */
    uint64_t pings, pongs;
    uint64_t in_place; /* the PONG that says that the subscriptions are */
    uint64_t seen;     /* bytes in at the last tick */
    struct np_link flushes;
    struct np_link watches;
    struct np_buf upstream; /* the remote's path, while it is held */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Brings the options into their bounds. */
void np_bridge_limit(struct np_bus_bridge_options *o);
/* The present connection is of no use: drops it and tries again later, or ends as FAILED. */
void np_bridge_lost(struct np_bus_bridge *b, enum neap_err err, const char *fmt, ...)
    NEAP_PRINTF(3, 4);
/* Tells the owner, who may close the bridge; its memory stays until a later turn. */
void np_bridge_change(struct np_bus_bridge *b, enum np_bus_bridge_state state, enum neap_err err,
                      const char *why);
/* Gives `out` to the stream: now, or at the end of the turn. */
void np_bridge_flush(struct np_bus_bridge *b);
void np_bridge_want_flush(struct np_bus_bridge *b);

/* One message from the remote. */
void np_bridge_handle(struct np_bus_bridge *b, const struct np_nats_msg *m);

extern const struct np_bus_remote_ops np_bridge_remote_ops;
/* Subscribes it remotely. */
NEAP_MUST_CHECK enum neap_err np_bridge_write_interest(struct np_bus_bridge *b,
                                                       const struct interest *in);

#endif
