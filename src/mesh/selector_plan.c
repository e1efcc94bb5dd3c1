/* How a scope's endpoints are divided into levels, zones and sets (see selector_impl.h). */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mesh/selector_impl.h"
#include "mesh/selector_load.h"

struct tally {
    struct np_level_load levels[NP_PRIORITIES];
    struct np_zone_load zones[NP_PRIORITIES];
    size_t nlevels;
    size_t trials;
};

/* --- looking */

void np_plan_look(struct np_selector *s, int64_t now)
{
    bool changed = false;
    for (size_t i = 0; i < s->all->len; i++) {
        const struct np_endpoint *e = s->all->endpoints[i];
        uint8_t state =
            np_endpoint_draining(e) ? NP_ENTRY_DRAINING : (uint8_t)np_endpoint_availability(e, now);
        changed = changed || state != s->entries[i].state;
        s->entries[i].state = state;
    }
    s->looked_at = now;
    s->recheck_at = np_time_add(now, NP_RECHECK_NS);
    if (!changed) return;
    size_t it = 0;
    s->root.stale = true;
    for (struct np_map_entry *e; (e = np_map_next(&s->scopes, &it)) != NULL;)
        ((struct np_scope *)e->value)->stale = true;
}

/* --- counting */

static size_t member(const struct np_scope *scope, size_t i)
{
    return scope->members ? scope->members[i] : i;
}

static void count(const struct np_selector *s, const struct np_scope *scope, struct tally *t)
{
    *t = (struct tally){0};
    for (size_t i = 0; i < scope->n; i++) {
        const struct np_entry *e = &s->entries[member(scope, i)];
        struct np_level_load *l = &t->levels[e->level];
        struct np_zone_load *z = &t->zones[e->level];
        if (e->state == NP_ENTRY_DRAINING) continue;
        bool available = e->state == NP_AVAILABLE;
        l->total++;
        l->available += available;
        z->near_total += e->near;
        z->near_available += available && e->near;
        z->far_available += available && !e->near;
        t->trials += e->state == NP_TRIAL;
        if (e->level >= t->nlevels) t->nlevels = e->level + 1u;
    }
}

/* --- sets */

/* Into s->scratch: those of a group, whatever their state or only the available ones. */
static size_t gather(const struct np_selector *s, const struct np_scope *scope,
                     const struct np_group *g, bool whatever)
{
    size_t n = 0;
    for (size_t i = 0; i < scope->n; i++) {
        size_t at = member(scope, i);
        const struct np_entry *e = &s->entries[at];
        if (e->level != g->level || e->state == NP_ENTRY_DRAINING) continue;
        if (!whatever && e->state != NP_AVAILABLE) continue;
        if (g->part != NP_PART_ALL && e->near != (g->part == NP_PART_NEAR)) continue;
        s->scratch[n++] = s->all->endpoints[at];
    }
    return n;
}

/* One reference: `old` if it is the same, the whole snapshot if it is that. */
static enum neap_err set_of(struct np_selector *s, size_t n, struct np_snapshot *old,
                            struct np_snapshot **out)
{
    struct np_snapshot *same = NULL;
    size_t bytes = n * sizeof(struct np_endpoint *);
    if (n == 0) {
        same = s->none;
    } else if (n == s->all->len) {
        same = s->all;
    } else if (old != NULL && old->len == n && memcmp(old->endpoints, s->scratch, bytes) == 0) {
        same = old;
    }
    if (same == NULL) return np_snapshot_new(s->scratch, n, s->all->index, out);
    *out = np_snapshot_ref(same);
    return NEAP_OK;
}

static enum neap_err give(struct np_selector *s, struct np_balancer **lb,
                          const struct np_balancer_ops *ops, uint64_t id, struct np_snapshot *set)
{
    if (*lb == NULL) {
        struct np_balancer_options o = s->balancer;
        if (set->len == 0) return NEAP_OK;
        if (o.seed != 0 && id > 1) o.seed = np_hash_mix(o.seed + id);
        enum neap_err err = np_balancer_new(ops, &o, lb);
        if (err != NEAP_OK) return err;
    }
    return (*lb)->set == set ? NEAP_OK : np_balancer_update(*lb, set);
}

