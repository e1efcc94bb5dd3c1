/* Vyukov's intrusive MPSC queue. `head` is the newest node, `tail` the oldest; the stub stands in
 * the queue whenever nothing else does. */
#include "base/mpsc.h"

#include <sched.h>
#include <stddef.h>

void np_mpsc_init(struct np_mpsc *q)
{
    atomic_init(&q->stub.next, NULL);
    atomic_init(&q->head, &q->stub);
    q->tail = &q->stub;
}

/* The node that stood newest before. Between the exchange and the store the queue is cut. */
static struct np_mpsc_node *push(struct np_mpsc *q, struct np_mpsc_node *n)
{
    atomic_store_explicit(&n->next, NULL, memory_order_relaxed);
    struct np_mpsc_node *prev = atomic_exchange_explicit(&q->head, n, memory_order_acq_rel);
    atomic_store_explicit(&prev->next, n, memory_order_release);
    return prev;
}

bool np_mpsc_push(struct np_mpsc *q, struct np_mpsc_node *n)
{
    return push(q, n) == &q->stub;
}

static struct np_mpsc_node *next_of(struct np_mpsc_node *n)
{
    return atomic_load_explicit(&n->next, memory_order_acquire);
}

struct np_mpsc_node *np_mpsc_pop(struct np_mpsc *q)
{
    struct np_mpsc_node *tail = q->tail;
    struct np_mpsc_node *next = next_of(tail);
    if (tail == &q->stub) {
        /* A producer that is half-way here saw the stub, so it wakes the consumer when done. */
        if (!next) return NULL;
        q->tail = tail = next;
        next = next_of(next);
    }
    if (!next) {
        if (tail == atomic_load_explicit(&q->head, memory_order_acquire)) push(q, &q->stub);
        /* A producer between its two steps saw `tail` as the newest and will wake nobody, so to
         * report "empty" now would strand both nodes. It has one store to go: wait for it. */
        while (!(next = next_of(tail))) {
            sched_yield();
        }
    }
    q->tail = next;
    return tail;
}
