/* Decompression of requests' bodies: what stands between the exchange's bytes and those that
 * scripts read. A request whose body is to be decoded is armed by core.http.decompress before its
 * body is asked for. */
#ifndef NP_SCRIPT_BIND_HTTP_DECOMPRESS_H
#define NP_SCRIPT_BIND_HTTP_DECOMPRESS_H

#include <lua.h>

#include "base/buf.h"
#include "proto/coding.h"

struct np_http_unpack;

NEAP_MUST_CHECK enum neap_err np_http_unpack_new(const enum np_coding *codings, size_t n,
                                                 const struct np_decoder_options *o,
                                                 struct np_http_unpack **out);
/* Bytes came; they are copied. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_http_unpack_feed(struct np_http_unpack *u, const char *p,
                                                  size_t n);
/* Decodes until `out` holds `upto` bytes, or there is no more. After a failure (as of
 * np_decoder_step) `out` is as it was. */
NEAP_MUST_CHECK enum neap_err np_http_unpack_some(struct np_http_unpack *u, size_t upto,
                                                  struct np_buf *out);
/* Nothing can be decoded unless more is fed. */
bool np_http_unpack_dry(const struct np_http_unpack *u);
/* Dry, and nothing follows: NEAP_EPROTO if it was not whole. */
NEAP_MUST_CHECK enum neap_err np_http_unpack_finish(struct np_http_unpack *u);
/* What was wrong, in words that live on. */
const char *np_http_unpack_why(const struct np_http_unpack *u);
void np_http_unpack_free(struct np_http_unpack *u); /* NULL is allowed */

/* What is said of the bytes on the wire is not so of those that scripts read: Content-Encoding and
 * Content-Length. The exchange's head keeps them, for who passes the bytes on as they are. */
bool np_http_decompress_hides(struct np_bytes name);
/* Takes them out of the table of headers on top. */
void np_http_decompress_hide(lua_State *L);

#endif
