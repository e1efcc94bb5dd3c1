/* Natives: C functions of the embedding program that scripts call as neap.host.<name>(…).
 *
 * A call is counted by two references: Lua's (while its task may still take the result) and C's
 * (until it is finished). So C may finish a call whose task is long gone. The worker's thread.
 */
#ifndef NP_SCRIPT_NATIVE_H
#define NP_SCRIPT_NATIVE_H

#include "base/arena.h"
#include "script/runtime.h"
#include "script/state.h"

struct np_native {
    struct np_link link; /* in np_runtime.natives */
    neap_function fn;
    void *user;
    char name[];
};

/* Adds or replaces. NEAP_EINVAL for a name that is no Lua identifier, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_native_add(struct np_runtime *rt, const char *name,
                                            neap_function fn, void *user);
/* After the script states are gone. */
void np_natives_free(struct np_runtime *rt);

enum np_call_state {
    NP_CALL_IN_C,     /* the function runs */
    NP_CALL_WAITING,  /* it returned without finishing; the task waits */
    NP_CALL_FINISHED, /* the result is set */
    NP_CALL_UNWANTED  /* nobody waits any more, and C has not finished */
};

struct neap_call {
    struct np_runtime *runtime; /* NULL when the state is gone */
    enum np_call_state state;
    bool finished; /* C's reference is dropped */
    bool held;     /* Lua's reference is there */
    struct np_wait wait;
    struct np_arena arena;
    neap_value *args;
    size_t nargs;
    neap_value *results;
    size_t nresults;
    size_t results_cap;
    enum neap_err err; /* the call fails with this code */
    bool raise;        /* … by raising */
    const char *message;
    void (*on_cancel)(neap_call *call, void *user);
    void *on_cancel_user;
};

/* The function `native` as a Lua function; pushes it. May raise. */
void np_native_push(lua_State *L, struct np_native *native);

#endif
