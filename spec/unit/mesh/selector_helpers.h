/* What the tests of the selector share. */
#ifndef SELECTOR_HELPERS_H
#define SELECTOR_HELPERS_H

#include "mesh_helpers.h"

#include "mesh/selector.h"

struct host {
    const char *id, *zone, *priority, *version;
};

static inline struct np_endpoint *host_make(const struct host *h)
{
    struct np_endpoint *e = NULL;
    struct np_pair meta[2];
    size_t n = 0;
    if (h->priority) meta[n++] = (struct np_pair){"priority", h->priority};
    if (h->version) meta[n++] = (struct np_pair){"version", h->version};
    struct np_endpoint_desc d = {.id = h->id,
                                 .service = "goods",
                                 .address = "10.0.0.1:80",
                                 .zone = h->zone,
                                 .meta = meta,
                                 .nmeta = n};
    assert_ok(np_endpoint_new(&d, NULL, &e, NULL));
    return e;
}

static inline struct np_snapshot *hosts_make(const struct host *hosts, size_t n)
{
    struct np_endpoint *v[64];
    struct np_snapshot *set = NULL;
    for (size_t i = 0; i < n; i++)
        v[i] = host_make(&hosts[i]);
    assert_ok(np_snapshot_new(v, n, 0, &set));
    for (size_t i = 0; i < n; i++)
        np_endpoint_unref(v[i]);
    return set;
}

/* Takes over the reference to `set`. */
static inline struct np_selector *selector_over(const char *policy, struct np_snapshot *set,
                                                const struct np_selector_options *o)
{
    struct np_selector *s = NULL;
    struct np_balancer_options b = NP_BALANCER_OPTIONS_INIT;
    b.seed = 42;
    assert_ok(np_selector_new(np_balancer_find(policy), &b, o, &s));
    assert_ok(np_selector_update(s, set, S));
    np_snapshot_unref(set);
    return s;
}

static inline struct np_endpoint *at(const struct np_selector *s, size_t i)
{
    return np_selector_all(s)->endpoints[i];
}

static inline void eject(struct np_endpoint *e, int64_t until)
{
    atomic_store(&e->stats->ejected_until, until);
}

static inline void readmit(struct np_endpoint *e)
{
    atomic_store(&e->stats->ejected_until, 0);
}

static inline void set_health(struct np_endpoint *e, enum np_health bit, bool on)
{
    if (on) {
        atomic_fetch_or(&e->stats->health, (unsigned char)bit);
    } else {
        atomic_fetch_and(&e->stats->health, (unsigned char)~bit);
    }
}

/* How often each of the first endpoints is picked in so many picks; those that find none count in
 * `none`. Every one ends well. */
struct picks {
    unsigned by[64];
    unsigned none, trials;
};

static inline struct picks pick_many(struct np_selector *s, unsigned n,
                                     const struct np_pick_ctx *ctx, int64_t now)
{
    struct picks p = {{0}, 0, 0};
    struct np_result ok = np_result_of(NP_OUTCOME_OK, -1);
    for (unsigned i = 0; i < n; i++) {
        struct np_endpoint *e = NULL;
        bool trial = false;
        if (np_selector_pick(s, ctx, now, &e, &trial) != NEAP_OK) {
            p.none++;
            continue;
        }
        for (size_t k = 0; k < np_selector_all(s)->len && k < 64; k++)
            p.by[k] += e == at(s, k);
        p.trials += trial;
        np_selector_release(s, e, trial, &ok, now);
    }
    return p;
}

static inline unsigned sum(const struct picks *p, size_t from, size_t to)
{
    unsigned n = 0;
    for (size_t i = from; i < to; i++)
        n += p->by[i];
    return n;
}

static inline void assert_near(double is, double should, double by)
{
    if (is < should - by || is > should + by) fail_msg("%.4f is not near %.4f", is, should);
}

#endif
