/* Rules that a script makes, shared by name with the host's other states (mesh/commons.h). */
#ifndef NP_SCRIPT_RULES_H
#define NP_SCRIPT_RULES_H

#include "mesh/commons.h"
#include "script/state.h"

/* The host's table; the state's own where there is no host. Lent, as long as the state lives. NULL
 * when out of memory. */
struct np_commons *np_script_commons(struct np_script *s);

/* The rule of that kind and name (`name` NULL: one of this caller's alone), made from the `size`
 * bytes at `opts`, which are plain data: they are copied, and may stay until the state takes over.
 * One that stands already goes by `opts` from now on, or, in a state that loads beside an older
 * one, from when it takes over; what its `set` refuses then is logged. One reference for the
 * caller. What np_commons_get and np_common_set give; touches no Lua. */
NEAP_MUST_CHECK enum neap_err np_script_rule(struct np_script *s, const struct np_common_kind *kind,
                                             const char *name, const void *opts, size_t size,
                                             struct np_common **out, struct neap_errinfo *info);

#endif
