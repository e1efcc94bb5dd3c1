/* Reference-counted bytes. Counting is safe from any thread; writing is the maker's, before the
 * first share. */
#include "base/blob.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

struct np_blob *np_blob_new(const void *p, size_t n)
{
    if (n > SIZE_MAX - sizeof(struct np_blob) - 1) return NULL;
    struct np_blob *b = np_alloc(sizeof *b + n + 1);
    if (!b) return NULL;
    atomic_init(&b->refs, 1);
    b->len = n;
    if (p && n > 0) memcpy(b->data, p, n);
    b->data[n] = '\0';
    return b;
}

struct np_blob *np_blob_ref(struct np_blob *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void np_blob_unref(struct np_blob *b)
{
    /* acq_rel: the last one must see all that the others did before they let go. */
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) np_free(b);
}
