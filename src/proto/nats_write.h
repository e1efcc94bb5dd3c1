/* Writing the core NATS protocol: each function appends one message to a buffer.
 *
 * All fail with NEAP_ENOMEM, or with NEAP_EINVAL for an argument that must not reach the wire (an
 * empty one, blanks or control bytes in a subject, reply, queue or sid), and then appended nothing.
 * Pure, any thread.
 */
#ifndef NP_PROTO_NATS_WRITE_H
#define NP_PROTO_NATS_WRITE_H

#include <stdint.h>

#include "base/buf.h"
#include "proto/bytes.h"

/* What a message is made of. `reply.n` 0: none. `headers` is a whole block or empty: with one, HPUB
 * or HMSG is written. */
struct np_nats_out {
    struct np_bytes subject;
    struct np_bytes reply;
    struct np_bytes headers;
    struct np_bytes payload;
};

NEAP_MUST_CHECK enum neap_err np_nats_write_pub(struct np_buf *b, const struct np_nats_out *m);
NEAP_MUST_CHECK enum neap_err np_nats_write_msg(struct np_buf *b, struct np_bytes sid,
                                                const struct np_nats_out *m);
/* `queue.n` 0: a plain subscription. */
NEAP_MUST_CHECK enum neap_err np_nats_write_sub(struct np_buf *b, struct np_bytes subject,
                                                struct np_bytes queue, uint64_t sid);
/* `max` 0: at once. */
NEAP_MUST_CHECK enum neap_err np_nats_write_unsub(struct np_buf *b, uint64_t sid, uint64_t max);
NEAP_MUST_CHECK enum neap_err np_nats_write_ping(struct np_buf *b);
NEAP_MUST_CHECK enum neap_err np_nats_write_pong(struct np_buf *b);
NEAP_MUST_CHECK enum neap_err np_nats_write_ok(struct np_buf *b);
/* -ERR 'text'. */
NEAP_MUST_CHECK enum neap_err np_nats_write_err(struct np_buf *b, const char *text);

#endif
