/* What the files of the HTTP client share.
 *
 *   client.c        life of a client, its options and numbers
 *   pool.c          origins: open, idle and waited-for connections
 *   client_conn.c   one connection: bytes in and out for the call it carries
 *   client_dial.c   … until it is there: TCP, a proxy's tunnel, TLS
 *   call.c          a call: its life, its timeouts, its end
 *   call_request.c  … what it sends: head, body
 *   call_decode.c   … its answer's body, decoded
 *
 * A call owns no connection: it is given one by the pool and gives it back, or breaks it. Private
 * to the layer. One thread, the loop's.
 */
#ifndef NP_HTTP_CLIENT_IMPL_H
#define NP_HTTP_CLIENT_IMPL_H

#include "base/hash.h"
#include "http/client.h"
#include "proto/coding.h"

enum { NP_CALL_WHY_MAX = 240, NP_HTTP_RECENT = 4 };

struct np_http_client {
    struct np_loop *loop;
    struct np_http_client_options opts;
    struct np_map origins;                         /* key → struct np_http_origin */
    struct np_http_origin *recent[NP_HTTP_RECENT]; /* plain ones, found without their keys */
    unsigned next_recent;
    struct np_link calls; /* all that have not ended */
    struct np_link conns; /* all whose memory is not gone */
    struct np_link idle;  /* of them, the one idle for longest first */
    struct np_link spare; /* calls to be used again, each with a small buffer */
    size_t nspare;
    size_t norigins;
    size_t nidle;
    size_t nopen; /* not closing */
    size_t nwaiting;
    uint64_t ncalls, nreused, nretried, nconnects;
    bool closing;
};

struct np_http_origin {
    struct np_http_client *client;
    struct np_link idle;    /* the one used last first */
    struct np_link waiting; /* calls, first come first served */
    size_t nidle;
    size_t nopen;
    int port;
    int proxy_port;
    char *host;                 /* or the socket's path */
    char *tls_name;             /* NULL: host */
    char *proxy;                /* its host, or NULL */
    char *proxy_auth;           /* or NULL */
    struct np_tls_context *tls; /* counted, or NULL: plain */
    struct np_tls_context *proxy_tls;
    bool is_unix;
    size_t key_len;
    char key[]; /* how it is named in words ("host:port", "unix:path"), NUL, and what else it is */
};

enum np_http_client_conn_state {
    NP_CCONN_CONNECTING, /* with a call, whose request waits for it */
    NP_CCONN_BUSY,
    NP_CCONN_IDLE,
    NP_CCONN_CLOSING, /* the stream's on_close follows; it has no call */
};

struct np_http_client_conn {
    struct np_http_client *client;
    struct np_http_origin *origin; /* NULL when closing */
    struct np_http_call *call;
    struct np_stream *stream; /* the outermost of what there is yet */
    struct np_link link;      /* client->conns */
    struct np_link idle;      /* client->idle */
    struct np_link in_origin; /* origin->idle */
    struct np_timer timer;    /* idle for too long */
    struct np_defer later;    /* goes on after a pause */
    struct np_http1_parser parser;
    struct np_http_head head;  /* the parser's */
    struct np_http_head plain; /* … as it is told of a body that is decoded */
    struct np_buf in;          /* read and not parsed: the call is paused */
    enum np_http_client_conn_state state;
    uint64_t uses; /* calls that it carried to their end */
    int64_t born;
    bool proxy_secure; /* the proxy's own TLS is done */
    bool tunnelled;    /* the proxy has connected us */
    bool peer_ended;
    bool complete; /* the answer is */
    bool timed;    /* writing has a bound, of the call's */
};

struct np_http_call {
    /* What the next call finds as it is, when this one's memory is used again. */
    struct np_timer deadline;
    struct np_buf req; /* the request, kept until it cannot be sent again */
    /* What is zeroed then. */
    struct np_http_client *client;
    const struct np_http_call_handler *handler;
    void *arg;
    struct np_link link;           /* client->calls */
    struct np_link queue;          /* origin->waiting */
    struct np_http_origin *origin; /* NULL when it has ended */
    struct np_http_client_conn *conn;
    size_t head_len;                                                 /* of `req` */
    struct np_timer progress;                                        /* of the phase it is in */
    int64_t wait_timeout, dns_timeout, connect_timeout, tls_timeout; /* 0 none */
    int64_t first_byte_timeout;
    int64_t idle_timeout;
    int64_t expect; /* ns that the body waits, 0: it does not */
    size_t max_head;
    struct np_decoder *decoder; /* of its answer's body, or NULL */
    struct np_buf coded;        /* not decoded yet: it is paused */
    struct np_buf plain;        /* a piece that was */
    const char *coding;         /* that was undone, or NULL */
    uint64_t max_decoded;       /* bytes; 0 none */
    struct np_defer end;        /* calls on_end, or on_drain */
    enum neap_err err;
    enum np_http_phase phase;
    const char *bound;  /* which timeout it was */
    int method;         /* llhttp's, -1 unknown */
    uint64_t body_left; /* of a streamed body with a length */
    bool idempotent;
    bool close;   /* the connection is not to be kept */
    bool waiting; /* in origin->waiting */
    bool stream_body;
    bool chunked;
    bool decode;       /* it asked for codings */
    bool more_plain;   /* there is more to decode when it goes on */
    bool held;         /* the body waits for 100 (Continue) */
    bool body_done;    /* all of the request was written */
    bool body_written; /* … some of its streamed body was */
    bool drain_due;
    bool answered; /* a byte of the answer came */
    bool headed;   /* its head did */
    bool interim;  /* no more than a 1xx head has come yet */
    bool retried;
    bool paused;
    bool ended; /* on_end is due or over */
    /* … and no more. */
    char why[NP_CALL_WHY_MAX]; /* with `err` */
};

