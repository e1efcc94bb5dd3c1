/* The fields of endpoints, as views and columns show them. */
#ifndef NP_SCRIPT_BIND_ENDPOINT_FIELD_H
#define NP_SCRIPT_BIND_ENDPOINT_FIELD_H

#include <lua.h>

#include "mesh/endpoint.h"

/* Those before NP_FIELD_WEIGHT are words, the ones from there on numbers or booleans; those up to
 * NP_FIELD_PRIORITY are of the description, which never changes. */
enum np_field {
    NP_FIELD_NONE,
    NP_FIELD_TAGS, /* tables: of views only */
    NP_FIELD_META,
    NP_FIELD_ID,
    NP_FIELD_NAME,
    NP_FIELD_SERVICE,
    NP_FIELD_ADDRESS,
    NP_FIELD_HOST,
    NP_FIELD_PATH,
    NP_FIELD_ZONE,
    NP_FIELD_WEIGHT,
    NP_FIELD_PORT,
    NP_FIELD_PRIORITY,
    NP_FIELD_ACTIVE,
    NP_FIELD_TOTAL,
    NP_FIELD_ERRORS,
    NP_FIELD_EWMA,
    NP_FIELD_COST,
    NP_FIELD_P95,
    NP_FIELD_SUCCESS_RATE,
    NP_FIELD_BYTES_IN,
    NP_FIELD_BYTES_OUT,
    NP_FIELD_EJECTIONS,
    NP_FIELD_SINCE,
    NP_FIELD_AVAILABLE,
    NP_FIELD_EJECTED,
    NP_FIELD_HEALTHY,
    NP_FIELD_DRAINING,
    NP_FIELDS
};

struct np_field_map;
extern const char np_field_map_key; /* where the map stands in the Lua registry */

/* Pushes the map from names to fields, a userdata that keeps the names. */
struct np_field_map *np_field_map_push(lua_State *L);
/* By the name's own address: `name` is a string of this state's, not a copy. Does not raise. */
enum np_field np_field_find(const struct np_field_map *m, const char *name);
static inline bool np_field_is_number(enum np_field f)
{
    return f >= NP_FIELD_WEIGHT && f < NP_FIELD_AVAILABLE;
}
static inline bool np_field_is_fixed(enum np_field f)
{
    return f <= NP_FIELD_PRIORITY;
}
/* A number's value; seconds where it is a time. */
double np_field_number(const struct np_endpoint *e, enum np_field f, int64_t now);
/* Pushes the value. Not tags or metadata. */
void np_field_push(lua_State *L, const struct np_endpoint *e, enum np_field f, int64_t now);

#endif
