/* What a bridge subscribes remotely for the local subscriptions: one interest for each pattern and
 * queue, however many want it, and one of its own for a subscription with a maximum, because only
 * the remote can stop at it exactly. Private to the bridge. One thread.
 */
#ifndef NP_BUS_INTEREST_H
#define NP_BUS_INTEREST_H

#include "bus/bus_impl.h"

struct interest {
    struct np_link link;
    uint64_t sid;
    struct np_link subs; /* struct np_bus_sub by interest_link, who is next in a group first */
    size_t count;
    uint64_t got;  /* messages on this connection */
    bool shared;   /* stands in by_key */
    bool visiting; /* being delivered to: is freed afterwards */
    size_t pattern_len;
    size_t queue_len;
    char key[]; /* pattern NUL queue NUL */
};

struct interests {
    struct np_link all;
    struct np_map by_key;
    struct np_map by_sid; /* by its decimal digits */
    uint64_t next_sid;
};

void np_interests_init(struct interests *t);
/* Lets go of the subscriptions too. */
void np_interests_fini(struct interests *t);

/* `*fresh` is the interest when it must now be subscribed remotely, else NULL. NEAP_ENOMEM: nothing
 * has changed. */
NEAP_MUST_CHECK enum neap_err np_interests_add(struct interests *t, struct np_bus_sub *s,
                                               struct interest **fresh);
/* Takes the subscription out; true, and the sid, when nobody is left: the remote may forget it. */
bool np_interests_remove(struct interests *t, struct np_bus_sub *s, uint64_t *sid);
/* The subscription got a maximum; its interest when that can be limited remotely, else NULL. */
struct interest *np_interests_limit(struct interests *t, struct np_bus_sub *s);
/* The maximum the remote is to be told, counted from its SUB; 0: none. */
uint64_t np_interest_max(const struct interest *in);

struct np_bytes np_interest_pattern(const struct interest *in);
struct np_bytes np_interest_queue(const struct interest *in);

/* Puts the message on the queues of those who wanted this sid; false when nobody does. */
bool np_interests_deliver(struct interests *t, struct np_bytes sid, struct np_bus_msg *m);

#endif
