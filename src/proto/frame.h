/* Length-prefixed messages: [header length][body length][header][body], the first and the third
 * only where the format has headers. Lengths are 1, 2, 4 or 8 bytes, big- or little-endian.
 *
 * Sans I/O: bytes in, frames out. Nothing is believed before it is checked: a length above its
 * bound is refused when its prefix is there, before any byte of the message is waited for.
 */
#ifndef NP_PROTO_FRAME_H
#define NP_PROTO_FRAME_H

#include "base/buf.h"
#include "proto/bytes.h"

enum { NP_FRAME_PREFIX_MAX = 16 };

struct np_frame_format {
    unsigned header_length; /* bytes of the header's length: 0 (no headers), 1, 2, 4, 8 */
    unsigned body_length;   /* bytes of the body's length: 1, 2, 4, 8 */
    bool little_endian;
    size_t max_header; /* bytes; a frame with more is refused, read or written */
    size_t max_body;   /* bytes */
};
#define NP_FRAME_FORMAT_INIT                                                          \
    {                                                                                 \
        .body_length = 4, .max_header = (size_t)64 << 10, .max_body = (size_t)1 << 20 \
    }

struct np_frame {
    struct np_bytes header; /* p NULL where the format has no headers */
    struct np_bytes body;
};

/* NEAP_EINVAL with words for lengths that are none of the above. */
NEAP_MUST_CHECK enum neap_err np_frame_format_check(const struct np_frame_format *f,
                                                    struct neap_errinfo *info);
static inline size_t np_frame_prefix_size(const struct np_frame_format *f)
{
    return f->header_length + f->body_length;
}

/* Looks at the front of `p`. A whole frame: NEAP_OK, `out` points into `p`, `*size` is its bytes.
 * Not whole: NEAP_EAGAIN, and `*size` is how many bytes must be there before it is worth looking
 * again (always more than `n`). NEAP_ELIMIT with words: a length above its bound. */
NEAP_MUST_CHECK enum neap_err np_frame_parse(const struct np_frame_format *f, const char *p,
                                             size_t n, struct np_frame *out, size_t *size,
                                             struct neap_errinfo *info);

/* The prefix of a frame of such parts, `*n` bytes into `out`. NEAP_ELIMIT when a part is above its
 * bound or its length does not fit; NEAP_EINVAL for a header where the format has none. */
NEAP_MUST_CHECK enum neap_err np_frame_prefix(const struct np_frame_format *f, size_t header,
                                              size_t body, char out[NP_FRAME_PREFIX_MAX], size_t *n,
                                              struct neap_errinfo *info);

/* Appends a whole frame, or nothing. */
NEAP_MUST_CHECK enum neap_err np_frame_write(const struct np_frame_format *f,
                                             struct np_bytes header, struct np_bytes body,
                                             struct np_buf *out, struct neap_errinfo *info);

#endif
