/* Shares by health (see selector_load.h). */
#include "mesh/selector_load.h"

static double part(size_t n, size_t of)
{
    return of > 0 ? (double)n / (double)of : 0;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double health(const struct np_level_load *l, double overprovisioning)
{
    return least(1, part(l->available, l->total) * overprovisioning);
}

/* Envoy's recalculateLoadInTotalPanic. */
static void share_by_number(struct np_level_load *levels, size_t n)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += levels[i].total;
    for (size_t i = 0; i < n; i++)
        levels[i].load = part(levels[i].total, all);
}

void np_levels_share(struct np_level_load *levels, size_t n, double overprovisioning,
                     double panic_threshold)
{
    double sum = 0, left = 1;
    bool all_panic = true;
    for (size_t i = 0; i < n; i++)
        sum += health(&levels[i], overprovisioning);
    sum = least(1, sum);
    for (size_t i = 0; i < n; i++) {
        struct np_level_load *l = &levels[i];
        l->load = sum > 0 ? least(left, health(l, overprovisioning) / sum) : 0;
        left -= l->load;
        l->panic = sum < 1 && l->total > 0 && part(l->available, l->total) < panic_threshold;
        if (l->total > 0 && !l->panic) all_panic = false;
    }
    if (all_panic) share_by_number(levels, n);
}

double np_zone_share(const struct np_zone_load *z)
{
    size_t available = z->near_available + z->far_available;
    if (z->near_available == 0) return 0;
    if (z->far_available == 0) return 1;
    double share = 1;
    if (z->spill > 0) share = least(1, part(z->near_available, z->near_total) / z->spill);
    if (z->callers > 0) share = least(share, part(z->near_available, available) / z->callers);
    return share;
}
