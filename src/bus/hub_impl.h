/* The hub's own structures, shared by hub.c (who is in it), hub_post.c (parcels), hub_interest.c
 * (who wants what), hub_route.c (where a publication goes) and hub_receive.c (what comes from
 * another worker).
 *
 * A `member` is a bus as the others see it: any thread, counted by reference. A `seat` is what a
 * joined bus knows of the others: its own thread's. What goes from one to another is a parcel;
 * those of one sender come in order.
 *
 * Locks: the hub's, held while the members change and while interest is told, so that who joins
 * misses none of it; then a member's, held while something is posted to its loop, so that nothing
 * is posted to a loop that has ended. No script and no callback runs under either.
 */
#ifndef NP_BUS_HUB_IMPL_H
#define NP_BUS_HUB_IMPL_H

#include <stdatomic.h>

#include "bus/bus_impl.h"
#include "bus/hub.h"

struct member;

struct np_bus_hub {
    atomic_uint refs; /* its owner's and the members' */
    uv_mutex_t lock;
    unsigned workers;
    size_t max_pending;
    uint64_t eras;           /* how often somebody has joined */
    struct member **members; /* by worker; NULL: nobody */
    atomic_uint_fast64_t forwarded;
    atomic_uint_fast64_t dropped;
    char id[NP_BUS_ID_LEN + 1]; /* what all its buses have in common */
};

/* Something under way to `to`, of which it holds a reference. */
struct parcel {
    struct np_post post;
    struct member *to;
    struct parcel *next; /* among those that are prepared together */
    void (*free)(struct parcel *p);
};
/* Prepared, with whatever memory that takes, and then all sent, or none. */
struct parcels {
    struct parcel *first;
    struct parcel **end;
};

/* Tells a member that another came or went. */
struct notice {
    struct parcel parcel;
    struct member *who; /* a reference */
};

struct member {
    atomic_uint refs;
    struct np_bus_hub *hub; /* a reference */
    unsigned worker;
    uint64_t era; /* tells it from others under its number, before and after */
    uv_mutex_t lock;
    struct np_loop *loop; /* under `lock`; NULL: nothing is posted to it any more */
    atomic_bool left;
    atomic_size_t pending;  /* bytes of messages under way to it */
    struct np_bus *bus;     /* its thread's; NULL when the bus has left or is gone */
    struct np_map interest; /* under the hub's lock: what it has told, of struct told */
    struct notice *leaving; /* one for each worker and itself: leaving cannot fail */
};

/* A pattern, and perhaps a queue group, that a bus has told the others it wants. */
struct told {
    size_t count;
    size_t pattern_len;
    size_t queue_len;
    char key[]; /* pattern NUL queue NUL */
};

enum change_kind {
    CHANGE_MORE, /* so many more want it */
    CHANGE_LESS,
    CHANGE_NONE, /* forget all that this worker wanted */
};

struct change {
    struct parcel parcel;
    struct np_link late; /* there was no memory to act on it yet */
    enum change_kind kind;
    unsigned from;
    uint64_t era;
    size_t count;
    size_t pattern_len;
    size_t queue_len;
    char key[];
};

/* A message in a batch. */
struct carried {
    struct np_bus_msg *msg; /* a reference */
    const void *origin;     /* means something to the bus that published it */
    size_t groups_at;       /* names of the groups it is for, in the batch's names */
    unsigned groups;
    uint16_t publisher;
    bool plain; /* for the plain subscriptions */
    uint8_t hops;
};

struct batch {
    struct parcel parcel;
    size_t bytes;
    struct np_buf names; /* each with its NUL */
    size_t len;
    size_t cap;
    struct carried *carried;
};

/* Goes there and comes back. */
struct ping {
    struct parcel parcel;
    struct member *from;    /* a reference */
    struct member *visited; /* a reference, once it is on its way back */
    uint64_t serial;
};

