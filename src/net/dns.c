/* Lookups: asked of c-ares, or answered from what is known; delivered by the loop.
 *
 * A query's owner waits for its callback. What c-ares owes an answer to is a question, which is
 * asked once for all queries that want to know the same (of services each query asks its own); a
 * question that nobody waits for any more goes with its answer. When nobody waits for any, c-ares
 * is told to give up all, so that it does not keep the loop alive. One thread, the loop's.
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

/* Asked of c-ares. */
struct np_dns_question {
    struct np_link link;    /* dns->questions */
    struct np_link waiting; /* queries */
    struct np_dns *dns;
    int family; /* -1: for services */
    char name[];
};

struct np_dns_query {
    struct np_loop *loop;
    struct np_dns_question *question; /* whose answer it waits for, or NULL */
    struct np_link link;              /* question->waiting */
    np_dns_addr_fn addr_fn;
    np_dns_srv_fn srv_fn;
    void *arg;
    int port;
    bool over; /* it is being delivered, or was cancelled */
    enum neap_err err;
    const char *why; /* static text, or NULL for the error's own */
    union np_addr *addrs;
    struct np_dns_srv *srvs;
    size_t n;
    struct np_defer deliver;
};

static void free_query(struct np_dns_query *q)
{
    struct np_loop *loop = q->loop;
    np_free(q->addrs);
    np_free(q->srvs);
    np_free(q);
    np_loop_release(loop);
}

