/* Files that only grow, written by threads of their own: access logs.
 *
 * Whoever writes fills blocks with whole lines and hands them over; the file's thread writes each
 * in one go (O_APPEND), so that the lines of several workers, and of several processes, do not mix.
 * Handing over waits for nothing: when the disk is so slow that more than `bound` bytes wait, what
 * comes is dropped and counted. A set holds a process's files: the same path twice is the same
 * file, and all are opened anew together (after a rotation). Any thread.
 */
#ifndef NP_BASE_APPEND_H
#define NP_BASE_APPEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define NP_APPEND_BOUND ((size_t)16 << 20) /* bytes that may wait for a file */

struct np_append_set;
struct np_append;

struct np_append_block {
    struct np_append_block *next; /* the file's, once it was handed over */
    size_t len, cap;              /* bytes of `data` */
    size_t lines;
    char data[];
};

NEAP_MUST_CHECK enum neap_err np_append_set_new(struct np_append_set **out);
/* Files that are opened from now on are given to them, so that the process can open them again when
 * it has become that user; (uid_t)-1: they are not. */
void np_append_set_owner(struct np_append_set *set, uid_t owner, gid_t group);
/* After the last of its files is closed. NULL is allowed. */
void np_append_set_free(struct np_append_set *set);
/* What is put from now on goes to the files that the paths then name; what was put before, to those
 * that were open. One that cannot be opened is kept as it was, and np_append_trouble says why. No
 * signal handlers. */
void np_append_set_reopen(struct np_append_set *set);

/* Opens a file, or the one of this set that is open already. NEAP_EACCES, NEAP_ENOENT … with words.
 * `bound` 0: the default; the first who opens it says. */
NEAP_MUST_CHECK enum neap_err np_append_open(struct np_append_set *set, const char *path,
                                             size_t bound, struct np_append **out,
                                             struct neap_errinfo *info);
/* The same for a descriptor that somebody else owns (standard error); never opened anew. */
NEAP_MUST_CHECK enum neap_err np_append_open_fd(struct np_append_set *set, int fd, size_t bound,
                                                struct np_append **out);
/* Opened so often, closed so often. The last waits until all is written, for a second at most. */
void np_append_close(struct np_append *a);

/* A block with room for `size` bytes; NULL when out of memory. np_free it, or put it. */
struct np_append_block *np_append_block(struct np_append *a, size_t size);
/* Takes the block. */
void np_append_put(struct np_append *a, struct np_append_block *b);
/* How many lines were dropped so far. */
uint64_t np_append_dropped(struct np_append *a);
/* Waits until what was put is written, for `seconds` at most; false when it is not. */
bool np_append_flush(struct np_append *a, double seconds);
/* What went wrong last, once: into `out`. False: nothing did since. */
bool np_append_trouble(struct np_append *a, struct neap_errinfo *out);

#endif
