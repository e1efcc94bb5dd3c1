/* Compression of answers: what the request's client accepts decides, when the answer is begun.
 *
 * A request is armed with a plan (core.http.compress(req, plan), which neap.http.compress does for
 * every request it stands around); then every way to answer from Lua goes through here. What C
 * answers by itself, by np_http_respond and np_http_write, does not.
 */
#ifndef NP_SCRIPT_BIND_HTTP_COMPRESS_H
#define NP_SCRIPT_BIND_HTTP_COMPRESS_H

#include "base/buf.h"
#include "script/bind_http_request.h"

#define NP_HTTP_COMPRESS_WHOLE ((size_t)128 * 1024) /* more is compressed piece by piece */

struct np_http_plan;  /* an armed request's; a user value of the request holds it */
struct np_http_coder; /* of a streamed answer that is compressed; held in the plan's place */

/* What an answer's changed head and body stand in until they are written; zeroed by the caller,
 * who gives `body` back with np_buf_fini. */
struct np_http_compressed {
    struct np_buf body;
    char etag[256];
};

/* Compresses a whole body, if that is what plan, client and answer say and it gets smaller by it;
 * adds to the head what belongs there. Does nothing for want of memory. No Lua code runs. */
void np_http_compress_whole(struct np_http_req *r, struct np_http_req_head *head,
                            struct np_bytes *body, struct np_http_compressed *z);
/* Whether a whole body would be compressed and is so long that it had better go in pieces. */
bool np_http_compress_in_pieces(const struct np_http_req *r, const struct np_http_req_head *head,
                                const char *content_type, size_t n);
/* Before np_http_start of the request at 1: changes the head, and `*length` to -1, and makes the
 * coder of a streamed answer if it is to be compressed: np_http_req_put goes through it from then
 * on. If the start fails, np_http_compress_drop. May raise. */
void np_http_compress_begin(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                            int64_t *length, struct np_http_compressed *z);
/* np_http_write, through the coder if there is one. What was written leaves with the present turn
 * of the loop. An answer that failed in between cannot be finished any more. */
NEAP_MUST_CHECK enum neap_err np_http_req_put(struct np_http_req *r, const char *p, size_t n);
/* The last bytes of the coder, before np_http_finish. After a failure the answer can only be
 * aborted. */
NEAP_MUST_CHECK enum neap_err np_http_req_put_end(struct np_http_req *r);
/* req:respond (the request, status, body, headers at 1 to 4) and req:write (the request and the
 * data) of what is long: piece by piece, other tasks having turns in between. */
int np_http_compress_respond(lua_State *L, const struct np_http_req_head *head,
                             const char *content_type);
int np_http_compress_write(lua_State *L);
/* Does without the coder; np_http_req_detach calls it. */
void np_http_compress_drop(struct np_http_req *r);

#endif
