/* The files of `neap cert`: read whole, written atomically, never over what is there unless told.
 */
#ifndef NP_APP_CERT_FILES_H
#define NP_APP_CERT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define NP_CERT_PATH_MAX 4096

/* "dir/file"; NEAP_ELIMIT when it does not fit. */
NEAP_MUST_CHECK enum neap_err np_cert_path(char out[NP_CERT_PATH_MAX], const char *dir,
                                           const char *file, struct neap_errinfo *info);
/* Where the authority lives when nobody says: $XDG_DATA_HOME/neap/ca. */
NEAP_MUST_CHECK enum neap_err np_cert_home(char out[NP_CERT_PATH_MAX], struct neap_errinfo *info);
/* The directory and those above it, the last one with `mode`. */
NEAP_MUST_CHECK enum neap_err np_cert_make_dir(const char *path, unsigned mode,
                                               struct neap_errinfo *info);
bool np_cert_exists(const char *path);
/* All of it as a string, np_free it; "-": standard input. NEAP_ELIMIT above 1 MiB. */
NEAP_MUST_CHECK enum neap_err np_cert_read(const char *path, char **out, struct neap_errinfo *info);
/* The whole file or none: NEAP_EEXIST when there is one and `replace` is false. */
NEAP_MUST_CHECK enum neap_err np_cert_write(const char *path, const void *data, size_t n,
                                            unsigned mode, bool replace, struct neap_errinfo *info);

#endif
