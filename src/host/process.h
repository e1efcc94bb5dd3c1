/* What a service does to its process: the pid file, another user, the working directory. The main
 * thread, before and after everything else runs.
 */
#ifndef NP_HOST_PROCESS_H
#define NP_HOST_PROCESS_H

#include <sys/types.h>

#include "base/err.h"

/* --- the pid file */

struct np_pid_file;

/* Writes this process's number and a newline to `path`, and keeps the file locked until its end: a
 * file whose process is gone is written anew, one whose process lives gives NEAP_EBUSY with its
 * number in words. Written before the user is changed, it belongs to who starts the service. */
NEAP_MUST_CHECK enum neap_err np_pid_file_write(const char *path, struct np_pid_file **out,
                                                struct neap_errinfo *info);
/* Removes the file (or empties it, where the directory does not let us), if it is still this
 * process's. A child of the writer leaves it alone. Frees; NULL is allowed. */
void np_pid_file_remove(struct np_pid_file *f);

/* --- the user */

struct np_identity {
    uid_t uid;
    gid_t gid;
    bool has_uid;
    char name[64]; /* of the user, for its other groups; "" where there is none */
};

/* Names or numbers; NULL or "": not given. Without a group it is the user's own. NEAP_ENOTFOUND
 * with words. */
NEAP_MUST_CHECK enum neap_err np_identity_find(const char *user, const char *group,
                                               struct np_identity *out, struct neap_errinfo *info);
/* The whole process, all its threads, becomes that user for good: with its groups only, and without
 * a way back, which is tried. NEAP_EACCES for one who is not root, unless it is that user already.
 * On failure the process may be half changed: it should end. */
NEAP_MUST_CHECK enum neap_err np_become(const struct np_identity *id, struct neap_errinfo *info);

NEAP_MUST_CHECK enum neap_err np_change_dir(const char *path, struct neap_errinfo *info);

#endif
