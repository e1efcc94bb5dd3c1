/* HTTP/1.1 messages, sans I/O: bytes in, events out; and the writing of heads and chunks.
 *
 * The parser is llhttp, strict. It copies nothing it can avoid: a message whose head arrives in one
 * piece is parsed in place (slices point into the caller's bytes until np_http1_feed returns or the
 * head event is over, whichever the event says); a head in pieces is gathered in the message's
 * arena. The parser pauses by itself at the end of each message, so that pipelined requests are
 * handed out one at a time. One thread at a time.
 */
#ifndef NP_PROTO_HTTP1_H
#define NP_PROTO_HTTP1_H

#include <llhttp.h>

#include "base/arena.h"
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

/* A parsed head. Slices hold until np_http1_next. */
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
    bool has_body;
    bool keep_alive;
    bool expect_continue;
    bool upgrade;
};

/* The value of the first header of that name (ASCII case-insensitive); p NULL when absent. */
struct np_bytes np_http_header_get(const struct np_http_head *h, const char *name, size_t n);
/* "Reason Phrase" for a status; "Unknown" for one it does not know. */
const char *np_http_reason(int status);

/* --- writing: each fails with NEAP_ENOMEM, or NEAP_EINVAL for what must not reach the wire (CR,
 * LF, NUL or other control bytes in a header, a bad token as a name, a target with spaces), and
 * then appended nothing. */
NEAP_MUST_CHECK enum neap_err np_http_write_status_line(struct np_buf *b, int minor, int status);
NEAP_MUST_CHECK enum neap_err np_http_write_request_line(struct np_buf *b, const char *method,
                                                         size_t mn, const char *target, size_t tn);
NEAP_MUST_CHECK enum neap_err np_http_write_header(struct np_buf *b, const char *name, size_t nn,
                                                   const char *value, size_t vn);
NEAP_MUST_CHECK enum neap_err np_http_write_chunk(struct np_buf *b, const char *p, size_t n);
NEAP_MUST_CHECK enum neap_err np_http_write_last_chunk(struct np_buf *b);
/* "Date: …\r\n", formatted at most once a second per cache. */
struct np_http_date {
    int64_t second;
    char text[40];
    size_t len;
};
NEAP_MUST_CHECK enum neap_err np_http_write_date(struct np_buf *b, struct np_http_date *cache,
                                                 int64_t wall_seconds);

#endif
