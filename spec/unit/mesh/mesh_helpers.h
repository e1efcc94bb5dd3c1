/* What the tests of mesh share: endpoints and snapshots out of thin air. */
#ifndef MESH_HELPERS_H
#define MESH_HELPERS_H

#include "np_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "mesh/balancer.h"
#include "mesh/registry.h"

#define S NP_NS_PER_SEC

static inline struct np_endpoint *endpoint_make(const char *id, const char *address,
                                                uint32_t weight)
{
    struct np_endpoint *e = NULL;
    struct np_endpoint_desc d = {
        .id = id, .service = "goods", .address = address, .weight = weight};
    assert_ok(np_endpoint_new(&d, NULL, &e, NULL));
    return e;
}

/* n endpoints "e0" … at 10.0.x.y:80, each with its weight (NULL: 1). */
static inline struct np_snapshot *set_make(size_t n, const uint32_t *weights)
{
    struct np_endpoint **v = np_calloc(n ? n : 1, sizeof *v);
    struct np_snapshot *set = NULL;
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) {
        char id[32], address[64];
        snprintf(id, sizeof id, "e%zu", i);
        snprintf(address, sizeof address, "10.0.%zu.%zu:80", i / 250, i % 250 + 1);
        v[i] = endpoint_make(id, address, weights ? weights[i] : 1);
    }
    assert_ok(np_snapshot_new(v, n, 0, &set));
    for (size_t i = 0; i < n; i++)
        np_endpoint_unref(v[i]);
    np_free(v);
    return set;
}

/* The same endpoints without the one at `drop`. */
static inline struct np_snapshot *set_without(const struct np_snapshot *set, size_t drop)
{
    struct np_endpoint *v[512];
    struct np_snapshot *out = NULL;
    size_t n = 0;
    for (size_t i = 0; i < set->len; i++) {
        if (i != drop) v[n++] = set->endpoints[i];
    }
    assert_ok(np_snapshot_new(v, n, 0, &out));
    return out;
}

/* A request that was begun or picked ends. */
static inline void end_with(struct np_endpoint *e, enum np_outcome outcome, int64_t latency,
                            int64_t now)
{
    struct np_result r = np_result_of(outcome, latency);
    np_endpoint_end(e, &r, now);
}
static inline void release_with(struct np_balancer *b, struct np_endpoint *e,
                                enum np_outcome outcome, int64_t latency, int64_t now)
{
    struct np_result r = np_result_of(outcome, latency);
    np_balancer_release(b, e, &r, now);
}

static inline struct np_registration reg_make(const char *service, const char *id,
                                              const char *address, int64_t ttl)
{
    return (struct np_registration){.desc = {.id = id, .service = service, .address = address},
                                    .ttl = ttl};
}

#endif
