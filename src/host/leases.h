/* Leases: ends the registrations in a host's registry that were not renewed in time.
 *
 * A background timer looks when the next lease ends, and every second while there are endpoints
 * (a lease may be shortened without a change that a watch would tell). The worker's thread.
 */
#ifndef NP_HOST_LEASES_H
#define NP_HOST_LEASES_H

#include "mesh/registry.h"
#include "net/timer.h"

struct np_leases {
    struct np_registry *registry; /* NULL when not open; not owned */
    struct np_loop *loop;
    struct np_watch *watch;
    struct np_timer timer;
    struct np_defer look; /* out of a watch's call, where the registry may not be changed */
};

NEAP_MUST_CHECK enum neap_err np_leases_open(struct np_leases *l, struct np_loop *loop,
                                             struct np_registry *registry);
void np_leases_close(struct np_leases *l);

#endif
