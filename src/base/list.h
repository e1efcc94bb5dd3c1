/* An intrusive doubly linked list: the links live in the element. Never allocates, cannot fail.
 *
 * A list head and an unlinked link point at themselves. Removing an unlinked element is allowed
 * and does nothing, so an element may be removed twice. One thread at a time.
 */
#ifndef NP_BASE_LIST_H
#define NP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct np_link {
    struct np_link *prev;
    struct np_link *next;
};

#define np_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void np_link_init(struct np_link *l)
{
    l->prev = l->next = l;
}
static inline bool np_list_empty(const struct np_link *head)
{
    return head->next == head;
}
static inline bool np_link_linked(const struct np_link *l)
{
    return l->next != l;
}
static inline void np_list_insert_before(struct np_link *at, struct np_link *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}
static inline void np_list_push_back(struct np_link *head, struct np_link *l)
{
    np_list_insert_before(head, l);
}
static inline void np_list_push_front(struct np_link *head, struct np_link *l)
{
    np_list_insert_before(head->next, l);
}
static inline void np_list_remove(struct np_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    np_link_init(l);
}
/* The first element's link, removed; NULL when empty. */
static inline struct np_link *np_list_pop_front(struct np_link *head)
{
    struct np_link *l = head->next;
    if (l == head) return NULL;
    np_list_remove(l);
    return l;
}
/* Moves all elements of `from` to the end of `to`. */
static inline void np_list_splice(struct np_link *to, struct np_link *from)
{
    if (np_list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    np_link_init(from);
}

/* The current element must not be removed in the body; with _safe it may. */
#define np_list_each(pos, head) for (pos = (head)->next; pos != (head); pos = pos->next)
#define np_list_each_safe(pos, tmp, head) \
    for (pos = (head)->next, tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif
