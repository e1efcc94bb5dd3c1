/* What the simulator writes down: totals, and the same in buckets of time. */
#include "mesh/sim_impl.h"

/* A detector may judge this much later than something went wrong (Envoy's interval). */
#define BLAME_NS (INT64_C(10) * 1000000000)

static size_t bucket_of(const struct np_sim *s, int64_t at)
{
    int64_t i = (at - NP_SIM_EPOCH) / s->bucket_ns;
    return i < s->o.buckets ? (size_t)i : s->o.buckets - 1;
}

void np_sim_note_attempt(struct np_sim *s, const struct np_sim_attempt *a)
{
    size_t b = bucket_of(s, s->now);
    s->points[b].attempts++;
    s->loads[b * s->o.nservers + a->server]++;
    if (!a->r->counts) return;
    s->totals->attempts++;
    if (a->a.retry) s->totals->retries++;
    if (a->a.hedge) s->totals->hedges++;
}

void np_sim_note_request(struct np_sim *s, const struct np_sim_request *r, bool ok)
{
    struct np_sim_point *p = &s->points[bucket_of(s, r->began)];
    const struct np_sim_load *l = &s->o.load;
    int64_t spent = s->now - r->began;
    bool good = ok && spent <= (l->slo_ns ? l->slo_ns : l->timeout_ns);
    int64_t latency = ok || spent > l->timeout_ns ? spent : l->timeout_ns;
    np_sim_hist_add(&p->latency, latency);
    p->requests++;
    p->ok += ok;
    p->good += good;
    if (!r->counts) return;
    struct np_sim_totals *t = s->totals;
    t->ok += ok;
    t->good += good;
    t->classes[r->class_index].good += good;
    if (!ok) t->errors[r->error]++;
    np_sim_hist_add(&t->latency, latency);
    if (ok) np_sim_hist_add(&t->success, spent);
}

/* --- looks at what the callers think of the servers */

static bool impaired(const struct np_sim *s, size_t server)
{
    int64_t until = s->servers[server].impaired_until;
    return until == INT64_MAX || (until > 0 && s->now <= until + BLAME_NS);
}

static uint32_t look_at(struct np_sim *s, struct np_sim_caller *c)
{
    uint32_t ejected = 0;
    for (size_t i = 0; i < s->o.nservers; i++) {
        bool now = np_endpoint_availability(c->endpoints[i], s->now) == NP_UNAVAILABLE;
        if (now && !c->ejected[i] && s->now - NP_SIM_EPOCH >= s->o.warmup_ns) {
            s->totals->ejections++;
            s->totals->ejections_right += impaired(s, i);
        }
        c->ejected[i] = now;
        ejected += now;
    }
    return ejected;
}

static double limit_of(const struct np_sim *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->nrules; i++) {
        struct np_concurrency *c = np_cluster_rules_concurrency(s->rules[i]);
        if (c != NULL) sum += np_concurrency_counters(c).limit;
    }
    return sum / (double)s->nrules;
}

void np_sim_sample(struct np_sim *s)
{
    struct np_sim_point *p = &s->points[s->sampled];
    uint32_t lookers = s->o.shared ? 1 : s->o.callers;
    for (uint32_t i = 0; i < lookers; i++)
        p->ejected += look_at(s, &s->callers[i]);
    p->limit = limit_of(s);
    if (++s->sampled < s->o.buckets) {
        int64_t at = NP_SIM_EPOCH + (int64_t)(s->sampled + 1) * s->bucket_ns;
        np_sim_queue_set(&s->queue, &s->sample, at);
    }
}

/* --- the end */

/* Jain's index of attempts by capacity, over the servers that were ever in the set. */
static double fairness(const struct np_sim *s)
{
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 0; i < s->o.nservers; i++) {
        const struct np_sim_server_state *v = &s->servers[i];
        if (v->o.absent && v->totals.attempts == 0) continue;
        double mean = np_dist_mean(&v->o.service);
        double x = (double)v->totals.attempts * (mean > 0 ? mean : 1) / (double)v->o.servers;
        sum += x;
        squares += x * x;
        n++;
    }
    return squares > 0 ? sum * sum / (n * squares) : 1;
}

void np_sim_finish_totals(struct np_sim *s)
{
    struct np_sim_totals *t = s->totals;
    int64_t end = s->stops < s->now ? s->stops : s->now;
    t->span = (double)(end - NP_SIM_EPOCH - s->o.warmup_ns) / 1e9;
    t->fairness = fairness(s);
    for (uint32_t i = 0; i < s->o.callers; i++) {
        struct np_cluster_counters c = np_cluster_counters(s->callers[i].cluster);
        t->hedges_won += c.hedges_won;
        for (int k = 0; k < NP_RULES; k++) {
            t->refused[k] += c.refused[k];
            t->would_refuse[k] += c.would_refuse[k];
        }
    }
    for (size_t i = 0; i < s->o.nservers; i++) {
        struct np_sim_server_state *v = &s->servers[i];
        double whole = (double)(end - NP_SIM_EPOCH) * v->o.servers;
        v->totals.busy = whole > 0 ? v->busy_ns / whole : 0;
    }
}
