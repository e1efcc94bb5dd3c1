/* Earliest deadline first (see balancer_edf.h). */
#include "mesh/balancer_edf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define NONE UINT32_MAX

enum { QUANTISED = 512, PER_OCTAVE_BITS = 4, LEAST_EXPONENT = -16 };

struct entry {
    double due;
    uint32_t next; /* behind it in its queue */
    uint32_t queue;
};
struct queue {
    uint32_t head, tail; /* NONE when empty */
    double stride;       /* between its endpoints' turns, unless that varies */
};
struct node {
    double due; /* the head's */
    uint32_t queue;
};

struct np_edf {
    bool varies;
    size_t len;
    double clock; /* the latest turn that was due */
    struct entry *entries;
    double *strides; /* where they vary: each one's when it was put in */
    struct queue *queues;
    size_t nqueues;
    struct node *heap; /* of the queues that are not empty */
    size_t nheap;
};

/* --- the heap */

static void sift_down(struct np_edf *x, size_t at)
{
    struct node v = x->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= x->nheap) break;
        if (child + 1 < x->nheap && x->heap[child + 1].due < x->heap[child].due) child++;
        if (!(x->heap[child].due < v.due)) break;
        x->heap[at] = x->heap[child];
        at = child;
    }
    x->heap[at] = v;
}

