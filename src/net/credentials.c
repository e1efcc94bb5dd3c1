/* Peer credentials; see credentials.h. One thread, the loop's. */
#include "net/credentials.h"

#include <sys/socket.h>

#include "net/uvstream.h"

enum neap_err np_stream_credentials(const struct np_stream *s, struct np_credentials *out)
{
    struct ucred c;
    socklen_t n = sizeof c;
    uv_os_fd_t fd;
    const struct np_stream *t = np_stream_transport(s);
    if (t->ops != &np_unix_ops) return NEAP_ENOTSUP;
    const struct np_uvstream *u = np_container_of(t, const struct np_uvstream, s);
    if (t->state > NP_STREAM_BROKEN || uv_fileno(&u->uv.handle, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) < 0)
        return NEAP_ENOTCONN;
    *out = (struct np_credentials){c.pid, c.uid, c.gid};
    return NEAP_OK;
}
