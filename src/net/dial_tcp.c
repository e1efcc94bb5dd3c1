/* Connecting by TCP: resolve, then race the addresses (RFC 8305, "happy eyeballs"), all inside the
 * one stream object that the caller holds.
 *
 * A lone address is connected to with the stream's own handle. Of several each gets a socket of its
 * own, watched by an attempt; the first that connects becomes the stream's, the others are closed.
 * What only connecting needs stands in np_dialling, which goes when the stream is open; a resolver
 * that still has to answer may outlive the stream and then frees it, and so does an attempt whose
 * handle is closing. One thread, the loop's.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/dial.h"
#include "net/dns.h"
#include "net/netpolicy.h"
#include "net/uvstream.h"

static const int64_t default_delay = NP_NS_PER_SEC / 4; /* RFC 8305 §8 */
static const int64_t least_delay = NP_NS_PER_SEC / 100;

/* One address being tried. Its memory goes when its handle is closed. */
struct attempt {
    struct np_link link; /* dialling->attempts */
    struct np_dialling *d;
    struct np_loop *loop;
    const union np_addr *addr;
    int fd;
    uv_poll_t poll;
};

struct np_dialling {
    struct np_uvstream *u; /* NULL once the stream has gone and only the resolver is left */
    struct np_dns_query *query;
    union np_addr addrs[NP_DIAL_MAX_ADDRS];
    size_t naddrs;
    size_t next;             /* those before it have been tried */
    struct np_link attempts; /* under way */
    enum neap_err err;       /* of the last one that failed */
    bool no_delay;
    int keep_alive;
    int64_t delay;
    int64_t connect_timeout;
    struct np_timer timer; /* the resolver's bound, then the next attempt */
};

static void race(struct np_dialling *d);

/* --- life */

static void on_attempt_closed(uv_handle_t *h)
{
    struct attempt *a = h->data;
    struct np_loop *loop = a->loop;
    np_free(a);
    np_loop_release(loop);
}

/* Takes the attempt out; its socket is the caller's from then on. */
static int attempt_end(struct attempt *a)
{
    np_list_remove(&a->link);
    uv_poll_stop(&a->poll);
    uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
    return a->fd;
}

static void attempts_close(struct np_dialling *d)
{
    struct np_link *pos, *tmp;
    np_list_each_safe (pos, tmp, &d->attempts) {
        close(attempt_end(np_container_of(pos, struct attempt, link)));
    }
}

static void dialling_free(struct np_dialling *d)
{
    np_timer_stop(&d->timer);
    attempts_close(d);
    d->u->dialling = NULL;
    d->u = NULL;
    if (!d->query) np_free(d);
}

void np_dialling_cancel(struct np_uvstream *u)
{
    struct np_dns_query *query = u->dialling->query;
    dialling_free(u->dialling);
    if (query) np_dns_cancel(query);
}

void np_dialling_set_ref(struct np_uvstream *u, bool ref)
{
    struct np_link *pos;
    np_timer_set_background(&u->dialling->timer, !ref);
    np_list_each (pos, &u->dialling->attempts) {
        uv_handle_t *h = (uv_handle_t *)&np_container_of(pos, struct attempt, link)->poll;
        ref ? uv_ref(h) : uv_unref(h);
    }
}

bool np_tcp_dial_resolving(const struct np_stream *s)
{
    if (s->ops != &np_tcp_ops || s->state == NP_STREAM_OPEN) return false;
    const struct np_uvstream *u = (const struct np_uvstream *)(const void *)s;
    return u->dialling && u->dialling->naddrs == 0;
}

/* --- a connection that is there */

