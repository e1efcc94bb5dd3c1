/* The listener that scripts hold, TCP or unix: connections are taken with accept, or each runs a
 * handler in a task of its own. The worker's thread.
 */
#ifndef NP_SCRIPT_BIND_LISTENER_H
#define NP_SCRIPT_BIND_LISTENER_H

#include "http/proxied.h"
#include "net/listener.h"
#include "script/bind_stream.h"

struct np_llistener_options {
    struct np_listen_options listen;
    struct np_lstream_options stream; /* of what it accepts */
    size_t max_connections;           /* that run a handler at once; default 10000 */
    int64_t handshake_timeout;        /* ns; default 10 s */
    struct np_tls_context *tls;       /* what it accepts speaks TLS; NULL (default): plain */
    bool is_proxied;                  /* what it accepts begins with a PROXY header */
    struct np_proxied_options proxied;
};
#define NP_LLISTENER_OPTIONS_INIT                                                                \
    {                                                                                            \
        NP_LISTEN_OPTIONS_INIT, NP_LSTREAM_OPTIONS_INIT, 10000, 10 * NP_NS_PER_SEC, NULL, false, \
            NP_PROXIED_OPTIONS_INIT                                                              \
    }
#define NP_LLISTENER_OPTS(type, field)                                                        \
    {"backlog", NP_OPT_INT, offsetof(type, field.listen.backlog), 1, 65535},                  \
        {"max_connections", NP_OPT_SIZE, offsetof(type, field.max_connections), 1, 1 << 30},  \
        {"tls", NP_OPT_ANY, 0, 0, 0}, {"proxy_protocol", NP_OPT_ANY, 0, 0, 0},                \
        {"handshake_timeout", NP_OPT_SECONDS, offsetof(type, field.handshake_timeout), 0, 0}, \
        NP_LSTREAM_OPTS(type, field.stream)

/* Makes the types in a state; at any module's opening. */
void np_llistener_open(lua_State *L);

/* The options `proxy_protocol` and `tls` of the table at `opts_idx`. Pushes two values, which hold
 * what they lend; raises for misuse. False: nil and an error are pushed instead. */
NEAP_MUST_CHECK bool np_llistener_read_layers(lua_State *L, int opts_idx,
                                              struct np_llistener_options *out);

/* Calls np_tcp_listen or np_unix_listen with what it is given and `where`. */
typedef enum neap_err (*np_llistener_make)(struct np_loop *loop, const void *where,
                                           const struct np_listen_options *opts,
                                           const struct np_listener_handler *h, void *arg,
                                           struct np_listener **out, struct neap_errinfo *info);
/* Pushes a listener, or nil and an error. The handler function at `handler_idx` may be nil: then
 * the script accepts. Use as `return`. */
int np_llistener_new(lua_State *L, const struct np_llistener_options *opts, int handler_idx,
                     np_llistener_make make, const void *where);

#endif
