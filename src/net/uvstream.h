/* The stream over a libuv handle: TCP and unix sockets. For tcp, unix, listener and dial code; what
 * is public of it is net/stream.h.
 */
#ifndef NP_NET_UVSTREAM_H
#define NP_NET_UVSTREAM_H

#include "net/stream.h"

struct np_dialling;

/* What connecting and writing what the kernel does not take need. */
struct np_uvio {
    union { /* one at a time */
        uv_connect_t connect;
        uv_write_t write;
        struct np_defer opened; /* an abstract socket has connected; while `opening` */
    } req;
    struct np_uvstream *u;
    struct np_buf sending; /* what the write under way is made of; does not move */
};

struct np_uvstream {
    struct np_stream s;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct np_uvio *io; /* NULL while nothing of that is under way: most streams need it rarely */
    bool opening;
    struct np_dialling *dialling; /* while connecting by TCP */
};

extern const struct np_stream_ops np_tcp_ops;
extern const struct np_stream_ops np_unix_ops;

/* Memory and an initialised handle of the kind that `ops` names. Undone by np_stream_close. */
NEAP_MUST_CHECK enum neap_err np_uvstream_new(struct np_loop *loop, const struct np_stream_ops *ops,
                                              enum np_stream_state state, struct np_uvstream **out);
/* A stream on a connected socket. Takes the descriptor on success only. */
NEAP_MUST_CHECK enum neap_err np_uvstream_from_fd(struct np_loop *loop,
                                                  const struct np_stream_ops *ops, int fd,
                                                  struct np_stream **out);
static inline struct np_uvstream *np_uvstream_of(struct np_stream *s)
{
    return np_container_of(s, struct np_uvstream, s);
}

/* Makes u->io, unless it is there. */
NEAP_MUST_CHECK enum neap_err np_uvstream_need_io(struct np_uvstream *u);

/* dial_tcp.c: stops what is under way for a stream that is being closed; … its handles keep the
 * loop alive, or not. */
void np_dialling_cancel(struct np_uvstream *u);
void np_dialling_set_ref(struct np_uvstream *u, bool ref);

#endif
