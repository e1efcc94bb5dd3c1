/* The bus: the message broker of a host, on one loop.
 *
 * A message published goes to every plain subscription whose pattern takes its subject and to one
 * member of each queue group. What always holds:
 * - Publishing runs no subscriber: messages are put on the subscriptions' queues and handed over
 *   from the loop, in batches, in order for each subscription.
 * - A subscription's queue is bounded (sub.h); a full one loses messages, counted, and delays
 * nobody.
 * - While a remote is attached (bridge.h), publishes go to it and to nobody here: what local
 *   subscriptions want comes back over it. So each message is delivered once, and queue groups
 *   balance over all processes.
 * One loop, one thread.
 */
#ifndef NP_BUS_BUS_H
#define NP_BUS_BUS_H

#include "bus/msg.h"
#include "net/loop.h"

#define NP_BUS_ID_LEN 22

struct np_bus;

struct np_bus_options {
    size_t max_payload; /* bytes of headers and payload, default 1 MiB: more fails, NEAP_EMSGSIZE */
    size_t max_subs;    /* default 1 Mi */
    uint64_t seed;      /* of the choice in queue groups; 0: from the system's randomness */
};
#define NP_BUS_OPTIONS_INIT             \
    {                                   \
        1024 * 1024, (size_t)1 << 20, 0 \
    }

struct np_bus_stats {
    size_t subs;
    uint64_t published;       /* here: by scripts, embedders and remote clients */
    uint64_t published_bytes; /* of headers and payload */
    uint64_t delivered;       /* put on a subscription's queue; one message may count often */
    uint64_t dropped;         /* refused by a full queue, here or on the way to a worker */
    uint64_t forwarded;       /* sent to other workers (hub.h); to several counts often */
};

/* `opts` may be NULL. */
NEAP_MUST_CHECK enum neap_err np_bus_new(struct np_loop *loop, const struct np_bus_options *opts,
                                         struct np_bus **out);
/* Servers and the bridge are closed (or closing) and requests have ended; subscriptions that are
 * left get no more messages and wait for their np_bus_unsubscribe. NULL is allowed. */
void np_bus_free(struct np_bus *bus);

struct np_loop *np_bus_loop(const struct np_bus *bus);
/* Random; names this bus to its peers. NP_BUS_ID_LEN bytes and a NUL. */
const char *np_bus_id(const struct np_bus *bus);
size_t np_bus_max_payload(const struct np_bus *bus);
void np_bus_get_stats(const struct np_bus *bus, struct np_bus_stats *out);

/* Copies what it needs. `origin` (may be NULL) is not delivered to subscriptions that are deaf to
 * it. `*interested` (may be NULL) is the number of subscriptions and groups that wanted it, full
 * ones and what is known of other workers' too; SIZE_MAX with a remote, which alone knows.
 * NEAP_EINVAL: a bad subject or reply. NEAP_EMSGSIZE. NEAP_ELIMIT: the remote is away and its
 * buffer full. NEAP_ENOMEM: perhaps some have got it. */
NEAP_MUST_CHECK enum neap_err np_bus_publish(struct np_bus *bus, const struct np_bus_out *m,
                                             const void *origin, size_t *interested);

/* Waits until what was published before has been handed to the local subscriptions' queues and to
 * those of other workers (hub.h) and, with a remote, has arrived there. Embedded in what waits;
 * ends once, by `fn` from the loop, with NEAP_OK, or NEAP_ECONNRESET when the remote was lost
 * meanwhile, NEAP_ECLOSED when it was closed.
 */
struct np_bus_flush {
    struct np_link link;
    struct np_defer defer;
    uint64_t ping;     /* which PONG ends it */
    enum neap_err err; /* what it ends with when it is deferred */
    void (*fn)(struct np_bus_flush *f, enum neap_err err);
};
void np_bus_flush_init(struct np_bus_flush *f,
                       void (*fn)(struct np_bus_flush *f, enum neap_err err));
/* NEAP_ENOTCONN: the remote is away. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_bus_flush_start(struct np_bus *bus, struct np_bus_flush *f);
/* Not under way: does nothing. `fn` does not come. */
void np_bus_flush_cancel(struct np_bus_flush *f);

/* Calls d->fn at the end of the batch that is being handed over, or from the loop when none is:
 * for those who gather what they got and write it at once. Asked for already: does nothing. */
void np_bus_after_batch(struct np_bus *bus, struct np_defer *d);

#endif
