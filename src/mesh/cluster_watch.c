/* Attempts that wait for their answer.
 *
 * A statistic of answers knows nothing of a request that gets none: an endpoint that swallows all
 * of them (a process that is stopped, a network that drops) looks as it did before, and better and
 * better as its average fades, until the first request times out. So of each endpoint one attempt
 * is watched, and while it waits, with the picks of each millisecond, its endpoint is told how long
 * it has: the cost is never less than that. Answers that have begun are watched no longer, so
 * streams do no harm.
 *
 * The places are few and an endpoint has one of them, by its id (not by an address in memory: a
 * simulation is the same every time). Who finds it
 * taken by another endpoint goes without, but then a place is free again as soon as an answer
 * comes, and the next attempt is watched. Nothing is allocated.
 */
#include <string.h>

#include "base/hash.h"
#include "mesh/cluster_impl.h"

void np_watch_begin(struct np_cluster *c, struct np_attempt *a)
{
    size_t place = np_hash_stable(a->e->id, strlen(a->e->id), 0) % NP_WATCHED;
    if (c->watched[place].e != NULL) return;
    c->watched[place] = (struct np_watched){a->e, a->began};
    a->watched = (uint8_t)(place + 1);
    c->watching++;
}

void np_watch_end(struct np_cluster *c, const struct np_attempt *a)
{
    if (a->watched == 0) return;
    struct np_watched *w = &c->watched[a->watched - 1];
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
