/* What the files of the shared sockets have in common: groups, slots, and who calls whom.
 *
 *   share.c        the share, its users, their claims
 *   share_socket.c the sockets of a group: opened, joined, inherited, closed
 *   share_hand.c   connections that go to another worker
 *
 * A group is an address. It has one socket for all workers, or (SO_REUSEPORT) one for each: a slot.
 * A claim is a listener's part: it holds a duplicate of its slot's descriptor, for libuv polls a
 * descriptor once only, and duplicates share one queue of connections. One lock for all groups:
 * claims come and go seldom, and a connection takes it only to be handed to another worker.
 */
#ifndef NP_NET_SHARE_IMPL_H
#define NP_NET_SHARE_IMPL_H

#include <sys/un.h>

#include "net/share_claim.h"

#define NP_SHARE_KEY_MAX (NP_ADDR_TEXT_MAX + 32)

/* A worker's part in a group; a new one when the worker is replaced, as the connections of the old
 * one are not the new one's. Lives as long as the group. */
struct np_share_count {
    struct np_link link; /* in the group's `counts` */
    atomic_uint open;    /* connections */
    atomic_uint untaken; /* handed out, on their way */
};

struct np_share_slot {
    int fd;                        /* -1: none; in a group with one socket only slot 0 has it */
    size_t claims;                 /* of the worker as it is now */
    struct np_share_claim *active; /* who takes connections there */
    struct np_loop *loop;          /* of `active` */
    struct np_share_count *count;
};

struct np_share_group {
    struct np_link link;
    struct np_share *share;
    size_t claims;
    bool single; /* one socket for all */
    bool is_unix;
    dev_t path_dev; /* of a unix socket that was made here; ino 0 of one that was not */
    ino_t path_ino;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    char key[NP_SHARE_KEY_MAX];
    struct np_link counts;
    struct np_link on_way; /* of struct hand_out */
    struct np_share_slot slots[];
};

struct np_share {
    uv_mutex_t lock;
    unsigned workers;
    enum np_share_mode mode;
    struct np_link groups;
    struct np_link inherited;
    unsigned eras[]; /* how often each worker was dropped */
};

/* All below: under the lock. */

/* share_socket.c */
/* The worker's descriptor in `out`, opened if need be; a duplicate, the caller's. */
NEAP_MUST_CHECK enum neap_err np_share_open_slot(struct np_share_group *g, unsigned worker,
                                                 const struct np_share_place *p, int *out,
                                                 struct neap_errinfo *info);
/* Its sockets are closed, the path it made is removed. */
void np_share_close_sockets(struct np_share_group *g);
void np_share_free_inherited(struct np_share *s);

/* share_hand.c */
/* What is on its way to a worker that was dropped goes to others. */
void np_share_redirect(struct np_share_group *g, unsigned worker);

#endif
