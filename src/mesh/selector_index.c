/* An index from 64-bit keys (see selector_index.h). */
#include "mesh/selector_index.h"

#include "base/alloc.h"
#include "base/hash.h"

enum neap_err np_index_init(struct np_index *x, size_t n)
{
    size_t size = 16;
    while (size < n * 2)
        size *= 2;
    struct np_index_slot *slots = np_calloc(size, sizeof *slots);
    if (slots == NULL) return NEAP_ENOMEM;
    x->slots = slots;
    x->mask = size - 1;
    return NEAP_OK;
}

void np_index_fini(struct np_index *x)
{
    np_free(x->slots);
    *x = (struct np_index){0};
}

static struct np_index_slot *slot_of(const struct np_index *x, uint64_t key)
{
    size_t at = np_hash_mix(key) & x->mask;
    while (x->slots[at].value != 0 && x->slots[at].key != key)
        at = (at + 1) & x->mask;
    return &x->slots[at];
}

void np_index_add(struct np_index *x, uint64_t key, uint32_t value)
{
    struct np_index_slot *slot = slot_of(x, key);
    if (slot->value != 0) return;
    *slot = (struct np_index_slot){key, value + 1};
}

size_t np_index_get(const struct np_index *x, uint64_t key)
{
    if (x->slots == NULL) return SIZE_MAX;
    const struct np_index_slot *slot = slot_of(x, key);
    return slot->value != 0 ? slot->value - 1 : SIZE_MAX;
}
