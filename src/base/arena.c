/* The arena: a list of chunks, the newest ordinary one being filled. A request that would waste
 * most of a chunk gets a chunk of its own and leaves the current one in use. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

struct np_arena_chunk {
    struct np_arena_chunk *next;
    size_t size;
    alignas(max_align_t) char data[];
};

enum { DEFAULT_CHUNK = 4096, MIN_CHUNK = 256, ALIGN = alignof(max_align_t) };

void np_arena_init(struct np_arena *a, size_t chunk_size)
{
    memset(a, 0, sizeof *a);
    if (chunk_size == 0) chunk_size = DEFAULT_CHUNK;
    a->chunk_size = chunk_size < MIN_CHUNK ? MIN_CHUNK : chunk_size;
}

static void free_chunks(struct np_arena_chunk *c)
{
    while (c) {
        struct np_arena_chunk *next = c->next;
        np_free(c);
        c = next;
    }
}

void np_arena_fini(struct np_arena *a)
{
    free_chunks(a->first);
    np_arena_init(a, a->chunk_size);
}

void np_arena_reset(struct np_arena *a)
{
    struct np_arena_chunk *first = a->first;
    if (!first) return;
    if (first->size > a->chunk_size) { /* one giant request must not be kept for ever */
        np_arena_fini(a);
        return;
    }
    free_chunks(first->next);
    first->next = NULL;
    a->last = first;
    a->at = first->data;
    a->end = first->data + first->size;
    a->used = 0;
}

static struct np_arena_chunk *add_chunk(struct np_arena *a, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct np_arena_chunk)) return NULL;
    struct np_arena_chunk *c = np_alloc(sizeof *c + size);
    if (!c) return NULL;
    c->size = size;
    c->next = NULL;
    if (a->first) {
        c->next = a->first->next;
        a->first->next = c;
    } else {
        a->first = c;
    }
    return c;
}

/* `size` bytes at a multiple of `align` (a power of two). */
static void *take(struct np_arena *a, size_t size, size_t align)
{
    size_t pad = (size_t)(-(uintptr_t)a->at & (align - 1));
    size_t room = (size_t)(a->end - a->at);
    if (a->at && pad <= room && size <= room - pad) {
        char *p = a->at + pad;
        a->at = p + size;
        a->used += size;
        return p;
    }
    bool own = size > a->chunk_size / 4;
    struct np_arena_chunk *c = add_chunk(a, own ? size : a->chunk_size);
    if (!c) return NULL;
    if (!own || !a->last) {
        a->last = c;
        a->at = c->data + size;
        a->end = c->data + c->size;
    }
    a->used += size;
    return c->data;
}

void *np_arena_alloc(struct np_arena *a, size_t size)
{
    return take(a, size ? size : 1, ALIGN);
}

char *np_arena_strndup(struct np_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *copy = take(a, n + 1, 1);
    if (!copy) return NULL;
    if (n > 0) memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}
