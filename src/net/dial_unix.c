/* Connecting to a unix socket by its path. One thread, the loop's. */
#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/netpolicy.h"
#include "net/uvstream.h"

static void on_connected(uv_connect_t *req, int status)
{
    struct np_uvstream *u = req->data;
    if (status < 0)
        np_stream_failed(&u->s, np_err_from_uv(status));
    else
        np_stream_opened(&u->s);
}

static void on_opened(struct np_defer *d)
{
    struct np_uvstream *u = np_container_of(d, struct np_uvio, req.opened)->u;
    u->opening = false;
    np_stream_opened(&u->s);
}

/* libuv knows no abstract sockets before 1.46. Connecting to a unix socket is done at once, or not
 * at all; it is reported from the loop. */
static enum neap_err connect_abstract(struct np_uvstream *u, const struct sockaddr_un *addr,
                                      socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return np_err_from_errno(errno);
    int rc = connect(fd, (const struct sockaddr *)addr, len) < 0 ? -errno
                                                                 : uv_pipe_open(&u->uv.pipe, fd);
    if (rc < 0) {
        close(fd);
        return np_err_from_uv(rc);
    }
    u->opening = true;
    np_defer_init(&u->io->req.opened, on_opened);
    np_loop_defer(u->s.loop, &u->io->req.opened);
    return NEAP_OK;
}

enum neap_err np_unix_dial(struct np_loop *loop, const char *path,
                           const struct np_dial_options *opts, const struct np_stream_handler *h,
                           void *arg, struct np_stream **out)
{
    static const struct np_dial_options defaults = NP_DIAL_OPTIONS_INIT;
    struct np_uvstream *u;
    struct sockaddr_un addr;
    socklen_t len;
    enum neap_err err = np_addr_from_path(path, &addr, &len); /* libuv would cut a longer one */
    if (!err) err = np_net_check_unix(loop, path);
    if (!err) err = np_uvstream_new(loop, &np_unix_ops, NP_STREAM_CONNECTING, &u);
    if (err) return err;
    err = np_uvstream_need_io(u);
    if (!err) err = np_stream_open_within(&u->s, opts ? opts->timeout : defaults.timeout);
    if (err) {
        np_stream_close(&u->s);
        return err;
    }
    np_stream_set_handler(&u->s, h, arg);
    *out = &u->s;
    if (*path == '@') {
        err = connect_abstract(u, &addr, len);
        if (err) np_stream_fail_later(&u->s, err);
        return NEAP_OK;
    }
    u->io->req.connect.data = u;
    uv_pipe_connect(&u->io->req.connect, &u->uv.pipe, path, on_connected); /* fails from the loop */
    return NEAP_OK;
}
