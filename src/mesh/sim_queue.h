/* The simulator's events: timers in a heap by their moment.
 *
 * A timer is embedded in what it belongs to and knows its place, so it can be moved and cleared. A
 * heap of four children a node, the moments beside the pointers: what is compared lies in one cache
 * line. Timers of one moment come out in the order they were set, so a run is the same every time.
 * Memory is reserved when timers come to be; setting one never fails. One thread.
 */
#ifndef NP_MESH_SIM_QUEUE_H
#define NP_MESH_SIM_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct np_sim_timer {
    int64_t at;
    uint64_t seq;
    uint32_t place; /* 1-based; 0: not set */
    uint32_t kind;  /* the owner's */
};
struct np_sim_slot {
    int64_t at;
    struct np_sim_timer *timer;
};
struct np_sim_queue {
    struct np_sim_slot *slots; /* 1-based */
    size_t len, cap;
    uint64_t next_seq;
};

void np_sim_queue_fini(struct np_sim_queue *q);
/* Room for so many timers in all. */
NEAP_MUST_CHECK enum neap_err np_sim_queue_reserve(struct np_sim_queue *q, size_t timers);
/* Sets it, or moves it. */
void np_sim_queue_set(struct np_sim_queue *q, struct np_sim_timer *t, int64_t at);
void np_sim_queue_clear(struct np_sim_queue *q, struct np_sim_timer *t); /* not set: nothing */
/* Takes the earliest out; NULL when there is none. */
struct np_sim_timer *np_sim_queue_pop(struct np_sim_queue *q);

#endif
