/* Admission control: requests are refused by chance, the more the worse the answers are.
 *
 * Envoy's: in a sliding window requests and successes are counted; a request is refused with the
 * probability ((n − s / threshold) / (n + 1)) ^ (1 / aggression), at most `max_rejection`, where n
 * are the requests that were let in and s those of them that succeeded (as in the SRE book's client
 * throttling, with K = 1 / threshold). So a server that answers mostly errors gets time to recover,
 * and some requests find out when it has. Critical requests are never refused by chance. Counters
 * are shared by all workers. Any thread.
 */
#ifndef NP_MESH_ADMISSION_H
#define NP_MESH_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mesh/commons.h"
#include "mesh/concurrency.h"

#define NP_ADMISSION_SLOTS 30 /* of the window */

struct np_admission_options {
    bool shadow;
    int64_t window_ns;        /* default 30 s */
    double success_threshold; /* default 0.95 */
    double aggression;        /* default 1.0 */
    double max_rejection;     /* default 0.8 */
    double min_rate;          /* requests a second below which nothing is refused; default 0 */
};
extern const struct np_admission_options np_admission_defaults;

struct np_admission_counters {
    uint64_t admitted, refused; /* `refused` counts in shadow mode too */
    double success_rate;        /* of the window; 1 while there is nothing in it */
    double rejection;           /* the probability just now */
    bool shadow;
};

struct np_admission;

/* For np_commons_get; `arg` is struct np_admission_options, the object struct np_admission. */
extern const struct np_common_kind np_admission_kind;

const char *np_admission_problem(const struct np_admission_options *o);
/* `chance` is drawn by the caller: 0 ≤ chance < 1. */
bool np_admission_enter(struct np_admission *a, enum np_priority p, double chance, int64_t now);
/* One that was let in has ended. */
void np_admission_leave(struct np_admission *a, bool success, int64_t now);
struct np_admission_counters np_admission_counters(const struct np_admission *a, int64_t now);

#endif
