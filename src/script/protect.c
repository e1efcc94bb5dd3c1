/* pcall and xpcall: Lua's own, but that the error of a stop gets its name here, and that xpcall
 * calls its handler for it afterwards, when hooks are on again. See watch.h.
 *
 * Errors leap over the two, by a longjmp that the thread sanitizer does not see: it must not count
 * them as entered.
 */
#include <lauxlib.h>

#include "script/state.h"
#include "script/watch.h"

static int give_error(lua_State *L, int status)
{
    np_stop_caught(L, status);
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

/* `skip`: what stands below the results. */
static int after_call(lua_State *L, int status, lua_KContext skip)
{
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)skip;
    return give_error(L, status);
}

NP_UNSANITIZED int np_protected_call(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, after_call);
    return after_call(L, status, 0);
}

static int after_handler(lua_State *L, int status, lua_KContext unused)
{
    (void)unused;
    return give_error(L, status == LUA_YIELD ? LUA_OK : status);
}

/* Stack: the function, the handler, true, then the results or the error. */
static int after_call_with(lua_State *L, int status, lua_KContext skip)
{
    if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)skip;
    if (status == LUA_ERRMEM) {
        np_stop_caught(L, status);
        if (np_stop_is(L, -1)) {
            lua_pushvalue(L, 2);
            lua_insert(L, -2);
            status = lua_pcallk(L, 1, 1, 0, 0, after_handler);
            return after_handler(L, status, 0);
        }
    }
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

NP_UNSANITIZED int np_protected_call_with(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, after_call_with);
    return after_call_with(L, status, 2);
}