/* The balancers that hash know all members; the others those of g->set. */
static enum neap_err give_whole(struct np_selector *s, const struct np_scope *scope,
                                struct np_group *g, bool wanted)
{
    struct np_snapshot *whole = NULL;
    struct np_balancer *any = g->keyed ? g->keyed : g->lb;
    size_t n = wanted ? gather(s, scope, g, true) : 0;
    enum neap_err err = set_of(s, n, any ? any->set : NULL, &whole);
    if (err != NEAP_OK) return err;
    if (s->ops->stable) err = give(s, &g->lb, s->ops, g->id, whole);
    if (err == NEAP_OK && s->opts.keyed != NULL) {
        err = give(s, &g->keyed, s->opts.keyed, g->id, whole);
    }
    np_snapshot_unref(whole);
    return err;
}

/* `wanted` false: it gets nothing just now. */
static enum neap_err fill(struct np_selector *s, const struct np_scope *scope, struct np_group *g,
                          bool wanted)
{
    struct np_snapshot *set = NULL;
    if (!wanted && g->set == NULL) return NEAP_OK;
    if (g->id == 0) g->id = ++s->last_id;
    size_t n = wanted ? gather(s, scope, g, g->panic) : 0;
    enum neap_err err = set_of(s, n, g->set, &set);
    if (err != NEAP_OK) return err;
    if (!s->ops->stable) err = give(s, &g->lb, s->ops, g->id, set);
    if (err == NEAP_OK && (s->ops->stable || s->opts.keyed != NULL)) {
        err = give_whole(s, scope, g, wanted);
    }
    if (err == NEAP_OK) {
        np_snapshot_unref(g->set);
        g->set = np_snapshot_ref(set);
    }
    np_snapshot_unref(set);
    return err;
}

/* --- a whole scope */

static enum neap_err grow(struct np_scope *scope, size_t nlevels)
{
    if (nlevels <= scope->nlevels) return NEAP_OK;
    struct np_level *levels = np_realloc(scope->levels, nlevels * sizeof *levels);
    if (levels == NULL) return NEAP_ENOMEM;
    scope->levels = levels;
    for (size_t p = scope->nlevels; p < nlevels; p++) {
        memset(&levels[p], 0, sizeof levels[p]);
        for (size_t part = 0; part < NP_PARTS; part++) {
            levels[p].parts[part].level = (uint8_t)p;
            levels[p].parts[part].part = (uint8_t)part;
        }
    }
    scope->nlevels = nlevels;
    return NEAP_OK;
}

/* Zones do not matter in a small level, in one without an own zone or with nothing else, and in
 * panic. */
static bool is_zoned(const struct np_selector *s, const struct np_level_load *l,
                     const struct np_zone_load *z)
{
    if (s->opts.zone == NULL || l->panic || l->load <= 0) return false;
    if (l->total < s->opts.zone_min_endpoints) return false;
    return z->near_total > 0 && z->near_total < l->total && l->available > 0;
}

static void plan_zones(struct np_selector *s, struct np_scope *scope, size_t p, struct tally *t)
{
    struct np_level *level = &scope->levels[p];
    struct np_zone_load *z = &t->zones[p];
    z->spill = s->opts.zone_spill;
    z->callers = s->opts.zone_callers;
    level->zoned = is_zoned(s, &t->levels[p], z);
    level->near = level->zoned ? np_zone_share(z) : 1;
}

/* The groups of a level that get requests, or those that get none any more. */
static enum neap_err fill_level(struct np_selector *s, const struct np_scope *scope, size_t p,
                                const struct tally *t, bool filling)
{
    struct np_level *level = &scope->levels[p];
    enum neap_err err = NEAP_OK;
    for (size_t part = 0; err == NEAP_OK && part < NP_PARTS; part++) {
        struct np_group *g = &level->parts[part];
        bool wanted = (part == NP_PART_ALL) != level->zoned && t->levels[p].total > 0;
        if (wanted != filling) continue;
        g->panic = t->levels[p].panic;
        err = fill(s, scope, g, wanted);
    }
    return err;
}

