/* Listeners: a listening descriptor polled by the loop, accepted from in batches.
 *
 * The sockets are our own rather than uv_listen's, for SO_REUSEPORT, for pausing without taking a
 * connection first, and for what happens when descriptors run out: a descriptor kept in reserve
 * lets one pending connection be accepted and closed (its client hears at once), then accepting
 * pauses for a moment. Making the sockets stands in listen.c. One thread, the loop's.
 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/listen.h"
#include "net/netpolicy.h"
#include "net/share_claim.h"
#include "net/uvstream.h"

enum {
    BATCH = 64, /* connections accepted before others get a turn */
    PENDING_MAX = 4096,
    TURNED_AWAY = 32 /* at a time, when descriptors have run out */
};
static const int64_t no_fd_pause = NP_NS_PER_SEC / 10; /* after running out of descriptors */

struct np_listener {
    uv_poll_t poll;
    struct np_loop *loop;
    const struct np_listener_handler *handler;
    void *arg;
    const struct np_stream_ops *ops; /* of what it accepts */
    int fd;
    int reserve; /* a descriptor to give up when there are no others; or -1 */
    bool paused; /* by its owner */
    struct np_share_claim
        claim; /* to a socket that others listen on as well; group NULL: its own */
    void (*on_active)(struct np_listener *l, bool active);
    const char *busy; /* what a connection is told when descriptors have run out */
    size_t busy_len;
    bool closing;
    int64_t told_at;       /* when the log last said so */
    struct np_timer no_fd; /* armed: paused for want of descriptors */
    union np_addr address;
    dev_t path_dev; /* what was bound, so that nobody else's file is removed */
    ino_t path_ino;
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void update_polling(struct np_listener *l)
{
    if (l->closing) return;
    bool idle = l->claim.group && !l->claim.active;
    if (l->paused || idle || np_timer_armed(&l->no_fd))
        uv_poll_stop(&l->poll);
    else
        uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void on_no_fd_over(struct np_timer *t)
{
    struct np_listener *l = np_container_of(t, struct np_listener, no_fd);
    if (l->reserve < 0) l->reserve = open_reserve();
    update_polling(l);
}

/* Says why to those that wait, as far as one descriptor goes. What they sent is read first: closing
 * a socket with unread bytes would reset it, and the words with it. */
static void turn_away(struct np_listener *l)
{
    char rest[4096];
    for (int i = 0; i < TURNED_AWAY; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (l->busy) {
            ssize_t n = send(fd, l->busy, l->busy_len, MSG_NOSIGNAL);
            shutdown(fd, SHUT_WR);
            for (int k = 0; n > 0 && k < 4 && read(fd, rest, sizeof rest) > 0; k++) {
            }
        }
        close(fd);
    }
}

static void tell_out_of_descriptors(struct np_listener *l, int err)
{
    char text[NP_ADDR_TEXT_MAX];
    int64_t now = np_loop_now(l->loop);
    if (l->told_at && now - l->told_at < NP_NS_PER_SEC) return;
    l->told_at = now;
    np_listener_address(l, text, sizeof text);
    np_logf(l->loop->log, NP_LOG_WARN, "cannot accept on %s: %s; pausing for 100 ms", text,
            strerror(err));
}

static void out_of_descriptors(struct np_listener *l, int err)
{
    tell_out_of_descriptors(l, err);
    if ((err == EMFILE || err == ENFILE) && l->reserve >= 0) {
        close(l->reserve);
        turn_away(l);
        l->reserve = open_reserve();
    }
    /* If even the timer cannot be had, the next turn tries again. */
    if (np_timer_start(&l->no_fd, no_fd_pause) == NEAP_OK) update_polling(l);
}

static void hand_over(struct np_listener *l, int fd)
{
    atomic_uint *count = l->claim.group ? np_share_open_count(&l->claim) : NULL;
    struct np_stream *s;
    enum neap_err err = np_uvstream_from_fd(l->loop, l->ops, fd, &s);
    if (err) {
        close(fd);
        np_logf(l->loop->log, NP_LOG_WARN, "dropped a connection: %s", neap_err_text(err));
        return;
    }
    if (count) atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    s->counted = count;
    l->handler->on_accept(l, s);
}

/* A connection that another worker accepted. */
static void on_take(struct np_share_claim *c, int fd)
{
    struct np_listener *l = np_container_of(c, struct np_listener, claim);
    hand_over(l, fd);
}

static void on_claim_update(struct np_share_claim *c)
{
    struct np_listener *l = np_container_of(c, struct np_listener, claim);
    update_polling(l);
    if (l->on_active && !l->closing) l->on_active(l, c->active);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct np_listener *l = poll->data;
    for (int i = 0; i < BATCH && uv_is_active((uv_handle_t *)poll) && !l->closing; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (!l->claim.group || !np_share_hand_out(&l->claim, fd)) hand_over(l, fd);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            out_of_descriptors(l, errno);
            return;
        default: /* the connection's trouble, not the listener's: ECONNABORTED, EPROTO … */
            break;
        }
    }
}

void np_listener_accept_pending(struct np_listener *l)
{
    bool idle = l->claim.group && !l->claim.active;
    for (int i = 0; i < PENDING_MAX && !l->closing && !idle; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        hand_over(l, fd);
    }
}

static void remove_path(struct np_listener *l)
{
    struct stat st;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&l->address.ss;
    if (un->sun_family != AF_UNIX || !un->sun_path[0] || l->path_ino == 0) return;
    if (lstat(un->sun_path, &st) == 0 && st.st_dev == l->path_dev && st.st_ino == l->path_ino)
        unlink(un->sun_path);
}

static void on_closed(uv_handle_t *h)
{
    struct np_listener *l = h->data;
    struct np_loop *loop = l->loop;
    if (l->handler->on_close) l->handler->on_close(l);
    np_free(l);
    np_loop_release(loop);
}

void np_listener_close(struct np_listener *l)
{
    if (l->closing) return;
    l->closing = true;
    np_timer_stop(&l->no_fd);
    remove_path(l);
    uv_close((uv_handle_t *)&l->poll, on_closed); /* stops polling at once */
    close(l->fd);
    np_share_release(&l->claim);
    if (l->reserve >= 0) close(l->reserve);
}

/* Takes `fd` on success only. */
static enum neap_err listener_new(struct np_loop *loop, int fd, const struct np_stream_ops *ops,
                                  const struct np_listener_handler *h, void *arg,
                                  struct np_listener **out, struct neap_errinfo *info)
{
    struct np_listener *l = np_calloc(1, sizeof *l);
    if (!l) return np_err_plain(info, NEAP_ENOMEM);
    l->loop = loop;
    l->handler = h;
    l->arg = arg;
    l->ops = ops;
    l->fd = fd;
    socklen_t n = sizeof l->address;
    int rc =
        getsockname(fd, &l->address.sa, &n) < 0 ? -errno : uv_poll_init(loop->uv, &l->poll, fd);
    if (rc < 0) {
        np_free(l);
        return np_err_set(info, np_err_from_uv(rc), "cannot listen: %s", uv_strerror(rc));
    }
    l->poll.data = l;
    l->reserve = open_reserve();
    np_timer_init(&l->no_fd, loop, on_no_fd_over);
    np_loop_retain(loop);
    update_polling(l);
    *out = l;
    return NEAP_OK;
}

static enum neap_err set_busy(struct np_listener **l, const struct np_listen_options *opts,
                              enum neap_err err)
{
    if (err) return err;
    (*l)->busy = opts->busy;
    (*l)->busy_len = opts->busy_len;
    return NEAP_OK;
}

/* A listener on a shared socket. NEAP_ENOTSUP: it cannot be shared. */
static enum neap_err listen_shared(struct np_loop *loop, struct np_share_place *place,
                                   const struct np_stream_ops *ops,
                                   const struct np_listener_handler *h, void *arg,
                                   struct np_listener **out, struct neap_errinfo *info)
{
    struct np_share_claim claim = {.update = on_claim_update, .take = on_take};
    int fd;
    struct np_listener *l = NULL;
    if (!place->opts->share) return NEAP_ENOTSUP;
    np_link_init(&claim.link);
    enum neap_err err = np_share_claim(place->opts->share, place, &claim, &fd, info);
    if (err) return err;
    err = listener_new(loop, fd, ops, h, arg, &l, info);
    if (err) {
        close(fd);
        np_share_release(&claim);
        return err;
    }
    np_share_move(&claim, &l->claim);
    update_polling(l);
    *out = l;
    return NEAP_OK;
}

enum neap_err np_tcp_listen(struct np_loop *loop, const char *host, int port,
                            const struct np_listen_options *opts,
                            const struct np_listener_handler *h, void *arg,
                            struct np_listener **out, struct neap_errinfo *info)
{
    static const struct np_listen_options defaults = NP_LISTEN_OPTIONS_INIT;
    int fd;
    if (!opts) opts = &defaults;
    struct np_share_place place = {.kind = NP_SHARE_TCP, .host = host, .port = port, .opts = opts};
    enum neap_err err = listen_shared(loop, &place, &np_tcp_ops, h, arg, out, info);
    if (err != NEAP_ENOTSUP) return set_busy(out, opts, err);
    err = np_listen_tcp_socket(host, port, opts, &fd, info);
    if (err) return err;
    err = listener_new(loop, fd, &np_tcp_ops, h, arg, out, info);
    if (err) close(fd);
    return set_busy(out, opts, err);
}

enum neap_err np_unix_listen(struct np_loop *loop, const char *path,
                             const struct np_listen_options *opts,
                             const struct np_listener_handler *h, void *arg,
                             struct np_listener **out, struct neap_errinfo *info)
{
    static const struct np_listen_options defaults = NP_LISTEN_OPTIONS_INIT;
    int fd;
    if (!opts) opts = &defaults;
    if (np_net_check_listen_unix(loop, path))
        return np_err_set(info, NEAP_EACCES, "cannot listen on %s: " NP_NETPOLICY_LISTEN_WORDS,
                          path);
    struct np_share_place place = {.kind = NP_SHARE_UNIX, .path = path, .opts = opts};
    enum neap_err err = listen_shared(loop, &place, &np_unix_ops, h, arg, out, info);
    if (err != NEAP_ENOTSUP) return set_busy(out, opts, err);
    err = np_listen_unix_socket(path, opts, &fd, info);
    if (err) return err;
    struct np_listener *l;
    err = listener_new(loop, fd, &np_unix_ops, h, arg, &l, info);
    if (err) {
        close(fd);
        if (*path != '@') unlink(path);
        return err;
    }
    struct stat st;
    if (lstat(path, &st) == 0) {
        l->path_dev = st.st_dev;
        l->path_ino = st.st_ino;
    }
    *out = l;
    return set_busy(out, opts, NEAP_OK);
}

struct np_listener *np_listener_predecessor(const struct np_listener *l)
{
    struct np_share_claim *c = l->claim.previous;
    return c ? np_container_of(c, struct np_listener, claim) : NULL;
}

const struct np_listener_handler *np_listener_get_handler(const struct np_listener *l)
{
    return l->handler;
}

void np_listener_on_active(struct np_listener *l, void (*fn)(struct np_listener *l, bool active))
{
    l->on_active = fn;
}

void *np_listener_arg(const struct np_listener *l)
{
    return l->arg;
}

void np_listener_address(const struct np_listener *l, char *out, size_t size)
{
    np_addr_format(&l->address.sa, out, size);
}

int np_listener_port(const struct np_listener *l)
{
    return np_addr_port(&l->address.sa);
}

void np_listener_pause(struct np_listener *l, bool paused)
{
    l->paused = paused;
    atomic_store_explicit(&l->claim.paused, paused, memory_order_relaxed);
    update_polling(l);
}

void np_listener_set_ref(struct np_listener *l, bool ref)
{
    uv_handle_t *h = (uv_handle_t *)&l->poll;
    np_timer_set_background(&l->no_fd, !ref);
    if (ref)
        uv_ref(h);
    else
        uv_unref(h);
}
