/* The binary min-heap. `index` in each node is kept true by every move. One thread at a time. */
#include "base/heap.h"

#include <string.h>

#include "base/alloc.h"

void np_heap_init(struct np_heap *h)
{
    memset(h, 0, sizeof *h);
}

void np_heap_fini(struct np_heap *h)
{
    np_free(h->nodes);
    np_heap_init(h);
}

static bool before(const struct np_heap_node *a, const struct np_heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

/* Puts `n` at place `i` (0-based). */
static void place(struct np_heap *h, struct np_heap_node *n, size_t i)
{
    h->nodes[i] = n;
    n->index = i + 1;
}

static void sift_up(struct np_heap *h, struct np_heap_node *n, size_t i)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!before(n, h->nodes[parent])) break;
        place(h, h->nodes[parent], i);
        i = parent;
    }
    place(h, n, i);
}

static void sift_down(struct np_heap *h, struct np_heap_node *n, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->len) break;
        if (child + 1 < h->len && before(h->nodes[child + 1], h->nodes[child])) child++;
        if (!before(h->nodes[child], n)) break;
        place(h, h->nodes[child], i);
        i = child;
    }
    place(h, n, i);
}

/* The node at `i` may have to go either way. */
static void settle(struct np_heap *h, struct np_heap_node *n, size_t i)
{
    if (i > 0 && before(n, h->nodes[(i - 1) / 2])) {
        sift_up(h, n, i);
    } else {
        sift_down(h, n, i);
    }
}

static enum neap_err ensure_room(struct np_heap *h)
{
    if (h->len < h->cap) return NEAP_OK;
    size_t cap = h->cap ? h->cap * 2 : 16;
    if (cap > SIZE_MAX / sizeof(*h->nodes)) return NEAP_ENOMEM;
    struct np_heap_node **nodes = np_realloc(h->nodes, cap * sizeof(*nodes));
    if (!nodes) return NEAP_ENOMEM;
    h->nodes = nodes;
    h->cap = cap;
    return NEAP_OK;
}

enum neap_err np_heap_put(struct np_heap *h, struct np_heap_node *n, int64_t key)
{
    if (n->index == 0) {
        enum neap_err err = ensure_room(h);
        if (err) return err;
        n->index = ++h->len;
    }
    n->key = key;
    n->seq = h->next_seq++;
    settle(h, n, n->index - 1);
    return NEAP_OK;
}

void np_heap_remove(struct np_heap *h, struct np_heap_node *n)
{
    if (n->index == 0) return;
    size_t i = n->index - 1;
    n->index = 0;
    struct np_heap_node *last = h->nodes[--h->len];
    if (last != n) settle(h, last, i);
}
