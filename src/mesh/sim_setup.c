/* A run of the simulator is made of its options: checked, copied, and given callers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "mesh/sim_impl.h"

#define VIEWS_MAX 262144 /* endpoints that callers know, over all callers */

/* --- memory that goes with the run */

/* Zeroed. NULL: out of memory, which s->failed remembers. */
static void *keep(struct np_sim *s, size_t count, size_t size)
{
    if (s->nmemory == s->memory_cap) {
        size_t cap = s->memory_cap ? s->memory_cap * 2 : 64;
        void **memory = np_realloc(s->memory, cap * sizeof *memory);
        if (memory == NULL) goto fail;
        s->memory = memory;
        s->memory_cap = cap;
    }
    void *p = np_calloc(count ? count : 1, size);
    if (p == NULL) goto fail;
    s->memory[s->nmemory++] = p;
    return p;
fail:
    s->failed = NEAP_ENOMEM;
    return NULL;
}

static const void *copied(struct np_sim *s, const void *from, size_t count, size_t size)
{
    void *p = keep(s, count, size);
    if (p != NULL && count > 0) memcpy(p, from, count * size);
    return p;
}

static const char *copied_text(struct np_sim *s, const char *text)
{
    return text ? copied(s, text, strlen(text) + 1, 1) : NULL;
}

static void copy_dist(struct np_sim *s, struct np_dist *d)
{
    if (d->nvalues > 0) d->values = copied(s, d->values, d->nvalues, sizeof *d->values);
}

/* --- checks */

static bool share_ok(double x)
{
    return x >= 0 && x <= 1;
}

static enum neap_err check_server(const struct np_sim_server_options *v, size_t i,
                                  struct neap_errinfo *info)
{
    const char *wrong = NULL;
    if (!np_dist_ok(&v->service)) wrong = "its service time is no distribution";
    if (v->servers < 1) wrong = "it serves none at a time";
    if (!(v->contention >= 0) || isinf(v->contention)) wrong = "contention is below 0";
    if (v->rtt_ns < 0 || v->reject_ns < 0 || v->retry_after_ns < 0) wrong = "a time below 0";
    if (v->reject_status < 400 || v->reject_status > 599) wrong = "it rejects with no error status";
    if (v->name == NULL) wrong = "it has no name";
    if (wrong == NULL) return NEAP_OK;
    return np_err_set(info, NEAP_EINVAL, "endpoint %zu: %s", i + 1, wrong);
}

static enum neap_err check_change(const struct np_sim_options *o, size_t i,
                                  struct neap_errinfo *info)
{
    const struct np_sim_change *c = &o->changes[i];
    const char *wrong = NULL;
    if (c->at < 0 || c->until <= c->at) wrong = "it ends before it begins";
    if (!share_ok(c->error_rate) || !share_ok(c->refuse) || !share_ok(c->black_hole) ||
        !share_ok(c->capacity)) {
        wrong = "a share is not in 0 … 1";
    }
    if (!(c->slow >= 0) || isinf(c->slow) || !(c->cold_slow >= 0) || isinf(c->cold_slow))
        wrong = "a factor is below 0";
    if (c->ramp_ns < 0 || c->delay_ns < 0 || c->cold_ns < 0) wrong = "a time below 0";
    for (size_t k = 0; k < c->nservers; k++) {
        if (c->servers[k] >= o->nservers) wrong = "there is no such endpoint";
    }
    if (wrong == NULL) return NEAP_OK;
    return np_err_set(info, NEAP_EINVAL, "change %zu: %s", i + 1, wrong);
}

static enum neap_err check_segments(const struct np_sim_options *o, struct neap_errinfo *info)
{
    const struct np_sim_load *l = &o->load;
    if (l->closed) {
        if (l->users < 1) return np_err_set(info, NEAP_EINVAL, "load: no users");
        return np_dist_ok(&l->think)
                   ? NEAP_OK
                   : np_err_set(info, NEAP_EINVAL, "load: think is no distribution");
    }
    if (l->nsegments < 1 || l->segments[0].from != 0)
        return np_err_set(info, NEAP_EINVAL, "load: no rate at the begin");
    for (size_t i = 0; i < l->nsegments; i++) {
        const struct np_sim_segment *g = &l->segments[i];
        bool ok = g->rate >= 0 && g->rate_to >= 0 && g->rate <= 1e8 && g->rate_to <= 1e8;
        if (!ok) return np_err_set(info, NEAP_EINVAL, "load: a rate is not in 0 … 1e8");
        if (i > 0 && g->from < l->segments[i - 1].from)
            return np_err_set(info, NEAP_EINVAL, "load: rates are not in order of their moments");
    }
    return NEAP_OK;
}

