/* Small blocks whose size their owner knows when it gives them back: what a Lua state is made of.
 *
 * Blocks of one size (rounded up to 16) stand in slabs of 16 KiB; taking and giving back one is a
 * few instructions, with nothing stored beside it. A slab with no block in use goes back to malloc,
 * but for one of each size. Under a sanitizer every block is malloc's, so that it sees each one.
 * One thread at a time.
 */
#ifndef NP_BASE_SLAB_H
#define NP_BASE_SLAB_H

#include <stddef.h>

#include "base/list.h"

#define NP_SLAB_MAX ((size_t)256) /* bytes; larger blocks are np_alloc's */
#define NP_SLAB_GRAIN ((size_t)16)

struct np_slabs {
    struct np_link partial[NP_SLAB_MAX / NP_SLAB_GRAIN]; /* slabs with room, by size */
    struct np_link full;
};

void np_slabs_init(struct np_slabs *s);
/* All slabs go, blocks in use included. */
void np_slabs_fini(struct np_slabs *s);
/* As malloc, realloc and free, of any size but 0; `old` is the size that was asked for. A failing
 * realloc leaves the block as it was. */
void *np_slab_alloc(struct np_slabs *s, size_t size);
void *np_slab_realloc(struct np_slabs *s, void *p, size_t old, size_t size);
void np_slab_free(struct np_slabs *s, void *p, size_t size);

#endif
