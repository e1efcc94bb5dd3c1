/* maglev: consistent hashing by a table (Eisenbud et al., "Maglev", NSDI 2016), as Envoy has it.
 *
 * Each endpoint has an order of its own in which it wants the table's slots, by the hash of its
 * address (or of its metadata's "hash_key"). In turns each takes the first it wants of those that
 * are free; a lighter endpoint lets turns pass. So all have slots in proportion to their weights,
 * almost exactly; a key's slot is its hash, and a pick one look into the table. When an endpoint
 * goes its slots are shared out, and a few others move as well: the fewer the larger the table is.
 *
 * The turns go by the names' hashes, so the table is the same in every process that knows the same
 * endpoints, in whatever order.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "mesh/balancer_policies.h"
#include "mesh/balancer_stable.h"

struct maglev {
    struct np_balancer b;
    uint32_t *table; /* of indices in the snapshot */
    uint32_t size;   /* a prime; 0 without endpoints */
    struct np_loads loads;
};

/* An endpoint while the table is made. */
struct wish {
    uint64_t name;
    uint32_t endpoint;
    uint32_t weight;
    uint32_t slot; /* the next it wants */
    uint32_t skip; /* from one to the next */
    uint64_t turn; /* it has had so many turns, times the greatest weight */
};

static int by_name(const void *a, const void *b)
{
    const struct wish *x = a;
    const struct wish *y = b;
    if (x->name != y->name) return x->name < y->name ? -1 : 1;
    return x->endpoint < y->endpoint ? -1 : x->endpoint > y->endpoint;
}

static uint32_t make_wishes(struct wish *wishes, const struct np_snapshot *set, uint32_t size)
{
    uint32_t heaviest = 0;
    for (size_t i = 0; i < set->len; i++) {
        const struct np_endpoint *e = set->endpoints[i];
        uint64_t name = np_stable_name(e);
        uint64_t other = np_hash_mix(name + UINT64_C(0x9e3779b97f4a7c15));
        if (e->weight > heaviest) heaviest = e->weight;
        wishes[i] = (struct wish){.name = name,
                                  .endpoint = (uint32_t)i,
                                  .weight = e->weight,
                                  .slot = (uint32_t)(np_hash_mix(name) % size),
                                  .skip = (uint32_t)(other % (size - 1)) + 1};
    }
    qsort(wishes, set->len, sizeof *wishes, by_name);
    return heaviest;
}

/* The first free slot of those it wants, which comes, since the table's size is a prime. */
static uint32_t take(struct wish *w, const uint32_t *table, uint32_t size)
{
    for (;;) {
        uint32_t slot = w->slot;
        w->slot = slot >= size - w->skip ? slot - (size - w->skip) : slot + w->skip;
        if (table[slot] == UINT32_MAX) return slot;
    }
}

static void fill(uint32_t *table, uint32_t size, struct wish *wishes, size_t n, uint32_t heaviest)
{
    uint32_t left = size;
    for (uint32_t slot = 0; slot < size; slot++)
        table[slot] = UINT32_MAX;
    for (uint64_t round = 1; left > 0; round++) {
        for (size_t i = 0; i < n && left > 0; i++) {
            struct wish *w = &wishes[i];
            if (round * w->weight < w->turn) continue;
            w->turn += heaviest;
            table[take(w, table, size)] = w->endpoint;
            left--;
        }
    }
}

static enum neap_err make_table(const struct np_snapshot *set, uint32_t size, uint32_t **out)
{
    uint32_t *table = np_alloc(size * sizeof *table);
    struct wish *wishes = np_alloc(set->len * sizeof *wishes);
    enum neap_err err = table && wishes ? NEAP_OK : NEAP_ENOMEM;
    if (err == NEAP_OK) {
        uint32_t heaviest = make_wishes(wishes, set, size);
        fill(table, size, wishes, set->len, heaviest);
        *out = table;
    } else {
        np_free(table);
    }
    np_free(wishes);
    return err;
}

static void fini(struct np_balancer *b)
{
    struct maglev *m = (struct maglev *)b;
    np_free(m->table);
    np_loads_fini(&m->loads);
}

static enum neap_err update(struct np_balancer *b, const struct np_snapshot *set)
{
    struct maglev *m = (struct maglev *)b;
    uint32_t *table = NULL;
    enum neap_err err = set->len ? make_table(set, b->opts.table_size, &table) : NEAP_OK;
    if (err == NEAP_OK) err = np_loads_update(&m->loads, b, set);
    if (err != NEAP_OK) {
        np_free(table);
        return err;
    }
    np_free(m->table);
    m->table = table;
    m->size = set->len ? b->opts.table_size : 0;
    return NEAP_OK;
}

/* The slot of the key, and on from there by steps that are the key's own, so that the keys of one
 * who is passed over are spread over all others. */
static size_t pick(struct np_balancer *b, const struct np_pick_ctx *ctx, int64_t now)
{
    struct maglev *m = (struct maglev *)b;
    uint64_t hash = ctx->has_hash ? ctx->hash : np_rng_next(&b->rng);
    struct np_taker t = {.ctx = ctx, .now = now, .available = NP_NONE, .any = NP_NONE};
    if (m->loads.seen != NULL) {
        t.bounded = true;
        t.bound = np_loads_bound(&m->loads, b);
    }
    size_t slot = np_scale((uint32_t)(hash >> 32), m->size);
    size_t found = m->table[slot];
    if (!np_taker_asks(&t, b, found)) {
        size_t step = 1 + np_scale((uint32_t)np_hash_mix(hash), m->size - 1);
        found = NP_NONE;
        for (size_t i = 1; found == NP_NONE && i < NP_PROBES; i++) {
            slot = slot >= m->size - step ? slot - (m->size - step) : slot + step;
            if (np_taker_asks(&t, b, m->table[slot])) found = m->table[slot];
        }
        if (found == NP_NONE) found = np_taker_anyone(&t, b, hash);
    }
    np_loads_took(&m->loads, b, found);
    return found;
}

static void release(struct np_balancer *b, struct np_endpoint *e, const struct np_result *r)
{
    (void)r;
    np_loads_released(&((struct maglev *)b)->loads, b, e);
}

const struct np_balancer_ops np_lb_maglev = {
    .name = "maglev",
    .size = sizeof(struct maglev),
    .stable = true,
    .fini = fini,
    .update = update,
    .pick = pick,
    .release = release,
};
