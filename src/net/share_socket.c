/* The sockets of a group: the first, one more on its port, one that the process was handed. Under
 * the share's lock; see share_impl.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/listen.h"
#include "net/share_impl.h"

/* --- handed to the process */

struct inherited {
    struct np_link link;
    int fd;
    int type; /* SOCK_STREAM, SOCK_DGRAM */
    union np_addr addr;
    char address[NP_ADDR_TEXT_MAX];
    char name[64];
};

static int option_of(int fd, int option)
{
    int value = 0;
    socklen_t n = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &n) < 0 ? -1 : value;
}

enum neap_err np_share_inherit(struct np_share *s, int fd, const char *name)
{
    union np_addr addr = {0};
    socklen_t n = sizeof addr;
    int type = option_of(fd, SO_TYPE);
    if (type < 0 || getsockname(fd, &addr.sa, &n) < 0) return np_err_from_errno(errno);
    bool listens = type == SOCK_STREAM && option_of(fd, SO_ACCEPTCONN) == 1;
    bool receives = type == SOCK_DGRAM && addr.sa.sa_family != AF_UNIX;
    if (!listens && !receives) return NEAP_EINVAL;
    struct inherited *in = np_calloc(1, sizeof *in);
    if (!in) return NEAP_ENOMEM;
    in->fd = fd;
    in->type = type;
    in->addr = addr;
    np_addr_format(&addr.sa, in->address, sizeof in->address);
    snprintf(in->name, sizeof in->name, "%s", name ? name : "");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    uv_mutex_lock(&s->lock);
    np_list_push_back(&s->inherited, &in->link);
    uv_mutex_unlock(&s->lock);
    return NEAP_OK;
}

size_t np_share_unclaimed(struct np_share *s, char *out, size_t size)
{
    struct np_link *l;
    size_t n = 0, at = 0;
    if (size) *out = '\0';
    uv_mutex_lock(&s->lock);
    np_list_each (l, &s->inherited) {
        const struct inherited *in = np_container_of(l, struct inherited, link);
        const char *comma = n++ ? ", " : "";
        if (at < size) at += (size_t)snprintf(out + at, size - at, "%s%s", comma, in->address);
    }
    uv_mutex_unlock(&s->lock);
    return n;
}

void np_share_free_inherited(struct np_share *s)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&s->inherited))) {
        struct inherited *in = np_container_of(l, struct inherited, link);
        close(in->fd);
        np_free(in);
    }
}

