/* UDP sockets: a datagram leaves at once where the kernel takes it; what it does not is copied and
 * queued within a bound. A shared one (share.h) is a duplicate of its worker's socket, and is read
 * from only while its claim is active. One thread, the loop's.
 */
#include "net/udp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/netpolicy.h"
#include "net/share_claim.h"

enum { MAX_QUEUED = 1 << 20 }; /* bytes */

struct np_udp {
    uv_udp_t uv;
    struct np_loop *loop;
    const struct np_udp_handler *handler;
    void *arg;
    size_t queued; /* bytes */
    bool connected;
    bool receiving;              /* its owner wants to */
    bool polled;                 /* it does */
    struct np_share_claim claim; /* group NULL: the socket is its own */
};

struct datagram {
    uv_udp_send_t req;
    struct np_udp *u;
    size_t n;
    char data[];
};

static void on_closed(uv_handle_t *h)
{
    struct np_udp *u = h->data;
    struct np_loop *loop = u->loop;
    if (u->handler->on_close) u->handler->on_close(u);
    np_free(u);
    np_loop_release(loop);
}

static bool closing(const struct np_udp *u)
{
    return uv_is_closing((const uv_handle_t *)&u->uv);
}

static enum neap_err set_option(uv_os_fd_t fd, int option, int value)
{
    if (setsockopt(fd, SOL_SOCKET, option, &value, sizeof value) == 0) return NEAP_OK;
    return np_err_from_uv(uv_translate_sys_error(errno));
}

static enum neap_err set_up(uv_os_fd_t fd, const struct np_udp_options *opts)
{
    enum neap_err err = NEAP_OK;
    if (opts->reuse_port) err = set_option(fd, SO_REUSEADDR, 1);
    if (!err && opts->reuse_port) err = set_option(fd, SO_REUSEPORT, 1);
    if (!err && opts->broadcast) err = set_option(fd, SO_BROADCAST, 1);
    if (!err && opts->recv_buffer) err = set_option(fd, SO_RCVBUF, opts->recv_buffer);
    if (!err && opts->send_buffer) err = set_option(fd, SO_SNDBUF, opts->send_buffer);
    return err;
}

static enum neap_err cannot_bind(struct neap_errinfo *info, enum neap_err err, const char *ip,
                                 int port)
{
    return np_err_set(info, err, "cannot bind to %s port %d: %s", ip, port, neap_err_text(err));
}

static enum neap_err read_place(const char *host, int port, const char **ip, union np_addr *out,
                                struct neap_errinfo *info)
{
    *ip = !host ? "0.0.0.0" : strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (np_addr_from_ip(*ip, port, out) == NEAP_OK) return NEAP_OK;
    return np_err_set(info, NEAP_EINVAL, "cannot bind to '%.100s' port %d", *ip, port);
}

/* --- a socket without a loop */

static enum neap_err prepare(int fd, const union np_addr *addr, const struct np_udp_options *opts)
{
    int v6_only = opts->v6_only;
    enum neap_err err = set_up(fd, opts);
    if (err) return err;
    if (addr->sa.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0)
        return np_err_from_errno(errno);
    if (bind(fd, &addr->sa, np_addr_len(&addr->sa)) < 0) return np_err_from_errno(errno);
    /* After binding: who has the port already, whatever his options, was an error just now. */
    return opts->join_later ? set_option(fd, SO_REUSEPORT, 1) : NEAP_OK;
}

