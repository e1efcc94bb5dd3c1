/* Pools of the simulator's objects (see sim_impl.h). The queue has room for every timer in them. */
#include <string.h>

#include "base/alloc.h"
#include "mesh/sim_impl.h"

enum { CHUNK = 256 };

static bool add_chunk(struct np_sim *s, struct np_sim_pool *p)
{
    if (np_sim_queue_reserve(&s->queue, s->queue.cap + CHUNK * p->timers)) return false;
    if (p->nchunks == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        void **chunks = np_realloc(p->chunks, cap * sizeof *chunks);
        if (chunks == NULL) return false;
        p->chunks = chunks;
        p->cap = cap;
    }
    char *chunk = np_alloc(CHUNK * p->size);
    if (chunk == NULL) return false;
    p->chunks[p->nchunks++] = chunk;
    for (size_t i = CHUNK; i-- > 0;)
        np_sim_pool_put(p, chunk + i * p->size);
    return true;
}

void *np_sim_pool_get(struct np_sim *s, struct np_sim_pool *p)
{
    if (p->free == NULL && !add_chunk(s, p)) {
        s->failed = NEAP_ENOMEM;
        return NULL;
    }
    void *object = p->free;
    memcpy(&p->free, object, sizeof p->free);
    memset(object, 0, p->size);
    return object;
}

void np_sim_pool_put(struct np_sim_pool *p, void *object)
{
    memcpy(object, &p->free, sizeof p->free);
    p->free = object;
}

void np_sim_pool_fini(struct np_sim_pool *p)
{
    for (size_t i = 0; i < p->nchunks; i++)
        np_free(p->chunks[i]);
    np_free(p->chunks);
    p->free = NULL;
    p->chunks = NULL;
    p->nchunks = p->cap = 0;
}
