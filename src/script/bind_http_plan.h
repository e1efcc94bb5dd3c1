/* What is compressed, and how: made from options once, and then only read. */
#ifndef NP_SCRIPT_BIND_HTTP_PLAN_H
#define NP_SCRIPT_BIND_HTTP_PLAN_H

#include <lua.h>

#include "proto/coding.h"

#define NP_HTTP_PLAN "neap.http.compression"

struct np_http_plan {
    size_t min_bytes;
    enum np_coding offered[NP_CODINGS]; /* in order of preference */
    size_t noffered;
    int levels[NP_CODINGS];
    char types[]; /* one after the other, each with its NUL; an empty one ends them */
};

/* Adds the type, and `compression` to the module on top. */
void np_http_add_compression(lua_State *L);

#endif
