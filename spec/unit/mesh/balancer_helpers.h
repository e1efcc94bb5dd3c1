/* What the tests of single policies share. */
#ifndef BALANCER_HELPERS_H
#define BALANCER_HELPERS_H

#include "mesh_helpers.h"

#include <math.h>

static inline struct np_balancer_options options_make(void)
{
    struct np_balancer_options o = NP_BALANCER_OPTIONS_INIT;
    o.seed = 12345;
    return o;
}

/* `o` may be NULL. */
static inline struct np_balancer *lb_make(const char *policy, const struct np_balancer_options *o,
                                          struct np_snapshot *set)
{
    struct np_balancer_options usual = options_make();
    struct np_balancer *b = NULL;
    assert_non_null(np_balancer_find(policy));
    assert_ok(np_balancer_new(np_balancer_find(policy), o ? o : &usual, &b));
    assert_ok(np_balancer_update(b, set));
    return b;
}

static inline void lb_drop(struct np_balancer *b, struct np_snapshot *set)
{
    np_balancer_free(b);
    np_snapshot_unref(set);
    assert_int_equal(np_alloc_live(), 0);
}

/* "e17" is 17. */
static inline unsigned lb_number(const struct np_endpoint *e)
{
    return (unsigned)strtoul(e->id + 1, NULL, 10);
}

/* Picks at `now` and releases at once. */
static inline unsigned lb_turn_at(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct np_endpoint *e = NULL;
    assert_ok(np_balancer_pick(b, ctx, now, &e));
    unsigned n = lb_number(e);
    release_with(b, e, NP_OUTCOME_OK, -1, now);
    return n;
}

/* The number of the endpoint that key `k` goes to. */
static inline unsigned lb_owner(struct np_balancer *b, unsigned k)
{
    char text[32];
    int n = snprintf(text, sizeof text, "user-%u", k);
    struct np_pick_ctx ctx = {.has_hash = true, .hash = np_pick_hash(text, (size_t)n)};
    return lb_turn_at(b, &ctx, S);
}

#endif
