/* The HTTP/1.1 server: connections on listeners, one exchange (a request and its answer) at a time
 * each.
 *
 * The path of a small request: on_read parses in place from the loop's read buffer, on_request is
 * called when the head is complete, the handler answers inside it, the answer goes to the
 * connection's out buffer, the next pipelined request is parsed, and all that was written in one
 * read leaves in one write at its end. The exchange, its arena and buffers are the connection's and
 * recycled.
 *
 * - An exchange belongs to its connection. Its owner (who got on_request) may use it until it has
 * answered in full (np_http_respond, or np_http_finish) or on_abort was called; not a moment
 * longer. `generation` changes with every new exchange of the connection, for owners whose handle
 * may outlive it.
 * - While an exchange is not answered the connection parses no further request (bytes wait,
 * bounded, and then reading stops); but it goes on noticing that the client has left (read end or
 * reset → on_abort) while it has room to read.
 * - A half-closed client still gets its answer: only a reset/close or an end while waiting without
 * `allow_half_close` aborts. (Default: an end after a complete request is a half-close, and the
 * client gets its answer; curl -N and wrk close fully, which shows as reset or end; see
 * `abort_on_end`, default true: end means gone.)
 * - Malformed requests are answered by the server itself: 400, 413, 414, 431, 408, 417, 501, 505,
 * and the connection closes politely (np_stream_finish).
 * - CONNECT reaches the handler like any request. It can be answered 2xx by np_http_upgrade alone;
 * after any other answer its connection closes, as bytes of the tunnel may be on their way.
 */
#ifndef NP_HTTP_SERVER_H
#define NP_HTTP_SERVER_H

#include "http/proxied.h"
#include "net/listener.h"
#include "net/tls.h"
#include "proto/forwarded.h"
#include "proto/http1.h"

struct np_access_log;
struct np_http_server;
struct np_http_exchange;

struct np_http_server_options {
    struct np_http_limits limits;
    int64_t
        header_timeout; /* ns from the first byte of a request to its complete head; 10 s → 408 */
    int64_t body_timeout;       /* ns without progress of a body the handler wants; 30 s → 408 */
    int64_t keep_alive_timeout; /* ns a connection may sit between requests; 75 s */
    int64_t write_timeout;      /* ns without progress of an answer; 30 s */
    size_t max_connections;     /* 0 none; default 10000: more are answered 503 and closed */
    uint64_t max_requests;      /* a connection, 0 none (default) */
    const char *server_name;    /* the Server header, NULL (default) none */
    bool abort_on_end;          /* default true */
    struct np_tls_context *tls; /* connections from listeners are TLS; NULL (default): plain */
    int64_t handshake_timeout;  /* ns; 10 s */
    /* Connections from listeners begin with a PROXY header; NULL (default): they do not. Copied. */
    const struct np_proxied_options *proxied;
    /* The proxies whose word on clients counts (asker.h); NULL (default): nobody's does. Copied. */
    const struct np_forwarded_policy *forwarded;
    struct np_access_log *access_log; /* NULL (default): none. Taken over by np_http_server_new */
};
void np_http_server_options_init(struct np_http_server_options *o);

struct np_http_server_handler {
    /* The head is complete; the body, if any, follows. Answer now or later. */
    void (*on_request)(struct np_http_exchange *x, void *arg);
    /* A piece of body that was asked for by np_http_body_start; lent. */
    void (*on_body)(struct np_http_exchange *x, const char *data, size_t n);
    /* The body is complete (NEAP_OK), or cannot be had: NEAP_ELIMIT (larger than max_body),
     * NEAP_ETIMEDOUT, NEAP_EPROTO, NEAP_ECONNRESET, NEAP_ECLOSED. It may be answered in here even
     * then; if no answer was begun, the server says 413, 408 or 400 by itself and on_abort
     * follows. */
    void (*on_body_end)(struct np_http_exchange *x, enum neap_err err);
    /* A streamed answer may go on: the queue fell to low water. */
    void (*on_drain)(struct np_http_exchange *x);
    /* The client has left, or the server closed the connection, before the answer was complete. The
     * exchange is gone when this returns. */
    void (*on_abort)(struct np_http_exchange *x, enum neap_err why);
    /* The server is closed and its last connection gone; memory goes after this. */
    void (*on_close)(struct np_http_server *s, void *arg);
    /* May be NULL. An exchange with `admitted` set is over: answered in full (or its connection
     * taken over), or broken off. `status` 0: it was not answered. */
    void (*on_end)(struct np_http_exchange *x, int status, bool aborted);
};

struct np_http_exchange {
    struct np_http_head
        head; /* slices hold until the exchange ends: when the handler does not answer inside
                 on_request the server moves the head into the arena by itself */
    struct np_arena *arena; /* for whatever lives as long as the exchange */
    void *user;             /* the owner's */
    uint64_t generation;
    struct np_http_server *server;
    const struct np_http_server_handler *handler; /* who hears of it: the server's, or who took the
                                                     answer over (file.h) */
    const struct np_http_header *trailers;        /* of the request; from on_body_end(NEAP_OK) */
    size_t ntrailers;
    int64_t admitted;   /* the owner's: when it was let in; not 0: on_end is to be called */
    int64_t answered;   /* … and when its answer's head was written (np_loop_hrtime) */
    bool body_complete; /* nothing more will come (or there was none) */
    bool started;       /* a status line was written */
    bool finished;
};

/* Creates a server without listeners. */
NEAP_MUST_CHECK enum neap_err np_http_server_new(struct np_loop *loop,
                                                 const struct np_http_server_options *opts,
                                                 const struct np_http_server_handler *h, void *arg,
                                                 struct np_http_server **out);
