/* JSON for bindings: Lua values to text and text to Lua values.
 *
 * Reading is simdjson's, behind json_read.cc; writing is json_write.c; json_locate.c finds out
 * where and why a refused document is wrong; bind_json.c is the module "neap.json", which says how
 * values correspond. All functions that take a lua_State may raise what Lua's allocator and a
 * value's
 * __tojson raise. Any state's thread; what is lent is the state's own.
 */
#ifndef NP_SCRIPT_JSON_H
#define NP_SCRIPT_JSON_H

#include <lua.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NP_JSON_MAX_DEPTH 128
#define NP_JSON_DEPTH_LIMIT 1000 /* the most that an option may ask for */
#define NP_JSON_READ_MAX_SIZE ((size_t)16 << 20)
#define NP_JSON_WRITE_MAX_SIZE ((size_t)64 << 20)

struct np_json_write_options {
    bool pretty; /* indented by two spaces */
    bool sort_keys;
    size_t max_depth; /* tables in tables */
    size_t max_size;  /* bytes of text */
};
#define NP_JSON_WRITE_OPTIONS_INIT                              \
    {                                                           \
        false, false, NP_JSON_MAX_DEPTH, NP_JSON_WRITE_MAX_SIZE \
    }

struct np_json_read_options {
    size_t max_depth;
    size_t max_size;
};
#define NP_JSON_READ_OPTIONS_INIT                \
    {                                            \
        NP_JSON_MAX_DEPTH, NP_JSON_READ_MAX_SIZE \
    }

/* The text of the value at `idx`, lent until the next call on this state; nothing is pushed. On
 * failure an error object is pushed: NEAP_EINVAL (with the path of what has no JSON form),
 * NEAP_ELIMIT, NEAP_ENOMEM. `opts` NULL: the defaults. */
NEAP_MUST_CHECK enum neap_err np_json_encode_bytes(lua_State *L, int idx,
                                                   const struct np_json_write_options *opts,
                                                   const char **p, size_t *n);
/* Pushes the text of the value at `idx` as a string; on failure the error object instead. */
NEAP_MUST_CHECK enum neap_err np_json_encode_to(lua_State *L, int idx);

/* Pushes the value of a document; on failure an error object: NEAP_EINVAL with the position,
 * NEAP_ELIMIT, NEAP_ENOMEM. `opts` NULL: the defaults. */
NEAP_MUST_CHECK enum neap_err np_json_decode_to(lua_State *L, const char *text, size_t n,
                                                const struct np_json_read_options *opts);

/* null: what `neap.json.null` is. */
static inline void np_json_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}
/* Pushes the metatable that marks arrays. */
void np_json_push_array_meta(lua_State *L);

/* Shortest text that reads back as the same number; `out` has room for 32 bytes. Returns the
 * length. A float always shows as one ("3.0", "1e+300"); `v` is finite. */
size_t np_json_format_double(char *out, double v);
size_t np_json_format_int(char *out, long long v);

/* Appends the string in quotes. NEAP_EINVAL: `*bad` is the offset of what is no UTF-8; then, as
 * with NEAP_ENOMEM, the buffer may hold part of it. */
struct np_buf;
NEAP_MUST_CHECK enum neap_err np_json_quote(struct np_buf *b, const char *s, size_t n, size_t *bad);
/* The length of the UTF-8 sequence at `p`, a byte from 0x80 up; 0 if it is none. */
size_t np_json_utf8_sequence(const unsigned char *p, size_t left);

/* Where a document is wrong, and why. */
struct np_json_problem {
    size_t offset; /* bytes before it */
    size_t line;   /* from 1 */
    size_t column; /* from 1, in bytes */
    const char *what;
    bool too_deep; /* nothing but max_depth is wrong there */
};
/* False when nothing is wrong by the grammar (then `*out` is untouched). Knows neither Lua nor
 * simdjson; `max_depth` at most NP_JSON_DEPTH_LIMIT. */
bool np_json_locate(const char *text, size_t n, size_t max_depth, struct np_json_problem *out);

#ifdef __cplusplus
}
#endif

#endif