/* client.c */
void np_http_client_check_gone(struct np_http_client *c);

/* pool.c */
NEAP_MUST_CHECK enum neap_err np_http_origin_get(struct np_http_client *c,
                                                 const struct np_http_request *r,
                                                 struct np_http_origin **out);
/* Whether it is one of those that calls have just gone to; then its place is a good one. */
bool np_http_origin_is_known(const struct np_http_client *c, const struct np_http_request *r);
/* Gives the call a connection (a fresh one when asked), or a place in the queue. NEAP_ELIMIT when
 * that is full. */
NEAP_MUST_CHECK enum neap_err np_http_pool_assign(struct np_http_call *call, bool fresh);
/* The call is done with its connection, which may be used again. */
void np_http_pool_release(struct np_http_client_conn *conn);
/* A connection left its origin: somebody may be waiting for its place. */
void np_http_pool_left(struct np_http_origin *o);
void np_http_pool_unqueue(struct np_http_call *call);
void np_http_pool_unidle(struct np_http_client_conn *conn);
/* Whether it may carry another call. */
bool np_http_pool_may_keep(const struct np_http_client_conn *conn);

/* client_conn.c */
/* A new connection for a call; its request goes out when it is there. */
NEAP_MUST_CHECK enum neap_err np_http_client_conn_open(struct np_http_origin *o,
                                                       struct np_http_call *call);
/* The call's request over a connection that is there. */
void np_http_client_conn_start(struct np_http_client_conn *conn, struct np_http_call *call);
void np_http_client_conn_close(struct np_http_client_conn *conn);
void np_http_client_conn_pause(struct np_http_client_conn *conn, bool paused);
/* Ends its call, or sends it once more; closes the connection. */
void np_http_client_conn_fail(struct np_http_client_conn *conn, enum neap_err err,
                              const char *what);
void np_http_client_conn_gone(struct np_stream *s); /* on_close of all its streams */
/* It has been connected, through whatever was to be gone through. */
void np_http_client_conn_ready(struct np_http_client_conn *conn);

/* client_dial.c */
NEAP_MUST_CHECK enum neap_err np_http_client_dial(struct np_http_client_conn *conn,
                                                  const struct np_http_call *call);

/* call.c */
void np_http_call_free_spare(struct np_http_client *c);
/* From the loop only: the last word. The connection must have been taken from it. */
void np_http_call_end(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
    NEAP_PRINTF(3, 4);
/* Anywhere: closes its connection, and ends it from the loop. */
void np_http_call_end_later(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
    NEAP_PRINTF(3, 4);
/* Whether it may be sent once more: nothing of an answer came, and twice is as good as once. */
bool np_http_call_may_retry(const struct np_http_call *call);
/* It is in this phase now, for `span` ns at most; 0: no bound of its own. */
void np_http_call_enter(struct np_http_call *call, enum np_http_phase phase, int64_t span);
/* Bytes of the answer came; a 1xx head did. */
void np_http_call_progress(struct np_http_call *call);
void np_http_call_interim(struct np_http_call *call, int status);
/* There is room to write its body. */
void np_http_call_drained(struct np_http_call *call);

/* call_request.c */
/* The head, and the body that is known, into call->req. */
NEAP_MUST_CHECK enum neap_err np_http_call_compose(struct np_http_call *call,
                                                   const struct np_http_request *r,
                                                   struct neap_errinfo *info);
/* Writes it to the connection it has been given, or its head alone. */
void np_http_call_send(struct np_http_call *call);
/* Its body need not wait any longer. */
void np_http_call_release_body(struct np_http_call *call);

/* call_decode.c */
/* The head has come: gives it back, or, when its body is to be decoded, `plain`, which is made to
 * say nothing of that. */
const struct np_http_head *np_http_call_decode_begin(struct np_http_call *call,
                                                     const struct np_http_head *h,
                                                     struct np_http_head *plain);
void np_http_call_decode(struct np_http_call *call, const char *data, size_t n);
/* After a pause: what was left. False when it is not the time for more yet. */
bool np_http_call_decode_more(struct np_http_call *call);
void np_http_call_decode_end(struct np_http_call *call);
void np_http_call_decode_free(struct np_http_call *call);

#endif
