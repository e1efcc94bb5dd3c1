/* Endpoints and their statistics (see endpoint.h).
 *
 * A description is one block of memory: the struct, its arrays, then its strings.
 */
#include "mesh/endpoint.h"

#include <string.h>

#include "base/alloc.h"
#include "mesh/address.h"
#include "mesh/endpoint_stats.h"

/* Where the strings go while a description is packed. */
struct packer {
    char *at;
};

static size_t text_size(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}

static const char *pack(struct packer *p, const char *s, size_t n)
{
    char *at = p->at;
    memcpy(at, s, n);
    at[n] = '\0';
    p->at += n + 1;
    return at;
}

static const char *desc_zone(const struct np_endpoint_desc *d)
{
    if (d->zone != NULL) return d->zone;
    for (size_t i = 0; i < d->nmeta; i++) {
        if (strcmp(d->meta[i].key, "zone") == 0) return d->meta[i].value;
    }
    return "";
}

static size_t desc_size(const struct np_endpoint_desc *d, const struct np_address *a,
                        const char *address, const char *zone)
{
    size_t size = sizeof(struct np_endpoint);
    size += d->ntags * sizeof(char *) + d->nmeta * sizeof(struct np_pair);
    size += text_size(d->id) + text_size(d->service) + text_size(address) + text_size(zone);
    size += (a->host ? a->host_len : a->path_len) + 1;
    for (size_t i = 0; i < d->ntags; i++)
        size += text_size(d->tags[i]);
    for (size_t i = 0; i < d->nmeta; i++) {
        size += text_size(d->meta[i].key) + text_size(d->meta[i].value);
    }
    return size;
}

static void fill(struct np_endpoint *e, const struct np_endpoint_desc *d,
                 const struct np_address *a, const char *address, const char *zone)
{
    struct np_pair *meta = (struct np_pair *)(e + 1);
    const char **tags = (const char **)(meta + d->nmeta);
    struct packer p = {(char *)(tags + d->ntags)};

    e->id = pack(&p, d->id, strlen(d->id));
    e->service = pack(&p, d->service, strlen(d->service));
    e->address = pack(&p, address, strlen(address));
    e->host = a->host ? pack(&p, a->host, a->host_len) : NULL;
    e->path = a->path ? pack(&p, a->path, a->path_len) : NULL;
    e->port = a->port;
    e->zone = pack(&p, zone, strlen(zone));
    for (size_t i = 0; i < d->ntags; i++)
        tags[i] = pack(&p, d->tags[i], strlen(d->tags[i]));
    for (size_t i = 0; i < d->nmeta; i++) {
        meta[i].key = pack(&p, d->meta[i].key, strlen(d->meta[i].key));
        meta[i].value = pack(&p, d->meta[i].value, strlen(d->meta[i].value));
    }
    e->tags = tags;
    e->ntags = d->ntags;
    e->meta = meta;
    e->nmeta = d->nmeta;
}

enum neap_err np_endpoint_new(const struct np_endpoint_desc *desc, struct np_stats *stats,
                              struct np_endpoint **out, struct neap_errinfo *info)
{
    struct np_address a;
    char address[NP_ADDRESS_TEXT_MAX + 1];
    if (desc->address == NULL) {
        return np_err_set(info, NEAP_EINVAL, "an endpoint needs an address");
    }
    if (desc->weight > NP_WEIGHT_MAX) {
        return np_err_set(info, NEAP_EINVAL, "weight %u is more than %u", (unsigned)desc->weight,
                          NP_WEIGHT_MAX);
    }
    enum neap_err err = np_address_parse(desc->address, strlen(desc->address), &a, info);
    if (err != NEAP_OK) return err;
    (void)np_address_format(&a, address);

    const char *zone = desc_zone(desc);
    struct np_endpoint *e = np_calloc(1, desc_size(desc, &a, address, zone));
    if (e == NULL) return np_err_plain(info, NEAP_ENOMEM);
    if (stats != NULL) {
        atomic_fetch_add_explicit(&stats->refs, 1, memory_order_relaxed);
    } else {
        stats = np_stats_new();
        if (stats == NULL) goto fail;
    }
    atomic_init(&e->refs, 1);
    e->weight = desc->weight ? desc->weight : 1;
    e->stats = stats;
    fill(e, desc, &a, address, zone);
    *out = e;
    return NEAP_OK;
fail:
    np_free(e);
    return np_err_plain(info, NEAP_ENOMEM);
}

struct np_endpoint_desc np_endpoint_describe(const struct np_endpoint *e)
{
    return (struct np_endpoint_desc){
        .id = e->id,
        .service = e->service,
        .address = e->address,
        .zone = e->zone,
        .weight = e->weight,
        .tags = e->tags,
        .ntags = e->ntags,
        .meta = e->meta,
        .nmeta = e->nmeta,
    };
}

struct np_endpoint *np_endpoint_ref(struct np_endpoint *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void np_endpoint_unref(struct np_endpoint *e)
{
    if (e == NULL) return;
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1) return;
    np_stats_unref(e->stats);
    np_free(e);
}

bool np_endpoint_equal(const struct np_endpoint *a, const struct np_endpoint *b)
{
    if (a->weight != b->weight || a->ntags != b->ntags || a->nmeta != b->nmeta) return false;
    if (strcmp(a->id, b->id) != 0 || strcmp(a->service, b->service) != 0) return false;
    if (strcmp(a->address, b->address) != 0 || strcmp(a->zone, b->zone) != 0) return false;
    for (size_t i = 0; i < a->ntags; i++) {
        if (strcmp(a->tags[i], b->tags[i]) != 0) return false;
    }
    for (size_t i = 0; i < a->nmeta; i++) {
        if (strcmp(a->meta[i].key, b->meta[i].key) != 0) return false;
        if (strcmp(a->meta[i].value, b->meta[i].value) != 0) return false;
    }
    return true;
}

bool np_endpoint_has_tag(const struct np_endpoint *e, const char *tag)
{
    for (size_t i = 0; i < e->ntags; i++) {
        if (strcmp(e->tags[i], tag) == 0) return true;
    }
    return false;
}

const char *np_endpoint_meta(const struct np_endpoint *e, const char *key)
{
    for (size_t i = 0; i < e->nmeta; i++) {
        if (strcmp(e->meta[i].key, key) == 0) return e->meta[i].value;
    }
    return NULL;
}
