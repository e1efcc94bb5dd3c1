/* An address of an endpoint: host and port, or the path of a unix socket.
 *
 * Text forms: "host:port", "[::1]:port", "unix:/path" (or a bare "/path"); on Linux "unix:@name" is
 * the abstract socket of that name. Names are not resolved here. Pure functions, any thread.
 */
#ifndef NP_MESH_ADDRESS_H
#define NP_MESH_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NP_ADDRESS_HOST_MAX 253 /* as DNS has it */
#define NP_ADDRESS_PATH_MAX 107 /* sun_path less its NUL */
#define NP_ADDRESS_TEXT_MAX (NP_ADDRESS_HOST_MAX + 8)

/* Slices of the text that was parsed; exactly one of host and path is not NULL. */
struct np_address {
    const char *host; /* without brackets */
    size_t host_len;
    const char *path;
    size_t path_len;
    uint16_t port; /* 1 … 65535; 0 with a path */
};

/* NEAP_EINVAL with words in `info` (may be NULL) for text that is no address. */
NEAP_MUST_CHECK enum neap_err np_address_parse(const char *text, size_t n, struct np_address *out,
                                               struct neap_errinfo *info);

/* Writes the canonical text, NUL-terminated, into `buf` of at least NP_ADDRESS_TEXT_MAX + 1 bytes;
 * the length without the NUL. */
size_t np_address_format(const struct np_address *a, char *buf);

#endif
