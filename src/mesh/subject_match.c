/* Finding who wants a subject, and visiting them.
 *
 * What a visit goes over stands in `t->found`, above what the visits around it go over, and is
 * reached by index only, since a visit inside may move the array.
 */
#include <string.h>

#include "mesh/subject_trie_impl.h"

struct search {
    struct np_trie *t;
    size_t base; /* of its hits in t->found */
    size_t count;
    struct {
        const char *p;
        size_t n;
    } tokens[NP_SUBJECT_MAX_TOKENS];
};

static enum neap_err split(struct search *s, const char *subject, size_t n)
{
    const struct np_trie_options *o = &s->t->opts;
    if (!np_subject_ok(subject, n)) return NEAP_EINVAL;
    if (n > o->max_len) return NEAP_ELIMIT;
    const char *end = subject + n;
    for (const char *p = subject; p != NULL;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        if (s->count == o->max_tokens) return NEAP_ELIMIT;
        s->tokens[s->count].p = p;
        s->tokens[s->count++].n = (size_t)((dot ? dot : end) - p);
        p = dot ? dot + 1 : NULL;
    }
    return NEAP_OK;
}

static void add_group(struct search *s, struct group *g)
{
    struct hits *found = &s->t->found;
    struct queue *q = g->queue;
    size_t at = found->len - s->base;
    bool chained = q->search == s->t->searches;
    found->v[found->len++] = (struct hit){NULL, g, chained, 0};
    if (chained) found->v[s->base + q->last_hit].next = at;
    q->search = s->t->searches;
    q->last_hit = at;
}

static enum neap_err add_node(struct search *s, struct node *n)
{
    struct hits *found = &s->t->found;
    struct np_link *l = NULL;
    np_list_each (l, &n->plain) {
        struct np_sub *sub = np_container_of(l, struct np_sub, link);
        if (np_hits_reserve(found, 1) != NEAP_OK) return NEAP_ENOMEM;
        found->v[found->len++] = (struct hit){sub, NULL, false, 0};
    }
    np_list_each (l, &n->groups) {
        if (np_hits_reserve(found, 1) != NEAP_OK) return NEAP_ENOMEM;
        add_group(s, np_container_of(l, struct group, link));
    }
    return NEAP_OK;
}

/* `n` stands for the first `i` tokens. Recurses at most as deep as there are tokens. */
static enum neap_err walk(struct search *s, struct node *n, size_t i)
{
    enum neap_err err = NEAP_OK;
    if (i == s->count) return add_node(s, n);
    if (n->rest != NULL) err = add_node(s, n->rest);
    if (err == NEAP_OK && n->children > (size_t)(n->rest != NULL) + (size_t)(n->star != NULL)) {
        struct node *child = np_trie_child(s->t, n, s->tokens[i].p, s->tokens[i].n);
        if (child != NULL) err = walk(s, child, i + 1);
    }
    if (err == NEAP_OK && n->star != NULL) err = walk(s, n->star, i + 1);
    return err;
}

/* Adds to `t->found` what takes the subject. */
static enum neap_err find(struct np_trie *t, const char *subject, size_t n)
{
    struct search s = {.t = t, .base = t->found.len};
    bool hit = false;
    struct cache_slot *slot = np_cache_slot(&t->cache, t->generation, subject, n, &hit);
    if (hit) {
        if (np_hits_reserve(&t->found, slot->hits.len) != NEAP_OK) return NEAP_ENOMEM;
        if (slot->hits.len == 0) return NEAP_OK;
        memcpy(t->found.v + t->found.len, slot->hits.v, slot->hits.len * sizeof(struct hit));
        t->found.len += slot->hits.len;
        return NEAP_OK;
    }
    enum neap_err err = split(&s, subject, n);
    if (err != NEAP_OK) return err;
    t->searches++;
    err = walk(&s, t->root, 0);
    if (err != NEAP_OK) {
        t->found.len = s.base;
        return err;
    }
    size_t len = t->found.len - s.base;
    np_cache_fill(slot, t->generation, subject, n, len ? t->found.v + s.base : NULL, len);
    return NEAP_OK;
}

/* The `k`-th member of the chain of groups that begins at hit `i`, and of how many. */
static struct np_sub *member(const struct np_trie *t, size_t base, size_t i, size_t k,
                             size_t *total)
{
    struct np_sub *found = NULL;
    size_t seen = 0;
    for (;;) {
        const struct hit *h = &t->found.v[i];
        if (k >= seen && k < seen + h->group->len) found = h->group->members[k - seen];
        seen += h->group->len;
        if (h->next == 0) break;
        i = base + h->next;
    }
    *total = seen;
    return found;
}

/* One of the queue's members, or the next one while they do not take it. */
static bool visit_queue(struct np_trie *t, size_t base, size_t i, np_trie_visit_fn fn, void *arg)
{
    size_t total = 0;
    size_t ignored = 0;
    (void)member(t, base, i, 0, &total);
    size_t first = np_rng_below(&t->rng, (uint32_t)total);
    for (size_t k = 0; k < total; k++) {
        struct np_sub *s = member(t, base, i, (first + k) % total, &ignored);
        if (s == NULL || s->dead) continue;
        t->group_size = total;
        if (fn(s, s->value, arg)) return true;
    }
    return false;
}

size_t np_trie_group_size(const struct np_trie *t)
{
    return t->group_size;
}

enum neap_err np_trie_match(struct np_trie *t, const char *subject, size_t n, np_trie_visit_fn fn,
                            void *arg, size_t *taken)
{
    size_t base = t->found.len;
    size_t count = 0;
    enum neap_err err = find(t, subject, n);
    if (err != NEAP_OK) return err;
    size_t end = t->found.len;
    t->visiting++;
    for (size_t i = base; i < end; i++) {
        struct hit h = t->found.v[i];
        if (h.chained) continue;
        if (h.sub != NULL) {
            if (!h.sub->dead && fn(h.sub, h.sub->value, arg)) count++;
        } else if (visit_queue(t, base, i, fn, arg)) {
            count++;
        }
    }
    t->found.len = base;
    if (--t->visiting == 0) np_trie_sweep(t);
    if (taken != NULL) *taken = count;
    return NEAP_OK;
}

bool np_trie_interest(struct np_trie *t, const char *subject, size_t n)
{
    size_t base = t->found.len;
    bool any = false;
    if (find(t, subject, n) != NEAP_OK) return false;
    for (size_t i = base; i < t->found.len && !any; i++) {
        const struct hit *h = &t->found.v[i];
        any = h->sub != NULL ? !h->sub->dead : h->group->live > 0;
    }
    t->found.len = base;
    return any;
}
