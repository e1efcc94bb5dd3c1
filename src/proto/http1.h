/* HTTP/1.1 messages, sans I/O: bytes in, events out; and the writing of heads and chunks.
 *
 * Heads are read by llhttp, strict, behind a scanner of lines of our own that refuses what llhttp
 * lets pass and RFC 9112 forbids; chunks and trailers by a reader of our own. It copies nothing it
 * can avoid: a message whose head arrives in one piece is parsed in place and its slices point into
 * the caller's bytes; a head in pieces is gathered in the parser's own buffer, in one block. The
 * parser pauses by itself at the end of each message, so that pipelined requests are handed out one
 * at a time. One thread at a time.
 */
#ifndef NP_PROTO_HTTP1_H
#define NP_PROTO_HTTP1_H

#include <llhttp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "proto/bytes.h"

struct np_http_header {
    struct np_bytes name; /* as received */
    struct np_bytes value;
};

struct np_http_limits {
    size_t max_head; /* bytes of request line and headers, default 16 KiB → 431 (414 when the target
                        alone) */
    size_t max_headers; /* count, default 100 → 431 */
    uint64_t max_body;  /* bytes, default 1 MiB for what is collected → 413; UINT64_MAX none */
};
#define NP_HTTP_LIMITS_INIT         \
    {                               \
        16 * 1024, 100, 1024 * 1024 \
    }

/* A parsed head. Its slices hold until on_head returns; after np_http1_keep, until np_http1_next.
 */
struct np_http_head {
    int method; /* llhttp's HTTP_GET …; requests */
    struct np_bytes method_name;
    struct np_bytes target; /* as sent */
    struct np_bytes path;   /* before '?', not decoded */
    struct np_bytes query;  /* after '?', empty if none */
    int status;             /* responses */
    struct np_bytes reason;
    int major, minor;
    struct np_http_header *headers;
    size_t nheaders;
    int64_t content_length; /* -1: none given */
    bool chunked;
    bool has_body; /* bytes, or for a response the end of the connection, follow */
    bool keep_alive;
    bool expect_continue;
    bool upgrade; /* Upgrade was asked for (and means nothing unless answered 101), or CONNECT */
    /* What a chunked body ended with, complete when on_end is called; they hold until
     * np_http1_next, kept or not. */
    const struct np_http_header *trailers;
    size_t ntrailers;
};

/* The value of the first header of that name (ASCII case-insensitive); p NULL when absent. */
struct np_bytes np_http_header_get(const struct np_http_head *h, const char *name, size_t n);
/* "Reason Phrase" for a status; "Unknown" for one it does not know. */
const char *np_http_reason(int status);

/* --- reading */
enum np_http1_type { NP_HTTP1_REQUEST, NP_HTTP1_RESPONSE };
enum np_http1_state {
    NP_HTTP1_START, /* not a byte of the message yet */
    NP_HTTP1_HEAD,
    NP_HTTP1_BODY,
    NP_HTTP1_TRAILER,
    NP_HTTP1_END, /* complete; np_http1_next comes next */
    NP_HTTP1_FAILED,
};

struct np_http1_parser;
/* Called from inside np_http1_feed and np_http1_finish. The parser may be paused in any of them,
 * but not fed or freed. */
struct np_http1_events {
    void (*on_head)(struct np_http1_parser *p);
    void (*on_body)(struct np_http1_parser *p, const char *data, size_t n); /* lent */
    void (*on_end)(struct np_http1_parser *p);
    /* A response's 1xx head other than 101, which holds until it returns; may be NULL. */
    void (*on_interim)(struct np_http1_parser *p);
};
struct np_http1_trailer; /* the codec's */

struct np_http1_parser {
    llhttp_t ll;
    const struct np_http1_events *events;
    void *arg; /* the owner's */
    struct np_http_limits limits;
    struct np_http_head *head; /* the owner's; filled when on_head is called */
    enum np_http1_type type;
    enum np_http1_state state;
    enum neap_err err; /* why it FAILED */
    int status; /* … as a request's answer: 400, 413, 414, 417, 431, 501, 505; 500 for memory */
    const char *why;    /* … in words */
    int request_method; /* of the request that a response answers; -1 unknown */
    bool paused;        /* by the owner */
    bool end_due;       /* the message is complete and on_end not called yet */
    bool gathered;      /* `base` is the gather buffer's */
    bool last_cr;       /* the byte scanned last was CR */
    bool stopped;       /* llhttp has more to say without another byte */
    bool in_name;       /* llhttp is inside a header's name */
    bool quick;         /* the head was plain: llhttp has not seen the message */
    bool ll_used;       /* llhttp's state is a message's */
    bool seen_host, seen_length, seen_coding;
    /* The head. */
    const char *base;  /* its first byte */
    size_t head_bytes; /* scanned so far; a trailer counts anew */
    size_t executed;   /* … of which llhttp has seen */
    size_t head_len;   /* bytes at `base`, once the head is complete */
    size_t lines;      /* complete ones */
    size_t line_len;   /* bytes of the one under way */
    size_t skipped;    /* bytes of empty lines before the message */
    struct np_buf gather;
    struct np_http_header *headers; /* owned, reused */
    size_t headers_cap;
    /* The body. */
    uint64_t body_bytes;
    uint64_t framing; /* bytes of chunk headers so far; bounded */
    uint64_t chunks;
    uint64_t chunk_left; /* of the chunk under way */
    unsigned char chunk_at;
    struct np_http1_trailer *trailer; /* NULL while there is none */
    unsigned interim;                 /* 1xx heads that were skipped */
};

