/* What the workers of a host share by name: rules (limiters, breakers, concurrency limits, a
 * cluster's) whose state is one for all of them.
 *
 * Every worker makes what its script asks for, and so does every reload; the table gives all of
 * them one object for one kind and name. It is weak: an object goes with its last user. One that
 * the state of before a reload still holds is found by the new state, so a limit does not begin
 * anew with the script.
 *
 * Whoever finds an object standing and brings other options gives them with np_common_set, which
 * the kind's `set` takes over (the newest wins, what was counted stays) or refuses with words.
 * np_commons_get does not call it: a state that loads beside an older one must not change what that
 * one goes by before it takes over (np_activate in script/state.h). Any thread.
 */
#ifndef NP_MESH_COMMONS_H
#define NP_MESH_COMMONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define NP_COMMONS_MAX_KEY 255 /* bytes of a name */
#define NP_COMMONS_MAX 65536   /* objects in a table */

struct np_commons;

/* A kind of object. Static; two kinds have two names, and their keys are apart. `make` and `set`
 * run one at a time in a table, so `set` need not mind another `set`, but it runs beside the
 * object's users; neither may call into the table. `free` may: it runs with no lock held. */
struct np_common_kind {
    const char *name; /* "limiter" */
    enum neap_err (*make)(void *arg, void **object, struct neap_errinfo *info);
    /* Goes by `arg` from now on, or leaves all as it is and fails. NULL: NEAP_EEXIST. */
    enum neap_err (*set)(void *object, void *arg, struct neap_errinfo *info);
    void (*free)(void *object);
};

/* A user's part of a shared object. */
struct np_common {
    void *object; /* lent until the last unref */
};

/* One reference for the caller; each object has another. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_commons_new(struct np_commons **out);
struct np_commons *np_commons_ref(struct np_commons *t);
void np_commons_unref(struct np_commons *t); /* NULL is allowed */
/* The number of objects. */
size_t np_commons_len(struct np_commons *t);

/* The object of that kind and name, made from `arg` if there is none; `*made` (may be NULL) says
 * so. One reference for the caller. NEAP_EINVAL (the name is empty or too long), NEAP_ELIMIT (too
 * many objects), NEAP_ENOMEM, or what `make` gives. `info` may be NULL. */
NEAP_MUST_CHECK enum neap_err np_commons_get(struct np_commons *t,
                                             const struct np_common_kind *kind, const char *key,
                                             size_t n, void *arg, struct np_common **out,
                                             bool *made, struct neap_errinfo *info);
/* An object of one user, which stands in no table: for rules without a name. */
NEAP_MUST_CHECK enum neap_err np_common_new(const struct np_common_kind *kind, void *arg,
                                            struct np_common **out, struct neap_errinfo *info);
/* New options for an object that stands. What the kind's `set` gives. */
NEAP_MUST_CHECK enum neap_err np_common_set(struct np_common *c, void *arg,
                                            struct neap_errinfo *info);
struct np_common *np_common_ref(struct np_common *c);
void np_common_unref(struct np_common *c); /* NULL is allowed */
/* NUL-terminated; "" of one that stands in no table. */
const char *np_common_name(const struct np_common *c);

#endif
