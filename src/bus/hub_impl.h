/* The hub's own structures, shared by hub.c and hub_proxy.c only. */
#ifndef NP_BUS_HUB_IMPL_H
#define NP_BUS_HUB_IMPL_H

#include "bus/bus_impl.h"
#include "bus/hub.h"

enum {
    HUB_BATCH = 1024, /* items at which a batch leaves before the end of the turn */
    HUB_FIRST = 8,
    HUB_MAX_HOPS = 2, /* a group's message whose member is gone goes on so often */
};

enum hub_kind {
    HUB_ADD,    /* a subscription, named by id */
    HUB_REMOVE, /* … is gone */
    HUB_FORGET, /* all of the sender's are */
    HUB_HELLO,  /* the sender is new: tell it yours */
    HUB_PLAIN,  /* a message for the plain subscriptions that take it */
    HUB_MEMBER, /* a message for the member of a group that `id` names */
    HUB_FLUSH,
    HUB_FLUSHED,
};

struct hub_item {
    enum hub_kind kind;
    unsigned hops;
    bool only; /* nobody else wants the message */
    uint64_t id;
    struct np_bus_msg *msg; /* one reference, or NULL */
    char *text;             /* pattern NUL queue NUL, owned; or NULL */
    size_t pattern_len;
    size_t queue_len;
};

struct hub_batch {
    struct np_post post;
    struct np_bus_hub *hub;
    unsigned from;
    unsigned to;
    unsigned era; /* the receiver's, when it was posted */
    size_t bytes; /* of its messages, counted in the receiver's `pending` */
    struct hub_item *items;
    size_t len;
    size_t cap;
};

struct hub_member {
    struct np_bus *bus; /* under the lock; NULL: not here */
    struct np_loop *loop;
    unsigned era;
    atomic_size_t pending; /* bytes of messages on their way there */
};

struct np_bus_hub {
    uv_mutex_t lock;
    unsigned workers;
    size_t max_pending;
    struct hub_member members[];
};

/* Another worker's subscription, in this bus' trie. */
struct hub_proxy {
    uint64_t id;
    unsigned worker;
    bool in_queue;
    struct np_sub *handle;
};

struct hub_peer {
    struct np_map proxies; /* by id */
    bool used;
};

/* A bus' part; its thread's. */
struct hub_port {
    struct np_bus_hub *hub;
    struct np_bus *bus;
    unsigned worker;
    struct hub_batch **out; /* by worker; NULL: nothing to send */
    uint64_t *plain_for;    /* by worker: the last publication it was sent */
    uint64_t publication;   /* the number of the present one */
    bool *here;             /* for np_hub_flush */
    struct hub_peer *peers; /* by worker */
    struct np_map subs;     /* this bus' subscriptions by id */
    bool has_subs;
    struct np_map queues; /* the queues of those that left lately, by id */
    bool has_queues;
    uint64_t next_id;
    uint64_t next_flush;
    struct np_link flushes;
    struct np_defer turn_end;
    int64_t told_at;
};

/* hub.c */
void np_hub_port_free(struct hub_port *port);
void np_hub_flush_batches(struct hub_port *port);

/* hub_proxy.c: the others' subscriptions … */
void np_hub_proxy_add(struct hub_port *port, unsigned worker, const struct hub_item *item);
void np_hub_proxy_remove(struct hub_port *port, unsigned worker, uint64_t id);
void np_hub_proxies_forget(struct hub_port *port, unsigned worker);
/* … and this bus' own, by id. */
void np_hub_index_sub(struct hub_port *port, struct np_bus_sub *s);
void np_hub_unindex_sub(struct hub_port *port, struct np_bus_sub *s);
struct np_bus_sub *np_hub_find_sub(struct hub_port *port, uint64_t id);
/* The group of a member that is here, or was lately; NULL: not known. */
const char *np_hub_queue_of(struct hub_port *port, uint64_t id);
void np_hub_index_fini(struct hub_port *port);

#endif
