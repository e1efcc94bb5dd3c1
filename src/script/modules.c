/* Where `require` finds neap's modules: NEAP_LUA_PATH's files, then the built-in standard library,
 * then the C modules. Runs inside np_script_new, protected.
 */
#include <string.h>

#include "script/luax.h"
#include "script/modules.h"
#include "script/sandbox.h"
#include "script/state.h"
#include "script/stdlib.h"

static const luaL_Reg c_modules[] = {
#define NP_MODULE_ROW(name) {#name, np_open_##name},
    NP_MODULES(NP_MODULE_ROW)
#undef NP_MODULE_ROW
        {NULL, NULL}};

static lua_CFunction find_c_module(const char *name)
{
    for (const luaL_Reg *m = c_modules; m->name; m++) {
        if (strcmp(m->name, name) == 0) return m->func;
    }
    return NULL;
}

static const struct np_stdlib_module *find_stdlib(const char *name)
{
    for (const struct np_stdlib_module *m = np_stdlib_modules; m->name; m++) {
        if (strcmp(m->name, name) == 0) return m;
    }
    return NULL;
}

/* What a state on a pool's thread has, which has no loop. */
static bool needs_loop(lua_State *L, const char *name)
{
    static const char *const without_loop[] = {"coding",  "crypto", "frame", "json",
                                               "sandbox", "shared", NULL};
    if (np_script_of(L)->loop) return false;
    for (const char *const *n = without_loop; *n; n++) {
        if (strcmp(*n, name) == 0) return false;
    }
    return true;
}

/* The loader of "neap.x" where that is the C module: through its core name, so that both names give
 * the same table. */
static int load_core(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    np_sandbox_push_require(L);
    lua_pushfstring(L, "neap.core.%s", name + 5);
    lua_call(L, 1, 1);
    return 1;
}

/* A searcher for what is compiled in: "neap.core.x" is a C module; "neap.x" is the Lua module of
 * that name, or else the C module itself. */
static int search_builtin(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (strncmp(name, "neap.core.", 10) == 0) {
        lua_CFunction open = find_c_module(name + 10);
        if (!open) return 0;
        if (needs_loop(L, name + 10)) {
            lua_pushfstring(L, "module '%s' needs a loop, which a thread does not have", name);
            return 1;
        }
        lua_pushcfunction(L, open);
        lua_pushliteral(L, ":builtin:");
        return 2;
    }
    if (np_sandbox_lacks(L, name)) {
        lua_pushfstring(L, "no module '%s' in a sandbox", name);
        return 1;
    }
    const struct np_stdlib_module *m = find_stdlib(name);
    if (m) {
        lua_pushfstring(L, "=%s", name);
        if (luaL_loadbufferx(L, (const char *)m->code, m->size, lua_tostring(L, -1), "b")) {
            return lua_error(L);
        }
        np_sandbox_trust(L);
        lua_pushliteral(L, ":builtin:");
        return 2;
    }
    if (strncmp(name, "neap.", 5) == 0 && find_c_module(name + 5)) {
        lua_pushcfunction(L, load_core);
        lua_pushliteral(L, ":builtin:");
        return 2;
    }
    lua_pushfstring(L, "no built-in module '%s'", name);
    return 1;
}

/* The upvalue is the directory. */
static int search_override(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (strcmp(name, "neap") != 0 && strncmp(name, "neap.", 5) != 0) return 0;
    const char *dir = lua_tostring(L, lua_upvalueindex(1));
    const char *path = luaL_gsub(L, name, ".", "/");
    const char *forms[] = {"%s/%s.lua", "%s/%s/init.lua"};
    for (int i = 0; i < 2; i++) {
        lua_pushfstring(L, forms[i], dir, path);
        int status = luaL_loadfilex(L, lua_tostring(L, -1), "t");
        if (status == LUA_OK) {
            np_sandbox_trust(L);
            lua_insert(L, -2);
            return 2;
        }
        if (status != LUA_ERRFILE) return lua_error(L);
        lua_pop(L, 2);
    }
    return 0;
}

/* --- the files that modules came from */

static const char files_key; /* of the Lua registry: path → true */

void np_modules_note_file(lua_State *L, const char *path)
{
    luaL_checkstack(L, 3, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &files_key) == LUA_TTABLE) {
        lua_pushstring(L, path);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

void np_modules_files(lua_State *L, void (*fn)(void *arg, const char *path), void *arg)
{
    if (!lua_checkstack(L, 4)) return;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &files_key) == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            fn(arg, lua_tostring(L, -2));
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* Lua's own searcher of Lua files, the upvalue, and a note of what it finds. */
static int search_files(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 2);
    if (lua_type(L, 1) == LUA_TFUNCTION && lua_type(L, 2) == LUA_TSTRING)
        np_modules_note_file(L, lua_tostring(L, 2));
    return 2;
}

/* It is the second of the searchers that a state is born with. */
static void note_files(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &files_key);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_rawgeti(L, -1, 2);
    lua_pushcclosure(L, search_files, 1);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}

static void add_searcher(lua_State *L, int at)
{
    int fn = lua_gettop(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i >= at; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushvalue(L, fn);
    lua_rawseti(L, -2, at);
    lua_settop(L, fn - 1);
}

void np_modules_install(lua_State *L, const char *lua_path)
{
    note_files(L);
    lua_pushcfunction(L, search_builtin);
    add_searcher(L, 2);
    if (lua_path) {
        lua_pushstring(L, lua_path);
        lua_pushcclosure(L, search_override, 1);
        add_searcher(L, 2);
    }
    if (!np_script_of(L)->loop) return; /* nothing waits there */
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.prelude");
    lua_call(L, 1, 0);
}