static enum neap_err check_load(const struct np_sim_options *o, struct neap_errinfo *info)
{
    const struct np_sim_load *l = &o->load;
    double sum = 0;
    if (l->timeout_ns <= 0) return np_err_set(info, NEAP_EINVAL, "load: no time-out");
    if (l->slo_ns < 0) return np_err_set(info, NEAP_EINVAL, "load: an objective below 0");
    if (l->retries > 100) return np_err_set(info, NEAP_EINVAL, "load: more than 100 retries");
    if (l->retries > 0 && !np_dist_ok(&l->retry_delay))
        return np_err_set(info, NEAP_EINVAL, "load: the retries' delay is no distribution");
    if (!(l->key_skew >= 0 && l->key_skew <= 100))
        return np_err_set(info, NEAP_EINVAL, "load: the keys' skew is not in 0 … 100");
    if (l->nclasses < 1 || l->nclasses > NP_SIM_CLASSES_MAX)
        return np_err_set(info, NEAP_EINVAL, "load: no classes, or too many");
    for (size_t i = 0; i < l->nclasses; i++) {
        const struct np_sim_class *c = &l->classes[i];
        bool ok = c->share >= 0 && !isinf(c->share) && np_dist_ok(&c->cost) &&
                  (unsigned)c->priority < NP_PRIORITY_CLASSES;
        if (!ok) return np_err_set(info, NEAP_EINVAL, "class %zu: out of range", i + 1);
        sum += c->share;
    }
    if (!(sum > 0)) return np_err_set(info, NEAP_EINVAL, "load: the classes have no shares");
    return check_segments(o, info);
}

enum neap_err np_sim_check(const struct np_sim_options *o, struct neap_errinfo *info)
{
    enum neap_err err = check_load(o, info);
    if (o->nservers < 1 || o->nservers > NP_SIM_SERVERS_MAX)
        return np_err_set(info, NEAP_EINVAL, "1 … %d endpoints", NP_SIM_SERVERS_MAX);
    if (o->callers < 1 || o->callers > NP_SIM_CALLERS_MAX)
        return np_err_set(info, NEAP_EINVAL, "1 … %d callers", NP_SIM_CALLERS_MAX);
    if ((size_t)o->callers * o->nservers > VIEWS_MAX && !o->shared)
        return np_err_set(info, NEAP_EINVAL, "callers times endpoints is more than %d", VIEWS_MAX);
    if (o->duration_ns <= 0 || o->warmup_ns < 0 || o->warmup_ns >= o->duration_ns)
        return np_err_set(info, NEAP_EINVAL, "the duration is not more than the warm-up");
    if (o->buckets < 1 || o->buckets > 10000 || (size_t)o->buckets * o->nservers > 1u << 24)
        return np_err_set(info, NEAP_EINVAL, "too many buckets, or none");
    if (o->discovery_ns < 0 || o->zone_rtt_ns < 0)
        return np_err_set(info, NEAP_EINVAL, "a time below 0");
    for (size_t i = 0; i < o->nservers && err == NEAP_OK; i++)
        err = check_server(&o->servers[i], i, info);
    for (size_t i = 0; i < o->nchanges && err == NEAP_OK; i++)
        err = check_change(o, i, info);
    return err;
}

/* --- the world */

static uint64_t sub_seed(const struct np_sim *s, uint64_t n)
{
    uint64_t seed = np_hash_mix(s->o.seed * UINT64_C(0x9E3779B97F4A7C15) + n + 1);
    return seed ? seed : 1;
}

static void copy_meta(struct np_sim *s, struct np_sim_server_options *o)
{
    struct np_pair *meta = (struct np_pair *)copied(s, o->meta, o->nmeta, sizeof *meta);
    for (size_t i = 0; meta != NULL && i < o->nmeta; i++) {
        meta[i].key = copied_text(s, meta[i].key);
        meta[i].value = copied_text(s, meta[i].value);
    }
    o->meta = meta;
}

