/* The trie: nodes, queue groups, inserting and removing (matching stands in subject_match.c).
 *
 * All literal edges stand in one map, keyed by the parent's number and the token. A node stands
 * while it has subscribers or children; the root always does.
 */
#include <string.h>

#include "base/alloc.h"
#include "mesh/subject_trie_impl.h"

static const struct np_trie_options default_options = NP_TRIE_OPTIONS_INIT;

/* The key of an edge: the parent's number, then the token. */
struct edge_key {
    char bytes[sizeof(uint64_t) + NP_SUBJECT_MAX_LEN];
    size_t len;
};

static void edge_key(struct edge_key *k, const struct node *parent, const char *token, size_t n)
{
    memcpy(k->bytes, &parent->id, sizeof parent->id);
    memcpy(k->bytes + sizeof parent->id, token, n);
    k->len = sizeof parent->id + n;
}

struct node *np_trie_child(const struct np_trie *t, const struct node *parent, const char *token,
                           size_t n)
{
    struct edge_key k;
    edge_key(&k, parent, token, n);
    return np_map_get(&t->edges, k.bytes, k.len);
}

static struct node *node_alloc(struct np_trie *t, struct node *parent, const char *token, size_t n)
{
    struct node *node = np_calloc(1, sizeof *node + n);
    if (node == NULL) return NULL;
    node->id = t->next_id++;
    node->parent = parent;
    np_link_init(&node->plain);
    np_link_init(&node->groups);
    node->token_len = n;
    memcpy(node->token, token, n);
    return node;
}

enum neap_err np_trie_new(const struct np_trie_options *opts, struct np_trie **out)
{
    const struct np_trie_options *o = opts ? opts : &default_options;
    if (o->max_tokens == 0 || o->max_tokens > NP_SUBJECT_MAX_TOKENS) return NEAP_EINVAL;
    if (o->max_len == 0 || o->max_len > NP_SUBJECT_MAX_LEN) return NEAP_EINVAL;
    struct np_trie *t = np_calloc(1, sizeof *t);
    if (t == NULL) return NEAP_ENOMEM;
    t->opts = *o;
    t->generation = 1;
    np_map_init(&t->edges);
    np_map_init(&t->queues);
    np_link_init(&t->doomed);
    np_rng_init(&t->rng, o->seed);
    t->root = node_alloc(t, NULL, "", 0);
    if (t->root == NULL) goto fail;
    t->nodes = 1;
    if (np_cache_init(&t->cache, o->cache_slots) != NEAP_OK) goto fail;
    *out = t;
    return NEAP_OK;
fail:
    np_free(t->root);
    np_free(t);
    return NEAP_ENOMEM;
}

static bool is_wildcard(const char *token, size_t n, char c)
{
    return n == 1 && token[0] == c;
}

/* Where the parent keeps a wildcard's child; NULL for a literal token. */
static struct node **wild_slot(struct node *parent, const char *token, size_t n)
{
    if (is_wildcard(token, n, '*')) return &parent->star;
    if (is_wildcard(token, n, '>')) return &parent->rest;
    return NULL;
}

static enum neap_err enter(struct np_trie *t, struct node *parent, const char *token, size_t n,
                           struct node **out)
{
    struct edge_key k;
    struct node **wild = wild_slot(parent, token, n);
    struct node *child = wild ? *wild : np_trie_child(t, parent, token, n);
    if (child == NULL) {
        child = node_alloc(t, parent, token, n);
        if (child == NULL) return NEAP_ENOMEM;
        if (wild != NULL) {
            *wild = child;
        } else {
            edge_key(&k, parent, token, n);
            if (np_map_set(&t->edges, k.bytes, k.len, child, NULL) != NEAP_OK) {
                np_free(child);
                return NEAP_ENOMEM;
            }
        }
        parent->children++;
        t->nodes++;
    }
    *out = child;
    return NEAP_OK;
}

