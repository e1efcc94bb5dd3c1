/* What the files of the bus binding share: messages as userdata, what a publish is made of, and
 * each file's part of neap.core.bus. Functions here may raise.
 */
#ifndef NP_SCRIPT_BIND_BUS_H
#define NP_SCRIPT_BIND_BUS_H

#include <lua.h>

#include "bus/bus.h"

/* The host's bus; raises where there is none. */
struct np_bus *np_bus_check(lua_State *L);

/* Pushes an empty message; the caller then puts one in, whose reference is the userdata's from
 * there on. So nothing is held while this may raise. */
struct np_bus_msg **np_bus_push_msg(lua_State *L);

/* Reads a subject (string), data (string or number; nil or none: empty) and headers (a table or
 * nil; index 0: none) into `out`. The bytes are held by values on the stack, at most two of which
 * are pushed. */
void np_bus_read_out(lua_State *L, int subject, int data, int headers, struct np_bus_out *out);
/* What publishing came to: true, or nil and an error; a bad subject is misuse. */
int np_bus_published(lua_State *L, enum neap_err err, const struct np_bus_out *out);

/* Each adds its types, and its functions to the module table on top of the stack. */
void np_bus_add_msg(lua_State *L);
void np_bus_add_sub(lua_State *L);
void np_bus_add_server(lua_State *L);
void np_bus_add_connection(lua_State *L);

#endif
