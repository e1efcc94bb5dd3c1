/* Sources: what a host was told to load, kept so that every worker, and every reload, loads the
 * same.
 *
 * A source is immutable once made and counted by reference; any thread may read it. A file's text
 * is read anew at each load.
 */
#ifndef NP_HOST_SOURCE_H
#define NP_HOST_SOURCE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "script/run.h"

struct np_source {
    atomic_uint refs;
    enum np_run_kind kind; /* NP_RUN_FILE or NP_RUN_TEXT */
    bool internal;         /* neap's own: not what a user means by "loaded" */
    const char *name;      /* the file, or the text's chunk name */
    const char *code;      /* of a text */
    size_t len;
    neap_value *args;
    size_t nargs;
    struct np_arena arena;
};

struct np_sources {
    struct np_source **list;
    size_t len;
};

/* Copies everything; one reference for the caller. NULL when out of memory. */
struct np_source *np_source_new(enum np_run_kind kind, const char *name, const char *code,
                                size_t len, const neap_value *args, size_t nargs);
struct np_source *np_source_ref(struct np_source *src);
void np_source_unref(struct np_source *src); /* NULL is allowed */

/* Takes the caller's reference, on success only. */
NEAP_MUST_CHECK enum neap_err np_sources_add(struct np_sources *s, struct np_source *src);
NEAP_MUST_CHECK enum neap_err np_sources_copy(const struct np_sources *from, struct np_sources *to);
void np_sources_fini(struct np_sources *s);

#endif
