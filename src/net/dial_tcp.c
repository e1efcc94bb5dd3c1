/* Connecting by TCP: resolve, then try each address in turn with a fresh socket, all inside the one
 * stream object that the caller holds.
 *
 * What only connecting needs stands in np_dialling, which goes when the stream is open; a resolver
 * that still has to answer may outlive the stream and then frees it. While a handle of an attempt
 * that failed is closing, np_stream_close waits for it (`handle_closing`). One thread, the loop's.
 */
#include <string.h>

#include "base/alloc.h"
#include "net/dial.h"
#include "net/dns.h"
#include "net/netpolicy.h"
#include "net/uvstream.h"

enum { MAX_ADDRS = 16 };
/* An attempt that is not the last gets its share of what time is left, but no less than this; and
 * so much when there is no bound at all. */
static const int64_t min_share = NP_NS_PER_SEC / 4;
static const int64_t unbounded_share = 10 * NP_NS_PER_SEC;

struct np_dialling {
    struct np_uvstream *u; /* NULL once the stream has gone and only the resolver is left */
    struct np_dns_query *query;
    union np_addr addrs[MAX_ADDRS];
    size_t naddrs;
    size_t next; /* the one being tried is next - 1 */
    bool handle_closing;
    bool no_delay;
    int keep_alive;
    struct np_timer share; /* of one attempt */
};

static void try_next(struct np_dialling *d);

static void dialling_free(struct np_dialling *d)
{
    np_timer_stop(&d->share);
    d->u->dialling = NULL;
    d->u = NULL;
    if (!d->query) np_free(d);
}

bool np_dialling_cancel(struct np_uvstream *u)
{
    struct np_dialling *d = u->dialling;
    bool handle_closing = d->handle_closing;
    struct np_dns_query *query = d->query;
    dialling_free(d);
    if (query) np_dns_cancel(query);
    return handle_closing;
}

static void on_attempt_closed(uv_handle_t *h)
{
    struct np_uvstream *u = h->data;
    if (u->s.state == NP_STREAM_CLOSING) {
        np_stream_gone(&u->s);
        return;
    }
    uv_tcp_init(u->s.loop->uv, &u->uv.tcp); /* makes no socket yet and cannot fail */
    if (u->s.unref) uv_unref(h);
    u->dialling->handle_closing = false;
    if (u->s.state == NP_STREAM_CONNECTING) try_next(u->dialling);
}

static void attempt_failed(struct np_dialling *d, enum neap_err err)
{
    np_timer_stop(&d->share);
    if (d->next == d->naddrs) {
        np_stream_fail_later(&d->u->s, err);
        return;
    }
    d->handle_closing = true;
    uv_close(&d->u->uv.handle, on_attempt_closed);
}

static void on_share_over(struct np_timer *t)
{
    struct np_dialling *d = np_container_of(t, struct np_dialling, share);
    if (d->u->s.state == NP_STREAM_CONNECTING) attempt_failed(d, NEAP_ETIMEDOUT);
}

