/* An index from 64-bit keys to small numbers: built once, then only read. Open addressing. */
#ifndef NP_MESH_SELECTOR_INDEX_H
#define NP_MESH_SELECTOR_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct np_index_slot {
    uint64_t key;
    uint32_t value; /* plus 1; 0: empty */
};
struct np_index {
    struct np_index_slot *slots; /* NULL: nothing is in it */
    size_t mask;
};

/* Room for `n` keys. NEAP_ENOMEM: `x` is untouched. */
NEAP_MUST_CHECK enum neap_err np_index_init(struct np_index *x, size_t n);
void np_index_fini(struct np_index *x);
/* At most `n` times; the first value of a key stands. */
void np_index_add(struct np_index *x, uint64_t key, uint32_t value);
/* SIZE_MAX when absent. */
size_t np_index_get(const struct np_index *x, uint64_t key);

#endif
