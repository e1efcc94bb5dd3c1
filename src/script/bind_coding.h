/* What the bindings of content codings share: names and options, read from Lua. All may raise. */
#ifndef NP_SCRIPT_BIND_CODING_H
#define NP_SCRIPT_BIND_CODING_H

#include <lua.h>

#include "proto/coding.h"
#include "script/luax.h"

struct np_decoder_opts {
    size_t max; /* 0: no bound */
    size_t max_ratio;
    int max_window; /* 0: as HTTP has it */
};
extern const struct np_opt np_decoder_spec[]; /* of struct np_decoder_opts */

/* The coding named at `idx`; misuse for any other string, and for "identity". */
enum np_coding np_coding_check(lua_State *L, int idx);
/* Misuse for a level that the coding does not have. `path` is what the script calls it. */
void np_coding_check_level(lua_State *L, const char *path, enum np_coding c, lua_Integer level);
/* An array of codings, each once; returns how many. */
size_t np_coding_check_list(lua_State *L, int idx, const char *path,
                            enum np_coding out[NP_CODINGS]);

#endif
