/* Names to addresses and services, by c-ares on the loop (getaddrinfo would fill a thread pool).
 *
 * /etc/hosts, search domains, ndots and timeouts as /etc/resolv.conf says. Literal addresses
 * resolve to themselves. A callback comes exactly once, from the loop, never from inside the call;
 * with NEAP_ECANCELED after np_dns_cancel.
 */
#ifndef NP_NET_DNS_H
#define NP_NET_DNS_H

#include "net/addr.h"
#include "net/loop.h"

struct np_dns_query;

struct np_dns_srv {
    char target[256];
    int port;
    int priority;
    int weight;
    int64_t ttl; /* ns */
};

/* NEAP_ENOTFOUND: no such name or no such record; NEAP_ETIMEDOUT; NEAP_EDNS: anything else, with
 * words. */
typedef void (*np_dns_addr_fn)(void *arg, enum neap_err err, const char *why,
                               const union np_addr *addrs, size_t n);
typedef void (*np_dns_srv_fn)(void *arg, enum neap_err err, const char *why,
                              const struct np_dns_srv *records, size_t n);

/* Under a policy only names are asked for that it allows, at any port: NEAP_EACCES at once. */
/* `family` is AF_INET, AF_INET6 or AF_UNSPEC (both, sorted as RFC 6724 says). */
NEAP_MUST_CHECK enum neap_err np_dns_resolve(struct np_loop *loop, const char *name, int family,
                                             int port, np_dns_addr_fn fn, void *arg,
                                             struct np_dns_query **out);
/* Records in the order RFC 2782 wants them tried (priority, then weighted random). */
NEAP_MUST_CHECK enum neap_err np_dns_resolve_srv(struct np_loop *loop, const char *name,
                                                 np_dns_srv_fn fn, void *arg,
                                                 struct np_dns_query **out);
void np_dns_cancel(struct np_dns_query *q);

/* Answers with addresses are remembered by the loop for as long as their records say. What the
 * system's files say is read anew each time. */
struct np_dns_cache_options {
    size_t max_names;     /* default 1024; 0: nothing is remembered */
    int64_t max_ttl;      /* ns; longer ones are cut, default 1 h */
    int64_t negative_ttl; /* ns that a name is remembered not to exist, default 5 s */
};
#define NP_DNS_CACHE_OPTIONS_INIT                                                              \
    {                                                                                          \
        .max_names = 1024, .max_ttl = 3600 * NP_NS_PER_SEC, .negative_ttl = 5 * NP_NS_PER_SEC, \
    }
/* Holds for what is asked from now on. */
NEAP_MUST_CHECK enum neap_err np_dns_set_cache(struct np_loop *loop,
                                               const struct np_dns_cache_options *opts);
void np_dns_forget(struct np_loop *loop); /* all of it */
struct np_dns_stats {
    size_t names; /* remembered */
    uint64_t hits, misses;
};
void np_dns_get_stats(const struct np_loop *loop, struct np_dns_stats *out);

/* Other servers than resolv.conf's ("127.0.0.1:5353,…"), for tests and options. NEAP_EACCES under a
 * policy: what its names mean is not for a script to say. */
NEAP_MUST_CHECK enum neap_err np_dns_set_servers(struct np_loop *loop, const char *servers);
/* Drops the channel; pending queries end with NEAP_ECANCELED. By np_loop_fini. */
void np_dns_free(struct np_loop *loop);

#endif
