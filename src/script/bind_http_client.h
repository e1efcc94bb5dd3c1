/* What the files of the HTTP client's binding share. The worker's thread.
 *
 *   bind_http_client.c   neap.core.http.request, start, pool: options, pools
 *   bind_http_call.c     a call: its events, its methods, its response
 */
#ifndef NP_SCRIPT_BIND_HTTP_CLIENT_H
#define NP_SCRIPT_BIND_HTTP_CLIENT_H

#include "base/arena.h"
#include "http/client.h"
#include "script/luax.h"
#include "script/state.h"

/* Lives from the call's start until both its end (on_end) and the end of its userdata. */
struct np_lcall {
    struct np_script *script;
    struct np_http_call *call; /* NULL when it has ended */
    bool held;                 /* by its userdata */
    struct np_wait wait;       /* for the head, a piece of body, or the end */
    struct np_wait write_wait; /* for room to write the request's body */
    struct np_wait interim_wait;
    struct np_arena arena; /* the head's copy, the trailers' */
    struct np_http_head head;
    struct np_http_head interim; /* the last 1xx head that nobody has taken yet, status 0: none */
    const char *coding;
    const char *phase; /* where it stood when it failed */
    const char *bound; /* the timeout that it was, or NULL */
    bool has_head;
    bool ended;
    bool paused;
    bool collect;
    bool wants_interim;
    struct np_buf body;
    size_t max_body; /* of a collected body */
    struct neap_errinfo error;
};

extern const struct np_http_call_handler np_lcall_handler;

/* Pushes its userdata. Raises where memory is short. */
struct np_lcall *np_lcall_new(lua_State *L);
/* Waits for the response, and pushes it or nil and why. The userdata is at index 1. */
int np_lcall_await(lua_State *L, struct np_lcall *lc);
/* For calls that others make: where to, by which way, how long, of the options that request()
 * takes, at index 1 (nil: none), and whose pool. What they point to is held by values left on the
 * stack. */
NEAP_MUST_CHECK enum neap_err np_lcall_way(lua_State *L, struct np_http_request *r,
                                           struct np_http_proxy *proxy,
                                           struct np_http_client **client,
                                           struct neap_errinfo *info);
/* The pool that calls have which name none. */
struct np_http_client *np_lcall_client(lua_State *L);
/* Makes the types in a state; the module's table is on top. */
void np_lcall_open(lua_State *L);

#endif
