/* Small blocks; see slab.h. A slab is aligned to its size, so a block finds its slab's head. */
#include "base/slab.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define PLAIN 1
#endif
#endif
#ifndef PLAIN
#define PLAIN 0
#endif

/* Bytes from one slab to the next, and of one: malloc's own word stands between two. */
enum { SLAB = 16 << 10, SLAB_BYTES = SLAB - 128 };

struct slab {
    struct np_link link; /* among the partial ones of its size, or the full ones */
    void *free;          /* blocks given back, each pointing to the next */
    char *fresh, *end;   /* those never used */
    unsigned used;
    bool is_full;
};

static size_t class_of(size_t size)
{
    return (size - 1) / NP_SLAB_GRAIN;
}

static size_t size_of(size_t cls)
{
    return (cls + 1) * NP_SLAB_GRAIN;
}

void np_slabs_init(struct np_slabs *s)
{
    for (size_t i = 0; i < NP_SLAB_MAX / NP_SLAB_GRAIN; i++)
        np_link_init(&s->partial[i]);
    np_link_init(&s->full);
}

static void free_all(struct np_link *list)
{
    struct np_link *l;
    while ((l = np_list_pop_front(list)))
        np_free(np_container_of(l, struct slab, link));
}

void np_slabs_fini(struct np_slabs *s)
{
    for (size_t i = 0; i < NP_SLAB_MAX / NP_SLAB_GRAIN; i++)
        free_all(&s->partial[i]);
    free_all(&s->full);
}

static struct slab *new_slab(struct np_slabs *s, size_t cls)
{
    struct slab *b = np_alloc_aligned(SLAB, SLAB_BYTES);
    if (!b) return NULL;
    size_t head = (sizeof *b + NP_SLAB_GRAIN - 1) / NP_SLAB_GRAIN * NP_SLAB_GRAIN;
    *b = (struct slab){.fresh = (char *)b + head, .end = (char *)b + SLAB_BYTES};
    np_link_init(&b->link);
    np_list_push_front(&s->partial[cls], &b->link);
    return b;
}

static bool has_fresh(const struct slab *b, size_t n)
{
    return (size_t)(b->end - b->fresh) >= n;
}

void *np_slab_alloc(struct np_slabs *s, size_t size)
{
    if (PLAIN || size > NP_SLAB_MAX) return np_alloc(size);
    size_t cls = class_of(size), n = size_of(cls);
    struct np_link *list = &s->partial[cls];
    struct slab *b =
        np_list_empty(list) ? new_slab(s, cls) : np_container_of(list->next, struct slab, link);
    if (!b) return NULL;
    void *p = b->free;
    if (p) {
        memcpy(&b->free, p, sizeof b->free);
    } else {
        p = b->fresh;
        b->fresh += n;
    }
    b->used++;
    if (!b->free && !has_fresh(b, n)) {
        b->is_full = true;
        np_list_remove(&b->link);
        np_list_push_front(&s->full, &b->link);
    }
    return p;
}

void np_slab_free(struct np_slabs *s, void *p, size_t size)
{
    if (PLAIN || size > NP_SLAB_MAX || !p) {
        np_free(p);
        return;
    }
    struct slab *b = (struct slab *)((uintptr_t)p & ~(uintptr_t)(SLAB - 1));
    struct np_link *list = &s->partial[class_of(size)];
    memcpy(p, &b->free, sizeof b->free);
    b->free = p;
    b->used--;
    if (b->is_full) {
        b->is_full = false;
        np_list_remove(&b->link);
        np_list_push_front(list, &b->link);
    } else if (b->used == 0 && list->next != list->prev) {
        np_list_remove(&b->link);
        np_free(b);
    }
}

static bool same_block(size_t old, size_t size)
{
    return old <= NP_SLAB_MAX && size <= NP_SLAB_MAX && class_of(old) == class_of(size);
}

void *np_slab_realloc(struct np_slabs *s, void *p, size_t old, size_t size)
{
    if (!p) return np_slab_alloc(s, size);
    if (PLAIN || (old > NP_SLAB_MAX && size > NP_SLAB_MAX)) return np_realloc(p, size);
    if (same_block(old, size)) return p;
    void *q = np_slab_alloc(s, size);
    if (!q) return NULL;
    memcpy(q, p, old < size ? old : size);
    np_slab_free(s, p, old);
    return q;
}
