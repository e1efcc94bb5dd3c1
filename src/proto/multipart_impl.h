/* What the two halves of the multipart parser share: multipart.c finds parts, multipart_head.c
 * reads their headers. */
#ifndef NP_PROTO_MULTIPART_IMPL_H
#define NP_PROTO_MULTIPART_IMPL_H

#include "proto/multipart.h"

/* Reads the complete headers in m->head into m->part. NEAP_EPROTO, NEAP_ELIMIT with words,
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_multipart_read_head(struct np_multipart *m,
                                                     struct neap_errinfo *info);

/* The next parameter of a header's value ("; name=value"): `*rest` is what is left. The value is as
 * written, without its quotes; `quoted` says whether it had some. NEAP_EOF at the end, NEAP_EPROTO.
 */
struct np_param {
    struct np_bytes name;
    struct np_bytes value;
    bool quoted;
};
NEAP_MUST_CHECK enum neap_err np_param_next(struct np_bytes *rest, struct np_param *out);
/* Cuts a header's value into what stands before the first ';' and the parameters behind. */
struct np_bytes np_param_main(struct np_bytes value, struct np_bytes *params);
bool np_bytes_is(struct np_bytes b, const char *lower_case); /* whatever case `b` has */

#endif
