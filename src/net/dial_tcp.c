/* Connecting by TCP: the name's addresses, and when to begin with them (RFC 8305), all inside the
 * one stream object that the caller holds.
 *
 * Both families are asked for at once. An answer with IPv6 addresses is begun with; one with IPv4
 * addresses waits a moment for the other, which may come late, or never where name servers are
 * broken. One thread, the loop's.
 */
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/dial_impl.h"
#include "net/netpolicy.h"

static const int64_t default_delay = NP_NS_PER_SEC / 4;            /* RFC 8305 §8 */
static const int64_t least_delay = NP_NS_PER_SEC / 100;            /* … */
static const int64_t resolution_delay = 50 * NP_NS_PER_SEC / 1000; /* … */

/* --- life */

bool np_dial_pending(const struct np_dialling *d)
{
    return d->lookups[NP_DIAL_V6].query || d->lookups[NP_DIAL_V4].query;
}

static void dialling_free(struct np_dialling *d)
{
    np_timer_stop(&d->timer);
    np_timer_stop(&d->resolver);
    np_dial_race_stop(d);
    d->u->dialling = NULL;
    d->u = NULL;
    if (!np_dial_pending(d)) {
        np_free(d);
        return;
    }
    for (int f = 0; f < NP_DIAL_FAMILIES; f++)
        if (d->lookups[f].query) np_dns_cancel(d->lookups[f].query);
}

void np_dialling_cancel(struct np_uvstream *u)
{
    dialling_free(u->dialling);
}

void np_dialling_set_ref(struct np_uvstream *u, bool ref)
{
    np_timer_set_background(&u->dialling->timer, !ref);
    np_timer_set_background(&u->dialling->resolver, !ref);
    np_dial_race_set_ref(u->dialling, ref);
}

bool np_tcp_dial_resolving(const struct np_stream *s)
{
    if (s->ops != &np_tcp_ops || s->state == NP_STREAM_OPEN) return false;
    const struct np_uvstream *u = (const struct np_uvstream *)(const void *)s;
    return u->dialling && !u->dialling->begun;
}

void np_dial_connected(struct np_dialling *d)
{
    struct np_uvstream *u = d->u;
    uv_tcp_nodelay(&u->uv.tcp, d->no_delay);
    if (d->keep_alive > 0) uv_tcp_keepalive(&u->uv.tcp, 1, (unsigned)d->keep_alive);
    dialling_free(d);
    np_stream_opened(&u->s);
}

/* --- when to begin */

static enum neap_err begin(struct np_dialling *d)
{
    struct np_stream *s = &d->u->s;
    int64_t left = s->open_by == NP_TIME_NEVER ? 0 : s->open_by - np_loop_now(s->loop);
    np_timer_stop(&d->timer);
    np_timer_stop(&d->resolver);
    if (d->connect_timeout > 0 && (left == 0 || d->connect_timeout < left) &&
        np_stream_open_within(s, d->connect_timeout)) {
        np_stream_fail_later(s, NEAP_ENOMEM);
        return NEAP_ENOMEM;
    }
    return np_dial_race(d);
}

static void on_timer(struct np_timer *t)
{
    struct np_dialling *d = np_container_of(t, struct np_dialling, timer);
    if (d->u->s.state != NP_STREAM_CONNECTING) return;
    (void)(d->begun ? np_dial_race(d) : begin(d));
}

static void on_resolver_late(struct np_timer *t)
{
    struct np_dialling *d = np_container_of(t, struct np_dialling, resolver);
    if (d->u->s.state == NP_STREAM_CONNECTING) np_stream_failed(&d->u->s, NEAP_ETIMEDOUT);
}

/* An answer has come, with addresses or without. */
static void go_on(struct np_dialling *d)
{
    bool pending = np_dial_pending(d);
    if (d->begun) { /* late ones take their turn, or the place of those that have failed */
        if (np_list_empty(&d->attempts) || !np_timer_armed(&d->timer)) (void)np_dial_race(d);
    } else if (!pending && np_dial_left(d) == 0) {
        np_stream_failed(&d->u->s, d->err);
    } else if (!pending || d->n[NP_DIAL_V6] > 0) {
        (void)begin(d);
    } else if (np_dial_left(d) > 0 && np_timer_start(&d->timer, resolution_delay)) {
        (void)begin(d);
    }
}

static void on_resolved(void *arg, enum neap_err err, const char *why, const union np_addr *addrs,
                        size_t n)
{
    struct np_dial_lookup *l = arg;
    struct np_dialling *d = l->d;
    l->query = NULL;
    if (!d->u) {
        if (!np_dial_pending(d)) np_free(d);
        return;
    }
    if (d->u->s.state != NP_STREAM_CONNECTING) return;
    /* That there is nothing says less than that it could not be found out, and how connecting went
     * says more than both. */
    if (err && !d->begun && (err != NEAP_ENOTFOUND || d->err == NEAP_OK)) d->err = err;
    np_dial_add(d, addrs, n);
    go_on(d);
}

