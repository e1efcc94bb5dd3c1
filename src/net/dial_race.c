/* The race of addresses (RFC 8305, "happy eyeballs").
 *
 * A lone address is connected to with the stream's own handle. Of several each gets a socket of its
 * own, watched by an attempt: the families by turns, the next when one has failed or has not
 * answered for a while. The first that connects becomes the stream's, the others are closed. An
 * attempt's memory goes when its handle is closed. One thread, the loop's.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/dial_impl.h"

enum { LAST_CHANCE = 4 }; /* delays of attempts */

struct attempt {
    struct np_link link; /* dialling->attempts */
    struct np_dialling *d;
    struct np_loop *loop;
    const union np_addr *addr;
    int fd;
    uv_poll_t poll;
};

/* --- addresses */

int np_dial_family(const union np_addr *a)
{
    return a->sa.sa_family == AF_INET6 ? NP_DIAL_V6 : NP_DIAL_V4;
}

void np_dial_add(struct np_dialling *d, const union np_addr *addrs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int f = np_dial_family(&addrs[i]);
        if (d->n[f] < NP_DIAL_MAX_ADDRS) d->addrs[f][d->n[f]++] = addrs[i];
    }
}

size_t np_dial_left(const struct np_dialling *d)
{
    size_t left = 0;
    for (int f = 0; f < NP_DIAL_FAMILIES; f++)
        left += d->n[f] - d->tried[f];
    return left;
}

/* The next, by turns as long as there is one of each family. There is one. */
static const union np_addr *take(struct np_dialling *d)
{
    int f = d->tried[d->turn] < d->n[d->turn] ? d->turn : !d->turn;
    d->turn = !f;
    return &d->addrs[f][d->tried[f]++];
}

/* --- one's own port */

static bool is_loopback(const union np_addr *a)
{
    if (a->sa.sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
    return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
}

/* On loopback the kernel may give a connection the very port it connects to, and then connects it
 * to itself: nobody listens there, and a listener that comes later would find its port taken. */
static bool connected_to_itself(const union np_addr *to, uv_os_sock_t fd)
{
    union np_addr from = {.in = {0}};
    socklen_t n = sizeof from;
    if (!is_loopback(to) || getsockname(fd, &from.sa, &n) < 0) return false;
    return np_addr_port(&from.sa) == np_addr_port(&to->sa) && is_loopback(&from) &&
           (to->sa.sa_family == AF_INET6 || from.in.sin_addr.s_addr == to->in.sin_addr.s_addr);
}

/* --- a lone address */

static void on_connected(uv_connect_t *req, int status)
{
    struct np_uvstream *u = req->data;
    struct np_dialling *d = u->dialling;
    uv_os_fd_t fd;
    if (u->s.state != NP_STREAM_CONNECTING || !d) return;
    const union np_addr *to = &d->addrs[!d->turn][0];
    if (status < 0)
        np_stream_failed(&u->s, np_err_from_uv(status));
    else if (uv_fileno(&u->uv.handle, &fd) == 0 && connected_to_itself(to, fd))
        np_stream_failed(&u->s, NEAP_ECONNREFUSED);
    else
        np_dial_connected(d);
}

static void connect_alone(struct np_dialling *d)
{
    struct np_uvstream *u = d->u;
    enum neap_err err = np_uvstream_need_io(u);
    if (!err) {
        u->io->req.connect.data = u;
        err = np_err_from_uv(
            uv_tcp_connect(&u->io->req.connect, &u->uv.tcp, &take(d)->sa, on_connected));
    }
    if (err) np_stream_fail_later(&u->s, err);
}

/* --- several */

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

void np_dial_race_stop(struct np_dialling *d)
{
    struct np_link *pos, *tmp;
    np_list_each_safe (pos, tmp, &d->attempts) {
        close(attempt_end(np_container_of(pos, struct attempt, link)));
    }
}

void np_dial_race_set_ref(struct np_dialling *d, bool ref)
{
    struct np_link *pos;
    np_list_each (pos, &d->attempts) {
        uv_handle_t *h = (uv_handle_t *)&np_container_of(pos, struct attempt, link)->poll;
        ref ? uv_ref(h) : uv_unref(h);
    }
}

static void won(struct attempt *a)
{
    struct np_dialling *d = a->d;
    int fd = attempt_end(a);
    int rc = uv_tcp_open(&d->u->uv.tcp, fd);
    if (rc == 0) {
        np_dial_connected(d);
        return;
    }
    close(fd);
    np_stream_failed(&d->u->s, np_err_from_uv(rc));
}

static void on_writable(uv_poll_t *h, int status, int events)
{
    struct attempt *a = h->data;
    struct np_dialling *d = a->d;
    int err = 0;
    socklen_t n = sizeof err;
    if (d->u->s.state != NP_STREAM_CONNECTING) { /* out of time; its owner has not closed it yet */
        np_dial_race_stop(d);
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
    (void)np_dial_race(d);
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

/* Begins with the next address that can be begun with. The delay for the one after it, which may
 * not be known yet, counts from now. */
static enum neap_err next(struct np_dialling *d)
{
    np_timer_stop(&d->timer);
    while (np_dial_left(d)) {
        enum neap_err err = attempt_start(d, take(d));
        if (!err) return np_timer_start(&d->timer, d->delay);
        d->err = err;
        if (err == NEAP_ENOMEM) return err; /* not a matter of the address */
    }
    return NEAP_OK;
}

/* All that is known has failed. An answer that is still to come is waited for, but not for long. */
static enum neap_err none_left(struct np_dialling *d)
{
    if (d->last_chance || !np_dial_pending(d)) return d->err;
    d->last_chance = true;
    return np_timer_start(&d->timer, LAST_CHANCE * d->delay);
}

enum neap_err np_dial_race(struct np_dialling *d)
{
    struct np_stream *s = &d->u->s;
    enum neap_err err = NEAP_OK;
    bool alone = !d->begun && np_dial_left(d) == 1 && !np_dial_pending(d);
    d->begun = true;
    if (alone)
        connect_alone(d);
    else
        err = next(d);
    if (!err && !alone && np_list_empty(&d->attempts)) err = none_left(d);
    if (err) np_stream_fail_later(s, err);
    return s->err == NEAP_ENOMEM ? NEAP_ENOMEM : NEAP_OK;
}
