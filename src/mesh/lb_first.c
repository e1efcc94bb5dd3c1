/* first: the first endpoint, in order of registration, that has room for another request (HAProxy's
 * policy of that name): so that few are busy and the others can be switched off. An endpoint's room
 * is its metadata's "max_active", or else the option. When all are full it is the one that is least
 * so. A pick looks at those that are full, and one more. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "mesh/balancer_draw.h"
#include "mesh/balancer_policies.h"

struct first {
    struct np_balancer b;
    uint32_t *room; /* by index, 1 or more */
};

static void fini(struct np_balancer *b)
{
    np_free(((struct first *)b)->room);
}

/* What is no number above 0 counts for nothing. */
static uint32_t room_of(const struct np_endpoint *e, uint32_t otherwise)
{
    const char *text = np_endpoint_meta(e, "max_active");
    char *end;
    if (text == NULL || *text < '0' || *text > '9') return otherwise;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || n == 0 || n > UINT32_MAX) return otherwise;
    return (uint32_t)n;
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct first *f = (struct first *)b;
    uint32_t *room = np_alloc(set->len * sizeof *room);
    if (room == NULL) return NEAP_ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        room[i] = room_of(set->endpoints[i], b->opts.max_active);
    np_free(f->room);
    f->room = room;
    return NEAP_OK;
}

static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    const struct first *f = (const struct first *)b;
    size_t best = NP_NONE;
    double best_share = 0;
    (void)now;
    for (size_t i = 0; i < b->set->len; i++) {
        if (ctx->nexclude > 0 && np_excludes(ctx, b->slots[i].stats)) continue;
        uint32_t active = np_stats_active(b->slots[i].stats);
        if (active < f->room[i]) return i;
        double share = (double)active / f->room[i];
        if (best != NP_NONE && share >= best_share) continue;
        best = i;
        best_share = share;
    }
    return best;
}

const struct np_balancer_ops np_lb_first = {
    .name = "first",
    .size = sizeof(struct first),
    .fini = fini,
    .update = update,
    .pick = pick,
};
