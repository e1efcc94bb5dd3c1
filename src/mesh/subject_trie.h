/* A trie of subscriptions: who wants the messages of a subject.
 *
 * A published subject goes to every plain subscriber whose pattern takes it, and to one member of
 * each queue group (as in NATS, all that subscribe with one queue's name are one group, whichever
 * of their patterns take the subject). One thread at a time.
 *
 * While a visit is under way the visitor may insert, remove (also what is being visited) and match
 * again: the visit goes over a list made before its first call, a removed subscription is not
 * called any more, its memory goes when the outermost visit ends, and an inserted one is not called
 * yet.
 */
#ifndef NP_MESH_SUBJECT_TRIE_H
#define NP_MESH_SUBJECT_TRIE_H

#include "base/err.h"
#include "base/hash.h"
#include "mesh/subject.h"

struct np_trie;
struct np_sub;

struct np_trie_options {
    size_t max_subs;    /* default 1 Mi */
    size_t max_len;     /* default NP_SUBJECT_MAX_LEN: bytes of a subject, pattern or queue name */
    size_t max_tokens;  /* default 32, at most NP_SUBJECT_MAX_TOKENS */
    size_t cache_slots; /* default 1024 subjects whose results are remembered; 0 for none */
    uint64_t seed;      /* of the choice in a group; 0: from the system's randomness */
};
#define NP_TRIE_OPTIONS_INIT                      \
    {                                             \
        1u << 20, NP_SUBJECT_MAX_LEN, 32, 1024, 0 \
    }

/* `opts` may be NULL. */
NEAP_MUST_CHECK enum neap_err np_trie_new(const struct np_trie_options *opts, struct np_trie **out);
/* Frees what is still subscribed (the handles die with it; the values are the caller's). Not from
 * inside a visit. NULL is allowed. */
void np_trie_free(struct np_trie *t);

/* `queue` NULL: a plain subscriber. `value` is what the visitor gets. `*out` holds until removed.
 * NEAP_EINVAL (pattern, queue), NEAP_ELIMIT, NEAP_ENOMEM: nothing has changed. */
NEAP_MUST_CHECK enum neap_err np_trie_insert(struct np_trie *t, const char *pattern, size_t n,
                                             const char *queue, size_t qn, void *value,
                                             struct np_sub **out);
/* Never fails, allocates nothing. NULL is allowed. */
void np_trie_remove(struct np_trie *t, struct np_sub *s);

void *np_sub_value(const struct np_sub *s);
/* NUL-terminated; the queue is NULL for a plain subscriber. */
const char *np_sub_pattern(const struct np_sub *s);
const char *np_sub_queue(const struct np_sub *s);

/* True when the message was taken. A group's member that does not take it (it asked for no echo, or
 * is full) leaves it to the next one of the group, until each was asked once. */
typedef bool (*np_trie_visit_fn)(struct np_sub *s, void *value, void *arg);

/* Visits who wants `subject`; `*taken` (may be NULL) counts who took it. A subject that is seen
 * again costs one look-up until a subscription comes or goes. Nothing is allocated in the steady
 * state. NEAP_EINVAL for a bad subject, NEAP_ENOMEM (before the first call). */
NEAP_MUST_CHECK enum neap_err np_trie_match(struct np_trie *t, const char *subject, size_t n,
                                            np_trie_visit_fn fn, void *arg, size_t *taken);
/* Inside a visit of a group's member: how many members the group has. */
size_t np_trie_group_size(const struct np_trie *t);
/* Whether anybody wants it, without asking them. */
bool np_trie_interest(struct np_trie *t, const char *subject, size_t n);

size_t np_trie_count(const struct np_trie *t); /* subscriptions that stand */
size_t np_trie_nodes(const struct np_trie *t); /* inner nodes, the root included; for tests */

#endif
