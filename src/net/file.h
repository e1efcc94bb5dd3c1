/* Files to be served: opened beneath a directory and nowhere else.
 *
 * A name that a peer sends is resolved by the kernel with the directory as its root (openat2,
 * RESOLVE_BENEATH), so that neither ".." nor a link, nor somebody who renames directories
 * meanwhile, leads out of it. A link with an absolute path may lead back inside, which that call
 * does not see; and kernels or containers may lack it: then the file is looked up without being
 * opened, the kernel is asked where it is (/proc), and only what is inside is opened. Without /proc
 * as well, links are refused.
 *
 * Opening, fstat and pread happen on the caller's thread: for local disks that is as good as any
 * queue, a network file system that hangs will hang the loop. Any thread, one at a time.
 */
#ifndef NP_NET_FILE_H
#define NP_NET_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Which symbolic links are followed on the way to a file. */
enum np_file_links {
    NP_LINKS_INSIDE, /* those that do not leave the directory */
    NP_LINKS_NONE,
    NP_LINKS_ALL,
};

struct np_file_root {
    int fd; /* -1: closed */
    enum np_file_links links;
    bool no_openat2; /* the kernel lacks it, or a filter forbids it */
};

struct np_file {
    int fd;         /* -1: none */
    bool directory; /* else it is a regular file */
    uint64_t size;  /* bytes */
    int64_t mtime;  /* ns since 1970 */
    bool lent;      /* the descriptor is somebody else's: who keeps it copies it */
};

/* NEAP_ENOENT, NEAP_EACCES, NEAP_EMFILE …; NEAP_EINVAL for what is no directory. */
NEAP_MUST_CHECK enum neap_err np_file_root_open(struct np_file_root *r, const char *path,
                                                enum np_file_links links);
void np_file_root_close(struct np_file_root *r);

/* Opens a regular file or directory for reading. `path` is relative; "." is the root itself. What
 * leaves the root, is a device, a FIFO or a socket, or has a link where none may be, is NEAP_ENOENT
 * like what is not there. NEAP_EACCES, NEAP_EMFILE (no descriptor is left), NEAP_ENOMEM, NEAP_EIO.
 */
NEAP_MUST_CHECK enum neap_err np_file_open_beneath(struct np_file_root *r, const char *path,
                                                   struct np_file *out);
/* The same for a path that is the owner's own. */
NEAP_MUST_CHECK enum neap_err np_file_open(const char *path, struct np_file *out);
void np_file_close(struct np_file *f);
/* Makes a lent one its holder's own. NEAP_EMFILE. */
NEAP_MUST_CHECK enum neap_err np_file_own(struct np_file *f);
/* Whether it is not any more what it was when it was opened: its size or its time differ. */
bool np_file_changed(const struct np_file *f);
/* Reads exactly `n` bytes; NEAP_EOF when there are fewer, NEAP_EIO. */
NEAP_MUST_CHECK enum neap_err np_file_read(const struct np_file *f, uint64_t offset, char *out,
                                           size_t n);

/* Whether a path that a peer sent (decoded once) may be looked up at all: relative, segments that
 * are neither empty nor "." nor "..", no NUL, no backslash, no control characters, at most 4095
 * bytes. A slash at the end is allowed; an empty path is the root. Segments that begin with a dot
 * are hidden unless `dotfiles`; ".well-known" as the first (RFC 8615) never is. */
bool np_file_path_ok(const char *path, size_t n, bool dotfiles);

#endif
