/* A blob: immutable bytes, counted by reference, that threads may share.
 *
 * Made with one reference. The bytes may be written until the blob is first shared, never after.
 */
#ifndef NP_BASE_BLOB_H
#define NP_BASE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>

struct np_blob {
    atomic_uint refs;
    size_t len;
    char data[]; /* len bytes and a NUL that does not count */
};

/* `p` may be NULL: the bytes are then left for the caller to write. NULL when out of memory. */
struct np_blob *np_blob_new(const void *p, size_t n);
struct np_blob *np_blob_ref(struct np_blob *b);
void np_blob_unref(struct np_blob *b); /* NULL is allowed */

#endif
