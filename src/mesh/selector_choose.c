/* Selectors: what policies that choose by themselves are given, sticky values as text, and what can
 * be asked (see selector.h). */
#include "mesh/selector_impl.h"

/* --- for policies that choose by themselves */

bool np_selector_first(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                       struct np_endpoint **out, bool *trial)
{
    np_selector_keep_up(s, now);
    if (s->root.ntrials == 0 && !ctx->has_sticky) return false;
    struct np_scope *scope = ctx->nsubset ? np_scope_find(s, ctx) : &s->root;
    *trial = false;
    return scope != NULL && np_selector_precede(s, scope, ctx, now, out, trial);
}

struct np_endpoint *np_selector_preferred(struct np_selector *s, const struct np_pick_ctx *ctx,
                                          int64_t now)
{
    np_selector_keep_up(s, now);
    if (s->root.ntrials == 0 && !ctx->has_sticky) return NULL;
    struct np_scope *scope = ctx->nsubset ? np_scope_find(s, ctx) : &s->root;
    size_t at = scope ? np_selector_prefer(s, scope, ctx, now) : SIZE_MAX;
    return at != SIZE_MAX ? s->all->endpoints[at] : NULL;
}

enum neap_err np_selector_narrow(struct np_selector *s, const struct np_pick_ctx *ctx, int64_t now,
                                 struct np_choice *out)
{
    np_selector_keep_up(s, now);
    struct np_scope *scope = np_selector_scope(s, ctx);
    if (scope == NULL) return NEAP_ENOENDPOINT;
    struct np_group *g = ctx->nexclude == 0 ? scope->only : NULL;
    if (g == NULL || g->set == NULL || g->set->len == 0) g = np_selector_group(s, scope, ctx);
    if (g == NULL || g->set == NULL || g->set->len == 0) return NEAP_ENOENDPOINT;
    np_selector_account(s, scope, g);
    s->narrowed = g;
    *out = (struct np_choice){g->set, g->id};
    return NEAP_OK;
}

static struct np_group *group_in(struct np_scope *scope, uint64_t id)
{
    for (size_t p = 0; p < scope->nlevels; p++) {
        for (size_t part = 0; part < NP_PARTS; part++) {
            if (scope->levels[p].parts[part].id == id) return &scope->levels[p].parts[part];
        }
    }
    return NULL;
}

static struct np_group *group_by_id(struct np_selector *s, uint64_t id)
{
    if (s->narrowed != NULL && s->narrowed->id == id) return s->narrowed;
    struct np_group *g = group_in(&s->root, id);
    size_t it = 0;
    for (struct np_map_entry *e; g == NULL && (e = np_map_next(&s->scopes, &it)) != NULL;)
        g = group_in(e->value, id);
    return g;
}

struct np_endpoint *np_selector_propose(struct np_selector *s, uint64_t id,
                                        const struct np_pick_ctx *ctx, int64_t now)
{
    struct np_group *g = group_by_id(s, id);
    return g ? np_group_choose(g, ctx, now, ctx->strict) : NULL;
}

bool np_selector_sticky_text(const struct np_selector *s, const struct np_endpoint *e,
                             char out[NP_STICKY_TEXT + 1])
{
    static const char digits[] = "0123456789abcdef";
    if (s->opts.sticky == NULL) return false;
    uint64_t value = np_set_sticky(s, e);
    for (int i = 0; i < NP_STICKY_TEXT; i++)
        out[i] = digits[value >> (60 - 4 * i) & 15];
    out[NP_STICKY_TEXT] = '\0';
    return true;
}

bool np_sticky_parse(const char *text, size_t n, struct np_pick_ctx *ctx)
{
    uint64_t value = 0;
    if (n != NP_STICKY_TEXT) return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f')) return false;
        value = value << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    ctx->has_sticky = true;
    ctx->sticky = value;
    return true;
}

const struct np_snapshot *np_selector_all(const struct np_selector *s)
{
    return s->all;
}

/* Those of all sets that get requests. */
static enum neap_err join_sets(const struct np_selector *s, struct np_snapshot **out)
{
    size_t n = 0;
    for (size_t p = 0; p < s->root.nlevels; p++) {
        const struct np_level *level = &s->root.levels[p];
        if (level->until <= (p > 0 ? s->root.levels[p - 1].until : 0)) continue;
        for (size_t part = 0; part < NP_PARTS; part++) {
            const struct np_snapshot *set = level->parts[part].set;
            if (part == NP_PART_FAR && level->near >= 1) continue;
            for (size_t i = 0; set != NULL && i < set->len && n < s->all->len; i++)
                s->scratch[n++] = set->endpoints[i];
        }
    }
    return np_snapshot_new(s->scratch, n, s->all->index, out);
}

const struct np_snapshot *np_selector_usable(struct np_selector *s, int64_t now)
{
    np_selector_keep_up(s, now);
    if (s->root.only != NULL && s->root.only->set != NULL) return s->root.only->set;
    if (s->usable == NULL && join_sets(s, &s->usable) != NEAP_OK) return s->all;
    return s->usable;
}

struct np_selector_stats np_selector_stats(const struct np_selector *s)
{
    return s->stats;
}
