/* What the files of the HTTP server share: the server, its connections, and who calls whom.
 *
 *   server.c    listeners, life, draining
 *   conn.c      a connection's turns: bytes in, parsing, handlers, timeouts
 *   conn_life.c its beginning and end, its buffers
 *   turn.c      what it has only while there is a request
 *   exchange.c  bytes out: answers
 *   interim.c   1xx
 *   hand_over.c connections that stop being HTTP
 *   pass_on.c   connections that go over to another server
 *   refuse.c    answers that the server gives by itself
 *
 * Private to the layer. One thread, the loop's.
 */
#ifndef NP_HTTP_SERVER_IMPL_H
#define NP_HTTP_SERVER_IMPL_H

#include "base/arena.h"
#include "base/hash.h"
#include "http/server.h"
#include "net/dial.h"

#define NP_HTTP_LINGER (2 * NP_NS_PER_SEC) /* for a peer to take its answer and leave */
/* A drain leaves a connection that was idle for less than this, or half of its grace, to tell it
 * with its next answer. */
#define NP_HTTP_WARM (NP_NS_PER_SEC / 2)
#define NP_HTTP_MAX_DISCARD ((size_t)64 * 1024)
#define NP_HTTP_FLUSH_AT ((size_t)16 * 1024) /* bytes of answers that are not gathered further */
enum { NP_HTTP_PREFIXES = 8, NP_HTTP_PREFIX_MAX = 256 };

/* "HTTP/1.1 200 OK\r\nDate: …\r\nServer: …\r\n", made once a second for each status in use. */
struct np_http_prefix {
    int status;
    int64_t second;
    size_t len;
    char text[NP_HTTP_PREFIX_MAX];
};

struct np_http_server {
    struct np_loop *loop;
    struct np_http_server_options opts;
    char *server_name; /* owned copy, or NULL */
    const struct np_http_server_handler *handler;
    void *arg;
    struct np_listener **listeners; /* open or closing */
    size_t nlisteners;
    size_t listeners_left; /* whose on_close has not come */
    struct np_link conns;  /* all of them, those that are closing included */
    size_t nconns;
    size_t nserving;            /* … but those that were refused for there being too many */
    struct np_proxied *proxied; /* in front of them, or NULL */
    struct np_forwarded_policy forwarded;
    struct np_rng ids; /* of requests */
    struct np_link spare_turns;
    size_t nspare;
    struct np_buf spare_out; /* lent to the connection that is being read from */
    struct np_http_date date;
    int64_t wall_second;
    int64_t wall_checked; /* the loop's now when wall_second was read */
    struct np_http_prefix prefixes[NP_HTTP_PREFIXES];
    struct np_http_server *successor; /* takes over connections between their exchanges; or NULL */
    struct np_link predecessors;      /* those whose successor this is, by `succession` */
    struct np_link succession;
    bool closing;
    bool aborting; /* … at once */
    struct np_timer grace;
    int64_t warm;            /* at most NP_HTTP_WARM */
    struct np_timer cooling; /* while it drains: until no idle connection is warm any more */
    struct np_defer later;   /* closes what is idle, or all, or the server */
    unsigned turns;          /* of the loop until `later` does so */
};

enum np_http_conn_state {
    NP_CONN_IDLE,     /* between requests: not a byte of the next */
    NP_CONN_HEAD,     /* a part of a head is there */
    NP_CONN_EXCHANGE, /* a request is with its handler; its body may still come */
    NP_CONN_DISCARD,  /* answered; the rest of its body is thrown away */
    NP_CONN_CLOSING,  /* the stream's on_close follows */
};

enum np_http_framing {
    NP_FRAMING_NONE, /* no body follows the head */
    NP_FRAMING_LENGTH,
    NP_FRAMING_CHUNKED,
    NP_FRAMING_CLOSE, /* until the end of the connection */
};

enum np_http_timed { NP_TIMED_NOTHING, NP_TIMED_IDLE, NP_TIMED_HEAD, NP_TIMED_BODY };

/* What the access log is to be told of an exchange; account.c. */
struct np_http_account {
    int64_t began;           /* precisely */
    uint64_t before;         /* bytes that were written to the connection before it … */
    uint64_t body;           /* … and before its answer's body */
    struct np_bytes *answer; /* headers of the answer that the log wants; in the arena, or NULL */
    const char *id;          /* the request's name, once somebody has asked; in the arena */
    int status;              /* 0: no answer was begun */
    bool open, has_head;
};

struct np_http_conn;

/* What a connection needs while there is a request, or a part of one. Between requests it has none:
 * then it is small, and these go round among those that are busy. */
struct np_http_turn {
    struct np_http_exchange x; /* first: an exchange is its turn */
    struct np_http_conn *c;
    struct np_link spare; /* among the server's */
    struct np_http1_parser parser;
    struct np_arena arena;
    struct np_buf in;  /* read and not parsed yet, bounded */
    struct np_buf out; /* written and not handed to the stream yet */
    size_t discarded;
    enum np_http_framing framing;
    uint64_t left; /* of a streamed answer with a length */
    struct np_http_account account;
};

