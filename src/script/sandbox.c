/* Sandboxes; see sandbox.h. neap.core.sandbox is what lua/neap/sandbox/ is built on. */
#include "script/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/state.h"

#define MAX_FILE ((size_t)64 * 1024 * 1024) /* bytes of a script */

static const char trusted_key, base_key, real_base_key; /* of the Lua registry */

static bool in_sandbox(lua_State *L)
{
    return np_script_of(L)->sandbox;
}

/* Pushes the globals of what is built in; nil where there is but one table of globals. */
static bool push_trusted(lua_State *L)
{
    return lua_rawgetp(L, LUA_REGISTRYINDEX, &trusted_key) != LUA_TNIL;
}

void np_sandbox_apply(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.sandbox.process");
    lua_call(L, 1, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); /* else tracebacks name all after it */
    lua_pushnil(L);
    lua_setfield(L, -2, "neap.sandbox.process");
    lua_pop(L, 1);
    lua_pushglobaltable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &trusted_key);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}

void np_sandbox_trust(lua_State *L)
{
    if (push_trusted(L)) {
        lua_setupvalue(L, -2, 1);
    } else {
        lua_pop(L, 1);
    }
}

void np_sandbox_push_require(lua_State *L)
{
    if (push_trusted(L)) {
        lua_getfield(L, -1, "require");
        lua_remove(L, -2);
    } else {
        lua_pop(L, 1);
        lua_getglobal(L, "require");
    }
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool np_sandbox_lacks(lua_State *L, const char *name)
{
    return in_sandbox(L) && (starts(name, "neap.repl") || starts(name, "neap.test"));
}

/* --- files */

const char *np_sandbox_base(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &base_key);
    const char *base = lua_tostring(L, -1);
    lua_pop(L, 1); /* the registry keeps it */
    return base;
}

void np_sandbox_set_base(lua_State *L, const char *dir)
{
    char real[PATH_MAX];
    if (np_sandbox_base(L) || !realpath(dir, real)) return;
    lua_pushstring(L, real);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &real_base_key);
    lua_pushstring(L, dir);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &base_key);
}

void np_sandbox_enter(lua_State *L, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == path ? 1 : slash ? (size_t)(slash - path) : 1;
    lua_pushlstring(L, slash ? path : ".", n);
    np_sandbox_set_base(L, lua_tostring(L, -1));
    lua_pop(L, 1);
}

static bool is_below(const char *real, const char *base)
{
    size_t n = strlen(base);
    if (n == 1) return true; /* the root */
    return strncmp(real, base, n) == 0 && real[n] == '/';
}

/* Where the open file really is: asked of the descriptor, so that nobody changes it in between. */
static bool real_path(int fd, const char *path, char *out)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0) return realpath(path, out) != NULL; /* no /proc */
    out[n] = '\0';
    return true;
}

/* Before it is opened: opening alone may do something, to a device say. */
static bool climbs(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2) {
        bool begins = p == path || p[-1] == '/';
        if (begins && (p[2] == '/' || p[2] == '\0')) return true;
    }
    return false;
}

bool np_sandbox_may_read(lua_State *L, int fd, const char *path)
{
    char real[PATH_MAX];
    if (!in_sandbox(L)) return true;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &real_base_key);
    const char *base = lua_tostring(L, -1);
    lua_pop(L, 1); /* the registry keeps it */
    if (!base || !real_path(fd, path, real)) return false;
    return strcmp(real, base) == 0 || is_below(real, base);
}

static const char outside[] = "it is outside of the script's directory, and this is a sandbox";

/* NULL when the state may read it; else why not. */
static const char *check_place(lua_State *L, int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return "it is no file";
    if ((size_t)st.st_size > MAX_FILE) return "it is too large";
    return np_sandbox_may_read(L, fd, path) ? NULL : outside;
}

struct reader {
    int fd;
    int err;
    bool begun;
    char buf[4096];
};

static const char *read_some(lua_State *L, void *ud, size_t *size)
{
    struct reader *r = ud;
    (void)L;
    ssize_t n;
    do
        n = read(r->fd, r->buf, sizeof r->buf);
    while (n < 0 && errno == EINTR);
    if (n < 0) r->err = errno;
    *size = n > 0 ? (size_t)n : 0;
    if (!r->begun && n > 0 && r->buf[0] == '#') { /* a line for the shell, made a comment */
        bool empty = n == 1 || r->buf[1] == '\n';
        memcpy(r->buf, empty ? " " : "--", empty ? 1 : 2);
    }
    r->begun = true;
    return r->buf;
}

static bool fail(lua_State *L, const char *path, const char *why)
{
    lua_pushfstring(L, "cannot load %s: %s", path, why);
    return false;
}

bool np_sandbox_load_file(lua_State *L, const char *path, bool *absent)
{
    struct reader r = {.fd = -1};
    *absent = false;
    if (in_sandbox(L) && climbs(path)) return fail(L, path, outside);
    lua_pushfstring(L, "@%s", path);
    r.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (r.fd < 0) {
        *absent = errno == ENOENT || errno == ENOTDIR;
        return fail(L, path, strerror(errno));
    }
    const char *why = check_place(L, r.fd, path);
    if (why) {
        close(r.fd);
        return fail(L, path, why);
    }
    int status = lua_load(L, read_some, &r, lua_tostring(L, -1), "t"); /* it does not raise */
    close(r.fd);
    lua_remove(L, -2);
    if (status == LUA_OK && r.err) {
        lua_pop(L, 1);
        return fail(L, path, strerror(r.err));
    }
    if (status == LUA_OK) np_modules_note_file(L, path);
    return status == LUA_OK;
}

/* --- neap.core.sandbox */

/* load_file(path[, globals[, name]]) → function | nil, message, whether there is no such file */
static int sandbox_load_file(lua_State *L)
{
    size_t n;
    bool absent;
    const char *path = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n > 0 && strlen(path) == n, 1, "not a path");
    bool has_env = !lua_isnone(L, 2);
    if (np_sandbox_load_file(L, path, &absent)) {
        if (!has_env) return 1;
        lua_pushvalue(L, 2);
        lua_setupvalue(L, -2, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushboolean(L, absent);
    return 3;
}

/* base() → the script's directory as the command line named it; nil without one. */
static int sandbox_base(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &base_key);
    return 1;
}

/* hidden(name) → whether it is one of the inner modules, which scripts in a sandbox have not. */
static int sandbox_hidden(lua_State *L)
{
    static const char *const inner[] = {"neap.core", "neap.repl", "neap.test", "neap.prelude",
                                        "neap.sandbox."};
    const char *name = luaL_checkstring(L, 1);
    bool hidden = false;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        hidden = hidden || starts(name, inner[i]);
    lua_pushboolean(L, hidden);
    return 1;
}

int np_open_sandbox(lua_State *L)
{
    static const luaL_Reg functions[] = {{"load_file", sandbox_load_file},
                                         {"base", sandbox_base},
                                         {"hidden", sandbox_hidden},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_pushboolean(L, in_sandbox(L));
    lua_setfield(L, -2, "active");
    return 1;
}
