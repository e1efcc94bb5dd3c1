/* What stands in front of HTTP servers: the PROXY protocol, trusted proxies, access logs; and who
 * asks, as requests tell it. The worker's thread. */
#ifndef NP_SCRIPT_BIND_HTTP_FRONT_H
#define NP_SCRIPT_BIND_HTTP_FRONT_H

#include <lua.h>

#include "http/server.h"

/* What the options lend, for as long as the values on the stack hold it. */
struct np_http_front {
    struct np_proxied_options proxied;
    struct np_forwarded_policy forwarded;
    const char *forwarded_kind;
};
/* Rows for the np_opt list of http.serve; `field` is a struct np_http_front. */
#define NP_HTTP_FRONT_OPTS(type, field)                                                \
    {"proxy_protocol", NP_OPT_ANY, 0, 0, 0}, {"trusted_proxies", NP_OPT_ANY, 0, 0, 0}, \
    {                                                                                  \
        "forwarded", NP_OPT_STRING, offsetof(type, field.forwarded_kind), 0, 0         \
    }

/* Reads them from the table at `opts_idx` into `out`, which points to `front` afterwards. Pushes
 * two values. Raises for misuse. */
void np_http_front_read(lua_State *L, int opts_idx, struct np_http_front *front,
                        struct np_http_server_options *out);

/* Adds the requests' fields and methods, and `forwarded`, to the module on top of the stack. */
void np_http_add_front(lua_State *L);

#endif
