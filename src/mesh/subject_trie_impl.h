/* The trie's own structures, shared by subject_trie.c, subject_match.c and subject_cache.c only. */
#ifndef NP_MESH_SUBJECT_TRIE_IMPL_H
#define NP_MESH_SUBJECT_TRIE_IMPL_H

#include "base/list.h"
#include "mesh/subject_trie.h"

/* A queue's name, shared by the groups that bear it. */
struct queue {
    size_t groups;
    uint64_t search; /* the last search that found it, and its newest hit there */
    size_t last_hit;
    char name[];
};

/* The subscribers of one pattern with one queue's name. */
struct group {
    struct np_link link; /* in the node's groups */
    struct node *node;
    struct queue *queue;
    struct np_sub **members; /* those removed during a visit stand until it ends */
    size_t len;
    size_t cap;
    size_t live; /* members that are not removed */
};

/* A place in the trie: a pattern's beginning. Literal children are found through np_trie.edges. */
struct node {
    uint64_t id;
    struct node *parent;
    struct node *star; /* by "*" */
    struct node *rest; /* by ">" */
    size_t children;   /* of all three kinds */
    size_t held;       /* subscribers of its pattern, with those removed during a visit */
    struct np_link plain;
    struct np_link groups;
    size_t token_len;
    char token[]; /* by which the parent knows it */
};

struct np_sub {
    struct np_link link; /* in the node's plain list, or in np_trie.doomed */
    struct node *node;
    struct group *group; /* NULL for a plain subscriber */
    size_t at;           /* its place among the group's members */
    void *value;         /* the caller's */
    bool dead;           /* removed during a visit */
    char pattern[];
};

/* What a match found: a plain subscriber or a group. Groups of one queue are a chain. */
struct hit {
    struct np_sub *sub;
    struct group *group;
    bool chained; /* not the first group of its queue */
    size_t
        next; /* the next group of its queue, counted from the search's first hit; 0 at the end */
};
/* A growing array. */
struct hits {
    struct hit *v;
    size_t len;
    size_t cap;
};

struct cache_slot {
    uint64_t generation; /* of the trie when it was filled; 0 for never */
    uint64_t hash;
    char *subject;
    size_t subject_len;
    size_t subject_cap;
    struct hits hits;
};
struct cache {
    struct cache_slot *slots;
    size_t count; /* a power of two, or 0 */
    uint64_t seed[2];
};

struct np_trie {
    struct np_trie_options opts;
    struct node *root;
    struct np_map edges;  /* parent's id and token → struct node */
    struct np_map queues; /* name → struct queue */
    struct cache cache;
    struct hits found;   /* what the visits under way go over, the innermost one last */
    uint64_t generation; /* raised by each insert and remove; begins at 1 */
    uint64_t searches;
    uint64_t next_id;
    size_t nodes;
    size_t subs;
    unsigned visiting; /* depth of visits under way */
    size_t group_size; /* of the group that is being visited */
    struct np_link doomed;
    struct np_rng rng;
};

/* subject_trie.c */
struct node *np_trie_child(const struct np_trie *t, const struct node *parent, const char *token,
                           size_t n);
/* Frees what was removed during the visits that have ended. */
void np_trie_sweep(struct np_trie *t);

/* subject_cache.c */
NEAP_MUST_CHECK enum neap_err np_hits_reserve(struct hits *h, size_t extra);
NEAP_MUST_CHECK enum neap_err np_cache_init(struct cache *c, size_t slots);
void np_cache_fini(struct cache *c);
/* The slot of the subject, and whether it holds what this generation of the trie would find. */
struct cache_slot *np_cache_slot(struct cache *c, uint64_t generation, const char *subject,
                                 size_t n, bool *hit);
/* Remembers, unless there is too much of it or no memory. */
void np_cache_fill(struct cache_slot *slot, uint64_t generation, const char *subject, size_t n,
                   const struct hit *v, size_t len);

#endif
