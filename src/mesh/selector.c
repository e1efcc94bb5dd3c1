/* Selectors: making them, picking and giving back (see selector.h). */
#include "mesh/selector.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mesh/balancer_draw.h"
#include "mesh/selector_impl.h"

/* A look costs some ns an endpoint; picks of the unavailable cause no more of them than this lets
 * them, ns an endpoint. */
#define LOOK_PAUSE_NS 2000
enum {
    REDRAWS = 4,      /* picks of the unavailable before a pick is content with any */
    MAX_AVOIDED = 32, /* of ctx->exclude, while it is redrawn */
    TRIALS = 4        /* looked at in a pick */
};

static const struct np_selector_options default_options = NP_SELECTOR_OPTIONS_INIT;
static const struct np_pick_ctx no_wishes;

/* --- life */

/* Written so that a NaN is refused. */
static bool options_ok(const struct np_selector_options *o)
{
    if (!(o->panic_threshold >= 0 && o->panic_threshold <= 1)) return false;
    if (!(o->overprovisioning >= 1 && o->overprovisioning <= 100)) return false;
    if (!(o->zone_spill >= 0 && o->zone_spill <= 1)) return false;
    if (!(o->zone_callers >= 0 && o->zone_callers <= 1)) return false;
    if (o->nsubset_keys > NP_SUBSET_KEYS) return false;
    if (o->slow_start_ns < 0 || !(o->slow_start_min >= 0 && o->slow_start_min <= 1)) return false;
    return o->slow_start_aggression > 0 && o->slow_start_aggression <= 100;
}

