/* A listener's claim to a shared socket: what listener.c asks of share.c.
 *
 * Embedded in the listener, whose loop's thread it belongs to.
 */
#ifndef NP_NET_SHARE_CLAIM_H
#define NP_NET_SHARE_CLAIM_H

#include <stdatomic.h>

#include "net/addr.h"
#include "net/share.h"

struct np_share_group;

struct np_share_claim {
    struct np_link link;          /* in its user's */
    struct np_share_group *group; /* NULL: no claim */
    struct np_share_user *user;
    unsigned worker;
    unsigned era;
    bool active; /* it takes connections */
    /* Whose work it takes over, in the same worker; only while `update` is called. */
    struct np_share_claim *previous;
    void (*update)(struct np_share_claim *c);       /* `active` has changed */
    void (*take)(struct np_share_claim *c, int fd); /* a connection from another worker */
};

struct np_share_place {
    const char *host; /* of TCP, or … */
    int port;
    const char *path; /* … of a unix socket */
    const struct np_listen_options *opts;
    char address[NP_ADDR_TEXT_MAX]; /* set by np_share_claim */
};

/* A descriptor to accept from, the caller's. NEAP_ENOTSUP: nobody shares that (port 0 after
 * loading; an address that is none); NEAP_EADDRINUSE … with words in `info`. */
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
