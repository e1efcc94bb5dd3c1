/* Subsets: which scope a request's metadata means (see selector_impl.h).
 *
 * Values are interned: an endpoint has one number a key, and a subset is a tuple of numbers. So a
 * value that no endpoint has is known as such at once, and what a peer asks for makes no scope but
 * for combinations of values that exist.
 */
#include <string.h>

#include "base/alloc.h"
#include "mesh/selector_impl.h"

enum neap_err np_scope_value(struct np_selector *s, size_t key, const char *value, uint32_t *id)
{
    size_t n = strlen(value);
    void *known = np_map_get(&s->known[key], value, n);
    if (known == NULL) {
        known = (void *)(uintptr_t)(s->last_value + 1);
        enum neap_err err = np_map_set(&s->known[key], value, n, known, NULL);
        if (err != NEAP_OK) return err;
        s->last_value++;
    }
    *id = (uint32_t)(uintptr_t)known;
    return NEAP_OK;
}

/* False: no endpoint can match. */
static bool read_wanted(const struct np_selector *s, const struct np_pick_ctx *ctx,
                        uint32_t wanted[NP_SUBSET_KEYS])
{
    memset(wanted, 0, NP_SUBSET_KEYS * sizeof *wanted);
    for (size_t i = 0; i < ctx->nsubset; i++) {
        size_t k = 0;
        const struct np_pair *p = &ctx->subset[i];
        while (k < s->opts.nsubset_keys && strcmp(s->opts.subset_keys[k], p->key) != 0)
            k++;
        if (k == s->opts.nsubset_keys) return false;
        uint32_t id = (uint32_t)(uintptr_t)np_map_get(&s->known[k], p->value, strlen(p->value));
        if (id == 0 || (wanted[k] != 0 && wanted[k] != id)) return false;
        wanted[k] = id;
    }
    return true;
}

static bool matches(const struct np_selector *s, const uint32_t *wanted, size_t i)
{
    const uint32_t *has = s->values + i * s->opts.nsubset_keys;
    for (size_t k = 0; k < s->opts.nsubset_keys; k++) {
        if (wanted[k] != 0 && wanted[k] != has[k]) return false;
    }
    return true;
}

static enum neap_err find_members(const struct np_selector *s, struct np_scope *scope)
{
    size_t n = 0;
    for (size_t i = 0; i < s->all->len; i++)
        n += matches(s, scope->wanted, i);
    uint32_t *members = np_calloc(n ? n : 1, sizeof *members);
    if (members == NULL) return NEAP_ENOMEM;
    np_free(scope->members);
    scope->members = members;
    scope->n = 0;
    for (size_t i = 0; i < s->all->len; i++) {
        if (matches(s, scope->wanted, i)) members[scope->n++] = (uint32_t)i;
    }
    return NEAP_OK;
}

static struct np_scope *scope_new(struct np_selector *s, const uint32_t wanted[NP_SUBSET_KEYS])
{
    if (s->scopes.len >= NP_MAX_SCOPES) np_scopes_clear(s);
    struct np_scope *scope = np_calloc(1, sizeof *scope);
    if (scope == NULL) return NULL;
    memcpy(scope->wanted, wanted, sizeof scope->wanted);
    scope->stale = true;
    if (np_map_set(&s->scopes, (const char *)wanted, sizeof scope->wanted, scope, NULL) !=
        NEAP_OK) {
        np_free(scope);
        return NULL;
    }
    return scope;
}

struct np_scope *np_scope_find(struct np_selector *s, const struct np_pick_ctx *ctx)
{
    uint32_t wanted[NP_SUBSET_KEYS];
    if (ctx->nsubset == 0) return &s->root;
    if (!read_wanted(s, ctx, wanted)) return NULL;
    struct np_scope *scope = np_map_get(&s->scopes, (const char *)wanted, sizeof wanted);
    if (scope == NULL) scope = scope_new(s, wanted);
    if (scope == NULL) return &s->root; /* no memory */
    scope->used = true;
    if (scope->stale) {
        if (scope->members == NULL && find_members(s, scope) != NEAP_OK) return &s->root;
        if (np_plan_scope(s, scope) == NEAP_OK) {
            scope->stale = false;
            scope->planned = true;
        } else if (!scope->planned) {
            return &s->root;
        }
    }
    return scope->n > 0 ? scope : NULL;
}

static void scope_free(struct np_scope *scope)
{
    np_scope_fini(scope);
    np_free(scope);
}

void np_scopes_changed(struct np_selector *s)
{
    size_t it = 0;
    s->narrowed = NULL;
    s->root.stale = true;
    s->root.ntrials = 0; /* they were indices */
    for (struct np_map_entry *e; (e = np_map_next(&s->scopes, &it)) != NULL;) {
        struct np_scope *scope = e->value;
        if (!scope->used) {
            np_map_remove(&s->scopes, e->key, e->key_len);
            scope_free(scope);
            continue;
        }
        scope->used = false;
        scope->stale = true;
        scope->ntrials = 0;
        np_free(scope->members);
        scope->members = NULL;
        scope->n = 0;
    }
}

void np_scopes_clear(struct np_selector *s)
{
    size_t it = 0;
    for (struct np_map_entry *e; (e = np_map_next(&s->scopes, &it)) != NULL;)
        scope_free(e->value);
    np_map_fini(&s->scopes);
    np_map_init(&s->scopes);
    s->narrowed = NULL;
}
