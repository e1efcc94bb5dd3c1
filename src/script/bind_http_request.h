/* The request as scripts see it: userdata "neap.http.request", a handle on an exchange.
 *
 * The handle may outlive the exchange (a script may keep it): `x` is NULL from the moment the
 * exchange has been answered or the client left, and then reading what was not read before raises.
 * The task that handles the request keeps the handle alive while the exchange refers to it.
 */
#ifndef NP_SCRIPT_BIND_HTTP_REQUEST_H
#define NP_SCRIPT_BIND_HTTP_REQUEST_H

#include "http/server.h"
#include "script/state.h"

struct np_http_reqbody;

struct np_http_req {
    struct np_http_exchange *x;
    struct np_task *task;         /* that handles it */
    struct np_http_reqbody *body; /* made when the script wants it; user value 2 holds it */
    struct np_wait drain;         /* a streamed answer waits here */
    bool answered;                /* an answer was begun or given */
};

/* Creates the handle for `x` and pushes it; sets x->user. */
struct np_http_req *np_http_req_push(lua_State *L, struct np_http_exchange *x, struct np_task *t);
/* Cuts the handle off its exchange, wakes whoever waits on it with `why`. Does not raise. */
void np_http_req_detach(struct np_http_req *r, enum neap_err why);

/* The exchange's events, for the server's handler. */
void np_http_req_on_body(struct np_http_exchange *x, const char *data, size_t n);
void np_http_req_on_body_end(struct np_http_exchange *x, enum neap_err err);
void np_http_req_on_drain(struct np_http_exchange *x);

/* Answers with a whole body (p NULL: none), headers from the table at `headers` (or nil), and
 * `content_type` unless they name one. Pushes and returns 1 (true) or 2 (nil, err); raises misuse
 * for what may not go on the wire. */
int np_http_req_respond(lua_State *L, struct np_http_req *r, int status, struct np_bytes body,
                        int headers, const char *content_type);

#endif
