/* Who is behind the proxies: X-Forwarded-For/-Proto/-Host/-Port and Forwarded (RFC 7239), believed
 * only as far as trusted proxies have written them.
 *
 * What a proxy adds stands at the right, and says from whom it got the request. So the lists are
 * walked from the right: the peer of the connection is trusted, then what it says; if the address
 * that it names is a trusted proxy too, what that one said, and so on, to the first address that is
 * not trusted: the client. Whatever stands further left the client may have made up. At an element
 * that is malformed (or says "unknown" or an _obfuscated name) the walk ends. Pure functions.
 */
#ifndef NP_PROTO_FORWARDED_H
#define NP_PROTO_FORWARDED_H

#include "base/cidr.h"
#include "proto/http1.h"

/* Which kind counts where both are present. A proxy writes one kind and may well pass on what the
 * client wrote in the other: it is the one that the trusted proxies write which has to be named. */
enum np_forwarded_kind {
    NP_FORWARDED_X_FIRST, /* X-Forwarded-*, or else Forwarded */
    NP_FORWARDED_RFC_FIRST,
    NP_FORWARDED_X_ONLY,
    NP_FORWARDED_RFC_ONLY,
};

struct np_forwarded_policy {
    struct np_cidr_list trusted; /* empty: nothing is believed */
    enum np_forwarded_kind kind;
};

/* Slices point into the head. */
struct np_forwarded {
    bool trusted; /* the peer is: what it says was looked at */
    bool found;   /* … and it named an address: */
    struct np_ip client;
    int client_port;      /* -1: not said */
    const char *scheme;   /* "http", "https", or NULL: not said */
    struct np_bytes host; /* with its port, if any; p NULL: not said */
    int port;             /* of X-Forwarded-Port; -1: not said */
};

/* `peer` as np_stream_peer says it. */
void np_forwarded_resolve(const struct np_http_head *h, const char *peer,
                          const struct np_forwarded_policy *policy, struct np_forwarded *out);

#endif
