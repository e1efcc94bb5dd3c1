/* What the files of neap.core.balancer share. */
#ifndef NP_SCRIPT_BIND_BALANCER_H
#define NP_SCRIPT_BIND_BALANCER_H

#include <lua.h>

#include "mesh/selector.h"
#include "mesh/upstream.h"
#include "script/bind_endpoint.h"

#define NP_BALANCER_TYPE "neap.balancer"
#define NP_MAX_EXCLUDED 32 /* of a pick; more are not looked at */

/* User values of a balancer. */
enum {
    NP_UV_LIST = 1, /* what endpoints() gave, kept until it changes */
    NP_UV_NAME,     /* of the service, or "endpoints" */
    NP_UV_STICKY,   /* opts.sticky, as it was given */
    /* of one with a policy written in Lua: */
    NP_UV_POLICY, /* its name */
    NP_UV_PICK,
    NP_UV_FIRST,   /* in the stead of pick, with a new array: calls update before */
    NP_UV_RELEASE, /* or nil */
    NP_UV_STATE,
    NP_UV_ARRAY,  /* of the set that was chosen from last … */
    NP_UV_INNER,  /* … and the function that asks the inner policy for it */
    NP_UV_ARRAYS, /* by the set's id … */
    NP_UV_INNERS, /* … and those */
    NP_UVS = NP_UV_INNERS
};

struct np_lua_balancer {
    const void *type;             /* says that it is one, as in np_endpoint_view */
    struct np_selector *selector; /* NULL: closed */
    struct np_upstream *upstream; /* NULL: over a list */
    struct np_snapshot *listed;   /* what NP_UV_LIST was made from */
    struct np_endpoint *pending;  /* picked, its view not pushed yet; given back if that raised */
    bool pending_trial;
    bool scripted;
    bool has_release;
    bool has_subset, has_sticky; /* the options name keys, or a cookie or header */
    uint64_t array_id;           /* which set NP_UV_ARRAY is of; 0: none */
    const struct np_snapshot *array_set;
    size_t arrays; /* in NP_UV_ARRAYS */
    uint64_t picks, faults, refusals;
    int64_t logged_at; /* when a fault was last logged; 0: none was */
};

struct np_balancer_settings {
    const char *service;
    struct np_balancer_options balancer;
    struct np_selector_options selector;
    const char *keys[NP_SUBSET_KEYS];
};

int64_t np_balancer_now(lua_State *L);
/* The balancer at 1, which is open; or whatever it is. */
struct np_lua_balancer *np_balancer_check(lua_State *L);
struct np_lua_balancer *np_balancer_check_any(lua_State *L);
/* Takes the newest snapshot of the service. */
void np_balancer_refresh(struct np_lua_balancer *b, int64_t now);

/* bind_balancer_options.c: the table at `idx`; raises for what is wrong. The strings are held by
 * the table. `out->selector` points into `out`. */
void np_balancer_read_options(lua_State *L, int idx, struct np_balancer_settings *out);

/* bind_balancer_pick.c */

/* What stands in the table at `idx` (nil: nothing); the endpoints are held by it. */
struct np_lua_wishes {
    struct np_pick_ctx ctx;
    struct np_endpoint *excluded[NP_MAX_EXCLUDED];
    struct np_pair subset[NP_SUBSET_KEYS];
};
void np_balancer_read_wishes(lua_State *L, int idx, struct np_lua_wishes *w);
/* The same, as far as the balancer's options make a difference. */
void np_balancer_read_some(lua_State *L, const struct np_lua_balancer *b, int idx,
                           struct np_lua_wishes *w);
void np_balancer_drop_pending(struct np_lua_balancer *b);
int np_balancer_pick_method(lua_State *L);
int np_balancer_choose_method(lua_State *L);
/* The view of what was picked; given back if there is no memory for it. */
int np_balancer_push_picked(lua_State *L, struct np_lua_balancer *b, struct np_endpoint *e,
                            bool trial);
int np_balancer_none(lua_State *L);

/* bind_balancer_release.c */
int np_balancer_release_method(lua_State *L);
int np_balancer_ended_method(lua_State *L);

/* bind_policy.c: policies written in Lua. */

/* The policy's hooks, from the table at `idx` (see lua/neap/balancer.lua), become user values of
 * the balancer at `b_idx`. */
void np_policy_keep(lua_State *L, int b_idx, int idx);
/* Asks it for a pick of the balancer at 1 with the wishes at 2, and nothing more on the stack. Use
 * as `return`. `choose`: nothing is begun. */
int np_policy_pick(lua_State *L, struct np_lua_balancer *b, const struct np_pick_ctx *ctx,
                   bool choose, int64_t now);
/* A request ended: calls the hook with endpoint, ok, latency, state, result. Stack: b, endpoint,
 * ok, latency, result. Use as `return`. */
int np_policy_release(lua_State *L, struct np_lua_balancer *b);
/* Forgets the arrays of sets. */
void np_policy_forget(lua_State *L, struct np_lua_balancer *b, int b_idx);

#endif