static void deliver(struct np_defer *d)
{
    struct np_dns_query *q = np_container_of(d, struct np_dns_query, deliver);
    const char *why = q->err ? q->why ? q->why : neap_err_text(q->err) : NULL;
    size_t n = q->err ? 0 : q->n;
    q->over = true; /* nobody can cancel it any more, not even the callback */
    if (q->addr_fn)
        q->addr_fn(q->arg, q->err, why, n ? q->addrs : NULL, n);
    else
        q->srv_fn(q->arg, q->err, why, n ? q->srvs : NULL, n);
    free_query(q);
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

/* --- questions */

static struct np_dns_question *question_new(struct np_dns *dns, const char *name, int family)
{
    size_t n = strlen(name);
    struct np_dns_question *k = np_calloc(1, sizeof *k + n + 1);
    if (!k) return NULL;
    memcpy(k->name, name, n);
    k->dns = dns;
    k->family = family;
    np_link_init(&k->waiting);
    np_list_push_back(&dns->questions, &k->link);
    return k;
}

static struct np_dns_question *question_find(struct np_dns *dns, const char *name, int family)
{
    struct np_link *pos;
    np_list_each (pos, &dns->questions) {
        struct np_dns_question *k = np_container_of(pos, struct np_dns_question, link);
        if (k->family == family && strcasecmp(k->name, name) == 0) return k;
    }
    return NULL;
}

static void await(struct np_dns_query *q, struct np_dns_question *k)
{
    if (np_list_empty(&k->waiting)) k->dns->wanted++;
    np_list_push_back(&k->waiting, &q->link);
    q->question = k;
}

/* Takes the next who waits, to be told. */
static struct np_dns_query *answer_next(struct np_dns_question *k)
{
    struct np_link *l = np_list_pop_front(&k->waiting);
    if (!l) return NULL;
    struct np_dns_query *q = np_container_of(l, struct np_dns_query, link);
    q->question = NULL;
    np_loop_defer(q->loop, &q->deliver);
    if (np_list_empty(&k->waiting)) k->dns->wanted--;
    return q;
}

static void question_free(struct np_dns_question *k)
{
    np_list_remove(&k->link);
    np_free(k);
}

static void set_error(struct np_dns_query *q, enum neap_err err, int status)
{
    q->err = err;
    if (err) q->why = err == NEAP_ENOMEM ? NULL : ares_strerror(status);
}

/* --- addresses */

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

static void set_port(union np_addr *a, int port)
{
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons((uint16_t)port);
    else
        a->in6.sin6_port = htons((uint16_t)port);
}

/* Of an answer, without a port. `*out` is np_alloc memory. */
static enum neap_err take_addrs(const struct ares_addrinfo *res, union np_addr **out, size_t *n)
{
    size_t most = 0, at = 0;
    for (const struct ares_addrinfo_node *node = res->nodes; node; node = node->ai_next)
        most++;
    if (most == 0) return NEAP_ENOTFOUND;
    union np_addr *addrs = np_calloc(most, sizeof *addrs);
    if (!addrs) return NEAP_ENOMEM;
    for (const struct ares_addrinfo_node *node = res->nodes; node; node = node->ai_next) {
        union np_addr *a = &addrs[at];
        if ((size_t)node->ai_addrlen > sizeof *a) continue;
        memcpy(a, node->ai_addr, (size_t)node->ai_addrlen);
        if (a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6) at++;
    }
    *out = addrs;
    *n = at;
    return at ? NEAP_OK : NEAP_ENOTFOUND;
}

static enum neap_err copy_addrs(struct np_dns_query *q, const union np_addr *addrs, size_t n)
{
    q->addrs = np_calloc(n, sizeof *q->addrs);
    if (!q->addrs) return NEAP_ENOMEM;
    memcpy(q->addrs, addrs, n * sizeof *addrs);
    q->n = n;
    for (size_t i = 0; i < n; i++)
        set_port(&q->addrs[i], q->port);
    return NEAP_OK;
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *res)
{
    struct np_dns_question *k = arg;
    struct np_dns_query *q;
    union np_addr *addrs = NULL;
    size_t n = 0;
    enum neap_err err = err_from_ares(status);
    if (!err) err = take_addrs(res, &addrs, &n);
    if (!err || err == NEAP_ENOTFOUND) {
        int64_t ttl = res ? least_ttl(res) * NP_NS_PER_SEC : 0;
        np_dns_cache_put(&k->dns->cache, k->name, k->family, np_loop_now(k->dns->loop), ttl, err,
                         addrs, n);
    }
    if (res) ares_freeaddrinfo(res);
    while ((q = answer_next(k)))
        set_error(q, err ? err : copy_addrs(q, addrs, n), status ? status : ARES_ENODATA);
    np_free(addrs);
    question_free(k);
}

/* --- services */

static void on_srv(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
    struct np_dns_question *k = arg;
    struct np_dns_query *q = answer_next(k);
    enum neap_err err = err_from_ares(status);
    if (q && !err)
        err = np_dns_parse_srv(msg, (size_t)len, (uint64_t)np_loop_hrtime(), &q->srvs, &q->n);
    if (!status && err) status = err == NEAP_ENOTFOUND ? ARES_ENODATA : ARES_EBADRESP;
    if (q) set_error(q, err, status);
    question_free(k);
}

/* --- asking */

static struct np_dns_query *query_new(struct np_loop *loop, void *arg)
{
    struct np_dns_query *q = np_calloc(1, sizeof *q);
    if (!q) return NULL;
    q->loop = loop;
    q->arg = arg;
    np_link_init(&q->link);
    np_defer_init(&q->deliver, deliver);
    np_loop_retain(loop);
    return q;
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

static enum neap_err ask_addrs(struct np_dns_query *q, const char *name, int family)
{
    struct np_dns *dns;
    enum neap_err err = np_dns_channel(q->loop, &dns);
    if (err) return err;
    const struct np_dns_cached *known =
        np_dns_cache_get(&dns->cache, name, family, np_loop_now(q->loop));
    if (known) {
        if (!known->err) err = copy_addrs(q, known->addrs, known->n);
        if (!err) set_error(q, known->err, ARES_ENOTFOUND);
        if (!err) np_loop_defer(q->loop, &q->deliver);
        return err;
    }
    struct np_dns_question *k = question_find(dns, name, family);
    bool ask = !k;
    if (ask) k = question_new(dns, name, family);
    if (!k) return NEAP_ENOMEM;
    await(q, k);
    if (!ask) return NEAP_OK;
    struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(dns->channel, name, NULL, &hints, on_addrinfo, k); /* may answer at once */
    np_dns_rearm(dns);
    return NEAP_OK;
}

enum neap_err np_dns_resolve(struct np_loop *loop, const char *name, int family, int port,
                             np_dns_addr_fn fn, void *arg, struct np_dns_query **out)
{
    if (port < 0 || port > 65535) return NEAP_EINVAL;
    enum neap_err err = np_net_check(loop, name, port);
    if (err) return err;
    struct np_dns_query *q = query_new(loop, arg);
    if (!q) return NEAP_ENOMEM;
    q->addr_fn = fn;
    q->port = port;
    if (!answer_at_once(q, name, family, &err))
        err = ask_addrs(q, name, family);
    else if (!err)
        np_loop_defer(loop, &q->deliver);
    if (err)
        free_query(q);
    else
        *out = q;
    return err;
}

enum neap_err np_dns_resolve_srv(struct np_loop *loop, const char *name, np_dns_srv_fn fn,
                                 void *arg, struct np_dns_query **out)
{
    struct np_dns *dns;
    enum neap_err err = np_net_check(loop, name, 0);
    if (!err) err = np_dns_channel(loop, &dns);
    if (err) return err;
    struct np_dns_query *q = query_new(loop, arg);
    if (!q) return NEAP_ENOMEM;
    struct np_dns_question *k = question_new(dns, name, -1);
    if (!k) {
        free_query(q);
        return NEAP_ENOMEM;
    }
    q->srv_fn = fn;
    await(q, k);
    ares_search(dns->channel, name, NS_CLASS_IN, NS_TYPE_SRV, on_srv, k);
    np_dns_rearm(dns);
    *out = q;
    return NEAP_OK;
}

void np_dns_cancel(struct np_dns_query *q)
{
    struct np_dns_question *k = q->question;
    if (q->over) return;
    q->over = true;
    q->err = NEAP_ECANCELED;
    q->why = NULL;
    np_loop_defer(q->loop, &q->deliver);
    if (!k) return;
    struct np_dns *dns = k->dns;
    np_list_remove(&q->link);
    q->question = NULL;
    if (!np_list_empty(&k->waiting) || --dns->wanted > 0) return;
    ares_cancel(dns->channel);
    np_dns_rearm(dns);
}
