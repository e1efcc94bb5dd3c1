/* The cache of lookups; see dns_cache.h. */
#include "net/dns_cache.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"

enum { MAX_KEY = 260 };

void np_dns_cache_init(struct np_dns_cache *c)
{
    *c = (struct np_dns_cache){.opts = NP_DNS_CACHE_OPTIONS_INIT};
    np_map_init(&c->names);
    np_link_init(&c->used);
}

static void drop(struct np_dns_cache *c, struct np_dns_cached *e)
{
    np_map_remove(&c->names, e->key, e->key_len);
    np_list_remove(&e->link);
    np_free(e->addrs);
    np_free(e);
    c->n--;
}

void np_dns_cache_drop_all(struct np_dns_cache *c)
{
    while (!np_list_empty(&c->used))
        drop(c, np_container_of(c->used.next, struct np_dns_cached, link));
}

void np_dns_cache_fini(struct np_dns_cache *c)
{
    np_dns_cache_drop_all(c);
    np_map_fini(&c->names);
}

void np_dns_cache_trim(struct np_dns_cache *c)
{
    while (c->n > c->opts.max_names)
        drop(c, np_container_of(c->used.prev, struct np_dns_cached, link));
}

/* "4name", "6name" or "*name", in lower case; 0 for one that is too long.
 * A name with the dot is another one all the same: no search domain is tried for it. */
static size_t make_key(char out[MAX_KEY], const char *name, int family)
{
    size_t n = strlen(name);
    if (n + 1 > MAX_KEY) return 0;
    out[0] = family == AF_INET ? '4' : family == AF_INET6 ? '6' : '*';
    for (size_t i = 0; i < n; i++)
        out[i + 1] = (char)tolower((unsigned char)name[i]);
    return n + 1;
}

const struct np_dns_cached *np_dns_cache_get(struct np_dns_cache *c, const char *name, int family,
                                             int64_t now)
{
    char key[MAX_KEY];
    size_t n = make_key(key, name, family);
    struct np_dns_cached *e = n ? np_map_get(&c->names, key, n) : NULL;
    if (e && e->expires <= now) {
        drop(c, e);
        e = NULL;
    }
    if (!e) {
        c->misses++;
        return NULL;
    }
    c->hits++;
    np_list_remove(&e->link);
    np_list_push_front(&c->used, &e->link);
    return e;
}

static struct np_dns_cached *new_entry(const char *key, size_t key_len, const union np_addr *addrs,
                                       size_t n)
{
    struct np_dns_cached *e = np_calloc(1, sizeof *e + key_len);
    if (!e) return NULL;
    memcpy(e->key, key, key_len);
    e->key_len = key_len;
    if (!n) return e;
    e->addrs = np_calloc(n, sizeof *addrs);
    if (!e->addrs) {
        np_free(e);
        return NULL;
    }
    memcpy(e->addrs, addrs, n * sizeof *addrs);
    e->n = n;
    return e;
}

static int64_t kept_for(const struct np_dns_cache *c, enum neap_err err, int64_t ttl)
{
    if (err) return c->opts.negative_ttl;
    return ttl < c->opts.max_ttl ? ttl : c->opts.max_ttl;
}

void np_dns_cache_put(struct np_dns_cache *c, const char *name, int family, int64_t now,
                      int64_t ttl, enum neap_err err, const union np_addr *addrs, size_t n)
{
    char key[MAX_KEY];
    size_t len = make_key(key, name, family);
    ttl = kept_for(c, err, ttl);
    if (!len || ttl <= 0 || !c->opts.max_names) return;
    struct np_dns_cached *old = np_map_get(&c->names, key, len);
    if (old) drop(c, old);
    struct np_dns_cached *e = new_entry(key, len, addrs, n);
    if (!e) return;
    if (np_map_set(&c->names, key, len, e, NULL)) {
        np_free(e->addrs);
        np_free(e);
        return;
    }
    e->err = err;
    e->expires = np_time_add(now, ttl);
    np_list_push_front(&c->used, &e->link);
    c->n++;
    np_dns_cache_trim(c);
}
