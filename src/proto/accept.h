/* Content negotiation (RFC 9110, 12.5): how much a client likes what a server could send. Sans I/O;
 * any thread. */
#ifndef NP_PROTO_ACCEPT_H
#define NP_PROTO_ACCEPT_H

#include "proto/http1.h"

enum np_accept {
    NP_ACCEPT_MEDIA,    /* Accept: "text/html", "text/html;level=1" */
    NP_ACCEPT_ENCODING, /* Accept-Encoding: "gzip", "identity" */
    NP_ACCEPT_CHARSET,  /* Accept-Charset: "utf-8" */
    NP_ACCEPT_LANGUAGE, /* Accept-Language: "de-CH" */
};

/* The weight of a candidate in thousandths: 0, it is not wanted, to 1000. The most specific member
 * that fits decides, wherever it stands. Without the header everything weighs 1000, but of codings
 * only identity does, and identity fits unless it is refused by name or by "*;q=0". A language
 * range fits what begins with it ("de" fits "de-CH") and, if nothing better does, what it begins
 * with (RFC 4647's filtering, then lookup). A member whose weight is malformed does not count. */
int np_accept_weight(const struct np_http_head *h, enum np_accept kind, struct np_bytes candidate);
/* Whether the request has that header. */
bool np_accept_given(const struct np_http_head *h, enum np_accept kind);

#endif
