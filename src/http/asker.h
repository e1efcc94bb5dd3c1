/* Who asks, and for what: as the connection says or, where that comes from a trusted proxy, as the
 * proxies in front say. */
#ifndef NP_HTTP_ASKER_H
#define NP_HTTP_ASKER_H

#include "http/server.h"

struct np_http_asker {
    char client[NP_ADDR_TEXT_MAX]; /* the address alone: "10.0.0.1", "::1", "unix:" */
    bool trusted;                  /* the connection's peer is a proxy that may speak for others */
    const char *scheme;            /* "http", "https" */
    struct np_bytes host;          /* with its port, if it was given one; n 0: none was named */
    int port;                      /* of X-Forwarded-Port; -1: not said */
};
/* Whether there are proxies that may speak for others. */
bool np_http_trusts_anybody(const struct np_http_exchange *x);
/* Slices point into the request's head. */
void np_http_exchange_asker(struct np_http_exchange *x, struct np_http_asker *out);

#endif
