/* Files to be served; see file.h. */
#include "net/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* O_NONBLOCK: a FIFO or a device that stands there must not hold the loop. */
#define FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

enum { PATH_BYTES = 4096 };

/* --- one name, several ways */

static int open2(int dir, const char *path, uint64_t resolve)
{
    struct open_how how = {.flags = FLAGS, .resolve = resolve};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* Text of /proc: where an open descriptor is. */
static bool where_is(int fd, char *out)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_BYTES - 1);
    if (n <= 0 || *out != '/') return false;
    out[n] = '\0';
    return true;
}

static bool is_inside(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (n == 1) return true;
    return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Without following any link. */
static int open_without_links(int dir, const char *path)
{
    int at = dir;
    for (;;) {
        char segment[NAME_MAX + 1];
        const char *slash = strchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : strlen(path);
        int fd = -1;
        bool last = !slash || slash[1] == '\0';
        if (n == 0 || n >= sizeof segment || (n == 2 && memcmp(path, "..", 2) == 0)) {
            errno = ENOENT;
        } else {
            memcpy(segment, path, n);
            segment[n] = '\0';
            int flags = last ? FLAGS : O_PATH | O_CLOEXEC;
            if (slash) flags |= O_DIRECTORY;
            fd = openat(at, segment, flags | O_NOFOLLOW);
        }
        int saved = errno;
        if (at != dir) close(at);
        errno = saved;
        if (fd < 0 || last) return fd;
        at = fd;
        path = slash + 1;
    }
}

/* Looked up, asked where it is, and opened only then. */
static int open_if_inside(int dir, const char *path)
{
    char root[PATH_BYTES], real[PATH_BYTES], again[64];
    struct stat st;
    int fd = -1;
    if (!where_is(dir, root)) return open_without_links(dir, path);
    int seen = openat(dir, path, O_PATH | O_CLOEXEC);
    if (seen < 0) return -1;
    if (fstat(seen, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) &&
        where_is(seen, real) && is_inside(real, root)) {
        snprintf(again, sizeof again, "/proc/self/fd/%d", seen);
        fd = open(again, FLAGS);
    } else {
        errno = ENOENT;
    }
    int saved = errno;
    close(seen);
    errno = saved;
    return fd;
}

static bool lacks_openat2(int err)
{
    return err == ENOSYS || err == EPERM || err == EINVAL || err == E2BIG;
}

static int open_with(struct np_file_root *r, const char *path)
{
    int fd;
    if (r->links == NP_LINKS_ALL) return openat(r->fd, path, FLAGS);
    bool none = r->links == NP_LINKS_NONE;
    if (!r->no_openat2) {
        uint64_t how = RESOLVE_BENEATH | (none ? RESOLVE_NO_SYMLINKS : RESOLVE_NO_MAGICLINKS);
        int tries = 0;
        do /* EAGAIN: something was renamed on the way */
            fd = open2(r->fd, path, how);
        while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 8);
        if (fd >= 0 || errno != EXDEV) return fd;
    }
    return none ? open_without_links(r->fd, path) : open_if_inside(r->fd, path);
}

/* --- what it is */

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static enum neap_err failed(int err)
{
    switch (err) {
    case ELOOP:
    case EXDEV:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ENXIO: /* a socket, or a device that is not there */
    case ENODEV:
        return NEAP_ENOENT;
    case EPERM:
        return NEAP_EACCES;
    default:
        return np_err_from_errno(err);
    }
}

static enum neap_err look(int fd, struct np_file *out)
{
    struct stat st;
    if (fd < 0) return failed(errno);
    int rc = fstat(fd, &st);
    if (rc < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        enum neap_err err = rc < 0 ? failed(errno) : NEAP_ENOENT;
        close(fd);
        return err;
    }
    *out = (struct np_file){.fd = fd,
                            .directory = S_ISDIR(st.st_mode),
                            .size = (uint64_t)st.st_size,
                            .mtime = ns_of(&st.st_mtim)};
    return NEAP_OK;
}

enum neap_err np_file_open_beneath(struct np_file_root *r, const char *path, struct np_file *out)
{
    if (*path == '/') return NEAP_ENOENT;
    return look(open_with(r, path), out);
}

enum neap_err np_file_open(const char *path, struct np_file *out)
{
    return look(open(path, FLAGS), out);
}

void np_file_close(struct np_file *f)
{
    if (f->fd >= 0 && !f->lent) close(f->fd);
    f->fd = -1;
}

enum neap_err np_file_own(struct np_file *f)
{
    if (!f->lent) return NEAP_OK;
    int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return np_err_from_errno(errno);
    f->fd = fd;
    f->lent = false;
    return NEAP_OK;
}

bool np_file_changed(const struct np_file *f)
{
    struct stat st;
    return fstat(f->fd, &st) < 0 || (uint64_t)st.st_size != f->size ||
           ns_of(&st.st_mtim) != f->mtime;
}

enum neap_err np_file_read(const struct np_file *f, uint64_t offset, char *out, size_t n)
{
    while (n > 0) {
        ssize_t got = pread(f->fd, out, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return NEAP_EIO;
        if (got == 0) return NEAP_EOF;
        out += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return NEAP_OK;
}

/* --- the root */

enum neap_err np_file_root_open(struct np_file_root *r, const char *path, enum np_file_links links)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0) return errno == ENOTDIR ? NEAP_EINVAL : failed(errno);
    *r = (struct np_file_root){.fd = fd, .links = links};
    if (links == NP_LINKS_ALL) return NEAP_OK;
    int probe = open2(fd, ".", RESOLVE_BENEATH);
    if (probe >= 0)
        close(probe);
    else
        r->no_openat2 = lacks_openat2(errno);
    return NEAP_OK;
}

void np_file_root_close(struct np_file_root *r)
{
    if (r->fd >= 0) close(r->fd);
    r->fd = -1;
}

/* --- names */

static bool segment_ok(const char *s, size_t n, bool first, bool dotfiles)
{
    static const char known[] = ".well-known";
    if (n == 0) return false;
    if (*s != '.') return true;
    if (n == 1 || (n == 2 && s[1] == '.')) return false;
    return dotfiles || (first && n == sizeof known - 1 && memcmp(s, known, n) == 0);
}

bool np_file_path_ok(const char *path, size_t n, bool dotfiles)
{
    if (n >= PATH_BYTES) return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c < ' ' || c == 0x7f || c == '\\') return false;
    }
    for (size_t from = 0; from < n;) {
        const char *slash = memchr(path + from, '/', n - from);
        size_t len = slash ? (size_t)(slash - path) - from : n - from;
        if (!segment_ok(path + from, len, from == 0, dotfiles)) return false;
        from += len + 1;
    }
    return true;
}
