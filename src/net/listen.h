/* Listening sockets: made, bound and listening, or an error in words. For listener.c. The
 * descriptor is the caller's; it does not block and is closed on exec.
 */
#ifndef NP_NET_LISTEN_H
#define NP_NET_LISTEN_H

#include "net/listener.h"

NEAP_MUST_CHECK enum neap_err np_listen_tcp_socket(const char *host, int port,
                                                   const struct np_listen_options *opts, int *out,
                                                   struct neap_errinfo *info);
/* A socket file that nobody listens on is replaced. */
NEAP_MUST_CHECK enum neap_err np_listen_unix_socket(const char *path,
                                                    const struct np_listen_options *opts, int *out,
                                                    struct neap_errinfo *info);

#endif
