/* Lua values to JSON text. See json.h.
 *
 * The text grows in one buffer a state, which a userdata holds, so that an error that leaves by
 * longjmp (a __tojson that raises) loses nothing; whoever comes then, or from inside a __tojson,
 * finds it busy and gets a new one. Where a value stands is a chain of frames on the C stack: the
 * path of an error is read off it, and nothing is kept while all is well.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "script/json.h"
#include "script/luax.h"

#define KEEP_BYTES ((size_t)256 << 10)

struct box {
    struct np_buf buf;
    bool busy;
};
static const char box_key = 0;

/* One table on the way from the root to the value that is being written. */
struct frame {
    const struct frame *up;
    const void *table;
    const char *key; /* NULL: an array's element */
    lua_Integer index;
};

struct writer {
    lua_State *L;
    struct np_buf *buf;
    const struct np_json_write_options *opts;
    enum neap_err err;
    char message[256];
};

/* --- errors */

static size_t put_path(char *out, size_t size, const struct frame *f)
{
    if (!f) return (size_t)snprintf(out, size, "value");
    size_t n = put_path(out, size, f->up);
    if (n >= size) return n;
    if (f->key) return n + (size_t)snprintf(out + n, size - n, ".%s", f->key);
    return n + (size_t)snprintf(out + n, size - n, "[%lld]", (long long)f->index);
}

/* Notes what is wrong with the value at `f`. Returns false. */
static bool wrong(struct writer *w, const struct frame *f, enum neap_err code, const char *fmt, ...)
    NEAP_PRINTF(4, 5);
static bool wrong(struct writer *w, const struct frame *f, enum neap_err code, const char *fmt, ...)
{
    char path[120];
    char words[120];
    if (put_path(path, sizeof path, f) >= sizeof path) {
        memcpy(path + sizeof path - 4, "...", 4);
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    w->err = code;
    snprintf(w->message, sizeof w->message, "JSON: %s: %s", path, words);
    return false;
}

static bool out_of_memory(struct writer *w)
{
    w->err = NEAP_ENOMEM;
    snprintf(w->message, sizeof w->message, "%s", neap_err_text(NEAP_ENOMEM));
    return false;
}

static bool too_large(struct writer *w)
{
    return wrong(w, NULL, NEAP_ELIMIT, "more than max_size, %zu bytes", w->opts->max_size);
}

/* --- text */

/* Room for `n` more bytes; NULL when out of memory. */
static inline char *room(struct writer *w, size_t n)
{
    struct np_buf *b = w->buf;
    if (b->cap - b->tail >= n && b->data) return b->data + b->tail;
    char *p;
    if (np_buf_reserve(b, n, &p) == NEAP_OK) return p;
    out_of_memory(w);
    return NULL;
}

static inline bool put(struct writer *w, const char *s, size_t n)
{
    char *p = room(w, n);
    if (!p) return false;
    memcpy(p, s, n);
    np_buf_added(w->buf, n);
    return true;
}

static inline bool put_char(struct writer *w, char c)
{
    char *p = room(w, 1);
    if (!p) return false;
    *p = c;
    np_buf_added(w->buf, 1);
    return true;
}

static bool new_line(struct writer *w, int depth)
{
    size_t n = (size_t)depth * 2;
    char *p = room(w, n + 1);
    if (!p) return false;
    *p = '\n';
    memset(p + 1, ' ', n);
    np_buf_added(w->buf, n + 1);
    return true;
}

static bool write_string(struct writer *w, const struct frame *f, const char *s, size_t n)
{
    size_t bad = 0;
    if (n > w->opts->max_size) return too_large(w);
    enum neap_err err = np_json_quote(w->buf, s, n, &bad);
    if (err == NEAP_ENOMEM) return out_of_memory(w);
    if (err) return wrong(w, f, err, "invalid UTF-8 at byte %zu", bad + 1);
    return true;
}

/* --- tables */

static bool write_value(struct writer *w, int idx, const struct frame *f, int depth);

static inline bool begin_element(struct writer *w, bool first, int depth)
{
    if (!first && !put_char(w, ',')) return false;
    if (np_buf_len(w->buf) > w->opts->max_size) return too_large(w);
    return !w->opts->pretty || new_line(w, depth + 1);
}

static inline bool end_table(struct writer *w, char bracket, int depth)
{
    return (!w->opts->pretty || new_line(w, depth)) && put_char(w, bracket);
}

/* The keys of the table at `t` are not 1, 2, 3 … in the order in which the table gives them: either
 * they are in another order, or it is no array. */
static bool write_unordered(struct writer *w, int t, struct frame *f, int depth)
{
    lua_State *L = w->L;
    lua_Integer count = 0;
    lua_Integer max = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) > 0) {
            lua_Integer key = lua_tointeger(L, -2);
            if (key > max) max = key;
            count++;
        } else if (lua_type(L, -2) == LUA_TSTRING) {
            return wrong(w, f->up, NEAP_EINVAL, "both numbers and strings (\"%.40s\") as keys",
                         lua_tostring(L, -2));
        } else {
            return wrong(w, f->up, NEAP_EINVAL, "a key that is neither a string nor an index");
        }
    }
    if (count != max) {
        return wrong(w, f->up, NEAP_EINVAL, "an array with holes (%lld of %lld elements)",
                     (long long)count, (long long)max);
    }
    for (f->index = 1; f->index <= max; f->index++) {
        lua_rawgeti(L, t, f->index);
        if (!begin_element(w, f->index == 1, depth)) return false;
        if (!write_value(w, lua_gettop(L), f, depth + 1)) return false;
        lua_pop(L, 1);
    }
    return true;
}

