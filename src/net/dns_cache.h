/* What names resolved to, for as long as their records said: one cache a loop. Names that do not
 * exist are remembered for a short time as well; failures are not. Bounded: the name that was not
 * asked for the longest goes first. Time is passed in. One thread, the loop's. */
#ifndef NP_NET_DNS_CACHE_H
#define NP_NET_DNS_CACHE_H

#include "base/hash.h"
#include "base/list.h"
#include "net/dns.h"

struct np_dns_cache {
    struct np_dns_cache_options opts;
    struct np_map names; /* family and name → struct np_dns_cached */
    struct np_link used; /* the one asked for last first */
    size_t n;
    uint64_t hits, misses;
};

/* An answer: NEAP_OK and addresses without a port, or NEAP_ENOTFOUND. */
struct np_dns_cached {
    struct np_link link;
    int64_t expires;
    enum neap_err err;
    size_t n;
    union np_addr *addrs;
    size_t key_len;
    char key[];
};

void np_dns_cache_init(struct np_dns_cache *c);
void np_dns_cache_fini(struct np_dns_cache *c);
void np_dns_cache_drop_all(struct np_dns_cache *c);
/* NULL when it is not known (any more). Lent until the next call. */
const struct np_dns_cached *np_dns_cache_get(struct np_dns_cache *c, const char *name, int family,
                                             int64_t now);
/* Remembers an answer; `ttl` in ns, as its records have it. Does nothing where memory is short. */
void np_dns_cache_put(struct np_dns_cache *c, const char *name, int family, int64_t now,
                      int64_t ttl, enum neap_err err, const union np_addr *addrs, size_t n);
/* Fewer names, if the bound is lower now. */
void np_dns_cache_trim(struct np_dns_cache *c);

#endif
