/* Reading and writing certificates' files. */
#include "app/cert_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

enum { MAX_FILE = 1 << 20 };

static enum neap_err fail_errno(struct neap_errinfo *info, const char *path)
{
    int why = errno;
    return np_err_set(info, np_err_from_errno(why), "%s: %s", path, strerror(why));
}

enum neap_err np_cert_path(char out[NP_CERT_PATH_MAX], const char *dir, const char *file,
                           struct neap_errinfo *info)
{
    bool here = strcmp(dir, ".") == 0;
    int n = snprintf(out, NP_CERT_PATH_MAX, "%s%s%s", here ? "" : dir, here ? "" : "/", file);
    if (n < NP_CERT_PATH_MAX) return NEAP_OK;
    return np_err_set(info, NEAP_ELIMIT, "%.80s…: the path is too long", dir);
}

enum neap_err np_cert_home(char out[NP_CERT_PATH_MAX], struct neap_errinfo *info)
{
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (data && data[0] == '/') return np_cert_path(out, data, "neap/ca", info);
    if (home && home[0] == '/') return np_cert_path(out, home, ".local/share/neap/ca", info);
    return np_err_set(info, NEAP_EINVAL, "no home directory: say --ca DIR");
}

enum neap_err np_cert_make_dir(const char *path, unsigned mode, struct neap_errinfo *info)
{
    char part[NP_CERT_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return np_err_set(info, NEAP_EINVAL, "'%.80s': no path", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, i == n ? mode : 0755) == 0 || errno == EEXIST) continue;
        return fail_errno(info, part);
    }
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return fail_errno(info, path);
    }
    return NEAP_OK;
}

bool np_cert_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* --- reading */

static enum neap_err read_all(int fd, const char *path, struct np_buf *b, struct neap_errinfo *info)
{
    for (;;) {
        char *room;
        enum neap_err err = np_buf_reserve(b, 16384, &room);
        if (err) return err;
        ssize_t n = read(fd, room, 16384);
        if (n == 0) return NEAP_OK;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(info, path);
        np_buf_added(b, (size_t)n);
        if (np_buf_len(b) > MAX_FILE)
            return np_err_set(info, NEAP_ELIMIT, "%s: larger than 1 MiB", path);
    }
}

enum neap_err np_cert_read(const char *path, char **out, struct neap_errinfo *info)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(info, path);
    struct np_buf b = {0};
    enum neap_err err = read_all(fd, path, &b, info);
    if (!standard) close(fd);
    char *text = err ? NULL : np_strndup(np_buf_data(&b), np_buf_len(&b));
    if (!err && !text) err = NEAP_ENOMEM;
    if (b.data) explicit_bzero(b.data, b.cap);
    np_buf_fini(&b);
    if (!err) *out = text;
    return err;
}

/* --- writing */

/* The new file gets its name; 0 or -1 with errno. */
static int give_name(const char *from, const char *path, bool replace)
{
    if (replace) return rename(from, path);
    if (link(from, path) == 0) return unlink(from);
    if (errno != EPERM && errno != ENOTSUP) return -1;
    /* A file system without links. */
    if (np_cert_exists(path)) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, path);
}

static int write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, data, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return -1;
        data += w;
        n -= (size_t)w;
    }
    return fsync(fd);
}

enum neap_err np_cert_write(const char *path, const void *data, size_t n, unsigned mode,
                            bool replace, struct neap_errinfo *info)
{
    char temporary[NP_CERT_PATH_MAX + 8];
    int len = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (len >= (int)sizeof temporary) return np_err_set(info, NEAP_ELIMIT, "the path is too long");
    int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 from the start */
    if (fd < 0) return fail_errno(info, path);
    int failed = write_all(fd, data, n) || fchmod(fd, mode);
    if (!failed) failed = give_name(temporary, path, replace);
    enum neap_err err = NEAP_OK;
    if (failed) {
        err = fail_errno(info, path);
        unlink(temporary);
    }
    close(fd);
    return err;
}