/* The first key and value are on the stack. */
static bool write_array(struct writer *w, int t, struct frame *f, int depth)
{
    lua_State *L = w->L;
    size_t start = w->buf->tail - w->buf->head;
    if (!put_char(w, '[')) return false;
    int value = lua_gettop(L);
    f->key = NULL;
    f->index = 1;
    do {
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != f->index) {
            lua_pop(L, 2);
            w->buf->tail = w->buf->head + start + 1;
            if (!write_unordered(w, t, f, depth)) return false;
            break;
        }
        if (!begin_element(w, f->index == 1, depth)) return false;
        if (!write_value(w, value, f, depth + 1)) return false;
        lua_pop(L, 1);
        f->index++;
    } while (lua_next(L, t));
    return end_table(w, ']', depth);
}

/* The key at `key` and the value at `value`. */
static bool write_member(struct writer *w, int key, int value, struct frame *f, bool first,
                         int depth)
{
    size_t n;
    f->key = lua_tolstring(w->L, key, &n);
    if (!begin_element(w, first, depth) || !write_string(w, f, f->key, n)) return false;
    if (!put(w, ": ", w->opts->pretty ? 2 : 1)) return false;
    return write_value(w, value, f, depth + 1);
}

/* The first key and value are on the stack. */
static bool write_object(struct writer *w, int t, struct frame *f, int depth)
{
    lua_State *L = w->L;
    if (!put_char(w, '{')) return false;
    bool first = true;
    int value = lua_gettop(L);
    do {
        if (lua_type(L, -2) != LUA_TSTRING) {
            return wrong(w, f->up, NEAP_EINVAL, "a key that is a %s among names",
                         luaL_typename(L, -2));
        }
        if (!write_member(w, value - 1, value, f, first, depth)) return false;
        first = false;
        lua_pop(L, 1);
    } while (lua_next(L, t));
    return end_table(w, '}', depth);
}

struct sort_key {
    const char *s;
    size_t n;
    lua_Integer at;
};

static int compare_keys(const void *a, const void *b)
{
    const struct sort_key *x = a;
    const struct sort_key *y = b;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

/* Pushes a table with the keys of the table at `t` (the first key and value are on the stack, and
 * popped) and a userdata with their order. Returns how many; -1 if one is no string. */
static lua_Integer collect_keys(struct writer *w, int t, const struct frame *f)
{
    lua_State *L = w->L;
    lua_newtable(L);
    lua_insert(L, -3);
    int keys = lua_gettop(L) - 2;
    lua_Integer n = 0;
    do {
        if (lua_type(L, -2) != LUA_TSTRING) {
            wrong(w, f->up, NEAP_EINVAL, "a key that is a %s among names", luaL_typename(L, -2));
            return -1;
        }
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, keys, ++n);
    } while (lua_next(L, t));
    struct sort_key *order = lua_newuserdatauv(L, (size_t)n * sizeof *order, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, keys, i + 1);
        order[i].s = lua_tolstring(L, -1, &order[i].n);
        order[i].at = i + 1;
        lua_pop(L, 1);
    }
    qsort(order, (size_t)n, sizeof *order, compare_keys);
    return n;
}

static bool write_sorted(struct writer *w, int t, struct frame *f, int depth)
{
    lua_State *L = w->L;
    lua_Integer n = collect_keys(w, t, f);
    if (n < 0) return false;
    int keys = lua_gettop(L) - 1;
    const struct sort_key *order = lua_touserdata(L, -1);
    if (!put_char(w, '{')) return false;
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, keys, order[i].at);
        lua_pushvalue(L, -1);
        lua_rawget(L, t);
        int top = lua_gettop(L);
        if (!write_member(w, top - 1, top, f, i == 0, depth)) return false;
        lua_pop(L, 2);
    }
    return end_table(w, '}', depth);
}

static bool too_deep(struct writer *w, const struct frame *f, const void *table)
{
    for (const struct frame *up = f; up; up = up->up) {
        if (up->table == table) return wrong(w, NULL, NEAP_EINVAL, "a table that contains itself");
    }
    return wrong(w, NULL, NEAP_ELIMIT, "nested deeper than max_depth, %zu", w->opts->max_depth);
}

/* Whether the table at `idx` is marked as an array. The metatable is on the stack, and popped. */
static bool is_marked(lua_State *L)
{
    np_json_push_array_meta(L);
    bool marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return marked;
}

