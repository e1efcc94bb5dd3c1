/* Request and reply: a publish whose reply subject is an inbox of ours, and the first answer to it.
 *
 * All requests of a bus share one subscription, `_INBOX.<random>.*`. A request is embedded in what
 * waits for it and ends once, by `fn` from the loop, unless it is cancelled. One loop, one thread.
 */
#ifndef NP_BUS_REQUEST_H
#define NP_BUS_REQUEST_H

#include "bus/bus.h"
#include "net/timer.h"

struct np_bus_request {
    struct np_bus *bus;
    uint64_t token; /* its place and turn among the inboxes; 0 when it is not under way */
    struct np_timer timer;
    struct np_defer defer; /* for an end that is known at once */
    /* NEAP_OK with the answer (lent: ref it to keep it); NEAP_ETIMEDOUT; NEAP_ENORESPONDERS: nobody
     * listens on the subject; NEAP_ECLOSED: the bus is gone. `m` is NULL on failure. */
    void (*fn)(struct np_bus_request *r, enum neap_err err, struct np_bus_msg *m);
};

void np_bus_request_init(struct np_bus_request *r, struct np_bus *bus,
                         void (*fn)(struct np_bus_request *r, enum neap_err err,
                                    struct np_bus_msg *m));
/* `out->reply` is ignored. `timeout` ns, 0 none. Fails as np_bus_publish does, or with NEAP_ELIMIT
 * when too many are under way (1 Mi); `fn` does not come then. */
NEAP_MUST_CHECK enum neap_err np_bus_request_start(struct np_bus_request *r,
                                                   const struct np_bus_out *out, int64_t timeout);
/* Not under way: does nothing. `fn` does not come. */
void np_bus_request_cancel(struct np_bus_request *r);

/* A new subject of one's own to be answered on, never used before, NUL-terminated: for those who
 * collect several answers. */
#define NP_BUS_INBOX_MAX 64
void np_bus_new_inbox(char out[NP_BUS_INBOX_MAX]);

#endif
