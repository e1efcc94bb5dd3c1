/* systemd's protocols; see notify.h, and sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). */
#include "host/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/loop.h"

#define MAX_FDS 1024

/* A whole number from 0 that is all of `text`. */
static bool number(const char *text, uint64_t *out)
{
    char *end;
    if (!text || text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* Absent means everybody. */
static bool is_us(const char *pid)
{
    uint64_t n;
    return !pid || (number(pid, &n) && n == (uint64_t)getpid());
}

static int64_t watchdog_of_env(void)
{
    uint64_t usec;
    bool wanted = is_us(getenv("WATCHDOG_PID")) && number(getenv("WATCHDOG_USEC"), &usec);
    if (!wanted || usec == 0 || usec > INT64_MAX / 1000) return 0;
    return (int64_t)(usec * 1000 / 2); /* half of it, as systemd advises */
}

static bool read_address(struct np_notify *n, const char *path)
{
    size_t len = strlen(path);
    bool ok = (path[0] == '/' || path[0] == '@') && len > 1 && len < sizeof n->addr.sun_path;
    if (!ok) return false;
    n->addr.sun_family = AF_UNIX;
    memcpy(n->addr.sun_path, path, len);
    n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
    if (path[0] == '@') n->addr.sun_path[0] = '\0'; /* an abstract name has no NUL at its end */
    return true;
}

enum neap_err np_notify_init(struct np_notify *n, struct neap_errinfo *info)
{
    *n = (struct np_notify){.fd = -1, .watchdog = watchdog_of_env()};
    const char *path = getenv("NOTIFY_SOCKET");
    enum neap_err err = NEAP_OK;
    if (path && *path && !read_address(n, path)) {
        err = np_err_set(info, NEAP_EINVAL, "NOTIFY_SOCKET is no address: %.100s", path);
    } else if (path && *path) {
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (n->fd < 0)
            err = np_err_set(info, np_err_from_uv(-errno), "no socket: %s", strerror(errno));
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return err;
}

void np_notify_fini(struct np_notify *n)
{
    if (n->fd >= 0) close(n->fd);
    n->fd = -1;
}

enum neap_err np_notify_send(const struct np_notify *n, const char *state)
{
    ssize_t rc;
    if (n->fd < 0) return NEAP_OK;
    do {
        rc = sendto(n->fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                    (const struct sockaddr *)&n->addr, n->len);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? np_err_from_uv(-errno) : NEAP_OK;
}

/* A status is one line: what follows the first newline would be another assignment. */
static void send_with_status(const struct np_notify *n, const char *what, const char *status)
{
    char text[512];
    int len = status ? (int)strcspn(status, "\n") : 0;
    if (len > 400) len = 400;
    snprintf(text, sizeof text, "%s%s%.*s", what, status ? "STATUS=" : "", len,
             status ? status : "");
    if (np_notify_send(n, text)) return; /* the next one may come through */
}

void np_notify_ready(const struct np_notify *n, const char *status)
{
    char text[64];
    snprintf(text, sizeof text, "READY=1\nMAINPID=%ld\n", (long)getpid());
    send_with_status(n, text, status);
}

void np_notify_reloading(const struct np_notify *n)
{
    char text[96];
    int64_t now = np_clock_now(&np_clock_system); /* systemd compares it with its own */
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\n", (long long)now / 1000);
    send_with_status(n, text, "reloading");
}

void np_notify_stopping(const struct np_notify *n)
{
    send_with_status(n, "STOPPING=1\n", "stopping");
}

void np_notify_status(const struct np_notify *n, const char *status)
{
    send_with_status(n, "", status);
}

void np_notify_watchdog(const struct np_notify *n)
{
    send_with_status(n, "WATCHDOG=1\n", NULL);
}

/* --- sockets that were opened for us */

static const char *take_name(const char *names, char *out, size_t size)
{
    size_t n = names ? strcspn(names, ":") : 0;
    if (n == 0) {
        snprintf(out, size, "unknown");
    } else {
        snprintf(out, size, "%.*s", (int)n, names);
    }
    return names && names[n] == ':' ? names + n + 1 : NULL;
}

static enum neap_err read_fds(uint64_t count, struct np_passed_fd *fds, struct neap_errinfo *info)
{
    const char *names = getenv("LISTEN_FDNAMES");
    for (uint64_t i = 0; i < count; i++) {
        int fd = NP_PASSED_FDS_START + (int)i;
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
            return np_err_set(info, NEAP_EINVAL, "LISTEN_FDS promises descriptor %d: %s", fd,
                              strerror(errno));
        fds[i].fd = fd;
        names = take_name(names, fds[i].name, sizeof fds[i].name);
    }
    return NEAP_OK;
}

static enum neap_err find_fds(struct np_passed_fd **out, size_t *count, struct neap_errinfo *info)
{
    uint64_t n = 0;
    const char *text = getenv("LISTEN_FDS");
    if (!text || !getenv("LISTEN_PID") || !is_us(getenv("LISTEN_PID"))) return NEAP_OK;
    if (!number(text, &n) || n > MAX_FDS)
        return np_err_set(info, NEAP_EINVAL, "LISTEN_FDS is no number of sockets: %.40s", text);
    if (n == 0) return NEAP_OK;
    struct np_passed_fd *fds = np_calloc((size_t)n, sizeof *fds);
    if (!fds) return np_err_plain(info, NEAP_ENOMEM);
    enum neap_err err = read_fds(n, fds, info);
    if (err) {
        np_free(fds);
        return err;
    }
    *out = fds;
    *count = (size_t)n;
    return NEAP_OK;
}

enum neap_err np_passed_fds(struct np_passed_fd **out, size_t *count, struct neap_errinfo *info)
{
    *out = NULL;
    *count = 0;
    enum neap_err err = find_fds(out, count, info);
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    return err;
}
