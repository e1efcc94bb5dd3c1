/* A heap of timers, four children a node (see sim_queue.h). */
#include "mesh/sim_queue.h"

#include "base/alloc.h"

enum { CHILDREN = 4 };

void np_sim_queue_fini(struct np_sim_queue *q)
{
    np_free(q->slots);
    *q = (struct np_sim_queue){0};
}

enum neap_err np_sim_queue_reserve(struct np_sim_queue *q, size_t timers)
{
    if (timers <= q->cap) return NEAP_OK;
    if (timers >= UINT32_MAX) return NEAP_ENOMEM;
    struct np_sim_slot *slots = np_realloc(q->slots, (timers + 1) * sizeof *slots);
    if (slots == NULL) return NEAP_ENOMEM;
    q->slots = slots;
    q->cap = timers;
    return NEAP_OK;
}

static size_t parent_of(size_t i)
{
    return (i + CHILDREN - 2) / CHILDREN;
}

static bool before(const struct np_sim_slot *a, const struct np_sim_slot *b)
{
    if (a->at != b->at) return a->at < b->at;
    return a->timer->seq < b->timer->seq;
}

static void put(struct np_sim_queue *q, size_t i, struct np_sim_slot s)
{
    q->slots[i] = s;
    s.timer->place = (uint32_t)i;
}

static void up(struct np_sim_queue *q, size_t i, struct np_sim_slot s)
{
    while (i > 1) {
        size_t p = parent_of(i);
        if (!before(&s, &q->slots[p])) break;
        put(q, i, q->slots[p]);
        i = p;
    }
    put(q, i, s);
}

static void down(struct np_sim_queue *q, size_t i, struct np_sim_slot s)
{
    for (;;) {
        size_t first = (i - 1) * CHILDREN + 2;
        if (first > q->len) break;
        size_t last = first + CHILDREN - 1 < q->len ? first + CHILDREN - 1 : q->len;
        size_t least = first;
        for (size_t c = first + 1; c <= last; c++) {
            if (before(&q->slots[c], &q->slots[least])) least = c;
        }
        if (!before(&q->slots[least], &s)) break;
        put(q, i, q->slots[least]);
        i = least;
    }
    put(q, i, s);
}

static void settle(struct np_sim_queue *q, size_t i, struct np_sim_slot s)
{
    if (i > 1 && before(&s, &q->slots[parent_of(i)]))
        up(q, i, s);
    else
        down(q, i, s);
}

void np_sim_queue_set(struct np_sim_queue *q, struct np_sim_timer *t, int64_t at)
{
    t->at = at;
    t->seq = q->next_seq++;
    struct np_sim_slot s = {at, t};
    if (t->place != 0)
        settle(q, t->place, s);
    else
        up(q, ++q->len, s);
}

void np_sim_queue_clear(struct np_sim_queue *q, struct np_sim_timer *t)
{
    size_t i = t->place;
    if (i == 0) return;
    t->place = 0;
    struct np_sim_slot last = q->slots[q->len--];
    if (i <= q->len) settle(q, i, last);
}

struct np_sim_timer *np_sim_queue_pop(struct np_sim_queue *q)
{
    if (q->len == 0) return NULL;
    struct np_sim_timer *t = q->slots[1].timer;
    t->place = 0;
    struct np_sim_slot last = q->slots[q->len--];
    if (q->len > 0) down(q, 1, last);
    return t;
}
