/* A request's body as scripts read it: gathered from the exchange's events, bounded, with
 * back-pressure. */
#ifndef NP_SCRIPT_BIND_HTTP_REQBODY_H
#define NP_SCRIPT_BIND_HTTP_REQBODY_H

#include "script/bind_http_decompress.h"
#include "script/bind_http_request.h"

/* The status that says why the body could not be had, when that is what `err` tells; else 0. */
int np_http_reqbody_status(const struct np_http_reqbody *b, enum neap_err err);

/* Makes the body of the request at `idx`, which has none, before it is asked for. */
struct np_http_reqbody *np_http_reqbody_new(lua_State *L, int idx, struct np_http_req *r);
/* What comes is decoded by `u`, which is the body's from here on. */
void np_http_reqbody_unpack(struct np_http_reqbody *b, struct np_http_unpack *u);
/* The body can give no more: `why` is what readers get, unless it had ended already. */
void np_http_reqbody_end(struct np_http_reqbody *b, enum neap_err why);
/* Registers the type; adds the methods to the table on top. */
void np_http_reqbody_open(lua_State *L);
void np_http_reqbody_methods(lua_State *L);

#endif
