/* The simulator's servers: so many at a time, others in a queue in the order they came.
 *
 * An attempt that came to a server belongs to both sides. When the caller leaves, most servers do
 * not notice: they serve it all the same (which is what keeps an overload alive).
 */
#include <math.h>
#include <string.h>

#include "mesh/sim_impl.h"

#define SLOWEST 10.0 /* what contention may do */

static void append(struct np_sim_list *l, struct np_sim_attempt *a)
{
    a->ahead = l->last;
    a->after = NULL;
    if (l->last)
        l->last->after = a;
    else
        l->first = a;
    l->last = a;
}

static void take_out(struct np_sim_list *l, struct np_sim_attempt *a)
{
    if (a->ahead)
        a->ahead->after = a->after;
    else
        l->first = a->after;
    if (a->after)
        a->after->ahead = a->ahead;
    else
        l->last = a->ahead;
    a->ahead = a->after = NULL;
}

static void drop(struct np_sim *s, struct np_sim_attempt *a)
{
    np_sim_queue_clear(&s->queue, &a->step);
    np_sim_queue_clear(&s->queue, &a->timeout);
    np_sim_pool_put(&s->attempts, a);
}

/* The answer sets out, `later` from now, and takes the network's time. */
static void reply(struct np_sim *s, struct np_sim_attempt *a, int status, int64_t later)
{
    a->status = status;
    a->place = PLACE_RETURNING;
    if (a->r == NULL) {
        drop(s, a);
    } else if (later + a->rtt > 0) {
        np_sim_queue_set(&s->queue, &a->step, s->now + later + a->rtt);
    } else {
        np_sim_answered(s, a);
    }
}

static bool happens(struct np_sim_server_state *v, double share)
{
    if (share <= 0) return false;
    return share >= 1 || np_rng_unit(&v->rng) < share;
}

static double contention(const struct np_sim_server_state *v)
{
    if (v->o.contention <= 0) return 1;
    double others = (double)v->busy + (double)v->queued; /* it is not among them yet */
    return fmin(1 + v->o.contention * others / (double)v->o.servers, SLOWEST);
}

static int64_t span(double ns)
{
    return ns < 1e18 ? (int64_t)ns : INT64_C(1000000000000000000);
}

static void serve(struct np_sim *s, struct np_sim_server_state *v, struct np_sim_attempt *a)
{
    double ns = np_dist_draw(&v->o.service, &v->rng) * a->cost * contention(v);
    a->status = 200;
    if (v->nactive > 0 || v->cold_ns > 0) {
        struct np_sim_weather w;
        np_sim_weather_at(v, s->now, &w);
        ns *= w.slow;
        if (happens(v, w.error_rate)) {
            a->status = w.error_status;
            if (w.error_ns >= 0) ns = (double)w.error_ns;
        }
    }
    a->place = PLACE_SERVED;
    append(&v->serving, a);
    v->busy++;
    v->busy_ns += ns;
    np_sim_queue_set(&s->queue, &a->step, s->now + span(ns));
}

static uint32_t capacity(const struct np_sim_server_state *v, int64_t now)
{
    if (v->nactive == 0) return v->o.servers;
    struct np_sim_weather w;
    np_sim_weather_at(v, now, &w);
    return (uint32_t)ceil((double)v->o.servers * w.capacity);
}

void np_sim_server_kick(struct np_sim *s, struct np_sim_server_state *v)
{
    while (v->queue.first != NULL && v->busy < capacity(v, s->now)) {
        struct np_sim_attempt *a = v->queue.first;
        take_out(&v->queue, a);
        v->queued--;
        serve(s, v, a);
    }
}

static void enter(struct np_sim *s, struct np_sim_server_state *v, struct np_sim_attempt *a)
{
    if (v->queued == 0 && v->busy < capacity(v, s->now)) {
        serve(s, v, a);
    } else if (v->queued < v->o.queue) {
        a->place = PLACE_QUEUED;
        append(&v->queue, a);
        v->queued++;
        if (v->queued > v->totals.queued_most) v->totals.queued_most = v->queued;
    } else {
        v->totals.refused++;
        reply(s, a, v->o.reject_status, v->o.reject_ns);
    }
}

void np_sim_server_receives(struct np_sim *s, struct np_sim_attempt *a)
{
    struct np_sim_server_state *v = &s->servers[a->server];
    const char *zone = s->callers[a->r->caller].zone;
    v->totals.attempts++;
    a->rtt = v->o.rtt_ns;
    if (zone && v->o.zone && strcmp(zone, v->o.zone) != 0) a->rtt += s->o.zone_rtt_ns;
    if (v->nactive > 0) {
        struct np_sim_weather w;
        np_sim_weather_at(v, s->now, &w);
        a->rtt += w.delay_ns;
        if (happens(v, w.refuse)) {
            v->totals.refused++;
            reply(s, a, -1, 0);
            return;
        }
        if (happens(v, w.black_hole)) return; /* until the caller gives up */
    }
    enter(s, v, a);
}

static bool swallowed(struct np_sim *s, struct np_sim_server_state *v)
{
    if (v->nactive == 0) return false;
    struct np_sim_weather w;
    np_sim_weather_at(v, s->now, &w);
    return w.black_hole >= 1;
}

static void served(struct np_sim *s, struct np_sim_attempt *a)
{
    struct np_sim_server_state *v = &s->servers[a->server];
    take_out(&v->serving, a);
    v->busy--;
    v->totals.served++;
    if (a->status != 200) v->totals.failed++;
    if (a->r == NULL) s->totals->wasted++;
    a->place = PLACE_NOWHERE;
    if (a->r == NULL)
        drop(s, a);
    else if (!swallowed(s, v))
        reply(s, a, a->status, 0);
    np_sim_server_kick(s, v);
}

void np_sim_server_step(struct np_sim *s, struct np_sim_attempt *a)
{
    if (a->place == PLACE_SERVED)
        served(s, a);
    else
        np_sim_answered(s, a);
}

void np_sim_server_left(struct np_sim *s, struct np_sim_attempt *a)
{
    struct np_sim_server_state *v = &s->servers[a->server];
    np_sim_queue_clear(&s->queue, &a->timeout);
    a->r = NULL;
    if (a->place == PLACE_SERVED) return;
    if (a->place == PLACE_QUEUED) {
        if (!v->o.cancels) return;
        take_out(&v->queue, a);
        v->queued--;
    }
    drop(s, a);
}

/* Every connection breaks. */
void np_sim_server_crash(struct np_sim *s, struct np_sim_server_state *v)
{
    struct np_sim_list lost[2] = {v->serving, v->queue};
    v->serving = v->queue = (struct np_sim_list){0};
    v->busy = v->queued = 0;
    for (int i = 0; i < 2; i++) {
        struct np_sim_attempt *next;
        for (struct np_sim_attempt *a = lost[i].first; a != NULL; a = next) {
            next = a->after;
            a->ahead = a->after = NULL;
            np_sim_queue_clear(&s->queue, &a->step);
            a->rtt = a->rtt > 0 ? a->rtt : 1; /* not from within this walk */
            reply(s, a, 0, 0);
        }
    }
}