enum neap_err np_udp_socket(const char *host, int port, const struct np_udp_options *opts, int *out,
                            struct neap_errinfo *info)
{
    const char *ip;
    union np_addr addr;
    enum neap_err err = read_place(host, port, &ip, &addr, info);
    if (err) return err;
    int fd = socket(addr.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return cannot_bind(info, np_err_from_errno(errno), ip, port);
    err = prepare(fd, &addr, opts);
    if (err) {
        close(fd);
        return cannot_bind(info, err, ip, port);
    }
    *out = fd;
    return NEAP_OK;
}

/* --- opening */

static void update_receiving(struct np_udp *u);

static void on_claim_update(struct np_share_claim *c)
{
    update_receiving(np_container_of(c, struct np_udp, claim));
}

static enum neap_err udp_new(struct np_loop *loop, int family, struct np_udp **out,
                             struct neap_errinfo *info)
{
    static const struct np_udp_handler nobody = {0};
    struct np_udp *u = np_calloc(1, sizeof *u);
    if (!u) return np_err_plain(info, NEAP_ENOMEM);
    int rc = uv_udp_init_ex(loop->uv, &u->uv, (unsigned)family);
    if (rc < 0) {
        np_free(u);
        return np_err_set(info, np_err_from_uv(rc), "no socket: %s", uv_strerror(rc));
    }
    u->uv.data = u;
    u->loop = loop;
    u->handler = &nobody;
    np_loop_retain(loop);
    *out = u;
    return NEAP_OK;
}

/* Takes `fd` on success only. */
static enum neap_err use_socket(struct np_udp *u, int fd, const struct np_udp_options *opts)
{
    union np_addr peer;
    socklen_t n = sizeof peer;
    int rc = uv_udp_open(&u->uv, fd);
    if (rc < 0) return np_err_from_uv(rc);
    u->connected = getpeername(fd, &peer.sa, &n) == 0; /* by the state before */
    /* libuv sets it, and with it strangers might take the port. */
    int off = 0;
    if (!opts->reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
    return NEAP_OK;
}

/* NEAP_ENOTSUP: that is not shared. */
static enum neap_err open_shared(struct np_loop *loop, struct np_share_place *place,
                                 struct np_udp **out, struct neap_errinfo *info)
{
    struct np_share_claim claim = {.update = on_claim_update};
    struct np_udp *u = NULL;
    int fd;
    if (!place->udp->share || !place->host) return NEAP_ENOTSUP;
    np_link_init(&claim.link);
    enum neap_err err = np_share_claim(place->udp->share, place, &claim, &fd, info);
    if (err) return err;
    err = udp_new(loop, AF_UNSPEC, &u, info);
    if (!err && (err = use_socket(u, fd, place->udp))) {
        np_udp_close(u);
        err = cannot_bind(info, err, place->host, place->port);
    }
    if (err) {
        close(fd);
        np_share_release(&claim);
        return err;
    }
    np_share_move(&claim, &u->claim);
    *out = u;
    return NEAP_OK;
}

static enum neap_err open_own(struct np_loop *loop, const char *host, int port,
                              const struct np_udp_options *opts, struct np_udp **out,
                              struct neap_errinfo *info)
{
    const char *ip;
    union np_addr addr;
    struct np_udp *u;
    uv_os_fd_t fd;
    enum neap_err err = read_place(host, port, &ip, &addr, info);
    if (!err) err = udp_new(loop, addr.sa.sa_family, &u, info);
    if (err) return err;
    unsigned flags = addr.sa.sa_family == AF_INET6 && opts->v6_only ? UV_UDP_IPV6ONLY : 0;
    err = np_err_from_uv(uv_fileno((uv_handle_t *)&u->uv, &fd));
    if (!err) err = set_up(fd, opts);
    if (!err && (host || port)) err = np_err_from_uv(uv_udp_bind(&u->uv, &addr.sa, flags));
    if (err) {
        np_udp_close(u);
        return cannot_bind(info, err, ip, port);
    }
    *out = u;
    return NEAP_OK;
}

enum neap_err np_udp_open(struct np_loop *loop, const char *host, int port,
                          const struct np_udp_options *opts, const struct np_udp_handler *h,
                          void *arg, struct np_udp **out, struct neap_errinfo *info)
{
    static const struct np_udp_options defaults = {0};
    struct np_udp *u = NULL;
    if (!opts) opts = &defaults;
    struct np_share_place place = {.kind = NP_SHARE_UDP, .host = host, .port = port, .udp = opts};
    enum neap_err err = open_shared(loop, &place, &u, info);
    if (err == NEAP_ENOTSUP) err = open_own(loop, host, port, opts, &u, info);
    if (err) return err;
    u->handler = h;
    u->arg = arg;
    *out = u;
    return NEAP_OK;
}

enum neap_err np_udp_connect(struct np_udp *u, const struct sockaddr *peer)
{
    if (closing(u)) return NEAP_ECLOSED;
    enum neap_err err = np_net_check_addr(u->loop, peer);
    if (err) return err;
    if (u->connected) {
        int rc = uv_udp_connect(&u->uv, NULL);
        if (rc < 0) return np_err_from_uv(rc);
        u->connected = false;
    }
    err = np_err_from_uv(uv_udp_connect(&u->uv, peer));
    if (!err) u->connected = true;
    return err;
}

static void on_sent(uv_udp_send_t *req, int status)
{
    struct datagram *d = req->data;
    struct np_udp *u = d->u;
    u->queued -= d->n;
    np_free(d);
    if (status < 0 && !closing(u) && u->handler->on_error)
        u->handler->on_error(u, np_err_from_uv(status));
}

static enum neap_err send_later(struct np_udp *u, const void *p, size_t n,
                                const struct sockaddr *to)
{
    if (u->queued + n > MAX_QUEUED) return NEAP_EAGAIN;
    struct datagram *d = np_alloc(sizeof *d + n);
    if (!d) return NEAP_ENOMEM;
    memcpy(d->data, p, n);
    d->u = u;
    d->n = n;
    d->req.data = d;
    uv_buf_t buf = {.base = d->data, .len = n};
    int rc = uv_udp_send(&d->req, &u->uv, &buf, 1, to, on_sent);
    if (rc < 0)
        np_free(d);
    else
        u->queued += n;
    return np_err_from_uv(rc);
}

enum neap_err np_udp_send(struct np_udp *u, const void *p, size_t n, const struct sockaddr *to)
{
    if (closing(u)) return NEAP_ECLOSED;
    if (!to && !u->connected) return NEAP_ENOTCONN;
    if (n > 65535) return NEAP_EMSGSIZE;
    if (u->connected) to = NULL;
    enum neap_err err = to ? np_net_check_addr(u->loop, to) : NEAP_OK;
    if (err) return err;
    uv_buf_t buf = {.base = (char *)p, .len = n};
    int rc = uv_udp_try_send(&u->uv, &buf, 1, to);
    if (rc >= 0) return NEAP_OK;
    return rc == UV_EAGAIN ? send_later(u, p, n, to) : np_err_from_uv(rc);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct np_udp *u = h->data;
    *buf = (uv_buf_t){.base = u->loop->read_buf, .len = NP_READ_BUF_SIZE};
}

static void on_recv(uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                    unsigned flags)
{
    struct np_udp *u = h->data;
    if (n < 0) {
        if (u->handler->on_error) u->handler->on_error(u, np_err_from_uv((int)n));
    } else if (from) { /* NULL: there was nothing; an empty datagram has a sender */
        u->handler->on_recv(u, buf->base, (size_t)n, from, (flags & UV_UDP_PARTIAL) != 0);
    }
}

static void stop_polling(struct np_udp *u)
{
    if (u->polled) uv_udp_recv_stop(&u->uv);
    u->polled = false;
}

static enum neap_err poll_if_wanted(struct np_udp *u)
{
    bool idle = u->claim.group && !u->claim.active;
    if (!u->receiving || idle) {
        stop_polling(u);
        return NEAP_OK;
    }
    if (u->polled) return NEAP_OK;
    enum neap_err err = np_err_from_uv(uv_udp_recv_start(&u->uv, on_alloc, on_recv));
    u->polled = err == NEAP_OK;
    return err;
}

static void update_receiving(struct np_udp *u)
{
    if (closing(u)) return;
    enum neap_err err = poll_if_wanted(u);
    if (err && u->handler->on_error) u->handler->on_error(u, err);
}

enum neap_err np_udp_recv_start(struct np_udp *u)
{
    if (closing(u)) return NEAP_ECLOSED;
    u->receiving = true;
    enum neap_err err = poll_if_wanted(u);
    u->receiving = err == NEAP_OK;
    return err;
}

void np_udp_recv_stop(struct np_udp *u)
{
    u->receiving = false;
    if (!closing(u)) stop_polling(u);
}

enum neap_err np_udp_local(struct np_udp *u, char *out, size_t size, int *port)
{
    union np_addr a;
    int n = sizeof a;
    if (closing(u)) return NEAP_ECLOSED;
    int rc = uv_udp_getsockname(&u->uv, &a.sa, &n);
    if (rc < 0) return np_err_from_uv(rc);
    np_addr_format(&a.sa, out, size);
    if (port) *port = np_addr_port(&a.sa);
    return NEAP_OK;
}

enum neap_err np_udp_membership(struct np_udp *u, const char *group, const char *iface, bool join)
{
    if (closing(u)) return NEAP_ECLOSED;
    enum neap_err err = join ? np_net_check(u->loop, group, 0) : NEAP_OK;
    if (err) return err;
    bool shared = u->claim.group != NULL;
    if (shared && !join && !u->claim.active) return NEAP_OK; /* its successor is a member */
    int rc = uv_udp_set_membership(&u->uv, group, iface, join ? UV_JOIN_GROUP : UV_LEAVE_GROUP);
    if (shared && join && rc == UV_EADDRINUSE) rc = 0;
    return np_err_from_uv(rc);
}

enum neap_err np_udp_multicast(struct np_udp *u, int ttl, bool loop_back)
{
    if (closing(u)) return NEAP_ECLOSED;
    int rc = uv_udp_set_multicast_ttl(&u->uv, ttl);
    if (rc == 0) rc = uv_udp_set_multicast_loop(&u->uv, loop_back);
    return np_err_from_uv(rc);
}

void np_udp_set_ref(struct np_udp *u, bool ref)
{
    if (ref)
        uv_ref((uv_handle_t *)&u->uv);
    else
        uv_unref((uv_handle_t *)&u->uv);
}

void *np_udp_arg(const struct np_udp *u)
{
    return u->arg;
}

void np_udp_close(struct np_udp *u)
{
    if (closing(u)) return;
    uv_close((uv_handle_t *)&u->uv, on_closed); /* and the descriptor, at once */
    np_share_release(&u->claim);
}
