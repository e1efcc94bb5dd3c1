/* One remote client of the bus' server: its stream, what it said of itself, its subscriptions and
 * what waits to be written to it. Private to the server. */
#ifndef NP_BUS_SESSION_H
#define NP_BUS_SESSION_H

#include "bus/bus_impl.h"
#include "bus/server.h"
#include "proto/nats.h"

enum session_state {
    SESSION_OPEN,
    SESSION_CLOSING, /* left the bus; its stream is closing */
};

struct session {
    struct np_link link; /* in the server's list, until its stream is gone */
    struct np_bus_server *server;
    struct np_stream *stream;
    enum session_state state;
    uint64_t id;
    bool verbose;
    bool echo;
    bool headers;
    bool no_responders;
    bool async_info;       /* understands INFO at any time */
    unsigned path_version; /* of the bus, as it was told */
    struct np_nats_parser parser;
    struct np_map subs;    /* by sid: struct session_sub */
    struct np_buf out;     /* gathered, not given to the stream yet */
    struct np_defer flush; /* after the batch that is being handed over */
    struct np_timer ping;
    int pings;     /* unanswered */
    uint64_t seen; /* bytes that had come at the last tick */
};

struct np_bus_server {
    struct np_bus *bus;
    struct np_bus_server_options opts;
    char *name;
    struct np_listener *listener;
    struct np_link sessions;
    struct path_watch path_watch;
    uint64_t next_id;
    struct np_bus_server_stats stats;
    bool closing;
    struct np_defer gone; /* closing with nothing left to wait for */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* The stream is the session's from here on, also on failure (it is closed then). */
NEAP_MUST_CHECK enum neap_err np_bus_session_new(struct np_bus_server *server,
                                                 struct np_stream *stream);
/* Leaves the bus; sends what is owed, then closes. */
void np_bus_session_close(struct session *c, int64_t linger);
/* It is another server's of the same bus from here on. One that is closing stays. */
void np_bus_session_pass(struct session *c, struct np_bus_server *to);
/* Tells it what the server is now. */
void np_bus_session_send_info(struct session *c);

/* The server's: a session's memory is about to be freed. */
void np_bus_server_session_gone(struct np_bus_server *server, struct session *c);

#endif