static bool is_any(const union np_addr *a)
{
    if (a->sa.sa_family == AF_INET) return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

/* Service managers bind "[::]:80" for a port; scripts that ask for "0.0.0.0" mean that one. */
static bool serves(const struct inherited *in, const struct np_share_place *p)
{
    if ((in->type == SOCK_DGRAM) != (p->kind == NP_SHARE_UDP)) return false;
    if (strcmp(in->address, p->address) == 0) return true;
    return p->kind != NP_SHARE_UNIX && np_addr_port(&in->addr.sa) == p->port && is_any(&in->addr) &&
           is_any(&p->addr);
}

static int take_inherited(struct np_share *s, const struct np_share_place *p)
{
    struct np_link *l;
    np_list_each (l, &s->inherited) {
        struct inherited *in = np_container_of(l, struct inherited, link);
        if (!serves(in, p)) continue;
        int fd = in->fd;
        np_list_remove(l);
        np_free(in);
        return fd;
    }
    return -1;
}

/* --- the group's own */

/* `first`: nobody else may listen there yet; afterwards others of this process may, if `join`. */
static enum neap_err open_socket(const struct np_share_place *p, int port, bool first, bool join,
                                 int *fd, struct neap_errinfo *info)
{
    if (p->kind == NP_SHARE_UDP) {
        struct np_udp_options uo = *p->udp;
        uo.join_later = first && join;
        if (!first) uo.reuse_port = true;
        return np_udp_socket(p->host, port, &uo, fd, info);
    }
    struct np_listen_options lo = *p->opts;
    lo.join_later = first && join;
    if (!first) lo.reuse_port = true;
    return np_listen_tcp_socket(p->host, port, &lo, fd, info);
}

static enum neap_err first_ip(struct np_share_group *g, unsigned worker,
                              const struct np_share_place *p, struct neap_errinfo *info)
{
    struct np_share *s = g->share;
    int fd = take_inherited(s, p);
    g->single = fd >= 0 || s->workers == 1 || s->mode == NP_SHARE_HAND_OUT;
    enum neap_err err = NEAP_OK;
    if (fd < 0) err = open_socket(p, p->port, true, !g->single, &fd, info);
    if (!err) g->slots[g->single ? 0 : worker].fd = fd;
    return err;
}

static enum neap_err first_unix(struct np_share_group *g, const struct np_share_place *p,
                                struct neap_errinfo *info)
{
    struct stat st;
    int fd = take_inherited(g->share, p);
    g->single = g->is_unix = true;
    if (fd < 0) {
        enum neap_err err = np_listen_unix_socket(p->path, p->opts, &fd, info);
        if (err) return err;
        if (*p->path != '@' && lstat(p->path, &st) == 0) {
            g->path_dev = st.st_dev;
            g->path_ino = st.st_ino;
        }
        snprintf(g->path, sizeof g->path, "%s", p->path);
    }
    g->slots[0].fd = fd;
    return NEAP_OK;
}

static int any_socket(const struct np_share_group *g)
{
    for (unsigned i = 0; i < g->share->workers; i++) {
        if (g->slots[i].fd >= 0) return g->slots[i].fd;
    }
    return -1;
}

/* One more socket on the group's port; where that cannot be, the worker uses one there is. */
static void join_ip(struct np_share_group *g, unsigned worker, const struct np_share_place *p)
{
    union np_addr addr;
    socklen_t n = sizeof addr;
    int fd;
    if (getsockname(any_socket(g), &addr.sa, &n) < 0) return;
    if (open_socket(p, np_addr_port(&addr.sa), false, true, &fd, NULL) == NEAP_OK)
        g->slots[worker].fd = fd;
}

/* As fcntl's F_DUPFD_CLOEXEC, which the thread sanitizer does not know to make a descriptor. */
static int duplicate(int fd)
{
    int to = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (to < 0 || dup3(fd, to, O_CLOEXEC) >= 0) return to;
    int e = errno;
    close(to);
    errno = e;
    return -1;
}

enum neap_err np_share_open_slot(struct np_share_group *g, unsigned worker,
                                 const struct np_share_place *p, int *out,
                                 struct neap_errinfo *info)
{
    enum neap_err err = NEAP_OK;
    int fd = any_socket(g);
    if (fd < 0) {
        err = p->kind == NP_SHARE_UNIX ? first_unix(g, p, info) : first_ip(g, worker, p, info);
    } else if (!g->single && g->slots[worker].fd < 0) {
        join_ip(g, worker, p);
    }
    if (err) return err;
    fd = g->slots[g->single ? 0 : worker].fd;
    if (fd < 0) fd = any_socket(g);
    *out = duplicate(fd);
    if (*out >= 0) return NEAP_OK;
    int e = errno;
    return np_err_set(info, np_err_from_errno(e), "cannot listen on %s: %s", p->address,
                      strerror(e));
}

static void remove_path(struct np_share_group *g)
{
    struct stat st;
    if (!g->is_unix || g->path_ino == 0) return;
    if (lstat(g->path, &st) == 0 && st.st_dev == g->path_dev && st.st_ino == g->path_ino)
        unlink(g->path);
    g->path_ino = 0;
}

void np_share_close_sockets(struct np_share_group *g)
{
    remove_path(g);
    for (unsigned i = 0; i < g->share->workers; i++) {
        if (g->slots[i].fd >= 0) close(g->slots[i].fd);
        g->slots[i].fd = -1;
    }
}
