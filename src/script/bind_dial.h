/* Connecting, for tcp and unix: makes the stream, waits until it is open. */
#ifndef NP_SCRIPT_BIND_DIAL_H
#define NP_SCRIPT_BIND_DIAL_H

#include "net/dial.h"
#include "script/bind_stream.h"

/* The transport for a new stream, with np_lstream_handler and `ls` as its argument. */
typedef enum neap_err (*np_dial_fn)(struct np_loop *loop, const void *where,
                                    const struct np_dial_options *opts, struct np_lstream *ls,
                                    struct np_stream **out);
/* Pushes an open stream, or nil and an error that names `address` (a string at that index). Use as
 * `return`. */
int np_dial_wait(lua_State *L, const struct np_dial_options *dial,
                 const struct np_lstream_options *opts, np_dial_fn fn, const void *where,
                 int address_idx);

#endif