/* One more place to accept from; by address or unix path. */
NEAP_MUST_CHECK enum neap_err np_http_server_listen(struct np_http_server *s, const char *host,
                                                    int port, const struct np_listen_options *lo,
                                                    struct neap_errinfo *info);
NEAP_MUST_CHECK enum neap_err np_http_server_listen_unix(struct np_http_server *s, const char *path,
                                                         const struct np_listen_options *lo,
                                                         struct neap_errinfo *info);
/* Serves a stream that was got elsewhere (an in-memory pipe in tests, a TLS filter). Takes it over;
 * on failure it stays the caller's. NEAP_ELIMIT above max_connections, NEAP_ECLOSED. */
NEAP_MUST_CHECK enum neap_err np_http_server_adopt(struct np_http_server *s,
                                                   struct np_stream *stream);
/* The first listener's: "127.0.0.1:8080" / "unix:/path"; port 0 for unix. */
void np_http_server_address(const struct np_http_server *s, char *out, size_t size);
int np_http_server_port(const struct np_http_server *s);
size_t np_http_server_connections(const struct np_http_server *s);
/* Stops accepting, closes idle connections, answers what is in flight with Connection: close, and
 * is closed (on_close) when all are done or `grace` ns passed: then the rest is aborted. 0: at
 * once. */
void np_http_server_close(struct np_http_server *s, int64_t grace);
void *np_http_server_arg(const struct np_http_server *s);

/* "Content-Type": an answer's header whose name is this very array is neap's own, and not checked.
 */
extern const char np_http_own_type[];

/* --- one exchange */
/* Its connection's, to look at: never to be read, written or closed. */
const struct np_stream *np_http_exchange_stream(struct np_http_exchange *x);
/* As np_stream_peer says; asked of the system once a connection. Holds while it is open. */
const char *np_http_exchange_peer_name(struct np_http_exchange *x);
void np_http_exchange_peer(struct np_http_exchange *x, char *out, size_t size);
/* A name for the request: its X-Request-Id, if a trusted proxy sent one, or 16 hexadecimal digits
 * of chance. Holds while the exchange does. */
const char *np_http_exchange_id(struct np_http_exchange *x);
/* Asks for the body: on_body follows (100 Continue is sent first if the client waits for it). May
 * be called inside on_request. Not asking and answering early discards up to 64 KiB of it, else the
 * connection closes after the answer. */
void np_http_body_start(struct np_http_exchange *x);
void np_http_body_stop(struct np_http_exchange *x); /* back-pressure */

/* The whole answer at once. Content-Length and Transfer-Encoding are the server's: giving them is
 * refused with NEAP_EINVAL, as are bad headers, and then nothing was written. An owner's Date or
 * Server stands in for the server's own; of Connection an owner may say "close" (and "keep-alive",
 * which means nothing). HEAD and 204/304 get no body bytes. NEAP_ECLOSED when it was answered or
 * broken off before, NEAP_ELIMIT when too much is queued, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_respond(struct np_http_exchange *x, int status,
                                              const struct np_http_header *headers, size_t nheaders,
                                              const char *body, size_t n);
/* A streamed answer: `length` -1 means chunked (HTTP/1.0: until close). */
NEAP_MUST_CHECK enum neap_err np_http_start(struct np_http_exchange *x, int status,
                                            const struct np_http_header *headers, size_t nheaders,
                                            int64_t length);
NEAP_MUST_CHECK enum neap_err np_http_write(struct np_http_exchange *x, const char *p, size_t n);
bool np_http_writable(const struct np_http_exchange *x);
/* Ends a streamed answer. If fewer bytes than `length` were written the connection is closed. */
void np_http_finish(struct np_http_exchange *x);
/* The same with a trailer, which leaves if the answer is chunked and is dropped else (a client may
 * lose it anyway: nothing that matters belongs there). NEAP_EINVAL: bad fields, or such as frame,
 * route or authenticate (np_http_may_trail): nothing was ended then. NEAP_ECLOSED, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_finish_with(struct np_http_exchange *x,
                                                  const struct np_http_header *trailers, size_t n);
/* A 1xx head before the answer: 103 with links, 100 before the body, 102. Not 101, which is
 * np_http_upgrade's. A client of HTTP/1.0 is told nothing. Leaves at once, or when the callback
 * that it is called in is over. NEAP_EINVAL, NEAP_ECLOSED, NEAP_ELIMIT, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_inform(struct np_http_exchange *x, int status,
                                             const struct np_http_header *headers, size_t n);
/* The connection stops being HTTP: answers 101 (`headers` hold one Upgrade, which the client must
 * have offered; Connection is added), or 2xx to CONNECT. The answer is written, the exchange and
 * its arena are gone, and the stream, whose reading is off, is the caller's, with what the client
 * sent behind its head still to be read; set its handler before returning to the loop. It counts no
 * more among the server's connections, nor does the server's end touch it.
 * NEAP_ENOTSUP: the client has not asked for it; NEAP_EBUSY: the request's body is not complete;
 * NEAP_EINVAL, NEAP_ECLOSED, NEAP_ENOMEM. All is then as before. */
NEAP_MUST_CHECK enum neap_err np_http_upgrade(struct np_http_exchange *x, int status,
                                              const struct np_http_header *headers, size_t n,
                                              struct np_stream **out);
/* Breaks the connection off: for a handler that fails in the middle of a streamed answer. No
 * on_abort follows. */
void np_http_abort(struct np_http_exchange *x);

#endif
