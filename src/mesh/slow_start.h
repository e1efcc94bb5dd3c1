/* Slow start: an endpoint that is new, or was readmitted, gets less at first.
 *
 * A share of its weight, which grows with the time since np_stats.since_ns. Policies honour it that
 * weigh or compare endpoints: round_robin, the random ones, least_request, p2c, peak_ewma, the
 * weighted round robins. Those that hash do not (a key that moved twice would be worse than a cold
 * cache), nor does `first`. Pure functions, any thread.
 */
#ifndef NP_MESH_SLOW_START_H
#define NP_MESH_SLOW_START_H

#include <stdint.h>

enum np_slow_start_curve {
    NP_SLOW_START_ENVOY, /* weight · max(min, t^(1/aggression)) */
    NP_SLOW_START_LINEAR /* HAProxy's: weight · max(min, t) */
};

struct np_slow_start {
    int64_t window_ns; /* how long; 0: no slow start */
    double min;        /* least share; default 0.1 */
    double aggression; /* default 1.0: linear */
    enum np_slow_start_curve curve;
};
#define NP_SLOW_START_INIT               \
    {                                    \
        0, 0.1, 1.0, NP_SLOW_START_ENVOY \
    }

/* The share of its weight, above 0 and at most 1, that is due at `now` to an endpoint that has been
 * here since `since` (0: long ago). */
double np_slow_start_share(const struct np_slow_start *s, int64_t since, int64_t now);

#endif
