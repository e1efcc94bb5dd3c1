/* The simulator's users: when they come, what they want, and what they do about an answer. */
#include <math.h>

#include "mesh/sim_impl.h"

/* --- open: arrivals at a rate that changes */

static double segment_end(const struct np_sim *s)
{
    const struct np_sim_load *l = &s->o.load;
    int64_t from = l->segments[s->segment].from;
    int64_t to =
        s->segment + 1 < l->nsegments ? l->segments[s->segment + 1].from : s->o.duration_ns;
    return (double)(to - from) / 1e9;
}

/* The moment, in seconds from `at` on, at which so many more users have come where the rate is
 * r0 at `at` and grows by k a second. */
static double time_for(double users, double r0, double k)
{
    if (fabs(k) < 1e-12) return users / r0;
    return (sqrt(fmax(r0 * r0 + 2 * k * users, 0)) - r0) / k;
}

/* Sets the next arrival: the integral of the rate until then is 1, or drawn with mean 1. Exact for
 * a rate that is linear in each segment. */
static void next_arrival(struct np_sim *s, double users)
{
    const struct np_sim_load *l = &s->o.load;
    for (; s->segment < l->nsegments; s->segment++, s->segment_at = 0) {
        const struct np_sim_segment *g = &l->segments[s->segment];
        double length = segment_end(s);
        double left = length - s->segment_at;
        if (left <= 0) continue;
        double k = (g->rate_to - g->rate) / length;
        double r0 = g->rate + k * s->segment_at;
        double area = r0 * left + k * left * left / 2;
        if (area <= users || area <= 0) {
            users -= fmax(area, 0);
            continue;
        }
        s->segment_at += time_for(users, r0, k);
        int64_t at = NP_SIM_EPOCH + g->from + (int64_t)(s->segment_at * 1e9);
        np_sim_queue_set(&s->queue, &s->arrival, at > s->now ? at : s->now);
        return;
    }
    s->stopped = true;
}

static double gap(struct np_sim *s)
{
    return s->o.load.even ? 1 : np_draw_exponential(&s->arrivals);
}

/* --- requests */

static uint16_t draw_class(struct np_sim *s)
{
    const struct np_sim_load *l = &s->o.load;
    if (l->nclasses == 1) return 0;
    double at = np_rng_unit(&s->wishes) * s->share_sum;
    size_t i = 0;
    for (; i + 1 < l->nclasses && at >= l->classes[i].share; i++)
        at -= l->classes[i].share;
    return (uint16_t)i;
}

static uint64_t draw_key(struct np_sim *s)
{
    double u = pow(np_rng_unit(&s->wishes), 1 + s->o.load.key_skew);
    uint64_t key = (uint64_t)(u * s->o.load.keys);
    return np_pick_hash(&key, sizeof key);
}

static void want(struct np_sim *s, struct np_sim_request *r)
{
    r->class_index = draw_class(s);
    r->cost = np_dist_draw(&s->o.load.classes[r->class_index].cost, &s->wishes);
    if (s->o.load.keys > 0) r->hash = draw_key(s);
    r->began = s->now;
    r->tries = 0;
    r->counts = s->now - NP_SIM_EPOCH >= s->o.warmup_ns;
    if (r->counts) {
        s->totals->requests++;
        s->totals->classes[r->class_index].requests++;
    }
    s->begun++;
    s->live++;
    np_sim_call_begin(s, r);
}

static struct np_sim_request *request_new(struct np_sim *s, uint32_t caller)
{
    struct np_sim_request *r = np_sim_pool_get(s, &s->requests);
    if (r == NULL) return NULL;
    r->deadline.kind = TIMER_DEADLINE;
    r->again.kind = TIMER_AGAIN;
    r->hedge.kind = TIMER_HEDGE;
    r->caller = caller;
    return r;
}

static bool no_more(struct np_sim *s)
{
    if (s->now >= s->stops) s->stopped = true;
    if (s->o.requests > 0 && s->begun >= s->o.requests) s->stopped = true;
    return s->stopped;
}

void np_sim_user_arrives(struct np_sim *s)
{
    if (no_more(s)) return;
    uint32_t n = s->o.callers;
    struct np_sim_request *r = request_new(s, n > 1 ? np_rng_below(&s->wishes, n) : 0);
    if (r == NULL) return;
    next_arrival(s, gap(s));
    want(s, r);
}

static void think(struct np_sim *s, struct np_sim_request *r)
{
    r->slept_at = s->now + (int64_t)np_dist_draw(&s->o.load.think, &s->users);
    np_sim_queue_set(&s->queue, &r->again, r->slept_at);
}

void np_sim_users_begin(struct np_sim *s)
{
    if (!s->o.load.closed) {
        next_arrival(s, s->o.load.even ? np_rng_unit(&s->arrivals) : gap(s));
        return;
    }
    for (uint32_t i = 0; i < s->o.load.users; i++) {
        struct np_sim_request *r = request_new(s, i % s->o.callers);
        if (r == NULL) return;
        think(s, r);
    }
}

void np_sim_user_goes_on(struct np_sim *s, struct np_sim_request *r)
{
    if (r->calling) {
        np_sim_call_again(s, r);
    } else if (r->tries > 0) {
        np_sim_call_begin(s, r);
    } else if (!no_more(s)) {
        want(s, r);
    } else {
        np_sim_pool_put(&s->requests, r);
    }
}

static void request_over(struct np_sim *s, struct np_sim_request *r, bool ok)
{
    np_sim_note_request(s, r, ok);
    s->live--;
    r->tries = 0;
    if (s->o.load.closed && !no_more(s))
        think(s, r);
    else
        np_sim_pool_put(&s->requests, r);
}

void np_sim_user_answered(struct np_sim *s, struct np_sim_request *r, bool ok)
{
    if (ok || r->tries >= s->o.load.retries) {
        request_over(s, r, ok);
        return;
    }
    r->tries++;
    int64_t at = s->now + (int64_t)np_dist_draw(&s->o.load.retry_delay, &s->users);
    np_sim_queue_set(&s->queue, &r->again, at);
}