static void make_servers(struct np_sim *s)
{
    s->o.servers = copied(s, s->o.servers, s->o.nservers, sizeof *s->o.servers);
    s->servers = keep(s, s->o.nservers, sizeof *s->servers);
    for (size_t i = 0; i < s->o.nservers && s->failed == NEAP_OK; i++) {
        struct np_sim_server_state *v = &s->servers[i];
        v->o = s->o.servers[i];
        v->o.name = copied_text(s, v->o.name);
        v->o.zone = copied_text(s, v->o.zone);
        copy_dist(s, &v->o.service);
        if (v->o.nmeta > 0) copy_meta(s, &v->o);
        v->in_set = !v->o.absent;
        np_rng_init(&v->rng, sub_seed(s, 1000 + i));
    }
}

static void make_change(struct np_sim *s, struct np_sim_change_state *c)
{
    c->c.servers = copied(s, c->c.servers, c->c.nservers, sizeof *c->c.servers);
    c->begins.kind = TIMER_CHANGE_BEGINS;
    c->ends.kind = TIMER_CHANGE_ENDS;
    for (size_t i = 0; c->c.servers != NULL && i < c->c.nservers; i++)
        s->servers[c->c.servers[i]].nchanges++;
}

static void make_changes(struct np_sim *s)
{
    s->changes = keep(s, s->o.nchanges, sizeof *s->changes);
    s->discovery = keep(s, 2 * s->o.nchanges, sizeof *s->discovery);
    if (s->failed) return;
    for (size_t i = 0; i < s->o.nchanges && s->failed == NEAP_OK; i++) {
        s->changes[i].c = s->o.changes[i];
        make_change(s, &s->changes[i]);
        s->discovery[2 * i].kind = s->discovery[2 * i + 1].kind = TIMER_DISCOVERY;
    }
    for (size_t i = 0; i < s->o.nservers && s->failed == NEAP_OK; i++) {
        struct np_sim_server_state *v = &s->servers[i];
        v->changes = keep(s, v->nchanges, sizeof *v->changes);
        v->nchanges = 0;
    }
    for (size_t i = 0; i < s->o.nchanges && s->failed == NEAP_OK; i++) {
        const struct np_sim_change *c = &s->changes[i].c;
        for (size_t k = 0; k < c->nservers; k++) {
            struct np_sim_server_state *v = &s->servers[c->servers[k]];
            v->changes[v->nchanges++] = &s->changes[i];
        }
    }
}

static void copy_load(struct np_sim *s)
{
    struct np_sim_load *l = &s->o.load;
    l->segments = copied(s, l->segments, l->nsegments, sizeof *l->segments);
    struct np_sim_class *classes =
        (struct np_sim_class *)copied(s, l->classes, l->nclasses, sizeof *classes);
    for (size_t i = 0; classes != NULL && i < l->nclasses; i++) {
        copy_dist(s, &classes[i].cost);
        s->share_sum += classes[i].share;
    }
    l->classes = classes;
    copy_dist(s, &l->think);
    copy_dist(s, &l->retry_delay);
}

/* --- callers */

static enum neap_err make_endpoints(struct np_sim *s, struct np_sim_caller *c)
{
    for (size_t i = 0; i < s->o.nservers; i++) {
        const struct np_sim_server_options *v = &s->servers[i].o;
        char address[80];
        snprintf(address, sizeof address, "10.0.%zu.%zu:%zu", i / 256, i % 256, i + 1);
        struct np_endpoint_desc d = {.id = v->name,
                                     .service = "sim",
                                     .address = address,
                                     .zone = v->zone,
                                     .weight = v->weight,
                                     .meta = v->meta,
                                     .nmeta = v->nmeta};
        enum neap_err err = np_endpoint_new(&d, NULL, &c->endpoints[i], NULL);
        if (err != NEAP_OK) return err;
    }
    return NEAP_OK;
}

static enum neap_err make_caller(struct np_sim *s, uint32_t i, struct neap_errinfo *info)
{
    struct np_sim_caller *c = &s->callers[i];
    struct np_cluster_options o = s->o.cluster;
    bool first = i == 0 || !s->o.shared;
    enum neap_err err = NEAP_OK;
    c->zone = s->o.ncaller_zones ? s->o.caller_zones[i % s->o.ncaller_zones] : o.selector.zone;
    o.selector.zone = c->zone;
    o.balancer.seed = sub_seed(s, UINT64_C(1000000) + i);
    if (first) {
        c->endpoints = keep(s, s->o.nservers, sizeof *c->endpoints);
        c->ejected = keep(s, s->o.nservers, sizeof *c->ejected);
        if (s->failed) return s->failed;
        err = make_endpoints(s, c);
        if (err == NEAP_OK)
            err = np_cluster_rules_new(&o, sub_seed(s, UINT64_C(2000000) + i), NP_SIM_EPOCH,
                                       &s->rules[s->nrules], info);
        if (err == NEAP_OK) s->nrules++;
    } else {
        c->endpoints = s->callers[0].endpoints;
        c->ejected = s->callers[0].ejected;
    }
    if (err == NEAP_OK) err = np_cluster_new(&o, s->rules[s->nrules - 1], &c->cluster);
    return err;
}

