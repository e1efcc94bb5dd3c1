/* Natives: C functions of the embedding program that scripts call as neap.host.<name>(…).
 *
 * A call is counted by two references: Lua's (while its task may still take the result) and C's
 * (until it is finished). So C may finish a call whose task is long gone.
 *
 * Natives run on worker 0's thread, whoever calls. From another worker the call is sent there, and
 * its end back (native_remote.c); between the two it is C's alone, but for `refs`.
 */
#ifndef NP_SCRIPT_NATIVE_H
#define NP_SCRIPT_NATIVE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "script/runtime.h"
#include "script/state.h"

struct np_native {
    struct np_native *next; /* in np_runtime.natives, as `name` the same for ever: any thread */
    neap_function fn;       /* this and what follows: worker 0's */
    void *user;
    char name[];
};

/* Adds or replaces. NEAP_EINVAL for a name that is no Lua identifier, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_native_add(struct np_runtime *rt, const char *name,
                                            neap_function fn, void *user);
/* The script states are gone and the host closes: what calls C still has are without a host, and
 * those that come now are not made. */
void np_natives_close(struct np_runtime *rt);
/* After the loops are gone, too. */
void np_natives_free(struct np_runtime *rt);

enum np_call_state {
    NP_CALL_IN_C,     /* the function runs */
    NP_CALL_WAITING,  /* it returned without finishing; the task waits */
    NP_CALL_FINISHED, /* the result is set */
    NP_CALL_UNWANTED  /* nobody waits any more, and C has not finished */
};

struct np_native_link;

struct neap_call {
    struct np_runtime *runtime;  /* NULL when the host is closed */
    struct np_link of_host;      /* in np_runtime.calls */
    struct np_native_link *link; /* of another worker's call; NULL: worker 0's own */
    struct np_loop *first;       /* … worker 0's loop */
    bool unwanted;               /* … and a cancellation was sent; the caller's */
    struct np_native *native;    /* … and what it calls */
    struct np_post post;         /* … there, and back */
    struct np_post cancel;       /* … there: nobody wants it any more */
    atomic_uint refs;            /* … Lua's, C's, that of a cancellation on its way */
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

/* Frees the call and what it has. */
void np_native_call_free(neap_call *call);

/* native_remote.c. The calls of a state that is not worker 0's: */
struct np_native_link *np_native_link_new(struct np_loop *loop);
/* The state is closed: nothing comes back to it any more. */
void np_native_link_close(struct np_native_link *link);
/* Sends it to worker 0. */
void np_native_send(neap_call *call, struct np_native_link *link, struct np_native *native);
/* On worker 0's thread: C has finished it. */
void np_native_send_back(neap_call *call);
/* On the caller's thread: Lua does not want it any more. */
void np_native_send_cancel(neap_call *call);
void np_native_call_unref(neap_call *call);
/* native.c, on worker 0's thread: C gets the call, in `state`. */
void np_native_give(neap_call *call, enum np_call_state state);
void np_native_set_state(neap_call *call, enum np_call_state state);

/* The function `native` as a Lua function; pushes it. May raise. */
void np_native_push(lua_State *L, struct np_native *native);

#endif
