/* A view of the registry that is told of changes by its loop: what a worker has, or a script state
 * of its own where nobody gave it one. The loop's thread.
 */
#ifndef NP_SCRIPT_VIEW_LOOP_H
#define NP_SCRIPT_VIEW_LOOP_H

#include "mesh/view.h"
#include "net/loop.h"

NEAP_MUST_CHECK enum neap_err np_view_loop_new(struct np_registry *r, struct np_loop *loop,
                                               struct np_registry_view **out);
/* Before its loop's end. NULL is allowed. */
void np_view_loop_free(struct np_registry_view *v);

#endif
