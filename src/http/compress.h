/* Compression of answers: what the client accepts and the answer allows decides, when it is begun.
 *
 * An answer is compressed if a plan offers what the client accepts (RFC 9110, 12.5.3), its type is
 * one of the plan's, and it is neither short, nor encoded already, a part (206) or without a body,
 * nor forbids it (Cache-Control: no-transform). What would be compressed for another client says so
 * in Vary; what is compressed has no strong ETag and takes no ranges. One thread, the loop's.
 */
#ifndef NP_HTTP_COMPRESS_H
#define NP_HTTP_COMPRESS_H

#include "http/server.h"
#include "proto/coding.h"

enum { NP_HTTP_COMPRESS_HEADERS = 2 }; /* that are added at most */

struct np_http_plan {
    size_t min_bytes;                   /* of a body whose length is known */
    enum np_coding offered[NP_CODINGS]; /* in order of preference */
    size_t noffered;
    int levels[NP_CODINGS]; /* or NP_CODING_LEVEL_DEFAULT */
    const char
        *types; /* "text/html", "text/" "*" or "+json", each with its NUL; an empty one ends them */
};

/* An answer's head, to be changed: there is room for NP_HTTP_COMPRESS_HEADERS more. */
struct np_http_compress_head {
    int status;
    struct np_http_header *headers;
    size_t n;
    const char *type; /* for when no header says it; or NULL */
    char etag[256];   /* where a changed one stands: while the head is in use */
};

/* Whether the exchange's answer with a body of `length` bytes (-1: not known) is to be compressed;
 * NP_CODING_IDENTITY: it is not. Changes nothing. */
enum np_coding np_http_compress_choice(const struct np_http_plan *plan,
                                       const struct np_http_exchange *x,
                                       const struct np_http_compress_head *h, int64_t length);

/* Compresses a whole body into `out` and points `*body` there, if it is to be and gets smaller by
 * it; changes the head accordingly. For want of memory it stays as it is. */
void np_http_compress_whole(const struct np_http_plan *plan, const struct np_http_exchange *x,
                            struct np_http_compress_head *h, struct np_bytes *body,
                            struct np_buf *out);

/* What a streamed answer goes through. */
struct np_http_coder;

/* Before np_http_start: changes the head, and `*length` to -1, and makes a coder if the answer is
 * to be compressed; `*out` is NULL where it is not, or has no body (HEAD). NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_coder_new(const struct np_http_plan *plan,
                                                struct np_http_exchange *x,
                                                struct np_http_compress_head *h, int64_t *length,
                                                struct np_http_coder **out);
/* In place of np_http_write. What was written leaves before the loop waits, events at once. After a
 * failure (of np_http_write's) the answer is not to be brought to its end. */
NEAP_MUST_CHECK enum neap_err np_http_coder_write(struct np_http_coder *c, const char *p, size_t n);
/* The last bytes, before np_http_finish; again, nothing. After a failure the answer is not to be
 * brought to its end. */
NEAP_MUST_CHECK enum neap_err np_http_coder_end(struct np_http_coder *c);
/* At the latest when the exchange goes. NULL is allowed. */
void np_http_coder_free(struct np_http_coder *c);

#endif