static void unlink_node(struct np_trie *t, struct node *n)
{
    struct edge_key k;
    struct node **wild = wild_slot(n->parent, n->token, n->token_len);
    if (wild != NULL) {
        *wild = NULL;
    } else {
        edge_key(&k, n->parent, n->token, n->token_len);
        np_map_remove(&t->edges, k.bytes, k.len);
    }
    n->parent->children--;
    t->nodes--;
}

/* Frees the node and those above it that nothing holds any more. */
static void prune(struct np_trie *t, struct node *n)
{
    while (n->parent != NULL && n->children == 0 && n->held == 0) {
        struct node *parent = n->parent;
        unlink_node(t, n);
        np_free(n);
        n = parent;
    }
}

/* The node of a valid pattern, made if need be. */
static enum neap_err reach(struct np_trie *t, const char *pattern, size_t n, struct node **out)
{
    const char *end = pattern + n;
    struct node *node = t->root;
    for (const char *p = pattern; p != NULL;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        struct node *child = NULL;
        if (enter(t, node, p, (size_t)((dot ? dot : end) - p), &child) != NEAP_OK) {
            prune(t, node);
            return NEAP_ENOMEM;
        }
        node = child;
        p = dot ? dot + 1 : NULL;
    }
    *out = node;
    return NEAP_OK;
}

static void queue_unref(struct np_trie *t, struct queue *q)
{
    if (--q->groups > 0) return;
    np_map_remove(&t->queues, q->name, strlen(q->name));
    np_free(q);
}

static struct queue *queue_ref(struct np_trie *t, const char *name, size_t n)
{
    struct queue *q = np_map_get(&t->queues, name, n);
    if (q == NULL) {
        q = np_calloc(1, sizeof *q + n + 1);
        if (q == NULL) return NULL;
        memcpy(q->name, name, n);
        if (np_map_set(&t->queues, name, n, q, NULL) != NEAP_OK) {
            np_free(q);
            return NULL;
        }
    }
    q->groups++;
    return q;
}

static struct group *find_group(const struct np_trie *t, const struct node *node, const char *name,
                                size_t n)
{
    struct np_link *l = NULL;
    const struct queue *q = np_map_get(&t->queues, name, n);
    if (q == NULL) return NULL;
    np_list_each (l, &node->groups) {
        struct group *g = np_container_of(l, struct group, link);
        if (g->queue == q) return g;
    }
    return NULL;
}

static void group_drop_if_empty(struct np_trie *t, struct group *g)
{
    if (g->len > 0) return;
    np_list_remove(&g->link);
    queue_unref(t, g->queue);
    np_free(g->members);
    np_free(g);
}

/* The group, with room for one more member. */
static enum neap_err reach_group(struct np_trie *t, struct node *node, const char *name, size_t n,
                                 struct group **out)
{
    struct group *g = find_group(t, node, name, n);
    if (g == NULL) {
        g = np_calloc(1, sizeof *g);
        if (g == NULL) return NEAP_ENOMEM;
        g->queue = queue_ref(t, name, n);
        if (g->queue == NULL) {
            np_free(g);
            return NEAP_ENOMEM;
        }
        g->node = node;
        np_list_push_back(&node->groups, &g->link);
    }
    if (g->len == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 4;
        struct np_sub **members = np_realloc(g->members, cap * sizeof *members);
        if (members == NULL) {
            group_drop_if_empty(t, g);
            return NEAP_ENOMEM;
        }
        g->members = members;
        g->cap = cap;
    }
    *out = g;
    return NEAP_OK;
}

static enum neap_err check(const struct np_trie *t, const char *pattern, size_t n,
                           const char *queue, size_t qn)
{
    size_t tokens = 1;
    if (!np_pattern_ok(pattern, n)) return NEAP_EINVAL;
    if (queue != NULL && !np_queue_name_ok(queue, qn)) return NEAP_EINVAL;
    if (n > t->opts.max_len || (queue != NULL && qn > t->opts.max_len)) return NEAP_ELIMIT;
    for (size_t i = 0; i < n; i++)
        tokens += pattern[i] == '.';
    if (tokens > t->opts.max_tokens || t->subs >= t->opts.max_subs) return NEAP_ELIMIT;
    return NEAP_OK;
}

