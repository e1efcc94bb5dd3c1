/* Connecting, for tcp and unix: makes the stream, waits until it is open. */
#ifndef NP_SCRIPT_BIND_DIAL_H
#define NP_SCRIPT_BIND_DIAL_H

#include "net/dial.h"
#include "script/bind_stream.h"

/* The transport for a new stream, with np_lstream_handler and `ls` as its argument. */
typedef enum neap_err (*np_dial_fn)(struct np_loop *loop, const void *where,
                                    const struct np_dial_options *opts, struct np_lstream *ls,
                                    struct np_stream **out);
struct np_tls_context;
/* What stands between the transport and the script. */
struct np_dial_layers {
    const char *proxy_header; /* bytes to be sent first, before TLS; NULL: none … */
    size_t proxy_header_len;
    int proxy_version;          /* … or, not 0: a header of the connection's own addresses */
    struct np_tls_context *tls; /* NULL: plain */
    const char *server_name;    /* whom the certificate must be for */
    const char *session_key;    /* see np_tls_client_options */
};
/* The options `proxy_protocol`, `tls` and `server_name` of the table at `opts_idx` (or nil there).
 * Pushes two values, which hold what they lend; raises for misuse. False: nil and an error are
 * pushed instead. */
#define NP_DIAL_LAYER_OPTS(type, field)                                    \
    {"proxy_protocol", NP_OPT_ANY, 0, 0, 0}, {"tls", NP_OPT_ANY, 0, 0, 0}, \
    {                                                                      \
        "server_name", NP_OPT_STRING, offsetof(type, field), 0, 0          \
    }
NEAP_MUST_CHECK bool np_dial_read_layers(lua_State *L, int opts_idx, struct np_dial_layers *out);
/* Pushes an open stream, or nil and an error that names `address` (a string at that index, and the
 * last one). Use as `return`. */
int np_dial_wait(lua_State *L, const struct np_dial_options *dial,
                 const struct np_lstream_options *opts, const struct np_dial_layers *layers,
                 np_dial_fn fn, const void *where, int address_idx);

#endif
