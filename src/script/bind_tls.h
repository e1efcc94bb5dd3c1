/* neap.tls for bindings: contexts as options, what was agreed as tables. The worker's thread. */
#ifndef NP_SCRIPT_BIND_TLS_H
#define NP_SCRIPT_BIND_TLS_H

#include "net/tls.h"
#include "script/luax.h"
#include "script/state.h"

/* Makes the type in a state; at any module's opening. */
void np_ltls_open(lua_State *L);

enum np_ltls_side { NP_LTLS_SERVER, NP_LTLS_CLIENT };
/* What an option's value means: a context, a table of its options, or for a client true (the
 * state's default one); nil and false: `*out` is NULL. `path` names the option in words
 * ("opts.tls"). Pushes one value, which holds what `*out` lends. Raises for misuse; what does not
 * load is returned. */
NEAP_MUST_CHECK enum neap_err np_ltls_option(lua_State *L, int idx, const char *path,
                                             enum np_ltls_side side, struct np_tls_context **out,
                                             struct neap_errinfo *info);
/* The default one of a state's clients: the system's roots, names checked. Pushes, as above. */
NEAP_MUST_CHECK enum neap_err np_ltls_default_client(lua_State *L, struct np_tls_context **out,
                                                     struct neap_errinfo *info);

/* Pushes a table of what was agreed (see neap.TlsInfo), nil on a stream that is not TLS's. */
void np_ltls_push_info(lua_State *L, const struct np_stream *s);

/* of_request(req) → the same table. */
int np_ltls_of_request(lua_State *L);

/* bind_tls_stream.c: the stream's methods starttls and tls, ended by a NULL name. */
extern const luaL_Reg np_ltls_stream_methods[];

#endif
