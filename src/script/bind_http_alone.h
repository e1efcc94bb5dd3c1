/* What the forwards that nobody waits for share (bind_http_alone.c, bind_http_through.c). */
#ifndef NP_SCRIPT_BIND_HTTP_ALONE_H
#define NP_SCRIPT_BIND_HTTP_ALONE_H

#include "script/bind_http_request.h"

#define NP_HTTP_STATUSES "neap.http.statuses" /* struct np_http_statuses */

/* Whether the function that asks (a Lua function which then returns what comes of it) was reached
 * by tail calls alone from where the task of the request began: what it returns is the handler's
 * result, and no frame, variable or option of the script's waits for it. */
bool np_http_ends_handler(lua_State *L, const struct np_http_req *r);

#endif
