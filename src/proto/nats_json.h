/* The JSON that CONNECT and INFO carry: reading the fields neap uses, writing both.
 *
 * Reading walks one object. The whole text is checked (depth at most 16); values that are not asked
 * for are skipped; of a name that comes twice the last counts; a field of another type than
 * expected is an error. Strings are lent as they stand in the text, escapes undone by nobody: they
 * serve for logs and comparison. Pure, any thread.
 */
#ifndef NP_PROTO_NATS_JSON_H
#define NP_PROTO_NATS_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/bytes.h"

/* What a client says of itself. Absent fields have the values of NP_NATS_CONNECT_INIT. */
struct np_nats_connect {
    bool verbose;
    bool pedantic;
    bool echo;
    bool headers;
    bool no_responders;
    bool tls_required;
    uint64_t protocol; /* 1: understands INFO at any time */
    struct np_bytes name;
    struct np_bytes lang;
    struct np_bytes version;
    struct np_bytes neap_id; /* ours: the bus that connects as a bridge; empty for others */
};
#define NP_NATS_CONNECT_INIT                            \
    {                                                   \
        .verbose = true, .pedantic = true, .echo = true \
    }

/* What a server says of itself. */
struct np_nats_info {
    struct np_bytes server_id;
    struct np_bytes server_name;
    struct np_bytes version;
    struct np_bytes host;
    uint64_t port;
    uint64_t max_payload; /* 0 when it does not say */
    uint64_t proto;
    uint64_t client_id;
    struct np_bytes client_ip;
    bool headers;
    bool auth_required;
    bool tls_required;
    bool ldm;                  /* lame duck: it is about to go */
    struct np_bytes neap_path; /* ours: ids of the bus and of those it is bridged to, by ',' */
};

/* False when the text is not a JSON object or a field has the wrong type; `*out` may then be half
 * filled. Slices point into the text. */
NEAP_MUST_CHECK bool np_nats_read_connect(struct np_bytes json, struct np_nats_connect *out);
NEAP_MUST_CHECK bool np_nats_read_info(struct np_bytes json, struct np_nats_info *out);

/* Append a whole "CONNECT {…}\r\n", "INFO {…}\r\n"; strings are escaped as needed. NEAP_ENOMEM:
 * appended nothing. */
NEAP_MUST_CHECK enum neap_err np_nats_write_connect(struct np_buf *b,
                                                    const struct np_nats_connect *c);
NEAP_MUST_CHECK enum neap_err np_nats_write_info(struct np_buf *b, const struct np_nats_info *i);

#endif
