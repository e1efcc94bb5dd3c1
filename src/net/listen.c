/* Making listening sockets. Plain system calls, no loop. */
#include "net/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static enum neap_err failed(struct neap_errinfo *info, const char *what, const char *where)
{
    int e = errno;
    return np_err_set(info, np_err_from_errno(e), "cannot %s %s: %s", what, where, strerror(e));
}

static int switch_on(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}

static enum neap_err prepare_tcp(int fd, const union np_addr *addr, const char *text,
                                 const struct np_listen_options *opts, struct neap_errinfo *info)
{
    if (switch_on(fd, SOL_SOCKET, SO_REUSEADDR) < 0) return failed(info, "set up", text);
    if (opts->reuse_port && switch_on(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
        return failed(info, "share", text);
    /* Accepted sockets inherit it, which saves a system call a connection. */
    if (switch_on(fd, IPPROTO_TCP, TCP_NODELAY) < 0) return failed(info, "set up", text);
    if (addr->sa.sa_family == AF_INET6) {
        int v6_only = opts->v6_only;
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0)
            return failed(info, "set up", text);
    }
    if (bind(fd, &addr->sa, np_addr_len(&addr->sa)) < 0) return failed(info, "listen on", text);
    /* After binding: who listens there already, whatever his options, was an error just now. */
    if (opts->join_later && switch_on(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
        return failed(info, "share", text);
    if (listen(fd, opts->backlog > 0 ? opts->backlog : SOMAXCONN) < 0)
        return failed(info, "listen on", text);
    return NEAP_OK;
}

enum neap_err np_listen_tcp_socket(const char *host, int port, const struct np_listen_options *opts,
                                   int *out, struct neap_errinfo *info)
{
    union np_addr addr;
    char text[NP_ADDR_TEXT_MAX];
    const char *ip = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (np_addr_from_ip(ip, port, &addr))
        return np_err_set(info, NEAP_EINVAL, "cannot listen on '%.100s' port %d: %s", host, port,
                          port < 0 || port > 65535 ? "the port is not 0 to 65535"
                                                   : "not an IP address or localhost");
    np_addr_format(&addr.sa, text, sizeof text);
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return failed(info, "make a socket for", text);
    enum neap_err err = prepare_tcp(fd, &addr, text, opts, info);
    if (err)
        close(fd);
    else
        *out = fd;
    return err;
}

/* Whether the socket file at `addr` is left over from a process that is gone. */
static bool is_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool stale =
        connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

/* No file: nothing to replace, nothing to remove, and no permissions. */
static enum neap_err prepare_abstract(int fd, const struct sockaddr_un *addr, socklen_t len,
                                      const char *path, const struct np_listen_options *opts,
                                      struct neap_errinfo *info)
{
    if (opts->unix_mode)
        return np_err_set(info, NEAP_EINVAL, "cannot listen on %s: an abstract socket has no mode",
                          path);
    if (bind(fd, (const struct sockaddr *)addr, len) < 0 ||
        listen(fd, opts->backlog > 0 ? opts->backlog : SOMAXCONN) < 0)
        return failed(info, "listen on", path);
    return NEAP_OK;
}

static enum neap_err prepare_unix(int fd, const struct sockaddr_un *addr,
                                  const struct np_listen_options *opts, struct neap_errinfo *info)
{
    const struct sockaddr *sa = (const struct sockaddr *)addr;
    int rc = bind(fd, sa, sizeof *addr);
    if (rc < 0 && errno == EADDRINUSE) {
        if (!is_stale(addr)) {
            errno = EADDRINUSE;
            return failed(info, "listen on", addr->sun_path);
        }
        unlink(addr->sun_path);
        rc = bind(fd, sa, sizeof *addr);
    }
    if (rc < 0) return failed(info, "listen on", addr->sun_path);
    /* Before listen, so that nobody connects under the wrong permissions. */
    bool ok = opts->unix_mode == 0 || chmod(addr->sun_path, (mode_t)opts->unix_mode) == 0;
    if (ok && listen(fd, opts->backlog > 0 ? opts->backlog : SOMAXCONN) == 0) return NEAP_OK;
    enum neap_err err = failed(info, "listen on", addr->sun_path);
    unlink(addr->sun_path);
    return err;
}

enum neap_err np_listen_unix_socket(const char *path, const struct np_listen_options *opts,
                                    int *out, struct neap_errinfo *info)
{
    struct sockaddr_un addr;
    socklen_t len;
    if (np_addr_from_path(path, &addr, &len))
        return np_err_set(info, NEAP_EINVAL, "a socket's path has 1 to %zu bytes, got %zu",
                          sizeof addr.sun_path - 1, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return failed(info, "make a socket for", path);
    enum neap_err err = *path == '@' ? prepare_abstract(fd, &addr, len, path, opts, info)
                                     : prepare_unix(fd, &addr, opts, info);
    if (err)
        close(fd);
    else
        *out = fd;
    return err;
}
