/* The option `access_log` of http.serve. The worker's thread. */
#ifndef NP_SCRIPT_BIND_ACCESS_LOG_H
#define NP_SCRIPT_BIND_ACCESS_LOG_H

#include "http/access_log.h"
#include "script/luax.h"

struct np_laccess {
    bool wanted;
    struct np_access_log_options log;
    const char *format, *escape, *path; /* path NULL: the program's log */
    size_t max_pending;                 /* bytes; default 16 MiB */
    int handler_idx;                    /* of the function on the stack; 0: lines are written */
};

/* Reads it from the table at `opts_idx`: true, a format, a function, a table. Pushes some values,
 * which hold what `out` lends; raises for misuse. */
void np_laccess_read(lua_State *L, int opts_idx, struct np_laccess *out);
/* Opens what was read; `*out` NULL when none is wanted. NEAP_EINVAL: a bad format; a file's errors.
 * May raise for want of memory, and then nothing is held. */
NEAP_MUST_CHECK enum neap_err np_laccess_open(lua_State *L, struct np_laccess *o,
                                              struct np_access_log **out,
                                              struct neap_errinfo *info);

#endif
