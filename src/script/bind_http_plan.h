/* What is compressed, and how (struct np_http_plan), as a userdata: made from options once, and
 * then only read. */
#ifndef NP_SCRIPT_BIND_HTTP_PLAN_H
#define NP_SCRIPT_BIND_HTTP_PLAN_H

#include <lua.h>

#include "http/compress.h"

#define NP_HTTP_PLAN "neap.http.compression"

/* Adds the type, and `compression` to the module on top. */
void np_http_add_compression(lua_State *L);

#endif