/* --- the beginning */

/* What needs no resolver is known at once. */
static bool literal(struct np_dialling *d, const char *host, int port)
{
    union np_addr a[2];
    size_t n = 0;
    if (np_addr_from_ip(host, port, &a[0]) == NEAP_OK)
        n = 1;
    else if (strcmp(host, "localhost") == 0 && np_addr_from_ip("127.0.0.1", port, &a[0]) == 0 &&
             np_addr_from_ip("::1", port, &a[1]) == NEAP_OK)
        n = 2;
    if (n == 0) return false;
    d->turn = np_dial_family(&a[0]);
    np_dial_add(d, a, n);
    return true;
}

static enum neap_err dialling_new(struct np_loop *loop, const struct np_dial_options *opts,
                                  struct np_dialling **out)
{
    static const struct np_dial_options defaults = NP_DIAL_OPTIONS_INIT;
    if (!opts) opts = &defaults;
    struct np_dialling *d = np_calloc(1, sizeof *d);
    if (!d) return NEAP_ENOMEM;
    enum neap_err err = np_uvstream_new(loop, &np_tcp_ops, NP_STREAM_CONNECTING, &d->u);
    if (err) {
        np_free(d);
        return err;
    }
    d->u->dialling = d;
    d->no_delay = opts->no_delay;
    d->keep_alive = opts->keep_alive;
    d->connect_timeout = opts->connect_timeout;
    d->delay = opts->attempt_delay > 0 ? opts->attempt_delay : default_delay;
    if (d->delay < least_delay) d->delay = least_delay;
    np_link_init(&d->attempts);
    np_timer_init(&d->timer, loop, on_timer);
    np_timer_init(&d->resolver, loop, on_resolver_late);
    for (int f = 0; f < NP_DIAL_FAMILIES; f++)
        d->lookups[f].d = d;
    err = np_stream_open_within(&d->u->s, opts->timeout);
    if (!err && opts->resolve_timeout > 0)
        err = np_timer_start(&d->resolver, opts->resolve_timeout);
    if (err)
        np_stream_close(&d->u->s);
    else
        *out = d;
    return err;
}

static enum neap_err resolve(struct np_dialling *d, struct np_loop *loop, const char *host,
                             int port)
{
    static const int families[] = {[NP_DIAL_V6] = AF_INET6, [NP_DIAL_V4] = AF_INET};
    enum neap_err err = NEAP_OK;
    d->turn = NP_DIAL_V6;
    for (int f = 0; f < NP_DIAL_FAMILIES && !err; f++)
        err = np_dns_resolve(loop, host, families[f], port, on_resolved, &d->lookups[f],
                             &d->lookups[f].query);
    return err;
}

static enum neap_err hand_out(struct np_dialling *d, enum neap_err err,
                              const struct np_stream_handler *h, void *arg, struct np_stream **out)
{
    struct np_stream *s = &d->u->s;
    if (err) {
        np_stream_close(s);
        return err;
    }
    np_stream_set_handler(s, h, arg);
    *out = s;
    return NEAP_OK;
}

enum neap_err np_tcp_dial(struct np_loop *loop, const char *host, int port,
                          const struct np_dial_options *opts, const struct np_stream_handler *h,
                          void *arg, struct np_stream **out)
{
    struct np_dialling *d = NULL;
    if (port <= 0 || port > 65535 || !*host) return NEAP_EINVAL;
    enum neap_err err = np_net_check(loop, host, port);
    if (!err) err = dialling_new(loop, opts, &d);
    if (err) return err;
    err = literal(d, host, port) ? begin(d) : resolve(d, loop, host, port);
    return hand_out(d, err, h, arg, out);
}

enum neap_err np_tcp_dial_addrs(struct np_loop *loop, const union np_addr *addrs, size_t n,
                                const struct np_dial_options *opts,
                                const struct np_stream_handler *h, void *arg,
                                struct np_stream **out)
{
    struct np_dialling *d = NULL;
    enum neap_err err = n ? NEAP_OK : NEAP_EINVAL;
    for (size_t i = 0; !err && i < n; i++)
        err = np_net_check_addr(loop, &addrs[i].sa);
    if (!err) err = dialling_new(loop, opts, &d);
    if (err) return err;
    d->turn = np_dial_family(&addrs[0]);
    np_dial_add(d, addrs, n);
    return hand_out(d, begin(d), h, arg, out);
}
