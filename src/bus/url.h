/* Where a bus is to be reached: "nats://host:port". */
#ifndef NP_BUS_URL_H
#define NP_BUS_URL_H

#include "base/err.h"

/* "nats://host:port", "host:port" or "host" (port 4222). `host` gets at most `size` bytes.
 * NEAP_EINVAL, NEAP_ENOTSUP (tls, user names) with words in `info`. */
NEAP_MUST_CHECK enum neap_err np_bus_parse_url(const char *url, char *host, size_t size, int *port,
                                               struct neap_errinfo *info);

#endif
