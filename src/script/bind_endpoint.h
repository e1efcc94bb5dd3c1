/* Endpoints as scripts see them ("neap.endpoint"): views whose fields are read from C when asked
 * for.
 *
 * A view references its endpoint. While a view lives, the same endpoint gives the same view, so
 * that a pick on the hot path makes no garbage, and views compare by identity; `==` also holds
 * between two descriptions of one instance. All functions here may raise.
 */
#ifndef NP_SCRIPT_BIND_ENDPOINT_H
#define NP_SCRIPT_BIND_ENDPOINT_H

#include <lua.h>

#include "mesh/snapshot.h"

struct np_endpoint_view {
    const void *type; /* says that it is one: cheaper to look at than a metatable */
    struct np_endpoint *e;
    unsigned picks;  /* begun by a pick and not released; each holds a reference of its own */
    unsigned trials; /* those of them that are trials, see np_selector_pick: one at most */
};

/* Makes the type; once is enough. */
void np_endpoint_open(lua_State *L);
/* Pushes the endpoint's view, which takes a reference of its own. */
struct np_endpoint_view *np_endpoint_push(lua_State *L, struct np_endpoint *e);
/* Makes an endpoint and pushes its view; NULL (and nothing pushed) with words in `info`. With the
 * statistics that are given; else with those that the host has for its address, if it has any. */
struct np_endpoint_view *np_endpoint_push_new(lua_State *L, const struct np_endpoint_desc *d,
                                              struct np_stats *stats, struct neap_errinfo *info);
struct np_endpoint_view *np_endpoint_check(lua_State *L, int idx);
/* NULL for a value of another type. */
struct np_endpoint_view *np_endpoint_test(lua_State *L, int idx);
/* bind_endpoint_array.c: pushes an array of views, which has columns of their fields as well. */
void np_endpoint_push_all(lua_State *L, const struct np_snapshot *set);
/* The same, and takes over a reference to `set`, also when it raises. */
void np_endpoint_push_held(lua_State *L, struct np_snapshot *set);
/* The snapshot that such an array was made from, lent by it; NULL for another value. */
const struct np_snapshot *np_endpoint_array(lua_State *L, int idx);
/* Makes the type of the arrays' sets; np_endpoint_open calls it. */
void np_endpoint_array_open(lua_State *L);

/* The arrays of a description, from the Lua tables at `idx` (nil or none: empty). What they point
 * to is held by the tables; the arrays are a userdata that is pushed. `path` is for messages. */
void np_endpoint_read_tags(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d);
void np_endpoint_read_meta(lua_State *L, int idx, const char *path, struct np_endpoint_desc *d);

#endif
