/* The HTTP/1.1 client: connections per origin, kept and reused; calls that stream both ways.
 *
 * A call ends exactly once, by on_end, from the loop; np_http_call_cancel may be called at any time
 * before, and on_end then comes with NEAP_ECANCELED. The call's memory goes when on_end returns.
 * Slices of the head hold until on_end is called, not inside it. A call on a kept connection that
 * dies before a byte of the answer came is sent once more on a fresh one when it is idempotent and
 * nothing of a streamed body was written. Idle connections do not keep the loop alive.
 *
 * An origin is what a connection leads to and by which way: host and port (or a socket), TLS and
 * its context, proxy. Calls of one origin that wait for a connection get it in order.
 */
#ifndef NP_HTTP_CLIENT_H
#define NP_HTTP_CLIENT_H

#include "net/dial.h"
#include "net/tls.h"
#include "proto/http1.h"

struct np_http_client;
struct np_http_call;

struct np_http_client_options {
    size_t max_idle_per_origin; /* default 64 */
    size_t max_idle;            /* default 512 */
    size_t
        max_per_origin; /* open connections an origin, 0 none (default); more calls wait in order */
    size_t
        max_waiting; /* calls waiting for a connection, default 1024: more fail with NEAP_ELIMIT */
    int64_t idle_timeout;         /* ns a kept connection may sit; default 60 s */
    int64_t max_age;              /* ns that a connection is used at most, 0 none (default) */
    uint64_t max_requests;        /* calls that a connection carries at most, 0 none (default) */
    int64_t wait_timeout;         /* ns for a connection to be free; 0 none (default) */
    int64_t dns_timeout;          /* ns for the name; default 5 s. This and the next ones: 0 none */
    int64_t attempt_delay;        /* ns until a name's next address is tried too; 0: net/dial.h's */
    int64_t connect_timeout;      /* ns for TCP; default 5 s */
    int64_t tls_timeout;          /* ns for a handshake, or for a proxy to connect; default 10 s */
    struct np_http_limits limits; /* of answers; max_body UINT64_MAX by default: bodies stream */
};
void np_http_client_options_init(struct np_http_client_options *o);

struct np_http_call_handler {
    void (*on_head)(struct np_http_call *c, const struct np_http_head *h);
    void (*on_body)(struct np_http_call *c, const char *data, size_t n); /* lent */
    void (*on_drain)(struct np_http_call *c); /* more of a streamed request body may be written */
    /* NEAP_OK: the answer is complete. Else what went wrong, in words. */
    void (*on_end)(struct np_http_call *c, enum neap_err err, const char *why);
    /* Any of these may be NULL. A 1xx head other than 101; the fields after a chunked body, before
     * on_end. Lent. */
    void (*on_interim)(struct np_http_call *c, const struct np_http_head *h);
    void (*on_trailers)(struct np_http_call *c, const struct np_http_header *fields, size_t n);
};

/* One that speaks HTTP: a plain request is sent to it with its whole URL, TLS goes through a tunnel
 * that it is asked for with CONNECT. */
struct np_http_proxy {
    const char *host;
    int port;
    struct np_tls_context *tls; /* of the connection to the proxy itself; NULL: plain */
    const char *authorization;  /* Proxy-Authorization's value, or NULL */
};

