/* Attempts that wait for their answer.
 *
 * A statistic of answers knows nothing of a request that gets none: an endpoint that swallows all
 * of them (a process that is stopped, a network that drops) looks as it did before, and better and
 * better as its average fades, until the first request times out. So of each endpoint one attempt
 * is watched, and while it waits, with the picks of each millisecond, its endpoint is told how long
 * it has: the cost is never less than that. Answers that have begun are watched no longer, so
 * streams do no harm.
 *
 * The places are few and an endpoint has one of them, by its statistics' address. Who finds it
 * taken by another endpoint goes without, but then a place is free again as soon as an answer
 * comes, and the next attempt is watched. Nothing is allocated.
 */
#include "base/hash.h"
#include "mesh/cluster_impl.h"

static struct np_watched *place_of(struct np_cluster *c, const struct np_endpoint *e)
{
    return &c->watched[np_hash_mix((uintptr_t)e->stats) % NP_WATCHED];
}

void np_watch_begin(struct np_cluster *c, const struct np_attempt *a)
{
    struct np_watched *w = place_of(c, a->e);
    if (w->e != NULL) return;
    *w = (struct np_watched){a->e, a->began};
    c->watching++;
}

void np_watch_end(struct np_cluster *c, const struct np_attempt *a)
{
    struct np_watched *w = place_of(c, a->e);
    if (w->e != a->e || w->began != a->began) return;
    w->e = NULL;
    c->watching--;
}

void np_watch_look(struct np_cluster *c, int64_t now)
{
    if (now < c->watch_due) return;
    c->watch_due = now + NP_WATCH_NS;
    if (c->watching == 0) return;
    for (int i = 0; i < NP_WATCHED; i++) {
        const struct np_watched *w = &c->watched[i];
        if (w->e != NULL) np_endpoint_waited(w->e, now - w->began, now);
    }
}