static bool write_table(struct writer *w, int t, const struct frame *up, int depth)
{
    lua_State *L = w->L;
    struct frame f = {up, lua_topointer(L, t), NULL, 0};
    if ((size_t)depth >= w->opts->max_depth) return too_deep(w, up, f.table);
    bool marked = lua_getmetatable(L, t) && is_marked(L);
    lua_pushnil(L);
    if (!lua_next(L, t)) return put(w, marked ? "[]" : "{}", 2);
    if (marked || lua_type(L, -2) == LUA_TNUMBER) return write_array(w, t, &f, depth);
    if (w->opts->sort_keys) return write_sorted(w, t, &f, depth);
    return write_object(w, t, &f, depth);
}

/* --- values */

static bool write_number(struct writer *w, int idx, const struct frame *f)
{
    char *p = room(w, 32);
    if (!p) return false;
    if (lua_isinteger(w->L, idx)) {
        np_buf_added(w->buf, np_json_format_int(p, lua_tointeger(w->L, idx)));
        return true;
    }
    double v = lua_tonumber(w->L, idx);
    if (!isfinite(v)) {
        return wrong(w, f, NEAP_EINVAL, "%s has no JSON form", isnan(v) ? "NaN" : "infinity");
    }
    np_buf_added(w->buf, np_json_format_double(p, v));
    return true;
}

static bool no_form(struct writer *w, int idx, const struct frame *f)
{
    return wrong(w, f, NEAP_EINVAL, "a %s has no JSON form", luaL_typename(w->L, idx));
}

/* What the value's __tojson gives stands for it. The function is on the stack. */
static bool write_hooked(struct writer *w, int idx, const struct frame *f, int depth)
{
    if ((size_t)depth >= w->opts->max_depth) return too_deep(w, f, NULL);
    lua_pushvalue(w->L, idx);
    lua_call(w->L, 1, 1);
    return write_value(w, lua_gettop(w->L), f, depth + 1);
}

/* A table or a userdata. What is left on the stack goes at the end. */
static bool write_composite(struct writer *w, int idx, const struct frame *f, int depth)
{
    lua_State *L = w->L;
    int top = lua_gettop(L);
    luaL_checkstack(L, 12, "JSON");
    if (lua_getmetatable(L, idx)) {
        lua_pushliteral(L, "__tojson");
        bool hooked = lua_rawget(L, -2) != LUA_TNIL;
        if (hooked && !write_hooked(w, idx, f, depth)) return false;
        lua_settop(L, top);
        if (hooked) return true;
    }
    if (!lua_istable(L, idx)) return no_form(w, idx, f);
    if (!write_table(w, idx, f, depth)) return false;
    lua_settop(L, top);
    return true;
}

/* `idx` is absolute. The stack is as before when this returns true. */
static bool write_value(struct writer *w, int idx, const struct frame *f, int depth)
{
    lua_State *L = w->L;
    size_t n;
    const char *s;
    switch (lua_type(L, idx)) {
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &n);
        return write_string(w, f, s, n);
    case LUA_TNUMBER:
        return write_number(w, idx, f);
    case LUA_TTABLE:
    case LUA_TUSERDATA:
        return write_composite(w, idx, f, depth);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, idx) ? put(w, "true", 4) : put(w, "false", 5);
    case LUA_TNIL:
        return put(w, "null", 4);
    case LUA_TLIGHTUSERDATA:
        return lua_touserdata(L, idx) ? no_form(w, idx, f) : put(w, "null", 4);
    default:
        return no_form(w, idx, f);
    }
}

/* --- entry */

static int box_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    np_buf_fini(&b->buf);
    return 0;
}

/* Pushes the state's buffer, or a new one when that is in use. */
static struct box *box_take(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key);
    struct box *b = lua_touserdata(L, -1);
    if (b && !b->busy) return b;
    lua_pop(L, 1);
    b = lua_newuserdatauv(L, sizeof *b, 0);
    np_buf_init(&b->buf);
    b->busy = false;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
    return b;
}

enum neap_err np_json_encode_bytes(lua_State *L, int idx, const struct np_json_write_options *opts,
                                   const char **p, size_t *n)
{
    static const struct np_json_write_options defaults = NP_JSON_WRITE_OPTIONS_INIT;
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 8, "JSON");
    int top = lua_gettop(L);
    struct box *b = box_take(L);
    np_buf_clear(&b->buf);
    np_buf_shrink(&b->buf, KEEP_BYTES);
    struct writer w = {L, &b->buf, opts ? opts : &defaults, NEAP_OK, ""};
    b->busy = true;
    bool ok = write_value(&w, idx, NULL, 0);
    if (ok && np_buf_len(&b->buf) > w.opts->max_size) ok = too_large(&w);
    b->busy = false;
    lua_settop(L, top);
    if (!ok) {
        np_push_error(L, w.err, "%s", w.message);
        return w.err;
    }
    *p = np_buf_data(&b->buf);
    *n = np_buf_len(&b->buf);
    return NEAP_OK;
}

enum neap_err np_json_encode_to(lua_State *L, int idx)
{
    const char *p;
    size_t n;
    enum neap_err err = np_json_encode_bytes(L, idx, NULL, &p, &n);
    if (err == NEAP_OK) lua_pushlstring(L, p, n);
    return err;
}
