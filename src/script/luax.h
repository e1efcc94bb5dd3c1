/* What every binding needs of Lua: errors as values, option tables, types of userdata, byte views.
 *
 * Functions here may raise unless they say otherwise.
 */
#ifndef NP_SCRIPT_LUAX_H
#define NP_SCRIPT_LUAX_H

#include <lauxlib.h>
#include <lua.h>

#include "base/err.h"

/* An error object: a table with `code` ("ETIMEDOUT") and `message`, metatable "neap.error" whose
 * __tostring gives "ETIMEDOUT: message". Pushes it. */
void np_push_error(lua_State *L, enum neap_err code, const char *fmt, ...) NEAP_PRINTF(3, 4);
/* Pushes nil and the error object; returns 2. `fmt` NULL: the code's plain text. */
int np_fail(lua_State *L, enum neap_err code, const char *fmt, ...) NEAP_PRINTF(3, 4);
int np_fail_info(lua_State *L, const struct neap_errinfo *info);
/* Raises misuse: at the caller's level, as `error(msg, 2)` does. */
int np_misuse(lua_State *L, const char *fmt, ...) NEAP_PRINTF(2, 3);
/* The code of the error object at `idx`; NEAP_ESCRIPT for any other value. Does not raise. */
enum neap_err np_error_code(lua_State *L, int idx);
/* A failure for the log as text, with a traceback of `co`: pushes a string on `L`. */
void np_push_traceback(lua_State *L, lua_State *co, int msg_idx);

/* Option tables. Each key is described once; unknown keys and wrong types are refused with their
 * path
 * ("opts.tls: expected boolean, got string"). A key that is absent leaves the field as it is. */
enum np_opt_type {
    NP_OPT_BOOL,    /* bool */
    NP_OPT_INT,     /* int */
    NP_OPT_SIZE,    /* size_t, bytes */
    NP_OPT_SECONDS, /* int64_t, ns; false or 0 means none (0) */
    NP_OPT_NUMBER,  /* double */
    NP_OPT_STRING,  /* const char *, held by the table; no NUL inside */
    NP_OPT_ANY,     /* not read: the caller fetches it with lua_getfield */
    NP_OPT_FUNCTION,
    NP_OPT_TABLE,
};
struct np_opt {
    const char *name; /* NULL ends the list */
    enum np_opt_type type;
    size_t offset; /* of the field in the caller's struct; unused for ANY, FUNCTION, TABLE */
    double min;    /* for numbers: both 0 means no bound but what the type holds */
    double max;
};
/* `idx` nil or none: all defaults. `path` is how the script's author would call it ("opts"). */
void np_opts_read(lua_State *L, int idx, const char *path, const struct np_opt *spec, void *out);

/* A number of seconds at `idx` as ns; nil or none gives `def`. Negative or NaN is misuse. */
int64_t np_check_seconds(lua_State *L, int idx, int64_t def);

/* Sets field `name` of the table on top to a count: for the tables that stats() gives. */
void np_set_count(lua_State *L, const char *name, uint64_t n);

/* Types of userdata: metatable `name` with `methods` in __index and `meta` beside it (__gc,
 * __close,
 * __tostring …); __name is set. Leaves nothing on the stack. */
/* Calls `fn` with `arg` as its only argument, a light userdata, and pushes `nresults` of it; it may
 * raise. No finaliser runs meanwhile: those are the scripts', and may change or close what `fn`
 * goes through. */
void np_call_whole(lua_State *L, lua_CFunction fn, void *arg, int nresults);
void np_type_new(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

#endif
