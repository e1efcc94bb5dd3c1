/* Media types by a file's name. The table is our own, of what is usually served; any thread. */
#ifndef NP_PROTO_MIME_H
#define NP_PROTO_MIME_H

#include <stdbool.h>

#include "proto/bytes.h"

struct np_mime {
    const char *extension; /* lower case, without the dot */
    const char *type;      /* without charset */
};

/* The bytes behind the last dot of the last segment; n 0 where there is none. "a/.profile" has
 * none. */
struct np_bytes np_mime_extension(const char *path, size_t n);
/* The type for an extension (any case), NULL for one it does not know. */
const char *np_mime_type(struct np_bytes extension);
/* Whether a charset belongs behind the type: text/…, and the few that are text by another name. */
bool np_mime_is_text(const char *type);
/* The whole table, for tests: sorted. */
const struct np_mime *np_mime_table(size_t *n);

#endif
