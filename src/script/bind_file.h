/* What the files of neap.core.file share. */
#ifndef NP_SCRIPT_BIND_FILE_H
#define NP_SCRIPT_BIND_FILE_H

#include <lua.h>

/* Adds conditions, ranges, weights, dates and types to the module table on top of the stack. */
void np_file_add_negotiate(lua_State *L);

#endif
