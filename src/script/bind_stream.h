/* The stream that scripts hold: one object for every transport, client and server.
 *
 * It reads ahead into a bounded buffer and stops the transport when that is full (back-pressure);
 * one task reads at a time, and any number may write. The C object outlives its userdata until its
 * transport is gone. Functions that take a lua_State may raise. The worker's thread.
 */
#ifndef NP_SCRIPT_BIND_STREAM_H
#define NP_SCRIPT_BIND_STREAM_H

#include "net/stream.h"
#include "script/luax.h"
#include "script/state.h"

struct np_lstream {
    struct np_script *script;
    struct np_stream *s;        /* NULL when its transport is gone */
    struct np_lstream **handle; /* the userdata; NULL before it has one and when collected */
    struct np_link link;        /* among the state's, to be closed with it */
    struct np_buf in;           /* read ahead */
    size_t read_ahead;          /* bytes; reading stops above */
    size_t want;                /* bytes the reader waits for; may be more than read_ahead */
    int64_t read_timeout;       /* ns of one call that reads, 0 none */
    int64_t read_until;         /* the moment when the call under way gives up */
    enum neap_err err;          /* why it is broken */
    char *why;                  /* … in words, where there are more than the code's */
    bool ended;                 /* the peer sends no more */
    bool closed;                /* by the script: methods raise */
    bool detached;              /* outlives the handler it was given to */
    bool held;                  /* by a handler's connection: not to be freed */
    bool stopping;              /* the host stops: a read between two messages fails */
    void (*gone)(void *arg);    /* called when its transport has gone; or NULL */
    void *gone_arg;
    bool reading; /* a task is at it */
    struct np_wait reader;
    struct np_link writers; /* waits for the queue to drain */
    struct np_wait opener;  /* waits for the connection */
};

struct np_lstream_options {
    size_t read_ahead; /* default 64 KiB */
    size_t max_queue;  /* bytes queued for writing; default 64 MiB */
};
#define NP_LSTREAM_OPTIONS_INIT            \
    {                                      \
        (size_t)64 << 10, (size_t)64 << 20 \
    }
/* Rows for the np_opt list of a struct `type` with a np_lstream_options `field`. */
#define NP_LSTREAM_OPTS(type, field)                                               \
    {"read_ahead", NP_OPT_SIZE, offsetof(type, field.read_ahead), 1, 1 << 30},     \
    {                                                                              \
        "max_queue", NP_OPT_SIZE, offsetof(type, field.max_queue), 1, 4294967296.0 \
    }

/* Makes the types and the list of open streams in a state; at any module's opening. */
void np_lstream_open(lua_State *L);

/* An object without transport and userdata. NULL when out of memory. Runs no Lua. */
struct np_lstream *np_lstream_new(struct np_script *script, const struct np_lstream_options *opts);
/* What the dialling function is given as handler, with the object as its argument. */
extern const struct np_stream_handler np_lstream_handler;
/* Takes a transport over. One that is open already begins to read. */
void np_lstream_attach(struct np_lstream *ls, struct np_stream *s);
/* Frees an object that has got no transport and no userdata. */
void np_lstream_drop(struct np_lstream *ls);
/* Pushes a userdata that holds no object yet; `hold` gives it one. An object has one at most. */
struct np_lstream **np_lstream_push(lua_State *L);
void np_lstream_hold(struct np_lstream **handle, struct np_lstream *ls);
/* Closes it: what is queued leaves first, within `linger` ns; 0: at once. May be called twice. */
void np_lstream_close(struct np_lstream *ls, int64_t linger);
#define NP_LSTREAM_LINGER (5 * NP_NS_PER_SEC)

/* The object at `idx`; raises for another value, and for one that is closed. */
struct np_lstream *np_lstream_check(lua_State *L, int idx);

/* For functions that read. `begin` raises when another task is reading and notes when the call
 * gives up: `timeout` ns from now, NP_LSTREAM_DEFAULT for the stream's own, 0 never. Then `wait`
 * waits for at least `n` bytes to stand in `in`, the end, or a failure, and calls `k` (with the
 * stream as ctx); it may be called again from there. */
#define NP_LSTREAM_DEFAULT INT64_C(-1)
void np_lstream_read_begin(lua_State *L, struct np_lstream *ls, int64_t timeout);
int np_lstream_read_wait(lua_State *L, struct np_lstream *ls, size_t n, np_wait_fn k);
/* At the head of `k`: the wait is over. */
static inline void np_lstream_read_over(struct np_lstream *ls)
{
    ls->reading = false;
    ls->want = 0;
}
/* Why no more bytes will come: NEAP_EOF, ECLOSED, the failure; NEAP_OK if they may. */
enum neap_err np_lstream_no_more(const struct np_lstream *ls);
/* nil, err for a stream that is broken for that reason. Use as `return`. */
int np_lstream_fail(lua_State *L, const struct np_lstream *ls, enum neap_err err);
/* Drops what was read, and lets the transport read on. */
void np_lstream_consume(struct np_lstream *ls, size_t n);

/* Writes, and waits while the queue is above its high water: true | nil, err. Use as `return`. The
 * slices are copied or sent before it waits. */
int np_lstream_write(lua_State *L, struct np_lstream *ls, const struct np_slice *v, size_t nv,
                     int64_t timeout);

/* {timeout=seconds} at `idx`; `def` when absent. */
int64_t np_lstream_timeout(lua_State *L, int idx, int64_t def);

/* bind_stream_read.c, bind_stream_write.c: their methods, ended by a NULL name. */
extern const luaL_Reg np_lstream_read_methods[];
extern const luaL_Reg np_lstream_write_methods[];

#endif
