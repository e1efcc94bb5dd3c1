/* Listeners: they hand accepted streams to their owner. TCP and unix sockets.
 *
 * Running out of descriptors pauses accepting for a moment and is logged; it never ends a listener.
 * Closing is asynchronous: on_close is last, then the memory is freed.
 */
#ifndef NP_NET_LISTENER_H
#define NP_NET_LISTENER_H

#include "net/stream.h"

struct np_listener;
struct np_share_user;
struct np_listener_handler {
    /* `s` is open and the callee's from here on; its handler must be set before returning. */
    void (*on_accept)(struct np_listener *l, struct np_stream *s);
    void (*on_close)(struct np_listener *l); /* may be NULL */
};

struct np_listen_options {
    int backlog;     /* default 511 */
    bool reuse_port; /* SO_REUSEPORT; default false, so that a port in use is an error */
    bool join_later; /* others of this process may share the port from now on; share.c's */
    bool v6_only;
    int unix_mode; /* permissions of a unix socket, 0 leaves the umask's */
    struct np_share_user
        *share; /* see share.h; NULL (default): the socket is this listener's alone */
    /* What a connection is told that cannot be served because descriptors have run out; static.
     * NULL: it is closed without a word. */
    const char *busy;
    size_t busy_len;
};
#define NP_LISTEN_OPTIONS_INIT \
    {                          \
        .backlog = 511         \
    }

/* `host` is a literal address ("0.0.0.0", "::", "127.0.0.1") or "localhost"; port 0 picks a free
 * one. NEAP_EADDRINUSE, NEAP_EACCES … with words in `info`. */
NEAP_MUST_CHECK enum neap_err np_tcp_listen(struct np_loop *loop, const char *host, int port,
                                            const struct np_listen_options *opts,
                                            const struct np_listener_handler *h, void *arg,
                                            struct np_listener **out, struct neap_errinfo *info);
/* A stale socket file that nobody listens on is replaced; the file is removed at close. */
NEAP_MUST_CHECK enum neap_err np_unix_listen(struct np_loop *loop, const char *path,
                                             const struct np_listen_options *opts,
                                             const struct np_listener_handler *h, void *arg,
                                             struct np_listener **out, struct neap_errinfo *info);
void *np_listener_arg(const struct np_listener *l);
/* As text: "127.0.0.1:8080" or "unix:/path". */
void np_listener_address(const struct np_listener *l, char *out, size_t size);
int np_listener_port(const struct np_listener *l);
/* Inside an `on_active`: the listener of the same loop whose work `l` takes over, or NULL. */
struct np_listener *np_listener_predecessor(const struct np_listener *l);
const struct np_listener_handler *np_listener_get_handler(const struct np_listener *l);
/* Calls `fn` (`arg` is the listener's) when it begins and when it ceases to take connections. */
void np_listener_on_active(struct np_listener *l, void (*fn)(struct np_listener *l, bool active));
/* Accepts what has connected by now: before closing, which would reset those. */
void np_listener_accept_pending(struct np_listener *l);
void np_listener_pause(struct np_listener *l, bool paused);
void np_listener_set_ref(struct np_listener *l, bool ref);
void np_listener_close(struct np_listener *l); /* may be called twice */

#endif
