/* Concurrency limits in scripts: what bind_concurrency.c and the HTTP server have in common. */
#ifndef NP_SCRIPT_BIND_CONCURRENCY_H
#define NP_SCRIPT_BIND_CONCURRENCY_H

#include <lua.h>

#include "mesh/concurrency.h"

struct np_lconcurrency_options {
    struct np_concurrency_options limit;
    size_t max_waiting; /* default 0 */
    const char *name;   /* held by the table; NULL: none */
};

/* Reads the table at `idx`; raises, with `path`, for what cannot be. `more` (may be NULL) are
 * further keys that are not read here, the last of them NULL. */
void np_lconcurrency_read(lua_State *L, int idx, const char *path, const char *const *more,
                          struct np_lconcurrency_options *out);
/* Fills the table on top of the stack with what is counted. */
void np_lconcurrency_counters(lua_State *L, const struct np_concurrency *c);

#endif
