/* What the files of the HTTP client share.
 *
 *   client.c       life of a client, its options and numbers
 *   pool.c         origins: open, idle and waited-for connections
 *   client_conn.c  one connection: bytes in and out for the call it carries
 *   call.c         a call: its request, its timeouts, its end
 *
 * A call owns no connection: it is given one by the pool and gives it back, or breaks it. Private
 * to the layer. One thread, the loop's.
 */
#ifndef NP_HTTP_CLIENT_IMPL_H
#define NP_HTTP_CLIENT_IMPL_H

#include "base/hash.h"
#include "http/client.h"

enum { NP_CALL_WHY_MAX = 200 };

struct np_http_client {
    struct np_loop *loop;
    struct np_http_client_options opts;
    struct np_map origins; /* key → struct np_http_origin */
    struct np_link calls;  /* all that have not ended */
    struct np_link conns;  /* all whose memory is not gone */
    struct np_link idle;   /* of them, the one idle for longest first */
    size_t nidle;
    size_t nopen; /* not closing */
    size_t nwaiting;
    uint64_t ncalls, nreused, nretried;
    bool closing;
};

struct np_http_origin {
    struct np_http_client *client;
    struct np_link idle;    /* the one used last first */
    struct np_link waiting; /* calls, first come first served */
    size_t nidle;
    size_t nopen;
    int port;
    char *host; /* or the socket's path */
    bool is_unix;
    size_t key_len;
    char key[]; /* "host:port" or "unix:path"; also how it is named in words */
};

enum np_http_client_conn_state {
    NP_CCONN_CONNECTING, /* with a call, whose request is queued already */
    NP_CCONN_BUSY,
    NP_CCONN_IDLE,
    NP_CCONN_CLOSING, /* the stream's on_close follows; it has no call */
};

struct np_http_client_conn {
    struct np_http_client *client;
    struct np_http_origin *origin; /* NULL when closing */
    struct np_http_call *call;
    struct np_stream *stream;
    struct np_link link;      /* client->conns */
    struct np_link idle;      /* client->idle */
    struct np_link in_origin; /* origin->idle */
    struct np_timer timer;    /* idle for too long */
    struct np_defer later;    /* goes on after a pause */
    struct np_http1_parser parser;
    struct np_http_head head;
    struct np_buf in; /* read and not parsed: the call is paused */
    enum np_http_client_conn_state state;
    uint64_t uses; /* calls that it carried to their end */
    bool peer_ended;
    bool complete; /* the answer is */
};

struct np_http_call {
    struct np_http_client *client;
    const struct np_http_call_handler *handler;
    void *arg;
    struct np_link link;           /* client->calls */
    struct np_link queue;          /* origin->waiting */
    struct np_http_origin *origin; /* NULL when it has ended */
    struct np_http_client_conn *conn;
    struct np_buf req; /* the request, kept until it cannot be sent again */
    struct np_timer deadline;
    struct np_timer progress; /* first byte, then idle */
    int64_t first_byte_timeout;
    int64_t idle_timeout;
    struct np_defer end; /* calls on_end, or on_drain */
    enum neap_err err;
    char why[NP_CALL_WHY_MAX];
    int method;         /* llhttp's, -1 unknown */
    uint64_t body_left; /* of a streamed body with a length */
    bool idempotent;
    bool close;   /* the connection is not to be kept */
    bool waiting; /* in origin->waiting */
    bool stream_body;
    bool chunked;
    bool body_done;    /* all of the request was written */
    bool body_written; /* … some of its streamed body was */
    bool drain_due;
    bool answered; /* a byte of the answer came */
    bool retried;
    bool paused;
    bool ended; /* on_end is due or over */
};

/* client.c */
void np_http_client_check_gone(struct np_http_client *c);

/* pool.c */
NEAP_MUST_CHECK enum neap_err np_http_origin_get(struct np_http_client *c,
                                                 const struct np_http_request *r,
                                                 struct np_http_origin **out);
/* Gives the call a connection (a fresh one when asked), or a place in the queue. NEAP_ELIMIT when
 * that is full. */
NEAP_MUST_CHECK enum neap_err np_http_pool_assign(struct np_http_call *call, bool fresh);
/* The call is done with its connection, which may be used again. */
void np_http_pool_release(struct np_http_client_conn *conn);
/* A connection left its origin: somebody may be waiting for its place. */
void np_http_pool_left(struct np_http_origin *o);
void np_http_pool_unqueue(struct np_http_call *call);
void np_http_pool_unidle(struct np_http_client_conn *conn);

/* client_conn.c */
NEAP_MUST_CHECK enum neap_err np_http_client_conn_open(struct np_http_origin *o,
                                                       struct np_http_client_conn **out);
/* Writes the call's request. */
void np_http_client_conn_start(struct np_http_client_conn *conn, struct np_http_call *call);
void np_http_client_conn_close(struct np_http_client_conn *conn);
void np_http_client_conn_pause(struct np_http_client_conn *conn, bool paused);

/* call.c */
/* From the loop only: the last word. The connection must have been taken from it. */
void np_http_call_end(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
    NEAP_PRINTF(3, 4);
/* Anywhere: closes its connection, and ends it from the loop. */
void np_http_call_end_later(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
    NEAP_PRINTF(3, 4);
/* Whether it may be sent once more: nothing of an answer came, and twice is as good as once. */
bool np_http_call_may_retry(const struct np_http_call *call);
/* The request is on its way over an open connection; bytes of the answer came. */
void np_http_call_sent(struct np_http_call *call);
void np_http_call_progress(struct np_http_call *call);
/* There is room to write its body. */
void np_http_call_drained(struct np_http_call *call);

#endif
