/* What forward.c (the flow) and forward_head.c (the heads) share. Private to forwarding. */
#ifndef NP_HTTP_FORWARD_IMPL_H
#define NP_HTTP_FORWARD_IMPL_H

#include "http/forward.h"

/* Nobody wants the exchange's body any more, of which nothing was read: another may ask for it. */
void np_http_forward_unread(struct np_http_exchange *x);
/* The request that is made of the exchange's; what it points to stands in the exchange's arena, or
 * is lent by `o`. */
NEAP_MUST_CHECK enum neap_err np_http_forward_request(struct np_http_exchange *x,
                                                      const struct np_http_forward_options *o,
                                                      struct np_http_request *out);
/* The fields of a head (the upstream's) that pass, and `more` of them behind; the array stands in
 * the arena, with room for NP_HTTP_COMPRESS_HEADERS besides. */
NEAP_MUST_CHECK enum neap_err np_http_forward_answer_head(struct np_arena *arena,
                                                          const struct np_http_head *h,
                                                          const struct np_http_header *more,
                                                          size_t nmore, struct np_http_header **out,
                                                          size_t *n);
/* A copy of fields, bytes and all, in the arena. */
NEAP_MUST_CHECK enum neap_err np_http_forward_copy(struct np_arena *arena,
                                                   const struct np_http_header *fields, size_t n,
                                                   const struct np_http_header **out);

#endif
