/* The running task as an object; part of "neap.core.task". */
#ifndef NP_SCRIPT_BIND_TASK_CURRENT_H
#define NP_SCRIPT_BIND_TASK_CURRENT_H

#include <lua.h>

void np_task_current_open(lua_State *L); /* makes its type */
int np_task_push_current(lua_State *L);
int np_task_account_cpu(lua_State *L);

#endif
