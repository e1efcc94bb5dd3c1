/* SRV answers: parsed from the message (c-ares 1.18's own parser drops the TTL) and put in order.
 * Pure, any thread. What a server sends is not trusted: every read is checked.
 */
#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "net/dns_channel.h"

enum {
    HEADER = 12,
    TYPE_SRV = 33,
    MAX_RECORDS = 256,
};

struct reader {
    const unsigned char *msg;
    size_t len;
    size_t at;
    bool bad;
};

static unsigned get(struct reader *r, size_t bytes)
{
    unsigned v = 0;
    if (r->bad || r->len - r->at < bytes) {
        r->bad = true;
        return 0;
    }
    while (bytes-- > 0)
        v = v << 8 | r->msg[r->at++];
    return v;
}

static void skip(struct reader *r, size_t bytes)
{
    if (r->bad || r->len - r->at < bytes)
        r->bad = true;
    else
        r->at += bytes;
}

/* Reads a name; `out` may be NULL. A name longer than fits is malformed: DNS allows 255 bytes. */
static void get_name(struct reader *r, char *out, size_t size)
{
    char *name;
    long used;
    if (r->bad || r->at >= r->len ||
        ares_expand_name(r->msg + r->at, r->msg, (int)r->len, &name, &used) != ARES_SUCCESS) {
        r->bad = true;
        return;
    }
    if (out && (size_t)snprintf(out, size, "%s", name) >= size) r->bad = true;
    ares_free_string(name);
    skip(r, (size_t)used);
}

static bool get_record(struct reader *r, struct np_dns_srv *out)
{
    get_name(r, NULL, 0);
    unsigned type = get(r, 2);
    skip(r, 2);
    uint32_t ttl = get(r, 4);
    size_t len = get(r, 2);
    size_t begin = r->at;
    if (type != TYPE_SRV || r->bad) {
        skip(r, len);
        return false;
    }
    out->priority = (int)get(r, 2);
    out->weight = (int)get(r, 2);
    out->port = (int)get(r, 2);
    get_name(r, out->target, sizeof out->target);
    out->ttl = (ttl > INT32_MAX ? 0 : (int64_t)ttl) * NP_NS_PER_SEC; /* RFC 2181, 8 */
    if (r->at - begin != len) r->bad = true;
    /* The root as the target says: no such service here. */
    return !r->bad && out->target[0] && strcmp(out->target, ".") != 0;
}

static int by_priority_then_weight(const void *a, const void *b)
{
    const struct np_dns_srv *x = a;
    const struct np_dns_srv *y = b;
    if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight); /* the weightless first */
}

/* Draws the order of `n` records of one priority, as RFC 2782 says: again and again one of those
 * left, with a chance proportional to its weight. */
static void draw(struct np_dns_srv *v, size_t n, struct np_rng *rng)
{
    for (size_t i = 0; i + 1 < n; i++) {
        uint32_t sum = 0;
        for (size_t j = i; j < n; j++)
            sum += (uint32_t)v[j].weight;
        uint32_t at = np_rng_below(rng, sum + 1);
        size_t j = i;
        for (uint32_t run = (uint32_t)v[j].weight; run < at;)
            run += (uint32_t)v[++j].weight;
        struct np_dns_srv chosen = v[j];
        memmove(&v[i + 1], &v[i], (j - i) * sizeof *v);
        v[i] = chosen;
    }
}

static void put_in_order(struct np_dns_srv *v, size_t n, uint64_t seed)
{
    struct np_rng rng;
    np_rng_init(&rng, seed);
    qsort(v, n, sizeof *v, by_priority_then_weight);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && v[end].priority == v[i].priority)
            end++;
        draw(v + i, end - i, &rng);
        i = end;
    }
}

enum neap_err np_dns_parse_srv(const unsigned char *msg, size_t len, uint64_t seed,
                               struct np_dns_srv **out, size_t *n)
{
    struct reader r = {.msg = msg, .len = len};
    if (len > 65535) return NEAP_EDNS;
    skip(&r, 4);
    unsigned questions = get(&r, 2);
    unsigned answers = get(&r, 2);
    skip(&r, 4);
    for (unsigned i = 0; i < questions && !r.bad; i++) {
        get_name(&r, NULL, 0);
        skip(&r, 4);
    }
    if (r.bad) return NEAP_EDNS;
    if (answers > MAX_RECORDS) answers = MAX_RECORDS;
    if (answers == 0) return NEAP_ENOTFOUND;
    struct np_dns_srv *v = np_calloc(answers, sizeof *v);
    if (!v) return NEAP_ENOMEM;
    size_t got = 0;
    for (unsigned i = 0; i < answers && !r.bad; i++) {
        if (get_record(&r, &v[got])) got++;
    }
    if (r.bad || got == 0) {
        np_free(v);
        return r.bad ? NEAP_EDNS : NEAP_ENOTFOUND;
    }
    put_in_order(v, got, seed);
    *out = v;
    *n = got;
    return NEAP_OK;
}
