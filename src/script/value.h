/* Plain values between C and Lua: neap_value as Lua values and back. See neap.h for what passes.
 *
 * The functions that take a lua_State may raise.
 */
#ifndef NP_SCRIPT_VALUE_H
#define NP_SCRIPT_VALUE_H

#include <lua.h>

#include "base/arena.h"
#include "base/err.h"

#define NP_VALUE_MAX_DEPTH 32
#define NP_VALUE_MAX_FIELDS 65536

/* Pushes one value; NEAP_EINVAL's cases (unknown type, too deep) raise. */
void np_value_push(lua_State *L, const neap_value *v);
/* Reads the value at `idx` into the arena. With `lend` a string that is the value itself is not
 * copied: it holds as long as it is on the stack. Raises for what does not pass. */
void np_value_read(lua_State *L, int idx, struct np_arena *arena, bool lend, neap_value *out);
/* A deep copy into the arena. NEAP_ENOMEM; NEAP_EINVAL for a value that does not pass. */
NEAP_MUST_CHECK enum neap_err np_value_copy(struct np_arena *arena, const neap_value *v,
                                            neap_value *out);

#endif
