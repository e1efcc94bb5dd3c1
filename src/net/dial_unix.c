/* Connecting to a unix socket by its path. One thread, the loop's. */
#include <string.h>
#include <sys/un.h>

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

enum neap_err np_unix_dial(struct np_loop *loop, const char *path,
                           const struct np_dial_options *opts, const struct np_stream_handler *h,
                           void *arg, struct np_stream **out)
{
    static const struct np_dial_options defaults = NP_DIAL_OPTIONS_INIT;
    struct np_uvstream *u;
    /* libuv would cut a longer one. */
    if (!*path || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) return NEAP_EINVAL;
    enum neap_err err = np_net_check_unix(loop, path);
    if (!err) err = np_uvstream_new(loop, &np_unix_ops, NP_STREAM_CONNECTING, &u);
    if (err) return err;
    err = np_stream_open_within(&u->s, opts ? opts->timeout : defaults.timeout);
    if (err) {
        np_stream_close(&u->s);
        return err;
    }
    u->req.connect.data = u;
    uv_pipe_connect(&u->req.connect, &u->uv.pipe, path, on_connected); /* fails from the loop */
    np_stream_set_handler(&u->s, h, arg);
    *out = &u->s;
    return NEAP_OK;
}
