/* Outlier detection: endpoints that fail more than they should are ejected for a while.
 *
 * All of Envoy's detectors, with its names and defaults. Consecutive failures are judged at once;
 * success rate and failure percentage when an interval ends. An ejection lasts base_ejection times
 * the number of ejections so far, up to max_ejection, with jitter; for each interval without one
 * that number falls by one. At most max_ejection_percent are ejected at a time, though one always
 * may be. When it is over the endpoint is on trial: one request at a time, and the first success
 * readmits it, a failure ejects it again. A peer that asks to be left alone (Retry-After) can be
 * taken at its word.
 *
 * The counters stand in the endpoint's statistics, so all workers see one truth; a detector's own
 * state is shared by the workers too. Several detectors over one endpoint do not disturb each
 * other: an ejection is everybody's, and what an interval brought each reckons for itself. In
 * shadow mode all is counted and nothing ejected (so what goes on failing is counted again for each
 * further row of failures, and each interval).
 *
 * An overload (429) is no failure here: it is the service's word on the caller and not on the host.
 * Any thread. Only np_outlier_tick allocates, once an interval at most.
 */
#ifndef NP_MESH_OUTLIER_H
#define NP_MESH_OUTLIER_H

#include "mesh/snapshot.h"

struct np_outlier_options {
    bool shadow;
    uint32_t consecutive_5xx;             /* default 5; 0: off (so for all of these) */
    uint32_t consecutive_gateway_failure; /* 5 */
    uint32_t consecutive_local_failure;   /* 5: no answer at all */
    int64_t interval_ns;                  /* 10 s */
    int64_t base_ejection_ns;             /* 30 s */
    int64_t max_ejection_ns;              /* 300 s */
    int64_t max_jitter_ns;                /* 0 */
    double max_ejection_percent;          /* 10; one endpoint may always be ejected */
    double success_rate_stdev_factor;     /* 1.9; 0: off. Rates are of what an interval brought,
                                             the deviation is that of all hosts judged */
    uint32_t success_rate_minimum_hosts;  /* 5 */
    uint32_t success_rate_request_volume; /* 100 an interval */
    double failure_percentage_threshold;  /* 85; 0: off */
    uint32_t failure_percentage_minimum_hosts;  /* 5 */
    uint32_t failure_percentage_request_volume; /* 50 */
    bool retry_after; /* honour it, on another failure than overload: ejected so long, max_ejection
                         at most; true */
};
extern const struct np_outlier_options np_outlier_defaults;

enum np_ejection {
    NP_EJECT_NONE,
    NP_EJECT_CONSECUTIVE_5XX,
    NP_EJECT_GATEWAY_FAILURE,
    NP_EJECT_LOCAL_FAILURE,
    NP_EJECT_SUCCESS_RATE,
    NP_EJECT_FAILURE_PERCENTAGE,
    NP_EJECT_RETRY_AFTER,
    NP_EJECT_TRIAL_FAILED,
    NP_EJECTIONS
};
const char *np_ejection_name(enum np_ejection e);

struct np_outlier_counters {
    uint64_t intervals;             /* that were judged */
    uint64_t ejected[NP_EJECTIONS]; /* by reason; in shadow mode what would have been */
    uint64_t readmitted;
    uint64_t spared; /* not ejected because of max_ejection_percent */
};

struct np_outlier; /* shared by the workers, counted by reference */

/* What is wrong with the options, as a message; NULL if nothing is. */
const char *np_outlier_options_problem(const struct np_outlier_options *opts);
/* `opts` may be NULL; seed 0: from the system's randomness. NEAP_EINVAL for options out of range,
 * NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_outlier_new(const struct np_outlier_options *opts, uint64_t seed,
                                             struct np_outlier **out);
/* Other options, beside its users. NEAP_EINVAL: nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_outlier_set(struct np_outlier *o,
                                             const struct np_outlier_options *opts);
struct np_outlier *np_outlier_ref(struct np_outlier *o);
void np_outlier_unref(struct np_outlier *o); /* NULL is allowed */

/* A request ended on `e`, one of `set`, and its statistics are done (np_selector_release). Gives
 * why it was ejected just now. O(1), but O(n) when it comes to an ejection. */
enum np_ejection np_outlier_observe(struct np_outlier *o, const struct np_snapshot *set,
                                    struct np_endpoint *e, bool trial, const struct np_result *r,
                                    int64_t now);
/* When an interval has passed: judges it, once for all workers, O(n). Otherwise it costs one load.
 */
void np_outlier_tick(struct np_outlier *o, const struct np_snapshot *set, int64_t now);
struct np_outlier_counters np_outlier_counters(const struct np_outlier *o);

/* By hand. When the time is over it is on trial. */
void np_endpoint_eject(struct np_endpoint *e, int64_t until);
/* As new: its row of failures is forgotten, and slow start begins. */
void np_endpoint_readmit(struct np_endpoint *e, int64_t now);
/* What an active check found; another thing than ejection. Who is well again starts slowly. */
void np_endpoint_set_healthy(struct np_endpoint *e, bool healthy, int64_t now);
/* It gets no new requests; what is in flight ends. */
void np_endpoint_set_draining(struct np_endpoint *e, bool draining);

#endif