static enum neap_err copy_text(const char **at, const char *text)
{
    if (text == NULL) return NEAP_OK;
    *at = np_strdup(text);
    return *at ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err copy_options(struct np_selector *s, const struct np_selector_options *o)
{
    const char **keys = np_calloc(NP_SUBSET_KEYS, sizeof *keys);
    s->opts = *o;
    s->opts.zone = s->opts.sticky = NULL;
    s->opts.subset_keys = keys;
    s->opts.nsubset_keys = 0;
    if (keys == NULL) return NEAP_ENOMEM;
    enum neap_err err = copy_text(&s->opts.zone, o->zone);
    if (err == NEAP_OK) err = copy_text(&s->opts.sticky, o->sticky);
    for (size_t i = 0; err == NEAP_OK && i < o->nsubset_keys; i++) {
        err = copy_text(&keys[i], o->subset_keys[i]);
        if (err == NEAP_OK) s->opts.nsubset_keys++;
    }
    if (err != NEAP_OK || s->opts.sticky == NULL) return err;
    for (uint64_t i = 0; i < 2; i++)
        s->sticky_key[i] = np_hash_stable(s->opts.sticky, strlen(s->opts.sticky), i + 1);
    return NEAP_OK;
}

enum neap_err np_selector_new(const struct np_balancer_ops *ops,
                              const struct np_balancer_options *balancer,
                              const struct np_selector_options *opts, struct np_selector **out)
{
    static const struct np_balancer_options plain = NP_BALANCER_OPTIONS_INIT;
    struct np_balancer *probe = NULL; /* the options are checked now, not at the first update */
    if (opts == NULL) opts = &default_options;
    if (!options_ok(opts)) return NEAP_EINVAL;
    struct np_selector *s = np_calloc(1, sizeof *s);
    if (s == NULL) return NEAP_ENOMEM;
    s->ops = ops;
    s->balancer = balancer ? *balancer : plain;
    if (opts->slow_start_ns > 0) {
        s->balancer.slow =
            (struct np_slow_start){opts->slow_start_ns, opts->slow_start_min,
                                   opts->slow_start_aggression, opts->slow_start_curve};
    }
    s->recheck_at = NP_TIME_NEVER;
    np_rng_init(&s->rng, s->balancer.seed);
    enum neap_err err = copy_options(s, opts);
    if (err == NEAP_OK) err = np_snapshot_new(NULL, 0, 0, &s->none);
    if (err == NEAP_OK) s->all = np_snapshot_ref(s->none);
    if (err == NEAP_OK) err = np_balancer_new(ops, &s->balancer, &probe);
    np_balancer_free(probe);
    if (err != NEAP_OK) {
        np_selector_free(s);
        return err;
    }
    *out = s;
    return NEAP_OK;
}

void np_selector_free(struct np_selector *s)
{
    if (s == NULL) return;
    np_scopes_clear(s);
    np_scope_fini(&s->root);
    for (size_t k = 0; k < NP_SUBSET_KEYS; k++)
        np_map_fini(&s->known[k]);
    np_set_fini(s);
    np_snapshot_unref(s->usable);
    np_snapshot_unref(s->pending);
    np_snapshot_unref(s->all);
    np_snapshot_unref(s->none);
    for (size_t i = 0; i < s->opts.nsubset_keys; i++)
        np_free((char *)s->opts.subset_keys[i]);
    np_free((void *)s->opts.subset_keys);
    np_free((char *)s->opts.zone);
    np_free((char *)s->opts.sticky);
    np_free(s);
}

/* --- keeping up */

static void forget_usable(struct np_selector *s)
{
    np_snapshot_unref(s->usable);
    s->usable = NULL;
}

static enum neap_err take_pending(struct np_selector *s, int64_t now)
{
    enum neap_err err = np_set_take(s, s->pending, now);
    if (err != NEAP_OK) return err;
    np_snapshot_unref(s->pending);
    s->pending = NULL;
    np_scopes_changed(s);
    return NEAP_OK;
}

/* Takes the new snapshot, if there is one, looks, and makes the root's sets anew if they are not
 * what they should be. What fails is tried again after a while. */
static enum neap_err renew(struct np_selector *s, int64_t now)
{
    enum neap_err err = s->pending ? take_pending(s, now) : NEAP_OK;
    np_plan_look(s, now);
    if (s->root.stale) {
        forget_usable(s);
        enum neap_err planned = np_plan_scope(s, &s->root);
        s->root.stale = planned != NEAP_OK;
        if (err == NEAP_OK) err = planned;
    }
    if (err != NEAP_OK) s->recheck_at = np_time_add(now, NP_RECHECK_NS);
    return err;
}

enum neap_err np_selector_update(struct np_selector *s, struct np_snapshot *set, int64_t now)
{
    if (set == s->all && s->pending == NULL) return NEAP_OK;
    np_snapshot_unref(s->pending);
    s->pending = np_snapshot_ref(set);
    return renew(s, now);
}

void np_selector_keep_up_slowly(struct np_selector *s, int64_t now)
{
    (void)renew(s, now);
}

/* A picked endpoint is not available any more. True: the sets may have changed. */
static bool notice(struct np_selector *s, int64_t now)
{
    int64_t pause = (int64_t)s->all->len * LOOK_PAUSE_NS;
    if (now < np_time_add(s->looked_at, pause)) return false;
    (void)renew(s, now);
    return true;
}

/* --- which set */

/* A number in [0, 1): the same for the same key, so that a key keeps its level and its zone. */
static double draw(struct np_selector *s, const struct np_pick_ctx *ctx, uint64_t nth)
{
    if (!ctx->has_hash) return np_rng_unit(&s->rng);
    return (double)(np_hash_mix(ctx->hash + nth) >> 11) * 0x1.0p-53;
}

static struct np_group *draw_group(struct np_selector *s, struct np_scope *scope,
                                   const struct np_pick_ctx *ctx)
{
    if (scope->only != NULL) return scope->only;
    double at = draw(s, ctx, 1);
    for (size_t p = 0; p < scope->nlevels; p++) {
        struct np_level *level = &scope->levels[p];
        if (at >= level->until) continue;
        if (!level->zoned) return &level->parts[NP_PART_ALL];
        return &level->parts[draw(s, ctx, 2) < level->near ? NP_PART_NEAR : NP_PART_FAR];
    }
    return NULL;
}

static bool all_tried(const struct np_snapshot *set, const struct np_pick_ctx *ctx)
{
    if (ctx->nexclude == 0) return false;
    for (size_t i = 0; i < set->len; i++) {
        if (!np_excluded(ctx, set->endpoints[i])) return false;
    }
    return true;
}

static bool has_untried(const struct np_group *g, const struct np_pick_ctx *ctx)
{
    return g->set != NULL && g->set->len > 0 && !all_tried(g->set, ctx);
}

/* Another host first, wherever it is: the drawn group, or the first that has one which was not
 * tried yet. */
struct np_group *np_selector_group(struct np_selector *s, struct np_scope *scope,
                                   const struct np_pick_ctx *ctx)
{
    struct np_group *drawn = draw_group(s, scope, ctx);
    if (drawn != NULL && has_untried(drawn, ctx)) return drawn;
    for (size_t p = 0; p < scope->nlevels; p++) {
        for (size_t part = 0; part < NP_PARTS; part++) {
            struct np_group *g = &scope->levels[p].parts[part];
            if (has_untried(g, ctx)) return g;
        }
    }
    return ctx->strict ? NULL : drawn;
}

void np_selector_account(struct np_selector *s, const struct np_scope *scope,
                         const struct np_group *g)
{
    if (g->panic) s->stats.panics++;
    if (g->part == NP_PART_FAR) s->stats.spilled++;
    if (g->level > scope->first) s->stats.failed_over++;
}

struct np_scope *np_selector_scope(struct np_selector *s, const struct np_pick_ctx *ctx)
{
    if (ctx->nsubset == 0) return &s->root;
    struct np_scope *scope = np_scope_find(s, ctx);
    if (scope != NULL || s->opts.subset_fallback == NP_SUBSET_NONE) return scope;
    s->stats.fallbacks++;
    return &s->root;
}

/* --- picking */

struct np_endpoint *np_group_choose(const struct np_group *g, const struct np_pick_ctx *ctx,
                                    int64_t now, bool strict)
{
    struct np_pick_ctx other;
    struct np_balancer *b = ctx->has_hash && g->keyed ? g->keyed : g->lb;
    if (b == NULL || b->set->len == 0) return NULL;
    bool again = all_tried(b->set, ctx);
    if (again && strict) return NULL;
    if (again || (g->panic && b->ops->stable)) {
        other = *ctx;
        other.panic = g->panic;
        if (again) other.nexclude = 0;
        ctx = &other;
    }
    size_t at = b->set->len == 1 ? 0 : b->ops->pick(b, ctx, now);
    return b->set->endpoints[at];
}

static inline struct np_endpoint *begin(struct np_endpoint *e)
{
    np_endpoint_begin(np_endpoint_ref(e));
    return e;
}

/* What a pick avoids while it is redrawn: what the caller does, and whom it found unavailable. */
struct avoided {
    struct np_pick_ctx ctx;
    struct np_endpoint *list[MAX_AVOIDED + REDRAWS];
};

static void avoid(struct avoided *a, const struct np_pick_ctx *ctx, struct np_endpoint *e)
{
    if (ctx != &a->ctx) {
        size_t n = ctx->nexclude < MAX_AVOIDED ? ctx->nexclude : MAX_AVOIDED;
        a->ctx = *ctx;
        if (n > 0) memcpy(a->list, ctx->exclude, n * sizeof *a->list);
        a->ctx.exclude = a->list;
        a->ctx.nexclude = n;
    }
    a->list[a->ctx.nexclude++] = e;
}

/* The slow way: someone unavailable was picked. */
static struct np_endpoint *redraw(struct np_selector *s, const struct np_pick_ctx *ctx,
                                  struct np_endpoint *last, int64_t now)
{
    struct avoided a;
    const struct np_pick_ctx *with = ctx;
    for (int i = 0; i < REDRAWS; i++) {
        bool renewed = notice(s, now);
        if (!renewed) {
            avoid(&a, with, last);
            with = &a.ctx;
        }
        struct np_scope *scope = np_selector_scope(s, ctx);
        struct np_group *g = scope ? np_selector_group(s, scope, with) : NULL;
        struct np_endpoint *e = g ? np_group_choose(g, with, now, ctx->strict) : NULL;
        if (e == NULL) return g == NULL && renewed ? NULL : last;
        last = e;
        if (g->panic || np_endpoint_availability(e, now) == NP_AVAILABLE) {
            np_selector_account(s, scope, g);
            return e;
        }
    }
    return last; /* as fast as they go another one is found: somebody has to take it */
}

/* An endpoint whose ejection is over, and whom nobody is trying. */
static size_t find_due(struct np_selector *s, struct np_scope *scope, int64_t now)
{
    size_t n = scope->ntrials < TRIALS ? scope->ntrials : TRIALS;
    for (size_t i = 0; i < n; i++) {
        size_t at = scope->trials[scope->next_trial++ % scope->ntrials];
        const struct np_endpoint *e = s->all->endpoints[at];
        if (np_endpoint_availability(e, now) != NP_TRIAL) continue;
        if (!atomic_load_explicit(&e->stats->on_trial, memory_order_relaxed)) return at;
    }
    return SIZE_MAX;
}

/* The members are in ascending order. */
static bool of_scope(const struct np_selector *s, const struct np_scope *scope, size_t index)
{
    size_t lo = 0, hi = scope->n;
    if (scope == &s->root) return true;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (scope->members[mid] == index) return true;
        if (scope->members[mid] < index) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return false;
}

/* Unavailable, and yet it may be given requests: its level is in panic. */
static bool in_panic(const struct np_selector *s, size_t at)
{
    const struct np_entry *entry = &s->entries[at];
    if (entry->level >= s->root.nlevels || np_endpoint_draining(s->all->endpoints[at])) {
        return false;
    }
    return s->root.levels[entry->level].parts[NP_PART_ALL].panic;
}

/* `e` stands at `at`, or is another description of who does. */
static bool take_at(struct np_selector *s, size_t at, struct np_endpoint *e, bool force,
                    int64_t now, bool *trial)
{
    enum np_availability a = np_endpoint_availability(e, now);
    bool tried = a == NP_TRIAL && np_trial_begin(e);
    if (a != NP_AVAILABLE && !tried && !force && !in_panic(s, at)) return false;
    if (tried) s->stats.trials++;
    *trial = tried;
    (void)begin(e);
    return true;
}

static size_t find_sticky(struct np_selector *s, const struct np_scope *scope,
                          const struct np_pick_ctx *ctx, int64_t now)
{
    size_t at = np_set_find_sticky(s, ctx->sticky);
    bool fits = at != SIZE_MAX && of_scope(s, scope, at);
    if (fits) {
        const struct np_endpoint *e = s->all->endpoints[at];
        fits = !np_excluded(ctx, e) &&
               (np_endpoint_availability(e, now) == NP_AVAILABLE || in_panic(s, at));
    }
    if (fits) s->stats.sticky++;
    if (!fits) s->stats.unstuck++;
    return fits ? at : SIZE_MAX;
}

size_t np_selector_prefer(struct np_selector *s, struct np_scope *scope,
                          const struct np_pick_ctx *ctx, int64_t now)
{
    if (ctx->has_sticky && s->opts.sticky != NULL) {
        size_t at = find_sticky(s, scope, ctx, now);
        if (at != SIZE_MAX) return at;
    }
    if (scope->ntrials == 0 || ctx->strict || ctx->nexclude > 0) return SIZE_MAX;
    return find_due(s, scope, now);
}

bool np_selector_precede(struct np_selector *s, struct np_scope *scope,
                         const struct np_pick_ctx *ctx, int64_t now, struct np_endpoint **out,
                         bool *trial)
{
    size_t at = np_selector_prefer(s, scope, ctx, now);
    if (at == SIZE_MAX || !take_at(s, at, s->all->endpoints[at], false, now, trial)) return false;
    *out = s->all->endpoints[at];
    return true;
}

static enum neap_err pick_slowly(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                                 struct np_endpoint **out, bool *trial)
{
    np_selector_keep_up(s, now);
    struct np_scope *scope = np_selector_scope(s, ctx);
    if (scope == NULL) return NEAP_ENOENDPOINT;
    if ((scope->ntrials > 0 || ctx->has_sticky) &&
        np_selector_precede(s, scope, ctx, now, out, trial)) {
        return NEAP_OK;
    }
    struct np_group *g = np_selector_group(s, scope, ctx);
    struct np_endpoint *e = g ? np_group_choose(g, ctx, now, ctx->strict) : NULL;
    if (e == NULL) return NEAP_ENOENDPOINT;
    if (g->panic || np_endpoint_availability(e, now) == NP_AVAILABLE) {
        np_selector_account(s, scope, g);
    } else {
        e = redraw(s, ctx, e, now);
        if (e == NULL) return NEAP_ENOENDPOINT;
    }
    *out = begin(e);
    return NEAP_OK;
}

enum neap_err np_selector_pick(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                               struct np_endpoint **out, bool *trial)
{
    struct np_balancer *b = s->plain;
    if (ctx == NULL) ctx = &no_wishes;
    *trial = false;
    if (b == NULL || now >= s->recheck_at || ctx->nexclude > 0 || ctx->nsubset > 0 ||
        ctx->has_sticky) {
        return pick_slowly(s, ctx, now, out, trial);
    }
    size_t at = b->set->len == 1 ? 0 : b->ops->pick(b, ctx, now);
    struct np_endpoint *e = b->set->endpoints[at];
    if (np_endpoint_availability(e, now) == NP_AVAILABLE) {
        *out = np_balancer_begin(b, at);
        return NEAP_OK;
    }
    e = redraw(s, ctx, e, now);
    if (e == NULL) return NEAP_ENOENDPOINT;
    *out = begin(e);
    return NEAP_OK;
}

bool np_selector_take(struct np_selector *s, struct np_endpoint *e, bool force, int64_t now,
                      bool *trial)
{
    np_selector_keep_up(s, now);
    size_t at = np_set_find(s, e);
    return at != SIZE_MAX && take_at(s, at, e, force, now, trial);
}

/* The balancer that a request on the endpoint belongs to, of those without a subset. */
static struct np_balancer *balancer_of(const struct np_selector *s, const struct np_endpoint *e)
{
    size_t at = np_set_find(s, e);
    if (at == SIZE_MAX || s->entries[at].level >= s->root.nlevels) return NULL;
    const struct np_level *level = &s->root.levels[s->entries[at].level];
    if (!level->zoned) return level->parts[NP_PART_ALL].lb;
    return level->parts[s->entries[at].near ? NP_PART_NEAR : NP_PART_FAR].lb;
}

static void release_slowly(struct np_selector *s, struct np_endpoint *e, const struct np_result *r,
                           int64_t now)
{
    np_endpoint_end(e, r, now);
    struct np_balancer *b = s->ops->release ? balancer_of(s, e) : NULL;
    if (b != NULL) s->ops->release(b, e, r);
    np_endpoint_unref(e);
}

void np_selector_release(struct np_selector *s, struct np_endpoint *e, bool trial,
                         const struct np_result *r, int64_t now)
{
    if (trial) {
        np_trial_end(e, r, now);
        s->recheck_at = now; /* it may be available now */
    }
    if (s->plain != NULL) {
        np_balancer_release(s->plain, e, r, now);
    } else {
        release_slowly(s, e, r, now);
    }
}
