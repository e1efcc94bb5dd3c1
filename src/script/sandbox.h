/* Script states in a sandbox (`neap run --sandbox`): scripts reach no files but their own modules,
 * no processes, no C code and no bytecode. What they may connect to is the loop's policy
 * (net/netpolicy.h).
 *
 * Such a state has two tables of globals. What is built in keeps the one that the state was born
 * with; scripts get another (made by lua/neap/sandbox/), which is the state's LUA_RIDX_GLOBALS. So
 * every text that is loaded is in the sandbox, whoever loads it.
 */
#ifndef NP_SCRIPT_SANDBOX_H
#define NP_SCRIPT_SANDBOX_H

#include <lua.h>
#include <stdbool.h>

#include "base/err.h"

/* Last of a state's set-up, protected. A state of any kind may be put into a sandbox, but its
 * np_script (or whatever lua_getextraspace holds) must say `sandbox`. */
void np_sandbox_apply(lua_State *L);

/* The main script is the file `path`: its directory is where the state may load modules from. The
 * first one stays. */
void np_sandbox_enter(lua_State *L, const char *path);

/* The directory itself, as another state has it: for states that run parts of the same script. */
const char *np_sandbox_base(lua_State *L); /* lives as long as the state; NULL: none */
void np_sandbox_set_base(lua_State *L, const char *dir);

/* As luaL_loadfilex, text only, and in a sandbox only files at or below the script's directory,
 * whatever links stand between. Pushes the function and gives true; else pushes a message, and
 * `*absent` says whether there simply is no such file. May raise, for want of memory. */
NEAP_MUST_CHECK bool np_sandbox_load_file(lua_State *L, const char *path, bool *absent);

/* Whether scripts may have what this open file or directory holds: in a sandbox only what is at or
 * below the script's directory, wherever its path led. `path` is what it was opened by. */
bool np_sandbox_may_read(lua_State *L, int fd, const char *path);

/* The function on top is built in: it gets the globals of what is. Does nothing elsewhere than in a
 * sandbox. */
void np_sandbox_trust(lua_State *L);
/* Pushes the `require` of what is built in. */
void np_sandbox_push_require(lua_State *L);
/* A built-in module that no state in a sandbox has. */
bool np_sandbox_lacks(lua_State *L, const char *name);

#endif
