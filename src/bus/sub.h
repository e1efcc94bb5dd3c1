/* A subscription: a pattern, perhaps a queue group, a bounded queue of messages and who gets them.
 *
 * The subscriber owns it and ends it with np_bus_unsubscribe, allowed at any time, in its own
 * callbacks too. It is called from the loop only. One loop, one thread.
 */
#ifndef NP_BUS_SUB_H
#define NP_BUS_SUB_H

#include "bus/bus.h"

struct np_bus_sub;

/* Either on_message or on_ready is given; the others may be NULL. */
struct np_bus_sub_handler {
    /* One message, lent: ref it to keep it. Not called while paused. */
    void (*on_message)(struct np_bus_sub *s, struct np_bus_msg *m);
    /* Messages stand in the queue: take what you like with np_bus_sub_pop. Called again after more
     * came, or after np_bus_sub_pause(s, false). */
    void (*on_ready)(struct np_bus_sub *s);
    /* The queue became full and messages are being dropped. Once each time, until it is half empty
     * again. */
    void (*on_slow)(struct np_bus_sub *s);
    /* It has had its `max`, or was drained, and the queue is empty: nothing comes any more. */
    void (*on_end)(struct np_bus_sub *s);
};

struct np_bus_sub_options {
    struct np_bytes queue;   /* group; n 0: none */
    uint64_t max;            /* ends after so many messages; 0: never */
    size_t pending_bytes;    /* bound of its queue, default 64 MiB; 0 none */
    size_t pending_messages; /* default 65536; 0 none */
    bool held;               /* gets nothing before np_bus_sub_release */
    const void *deaf_to;     /* does not get what this origin publishes; NULL: gets all */
};
#define NP_BUS_SUB_OPTIONS_INIT                                                  \
    {                                                                            \
        .pending_bytes = (size_t)64 * 1024 * 1024, .pending_messages = 64 * 1024 \
    }

struct np_bus_sub_stats {
    uint64_t received; /* put on the queue */
    uint64_t dropped;  /* refused by the full queue; in a group another member may have got it */
    size_t pending_messages;
    size_t pending_bytes;
    bool slow; /* full, and not half empty since */
};

/* `opts` may be NULL. NEAP_EINVAL: a bad pattern or queue. NEAP_ELIMIT. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_bus_subscribe(struct np_bus *bus, struct np_bytes pattern,
                                               const struct np_bus_sub_options *opts,
                                               const struct np_bus_sub_handler *h, void *arg,
                                               struct np_bus_sub **out);
/* A held one takes messages from now on; any other: does nothing. NEAP_ELIMIT, NEAP_ENOMEM: it is
 * still held. */
NEAP_MUST_CHECK enum neap_err np_bus_sub_release(struct np_bus_sub *s);
/* What is pending is dropped; no callback comes any more, on_end neither. NULL is allowed. */
void np_bus_unsubscribe(struct np_bus_sub *s);
/* Ends after `max` messages, counted from its beginning; those it has had already are enough when
 * `max` is no larger: then only what is pending still comes, then on_end. */
void np_bus_sub_limit(struct np_bus_sub *s, uint64_t max);
/* Takes no more messages; what is pending still comes, then on_end. */
void np_bus_sub_drain(struct np_bus_sub *s);

/* The oldest pending message, its reference the caller's; NULL when there is none. */
struct np_bus_msg *np_bus_sub_pop(struct np_bus_sub *s);
/* Paused: messages are kept and nothing is called. */
void np_bus_sub_pause(struct np_bus_sub *s, bool paused);

void *np_bus_sub_arg(const struct np_bus_sub *s);
struct np_bytes np_bus_sub_pattern(const struct np_bus_sub *s);
struct np_bytes np_bus_sub_queue(const struct np_bus_sub *s); /* n 0: none */
bool np_bus_sub_ended(const struct np_bus_sub *s); /* takes no more; some may be pending */
void np_bus_sub_get_stats(const struct np_bus_sub *s, struct np_bus_sub_stats *out);

#endif
