/* neap.cidr for bindings: lists of networks as options. The worker's thread. */
#ifndef NP_SCRIPT_BIND_CIDR_H
#define NP_SCRIPT_BIND_CIDR_H

#include <lua.h>

#include "base/cidr.h"

/* Makes the type in a state; at any module's opening. */
void np_lcidr_open(lua_State *L);

/* What an option's value means: an array of strings, one string, or a neap.cidr. Pushes one value,
 * which holds the list. Raises for misuse; `path` names the option in words ("opts.trusted"). */
const struct np_cidr_list *np_lcidr_option(lua_State *L, int idx, const char *path);

#endif
