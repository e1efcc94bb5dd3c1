/* Lookups: asked of c-ares, or answered from what is known; delivered by the loop.
 *
 * A query has two lives: its owner waits for the callback, and c-ares owes an answer. Its memory
 * goes when both are over; a cancelled one may wait for c-ares alone. When nobody waits for any
 * lookup, c-ares is told to give up all, so that it does not keep the loop alive. One thread, the
 * loop's.
 */
#include "net/dns.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "net/dns_channel.h"
#include "net/netpolicy.h"

enum { NS_CLASS_IN = 1, NS_TYPE_SRV = 33 };

struct np_dns_query {
    struct np_loop *loop;
    struct np_dns *dns; /* valid while `asked` */
    np_dns_addr_fn addr_fn;
    np_dns_srv_fn srv_fn;
    void *arg;
    int port;
    bool asked;     /* c-ares owes an answer */
    bool delivered; /* the callback has been called */
    bool cancelled;
    enum neap_err err;
    const char *why; /* static text, or NULL for the error's own */
    union np_addr *addrs;
    struct np_dns_srv *srvs;
    size_t n;
    struct np_defer deliver;
    int family;
    char name[];
};

static void free_when_over(struct np_dns_query *q)
{
    if (q->asked || !q->delivered) return;
    struct np_loop *loop = q->loop;
    np_free(q->addrs);
    np_free(q->srvs);
    np_free(q);
    np_loop_release(loop);
}

static void deliver(struct np_defer *d)
{
    struct np_dns_query *q = np_container_of(d, struct np_dns_query, deliver);
    enum neap_err err = q->cancelled ? NEAP_ECANCELED : q->err;
    const char *why = q->why && !q->cancelled ? q->why : neap_err_text(err);
    q->cancelled = true; /* nobody can any more, not even the callback */
    if (q->addr_fn)
        q->addr_fn(q->arg, err, err ? why : NULL, err ? NULL : q->addrs, err ? 0 : q->n);
    else
        q->srv_fn(q->arg, err, err ? why : NULL, err ? NULL : q->srvs, err ? 0 : q->n);
    q->delivered = true;
    free_when_over(q);
}

static enum neap_err err_from_ares(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return NEAP_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return NEAP_ENOTFOUND;
    case ARES_ETIMEOUT:
        return NEAP_ETIMEDOUT;
    case ARES_ENOMEM:
        return NEAP_ENOMEM;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return NEAP_ECANCELED;
    default:
        return NEAP_EDNS;
    }
}

/* c-ares has answered. */
static void answered(struct np_dns_query *q, enum neap_err err, int status)
{
    q->asked = false;
    q->err = err;
    if (err) q->why = ares_strerror(status);
    if (q->cancelled) {
        free_when_over(q); /* unless it is still to be delivered */
        return;
    }
    q->dns->wanted--;
    np_loop_defer(q->loop, &q->deliver);
}

/* In seconds, of the record that lasts the shortest; nothing of what a file says. */
static int least_ttl(const struct ares_addrinfo *res)
{
    int ttl = INT_MAX;
    for (const struct ares_addrinfo_node *node = res->nodes; node; node = node->ai_next)
        if (node->ai_ttl < ttl) ttl = node->ai_ttl;
    for (const struct ares_addrinfo_cname *cname = res->cnames; cname; cname = cname->next)
        if (cname->ttl < ttl) ttl = cname->ttl;
    return ttl == INT_MAX ? 0 : ttl;
}

static void remember(struct np_dns_query *q, enum neap_err err, const struct ares_addrinfo *res)
{
    if (err && err != NEAP_ENOTFOUND) return;
    int64_t ttl = res ? least_ttl(res) * NP_NS_PER_SEC : 0;
    np_dns_cache_put(&q->dns->cache, q->name, q->family, np_loop_now(q->loop), ttl, err, q->addrs,
                     q->n);
}

static void set_port(union np_addr *a, int port)
{
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons((uint16_t)port);
    else
        a->in6.sin6_port = htons((uint16_t)port);
}

static enum neap_err copy_addrs(struct np_dns_query *q, const struct ares_addrinfo *res)
{
    size_t n = 0;
    for (const struct ares_addrinfo_node *node = res->nodes; node; node = node->ai_next)
        n++;
    q->addrs = np_calloc(n, sizeof *q->addrs);
    if (!q->addrs) return NEAP_ENOMEM;
    for (const struct ares_addrinfo_node *node = res->nodes; node; node = node->ai_next) {
        union np_addr *a = &q->addrs[q->n];
        if ((size_t)node->ai_addrlen > sizeof *a) continue;
        memcpy(a, node->ai_addr, (size_t)node->ai_addrlen);
        if (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6) continue;
        set_port(a, q->port);
        q->n++;
    }
    return q->n ? NEAP_OK : NEAP_ENOTFOUND;
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *res)
{
    struct np_dns_query *q = arg;
    enum neap_err err = err_from_ares(status);
    if (!err) err = copy_addrs(q, res);
    remember(q, err, res);
    if (res) ares_freeaddrinfo(res);
    answered(q, err, status ? status : ARES_ENODATA);
}

static void on_srv(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
    struct np_dns_query *q = arg;
    enum neap_err err = err_from_ares(status);
    if (!err) err = np_dns_parse_srv(msg, (size_t)len, (uint64_t)np_loop_hrtime(), &q->srvs, &q->n);
    if (!status && err) status = err == NEAP_ENOTFOUND ? ARES_ENODATA : ARES_EBADRESP;
    answered(q, err, status);
}