static enum neap_err make_callers(struct np_sim *s, struct neap_errinfo *info)
{
    const char **zones =
        (const char **)copied(s, s->o.caller_zones, s->o.ncaller_zones, sizeof *zones);
    for (size_t i = 0; zones != NULL && i < s->o.ncaller_zones; i++)
        zones[i] = copied_text(s, zones[i]);
    s->o.caller_zones = zones;
    s->callers = keep(s, s->o.callers, sizeof *s->callers);
    s->rules = keep(s, s->o.callers, sizeof(struct np_cluster_rules *));
    if (s->failed) return s->failed;
    for (uint32_t i = 0; i < s->o.callers; i++) {
        enum neap_err err = make_caller(s, i, info);
        if (err != NEAP_OK) return err;
    }
    return np_sim_update_callers(s);
}

/* Each caller learns of the set as it is. */
enum neap_err np_sim_update_callers(struct np_sim *s)
{
    struct np_endpoint **list = np_alloc(s->o.nservers * sizeof(struct np_endpoint *));
    struct np_snapshot *set = NULL;
    enum neap_err err = list ? NEAP_OK : NEAP_ENOMEM;
    for (uint32_t i = 0; i < s->o.callers && err == NEAP_OK; i++) {
        size_t n = 0;
        for (size_t k = 0; k < s->o.nservers; k++) {
            if (s->servers[k].in_set) list[n++] = s->callers[i].endpoints[k];
        }
        if (i == 0 || !s->o.shared) {
            np_snapshot_unref(set);
            set = NULL;
            err = np_snapshot_new(list, n, 0, &set);
        }
        if (err == NEAP_OK) err = np_cluster_update(s->callers[i].cluster, set, s->now);
    }
    np_snapshot_unref(set);
    np_free(list);
    return err;
}

/* --- */

static void set_timers(struct np_sim *s)
{
    int64_t end = s->o.duration_ns;
    for (size_t i = 0; i < s->o.nchanges; i++) {
        struct np_sim_change_state *c = &s->changes[i];
        np_sim_queue_set(&s->queue, &c->begins, NP_SIM_EPOCH + c->c.at);
        if (c->c.until <= end) np_sim_queue_set(&s->queue, &c->ends, NP_SIM_EPOCH + c->c.until);
    }
    s->bucket_ns = (end + s->o.buckets - 1) / s->o.buckets;
    np_sim_queue_set(&s->queue, &s->sample, NP_SIM_EPOCH + s->bucket_ns);
    np_sim_users_begin(s);
}

enum neap_err np_sim_setup(struct np_sim *s, const struct np_sim_options *o,
                           struct neap_errinfo *info)
{
    s->o = *o;
    s->now = NP_SIM_EPOCH;
    s->stops = NP_SIM_EPOCH + o->duration_ns;
    s->requests = (struct np_sim_pool){.size = sizeof(struct np_sim_request), .timers = 3};
    s->attempts = (struct np_sim_pool){.size = sizeof(struct np_sim_attempt), .timers = 2};
    s->arrival.kind = TIMER_ARRIVAL;
    s->sample.kind = TIMER_SAMPLE;
    np_rng_init(&s->arrivals, sub_seed(s, 1));
    np_rng_init(&s->wishes, sub_seed(s, 2));
    np_rng_init(&s->users, sub_seed(s, 3));
    copy_load(s);
    make_servers(s);
    if (s->failed == NEAP_OK) make_changes(s);
    s->totals = keep(s, 1, sizeof *s->totals);
    s->points = keep(s, o->buckets, sizeof *s->points);
    s->loads = keep(s, (size_t)o->buckets * o->nservers, sizeof *s->loads);
    if (s->failed == NEAP_OK) s->failed = np_sim_queue_reserve(&s->queue, 2 + 4 * o->nchanges);
    if (s->failed == NEAP_OK) s->failed = make_callers(s, info);
    if (s->failed == NEAP_OK) set_timers(s);
    return s->failed;
}
