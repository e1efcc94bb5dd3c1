/* The core NATS client protocol, sans I/O: bytes in, messages out. Both sides of it.
 *
 * A parser is fed what came and asked for messages until it wants more. A message that arrived in
 * one piece is parsed in place; only the piece of a message that was cut is copied. What a peer can
 * make grow is bounded by the limits. After an error the parser stays in it. One thread at a time.
 *
 *   np_nats_feed(&p, data, n);
 *   while ((err = np_nats_next(&p, &msg)) == NEAP_OK) …;
 *   if (err != NEAP_EAGAIN) the peer broke the protocol: p.why says how
 *
 * Names of operations are case-insensitive; arguments are parted by blanks; a line ends with CR LF
 * (a lone LF is taken, as by nats-server), a payload with CR LF. Subjects are not judged here.
 */
#ifndef NP_PROTO_NATS_H
#define NP_PROTO_NATS_H

#include <stdint.h>

#include "base/buf.h"
#include "proto/bytes.h"

struct np_nats_limits {
    size_t max_control; /* bytes of a line without its end, default 4096 */
    size_t max_payload; /* bytes of headers and payload together, default 1 MiB */
};
#define NP_NATS_LIMITS_INIT \
    {                       \
        4096, 1024 * 1024   \
    }

enum np_nats_side {
    NP_NATS_SERVER, /* reads what clients send */
    NP_NATS_CLIENT, /* reads what servers send */
};

enum np_nats_op {
    NP_NATS_CONNECT, /* text: JSON */
    NP_NATS_PUB,     /* subject, reply, payload */
    NP_NATS_HPUB,    /* … and headers */
    NP_NATS_SUB,     /* subject, queue, sid */
    NP_NATS_UNSUB,   /* sid, max */
    NP_NATS_INFO,    /* text: JSON */
    NP_NATS_MSG,     /* subject, sid, reply, payload */
    NP_NATS_HMSG,    /* … and headers */
    NP_NATS_PING,
    NP_NATS_PONG,
    NP_NATS_OK,
    NP_NATS_ERR, /* text: without its quotes */
};

/* Slices hold until the next call on the parser; p is NULL for what is absent. */
struct np_nats_msg {
    enum np_nats_op op;
    struct np_bytes subject;
    struct np_bytes reply;
    struct np_bytes queue;
    struct np_bytes sid;
    struct np_bytes headers; /* the block as sent, "NATS/1.0\r\n…\r\n\r\n"; see nats_header.h */
    struct np_bytes payload; /* empty, not absent, for a message without one */
    struct np_bytes text;
    uint64_t max; /* UNSUB: 0 means at once */
};

struct np_nats_parser {
    enum np_nats_side side;
    struct np_nats_limits limits; /* may be changed between messages */
    enum neap_err err;            /* what it died of */
    const char *why;              /* static text, as the peer may be told; NULL while all is well */
    const char *in;               /* lent: what was fed and not looked at yet */
    size_t in_len;
    struct np_buf cut; /* the beginning of a message that was cut */
    size_t line_len;   /* of the line in `cut` with its end; 0 while that is incomplete */
    size_t body_len;   /* then: of headers, payload and the CR LF after them */
    bool lent;         /* `cut` holds the message handed out last */
};

/* `limits` may be NULL. Allocates nothing. */
void np_nats_parser_init(struct np_nats_parser *p, enum np_nats_side side,
                         const struct np_nats_limits *limits);
void np_nats_parser_fini(struct np_nats_parser *p);

/* Lends bytes until np_nats_next has answered something other than NEAP_OK. */
void np_nats_feed(struct np_nats_parser *p, const char *data, size_t n);

/* NEAP_OK: one message. NEAP_EAGAIN: all was used, more is needed. NEAP_EPROTO: not the protocol.
 * NEAP_ELIMIT: a line above the limit. NEAP_EMSGSIZE: a payload above the limit. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_nats_next(struct np_nats_parser *p, struct np_nats_msg *out);

/* "PUB", "MSG" …; for logs. */
const char *np_nats_op_name(enum np_nats_op op);

#endif
