/* Active checks: which endpoint is to be looked at next, and what a row of results says of it.
 *
 * A machine without I/O: who drives it asks which check is due, makes it, and tells the result. An
 * endpoint is healthy after `rise` successes in a row, unhealthy after `fall` failures (HAProxy's
 * names); failures of a kind with a limit of its own are counted apart (as Kong and APISIX do). The
 * first success decides on one of which nothing is known. So many checks run at a time at most; the
 * one that is due longest comes first, so with too many endpoints for the interval all are checked
 * less often, and none is forgotten. Moments are drawn around the interval, so that checks do not
 * come in step.
 *
 * Verdicts go into the endpoints' statistics (np_endpoint_set_healthy), where every balancer of the
 * host sees them; in shadow mode they do not. An endpoint that leaves the set, or whose checks end,
 * is no longer held to be unhealthy. One thread at a time.
 */
#ifndef NP_MESH_HEALTH_CHECK_H
#define NP_MESH_HEALTH_CHECK_H

#include "mesh/snapshot.h"

enum np_check_result {
    NP_CHECK_OK,
    NP_CHECK_HTTP_FAILED, /* it answered, and not as it should: also gRPC's and a script's own */
    NP_CHECK_TCP_FAILED,  /* no connection, no handshake, or it broke */
    NP_CHECK_TIMEOUT,
    NP_CHECK_CANCELED, /* says nothing; it is made again */
    NP_CHECK_RESULTS
};
const char *np_check_result_name(enum np_check_result r);

enum np_check_state { NP_CHECK_UNKNOWN, NP_CHECK_HEALTHY, NP_CHECK_UNHEALTHY };
const char *np_check_state_name(enum np_check_state s);

struct np_check_options {
    bool shadow;
    int64_t interval_ns;           /* default 1 s (Kong, APISIX) */
    int64_t unhealthy_interval_ns; /* of unhealthy ones; default 0: the same */
    double jitter;                 /* of the interval, each way; default 0.2, less than 1 */
    uint32_t rise, fall;           /* defaults 2, 3 (HAProxy) */
    /* Of a kind apart; default 0: they count towards `fall` (Kong has 5, 2 and 3). */
    uint32_t http_failures, tcp_failures, timeouts;
    uint32_t concurrency;        /* default 10 */
    enum np_check_state initial; /* default unknown, which is used; unhealthy is not, until it is
                                    checked */
};
extern const struct np_check_options np_check_defaults;
/* What is wrong with the options, as a message; NULL if nothing is. */
const char *np_check_options_problem(const struct np_check_options *opts);

struct np_check; /* the checks of a set */
struct np_check_entry;

/* `opts` may be NULL; seed 0: from the system's randomness. NEAP_EINVAL, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_check_new(const struct np_check_options *opts, uint64_t seed,
                                           struct np_check **out);
/* Other options from now on; what is known stays. NEAP_EINVAL: nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_check_set(struct np_check *c, const struct np_check_options *opts,
                                           int64_t now);
/* Checks that are under way are forgotten, and due again: who drove it is gone. */
void np_check_take_over(struct np_check *c, int64_t now);
/* The same. NULL is allowed. */
void np_check_free(struct np_check *c, int64_t now);
/* The endpoints to be checked. Who stays keeps its state and its next moment; who is new is due at
 * once. Who was unhealthy before anybody checked it here begins as unhealthy. NEAP_ENOMEM: some of
 * the new ones are missing until the next update. */
NEAP_MUST_CHECK enum neap_err np_check_update(struct np_check *c, const struct np_snapshot *set,
                                              int64_t now);

/* The endpoint whose check is to be made now (borrowed until it is done), or NULL; then `*wait` is
 * how long to wait, ns, unless a check ends or the set changes before that. */
struct np_check_entry *np_check_next(struct np_check *c, int64_t now, int64_t *wait);
struct np_endpoint *np_check_endpoint(const struct np_check_entry *t);
/* What came of it; every np_check_next is followed by one of these. True when that changed what is
 * held of the endpoint: `*state` says to what. */
bool np_check_done(struct np_check *c, struct np_check_entry *t, enum np_check_result r,
                   int64_t now, enum np_check_state *state);

struct np_check_counters {
    uint64_t checks, results[NP_CHECK_RESULTS], changes;
    uint32_t endpoints, healthy, unhealthy, unknown, running;
    int64_t late_ns; /* by how much the last check came after its moment */
};
struct np_check_counters np_check_counters(const struct np_check *c);
/* One by one, in no order: `*it` starts at 0; NULL at the end. */
const struct np_check_entry *np_check_each(const struct np_check *c, size_t *it);
struct np_check_view {
    struct np_endpoint *endpoint; /* borrowed */
    enum np_check_state state;
    enum np_check_result last; /* NP_CHECK_CANCELED: none yet */
    uint32_t row;              /* results in a row that were as the last: successes, or failures */
    int64_t since;             /* when it came to be in that state */
};
struct np_check_view np_check_look(const struct np_check_entry *t);

#endif
