/* A listener's claim to a shared socket: what listener.c and udp.c ask of share.c.
 *
 * Embedded in the listener, whose loop's thread it belongs to.
 */
#ifndef NP_NET_SHARE_CLAIM_H
#define NP_NET_SHARE_CLAIM_H

#include <stdatomic.h>

#include "net/addr.h"
#include "net/share.h"
#include "net/udp.h"

struct np_share_group;
struct np_share_count;

struct np_share_claim {
    struct np_link link;          /* in its user's */
    struct np_share_group *group; /* NULL: no claim */
    struct np_share_user *user;
    unsigned worker;
    bool active; /* it takes connections */
    /* It takes no more just now: its listener is paused. Others look at it, under the lock. */
    atomic_bool paused;
    unsigned era;                 /* of its worker */
    struct np_share_count *count; /* of its worker's connections */
    /* Whose work it takes over, in the same worker; only while `update` is called. */
    struct np_share_claim *previous;
    void (*update)(struct np_share_claim *c);       /* `active` has changed */
    void (*take)(struct np_share_claim *c, int fd); /* a connection from another worker */
};

enum np_share_kind { NP_SHARE_TCP, NP_SHARE_UNIX, NP_SHARE_UDP };

struct np_share_place {
    enum np_share_kind kind;
    const char *host; /* of TCP and UDP */
    int port;
    const char *path; /* of a unix socket */
    const struct np_listen_options *opts;
    const struct np_udp_options *udp;
    union np_addr addr;             /* set by np_share_claim: of TCP and UDP … */
    char address[NP_ADDR_TEXT_MAX]; /* … and of all, as text */
};

/* A descriptor to accept from, the caller's. NEAP_ENOTSUP: nobody shares that (port 0 after
 * loading, port 0 of UDP; an address that is none); NEAP_EADDRINUSE, NEAP_ECLOSED (another has
 * taken the worker's place) … with words in `info`. */
NEAP_MUST_CHECK enum neap_err np_share_claim(struct np_share_user *u, struct np_share_place *p,
                                             struct np_share_claim *c, int *fd,
                                             struct neap_errinfo *info);
/* The claim stands elsewhere now. */
void np_share_move(struct np_share_claim *from, struct np_share_claim *to);
/* The descriptor was closed. No claim: does nothing. */
void np_share_release(struct np_share_claim *c);
/* Where the worker's open connections are counted: one up for each that is taken, one down when it
 * is closed; outlives the claim. */
atomic_uint *np_share_open_count(struct np_share_claim *c);
/* Whether a connection that was just accepted went to another worker. */
bool np_share_hand_out(struct np_share_claim *c, int fd);

#endif
