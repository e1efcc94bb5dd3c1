/* A queue that many threads push to and one thread pops from, without locks (Vyukov's intrusive
 * MPSC queue). Nodes are embedded in what is sent; ownership goes with the node.
 */
#ifndef NP_BASE_MPSC_H
#define NP_BASE_MPSC_H

#include <stdatomic.h>
#include <stdbool.h>

struct np_mpsc_node {
    _Atomic(struct np_mpsc_node *) next;
};
struct np_mpsc {
    _Atomic(struct np_mpsc_node *) head; /* producers push here */
    struct np_mpsc_node *tail;           /* the consumer pops here */
    struct np_mpsc_node stub;
};

void np_mpsc_init(struct np_mpsc *q);
/* Any thread. True when the queue looked empty before: the caller then wakes the consumer. A
 * consumer that drains until NULL after each wake-up misses nothing. */
bool np_mpsc_push(struct np_mpsc *q, struct np_mpsc_node *n);
/* The consumer only. NULL when empty. When a producer is between the two steps of a push it is
 * waited for (one store of its), unless its push is going to return true anyway. */
struct np_mpsc_node *np_mpsc_pop(struct np_mpsc *q);

#endif