static bool is_loopback(const union np_addr *a)
{
    if (a->sa.sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
    return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
}

/* On loopback the kernel may give a connection the very port it connects to, and then connects it
 * to itself: nobody listens there, and a listener that comes later would find its port taken. */
static bool connected_to_itself(struct np_dialling *d)
{
    const union np_addr *to = &d->addrs[d->next - 1];
    union np_addr from;
    int n = sizeof from;
    if (!is_loopback(to) || uv_tcp_getsockname(&d->u->uv.tcp, &from.sa, &n) < 0) return false;
    return np_addr_port(&from.sa) == np_addr_port(&to->sa) && is_loopback(&from) &&
           (to->sa.sa_family == AF_INET6 || from.in.sin_addr.s_addr == to->in.sin_addr.s_addr);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct np_uvstream *u = req->data;
    struct np_dialling *d = u->dialling;
    if (u->s.state != NP_STREAM_CONNECTING || !d || d->handle_closing) return;
    if (status < 0) {
        attempt_failed(d, np_err_from_uv(status));
    } else if (connected_to_itself(d)) {
        attempt_failed(d, NEAP_ECONNREFUSED);
    } else {
        dialling_free(d);
        np_stream_opened(&u->s);
    }
}

static enum neap_err start_share(struct np_dialling *d)
{
    size_t left = d->naddrs - d->next + 1;
    if (left == 1) return NEAP_OK; /* the last one has all the time there is */
    int64_t share = unbounded_share;
    if (d->u->s.open_by != NP_TIME_NEVER) {
        share = (d->u->s.open_by - np_loop_now(d->u->s.loop)) / (int64_t)left;
        if (share < min_share) share = min_share;
    }
    return np_timer_start(&d->share, share);
}

static void try_next(struct np_dialling *d)
{
    struct np_uvstream *u = d->u;
    const union np_addr *addr = &d->addrs[d->next++];
    enum neap_err err = start_share(d);
    if (err) {
        np_stream_fail_later(&u->s, err);
        return;
    }
    u->req.connect.data = u;
    uv_tcp_nodelay(&u->uv.tcp, d->no_delay);
    if (d->keep_alive > 0) uv_tcp_keepalive(&u->uv.tcp, 1, (unsigned)d->keep_alive);
    int rc = uv_tcp_connect(&u->req.connect, &u->uv.tcp, &addr->sa, on_connected);
    if (rc < 0) attempt_failed(d, np_err_from_uv(rc));
}

static void on_resolved(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                        size_t n)
{
    struct np_dialling *d = arg;
    d->query = NULL;
    if (!d->u) {
        np_free(d);
        return;
    }
    if (d->u->s.state != NP_STREAM_CONNECTING) return;
    if (err) {
        np_stream_failed(&d->u->s, err);
        return;
    }
    d->naddrs = n < MAX_ADDRS ? n : MAX_ADDRS;
    memcpy(d->addrs, addrs, d->naddrs * sizeof *addrs);
    try_next(d);
}

/* What needs no resolver is known at once. */
static bool literal(struct np_dialling *d, const char *host, int port)
{
    if (np_addr_from_ip(host, port, &d->addrs[0]) == NEAP_OK) {
        d->naddrs = 1;
    } else if (strcmp(host, "localhost") == 0 &&
               np_addr_from_ip("127.0.0.1", port, &d->addrs[0]) == NEAP_OK &&
               np_addr_from_ip("::1", port, &d->addrs[1]) == NEAP_OK) {
        d->naddrs = 2;
    }
    return d->naddrs > 0;
}

enum neap_err np_tcp_dial(struct np_loop *loop, const char *host, int port,
                          const struct np_dial_options *opts, const struct np_stream_handler *h,
                          void *arg, struct np_stream **out)
{
    static const struct np_dial_options defaults = NP_DIAL_OPTIONS_INIT;
    if (port <= 0 || port > 65535 || !*host) return NEAP_EINVAL;
    enum neap_err err = np_net_check(loop, host, port);
    if (err) return err;
    if (!opts) opts = &defaults;
    struct np_dialling *d = np_calloc(1, sizeof *d);
    if (!d) return NEAP_ENOMEM;
    err = np_uvstream_new(loop, &np_tcp_ops, NP_STREAM_CONNECTING, &d->u);
    if (err) {
        np_free(d);
        return err;
    }
    d->u->dialling = d;
    d->no_delay = opts->no_delay;
    d->keep_alive = opts->keep_alive;
    np_timer_init(&d->share, loop, on_share_over);
    struct np_stream *s = &d->u->s;
    err = np_stream_open_within(s, opts->timeout);
    if (!err && literal(d, host, port))
        try_next(d);
    else if (!err)
        err = np_dns_resolve(loop, host, AF_UNSPEC, port, on_resolved, d, &d->query);
    if (err) {
        np_stream_close(s);
        return err;
    }
    np_stream_set_handler(s, h, arg);
    *out = s;
    return NEAP_OK;
}
