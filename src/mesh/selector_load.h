/* How much of the requests each priority level and the caller's own zone get, by their health.
 *
 * Pure arithmetic, Envoy's ("priority levels", "degraded", "panic threshold" and "zone aware
 * routing" of its load balancing documentation; host counts instead of percentages). Nothing
 * allocates.
 */
#ifndef NP_MESH_SELECTOR_LOAD_H
#define NP_MESH_SELECTOR_LOAD_H

#include <stdbool.h>
#include <stddef.h>

struct np_level_load {
    size_t total, available; /* endpoints of the level */
    double load; /* its share of the requests, 0 … 1; they sum up to 1, or are all 0 */
    bool panic;  /* too few are available: all of it are used */
};

/* Fills in load and panic of `n` levels, the first used first.
 *
 * A level's health is available / total · overprovisioning, 1 at most; the first takes as much as
 * it has health, the next what is left, and so on. When all together have less than 1, the loads
 * are scaled up to 1, and a level of which less than `panic_threshold` is available is in panic; if
 * all are, the loads go by the numbers of endpoints. */
void np_levels_share(struct np_level_load *levels, size_t n, double overprovisioning,
                     double panic_threshold);

struct np_zone_load {
    size_t near_total, near_available; /* in the caller's zone */
    size_t far_available;              /* in the others */
    double spill;   /* an own zone keeps everything while this share of it is available */
    double callers; /* the own zone's share of all callers; 0: not known */
};
/* The share that stays in the caller's zone: available / total / spill, 1 at most; where the
 * callers' share is known, no more than the zone's part of what is available, divided by it. What
 * is left goes elsewhere, unless there is nobody. */
double np_zone_share(const struct np_zone_load *z);

#endif
