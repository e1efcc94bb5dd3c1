/* Draws from distributions (see sim_dist.h), each by its textbook inverse or Box and Muller. */
#include "mesh/sim_dist.h"

#include <math.h>

/* (0, 1]: its logarithm is finite. */
static double open_unit(struct np_rng *r)
{
    return 1.0 - np_rng_unit(r);
}

double np_draw_exponential(struct np_rng *r)
{
    return -log(open_unit(r));
}

static double standard_normal(struct np_rng *r)
{
    double radius = sqrt(-2.0 * log(open_unit(r)));
    return radius * cos(2.0 * M_PI * np_rng_unit(r));
}

static double draw_empirical(const struct np_dist *d, struct np_rng *r)
{
    double at = np_rng_unit(r) * (double)(d->nvalues - 1);
    size_t i = (size_t)at;
    if (i + 1 >= d->nvalues) return d->values[d->nvalues - 1];
    return d->values[i] + (at - (double)i) * (d->values[i + 1] - d->values[i]);
}

static double draw_pareto(const struct np_dist *d, struct np_rng *r)
{
    double x = d->a * pow(open_unit(r), -1.0 / d->b);
    return d->c > 0 ? fmin(x, d->c) : x;
}

static double draw_body(const struct np_dist *d, struct np_rng *r)
{
    switch (d->kind) {
    case NP_DIST_CONSTANT:
        return d->a;
    case NP_DIST_UNIFORM:
        return d->a + (d->b - d->a) * np_rng_unit(r);
    case NP_DIST_NORMAL:
        return fmax(d->a + d->b * standard_normal(r), 0);
    case NP_DIST_LOGNORMAL:
        return d->a * exp(d->b * standard_normal(r));
    case NP_DIST_EXPONENTIAL:
        return d->a * np_draw_exponential(r);
    case NP_DIST_PARETO:
        return draw_pareto(d, r);
    case NP_DIST_EMPIRICAL:
        return draw_empirical(d, r);
    }
    return 0;
}

double np_dist_draw(const struct np_dist *d, struct np_rng *r)
{
    double x = draw_body(d, r);
    if (d->tail_share > 0 && np_rng_unit(r) < d->tail_share) x *= d->tail_factor;
    return x;
}

/* Of a normal that is cut off at 0. */
static double mean_normal(double mean, double sd)
{
    if (sd <= 0) return fmax(mean, 0);
    double z = mean / sd;
    double density = exp(-0.5 * z * z) / sqrt(2.0 * M_PI);
    return mean * 0.5 * erfc(-z / M_SQRT2) + sd * density;
}

static double mean_pareto(const struct np_dist *d)
{
    double whole = d->a * d->b / (d->b - 1);
    if (d->c <= 0) return whole;
    /* What lies beyond c counts as c: less the integral of the survival function from c on. */
    return d->c <= d->a ? d->c : whole - d->c * pow(d->a / d->c, d->b) / (d->b - 1);
}

static double mean_empirical(const struct np_dist *d)
{
    if (d->nvalues == 1) return d->values[0];
    double sum = 0;
    for (size_t i = 0; i + 1 < d->nvalues; i++)
        sum += (d->values[i] + d->values[i + 1]) / 2;
    return sum / (double)(d->nvalues - 1);
}

static double mean_body(const struct np_dist *d)
{
    switch (d->kind) {
    case NP_DIST_CONSTANT:
    case NP_DIST_EXPONENTIAL:
        return d->a;
    case NP_DIST_UNIFORM:
        return (d->a + d->b) / 2;
    case NP_DIST_NORMAL:
        return mean_normal(d->a, d->b);
    case NP_DIST_LOGNORMAL:
        return d->a * exp(d->b * d->b / 2);
    case NP_DIST_PARETO:
        return mean_pareto(d);
    case NP_DIST_EMPIRICAL:
        return mean_empirical(d);
    }
    return 0;
}

double np_dist_mean(const struct np_dist *d)
{
    return mean_body(d) * (1 + d->tail_share * (d->tail_factor - 1));
}

static bool ascending(const struct np_dist *d)
{
    if (d->nvalues == 0 || d->values == NULL) return false;
    for (size_t i = 0; i < d->nvalues; i++) {
        if (!(d->values[i] >= 0) || isinf(d->values[i])) return false;
        if (i > 0 && d->values[i] < d->values[i - 1]) return false;
    }
    return true;
}

bool np_dist_ok(const struct np_dist *d)
{
    if (!(d->tail_share >= 0 && d->tail_share <= 1)) return false;
    if (d->tail_share > 0 && !(d->tail_factor >= 0 && d->tail_factor <= 1e9)) return false;
    if (d->kind == NP_DIST_EMPIRICAL) return ascending(d);
    if (!(d->a >= 0) || isinf(d->a)) return false;
    switch (d->kind) {
    case NP_DIST_UNIFORM:
        return d->b >= d->a && !isinf(d->b);
    case NP_DIST_NORMAL:
        return d->b >= 0 && !isinf(d->b);
    case NP_DIST_LOGNORMAL:
        return d->b >= 0 && d->b <= 10;
    case NP_DIST_PARETO:
        return d->b > 1 && !isinf(d->b) && d->c >= 0 && !isinf(d->c);
    default:
        return true;
    }
}
