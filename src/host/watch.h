/* Told when files change, for --watch: their directories are watched, so that a file which an
 * editor writes anew beside the old one and renames over it is seen as well, and one that is
 * missing when it comes. What happens within 100 ms is one change. On the loop's thread.
 */
#ifndef NP_HOST_WATCH_H
#define NP_HOST_WATCH_H

#include "base/err.h"
#include "net/loop.h"

struct np_filewatch;

/* `fn` is called from the loop after files of the set have changed: not when they are only read, or
 * when one is gone, as they are for a moment while they are written; once it is there again. Keeps
 * no loop alive. */
NEAP_MUST_CHECK enum neap_err np_filewatch_new(struct np_loop *loop, void (*fn)(void *arg),
                                               void *arg, struct np_filewatch **out);
/* One more file of the set; one that is in it already is no error. NEAP_ENOENT and the like: its
 * directory cannot be watched; NEAP_EMFILE: the system watches no more. */
NEAP_MUST_CHECK enum neap_err np_filewatch_add(struct np_filewatch *w, const char *path);
/* Ends it: `fn` is not called any more. Its memory goes as the loop runs on. NULL is allowed. */
void np_filewatch_free(struct np_filewatch *w);

#endif
