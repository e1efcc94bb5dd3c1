/* Who is at the other end of a unix socket, as the kernel knows it. */
#ifndef NP_NET_CREDENTIALS_H
#define NP_NET_CREDENTIALS_H

#include <sys/types.h>

#include "net/stream.h"

struct np_credentials {
    pid_t pid; /* when it connected; 0: of another namespace */
    uid_t uid;
    gid_t gid;
};
/* Of the transport below all filters. NEAP_ENOTSUP: it is no unix socket; NEAP_ENOTCONN. */
NEAP_MUST_CHECK enum neap_err np_stream_credentials(const struct np_stream *s,
                                                    struct np_credentials *out);

#endif
