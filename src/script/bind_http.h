/* What the files of the HTTP binding share: header tables, and their parts of neap.core.http. */
#ifndef NP_SCRIPT_BIND_HTTP_H
#define NP_SCRIPT_BIND_HTTP_H

#include <lua.h>

#include "proto/http1.h"

#define NP_LUA_MAX_HEADERS 128

/* A table of headers by lower-case name. Repeated ones are joined by ", "; set-cookie is an array
 * of strings. Pushes it; may raise. */
void np_push_headers(lua_State *L, const struct np_http_header *headers, size_t n);

/* Reads a header table (name → string, number or array of strings) at `idx`, nil for none. The
 * bytes are held by values left on the stack, at most one a header. At most NP_LUA_MAX_HEADERS;
 * raises misuse for what is no header table. Returns the count. */
size_t np_read_headers(lua_State *L, int idx, struct np_http_header *out);
/* Whether a header of that name (lower case) is among them. */
bool np_has_header(const struct np_http_header *headers, size_t n, const char *name);

/* Each adds its functions and types to the module table on top of the stack. */
void np_http_add_server(lua_State *L);
void np_http_add_request(lua_State *L);
void np_http_add_client(lua_State *L);
void np_http_add_url(lua_State *L);
void np_http_add_forward(lua_State *L);
void np_http_add_alone(lua_State *L);
void np_http_add_through(lua_State *L);
void np_http_add_compress(lua_State *L);
void np_http_add_decompress(lua_State *L);

#endif
