/* A binary min-heap of pointers, ordered by a 64-bit key kept in the element.
 *
 * Elements embed `np_heap_node`; the node knows its place, so any element can be moved or removed
 * in O(log n). Equal keys come out in the order of their insertion (a sequence number breaks ties),
 * so that what is timed for one moment runs in the order it was asked for.
 */
#ifndef NP_BASE_HEAP_H
#define NP_BASE_HEAP_H

#include <stdint.h>

#include "base/err.h"

struct np_heap_node {
    int64_t key;
    uint64_t seq;
    size_t index; /* 1-based place in the heap; 0 when it is in none */
};
struct np_heap {
    struct np_heap_node **nodes; /* owned array; the nodes are the caller's */
    size_t len;
    size_t cap;
    uint64_t next_seq;
};

void np_heap_init(struct np_heap *h);
void np_heap_fini(struct np_heap *h);
/* Fails only with NEAP_ENOMEM; a node that is in the heap already is moved and cannot fail. */
NEAP_MUST_CHECK enum neap_err np_heap_put(struct np_heap *h, struct np_heap_node *n, int64_t key);
void np_heap_remove(struct np_heap *h, struct np_heap_node *n); /* not in the heap: does nothing */
static inline struct np_heap_node *np_heap_min(const struct np_heap *h)
{
    return h->len ? h->nodes[0] : NULL;
}

#endif
