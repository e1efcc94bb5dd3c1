/* Log files: opened for appending, opened anew when they have been moved away. */
#ifndef NP_BASE_LOG_FILE_H
#define NP_BASE_LOG_FILE_H

#include <sys/types.h>

#include "base/log.h"

#define NP_LOG_FILE_MODE 0640

/* The descriptor is the caller's; it is np_log_options.fd. With an `owner` other than (uid_t)-1 the
 * file is given to that user and group, so that the process can open it again when it has become
 * them. NEAP_EACCES, NEAP_ENOENT … with words. */
NEAP_MUST_CHECK enum neap_err np_log_file_open(const char *path, uid_t owner, gid_t group, int *out,
                                               struct neap_errinfo *info);

/* What is logged from now on goes to the file that `path` then names, what was logged before to the
 * one that was open: no line is lost, none is cut in two. The logger's thread does it, soon, on the
 * descriptor that it has (which stays the same number); when the file cannot be opened the old one
 * is kept, and a line says so. Any thread, no signal handler. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_log_reopen(struct np_log *log, const char *path);

#endif
