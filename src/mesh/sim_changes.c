/* What befalls the simulator's servers, and what that makes of them at a moment. */
#include <math.h>

#include "mesh/sim_impl.h"

static double level(const struct np_sim_change_state *c, int64_t now)
{
    if (c->c.ramp_ns <= 0) return 1;
    double x = (double)(now - c->c.at - NP_SIM_EPOCH) / (double)c->c.ramp_ns;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static double grown(double to, double share)
{
    return 1 + (to - 1) * share;
}

/* The chance that at least one of two independent things happens. */
static double either(double p, double q)
{
    return p + q - p * q;
}

static void add(const struct np_sim_change_state *c, int64_t now, struct np_sim_weather *w)
{
    double share = level(c, now);
    if (c->c.slow > 0) w->slow *= grown(c->c.slow, share);
    if (c->c.capacity > 0) w->capacity *= grown(c->c.capacity, share);
    if (c->c.error_rate > 0) {
        w->error_rate = either(w->error_rate, c->c.error_rate * share);
        w->error_status = c->c.error_status ? c->c.error_status : 500;
        w->error_ns = c->c.error_ns;
    }
    w->refuse = either(w->refuse, c->c.restart ? 1 : c->c.refuse * share);
    w->black_hole = either(w->black_hole, c->c.black_hole * share);
    w->delay_ns += (int64_t)((double)c->c.delay_ns * share);
}

void np_sim_weather_at(const struct np_sim_server_state *v, int64_t now, struct np_sim_weather *w)
{
    *w = (struct np_sim_weather){.slow = 1, .capacity = 1};
    for (uint32_t i = 0; v->nactive > 0 && i < v->nchanges; i++) {
        if (v->changes[i]->active) add(v->changes[i], now, w);
    }
    if (v->cold_ns > 0 && now < v->cold_from + v->cold_ns) {
        double left = 1 - (double)(now - v->cold_from) / (double)v->cold_ns;
        w->slow *= grown(v->cold_slow, left);
    }
}

static void set_in_set(struct np_sim *s, struct np_sim_server_state *v, bool in_set, size_t change)
{
    if (v->in_set == in_set) return;
    v->in_set = in_set;
    np_sim_queue_set(&s->queue, &s->discovery[change], s->now + s->o.discovery_ns);
}

void np_sim_change_begins(struct np_sim *s, struct np_sim_change_state *c)
{
    size_t index = (size_t)(c - s->changes);
    c->active = true;
    for (size_t i = 0; i < c->c.nservers; i++) {
        struct np_sim_server_state *v = &s->servers[c->c.servers[i]];
        v->nactive++;
        v->impaired_until = INT64_MAX;
        if (c->c.leave) set_in_set(s, v, false, 2 * index);
        if (c->c.join) set_in_set(s, v, true, 2 * index);
        if (c->c.restart) np_sim_server_crash(s, v);
        np_sim_server_kick(s, v);
    }
}

void np_sim_change_ends(struct np_sim *s, struct np_sim_change_state *c)
{
    size_t index = (size_t)(c - s->changes);
    c->active = false;
    for (size_t i = 0; i < c->c.nservers; i++) {
        struct np_sim_server_state *v = &s->servers[c->c.servers[i]];
        v->nactive--;
        if (v->nactive == 0) v->impaired_until = s->now;
        if (c->c.leave) set_in_set(s, v, true, 2 * index + 1);
        if (c->c.join) set_in_set(s, v, false, 2 * index + 1);
        if (c->c.restart && c->c.cold_ns > 0) {
            v->cold_from = s->now;
            v->cold_ns = c->c.cold_ns;
            v->cold_slow = fmax(c->c.cold_slow, 1);
            if (v->nactive == 0) v->impaired_until = s->now + c->c.cold_ns;
        }
        np_sim_server_kick(s, v);
    }
}
