/* gRPC's health protocol (grpc.health.v1), the client's side, sans I/O: a Check over HTTP/2.
 *
 *   np_grpc_health_new(&o, &h);
 *   np_grpc_health_begin(h, "my.Service", timeout);
 *   loop: np_grpc_health_output(h, &bytes) → write them; np_grpc_health_result(h) when it is there;
 *         read → np_grpc_health_feed(h, data, n)
 *
 * A connection carries any number of checks, one at a time. What a peer can make grow is bounded:
 * headers of 16 KiB, a message of 1 KiB, no pushed streams, and by nghttp2's own guards what has to
 * be acknowledged. After an error it stays in it. One thread at a time. (nghttp2 does the HTTP/2;
 * the message is two fields of protobuf, read here.)
 */
#ifndef NP_PROTO_GRPC_HEALTH_H
#define NP_PROTO_GRPC_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/bytes.h"

#define NP_GRPC_MESSAGE_MAX 1024 /* bytes of an answer; a HealthCheckResponse has 2 */
#define NP_GRPC_TEXT_MAX 200     /* of words for people; more is cut */
#define NP_GRPC_NAME_MAX 1024    /* of a service's name, and of an authority */

/* grpc.health.v1.HealthCheckResponse.ServingStatus; an unknown number counts as UNKNOWN. */
enum np_grpc_serving {
    NP_GRPC_UNKNOWN,
    NP_GRPC_SERVING,
    NP_GRPC_NOT_SERVING,
    NP_GRPC_SERVICE_UNKNOWN
};

struct np_grpc_health_options {
    const char *authority; /* of :authority, "host:port" */
    bool secure;           /* :scheme is https */
};

struct np_grpc_health_result {
    bool healthy;    /* an answer, and SERVING */
    int grpc_status; /* 0 OK … 16; -1: the peer gave none */
    int http_status; /* 0: no answer came */
    enum np_grpc_serving serving;
    char text[NP_GRPC_TEXT_MAX + 1]; /* "SERVING", "NOT_SERVING", "grpc-status 12: …" */
};

struct np_grpc_health;

/* Strings are copied. NEAP_EINVAL: an authority that cannot stand in a header; NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_grpc_health_new(const struct np_grpc_health_options *o,
                                                 struct np_grpc_health **out);
void np_grpc_health_free(struct np_grpc_health *h); /* NULL is allowed */

/* Asks for `service`, "" for the server as a whole. `timeout_ns` is told to the peer; 0: not.
 * NEAP_EBUSY: one is under way; NEAP_EINVAL: the name is too long; NEAP_ECLOSED: the peer takes no
 * more on this connection; NEAP_ENOMEM; what the connection died of. */
NEAP_MUST_CHECK enum neap_err np_grpc_health_begin(struct np_grpc_health *h, const char *service,
                                                   int64_t timeout_ns);
/* The next bytes to be sent, lent until the next call; none: n is 0. NEAP_ENOMEM, NEAP_EPROTO. */
NEAP_MUST_CHECK enum neap_err np_grpc_health_output(struct np_grpc_health *h, struct np_bytes *out);
/* What came. NEAP_EPROTO, NEAP_ENOMEM: the connection is of no use any more; the check that was
 * under way may have its result all the same. */
NEAP_MUST_CHECK enum neap_err np_grpc_health_feed(struct np_grpc_health *h, const void *data,
                                                  size_t n);
/* What the check came to, until the next begin; NULL: it is under way, or none was begun. */
const struct np_grpc_health_result *np_grpc_health_result(const struct np_grpc_health *h);
/* What the connection died of, in words; NULL while all is well. */
const char *np_grpc_health_why(const struct np_grpc_health *h);

#endif
