/* peak_ewma: of two draws the one with the smaller latency · (active + 1) / weight, where the
 * latency is the endpoint's peak average (see endpoint.h), as Finagle and linkerd do it.
 *
 * Two draws can both be bad: with two bad endpoints of ten that is one pick in 45, enough to spoil
 * the p99. So where the better one costs several times what picks have cost lately, it looks at a
 * few more. While all do alike that never happens, and the choice is P2C's, with nothing of the
 * herding that looking at all of them brings.
 */
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"
#include "mesh/endpoint_cost.h"

enum { MORE_DRAWS = 4, USUAL_PICKS = 32 };
#define DEAR 4.0 /* times the usual cost */

struct peak {
    struct np_balancer b;
    double usual; /* moving average of what picks cost, over so many; 0: none yet */
};

static inline double cost(const struct np_balancer *b, size_t i, int64_t now)
{
    return np_stats_cost(b->slots[i].stats, now) * np_cost_active(b, i, now);
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct peak *p = (struct peak *)b;
    double c;
    size_t best = np_draw_cheapest(b, ctx, cost, now, &c);
    if (p->usual <= 0) p->usual = c;
    double enough = DEAR * p->usual;
    if (c > enough) best = np_draw_on(b, ctx, cost, now, MORE_DRAWS, enough, best, &c);
    p->usual += (c - p->usual) * (1.0 / USUAL_PICKS);
    return best;
}

const struct np_balancer_ops np_lb_peak_ewma = {
    .name = "peak_ewma",
    .size = sizeof(struct peak),
    .pick = pick,
};