static struct np_dns_query *query_new(struct np_loop *loop, const char *name, void *arg)
{
    size_t n = strlen(name);
    struct np_dns_query *q = np_calloc(1, sizeof *q + n + 1);
    if (!q) return NULL;
    memcpy(q->name, name, n);
    q->loop = loop;
    q->arg = arg;
    np_defer_init(&q->deliver, deliver);
    np_loop_retain(loop);
    return q;
}

/* For a query that could not be asked: no callback comes. */
static void query_drop(struct np_dns_query *q)
{
    q->delivered = true;
    free_when_over(q);
}

/* The addresses of loopback that `family` allows; RFC 6761 wants no server asked for them. */
static enum neap_err answer_loopback(struct np_dns_query *q, int family)
{
    q->addrs = np_calloc(2, sizeof *q->addrs);
    if (!q->addrs) return NEAP_ENOMEM;
    enum neap_err err = NEAP_OK;
    if (family != AF_INET6) err = np_addr_from_ip("127.0.0.1", q->port, &q->addrs[q->n++]);
    if (!err && family != AF_INET) err = np_addr_from_ip("::1", q->port, &q->addrs[q->n++]);
    return err;
}

static bool is_localhost(const char *name)
{
    size_t n = strlen(name);
    if (n > 0 && name[n - 1] == '.') n--;
    if (n == 9) return strncasecmp(name, "localhost", 9) == 0;
    return n > 9 && strncasecmp(name + n - 10, ".localhost", 10) == 0;
}

/* True when the answer is known without asking; then `*err` says whether noting it worked. */
static bool answer_at_once(struct np_dns_query *q, const char *name, int family, enum neap_err *err)
{
    union np_addr a;
    *err = NEAP_OK;
    if (is_localhost(name)) {
        *err = answer_loopback(q, family);
        return true;
    }
    if (np_addr_from_ip(name, q->port, &a)) return false;
    if (family != AF_UNSPEC && family != a.sa.sa_family) {
        q->err = NEAP_ENOTFOUND;
        q->why = "the address is of another family";
        return true;
    }
    q->addrs = np_alloc(sizeof a);
    if (!q->addrs)
        *err = NEAP_ENOMEM;
    else
        q->addrs[q->n++] = a;
    return true;
}

static enum neap_err answer_from(struct np_dns_query *q, const struct np_dns_cached *known)
{
    q->err = known->err;
    if (known->err) return NEAP_OK;
    q->addrs = np_calloc(known->n, sizeof *q->addrs);
    if (!q->addrs) return NEAP_ENOMEM;
    q->n = known->n;
    memcpy(q->addrs, known->addrs, known->n * sizeof *q->addrs);
    for (size_t i = 0; i < q->n; i++)
        set_port(&q->addrs[i], q->port);
    return NEAP_OK;
}

static enum neap_err ask_addrs(struct np_dns_query *q, const char *name, int family)
{
    enum neap_err err = np_dns_channel(q->loop, &q->dns);
    if (err) return err;
    const struct np_dns_cached *known =
        np_dns_cache_get(&q->dns->cache, name, family, np_loop_now(q->loop));
    if (known) {
        err = answer_from(q, known);
        if (!err) np_loop_defer(q->loop, &q->deliver);
        return err;
    }
    q->family = family;
    struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    q->asked = true;
    q->dns->wanted++;
    ares_getaddrinfo(q->dns->channel, name, NULL, &hints, on_addrinfo, q);
    np_dns_rearm(q->dns);
    return NEAP_OK;
}

enum neap_err np_dns_resolve(struct np_loop *loop, const char *name, int family, int port,
                             np_dns_addr_fn fn, void *arg, struct np_dns_query **out)
{
    if (port < 0 || port > 65535) return NEAP_EINVAL;
    enum neap_err err = np_net_check(loop, name, port);
    if (err) return err;
    struct np_dns_query *q = query_new(loop, name, arg);
    if (!q) return NEAP_ENOMEM;
    q->addr_fn = fn;
    q->port = port;
    if (!answer_at_once(q, name, family, &err))
        err = ask_addrs(q, name, family);
    else if (!err)
        np_loop_defer(loop, &q->deliver);
    if (err)
        query_drop(q);
    else
        *out = q;
    return err;
}

enum neap_err np_dns_resolve_srv(struct np_loop *loop, const char *name, np_dns_srv_fn fn,
                                 void *arg, struct np_dns_query **out)
{
    enum neap_err err = np_net_check(loop, name, 0);
    if (err) return err;
    struct np_dns_query *q = query_new(loop, name, arg);
    if (!q) return NEAP_ENOMEM;
    q->srv_fn = fn;
    err = np_dns_channel(loop, &q->dns);
    if (err) {
        query_drop(q);
        return err;
    }
    q->asked = true;
    q->dns->wanted++;
    ares_search(q->dns->channel, name, NS_CLASS_IN, NS_TYPE_SRV, on_srv, q);
    np_dns_rearm(q->dns);
    *out = q;
    return NEAP_OK;
}

void np_dns_cancel(struct np_dns_query *q)
{
    if (q->cancelled || q->delivered) return;
    q->cancelled = true;
    np_loop_defer(q->loop, &q->deliver);
    if (!q->asked) return;
    struct np_dns *dns = q->dns;
    if (--dns->wanted > 0) return;
    ares_cancel(dns->channel);
    np_dns_rearm(dns);
}
