/* The process of a service; see process.h. */
#include "host/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/loop.h"

static enum neap_err failed(struct neap_errinfo *info, const char *what, const char *name)
{
    int e = errno;
    enum neap_err err = np_err_from_uv(-e); /* libuv's codes are the system's, negative */
    return np_err_set(info, err, "cannot %s %.200s: %s", what, name, strerror(e));
}

/* --- the pid file */

struct np_pid_file {
    int fd;
    pid_t pid;
    char path[]; /* from the root: the working directory may change */
};

static enum neap_err absolute(const char *path, char *out, struct neap_errinfo *info)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir || !*base) return np_err_set(info, NEAP_EINVAL, "not a file: %.200s", path);
    memcpy(dir, path, n);
    dir[n] = '\0';
    const char *where = !slash ? "." : n == 0 ? "/" : dir;
    if (!realpath(where, out)) return failed(info, "write", path);
    size_t len = strlen(out);
    if (len + strlen(base) + 2 > PATH_MAX)
        return np_err_set(info, NEAP_EINVAL, "too long a path: %.200s", path);
    snprintf(out + len, PATH_MAX - len, "%s%s", len > 1 ? "/" : "", base);
    return NEAP_OK;
}

static bool same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static enum neap_err held_by_other(int fd, const char *path, struct neap_errinfo *info)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return np_err_set(info, NEAP_EBUSY, "it runs already, as process %ld (%.200s)", pid, path);
    return np_err_set(info, NEAP_EBUSY, "it runs already (%.200s is locked)", path);
}

/* Opened and locked; -1 with `*err` set. A file that its owner removes in between is made anew. */
static int open_locked(const char *path, enum neap_err *err, struct neap_errinfo *info)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
        if (fd < 0) {
            *err = failed(info, "write", path);
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            *err =
                errno == EWOULDBLOCK ? held_by_other(fd, path, info) : failed(info, "lock", path);
            close(fd);
            return -1;
        }
        if (same_file(fd, path)) return fd;
        close(fd);
    }
}

enum neap_err np_pid_file_write(const char *path, struct np_pid_file **out,
                                struct neap_errinfo *info)
{
    char full[PATH_MAX], text[24];
    enum neap_err err = absolute(path, full, info);
    if (err) return err;
    struct np_pid_file *f = np_alloc(sizeof *f + strlen(full) + 1);
    if (!f) return np_err_plain(info, NEAP_ENOMEM);
    memcpy(f->path, full, strlen(full) + 1);
    f->pid = getpid();
    f->fd = open_locked(full, &err, info);
    if (f->fd < 0) {
        np_free(f);
        return err;
    }
    /* Over what stood there, then cut: who reads it meanwhile finds a number. */
    int n = snprintf(text, sizeof text, "%ld\n", (long)f->pid);
    if (pwrite(f->fd, text, (size_t)n, 0) != n || ftruncate(f->fd, n) != 0) {
        err = failed(info, "write", full);
        np_pid_file_remove(f);
        return err;
    }
    *out = f;
    return NEAP_OK;
}

void np_pid_file_remove(struct np_pid_file *f)
{
    if (!f) return;
    if (f->pid == getpid() && same_file(f->fd, f->path) && unlink(f->path) != 0) {
        if (ftruncate(f->fd, 0) != 0) f->pid = 0; /* then it stays, with a number that is over */
    }
    close(f->fd);
    np_free(f);
}

/* --- the user */

static bool number(const char *text, unsigned long *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *out < UINT_MAX; /* UINT_MAX, as -1, means "no change" */
}

static enum neap_err find_user(const char *user, bool group_given, struct np_identity *id,
                               struct neap_errinfo *info)
{
    unsigned long n;
    struct passwd *pw = getpwnam(user);
    if (!pw && number(user, &n)) {
        pw = getpwuid((uid_t)n);
        id->uid = (uid_t)n;
        id->has_uid = true;
        if (!pw && !group_given)
            return np_err_set(info, NEAP_ENOTFOUND, "user %s has no group: name one", user);
    }
    if (pw) {
        id->uid = pw->pw_uid;
        id->gid = pw->pw_gid;
        id->has_uid = true;
        snprintf(id->name, sizeof id->name, "%s", pw->pw_name);
    }
    if (id->has_uid) return NEAP_OK;
    return np_err_set(info, NEAP_ENOTFOUND, "no such user: %.100s", user);
}

enum neap_err np_identity_find(const char *user, const char *group, struct np_identity *out,
                               struct neap_errinfo *info)
{
    struct np_identity id = {.uid = getuid(), .gid = getgid()};
    bool has_user = user && *user, has_group = group && *group;
    unsigned long n;
    if (has_user) {
        enum neap_err err = find_user(user, has_group, &id, info);
        if (err) return err;
    } else {
        struct passwd *pw = getpwuid(id.uid);
        if (pw) snprintf(id.name, sizeof id.name, "%s", pw->pw_name);
    }
    if (has_group) {
        struct group *gr = getgrnam(group);
        if (!gr && !number(group, &n))
            return np_err_set(info, NEAP_ENOTFOUND, "no such group: %.100s", group);
        id.gid = gr ? gr->gr_gid : (gid_t)n;
    }
    *out = id;
    return NEAP_OK;
}

/* Whether the process could get back what it gave up. */
static bool has_way_back(const struct np_identity *id)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    if (getresuid(&r, &e, &s) != 0 || getresgid(&gr, &ge, &gs) != 0) return true;
    if (r != id->uid || e != id->uid || s != id->uid) return true;
    if (gr != id->gid || ge != id->gid || gs != id->gid) return true;
    return id->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0);
}

enum neap_err np_become(const struct np_identity *id, struct neap_errinfo *info)
{
    char name[128];
    snprintf(name, sizeof name, "user %s (%lu:%lu)", id->name[0] ? id->name : "?",
             (unsigned long)id->uid, (unsigned long)id->gid);
    if (geteuid() != 0) {
        bool already = id->uid == getuid() && id->uid == geteuid() && id->gid == getegid();
        if (already) return NEAP_OK;
        return np_err_set(info, NEAP_EACCES, "only root can become %s", name);
    }
    int rc = id->name[0] ? initgroups(id->name, id->gid) : setgroups(0, NULL);
    if (rc != 0) return failed(info, "take the groups of", name);
    if (setresgid(id->gid, id->gid, id->gid) != 0) return failed(info, "become", name);
    if (setresuid(id->uid, id->uid, id->uid) != 0) return failed(info, "become", name);
    if (has_way_back(id)) return np_err_set(info, NEAP_EACCES, "%s could become root again", name);
    return NEAP_OK;
}

enum neap_err np_change_dir(const char *path, struct neap_errinfo *info)
{
    return chdir(path) == 0 ? NEAP_OK : failed(info, "change to", path);
}
