/* Compression of answers as scripts have it (http/compress.h).
 *
 * A request is armed with a plan (core.http.compress(req, plan), which neap.http.compress does for
 * every request it stands around); then every way to answer from Lua goes through here.
 */
#ifndef NP_SCRIPT_BIND_HTTP_COMPRESS_H
#define NP_SCRIPT_BIND_HTTP_COMPRESS_H

#include "http/compress.h"
#include "script/bind_http_request.h"

#define NP_HTTP_COMPRESS_WHOLE ((size_t)128 * 1024) /* more is compressed piece by piece */

/* np_http_respond, compressed if the request is armed and all else agrees. No Lua code runs. */
NEAP_MUST_CHECK enum neap_err np_http_req_send(struct np_http_req *r, struct np_http_req_head *head,
                                               struct np_bytes body);
/* np_http_start of the request at 1; np_http_req_put goes through a coder from then on, if what
 * follows is to be compressed. May raise. */
NEAP_MUST_CHECK enum neap_err np_http_req_begin(lua_State *L, struct np_http_req *r,
                                                struct np_http_req_head *head, int64_t length);
/* np_http_write. After a failure what is compressed cannot be finished any more. */
NEAP_MUST_CHECK enum neap_err np_http_req_put(struct np_http_req *r, const char *p, size_t n);
/* What is left in the coder, before np_http_finish. After a failure the answer can only be aborted.
 */
NEAP_MUST_CHECK enum neap_err np_http_req_put_end(struct np_http_req *r);
/* Does without plan and coder; np_http_req_detach calls it. */
void np_http_req_disarm(struct np_http_req *r);

/* Whether a body is so long that it had better be compressed in pieces, as req:write does of what
 * is written, and np_http_compress_respond of a whole body. */
bool np_http_compress_in_pieces(const struct np_http_req *r, struct np_http_req_head *head,
                                const char *type, size_t n);
/* req:respond (the request, status, body, headers at 1 to 4) and req:write (the request and the
 * data) of what is long: piece by piece, other tasks having turns in between. */
int np_http_compress_respond(lua_State *L, const struct np_http_req_head *head, const char *type);
int np_http_compress_write(lua_State *L);

#endif