static enum neap_err list_trials(const struct np_selector *s, struct np_scope *scope, size_t n)
{
    uint32_t *trials = NULL;
    if (n > 0) {
        trials = np_calloc(n, sizeof *trials);
        if (trials == NULL) return NEAP_ENOMEM;
    }
    np_free(scope->trials);
    scope->trials = trials;
    scope->ntrials = 0;
    for (size_t i = 0; n > 0 && i < scope->n; i++) {
        if (s->entries[member(scope, i)].state == NP_TRIAL) {
            trials[scope->ntrials++] = (uint32_t)member(scope, i);
        }
    }
    return NEAP_OK;
}

/* The draws that lead to each level. */
static void divide(struct np_scope *scope, const struct tally *t)
{
    double until = 0;
    size_t loaded = 0, last = 0;
    scope->first = 0;
    for (size_t p = scope->nlevels; p-- > 0;) {
        if (t->levels[p].total > 0) scope->first = p;
    }
    for (size_t p = 0; p < scope->nlevels; p++) {
        until += t->levels[p].load;
        scope->levels[p].until = until;
        if (t->levels[p].load <= 0) continue;
        loaded++;
        last = p;
    }
    scope->only = NULL;
    if (loaded == 0) return;
    struct np_level *level = &scope->levels[last];
    level->until = 2; /* whatever the sum is rounded to */
    if (loaded > 1 || (level->zoned && level->near > 0 && level->near < 1)) return;
    scope->only = &level->parts[!level->zoned     ? NP_PART_ALL
                                : level->near > 0 ? NP_PART_NEAR
                                                  : NP_PART_FAR];
}

/* The ordinary case: one set of what is available, of the first level, and nobody is due a trial.
 */
static struct np_balancer *plain_of(const struct np_selector *s)
{
    const struct np_group *g = s->root.only;
    if (g == NULL || g->panic || g->part == NP_PART_FAR || g->level != s->root.first) return NULL;
    if (s->root.ntrials > 0 || s->opts.keyed != NULL) return NULL;
    return g->lb != NULL && g->lb->set->len > 0 ? g->lb : NULL;
}

enum neap_err np_plan_scope(struct np_selector *s, struct np_scope *scope)
{
    struct tally t;
    if (scope == &s->root && s->plain != NULL) {
        s->plain->inflight = 0; /* what it has begun may be released elsewhere */
        s->plain = NULL;
    }
    if (scope->members == NULL) scope->n = s->all->len;
    count(s, scope, &t);
    enum neap_err err = grow(scope, t.nlevels);
    if (err != NEAP_OK) return err;
    s->narrowed = NULL;
    s->stats.rebuilds++;
    np_levels_share(t.levels, scope->nlevels, s->opts.overprovisioning, s->opts.panic_threshold);
    for (size_t p = 0; p < scope->nlevels; p++)
        plan_zones(s, scope, p, &t);
    /* Sets go when all the new ones stand: without memory there is somebody to pick all the same.
     */
    for (size_t p = 0; err == NEAP_OK && p < scope->nlevels; p++)
        err = fill_level(s, scope, p, &t, true);
    for (size_t p = 0; err == NEAP_OK && p < scope->nlevels; p++)
        err = fill_level(s, scope, p, &t, false);
    if (err == NEAP_OK) err = list_trials(s, scope, t.trials);
    divide(scope, &t);
    if (scope == &s->root && err == NEAP_OK) s->plain = plain_of(s);
    return err;
}

void np_scope_fini(struct np_scope *scope)
{
    for (size_t p = 0; p < scope->nlevels; p++) {
        for (size_t part = 0; part < NP_PARTS; part++) {
            struct np_group *g = &scope->levels[p].parts[part];
            np_balancer_free(g->lb);
            np_balancer_free(g->keyed);
            np_snapshot_unref(g->set);
        }
    }
    np_free(scope->levels);
    np_free(scope->members);
    np_free(scope->trials);
}
