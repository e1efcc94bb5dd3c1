/* c-ares on the loop: one uv_poll for each of its sockets, one timer for its timeouts. One thread,
 * the loop's.
 */
#include "net/dns_channel.h"

#include "base/alloc.h"

struct sock {
    struct np_link link;
    struct np_dns *dns;
    struct np_loop *loop; /* for after the channel has gone */
    ares_socket_t fd;
    uv_poll_t poll;
};

static void on_sock_closed(uv_handle_t *h)
{
    struct sock *k = h->data;
    struct np_loop *loop = k->loop;
    np_free(k);
    np_loop_release(loop);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct sock *k = h->data;
    struct np_dns *dns = k->dns;
    bool r = status < 0 || (events & UV_READABLE);
    bool w = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(dns->channel, r ? k->fd : ARES_SOCKET_BAD, w ? k->fd : ARES_SOCKET_BAD);
    np_dns_rearm(dns);
}

static struct sock *find(struct np_dns *dns, ares_socket_t fd)
{
    struct np_link *l;
    np_list_each (l, &dns->socks) {
        struct sock *k = np_container_of(l, struct sock, link);
        if (k->fd == fd) return k;
    }
    return NULL;
}

static struct sock *add(struct np_dns *dns, ares_socket_t fd)
{
    struct sock *k = np_alloc(sizeof *k);
    if (!k) return NULL;
    if (uv_poll_init_socket(dns->loop->uv, &k->poll, fd) < 0) {
        np_free(k);
        return NULL;
    }
    k->dns = dns;
    k->loop = dns->loop;
    k->fd = fd;
    k->poll.data = k;
    np_list_insert_before(&dns->socks, &k->link);
    np_loop_retain(dns->loop);
    return k;
}

/* c-ares says what it waits for on a socket; nothing means that it closes it right after. Where
 * memory is short the socket is not heard and the lookup times out. */
static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct np_dns *dns = arg;
    struct sock *k = find(dns, fd);
    if (!readable && !writable) {
        if (!k) return;
        np_list_remove(&k->link);
        uv_poll_stop(&k->poll);
        uv_close((uv_handle_t *)&k->poll, on_sock_closed);
        return;
    }
    if (!k) k = add(dns, fd);
    if (k)
        uv_poll_start(&k->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                      on_poll);
}

static void on_timer(struct np_timer *t)
{
    struct np_dns *dns = np_container_of(t, struct np_dns, timer);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    np_dns_rearm(dns);
}

void np_dns_rearm(struct np_dns *dns)
{
    struct timeval tv;
    if (!ares_timeout(dns->channel, NULL, &tv)) {
        np_timer_stop(&dns->timer);
        return;
    }
    int64_t span = (int64_t)tv.tv_sec * NP_NS_PER_SEC + (int64_t)tv.tv_usec * 1000;
    /* Without its timer a lookup might never end. */
    if (np_timer_start(&dns->timer, span) != NEAP_OK) ares_cancel(dns->channel);
}

enum neap_err np_dns_channel(struct np_loop *loop, struct np_dns **out)
{
    if (loop->dns) {
        *out = loop->dns;
        return NEAP_OK;
    }
    struct np_dns *dns = np_calloc(1, sizeof *dns);
    if (!dns) return NEAP_ENOMEM;
    dns->loop = loop;
    np_link_init(&dns->socks);
    np_timer_init(&dns->timer, loop, on_timer);
    np_dns_cache_init(&dns->cache);
    np_link_init(&dns->questions);
    struct ares_options opts = {.sock_state_cb = on_sock_state, .sock_state_cb_data = dns};
    int mask = ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE /* from 1.31 on it has a cache: ours is the one that can be told to \
                               forget */
    mask |= ARES_OPT_QUERY_CACHE;
    opts.qcache_max_ttl = 0;
#endif
    int rc = ares_init_options(&dns->channel, &opts, mask);
    if (rc != ARES_SUCCESS) {
        np_free(dns);
        return rc == ARES_ENOMEM ? NEAP_ENOMEM : NEAP_EDNS;
    }
    *out = loop->dns = dns;
    return NEAP_OK;
}

enum neap_err np_dns_set_servers(struct np_loop *loop, const char *servers)
{
    struct np_dns *dns;
    if (loop->policy) return NEAP_EACCES;
    enum neap_err err = np_dns_channel(loop, &dns);
    if (err) return err;
    switch (ares_set_servers_ports_csv(dns->channel, servers)) {
    case ARES_SUCCESS:
        np_dns_cache_drop_all(&dns->cache);
        return NEAP_OK;
    case ARES_ENOMEM:
        return NEAP_ENOMEM;
    case ARES_ENOTIMP: /* while lookups are under way */
        return NEAP_EBUSY;
    default:
        return NEAP_EINVAL;
    }
}

enum neap_err np_dns_set_cache(struct np_loop *loop, const struct np_dns_cache_options *opts)
{
    struct np_dns *dns;
    enum neap_err err = np_dns_channel(loop, &dns);
    if (err) return err;
    dns->cache.opts = *opts;
    np_dns_cache_trim(&dns->cache);
    return NEAP_OK;
}

void np_dns_forget(struct np_loop *loop)
{
    if (loop->dns) np_dns_cache_drop_all(&loop->dns->cache);
}

void np_dns_get_stats(const struct np_loop *loop, struct np_dns_stats *out)
{
    *out = (struct np_dns_stats){0};
    if (!loop->dns) return;
    const struct np_dns_cache *c = &loop->dns->cache;
    *out = (struct np_dns_stats){.names = c->n, .hits = c->hits, .misses = c->misses};
}

void np_dns_free(struct np_loop *loop)
{
    struct np_dns *dns = loop->dns;
    if (!dns) return;
    loop->dns = NULL;
    ares_destroy(dns->channel); /* answers every lookup and closes every socket */
    np_timer_stop(&dns->timer);
    np_dns_cache_fini(&dns->cache);
    np_free(dns);
}