static bool is_loopback(const union np_addr *a)
{
    if (a->sa.sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
    return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
}

/* On loopback the kernel may give a connection the very port it connects to, and then connects it
 * to itself: nobody listens there, and a listener that comes later would find its port taken. */
static bool connected_to_itself(const union np_addr *to, uv_os_sock_t fd)
{
    union np_addr from;
    socklen_t n = sizeof from;
    if (!is_loopback(to) || getsockname(fd, &from.sa, &n) < 0) return false;
    return np_addr_port(&from.sa) == np_addr_port(&to->sa) && is_loopback(&from) &&
           (to->sa.sa_family == AF_INET6 || from.in.sin_addr.s_addr == to->in.sin_addr.s_addr);
}

static void connected(struct np_dialling *d)
{
    struct np_uvstream *u = d->u;
    uv_tcp_nodelay(&u->uv.tcp, d->no_delay);
    if (d->keep_alive > 0) uv_tcp_keepalive(&u->uv.tcp, 1, (unsigned)d->keep_alive);
    dialling_free(d);
    np_stream_opened(&u->s);
}

/* --- one address */

static void on_connected(uv_connect_t *req, int status)
{
    struct np_uvstream *u = req->data;
    struct np_dialling *d = u->dialling;
    uv_os_fd_t fd;
    if (u->s.state != NP_STREAM_CONNECTING || !d) return;
    if (status < 0)
        np_stream_failed(&u->s, np_err_from_uv(status));
    else if (uv_fileno(&u->uv.handle, &fd) == 0 && connected_to_itself(d->addrs, fd))
        np_stream_failed(&u->s, NEAP_ECONNREFUSED);
    else
        connected(d);
}

static void connect_alone(struct np_dialling *d)
{
    struct np_uvstream *u = d->u;
    d->next = 1;
    enum neap_err err = np_uvstream_need_io(u);
    if (err) {
        np_stream_fail_later(&u->s, err);
        return;
    }
    u->io->req.connect.data = u;
    int rc = uv_tcp_connect(&u->io->req.connect, &u->uv.tcp, &d->addrs[0].sa, on_connected);
    if (rc < 0) np_stream_fail_later(&u->s, np_err_from_uv(rc));
}

/* --- several: the race */

static void won(struct attempt *a)
{
    struct np_dialling *d = a->d;
    struct np_uvstream *u = d->u;
    int fd = attempt_end(a);
    int rc = uv_tcp_open(&u->uv.tcp, fd);
    if (rc < 0) {
        close(fd);
        np_stream_failed(&u->s, np_err_from_uv(rc));
        return;
    }
    connected(d);
}

static void on_writable(uv_poll_t *h, int status, int events)
{
    struct attempt *a = h->data;
    struct np_dialling *d = a->d;
    int err = 0;
    socklen_t n = sizeof err;
    if (d->u->s.state != NP_STREAM_CONNECTING) { /* out of time; its owner has not closed it yet */
        attempts_close(d);
        return;
    }
    /* What libuv says of a socket that cannot connect is EBADF. */
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0 || err)
        d->err = np_err_from_errno(err ? err : errno);
    else if (status < 0)
        d->err = np_err_from_uv(status);
    else if (connected_to_itself(a->addr, a->fd))
        d->err = NEAP_ECONNREFUSED;
    else {
        won(a);
        return;
    }
    close(attempt_end(a));
    race(d);
}

static enum neap_err attempt_watch(struct np_dialling *d, const union np_addr *addr, int fd)
{
    struct np_loop *loop = d->u->s.loop;
    struct attempt *a = np_calloc(1, sizeof *a);
    if (!a) return NEAP_ENOMEM;
    int rc = uv_poll_init_socket(loop->uv, &a->poll, fd);
    if (rc < 0) {
        np_free(a);
        return np_err_from_uv(rc);
    }
    a->d = d;
    a->loop = loop;
    a->addr = addr;
    a->fd = fd;
    a->poll.data = a;
    np_list_push_back(&d->attempts, &a->link);
    np_loop_retain(loop);
    if (d->u->s.unref) uv_unref((uv_handle_t *)&a->poll);
    rc = uv_poll_start(&a->poll, UV_WRITABLE, on_writable);
    if (rc < 0) attempt_end(a);
    return np_err_from_uv(rc);
}

