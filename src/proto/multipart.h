/* Bodies of kind multipart/form-data (RFC 7578, RFC 2046 §5.1), read piece by piece.
 *
 * Sans I/O: pieces of any size in, events out. Nothing is kept but the headers of the part that is
 * being read; a delimiter that is cut by the end of a piece is known anyway. Strict: lines end in
 * CRLF, headers are not folded, every part has one Content-Disposition with one name, nothing
 * stands before the first delimiter (but one empty line) or behind the last. What could be read two
 * ways is refused, so that who stands in front of us cannot have read it differently. One thread at
 * a time.
 */
#ifndef NP_PROTO_MULTIPART_H
#define NP_PROTO_MULTIPART_H

#include "base/buf.h"
#include "proto/bytes.h"

enum {
    NP_MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046 */
    NP_MULTIPART_HEADERS_MAX = 16   /* of one part; three mean something */
};

struct np_multipart_limits {
    size_t max_parts;         /* default 1000 */
    size_t max_header_bytes;  /* of one part's headers; default 8 KiB */
    uint64_t max_field_bytes; /* of a part without a file name; default 1 MiB */
    uint64_t max_file_bytes;  /* of a part with one; default 64 MiB */
    uint64_t max_total_bytes; /* of the body, delimiters and headers included; default 256 MiB */
};
#define NP_MULTIPART_LIMITS_INIT                                                     \
    {                                                                                \
        .max_parts = 1000, .max_header_bytes = 8 << 10, .max_field_bytes = 1 << 20,  \
        .max_file_bytes = (uint64_t)64 << 20, .max_total_bytes = (uint64_t)256 << 20 \
    }

struct np_multipart_header {
    struct np_bytes name; /* in lower case */
    struct np_bytes value;
};
/* A part's head; holds until the next part begins or the parser goes. */
struct np_multipart_part {
    struct np_bytes name;
    struct np_bytes filename;     /* p NULL: none was given; that makes it a field. Without path,
                                     without control characters, never "." or "..": then empty */
    struct np_bytes raw_filename; /* as it was sent, decoded: any path in it is the sender's */
    struct np_bytes content_type; /* p NULL when there is none: text/plain */
    struct np_multipart_header headers[NP_MULTIPART_HEADERS_MAX];
    size_t nheaders;
};

enum np_multipart_event {
    NP_MULTIPART_MORE,     /* the piece is used up */
    NP_MULTIPART_PART,     /* a part begins: see `part` */
    NP_MULTIPART_DATA,     /* some of its bytes */
    NP_MULTIPART_PART_END, /* it is complete */
    NP_MULTIPART_END,      /* the last delimiter was there: only the end may follow */
};

enum np_multipart_state {
    NP_MULTIPART_AT_START,
    NP_MULTIPART_AFTER_DELIMITER,
    NP_MULTIPART_PADDING,
    NP_MULTIPART_DELIMITER_CR,
    NP_MULTIPART_DELIMITER_DASH,
    NP_MULTIPART_IN_HEADERS,
    NP_MULTIPART_IN_BODY,
    NP_MULTIPART_TRAILER,
    NP_MULTIPART_TRAILER_CR,
    NP_MULTIPART_CLOSED,
    NP_MULTIPART_FAILED,
};

struct np_multipart {
    struct np_multipart_limits limits;
    enum np_multipart_state state;
    char delimiter[NP_MULTIPART_BOUNDARY_MAX + 4]; /* CRLF, two dashes, the boundary */
    size_t delimiter_len;
    size_t matched;     /* bytes of the delimiter at the end of what was seen */
    bool begun;         /* a byte was seen at the start */
    size_t line;        /* where in `head` the line begins that is being read */
    struct np_buf head; /* the part's headers as they came */
    struct np_buf text; /* its names, decoded */
    struct np_multipart_part part;
    size_t parts;
    uint64_t part_bytes;
    uint64_t total_bytes;
    struct neap_errinfo failure;
};

/* The boundary that a Content-Type gives, NUL-terminated. NEAP_ENOTSUP with words when that is not
 * multipart/form-data, NEAP_EPROTO when it has no boundary, two, or one that may not be. */
NEAP_MUST_CHECK enum neap_err np_multipart_boundary(const char *content_type, size_t n,
                                                    char out[NP_MULTIPART_BOUNDARY_MAX + 1],
                                                    struct neap_errinfo *info);
/* Whether it may be one: 1 to 70 of RFC 2046's bchars, no blank at the end. */
bool np_multipart_boundary_ok(const char *boundary, size_t n);

/* `limits` NULL: the defaults. Allocates nothing. NEAP_EINVAL for a boundary that may not be. */
NEAP_MUST_CHECK enum neap_err np_multipart_init(struct np_multipart *m, const char *boundary,
                                                size_t n, const struct np_multipart_limits *limits);
void np_multipart_fini(struct np_multipart *m);

/* Looks at `p` up to the next event; `*used` bytes of it are done with. `data` is set for
 * NP_MULTIPART_DATA: bytes of `p` or of the parser's own, which hold until the next call. Call
 * until NP_MULTIPART_MORE. NEAP_EPROTO for what is malformed, NEAP_ELIMIT for what is too large,
 * with words, and the same ever after; NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_multipart_next(struct np_multipart *m, const char *p, size_t n,
                                                size_t *used, enum np_multipart_event *event,
                                                struct np_bytes *data, struct neap_errinfo *info);
/* The body has ended: NEAP_EPROTO when it should not have. */
NEAP_MUST_CHECK enum neap_err np_multipart_finish(const struct np_multipart *m,
                                                  struct neap_errinfo *info);

/* --- writing */

/* Appends a parameter's value in quotes, as browsers write it: `"`, CR and LF as %22, %0D and %0A
 * (WHATWG HTML, 4.10.22.7). NEAP_EINVAL for other control characters, NEAP_ENOMEM; then nothing was
 * appended. */
NEAP_MUST_CHECK enum neap_err np_multipart_quote(struct np_buf *b, const char *text, size_t n);

#endif
