/* The hub: joins the buses of a host's workers into one.
 *
 * Each worker matches its own subscriptions in its own bus. A table of interest in each bus says
 * which other workers want a subject (a pattern, perhaps a queue group, and how many members that
 * has there); interest travels to the others as messages do, so whoever subscribes and then
 * publishes, or asks, is heard in that order. A publication goes once to each other worker that
 * wants it, as one reference to the one payload, over the worker's MPSC queue, with one wake-up a
 * batch; a queue group's message goes to one member among all workers'. A request that nobody takes
 * any more when it arrives is answered "no responders". np_bus_flush waits for the other workers as
 * well.
 *
 * While a bus has a remote (bridge.h) it takes no part: then the remote joins the workers, like
 * processes. Queues between workers are bounded (`max_pending`): a worker that does not read loses
 * messages, counted, and delays nobody.
 *
 * The hub itself: any thread. Joining and leaving: the bus' own thread.
 */
#ifndef NP_BUS_HUB_H
#define NP_BUS_HUB_H

#include "bus/bus.h"

struct np_bus_hub;

struct np_bus_hub_options {
    size_t max_pending; /* bytes of messages under way to one worker, default 64 MiB */
};

struct np_bus_hub_stats {
    unsigned joined;
    uint64_t forwarded; /* messages sent from one worker to another; one to several counts often */
    uint64_t dropped;   /* not sent: too much was under way to that worker */
    size_t pending;     /* bytes under way now */
};

/* `opts` may be NULL. */
NEAP_MUST_CHECK enum neap_err
np_bus_hub_new(unsigned workers, const struct np_bus_hub_options *opts, struct np_bus_hub **out);
/* After all buses have left. NULL is allowed. */
void np_bus_hub_free(struct np_bus_hub *hub);
/* The bus (its loop: np_bus_loop) becomes the worker's; its subscriptions are told to the others,
 * and it knows theirs when this returns. A worker that is replaced joins anew under its number.
 * NEAP_EBUSY: the place is taken, or the bus has joined already. NEAP_EINVAL: no such worker.
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_bus_hub_join(struct np_bus_hub *hub, unsigned worker,
                                              struct np_bus *bus);
/* What is under way to it is dropped, its interest forgotten. Not joined: does nothing. Any thread
 * when the bus' own is gone or stuck: the bus notices when it next publishes or its loop turns. A
 * bus that is freed has left. */
void np_bus_hub_leave(struct np_bus_hub *hub, unsigned worker);
void np_bus_hub_get_stats(struct np_bus_hub *hub, struct np_bus_hub_stats *out);

#endif
