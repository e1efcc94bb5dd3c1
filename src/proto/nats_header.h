/* The header block of a NATS message: "NATS/1.0[ status[ description]]\r\n", lines "Name:
 * value\r\n",
 * "\r\n". Reading lends slices of the block; writing checks what goes in. Pure, any thread.
 */
#ifndef NP_PROTO_NATS_HEADER_H
#define NP_PROTO_NATS_HEADER_H

#include <stdbool.h>

#include "base/buf.h"
#include "proto/bytes.h"

#define NP_NATS_STATUS_NO_RESPONDERS 503

struct np_nats_headers {
    int status; /* 0 when the first line has none */
    struct np_bytes description;
    struct np_bytes rest; /* lines not read yet */
};

/* False when the block is not one. */
NEAP_MUST_CHECK bool np_nats_headers_read(struct np_bytes block, struct np_nats_headers *out);
/* The next line; false at the end, or at a line that is none (what follows is not read). Blanks
 * around a value are not part of it. Names keep their case: they are compared as they are. */
bool np_nats_headers_next(struct np_nats_headers *h, struct np_bytes *name, struct np_bytes *value);
/* The first value of that name; p NULL when absent. */
struct np_bytes np_nats_header_get(struct np_bytes block, const char *name, size_t n);

/* Whether a name (not empty, printable ASCII without ':') and a value (no CR, LF, NUL) may stand in
 * a block. */
bool np_nats_header_ok(const char *name, size_t nn, const char *value, size_t vn);
/* Appends a line to a block; an empty buffer is begun with the version first. NEAP_EINVAL (and
 * nothing is appended) for what may not stand there. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_nats_headers_add(struct np_buf *b, const char *name, size_t nn,
                                                  const char *value, size_t vn);
/* The empty line that ends a block. */
NEAP_MUST_CHECK enum neap_err np_nats_headers_end(struct np_buf *b);

#endif
