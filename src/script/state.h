/* A script state: one lua_State with its scheduler, on one loop. What every binding starts from.
 *
 * How a binding is written (STYLE, "C and Lua"):
 * - The C object and the userdata are two things: the userdata holds a pointer, the object outlives
 *   it until its asynchronous close is done. __gc and __close detach and close; they never wait.
 * - In order: check every argument, create the userdata closed, acquire, mark open, arm.
 * - Nothing allocated and no reference is held across a call that may raise.
 * - A C module's opener is `int np_open_<name>(lua_State *L)`, listed in modules.c, required as
 *   "neap.core.<name>"; "neap.<name>" is lua/neap/<name>.lua where there is one and the C module
 *   itself where there is none.
 */
#ifndef NP_SCRIPT_STATE_H
#define NP_SCRIPT_STATE_H

#include <lauxlib.h>
#include <lua.h>

#include "base/hash.h"
#include "base/slab.h"
#include "net/loop.h"
#include "script/shutdown.h"
#include "script/task.h"

struct np_commons;
struct np_registry;
struct np_registry_view;
struct np_share_user;
struct np_watch_slot;
struct np_bus;
struct np_http_client;

/* Something a script opened while its state was held: it acts when the state is activated. */
struct np_activation {
    struct np_link link;
    void (*fn)(struct np_activation *a);
};

struct np_script {
    lua_State *L; /* the main state: for set-up only, nothing runs in it */
    struct np_loop *loop;
    struct np_log *log;
    struct np_sched sched;
    struct np_shutdown shutdown;  /* what drains when the host is told to stop */
    struct np_registry *registry; /* the host's; NULL where a test made none */
    struct np_bus *bus;           /* the host's */
    struct np_http_client *http;  /* made at first use, by bind_http_client.c */
    struct np_rng rng;
    /* The simulator's clock, while it asks a script; 0: the loop's. */
    int64_t pretended_now;
    struct np_slabs slabs; /* what it is made of */
    size_t memory;         /* bytes the Lua state holds */
    size_t memory_limit;   /* bytes, 0 none */
    bool starved;          /* the limit refused something; see np_script_relieve */
    bool moved;            /* the allocator's last call may have moved memory; see stop.c */
    size_t moves;          /* how often it may have */
    unsigned shortages;    /* in a row, in which a full collection gave too little back */
    bool exhausted;        /* it is past helping: nearly all the memory it may have is in use */
    /* Called once, when it is `exhausted`, from between two of its turns: the state must live on
     * until that returns. NULL: nobody minds. */
    void (*on_exhausted)(struct np_script *s);
    char warning[200];       /* of Lua's, the pieces that have come … */
    size_t warned;           /* … so many bytes */
    size_t refs;             /* live np_ref's: a test wants 0 at the end */
    struct np_link at_close; /* np_at_close's */
    bool closing;
    bool ending; /* lua_close runs: what a finaliser opened now nobody would close */
    bool owns_view;
    bool held;                  /* it loads beside an older state, which still does the work */
    struct np_link activations; /* of struct np_activation, in the order they were added */
    unsigned generation;        /* of the host's code: how often it had been reloaded */
    /* A value another worker sent (neap.worker); lent. NULL: nobody listens. */
    void (*on_mail)(struct np_script *s, unsigned from, const neap_value *v);
    unsigned worker; /* whose state it is: 0 … workers - 1 */
    struct np_share_user
        *share; /* its part of the host's listening sockets; NULL: none are shared */
    struct np_registry_view *view;  /* the worker's, of `registry` */
    struct np_watch_slot *watchdog; /* the worker's; NULL: nobody watches */
    struct np_commons *commons;     /* see rules.h; NULL: not asked for yet */
    bool sandbox;                   /* see sandbox.h */
    unsigned open_handles;          /* of the scheduler; the memory goes with the last */
    void *host;                     /* its struct np_runtime */
    void *owner;                    /* the host's own back pointer */
};

struct np_script_options {
    struct np_loop *loop;
    struct np_log *log;
    struct np_registry *registry;
    struct np_bus *bus;
    size_t memory_limit; /* bytes, default 512 MiB */
    const char *lua_path; /* directory whose neap/… files stand before the built-in ones; or NULL */
    void *host;           /* struct np_runtime */
    void *owner;          /* whatever the host wants to find from a script */
    unsigned worker;
    unsigned generation;
    bool held; /* what it opens acts only after np_script_activate */
    bool sandbox;
    struct np_share_user *share;   /* not owned, outlives the state; or NULL */
    struct np_registry_view *view; /* the same; NULL: the state makes one of its own */
    struct np_watch_slot *watchdog;
};

NEAP_MUST_CHECK enum neap_err np_script_new(const struct np_script_options *opts,
                                            struct np_script **out, struct neap_errinfo *info);
/* Cancels every task (they get no further turn to wait) and closes the state; objects that close
 * asynchronously do so as the loop runs on, and may not look at the state from then on: its memory
 * goes in the loop's next turn. */
void np_script_free(struct np_script *s);

/* The script a state or coroutine belongs to. */
static inline struct np_script *np_script_of(lua_State *L)
{
    return *(struct np_script **)lua_getextraspace(L);
}
/* np_loop_now for what scripts are told; ns. */
static inline int64_t np_script_now(const struct np_script *s)
{
    return s->pretended_now ? s->pretended_now : np_loop_now(s->loop);
}

/* Collects garbage when the limit was met. Lua does so by itself for its own objects, but not for
 * the buffers of its library, which fail while all is full of what nobody needs any more. Called
 * between two turns of the scheduler. */
void np_script_relieve(struct np_script *s);

/* References into the Lua registry, counted. */
int np_ref(lua_State *L); /* pops the value */
void np_unref(struct np_script *s, int ref);

/* Called, last registered first, when the state closes and before lua_close, while the loop still
 * runs. */
struct np_at_close {
    struct np_link link;
    void (*fn)(struct np_at_close *c);
};
/* From a finaliser of a state that closes: it is not called any more. */
void np_at_close_add(struct np_script *s, struct np_at_close *c);
void np_at_close_remove(struct np_at_close *c);

/* The state is not held (any more): calls `a->fn` at once. Held: keeps it for np_script_activate.
 * What a script opens while its state is held must not take work from the state that still does it:
 * a listener does not accept, a subscription gets no message, a registration is not seen. */
void np_activate(struct np_script *s, struct np_activation *a);
/* It ended before: it is not called. */
void np_activation_cancel(struct np_activation *a);
/* The state takes over: calls what was kept, first kept first. */
void np_script_activate(struct np_script *s);

/* modules.c: puts every C module and the standard library into package.preload / searchers. */
void np_modules_install(lua_State *L, const char *lua_path);
/* The files that `require` has loaded modules from, and neap.sandbox guests. `fn` touches no Lua.
 */
void np_modules_files(lua_State *L, void (*fn)(void *arg, const char *path), void *arg);
void np_modules_note_file(lua_State *L, const char *path);

#endif
