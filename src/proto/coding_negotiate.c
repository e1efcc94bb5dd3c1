/* The headers of content codings: names, Content-Encoding, and the choice by Accept-Encoding.
 * Bytes in, a decision out. */
#include <string.h>

#include "proto/accept.h"
#include "proto/coding.h"

static const struct {
    const char *name;
    size_t n;
    int min, max;
} codings[NP_CODINGS] = {[NP_CODING_IDENTITY] = {"identity", 8, 0, 0},
                         [NP_CODING_GZIP] = {"gzip", 4, 1, 9},
                         [NP_CODING_DEFLATE] = {"deflate", 7, 1, 9},
                         [NP_CODING_BR] = {"br", 2, 0, 11},
                         [NP_CODING_ZSTD] = {"zstd", 4, 1, 19}};

const char *np_coding_name(enum np_coding c)
{
    return codings[c].name;
}

int np_coding_max_level(enum np_coding c)
{
    return codings[c].max;
}

int np_coding_min_level(enum np_coding c)
{
    return codings[c].min;
}

bool np_coding_by_name(struct np_bytes name, enum np_coding *out)
{
    for (int i = 0; i < NP_CODINGS; i++) {
        if (np_http_name_is(name, codings[i].name, codings[i].n)) {
            *out = (enum np_coding)i;
            return true;
        }
    }
    if (!np_http_name_is(name, "x-gzip", 6)) return false;
    *out = NP_CODING_GZIP;
    return true;
}

/* --- lists */

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct np_bytes trim(struct np_bytes b)
{
    while (b.n && blank(b.p[0])) {
        b.p++;
        b.n--;
    }
    while (b.n && blank(b.p[b.n - 1]))
        b.n--;
    return b;
}

/* Cuts what stands before the first `sep`, trimmed, off the front. */
static struct np_bytes cut(struct np_bytes *rest, char sep)
{
    struct np_bytes part = *rest;
    const char *at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
    if (at) {
        part.n = (size_t)(at - rest->p);
        rest->n -= part.n + 1;
        rest->p = at + 1;
    } else {
        rest->n = 0;
    }
    return trim(part);
}

enum neap_err np_coding_parse(struct np_bytes header, enum np_coding out[NP_CODING_CHAIN_MAX],
                              size_t *n)
{
    enum np_coding found[NP_CODING_CHAIN_MAX];
    size_t count = 0;
    while (header.n) {
        struct np_bytes name = cut(&header, ',');
        enum np_coding c;
        if (name.n == 0) continue; /* empty elements are to be ignored (RFC 9110, 5.6.1.2) */
        if (!np_http_is_token(name.p, name.n)) return NEAP_EPROTO;
        if (!np_coding_by_name(name, &c)) return NEAP_ENOTSUP;
        if (c == NP_CODING_IDENTITY) continue;
        if (count == NP_CODING_CHAIN_MAX) return NEAP_ENOTSUP;
        found[count++] = c;
    }
    if (count) memcpy(out, found, count * sizeof *found);
    *n = count;
    return NEAP_OK;
}

/* --- Accept-Encoding */

static int weight_of(const struct np_http_head *h, enum np_coding c)
{
    struct np_bytes name = {codings[c].name, codings[c].n};
    return np_accept_weight(h, NP_ACCEPT_ENCODING, name);
}

enum np_coding np_coding_negotiate(const struct np_http_head *h, const enum np_coding *offered,
                                   size_t n)
{
    enum np_coding best = NP_CODING_IDENTITY;
    int best_weight = 0;
    if (!np_accept_given(h, NP_ACCEPT_ENCODING)) return best;
    for (size_t i = 0; i < n; i++) {
        int weight = weight_of(h, offered[i]);
        if (weight <= best_weight) continue;
        best = offered[i];
        best_weight = weight;
    }
    return weight_of(h, NP_CODING_IDENTITY) > best_weight ? NP_CODING_IDENTITY : best;
}