struct np_http_conn {
    struct np_http_server *server;
    struct np_http_turn *t; /* NULL only while idle, or closing */
    struct np_link link;
    struct np_stream *stream;
    struct np_timer timer;
    struct np_defer later; /* runs np_http_conn_pump */
    uint64_t requests;
    uint64_t timed_head; /* `requests` when the timer was set */
    int64_t idle_since;  /* loop time of its beginning, or of its last answer's end */
    char *peer;          /* its name, once somebody has asked; or NULL */
    enum np_http_conn_state state;
    enum np_http_timed timed;
    enum neap_err doomed; /* to be broken off from the loop, for this reason */
    bool corked;          /* what is written leaves when the present callback is over */
    bool body_wanted;     /* np_http_body_start */
    bool body_told;       /* on_body_end was called */
    bool want_continue;
    bool peer_ended;
    bool close_after; /* the answer */
    bool counted;     /* in nserving */
};

static inline struct np_http_conn *np_http_conn_of(struct np_http_exchange *x)
{
    return ((struct np_http_turn *)x)->c;
}

/* turn.c */
/* Gives it a turn, unless it has one. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_conn_wake(struct np_http_conn *c);
/* Takes it back if there is nothing of a request. */
void np_http_conn_rest(struct np_http_conn *c);
/* Takes it back, whatever there is. */
void np_http_conn_end_turn(struct np_http_conn *c);
void np_http_turn_free(struct np_http_turn *t);

/* conn_life.c */
/* Takes the stream over; the caller keeps it on failure. */
NEAP_MUST_CHECK enum neap_err np_http_conn_open(struct np_http_server *s, struct np_stream *stream,
                                                struct np_http_conn **out);
void np_http_conn_free(struct np_http_conn *c);
/* Gives `out` the server's spare block, if it has none of its own. */
void np_http_conn_lend_out(struct np_http_conn *c);
/* Hands what was written to the stream. */
void np_http_conn_flush(struct np_http_conn *c);
/* Flushes, lets the peer take it, closes. */
void np_http_conn_finish(struct np_http_conn *c);
/* Breaks it off; the handler hears on_abort if it was not done. */
void np_http_conn_abort(struct np_http_conn *c, enum neap_err why);
/* The stream is somebody else's now (the pointer is NULL from here on): ends, from the loop. */
void np_http_conn_let_go(struct np_http_conn *c);
/* Breaks it off without a word. */
void np_http_conn_drop(struct np_http_conn *c);
/* Breaks it off from the loop: for where the caller may be a handler. */
void np_http_conn_doom(struct np_http_conn *c, enum neap_err err);
void np_http_conn_set_state(struct np_http_conn *c, enum np_http_conn_state next);
void np_http_conn_closed(struct np_stream *stream);
/* It has no stream any more: its memory goes, or is kept for the next one. */
void np_http_conn_gone(struct np_http_conn *c);

/* account.c */
/* A request's head has come; or, without one, it is about to be refused. */
void np_http_account_begin(struct np_http_conn *c, bool has_head);
/* The answer's head was written. */
void np_http_account_head(struct np_http_conn *c, int status);
/* … and these are the owner's headers in it. */
void np_http_account_headers(struct np_http_conn *c, const struct np_http_header *headers,
                             size_t n);
/* It is over; the second time nothing happens. */
void np_http_account_end(struct np_http_conn *c, bool aborted);

/* conn.c */
extern const struct np_stream_handler np_http_conn_stream;
extern const struct np_http1_events np_http_conn_events;
void np_http_conn_on_timer(struct np_timer *t);
void np_http_conn_on_later(struct np_defer *d);
/* Once, if the handler asked for the body and has not answered. */
void np_http_conn_tell_body_end(struct np_http_conn *c, enum neap_err err);
/* Parses on and answers, from the loop, soon. */
void np_http_conn_pump_later(struct np_http_conn *c);
/* The answer is complete (x->finished is set): goes on to the next request. Inside a callback of
 * the connection's that happens by itself. */
void np_http_conn_answered(struct np_http_conn *c);

/* refuse.c */
/* Answers `status` with a line of words and closes. */
void np_http_conn_refuse(struct np_http_conn *c, int status, const char *why);

/* hand_over.c */
/* Bytes that were read for a connection that let go of this stream. */
void np_http_put_back(struct np_stream *s, const char *data, size_t n);

/* interim.c */
void np_http_conn_say_continue(struct np_http_conn *c);

/* exchange.c */
/* What the owner's headers say about those that are the server's. */
struct np_http_given {
    size_t bytes; /* that they take on the wire */
    bool date, server, close, connection, upgrade;
};
/* NEAP_EINVAL for what may not be sent. */
NEAP_MUST_CHECK enum neap_err np_http_check_headers(const struct np_http_header *headers, size_t n,
                                                    struct np_http_given *given);
/* Whether `n` more bytes are more than the stream holds. */
bool np_http_conn_is_full(const struct np_http_conn *c, size_t n);
NEAP_MUST_CHECK enum neap_err np_http_write_prefix(struct np_http_server *s, struct np_buf *b,
                                                   int status);

/* server.c */
void np_http_server_conn_gone(struct np_http_server *s);

/* pass_on.c */
/* A listener of the server's began to do the work of another server's: that one passes its
 * connections on. */
void np_http_server_succeed(struct np_http_server *s, struct np_http_server *old);
/* The connection is between two exchanges: its server's successor gets it, if there is one. */
void np_http_conn_pass_on(struct np_http_conn *c);
/* The server is about to be freed. */
void np_http_server_leave_succession(struct np_http_server *s);

#endif
