/* An arena: memory that is freed all at once, for what one request needs.
 *
 * Allocation bumps a pointer in a chunk; reset keeps the first chunk and frees the rest, so a
 * recycled arena allocates nothing in the steady state. One thread at a time.
 */
#ifndef NP_BASE_ARENA_H
#define NP_BASE_ARENA_H

#include <stddef.h>

struct np_arena_chunk;
struct np_arena {
    struct np_arena_chunk *first; /* kept by reset */
    struct np_arena_chunk *last;
    char *at;
    char *end;
    size_t chunk_size; /* of the next chunk, unless more is asked for */
    size_t used;       /* bytes handed out since the last reset */
};

/* Allocates nothing yet. `chunk_size` 0 means 4096. */
void np_arena_init(struct np_arena *a, size_t chunk_size);
void np_arena_fini(struct np_arena *a);
void np_arena_reset(struct np_arena *a);

/* Aligned for any type. NULL when out of memory. Holds until reset or fini. */
void *np_arena_alloc(struct np_arena *a, size_t size);
/* Unaligned bytes, NUL-terminated. */
char *np_arena_strndup(struct np_arena *a, const char *s, size_t n);

#endif
