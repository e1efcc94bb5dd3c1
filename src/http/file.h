/* Answers that are files: sent by the kernel where the transport allows it, else read and written.
 *
 * Who answers with a file is done with the exchange: it is this file's from then on, goes on while
 * the client takes the bytes, and closes the descriptor at the end, whatever the end. The owner
 * hears no on_drain, on_abort or on_body_end any more.
 *
 * A file that turns out shorter than it was, or that was changed while it was on its way, breaks
 * the connection off before its last byte: the client sees that it does not have the whole. (A
 * change while a small file leaves in one go cannot be seen, and does no harm: its bytes are read
 * once.) One thread, the loop's.
 */
#ifndef NP_HTTP_FILE_H
#define NP_HTTP_FILE_H

#include "http/server.h"
#include "net/file.h"

/* A run of the file's bytes, after some bytes of text (multipart); both lent for the call. */
struct np_http_part {
    struct np_bytes before;
    uint64_t offset, size;
};

/* Sends what it can of a file's bytes, as part of a started answer of known length. `*taken` 0: the
 * connection is full, on_drain follows. NEAP_EOF: the file is shorter. NEAP_ECLOSED, NEAP_EINVAL
 * for more than the answer's length, NEAP_EIO, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_send_file(struct np_http_exchange *x, const struct np_file *f,
                                                uint64_t offset, uint64_t n, uint64_t *taken);

/* The whole answer: these parts of the file, then `after`. Takes the file on success (a lent one is
 * copied if it takes longer); on failure (as of np_http_start) it is the caller's, and nothing was
 * written. HEAD gets the head alone. */
NEAP_MUST_CHECK enum neap_err np_http_respond_file(struct np_http_exchange *x, int status,
                                                   const struct np_http_header *headers,
                                                   size_t nheaders, struct np_file *f,
                                                   const struct np_http_part *parts, size_t nparts,
                                                   struct np_bytes after);

#endif
