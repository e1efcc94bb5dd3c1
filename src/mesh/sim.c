/* A run of the simulator (see sim.h): events in order of their moments. */
#include "mesh/sim.h"

#include <math.h>

#include "base/alloc.h"
#include "mesh/sim_impl.h"

const char *np_sim_error_name(enum np_sim_error e)
{
    static const char *const names[] = {"timeout", "refused", "status", "full", "shed"};
    return (unsigned)e < NP_SIM_ERRORS ? names[e] : "unknown";
}

enum neap_err np_sim_new(const struct np_sim_options *o, struct np_sim **out,
                         struct neap_errinfo *info)
{
    enum neap_err err = np_sim_check(o, info);
    if (err != NEAP_OK) return err;
    struct np_sim *s = np_calloc(1, sizeof *s);
    if (s == NULL) return np_err_plain(info, NEAP_ENOMEM);
    err = np_sim_setup(s, o, info);
    if (err != NEAP_OK) goto fail;
    *out = s;
    return NEAP_OK;
fail:
    np_sim_free(s);
    return err == NEAP_ENOMEM ? np_err_plain(info, err) : err;
}

/* What is in flight when a run is broken off ends, so that clusters and endpoints can go. */
static void end_calls(struct np_sim *s)
{
    static const struct np_result canceled = {.outcome = NP_OUTCOME_CANCELED, .latency_ns = -1};
    struct np_sim_timer *t;
    while ((t = np_sim_queue_pop(&s->queue)) != NULL) {
        if (t->kind != TIMER_DEADLINE) continue;
        struct np_sim_request *r =
            (struct np_sim_request *)((char *)t - offsetof(struct np_sim_request, deadline));
        struct np_cluster *c = s->callers[r->caller].cluster;
        int64_t at;
        for (; r->attempts != NULL; r->attempts = r->attempts->next) {
            (void)np_cluster_finish(c, &r->call, &r->attempts->a, &canceled, false, s->now, &at);
        }
        np_cluster_end(c, &r->call, &canceled, s->now);
    }
}

void np_sim_free(struct np_sim *s)
{
    if (s == NULL) return;
    end_calls(s);
    for (uint32_t i = 0; s->callers != NULL && i < s->o.callers; i++) {
        struct np_sim_caller *c = &s->callers[i];
        if (c->cluster != NULL) np_cluster_free(c->cluster);
        bool own = c->endpoints != NULL && (i == 0 || !s->o.shared);
        for (size_t k = 0; own && k < s->o.nservers; k++)
            np_endpoint_unref(c->endpoints[k]);
    }
    for (size_t i = 0; i < s->nrules; i++)
        np_cluster_rules_unref(s->rules[i]);
    np_sim_pool_fini(&s->requests);
    np_sim_pool_fini(&s->attempts);
    np_sim_queue_fini(&s->queue);
    for (size_t i = 0; i < s->nmemory; i++)
        np_free(s->memory[i]);
    np_free(s->memory);
    np_free(s);
}

#define OWNER(type, member) ((struct type *)((char *)t - offsetof(struct type, member)))

static void handle(struct np_sim *s, struct np_sim_timer *t)
{
    switch ((enum timer_kind)t->kind) {
    case TIMER_ARRIVAL:
        np_sim_user_arrives(s);
        break;
    case TIMER_SAMPLE:
        np_sim_sample(s);
        break;
    case TIMER_CHANGE_BEGINS:
        np_sim_change_begins(s, OWNER(np_sim_change_state, begins));
        break;
    case TIMER_CHANGE_ENDS:
        np_sim_change_ends(s, OWNER(np_sim_change_state, ends));
        break;
    case TIMER_DISCOVERY: {
        enum neap_err err = np_sim_update_callers(s);
        if (err != NEAP_OK) s->failed = err;
        break;
    }
    case TIMER_DEADLINE:
        np_sim_call_deadline(s, OWNER(np_sim_request, deadline));
        break;
    case TIMER_AGAIN:
        np_sim_user_goes_on(s, OWNER(np_sim_request, again));
        break;
    case TIMER_HEDGE:
        np_sim_call_hedge(s, OWNER(np_sim_request, hedge));
        break;
    case TIMER_SERVER:
        np_sim_server_step(s, OWNER(np_sim_attempt, step));
        break;
    case TIMER_TRY:
        np_sim_try_timeout(s, OWNER(np_sim_attempt, timeout));
        break;
    }
}

enum neap_err np_sim_step(struct np_sim *s, uint64_t events, bool *over)
{
    for (uint64_t i = 0; i < events && !s->over && s->failed == NEAP_OK; i++) {
        struct np_sim_timer *t = NULL;
        if (!s->stopped || s->live > 0) t = np_sim_queue_pop(&s->queue);
        if (t == NULL) {
            s->over = true;
            np_sim_finish_totals(s);
            break;
        }
        s->now = t->at;
        s->totals->events++;
        handle(s, t);
        if (!s->stopped && s->now >= s->stops) s->stopped = true;
    }
    *over = s->over;
    return s->failed;
}

int64_t np_sim_now(const struct np_sim *s)
{
    return s->now;
}

double np_sim_progress(const struct np_sim *s)
{
    double by_time = (double)(s->now - NP_SIM_EPOCH) / (double)s->o.duration_ns;
    double by_count = s->o.requests ? (double)s->begun / (double)s->o.requests : 0;
    return s->over ? 1 : fmin(fmax(by_time, by_count), 1);
}

struct np_cluster *np_sim_cluster(const struct np_sim *s, size_t caller)
{
    return caller < s->o.callers ? s->callers[caller].cluster : NULL;
}

const struct np_sim_totals *np_sim_totals(const struct np_sim *s)
{
    return s->totals;
}

const struct np_sim_point *np_sim_point(const struct np_sim *s, size_t i)
{
    return i < s->o.buckets ? &s->points[i] : NULL;
}

struct np_sim_server_totals np_sim_server(const struct np_sim *s, size_t server)
{
    return s->servers[server].totals;
}

uint32_t np_sim_server_load(const struct np_sim *s, size_t server, size_t i)
{
    return i < s->o.buckets ? s->loads[i * s->o.nservers + server] : 0;
}
