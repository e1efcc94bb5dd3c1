/* client_side_weighted_round_robin: weights come from the endpoints' own reports of their load
 * (np_endpoint_report), as gRPC (A58) and Envoy have it:
 *
 *   weight = qps / (utilization + eps / qps · penalty)
 *
 * A report counts when they have come for the blackout period, and since the endpoint was
 * readmitted, and until it expires. Whoever has none gets the mean of the others; where fewer than
 * two have one all are equal. Weights are made anew every update period, between a hundredth of the
 * mean and ten times the mean (as gRPC's), and become effective with each endpoint's next turn.
 */
#include "mesh/balancer_policies.h"
#include "mesh/balancer_smooth.h"

#define LEAST 0.01
#define MOST 10.0

enum { PASSES = 8 };

struct reported {
    struct np_balancer b;
    struct np_smooth smooth;
    int64_t renew_at; /* 0: with the next pick */
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* 0 if it has none. */
static double weight_of(const struct np_balancer *b, const struct np_stats *s, int64_t now)
{
    int64_t reported = GET(s->reported_ns);
    int64_t since = GET(s->report_since_ns), readmitted = GET(s->since_ns);
    if (readmitted > since) since = readmitted;
    if (reported == 0 || now - reported >= b->opts.expiry_ns) return 0;
    if (now - since < b->opts.blackout_ns) return 0;
    double qps = GET(s->report_qps), errors = GET(s->report_eps) / qps;
    return qps / (GET(s->report_utilization) + errors * b->opts.error_penalty);
}

static void renew(struct reported *w, int64_t now)
{
    const struct np_balancer *b = &w->b;
    double *weights = w->smooth.weights;
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < b->set->len; i++) {
        weights[i] = weight_of(b, b->slots[i].stats, now);
        sum += weights[i];
        n += weights[i] > 0;
    }
    double mean = n > 0 ? sum / (double)n : 1;
    for (size_t i = 0; i < b->set->len; i++) {
        double share = n < 2 || weights[i] <= 0 ? 1 : weights[i] / mean;
        weights[i] = share < LEAST ? LEAST : share > MOST ? MOST : share;
    }
    w->renew_at = now + b->opts.update_ns;
}

static void fini(struct np_balancer *b)
{
    np_smooth_fini(&((struct reported *)b)->smooth);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct reported *w = (struct reported *)b;
    enum neap_err err = np_smooth_update(&w->smooth, b, set, true);
    if (err == NEAP_OK) w->renew_at = 0;
    return err;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct reported *w = (struct reported *)b;
    if (w->renew_at == 0 || now >= w->renew_at) renew(w, now);
    size_t at = np_smooth_pick(&w->smooth, b, ctx, NULL, now);
    for (int i = 0; i < PASSES && !np_slot_keeps(b, at, now); i++)
        at = np_smooth_pick(&w->smooth, b, ctx, NULL, now);
    return at;
}

const struct np_balancer_ops np_lb_client_side_weighted = {
    .name = "client_side_weighted_round_robin",
    .size = sizeof(struct reported),
    .fini = fini,
    .update = update,
    .pick = pick,
};
