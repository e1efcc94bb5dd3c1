/* A gate in front of a server's handler: rate limit, admission control, concurrency limit.
 *
 * It decides from what C knows of a request (its address, a header) when the head has come; where
 * the script's functions say who asks, or answers get RateLimit headers, lua/neap/http/gate.lua
 * decides at the beginning of the request's task, through this gate as well. In this order: rate
 * limit (429), admission (503), concurrency (503, low priority classes first). What is refused
 * costs a small answer with Retry-After. The rules are shared by the servers of one name in a host.
 */
#ifndef NP_SCRIPT_BIND_HTTP_GATE_H
#define NP_SCRIPT_BIND_HTTP_GATE_H

#include <lua.h>

#include "http/server.h"

struct np_http_gate;

/* The gate that the table at `idx` has in its field "gate", referenced; NULL: none. Raises for
 * another value. */
struct np_http_gate *np_http_gate_read(lua_State *L, int idx);
void np_http_gate_unref(struct np_http_gate *g); /* NULL is allowed */
/* In on_request. False: it was refused, and answered. A gate that its script works lets all pass.
 */
bool np_http_gate_admit(struct np_http_gate *g, struct np_http_exchange *x);
/* In on_end. */
void np_http_gate_leave(struct np_http_gate *g, struct np_http_exchange *x, int status,
                        bool aborted);
/* Fills the table on top with what its rules have counted. */
void np_http_gate_stats(lua_State *L, const struct np_http_gate *g);
/* Adds `gate` to the module on top. */
void np_http_add_gate(lua_State *L);

#endif
