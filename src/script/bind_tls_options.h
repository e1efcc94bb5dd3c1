/* The option table of neap.tls.context. For bind_tls.c. */
#ifndef NP_SCRIPT_BIND_TLS_OPTIONS_H
#define NP_SCRIPT_BIND_TLS_OPTIONS_H

#include "script/bind_tls.h"

enum { NP_LTLS_MAX_CERTS = 1000, NP_LTLS_MAX_ALPN = 16 };

struct np_ltls_options {
    struct np_tls_options tls;
    struct np_tls_cert_source first; /* when it is the only one */
    const char *alpn[NP_LTLS_MAX_ALPN];
    int64_t reload_interval; /* ns, 0: its files are not watched */
    int sni_idx;             /* of the function on the stack; 0 none */
};

/* Raises for misuse. What the options point to stands on the stack or in the table. */
void np_ltls_read_options(lua_State *L, int idx, const char *path, enum np_ltls_side side,
                          struct np_ltls_options *out);

#endif
