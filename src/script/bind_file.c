/* neap.core.file: directories and single files as answers. Option tables were checked by
 * lua/neap/http/static.lua; here they are read as they are, and held so that their strings stay.
 *
 * In a sandbox only what is at or below the script's directory is served, and no links are followed
 * blindly.
 */
#include "script/bind_file.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "http/file_site.h"
#include "proto/url.h"
#include "script/bind_http_reqbody.h"
#include "script/bind_http_request.h"
#include "script/luax.h"
#include "script/modules.h"
#include "script/sandbox.h"

#define SITE "neap.file.site"
#define OPTIONS 1 /* user value: the table whose strings are in use */

struct lua_site {
    struct np_file_site site;
    struct np_map types;
    struct np_http_header headers[NP_FILE_MORE_HEADERS];
};

/* --- options */

static const char *string_field(lua_State *L, int t, const char *name, struct np_bytes *out)
{
    struct np_bytes b = {NULL, 0};
    if (lua_getfield(L, t, name) == LUA_TSTRING) b.p = lua_tolstring(L, -1, &b.n);
    lua_pop(L, 1); /* the table keeps it */
    if (out) *out = b;
    return b.p;
}

static bool flag_field(lua_State *L, int t, const char *name)
{
    lua_getfield(L, t, name);
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

/* headers = { name, value, name, value … } */
static void read_headers(lua_State *L, int t, struct lua_site *ls)
{
    size_t n = 0;
    if (lua_getfield(L, t, "headers") == LUA_TTABLE) {
        lua_Integer len = (lua_Integer)lua_rawlen(L, -1);
        if (len / 2 > NP_FILE_MORE_HEADERS) np_misuse(L, "opts.headers: too many of them");
        for (lua_Integer i = 1; i + 1 <= len; i += 2, n++) {
            struct np_http_header *h = &ls->headers[n];
            lua_rawgeti(L, -1, i);
            lua_rawgeti(L, -2, i + 1);
            h->name.p = luaL_checklstring(L, -2, &h->name.n);
            h->value.p = luaL_checklstring(L, -1, &h->value.n);
            lua_pop(L, 2);
            if (!np_http_is_token(h->name.p, h->name.n) ||
                !np_http_is_value(h->value.p, h->value.n))
                np_misuse(L, "opts.headers: %s may not go on the wire", h->name.p);
        }
    }
    lua_pop(L, 1);
    ls->site.answer.headers = ls->headers;
    ls->site.answer.nheaders = n;
}

static void read_types(lua_State *L, int t, struct lua_site *ls)
{
    if (lua_getfield(L, t, "types") == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            size_t n;
            const char *extension = luaL_checklstring(L, -2, &n);
            const char *type = luaL_checkstring(L, -1);
            if (!np_http_is_value(type, strlen(type)))
                np_misuse(L, "opts.types.%s: not a media type", extension);
            if (np_map_set(&ls->types, extension, n, (void *)type, NULL))
                luaL_error(L, "not enough memory");
            lua_pop(L, 1);
        }
        ls->site.types.own = &ls->types;
    }
    lua_pop(L, 1);
}

