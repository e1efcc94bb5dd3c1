/* weighted_random: each with a chance in proportion to its weight, by Walker's alias method (with
 * Vose's way to make the table): a pick is one draw and one comparison. */
#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

enum { TRIES = 8 };

/* Column i stands for endpoint i below `bound` (of 2^32), for `alias` above it. */
struct column {
    uint32_t bound;
    uint32_t alias;
};
struct weighted {
    struct np_balancer b;
    struct column *columns;
};

static void fini(struct np_balancer *b)
{
    np_free(((struct weighted *)b)->columns);
}

/* What is left of each endpoint's weight times n goes into columns that hold the sum of the weights
 * each. Those that have less than a column are filled up by those that have more. All in integers,
 * so nothing is lost: weights below 2^16 and an n below 2^32. */
struct filler {
    uint64_t *left;
    uint32_t *small, *large; /* stacks; one array, from both ends */
    size_t nsmall, nlarge;
};

static void sort_in(struct filler *f, uint32_t i, uint64_t column)
{
    if (f->left[i] < column) {
        f->small[f->nsmall++] = i;
    } else {
        *(f->large - f->nlarge++) = i;
    }
}

static uint32_t share_of(uint64_t part, uint64_t whole)
{
    double share = (double)part / (double)whole * 0x1p32;
    return share >= 0x1p32 - 1 ? UINT32_MAX : (uint32_t)share;
}

static void fill(struct column *columns, struct filler *f, const struct np_snapshot *set)
{
    size_t n = set->len;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += set->endpoints[i]->weight;
    for (size_t i = 0; i < n; i++) {
        f->left[i] = set->endpoints[i]->weight * (uint64_t)n;
        sort_in(f, (uint32_t)i, sum);
    }
    while (f->nsmall > 0 && f->nlarge > 0) {
        uint32_t less = f->small[--f->nsmall];
        uint32_t more = *(f->large - --f->nlarge);
        columns[less] = (struct column){share_of(f->left[less], sum), more};
        f->left[more] -= sum - f->left[less];
        sort_in(f, more, sum);
    }
    while (f->nlarge > 0) {
        uint32_t whole = *(f->large - --f->nlarge);
        columns[whole] = (struct column){UINT32_MAX, whole};
    }
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct weighted *w = (struct weighted *)b;
    size_t n = set->len;
    struct column *columns = np_calloc(n, sizeof *columns);
    uint64_t *left = np_alloc(n * sizeof *left);
    uint32_t *stack = np_alloc(n * sizeof *stack);
    bool ok = columns != NULL && left != NULL && stack != NULL;
    if (ok && n > 0) {
        struct filler f = {.left = left, .small = stack, .large = stack + n - 1};
        fill(columns, &f, set);
    }
    np_free(left);
    np_free(stack);
    if (!ok) {
        np_free(columns);
        return NEAP_ENOMEM;
    }
    np_free(w->columns);
    w->columns = columns;
    return NEAP_OK;
}

static inline size_t draw(struct weighted *w)
{
    uint64_t bits = np_rng_next(&w->b.rng);
    size_t i = np_scale((uint32_t)(bits >> 32), w->b.set->len);
    return (uint32_t)bits <= w->columns[i].bound ? i : w->columns[i].alias;
}

/* Draws among those that are not excluded, by looking at all. */
static size_t scan(struct weighted *w, const struct np_pick_ctx *ctx)
{
    const struct np_snapshot *set = w->b.set;
    uint64_t total = 0;
    size_t last = NP_NONE;
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excludes(ctx, w->b.slots[i].stats)) total += set->endpoints[i]->weight;
    }
    uint64_t at = (uint64_t)(np_rng_unit(&w->b.rng) * (double)total);
    for (size_t i = 0; i < set->len; i++) {
        if (np_excludes(ctx, w->b.slots[i].stats)) continue;
        last = i;
        if (at < set->endpoints[i]->weight) break;
        at -= set->endpoints[i]->weight;
    }
    return last;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct weighted *w = (struct weighted *)b;
    size_t found = NP_NONE;
    for (int i = 0; i < TRIES; i++) {
        size_t at = draw(w);
        if (np_excludes(ctx, b->slots[at].stats)) continue;
        found = at;
        if (np_slot_keeps(b, at, now)) return at;
    }
    return found != NP_NONE ? found : scan(w, ctx);
}

const struct np_balancer_ops np_lb_weighted_random = {
    .name = "weighted_random",
    .size = sizeof(struct weighted),
    .fini = fini,
    .update = update,
    .pick = pick,
};
