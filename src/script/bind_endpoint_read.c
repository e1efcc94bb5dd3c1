/* Tags and metadata of endpoints, as scripts write them down (see bind_endpoint.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/bind_endpoint.h"
#include "script/luax.h"

#define MAX_ITEMS 1024 /* of tags or metadata that are read at all; the registry allows fewer */

/* The string at the top, which stays there. */
static const char *text_at_top(lua_State *L, const char *path, const char *key)
{
    size_t n = 0;
    if (lua_type(L, -1) != LUA_TSTRING) {
        np_misuse(L, "%s%s: expected string, got %s", path, key, luaL_typename(L, -1));
    }
    const char *s = lua_tolstring(L, -1, &n);
    if (strlen(s) != n) np_misuse(L, "%s%s: must not contain a NUL byte", path, key);
    return s;
}

static bool table_or_none(lua_State *L, int idx, const char *path)
{
    if (lua_isnoneornil(L, idx)) return false;
    if (!lua_istable(L, idx)) {
        np_misuse(L, "%s: expected table, got %s", path, luaL_typename(L, idx));
    }
    return true;
}

void np_endpoint_read_tags(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d)
{
    d->tags = NULL;
    d->ntags = 0;
    if (!table_or_none(L, idx, path)) {
        lua_pushnil(L);
        return;
    }
    idx = lua_absindex(L, idx);
    size_t n = lua_rawlen(L, idx);
    if (n > MAX_ITEMS) np_misuse(L, "%s: more than %d items", path, MAX_ITEMS);
    const char **tags = lua_newuserdatauv(L, (n + 1) * sizeof *tags, 0);
    for (size_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "[%zu]", i + 1);
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        tags[i] = text_at_top(L, path, key);
        lua_pop(L, 1);
    }
    d->tags = tags;
    d->ntags = n;
}

static size_t count_pairs(lua_State *L, int idx, const char *path)
{
    size_t n = 0;
    lua_pushnil(L);
    for (; lua_next(L, idx); n++) {
        if (lua_type(L, -2) != LUA_TSTRING) np_misuse(L, "%s: keys must be strings", path);
        lua_pop(L, 1);
    }
    if (n > MAX_ITEMS) np_misuse(L, "%s: more than %d items", path, MAX_ITEMS);
    return n;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct np_pair *)a)->key, ((const struct np_pair *)b)->key);
}

/* Sorted by key, so that one table always gives the same description. */
void np_endpoint_read_meta(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d)
{
    d->meta = NULL;
    d->nmeta = 0;
    if (!table_or_none(L, idx, path)) {
        lua_pushnil(L);
        return;
    }
    idx = lua_absindex(L, idx);
    size_t n = count_pairs(L, idx, path);
    struct np_pair *meta = lua_newuserdatauv(L, (n + 1) * sizeof *meta, 0);
    size_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        char key[80];
        const char *name = lua_tostring(L, -2);
        snprintf(key, sizeof key, ".%.70s", name);
        if (strlen(name) != lua_rawlen(L, -2)) np_misuse(L, "%s: a key has a NUL byte", path);
        if (i == n) np_misuse(L, "%s: it changed while it was read", path); /* by a finaliser */
        meta[i++] = (struct np_pair){name, text_at_top(L, path, key)};
        lua_pop(L, 1);
    }
    qsort(meta, i, sizeof *meta, by_key);
    d->meta = meta;
    d->nmeta = i;
}
