/* Rate limiters in scripts: what bind_limiter.c and the HTTP server's rate limit have in common. */
#ifndef NP_SCRIPT_BIND_LIMITER_H
#define NP_SCRIPT_BIND_LIMITER_H

#include <lua.h>

#include "mesh/limiter_shared.h"

struct np_llimiter_options {
    struct np_shared_limiter_options shared;
    const char *name; /* held by the table; NULL: none */
};

/* Reads the table at `idx`; raises, with `path`, for what cannot be. `more` (may be NULL) are
 * further keys that are not read here, the last of them NULL. */
void np_llimiter_read(lua_State *L, int idx, const char *path, const char *const *more,
                      struct np_llimiter_options *out);
/* An ELIMIT error that asks to come again when it may pass: `retry_after`, `status` 429. Pushes it.
 */
void np_llimiter_push_error(lua_State *L, const struct np_limit *l);

#endif
