/* Opening log files; see log_file.h. */
#include "base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum neap_err err_of(int e)
{
    switch (e) {
    case EACCES:
    case EPERM:
    case EROFS:
        return NEAP_EACCES;
    case ENOENT:
    case ENOTDIR:
        return NEAP_ENOENT;
    case EMFILE:
    case ENFILE:
        return NEAP_EMFILE;
    default:
        return NEAP_EIO;
    }
}

static enum neap_err failed(struct neap_errinfo *info, const char *path)
{
    int e = errno;
    return np_err_set(info, err_of(e), "cannot open the log file %.200s: %s", path, strerror(e));
}

enum neap_err np_log_file_open(const char *path, uid_t owner, gid_t group, int *out,
                               struct neap_errinfo *info)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  NP_LOG_FILE_MODE);
    if (fd < 0) return failed(info, path);
    bool ours = owner == (uid_t)-1 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
                (st.st_uid == owner && st.st_gid == group);
    if (!ours && fchown(fd, owner, group) != 0) {
        enum neap_err err = failed(info, path);
        close(fd);
        return err;
    }
    *out = fd;
    return NEAP_OK;
}