/* Allocates nothing. `limits` NULL means the defaults. */
void np_http1_init(struct np_http1_parser *p, enum np_http1_type type,
                   const struct np_http_limits *limits, struct np_http_head *head,
                   const struct np_http1_events *events, void *arg);
void np_http1_fini(struct np_http1_parser *p);

/* Takes bytes and calls events until they are used up, the message has ended or the owner paused;
 * `*consumed` says how many it took (set on failure as well). After a failure only next (for a
 * recycled connection) and fini are useful. With n 0 it delivers what is due after a pause.
 * NEAP_EPROTO, NEAP_ELIMIT (413, 414, 431), NEAP_ENOTSUP (501, 505), NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http1_feed(struct np_http1_parser *p, const char *data, size_t n,
                                            size_t *consumed);
/* The peer will send no more: ends a response that lasts until then (on_end); NEAP_EPROTO in the
 * middle of any other message; nothing between messages. */
NEAP_MUST_CHECK enum neap_err np_http1_finish(struct np_http1_parser *p);
/* Ready for the next message; in any state. `request_method` is what a response answers
 * (HTTP_HEAD, HTTP_CONNECT … matter); requests pass -1. */
void np_http1_next(struct np_http1_parser *p, int request_method);
/* Makes the head's slices hold until np_http1_next. Inside on_head, or later while the bytes that
 * held the head are still there. */
NEAP_MUST_CHECK enum neap_err np_http1_keep(struct np_http1_parser *p);
static inline void np_http1_pause(struct np_http1_parser *p, bool paused)
{
    p->paused = paused;
}

/* Whether these bytes are a token (RFC 9110: names, methods), a field value, a request target. */
bool np_http_is_token(const char *p, size_t n);
bool np_http_is_value(const char *p, size_t n);
bool np_http_is_target(const char *p, size_t n);
/* Whether a field of that name may stand in a trailer (RFC 9110 §6.5.1): not if it frames, routes,
 * authenticates or says how to read the content. */
bool np_http_may_trail(struct np_bytes name);
/* Whether a field of that name belongs to one connection (RFC 9110 §7.6.1) and passes no proxy;
 * what Connection names is one's own to look for. */
bool np_http_is_hop_by_hop(struct np_bytes name);
/* ASCII case-insensitive; `lower` is in lower case. The second looks at `n` bytes of both. */
bool np_http_lower_is(const char *p, const char *lower, size_t n);
static inline bool np_http_name_is(struct np_bytes name, const char *lower, size_t n)
{
    return name.n == n && np_http_lower_is(name.p, lower, n);
}
/* Whether any of the eight bytes at `p` may be below ' ' or DEL: a tab is one of those. Never false
 * when one is. */
static inline bool np_http_has_control(const char *p)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t del = w ^ (each * 0x7f);
    uint64_t low = (w - each * ' ') & ~w;
    return ((low | ((del - each) & ~del)) & (each * 0x80)) != 0;
}
/* Whether a comma-separated list holds the token. */
bool np_http_list_has(struct np_bytes list, const char *lower, size_t n);
/* llhttp's number of a method as written; -1 for an unknown one. */
int np_http_method(const char *name, size_t n);
const char *np_http_method_name(int method); /* as it is written; static */

/* --- writing: each fails with NEAP_ENOMEM, or NEAP_EINVAL for what must not reach the wire (CR,
 * LF, NUL or other control bytes in a header, a bad token as a name, a target with spaces), and
 * then appended nothing. */
NEAP_MUST_CHECK enum neap_err np_http_write_status_line(struct np_buf *b, int minor, int status);
NEAP_MUST_CHECK enum neap_err np_http_write_request_line(struct np_buf *b, const char *method,
                                                         size_t mn, const char *target, size_t tn);
NEAP_MUST_CHECK enum neap_err np_http_write_header(struct np_buf *b, const char *name, size_t nn,
                                                   const char *value, size_t vn);
/* The same for a field that its caller has checked: a token, a value. */
NEAP_MUST_CHECK enum neap_err np_http_put_header(struct np_buf *b, const struct np_http_header *h);
NEAP_MUST_CHECK enum neap_err np_http_write_chunk(struct np_buf *b, const char *p, size_t n);
/* A chunk's size line alone; returns its length. Data and CR LF follow. */
#define NP_HTTP_CHUNK_HEAD 18
size_t np_http_chunk_head(char out[NP_HTTP_CHUNK_HEAD], size_t n);
NEAP_MUST_CHECK enum neap_err np_http_write_last_chunk(struct np_buf *b);
/* The same with a trailer. NEAP_EINVAL for fields that may not stand in one, too. */
NEAP_MUST_CHECK enum neap_err np_http_write_trailer(struct np_buf *b,
                                                    const struct np_http_header *fields, size_t n);
/* "Date: …\r\n", formatted at most once a second per cache. */
struct np_http_date {
    int64_t second;
    char text[40];
    size_t len;
};
NEAP_MUST_CHECK enum neap_err np_http_write_date(struct np_buf *b, struct np_http_date *cache,
                                                 int64_t wall_seconds);

#endif
