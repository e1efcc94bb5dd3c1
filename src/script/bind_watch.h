/* Watches of the registry ("neap.watch"): changes wait in a bounded queue until a task asks.
 *
 * And holds ("neap.hold"): a task's way to be told that the host drains, and to be waited for.
 */
#ifndef NP_SCRIPT_BIND_WATCH_H
#define NP_SCRIPT_BIND_WATCH_H

#include <lua.h>

/* Makes both types; once is enough. */
void np_watch_open(lua_State *L);
/* watch(name or nil, [limit]) → watch | nil, err */
int np_watch_new(lua_State *L);
/* hold() → hold */
int np_hold_new(lua_State *L);

#endif