struct np_http_request {
    const char *host; /* name or literal address; the Host header is made from it and the port
                         unless given */
    int port;
    const char *unix_path;             /* instead of host and port, or NULL */
    struct np_tls_context *tls;        /* https; NULL: plain. The pool refs it */
    const char *tls_name;              /* what its certificate is for; NULL: host */
    const struct np_http_proxy *proxy; /* or NULL; not with unix_path */
    const char *method;
    const char *target; /* "/path?query" */
    const struct np_http_header *headers;
    size_t nheaders;
    const char *body; /* copied; NULL with body_len 0: none */
    size_t body_len;
    bool stream_body;        /* the body follows by np_http_call_write; body is NULL */
    int64_t content_length;  /* of a streamed body; -1 chunked */
    int64_t expect_continue; /* ns that the body waits for 100 (Continue), then goes all the same;
                                0: it does not wait */
    bool decode; /* sends Accept-Encoding, unless the headers have one or ask for a range, and then
                    gives the body decoded, without Content-Encoding and Content-Length */
    uint64_t max_decoded; /* bytes of it, 0 none: more fails with NEAP_ELIMIT */
    int idempotent;       /* 1, -1: it is, it is not; 0: as its method says */
    int64_t timeout;      /* ns for the whole call, 0 none */
    int64_t wait_timeout; /* ns; of these four 0 is the client's option and -1 none */
    int64_t dns_timeout;
    int64_t connect_timeout;
    int64_t tls_timeout;
    int64_t first_byte_timeout; /* ns from sent to the first byte of the answer; 0 none */
    int64_t idle_timeout;       /* ns without progress of the answer or the body sent; 0 none */
    size_t max_head;            /* bytes of the answer's head; 0: the client's option */
};

NEAP_MUST_CHECK enum neap_err np_http_client_new(struct np_loop *loop,
                                                 const struct np_http_client_options *opts,
                                                 struct np_http_client **out);
/* Calls in flight end with NEAP_ECLOSED; connections close as the loop runs on; the memory goes by
 * itself. */
void np_http_client_close(struct np_http_client *c);

NEAP_MUST_CHECK enum neap_err np_http_client_call(struct np_http_client *c,
                                                  const struct np_http_request *r,
                                                  const struct np_http_call_handler *h, void *arg,
                                                  struct np_http_call **out,
                                                  struct neap_errinfo *info);
void *np_http_call_arg(const struct np_http_call *c);
void np_http_call_cancel(struct np_http_call *c);
/* Back-pressure on the answer's body. */
void np_http_call_pause(struct np_http_call *c, bool paused);
/* A streamed request body. */
NEAP_MUST_CHECK enum neap_err np_http_call_write(struct np_http_call *c, const char *p, size_t n);
bool np_http_call_writable(const struct np_http_call *c);
/* Whether the request's head waits for a connection still. If so on_drain comes when it has one:
 * for who would rather not begin a body that cannot be sent again elsewhere. */
bool np_http_call_await_sending(struct np_http_call *c);
void np_http_call_finish(struct np_http_call *c);
/* The same with a trailer, which leaves if the body is chunked. Fields that may not stand in one
 * (np_http_may_trail) end the call with NEAP_EINVAL. Lent. */
void np_http_call_finish_with(struct np_http_call *c, const struct np_http_header *trailers,
                              size_t n);

/* Where a call stands; in on_end, where it stood when it failed. */
enum np_http_phase {
    NP_HTTP_WAIT,    /* for a connection to be free */
    NP_HTTP_DNS,     /* the name is being resolved */
    NP_HTTP_CONNECT, /* TCP */
    NP_HTTP_PROXY,   /* the proxy is asked to connect */
    NP_HTTP_TLS,     /* the handshake */
    NP_HTTP_SEND,    /* the request */
    NP_HTTP_FIRST_BYTE,
    NP_HTTP_BODY, /* the answer has begun */
};
enum np_http_phase np_http_call_phase(const struct np_http_call *c);
const char *np_http_phase_name(enum np_http_phase p); /* "dns", "first_byte" … */
/* In on_end with NEAP_ETIMEDOUT: which bound it was, "total", "dns" …; NULL for none of the
 * client's. */
const char *np_http_call_bound(const struct np_http_call *c);

/* From on_head on: the coding that the body is decoded from, or NULL. */
const char *np_http_call_coding(const struct np_http_call *c);

struct np_http_client_stats {
    size_t open, idle, waiting, origins;
    uint64_t calls, reused, retried, connects;
};
void np_http_client_get_stats(const struct np_http_client *c, struct np_http_client_stats *out);

#endif
