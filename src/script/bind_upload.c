/* Files that are written from what a peer sends, for lua/neap/http/multipart.lua: whole under their
 * name or not there at all. The bytes go to a file beside it with a random name, which gets the
 * name when it is complete and is removed when it does not come to that.
 *
 * Writing happens on the worker's thread: into the page cache, for local disks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "script/bind_forms.h"
#include "script/luax.h"

#define UPLOAD "neap.http.upload"

struct upload {
    int fd;     /* -1: none */
    char *temp; /* NULL once the file has its name, or is gone */
    char *path;
};

static void drop(struct upload *u)
{
    if (u->fd >= 0) close(u->fd);
    if (u->temp) unlink(u->temp);
    np_free(u->temp);
    np_free(u->path);
    *u = (struct upload){-1, NULL, NULL};
}

static int upload_gc(lua_State *L)
{
    drop(luaL_checkudata(L, 1, UPLOAD));
    return 0;
}

static int fail_errno(lua_State *L, int code, const char *path)
{
    return np_fail(L, np_err_from_errno(code), "%s: %s", path, strerror(code));
}

static enum neap_err open_temp(struct upload *u, const char *path, size_t n, int mode, int *code)
{
    struct np_rng rng;
    np_rng_init(&rng, 0);
    u->path = np_strndup(path, n);
    u->temp = u->path ? np_alloc(n + 32) : NULL;
    if (!u->temp) return NEAP_ENOMEM;
    sprintf(u->temp, "%s.%016llx.part", path, (unsigned long long)np_rng_next(&rng));
    u->fd = open(u->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (u->fd >= 0) return NEAP_OK;
    *code = errno;
    np_free(u->temp);
    u->temp = NULL;
    return np_err_from_errno(*code);
}

/* new_upload(path, mode) → upload | nil, err */
static int new_upload(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    lua_Integer mode = luaL_checkinteger(L, 2);
    int code = 0;
    if (strlen(path) != n || n == 0) return np_misuse(L, "path: is none");
    struct upload *u = lua_newuserdatauv(L, sizeof *u, 0);
    *u = (struct upload){-1, NULL, NULL};
    luaL_setmetatable(L, UPLOAD);
    enum neap_err err = open_temp(u, path, n, (int)mode & 0777, &code);
    if (!err) return 1;
    drop(u);
    return err == NEAP_ENOMEM ? np_fail(L, err, NULL) : fail_errno(L, code, path);
}

static struct upload *check_open(lua_State *L)
{
    struct upload *u = luaL_checkudata(L, 1, UPLOAD);
    if (u->fd < 0) np_misuse(L, "the file is closed");
    return u;
}

/* upload:write(data) → true | nil, err */
static int upload_write(lua_State *L)
{
    struct upload *u = check_open(L);
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    while (n > 0) {
        ssize_t done = write(u->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_errno(L, errno, u->path);
        p += done;
        n -= (size_t)done;
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* Gives the file its name unless there is one of that name; 0 or an errno. */
static int name_new(const char *temp, const char *path)
{
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    if (link(temp, path) != 0) return errno; /* a file system that cannot say it at once */
    unlink(temp);
    return 0;
}

/* upload:commit(overwrite) → true | nil, err EEXIST … */
static int upload_commit(lua_State *L)
{
    struct upload *u = check_open(L);
    bool overwrite = lua_toboolean(L, 2);
    int code = close(u->fd) == 0 ? 0 : errno;
    u->fd = -1;
    if (!code && overwrite) code = rename(u->temp, u->path) == 0 ? 0 : errno;
    if (!code && !overwrite) code = name_new(u->temp, u->path);
    if (code) {
        char path[256];
        snprintf(path, sizeof path, "%s", u->path);
        drop(u);
        return fail_errno(L, code, path);
    }
    np_free(u->temp);
    u->temp = NULL;
    drop(u);
    lua_pushboolean(L, 1);
    return 1;
}

void np_http_add_upload(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", upload_write}, {"commit", upload_commit}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", upload_gc}, {"__close", upload_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new_upload", new_upload}, {NULL, NULL}};
    np_type_new(L, UPLOAD, methods, meta);
    luaL_setfuncs(L, functions, 0);
}
