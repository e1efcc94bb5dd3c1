/* The parts of neap.core.health. */
#ifndef NP_SCRIPT_BIND_HEALTH_H
#define NP_SCRIPT_BIND_HEALTH_H

#include <lua.h>

/* bind_health_grpc.c: makes its type; grpc(opts) → check | nil, err */
void np_health_open_grpc(lua_State *L);
int np_health_grpc(lua_State *L);

#endif