static void read_indexes(lua_State *L, int t, struct np_file_site *s)
{
    if (lua_getfield(L, t, "index") == LUA_TTABLE) {
        for (lua_Integer i = 1; i <= NP_SITE_INDEXES && lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
            s->indexes[s->nindexes++] = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_settop(L, t);
}

static void read_codings(lua_State *L, int t, struct np_file_site *s)
{
    static const char *const names[NP_SITE_CODINGS] = {"br", "zstd", "gzip"};
    if (lua_getfield(L, t, "precompressed") == LUA_TTABLE) {
        for (int i = 0; i < NP_SITE_CODINGS; i++)
            s->codings[i] = flag_field(L, lua_gettop(L), names[i]);
    }
    lua_settop(L, t);
}

/* The table at the top of the stack: how files are told of. */
static void read_answer(lua_State *L, struct lua_site *ls)
{
    int t = lua_gettop(L);
    struct np_file_site *s = &ls->site;
    s->answer.status = 200;
    string_field(L, t, "cache_control", &s->answer.cache_control);
    s->answer.no_validators = flag_field(L, t, "no_validators");
    s->answer.no_ranges = flag_field(L, t, "no_ranges");
    lua_getfield(L, t, "max_ranges");
    s->answer.max_ranges = (size_t)luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    s->types.charset = string_field(L, t, "charset", NULL);
    s->fallback = string_field(L, t, "fallback", NULL);
    if (s->fallback && !np_file_path_ok(s->fallback, strlen(s->fallback), true))
        np_misuse(L, "opts.fallback: a path below the directory expected");
    s->dotfiles = flag_field(L, t, "dotfiles");
    read_headers(L, t, ls);
    read_types(L, t, ls);
    read_indexes(L, t, s);
    read_codings(L, t, s);
}

/* --- sites */

static struct lua_site *check_site(lua_State *L)
{
    struct lua_site *ls = luaL_checkudata(L, 1, SITE);
    if (ls->site.root.fd < 0) luaL_error(L, "the site is closed");
    return ls;
}

static int site_gc(lua_State *L)
{
    struct lua_site *ls = luaL_checkudata(L, 1, SITE);
    np_file_site_fini(&ls->site);
    np_map_fini(&ls->types);
    np_map_init(&ls->types);
    return 0;
}

static enum np_file_links read_links(lua_State *L, int t)
{
    const char *name = string_field(L, t, "links", NULL);
    enum np_file_links links = NP_LINKS_INSIDE;
    if (name && strcmp(name, "none") == 0) links = NP_LINKS_NONE;
    if (name && strcmp(name, "all") == 0) links = NP_LINKS_ALL;
    if (links == NP_LINKS_ALL && np_script_of(L)->sandbox)
        np_misuse(L, "opts.links: \"all\" is not available in a sandbox");
    return links;
}

/* Pushes a closed one, with the table on top as its options. */
static struct lua_site *push_site(lua_State *L)
{
    struct lua_site *ls = lua_newuserdatauv(L, sizeof *ls, 1);
    memset(ls, 0, sizeof *ls);
    ls->site.root.fd = -1;
    np_map_init(&ls->types);
    luaL_setmetatable(L, SITE);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, OPTIONS);
    lua_pushvalue(L, -2);
    read_answer(L, ls);
    lua_pop(L, 1);
    ls->site.rng = &np_script_of(L)->rng;
    return ls;
}

/* site(directory, options) → site | nil, err */
static int file_site(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    enum np_file_links links = read_links(L, 2);
    struct lua_site *ls = push_site(L);
    ls->site.epoch = &np_script_of(L)->sched.epoch;
    if (np_script_of(L)->ending) return luaL_error(L, "not enough memory");
    enum neap_err err = np_file_root_open(&ls->site.root, path, links);
    if (err)
        return np_fail(L, err, "%s: %s", path,
                       err == NEAP_EINVAL ? "not a directory" : neap_err_text(err));
    if (!np_sandbox_may_read(L, ls->site.root.fd, path)) {
        np_file_root_close(&ls->site.root);
        return np_fail(L, NEAP_EACCES,
                       "%s: outside of the script's directory, and this is a sandbox", path);
    }
    return 1;
}

/* The request, which must be there and not begun to be answered; NULL: it is gone, and why is
 * pushed. */
static struct np_http_req *check_request(lua_State *L, int idx)
{
    struct np_http_req *r = np_http_req_check(L, idx);
    if (r->x && r->answered) np_misuse(L, "an answer was already begun");
    return r;
}

/* The exchange is the file's now, or over. */
static void let_go(struct np_http_req *r)
{
    r->answered = true;
    np_http_req_over(r, NEAP_ECLOSED);
}

static const char *outcome_name(enum np_site_outcome o)
{
    switch (o) {
    case NP_SITE_ABSENT:
        return "absent";
    case NP_SITE_DIRECTORY:
        return "directory";
    case NP_SITE_NO_INDEX:
        return "no_index";
    case NP_SITE_DENIED:
        return "denied";
    case NP_SITE_BUSY:
        return "busy";
    default:
        return "failed";
    }
}

/* site:serve(req, path) → nothing when it is answered, or the client has left; else why not:
 * "absent", "directory", "no_index", "denied", "busy", "failed" */
static int site_serve(lua_State *L)
{
    size_t n;
    struct lua_site *ls = check_site(L);
    struct np_http_req *r = check_request(L, 2);
    const char *path = luaL_checklstring(L, 3, &n);
    if (!r->x) return 0;
    ls->site.epoch = NULL; /* the script may have changed the file just now */
    enum np_site_outcome o = np_file_site_serve(&ls->site, r->x, path, n);
    ls->site.epoch = &np_script_of(L)->sched.epoch;
    if (o == NP_SITE_ANSWERED) {
        let_go(r);
        return 0;
    }
    lua_pushstring(L, outcome_name(o));
    return 1;
}

/* site:serve_from(req, path, from) → whether it is answered: what begins at `from` of a path that
 * is not decoded */
static int site_serve_from(lua_State *L)
{
    size_t n;
    char decoded[4096];
    struct lua_site *ls = check_site(L);
    struct np_http_req *r = check_request(L, 2);
    const char *path = luaL_checklstring(L, 3, &n);
    lua_Integer from = luaL_checkinteger(L, 4);
    luaL_argcheck(L, from >= 1 && (size_t)from <= n + 1, 4, "outside of the path");
    path += from - 1;
    n -= (size_t)from - 1;
    bool there = r->x != NULL;
    if (there && memchr(path, '%', n)) {
        there = n <= sizeof decoded && np_url_decode(path, n, false, decoded, &n);
        path = decoded;
    }
    there = there && np_file_site_serve(&ls->site, r->x, path, n) == NP_SITE_ANSWERED;
    if (there) let_go(r);
    lua_pushboolean(L, there);
    return 1;
}

/* --- listings */

struct listing {
    DIR *dir;
    struct lua_site *ls;
};

static int close_listing(lua_State *L)
{
    struct listing *l = lua_touserdata(L, 1);
    if (l->dir) closedir(l->dir);
    l->dir = NULL;
    return 0;
}

/* Pushes a row for the entry; false when it is not to be seen. */
static bool push_entry(lua_State *L, const struct listing *l, const struct dirent *e)
{
    struct stat st;
    if (!np_file_path_ok(e->d_name, strlen(e->d_name), l->ls->site.dotfiles)) return false;
    if (fstatat(dirfd(l->dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) return false;
    bool link = S_ISLNK(st.st_mode);
    if (link && l->ls->site.root.links == NP_LINKS_NONE) return false;
    if (!link && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return false;
    lua_createtable(L, 0, 4);
    lua_pushstring(L, e->d_name);
    lua_setfield(L, -2, "name");
    lua_pushboolean(L, S_ISDIR(st.st_mode));
    lua_setfield(L, -2, "directory");
    lua_pushinteger(L, (lua_Integer)st.st_mtim.tv_sec);
    lua_setfield(L, -2, "mtime");
    if (S_ISREG(st.st_mode)) {
        lua_pushinteger(L, (lua_Integer)st.st_size);
        lua_setfield(L, -2, "size");
    }
    return true;
}

/* site:list(path, max) → array of { name, directory, mtime, size } | nil, err. At most `max`, in no
 * order; its field `more` says whether some were left out. */
static int site_list(lua_State *L)
{
    size_t n;
    struct lua_site *ls = check_site(L);
    const char *path = luaL_checklstring(L, 2, &n);
    lua_Integer max = luaL_checkinteger(L, 3);
    struct np_file f;
    if (!np_file_path_ok(path, n, ls->site.dotfiles)) return np_fail(L, NEAP_ENOENT, NULL);
    struct listing *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (struct listing){.ls = ls};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_listing);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    enum neap_err err = np_file_open_beneath(&ls->site.root, n ? path : ".", &f);
    if (err) return np_fail(L, err, NULL);
    l->dir = f.directory ? fdopendir(f.fd) : NULL;
    if (!l->dir) {
        np_file_close(&f);
        return np_fail(L, NEAP_ENOENT, NULL);
    }
    lua_newtable(L);
    lua_Integer count = 0;
    for (struct dirent *e; (e = readdir(l->dir));) {
        if (count == max) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "more");
            break;
        }
        if (push_entry(L, l, e)) lua_rawseti(L, -2, ++count);
    }
    closedir(l->dir);
    l->dir = NULL;
    return 1;
}

/* --- one file */

static enum neap_err open_one(lua_State *L, struct lua_site *ls, const char *root, const char *path,
                              struct np_file *f)
{
    if (!root) return np_file_open(path, f);
    enum np_file_links links = read_links(L, 3);
    enum neap_err err = np_file_root_open(&ls->site.root, root, links);
    if (err) return err;
    if (!np_file_path_ok(path, strlen(path), ls->site.dotfiles)) err = NEAP_ENOENT;
    if (!err) err = np_file_open_beneath(&ls->site.root, path, f);
    np_file_root_close(&ls->site.root);
    return err;
}

/* send(req, path, options) → true | nil, err. Beyond a site's options: root, type, name, status */
static int file_send(lua_State *L)
{
    size_t n;
    char type[160];
    struct np_file f;
    struct np_http_req *r = check_request(L, 1);
    const char *path = luaL_checklstring(L, 2, &n);
    luaL_checktype(L, 3, LUA_TTABLE);
    if (!r->x) return np_http_req_gone(L, r);
    if (strlen(path) != n) return np_fail(L, NEAP_ENOENT, NULL);
    lua_settop(L, 3);
    struct lua_site *ls = push_site(L);
    const char *root = string_field(L, 3, "root", NULL);
    const char *name = string_field(L, 3, "name", NULL);
    lua_getfield(L, 3, "status");
    struct np_file_answer how = ls->site.answer;
    how.status = (int)luaL_optinteger(L, -1, 200);
    string_field(L, 3, "type", &how.type);
    if (!name) name = path;
    if (!how.type.p)
        how.type = np_file_type(&ls->site.types, name, strlen(name), type, sizeof type);
    how.nonce = np_rng_next(ls->site.rng);
    enum neap_err err = open_one(L, ls, root, path, &f);
    if (!err && (f.directory || !np_sandbox_may_read(L, f.fd, path))) {
        err = f.directory ? NEAP_ENOENT : NEAP_EACCES;
        np_file_close(&f);
    }
    if (err) return np_fail(L, err, "%s: %s", path, neap_err_text(err));
    err = np_http_answer_file(r->x, &f, &how);
    if (err) np_file_close(&f);
    if (err == NEAP_EINVAL) return np_misuse(L, "a header or status may not go on the wire");
    if (err) return np_fail(L, err, NULL);
    let_go(r);
    lua_pushboolean(L, 1);
    return 1;
}

int np_open_file(lua_State *L)
{
    static const luaL_Reg methods[] = {{"serve", site_serve},
                                       {"serve_from", site_serve_from},
                                       {"list", site_list},
                                       {"close", site_gc},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", site_gc}, {"__close", site_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"site", file_site}, {"send", file_send}, {NULL, NULL}};
    np_type_new(L, SITE, methods, meta);
    luaL_newlib(L, functions);
    np_file_add_negotiate(L);
    return 1;
}
