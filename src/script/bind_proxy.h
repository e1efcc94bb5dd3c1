/* The PROXY protocol for bindings: as an option of listeners, as a header to be sent, and what was
 * received as a table. The worker's thread. */
#ifndef NP_SCRIPT_BIND_PROXY_H
#define NP_SCRIPT_BIND_PROXY_H

#include "http/proxied.h"
#include "script/luax.h"

/* Makes what it needs in a state; at any module's opening. */
void np_lproxy_open(lua_State *L);

/* `proxy_protocol` of a listener, at `idx`: true, {required=, trusted=, timeout=}; nil and false:
 * false. Pushes one value, which holds what `out` lends. Raises for misuse. */
bool np_lproxy_listen_option(lua_State *L, int idx, const char *path,
                             struct np_proxied_options *out);

/* `proxy_protocol` of a dialler, at `idx`: "v1", "v2", or the table that proxy_header takes. Pushes
 * one value: a string, the header that is to be sent, nil for none, or the number of the version:
 * the header is to name the connection's own addresses (np_lproxy_own). Raises for misuse. */
void np_lproxy_dial_option(lua_State *L, int idx, const char *path);
/* Writes the header of a connection that speaks for itself. NEAP_ENOMEM, … */
NEAP_MUST_CHECK enum neap_err np_lproxy_write_own(struct np_stream *s, int version);

/* Pushes a table of the header that the connection came with (see neap.ProxyInfo), or nil. */
void np_lproxy_push_info(lua_State *L, const struct np_stream *s);

/* proxy_header{version=2, source="1.2.3.4:5", …} → string */
int np_lproxy_header(lua_State *L);

/* The stream's methods proxy and peer_credentials, ended by a NULL name. */
extern const luaL_Reg np_lproxy_stream_methods[];
/* Pushes {pid=, uid=, gid=}, or nil and an error. Use as `return`. */
int np_lproxy_push_credentials(lua_State *L, const struct np_stream *s);

#endif