/* Another worker, as this one sees it. */
struct peer {
    struct member *to;   /* a reference; NULL: nobody is there */
    struct np_map wants; /* of struct want, by key */
    struct batch *batch; /* not sent yet */
    uint64_t ponged;     /* the last ping that came back */
    uint64_t lost;       /* messages, since that was logged */
    int64_t logged;
    uint64_t mark; /* the last publication that concerned it, and whether all of it */
    bool plain;
};

/* What another worker wants. */
struct want {
    struct peer *peer;
    struct np_sub *handle;
    size_t count;
};

/* A queue group of other workers that wants the publication at hand. */
struct pick {
    const char *queue;   /* the trie's */
    size_t members;      /* of those workers that have room */
    struct peer *chosen; /* among them; NULL: none has room */
    struct peer *full;   /* one that has none */
    enum { PICK_OPEN, PICK_HERE, PICK_THERE } where;
    bool taken; /* by a local member */
};

struct np_bus_seat {
    struct np_bus *bus;
    struct member *me;
    struct peer *peers;      /* by worker; one's own stands for nobody */
    struct peer **concerned; /* by the publication at hand: room for all */
    unsigned nconcerned;
    struct np_trie *others; /* of struct want */
    struct np_rng rng;
    struct pick *picks; /* of the publication at hand */
    size_t npicks;
    size_t picks_cap;
    size_t size; /* of the publication at hand, on its way */
    uint64_t mark;
    bool stale;          /* what was told is not what is wanted: tell all of it anew */
    struct np_link late; /* of struct change */
    struct np_defer send;
    uint64_t pings;
    struct np_link flushes; /* of struct np_bus_flush */
};

/* hub.c */
/* Where it arrives: the bus' seat, or NULL when that has left. */
struct np_bus_seat *np_hub_seat_of(struct member *m);

/* hub_post.c */
struct member *np_hub_member_ref(struct member *m);
void np_hub_member_unref(struct member *m);
void np_hub_parcel_init(struct parcel *p, struct member *to,
                        void (*fn)(struct np_post *p, struct np_loop *loop),
                        void (*free)(struct parcel *p));
/* Sends it, or frees it when that member takes nothing any more. */
void np_hub_post(struct parcel *p);
void np_hub_parcels_init(struct parcels *list);
void np_hub_parcels_add(struct parcels *list, struct parcel *p);
void np_hub_parcels_post(struct parcels *list);
void np_hub_parcels_free(struct parcels *list);

/* hub_interest.c */
/* With the hub's lock held: adds what tells all others anew what the bus wants; nothing while it
 * has a remote. NEAP_ENOMEM: some may have been added. */
NEAP_MUST_CHECK enum neap_err np_hub_tell_all(struct np_bus_seat *seat, struct parcels *list);
/* With the hub's lock held: what the member has told is known at once to `peer`. */
NEAP_MUST_CHECK enum neap_err np_hub_learn(struct np_bus_seat *seat, struct peer *peer,
                                           struct member *who);
void np_hub_forget_told(struct member *m);
void np_hub_forget_wants(struct np_bus_seat *seat, struct peer *peer);
void np_hub_drop_late(struct np_bus_seat *seat);
/* Does what there was no memory for. */
void np_hub_try_again(struct np_bus_seat *seat);

/* hub_route.c */
/* What was gathered goes now. */
void np_hub_send(struct np_bus_seat *seat);
void np_hub_send_later(struct np_defer *d);
void np_hub_batch_drop(struct peer *peer);
/* Nobody of the group is here any more: another worker's member gets it. False: there is none. */
bool np_hub_pass_on(struct np_bus_seat *seat, const struct carried *c, const char *queue);

/* hub_receive.c */
void np_hub_on_batch(struct np_post *post, struct np_loop *loop);
/* Ends the flushes that wait for nobody any more. */
void np_hub_check_flushes(struct np_bus_seat *seat);

#endif