static void heap_push(struct np_edf *x, struct node v)
{
    size_t at = x->nheap++;
    while (at > 0 && v.due < x->heap[(at - 1) / 2].due) {
        x->heap[at] = x->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    x->heap[at] = v;
}

static void heap_rebuild(struct np_edf *x)
{
    x->nheap = 0;
    for (size_t q = 0; q < x->nqueues; q++) {
        uint32_t head = x->queues[q].head;
        if (head != NONE) heap_push(x, (struct node){x->entries[head].due, (uint32_t)q});
    }
}

/* --- queues */

/* By the exponent and the first bits of the mantissa. */
static uint32_t quantise(double weight)
{
    uint64_t bits;
    memcpy(&bits, &weight, sizeof bits);
    int64_t q = (int64_t)(bits >> (52 - PER_OCTAVE_BITS)) -
                ((INT64_C(1023) + LEAST_EXPONENT) << PER_OCTAVE_BITS);
    return q < 0 ? 0 : q >= QUANTISED ? QUANTISED - 1 : (uint32_t)q;
}

/* True if the queue was empty. */
static bool append(struct np_edf *x, uint32_t q, uint32_t i)
{
    struct queue *queue = &x->queues[q];
    bool empty = queue->head == NONE;
    x->entries[i].queue = q;
    x->entries[i].next = NONE;
    if (empty) {
        queue->head = i;
    } else {
        x->entries[queue->tail].next = i;
    }
    queue->tail = i;
    return empty;
}

static void unlink_behind(struct np_edf *x, uint32_t q, uint32_t before, uint32_t i)
{
    struct queue *queue = &x->queues[q];
    if (before == NONE) {
        queue->head = x->entries[i].next;
    } else {
        x->entries[before].next = x->entries[i].next;
    }
    if (queue->tail == i) queue->tail = before;
}

/* --- beginning and end */

struct start {
    double due;
    uint32_t index;
    double weight; /* or what stands for its queue */
};

static int by_queue_and_due(const void *a, const void *b)
{
    const struct start *x = a;
    const struct start *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
    if (x->due != y->due) return x->due < y->due ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum neap_err fill(struct np_edf *x, struct start *starts)
{
    size_t queues = 0;
    qsort(starts, x->len, sizeof *starts, by_queue_and_due);
    for (size_t i = 0; i < x->len; i++)
        queues += i == 0 || starts[i].weight != starts[i - 1].weight;
    x->nqueues = x->varies ? QUANTISED : queues;
    x->queues = np_alloc(x->nqueues * sizeof *x->queues);
    x->heap = np_alloc(x->nqueues * sizeof *x->heap);
    if (x->queues == NULL || x->heap == NULL) return NEAP_ENOMEM;
    for (size_t q = 0; q < x->nqueues; q++)
        x->queues[q] = (struct queue){NONE, NONE, 0};
    uint32_t q = 0;
    for (size_t i = 0; i < x->len; i++) {
        if (i > 0 && starts[i].weight != starts[i - 1].weight) q++;
        if (!x->varies) x->queues[q].stride = 1 / starts[i].weight;
        (void)append(x, x->varies ? (uint32_t)starts[i].weight : q, starts[i].index);
    }
    heap_rebuild(x);
    return NEAP_OK;
}

enum neap_err np_edf_new(const double *weights, const double *waits, size_t n, bool varies,
                         struct np_edf **out)
{
    struct np_edf *x = np_calloc(1, sizeof *x);
    struct start *starts = np_alloc(n * sizeof *starts);
    enum neap_err err = NEAP_ENOMEM;
    if (x == NULL || starts == NULL) goto fail;
    x->varies = varies;
    x->len = n;
    x->entries = np_calloc(n, sizeof *x->entries);
    x->strides = np_alloc((varies ? n : 0) * sizeof *x->strides);
    if (x->entries == NULL || x->strides == NULL) goto fail;
    for (size_t i = 0; i < n; i++) {
        double stride = 1 / weights[i];
        double due = stride * waits[i];
        x->entries[i].due = due;
        if (varies) x->strides[i] = stride;
        starts[i] = (struct start){due, (uint32_t)i, varies ? quantise(weights[i]) : weights[i]};
    }
    err = fill(x, starts);
    if (err != NEAP_OK) goto fail;
    np_free(starts);
    *out = x;
    return NEAP_OK;
fail:
    np_free(starts);
    np_edf_free(x);
    return err;
}

void np_edf_free(struct np_edf *x)
{
    if (x == NULL) return;
    np_free(x->entries);
    np_free(x->strides);
    np_free(x->queues);
    np_free(x->heap);
    np_free(x);
}

static double stride_of(const struct np_edf *x, uint32_t i)
{
    return x->varies ? x->strides[i] : x->queues[x->entries[i].queue].stride;
}

double np_edf_to_wait(const struct np_edf *x, size_t i)
{
    double wait = (x->entries[i].due - x->clock) / stride_of(x, (uint32_t)i);
    return fmin(fmax(wait, 0), 1);
}

/* --- turns */

/* Its turn has come: when is the next one? Who was passed over is owed one turn, not all. */
static uint32_t next_turn(struct np_edf *x, uint32_t i, double weight)
{
    struct entry *e = &x->entries[i];
    if (x->varies) x->strides[i] = 1 / weight;
    double stride = stride_of(x, i);
    if (x->clock < e->due) x->clock = e->due;
    e->due = e->due > x->clock - stride ? e->due + stride : x->clock;
    return x->varies ? quantise(weight) : e->queue;
}

/* The first that is not excluded, of all queues. */
static size_t pick_wary(struct np_edf *x, struct np_balancer *b, const struct np_pick_ctx *ctx,
                        uint32_t *before)
{
    uint32_t best = NONE;
    for (size_t q = 0; q < x->nqueues; q++) {
        uint32_t last = NONE, i = x->queues[q].head;
        while (i != NONE && np_excludes(ctx, b->slots[i].stats)) {
            last = i;
            i = x->entries[i].next;
        }
        if (i == NONE || (best != NONE && x->entries[best].due <= x->entries[i].due)) continue;
        best = i;
        *before = last;
    }
    return best;
}

size_t np_edf_pick(struct np_edf *x, struct np_balancer *b, const struct np_pick_ctx *ctx,
                   const double *weights, np_factor_fn factor, int64_t now)
{
    uint32_t q = x->heap[0].queue;
    uint32_t i = x->queues[q].head;
    uint32_t before = NONE;
    bool wary = ctx->nexclude > 0 && np_excludes(ctx, b->slots[i].stats);
    if (wary) {
        i = (uint32_t)pick_wary(x, b, ctx, &before);
        q = x->entries[i].queue;
    }
    double weight = x->varies ? weights[i] * (factor ? factor(b, i, now) : 1) : 0;
    uint32_t to = next_turn(x, i, weight);
    unlink_behind(x, q, before, i);
    bool fresh = append(x, to, i);
    if (wary) {
        heap_rebuild(x);
        return i;
    }
    uint32_t head = x->queues[q].head;
    if (head != NONE) {
        __builtin_prefetch(b->slots[head].stats); /* its turn is soon */
        x->heap[0].due = x->entries[head].due;
        fresh = fresh && to != q;
    } else {
        x->heap[0] = x->heap[--x->nheap];
    }
    if (x->nheap > 0) sift_down(x, 0);
    if (fresh) heap_push(x, (struct node){x->entries[i].due, to});
    return i;
}
