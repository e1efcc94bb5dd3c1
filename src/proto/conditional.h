/* Conditional requests (RFC 9110, 13): whether what the client says it has is what there is. Sans
 * I/O; any thread. */
#ifndef NP_PROTO_CONDITIONAL_H
#define NP_PROTO_CONDITIONAL_H

#include "proto/http1.h"

#define NP_NO_DATE INT64_MIN

/* What is known of the selected representation. */
struct np_validators {
    struct np_bytes etag;  /* with its quotes and its "W/", as it is sent; p NULL: none */
    int64_t last_modified; /* seconds since 1970, or NP_NO_DATE */
    bool date_strong;      /* it has not changed again in that second: the date is as good as a tag
                            */
    bool absent;           /* there is none yet: the request would make it */
};

enum np_condition {
    NP_CONDITION_HOLDS,  /* go on */
    NP_CONDITION_SAME,   /* 304: the client has it */
    NP_CONDITION_FAILED, /* 412 */
};

/* If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the order of 13.2.2. For
 * requests that would succeed without them. `now` in seconds, for dates with short years. */
enum np_condition np_conditional(const struct np_http_head *h, const struct np_validators *v,
                                 int64_t now);
/* Whether Range counts: there is no If-Range, or it names what there is (strongly). */
bool np_if_range_holds(const struct np_http_head *h, const struct np_validators *v, int64_t now);
/* Whether these bytes are one entity tag: "…" or W/"…". */
bool np_is_etag(struct np_bytes b);
/* Whether the request has any of those headers, or a Range. */
bool np_has_conditions(const struct np_http_head *h);

#endif
