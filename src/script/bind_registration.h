/* A registration that a script made ("neap.registration"): it renews its own lease.
 *
 * It lives while it is registered, whether or not a script still holds it, and ends when it is
 * deregistered by anyone, when the host drains (before the servers that were made before it), or
 * when its script state closes. If its lease ran out all the same (the loop stood still for longer)
 * it registers again.
 */
#ifndef NP_SCRIPT_BIND_REGISTRATION_H
#define NP_SCRIPT_BIND_REGISTRATION_H

#include "mesh/registry.h"
#include "script/state.h"

/* Those of one script state; a userdata in the Lua registry. */
struct np_registrations {
    struct np_at_close at_close;
    struct np_script *script;
    struct np_link all;
};

/* Makes the type and the state's list; pushes the list's userdata. */
struct np_registrations *np_registrations_open(lua_State *L);
/* Registers and pushes the object, or nil and an error; the number of results. Misuse raises. */
int np_registration_new(lua_State *L, struct np_registrations *list, struct np_registration *reg);
/* Pushes an array of the objects that stand. */
int np_registrations_push(lua_State *L, struct np_registrations *list);

/* The options of register{} and of :update{} (no name, no id) at `idx`, over what `reg` holds.
 * Leaves on the stack what keeps the arrays alive. */
void np_registration_read(lua_State *L, int idx, bool update, struct np_registration *reg);

#endif
