/* A message of the bus: immutable, one block, counted by reference; threads may share it. */
#ifndef NP_BUS_MSG_H
#define NP_BUS_MSG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "proto/bytes.h"

struct np_bus_msg {
    atomic_uint refs;
    /* Between workers (hub.h): how many may still have somebody who takes it; who has does not
     * count down. The last of those who find nobody answers "no responders". 0: nobody asks. */
    atomic_uint hopes;
    /* Into `data`; each is followed by a NUL that does not count. p is NULL for an absent reply and
     * for absent headers; the payload is empty, never absent. */
    struct np_bytes subject;
    struct np_bytes reply;
    struct np_bytes headers; /* a whole block, see proto/nats_header.h */
    struct np_bytes payload;
    char data[];
};

/* What is to be published; all of it lent. `reply.n` and `headers.n` 0: none. */
struct np_bus_out {
    struct np_bytes subject;
    struct np_bytes reply;
    struct np_bytes headers;
    struct np_bytes payload;
    bool asks; /* a request: `reply` is told "no responders" when nobody takes it after all */
};

/* A copy, with one reference. NULL when out of memory. */
struct np_bus_msg *np_bus_msg_new(const struct np_bus_out *out);
struct np_bus_msg *np_bus_msg_ref(struct np_bus_msg *m);
void np_bus_msg_unref(struct np_bus_msg *m); /* NULL is allowed */
/* What it counts against a subscription's pending bytes. */
size_t np_bus_msg_size(const struct np_bus_msg *m);
/* The status of its header block; 0 when there is none. */
int np_bus_msg_status(const struct np_bus_msg *m);

#endif
