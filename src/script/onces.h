/* Claims to what only one worker of a host should do ("neap.worker".once).
 *
 * A name is held by one claim at a time; the others wait in line. When its holder releases it, or
 * its worker is gone, the first in line of the newest code gets it; when it is done, none of this
 * generation of the code does. A claim is counted: its owner's reference, and one for each grant on
 * its way. Any thread; a claim belongs to its loop's thread.
 */
#ifndef NP_SCRIPT_ONCES_H
#define NP_SCRIPT_ONCES_H

#include "net/loop.h"

struct np_onces;
struct np_once_claim;

/* From the claim's loop: it is held now, or (`done`) there is nothing left to do. */
typedef void (*np_once_fn)(struct np_once_claim *c, bool done, void *arg);

NEAP_MUST_CHECK enum neap_err np_onces_new(struct np_onces **out);
void np_onces_free(struct np_onces *o); /* NULL is allowed */

/* Gets in line; `fn` is called once, unless the claim ends before. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_once_claim(struct np_onces *o, const char *name,
                                            unsigned generation, unsigned worker,
                                            struct np_loop *loop, np_once_fn fn, void *arg,
                                            struct np_once_claim **out);
/* Ends it. `done`: if it was held, no other of this generation gets the name. */
void np_once_end(struct np_once_claim *c, bool done);
/* Takes the claims of a worker that is gone or stuck out of the line; they still are to be ended.
 */
void np_onces_drop_worker(struct np_onces *o, unsigned worker);
/* Code of older generations than this is on its way out: it gets nothing any more. */
void np_onces_go_over(struct np_onces *o, unsigned generation);
/* The host stops: what is released from now on goes to nobody. */
void np_onces_stop(struct np_onces *o);

#endif
