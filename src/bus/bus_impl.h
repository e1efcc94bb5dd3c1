/* The bus' own structures, shared by the files of bus/ only. */
#ifndef NP_BUS_BUS_IMPL_H
#define NP_BUS_BUS_IMPL_H

#include "base/buf.h"
#include "base/hash.h"
#include "bus/sub.h"
#include "mesh/subject_trie.h"

struct inboxes;
struct np_bus_seat;

/* What a bridge is to the bus. At most one is attached. */
struct np_bus_remote {
    const struct np_bus_remote_ops *ops;
};
struct np_bus_remote_ops {
    enum neap_err (*publish)(struct np_bus_remote *r, const struct np_bus_out *m);
    /* A subscription came, went, or got a limit. */
    enum neap_err (*added)(struct np_bus_remote *r, struct np_bus_sub *s);
    void (*removed)(struct np_bus_remote *r, struct np_bus_sub *s);
    void (*limited)(struct np_bus_remote *r, struct np_bus_sub *s);
    enum neap_err (*flush)(struct np_bus_remote *r, struct np_bus_flush *f);
};

/* Hears when the path changes (the bus became bridged, or no longer is). */
struct path_watch {
    struct np_link link;
    void (*fn)(struct path_watch *w);
};

struct np_bus {
    struct np_loop *loop;
    struct np_bus_options opts;
    struct np_trie *trie;
    struct np_link subs;        /* all, by `all`, oldest first */
    struct np_link ready;       /* those to be called, by `ready` */
    struct np_link after_batch; /* of struct np_defer */
    struct np_defer deliver;
    bool delivering;
    struct np_bus_remote *remote;
    struct np_bus_seat *seat; /* in a hub; NULL: on its own. See np_bus_seat */
    size_t nsubs;             /* that take messages */
    struct inboxes *inboxes;  /* made by the first request */
    struct np_link path_watches;
    /* Ids of this bus, of its hub and of those it is bridged to, nearest first, by ','. */
    struct np_buf path;
    size_t upstream_at;    /* where the last of those begin in it */
    unsigned path_version; /* how often it has changed */
    char id[NP_BUS_ID_LEN + 1];
    struct np_bus_stats stats;
};

struct np_bus_sub {
    struct np_link all;
    struct np_link ready;
    struct np_bus *bus;    /* NULL when the bus is gone */
    struct np_sub *handle; /* in the trie; NULL when it takes no more */
    const struct np_bus_sub_handler *handler;
    void *arg;
    unsigned refs; /* the owner's and that of the batch that calls it */
    bool held;     /* not in the trie yet */
    bool gone;     /* unsubscribed */
    bool paused;
    bool slow;
    bool slow_owed; /* on_slow is to be called */
    bool end_owed;  /* on_end is to be called once the queue is empty */
    bool told;      /* the other workers know of it */
    const void *deaf_to;
    uint64_t max;
    uint64_t received;
    uint64_t dropped;
    size_t pending_bytes;
    size_t max_bytes;
    size_t max_messages;
    struct np_bus_msg **ring; /* the queue: `len` messages from `head` on */
    size_t ring_cap;          /* a power of two */
    size_t head;
    size_t len;
    struct interest *interest; /* the bridge's */
    struct np_link interest_link;
    size_t pattern_len;
    size_t queue_len;
    char text[]; /* pattern NUL queue NUL */
};

/* Random letters and digits, NP_BUS_ID_LEN of them, and a NUL. */
void np_bus_random_id(char *out);

/* Hands over at once what is pending, rather than from the loop soon. Only from a loop's callback,
 * never from a publisher's or a subscriber's; during a batch it does nothing. */
void np_bus_hand_over(struct np_bus *bus);

/* Puts a message on a subscription's queue; false when it is full (or out of memory). */
bool np_bus_sub_push(struct np_bus_sub *s, struct np_bus_msg *m);
/* Calls it, from the batch. */
void np_bus_sub_run(struct np_bus_sub *s);
void np_bus_sub_unref(struct np_bus_sub *s);
/* Puts it on the ready list. */
void np_bus_sub_wake(struct np_bus_sub *s);

/* A publication that is being matched. The message is made when the first one takes it. */
struct publication {
    const struct np_bus_out *out;
    const void *origin;
    struct np_bus_msg *msg;
    bool no_memory;
    size_t interested;
    struct np_bus_seat *seat; /* NULL when there are no other workers */
};
struct np_bus_msg *np_bus_publication_msg(struct publication *p);

/* The hub, as the bus sees it; see hub_impl.h. */

/* The bus' seat; NULL when it is on its own. One that another thread has taken out leaves here. */
struct np_bus_seat *np_bus_seat(struct np_bus *bus);
/* Before the bus goes. */
void np_hub_abandon(struct np_bus *bus);
/* What all buses of the hub are known by; NULL when it is on its own. */
const char *np_hub_id(struct np_bus *bus);
/* A subscription begins, or ceases, to take messages. NEAP_ENOMEM: nobody was told. */
NEAP_MUST_CHECK enum neap_err np_hub_added(struct np_bus *bus, struct np_bus_sub *s);
void np_hub_removed(struct np_bus *bus, struct np_bus_sub *s);
/* The remote came or went. */
void np_hub_remote_changed(struct np_bus *bus);
/* Around a match of one's own subscriptions: which other workers want it; whether a member of a
 * group here, which is being visited, may have it rather than another worker's, and that it took
 * it; and off it goes. */
NEAP_MUST_CHECK enum neap_err np_hub_gather(struct publication *p);
bool np_hub_keeps(struct publication *p, const struct np_sub *member);
void np_hub_kept(struct publication *p, const struct np_sub *member);
NEAP_MUST_CHECK enum neap_err np_hub_forward(struct publication *p);
/* `*waits`: `f` ends when the others have answered; else there is nobody to wait for. NEAP_ENOMEM.
 */
NEAP_MUST_CHECK enum neap_err np_hub_flush(struct np_bus *bus, struct np_bus_flush *f, bool *waits);

/* The remote: the bridge calls these; attaching reports all subscriptions that stand. */
NEAP_MUST_CHECK enum neap_err np_bus_attach(struct np_bus *bus, struct np_bus_remote *r);
void np_bus_detach(struct np_bus *bus, struct np_bus_remote *r);
/* `upstream` empty: not bridged. */
NEAP_MUST_CHECK enum neap_err np_bus_set_path(struct np_bus *bus, struct np_bytes upstream);
/* The hub was joined or left. */
NEAP_MUST_CHECK enum neap_err np_bus_renew_path(struct np_bus *bus);

void np_bus_inboxes_free(struct inboxes *in);

#endif