enum neap_err np_trie_insert(struct np_trie *t, const char *pattern, size_t n, const char *queue,
                             size_t qn, void *value, struct np_sub **out)
{
    struct node *node = NULL;
    struct group *g = NULL;
    enum neap_err err = check(t, pattern, n, queue, qn);
    if (err != NEAP_OK) return err;
    struct np_sub *s = np_calloc(1, sizeof *s + n + 1);
    if (s == NULL) return NEAP_ENOMEM;
    if (reach(t, pattern, n, &node) != NEAP_OK) goto fail;
    if (queue != NULL && reach_group(t, node, queue, qn, &g) != NEAP_OK) goto fail;

    memcpy(s->pattern, pattern, n);
    s->node = node;
    s->group = g;
    s->value = value;
    np_link_init(&s->link);
    if (g != NULL) {
        s->at = g->len;
        g->members[g->len++] = s;
        g->live++;
    } else {
        np_list_push_back(&node->plain, &s->link);
    }
    node->held++;
    t->subs++;
    t->generation++;
    *out = s;
    return NEAP_OK;
fail:
    if (node != NULL) prune(t, node);
    np_free(s);
    return NEAP_ENOMEM;
}

static void sub_free(struct np_trie *t, struct np_sub *s)
{
    struct group *g = s->group;
    struct node *node = s->node;
    np_list_remove(&s->link);
    if (g != NULL) {
        g->members[s->at] = g->members[--g->len];
        g->members[s->at]->at = s->at;
        group_drop_if_empty(t, g);
    }
    np_free(s);
    node->held--;
    prune(t, node);
}

void np_trie_remove(struct np_trie *t, struct np_sub *s)
{
    if (s == NULL || s->dead) return;
    t->subs--;
    t->generation++;
    if (s->group != NULL) s->group->live--;
    s->dead = true;
    np_list_remove(&s->link);
    if (t->visiting > 0) {
        np_list_push_back(&t->doomed, &s->link);
    } else {
        sub_free(t, s);
    }
}

void np_trie_sweep(struct np_trie *t)
{
    struct np_link *l = NULL;
    while ((l = np_list_pop_front(&t->doomed)) != NULL) {
        sub_free(t, np_container_of(l, struct np_sub, link));
    }
}

static void free_subs(struct np_trie *t, struct node *n)
{
    struct np_link *l = NULL;
    while ((l = np_list_pop_front(&n->plain)) != NULL) {
        np_free(np_container_of(l, struct np_sub, link));
    }
    while (!np_list_empty(&n->groups)) {
        struct group *g = np_container_of(n->groups.next, struct group, link);
        while (g->len > 0)
            np_free(g->members[--g->len]);
        group_drop_if_empty(t, g);
    }
}

/* With its children by wildcards (as deep as a pattern has tokens); the map has the others. */
static void free_node(struct np_trie *t, struct node *n)
{
    if (n->star != NULL) free_node(t, n->star);
    if (n->rest != NULL) free_node(t, n->rest);
    free_subs(t, n);
    np_free(n);
}

void np_trie_free(struct np_trie *t)
{
    struct np_map_entry *e = NULL;
    if (t == NULL) return;
    for (size_t it = 0; (e = np_map_next(&t->edges, &it)) != NULL;)
        free_node(t, e->value);
    free_node(t, t->root);
    np_map_fini(&t->edges);
    np_map_fini(&t->queues);
    np_cache_fini(&t->cache);
    np_free(t->found.v);
    np_free(t);
}

void *np_sub_value(const struct np_sub *s)
{
    return s->value;
}

const char *np_sub_pattern(const struct np_sub *s)
{
    return s->pattern;
}

const char *np_sub_queue(const struct np_sub *s)
{
    return s->group ? s->group->queue->name : NULL;
}

size_t np_trie_count(const struct np_trie *t)
{
    return t->subs;
}

size_t np_trie_nodes(const struct np_trie *t)
{
    return t->nodes;
}
