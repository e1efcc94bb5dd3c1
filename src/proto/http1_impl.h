/* What http1.c (the flow of bytes), http1_quick.c (the plain case), http1_scan.c (lines),
 * http1_head.c (heads) and http1_chunk.c (chunked bodies) share. Private to the codec. */
#ifndef NP_PROTO_HTTP1_IMPL_H
#define NP_PROTO_HTTP1_IMPL_H

#include "base/err.h"
#include "proto/http1.h"

/* The parser FAILED; returns `err`. `why` must be static. */
enum neap_err np_http1_fail(struct np_http1_parser *p, int status, enum neap_err err,
                            const char *why);

/* http1_quick.c: the head at `data`, if it is whole and plain: fills it and calls
 * on_head. False: nothing was done. */
bool np_http1_quick_head(struct np_http1_parser *p, const char *data, size_t n, size_t *used);
/* The body of such a message (`n` above 0), and its end. */
void np_http1_quick_body(struct np_http1_parser *p, const char *data, size_t n, size_t *used);
void np_http1_quick_end(struct np_http1_parser *p);

/* Empty lines before a message are skipped, a few. `*used` of them; START stays START when nothing
 * else came. */
NEAP_MUST_CHECK enum neap_err np_http1_skip_empty(struct np_http1_parser *p, const char *data,
                                                  size_t n, size_t *used);
/* Looks at the lines of a head or a trailer: how many of these bytes belong to it, and whether it
 * is complete. Refuses bare CR and LF, folded lines, control bytes where llhttp would not see them
 * soon, and too many bytes. */
NEAP_MUST_CHECK enum neap_err np_http1_scan(struct np_http1_parser *p, const char *data, size_t n,
                                            size_t *used, bool *done);
/* Starts the scanner over; `lines` is 1 for a trailer, which has no first line of its own. */
void np_http1_scan_start(struct np_http1_parser *p, size_t lines);

/* Room for more headers. False: out of memory, and nothing has changed. */
NEAP_MUST_CHECK bool np_http1_grow_headers(struct np_http1_parser *p);
/* llhttp's events of a head. */
NEAP_MUST_CHECK enum neap_err np_http1_head_field(struct np_http1_parser *p, const char *at,
                                                  size_t n);
NEAP_MUST_CHECK enum neap_err np_http1_head_value(struct np_http1_parser *p, const char *at,
                                                  size_t n);
NEAP_MUST_CHECK enum neap_err np_http1_head_value_done(struct np_http1_parser *p);
/* Fills and checks `head` when all of it is there. */
NEAP_MUST_CHECK enum neap_err np_http1_head_done(struct np_http1_parser *p);
/* Moves every slice of the head that points into [from, from + n) to `to`. */
void np_http1_head_rebase(struct np_http1_parser *p, const char *from, size_t n, const char *to);
/* http1_authority.c: "host:port" in its parts, as a URI may have it; the port is empty if there is
 * none, and digits else. */
bool np_http1_split_host(struct np_bytes v, struct np_bytes *host, struct np_bytes *port);
/* Whether both name one place; with a negative `default_port` one without a port names any. */
bool np_http1_same_host(struct np_bytes a, struct np_bytes b, long default_port);
/* "host:443", as CONNECT has it. */
bool np_http1_is_connect_target(struct np_bytes v);

/* A chunked body, until its last chunk's line makes TRAILER of BODY; and what follows, to END. */
NEAP_MUST_CHECK enum neap_err np_http1_feed_chunked(struct np_http1_parser *p, const char *data,
                                                    size_t n, size_t *used);
NEAP_MUST_CHECK enum neap_err np_http1_feed_trailer(struct np_http1_parser *p, const char *data,
                                                    size_t n, size_t *used);
struct np_http1_trailer {
    struct np_buf bytes; /* as received */
    struct np_http_header *fields;
    size_t n;
};
void np_http1_drop_trailer(struct np_http1_parser *p);
/* What llhttp's failure means. */
enum neap_err np_http1_fail_from_llhttp(struct np_http1_parser *p, llhttp_errno_t code);

#endif
