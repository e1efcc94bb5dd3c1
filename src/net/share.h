/* Listening sockets that the workers of a host share, and that outlive the script that asked for
 * them.
 *
 * Each worker runs the same script, so each asks for the same port. They share it: by SO_REUSEPORT,
 * a socket each; or, where that cannot be (a unix socket, one that systemd handed us, a kernel that
 * refuses) all accept from one socket. Whoever accepts a connection while its worker has clearly
 * more of them than another (by 4 and an eighth) passes it on, so that a few long connections do
 * not all end up in one place, and a busy worker is not given more. A connection on its way between
 * workers is never lost.
 *
 * A `user` is one script state's part. While a worker reloads it has two: the new state claims the
 * socket its predecessor listens on (in a held user it does not accept yet); activating the new one
 * and retiring the old one in one turn lets no connection fall between them. A socket is closed
 * when no user claims it any more.
 *
 * Datagrams likewise: each worker gets those of some of the peers. A state that is held receives
 * none, one that is retired no more. For port 0 each socket is one's own.
 *
 * A port that is asked for as 0 is chosen once: the n-th such claim of each worker's users while
 * they load means the same port, over reloads too. After loading (np_share_user_loaded) a port 0 is
 * a new one and shared with nobody. One user that claims the same address twice is told EADDRINUSE,
 * and so is a host whose port another process listens on.
 *
 * np_share_* without a user: any thread; a user belongs to its worker's thread.
 */
#ifndef NP_NET_SHARE_H
#define NP_NET_SHARE_H

#include "net/listener.h"

struct np_share;
struct np_share_user;

enum np_share_mode {
    NP_SHARE_AUTO,     /* SO_REUSEPORT where it works, else HAND_OUT */
    NP_SHARE_HAND_OUT, /* one socket; each connection goes to the worker with the fewest */
};

NEAP_MUST_CHECK enum neap_err np_share_new(unsigned workers, enum np_share_mode mode,
                                           struct np_share **out);
/* After all users are gone. NULL is allowed. */
void np_share_free(struct np_share *s);
/* A socket that was handed to the process (systemd's socket activation), listening or, for
 * datagrams, bound: a later claim of its address gets it, and all workers use it. The socket of
 * "[::]:80" is for a claim of "0.0.0.0:80", too. `name` is for people, or NULL. Takes the
 * descriptor on success; NEAP_EINVAL: it is not such a socket. */
NEAP_MUST_CHECK enum neap_err np_share_inherit(struct np_share *s, int fd, const char *name);
/* How many of those nobody has claimed, with their addresses as text: for a warning once all is
 * loaded, since their clients wait in vain. */
size_t np_share_unclaimed(struct np_share *s, char *out, size_t size);

/* `held`: what is claimed does not accept before np_share_user_activate. */
NEAP_MUST_CHECK enum neap_err np_share_user_new(struct np_share *s, struct np_loop *loop,
                                                unsigned worker, bool held,
                                                struct np_share_user **out);
void np_share_user_loaded(struct np_share_user *u);
void np_share_user_activate(struct np_share_user *u);
/* Its listeners accept no more (they are still to be closed by their owners). */
void np_share_user_retire(struct np_share_user *u);
/* Its listeners are closed. NULL is allowed. */
void np_share_user_free(struct np_share_user *u);

/* A worker's thread is stuck or gone, and another is to take its place: its listeners get no more
 * connections, and what was handed to them and not taken goes to others; its sockets, with what
 * waits in their queues, are for the one that claims them under its number. What the old thread
 * claims from here on is NEAP_ECLOSED. */
void np_share_drop_worker(struct np_share *s, unsigned worker);

/* Nothing runs under that number for now: what it does not listen on any more gets no connections.
 */
void np_share_leave(struct np_share *s, unsigned worker);

/* listener.c calls the rest: see share_claim.h. np_listen_options.share names the user. */

#endif
