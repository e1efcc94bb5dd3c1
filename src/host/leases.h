/* Leases: ends the registrations in a host's registry that were not renewed in time.
 *
 * A background timer looks when the next lease ends, and every second while there are endpoints
 * (a lease may be shortened without a change that a watch would tell). Worker 0's thread, whose
 * view it is.
 */
#ifndef NP_HOST_LEASES_H
#define NP_HOST_LEASES_H

#include "mesh/view.h"
#include "net/timer.h"

struct np_leases {
    struct np_registry *registry; /* NULL when not open; not owned */
    struct np_loop *loop;
    struct np_view_watch *watch;
    struct np_timer timer;
    struct np_defer look; /* once for all changes of a turn */
};

NEAP_MUST_CHECK enum neap_err np_leases_open(struct np_leases *l, struct np_loop *loop,
                                             struct np_registry_view *view);
void np_leases_close(struct np_leases *l);

#endif
