/* A request's body as scripts read it: gathered from the exchange's events, bounded, with
 * back-pressure. */
#ifndef NP_SCRIPT_BIND_HTTP_REQBODY_H
#define NP_SCRIPT_BIND_HTTP_REQBODY_H

#include "script/bind_http_request.h"

/* The status that says why the body could not be had, when that is what `err` tells; else 0. */
int np_http_reqbody_status(const struct np_http_reqbody *b, enum neap_err err);

/* The body can give no more: `why` is what readers get, unless it had ended already. */
void np_http_reqbody_end(struct np_http_reqbody *b, enum neap_err why);
/* Registers the type; adds the methods to the table on top. */
void np_http_reqbody_open(lua_State *L);
void np_http_reqbody_methods(lua_State *L);

#endif
