/* What the files of TCP dialling share.
 *
 *   dial_tcp.c    names, and when to begin
 *   dial_race.c   the addresses, tried one beside the other
 *
 * Private to the layer. One thread, the loop's.
 */
#ifndef NP_NET_DIAL_IMPL_H
#define NP_NET_DIAL_IMPL_H

#include "net/dial.h"
#include "net/dns.h"
#include "net/uvstream.h"

enum { NP_DIAL_V6, NP_DIAL_V4, NP_DIAL_FAMILIES };

/* A question for the addresses of one family. */
struct np_dial_lookup {
    struct np_dialling *d;
    struct np_dns_query *query; /* NULL when there is none, or no more */
};

/* What only connecting needs. It goes when the stream is open or closed, but for a resolver that
 * still has to answer, who then frees it. */
struct np_dialling {
    struct np_uvstream *u; /* NULL once the stream has gone and only the resolver is left */
    struct np_dial_lookup lookups[NP_DIAL_FAMILIES];
    union np_addr addrs[NP_DIAL_FAMILIES][NP_DIAL_MAX_ADDRS];
    size_t n[NP_DIAL_FAMILIES];
    size_t tried[NP_DIAL_FAMILIES];
    int turn;                /* the family to be tried next */
    bool begun;              /* … trying */
    bool last_chance;        /* all has failed, and the other family has not been answered for */
    struct np_link attempts; /* under way */
    enum neap_err err;       /* of what failed last */
    bool no_delay;
    int keep_alive;
    int64_t delay;
    int64_t connect_timeout;
    struct np_timer timer; /* until the next attempt, or until the first without the other family */
    struct np_timer resolver; /* the resolver's bound */
};

/* Of the family of an address. */
int np_dial_family(const union np_addr *a);
bool np_dial_pending(const struct np_dialling *d); /* an answer of the resolver is */
/* Addresses of one family, in order of preference; what is too much is dropped. */
void np_dial_add(struct np_dialling *d, const union np_addr *addrs, size_t n);
size_t np_dial_left(const struct np_dialling *d); /* addresses not tried yet */

/* Begins to try what there is, or goes on: there are more addresses, or an answer without any.
 * NEAP_ENOMEM is returned; it is reported from the loop as well, to whoever is there then. */
enum neap_err np_dial_race(struct np_dialling *d);
void np_dial_race_stop(struct np_dialling *d);
void np_dial_race_set_ref(struct np_dialling *d, bool ref);

/* dial_tcp.c: the stream's handle is connected. */
void np_dial_connected(struct np_dialling *d);

#endif