static enum neap_err attempt_start(struct np_dialling *d, const union np_addr *addr)
{
    bool v6 = addr->sa.sa_family == AF_INET6;
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return np_err_from_errno(errno);
    int rc = connect(fd, &addr->sa, v6 ? sizeof addr->in6 : sizeof addr->in);
    enum neap_err err = NEAP_OK;
    if (rc < 0 && errno != EINPROGRESS) err = np_err_from_errno(errno);
    if (!err) err = attempt_watch(d, addr, fd);
    if (err) close(fd);
    return err;
}

/* Begins with the next address that can be begun with. The delay for the one after it counts from
 * now. */
static void race(struct np_dialling *d)
{
    np_timer_stop(&d->timer);
    while (d->next < d->naddrs) {
        enum neap_err err = attempt_start(d, &d->addrs[d->next++]);
        if (err) {
            d->err = err;
            if (err == NEAP_ENOMEM) d->next = d->naddrs; /* not a matter of the address */
            continue;
        }
        if (d->next < d->naddrs && np_timer_start(&d->timer, d->delay)) d->next = d->naddrs;
        return;
    }
    if (np_list_empty(&d->attempts)) np_stream_fail_later(&d->u->s, d->err);
}

static void on_timer(struct np_timer *t)
{
    struct np_dialling *d = np_container_of(t, struct np_dialling, timer);
    if (d->u->s.state != NP_STREAM_CONNECTING) return;
    if (d->naddrs > 0)
        race(d);
    else
        np_stream_failed(&d->u->s, NEAP_ETIMEDOUT);
}

/* The addresses as they are sorted, but each followed by one of the other family as long as there
 * is one (RFC 8305 §4). */
static void set_addrs(struct np_dialling *d, const union np_addr *addrs, size_t n)
{
    size_t turn[2] = {0, 0}; /* where to look on for: the first one's family, the other */
    int first = n ? addrs[0].sa.sa_family : 0;
    if (n > NP_DIAL_MAX_ADDRS) n = NP_DIAL_MAX_ADDRS;
    for (int other = 0; d->naddrs < n; other = !other) {
        size_t i = turn[other];
        while (i < n && (addrs[i].sa.sa_family != first) != (other == 1))
            i++;
        turn[other] = i + 1;
        if (i < n) d->addrs[d->naddrs++] = addrs[i];
    }
}

/* NEAP_ENOMEM is returned; it is reported from the loop as well, to whoever is there then. */
static enum neap_err begin(struct np_dialling *d)
{
    struct np_stream *s = &d->u->s;
    np_timer_stop(&d->timer);
    int64_t left = s->open_by == NP_TIME_NEVER ? 0 : s->open_by - np_loop_now(s->loop);
    if (d->connect_timeout > 0 && (left == 0 || d->connect_timeout < left) &&
        np_stream_open_within(s, d->connect_timeout)) {
        np_stream_fail_later(s, NEAP_ENOMEM);
    } else if (d->naddrs == 1) {
        connect_alone(d);
    } else {
        race(d);
    }
    return s->err == NEAP_ENOMEM ? NEAP_ENOMEM : NEAP_OK;
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
    set_addrs(d, addrs, n);
    (void)begin(d);
}

/* --- the beginning */

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
    d->err = NEAP_ECONNREFUSED;
    np_link_init(&d->attempts);
    np_timer_init(&d->timer, loop, on_timer);
    err = np_stream_open_within(&d->u->s, opts->timeout);
    if (!err && opts->resolve_timeout > 0) err = np_timer_start(&d->timer, opts->resolve_timeout);
    if (err)
        np_stream_close(&d->u->s);
    else
        *out = d;
    return err;
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
    struct np_stream *s = &d->u->s;
    if (literal(d, host, port))
        err = begin(d);
    else
        err = np_dns_resolve(loop, host, AF_UNSPEC, port, on_resolved, d, &d->query);
    if (err) {
        np_stream_close(s);
        return err;
    }
    np_stream_set_handler(s, h, arg);
    *out = s;
    return NEAP_OK;
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
    struct np_stream *s = &d->u->s;
    set_addrs(d, addrs, n);
    err = begin(d);
    if (err) {
        np_stream_close(s);
        return err;
    }
    np_stream_set_handler(s, h, arg);
    *out = s;
    return NEAP_OK;
}
