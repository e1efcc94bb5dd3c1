/* The stream over a libuv handle.
 *
 * A write costs one system call and no memory while the kernel takes it all (try_write). What it
 * does not take is swapped into `sending`, which does not move while a uv_write of a part of it is
 * under way; each part's end first tries the rest at once again. One thread, the loop's.
 */
#include "net/uvstream.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"

enum {
    MAX_IOV = 64,          /* slices passed to the kernel at once */
    PART = 256 << 10,      /* bytes of one uv_write: the grain of progress */
    KEEP_BLOCK = 64 << 10, /* bytes of an empty block that are kept */
    MAX_READS = 32,        /* full buffers of one stream before others get their share */
};

/* The system calls as they are: libc's are points where a thread may be cancelled, which costs a
 * program with threads two atomic operations each, and nobody cancels a loop's thread. */
static ssize_t sys_recv(int fd, void *p, size_t n)
{
    return syscall(SYS_recvfrom, fd, p, n, MSG_DONTWAIT, NULL, NULL);
}

static ssize_t sys_send(int fd, const struct iovec *v, size_t n)
{
    if (n == 1)
        return syscall(SYS_sendto, fd, v->iov_base, v->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT, NULL,
                       0);
    struct msghdr m = {.msg_iov = (struct iovec *)v, .msg_iovlen = n};
    return syscall(SYS_sendmsg, fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int fd_of(const struct np_uvstream *u)
{
    uv_os_fd_t fd;
    return uv_fileno(&u->uv.handle, &fd) < 0 ? -1 : fd;
}

/* None, which makes libuv ask on_read for bytes: it reads by itself. */
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)h;
    (void)suggested;
    *buf = (uv_buf_t){.base = NULL, .len = 0};
}

/* -1, EAGAIN when there is nothing yet. */
static ssize_t receive(struct np_uvstream *u, char *p, size_t size)
{
    int fd = fd_of(u);
    ssize_t n;
    do
        n = sys_recv(fd, p, size);
    while (n < 0 && errno == EINTR);
    return n;
}

/* There is something to read (n is UV_ENOBUFS); or libuv itself has failed. */
static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *none)
{
    struct np_uvstream *u = h->data;
    char *buf = u->s.loop->read_buf;
    (void)none;
    if (n != UV_ENOBUFS) {
        if (n < 0) np_stream_failed(&u->s, np_err_from_uv((int)n));
        return;
    }
    for (int i = 0; i < MAX_READS && u->s.reading && u->s.state == NP_STREAM_OPEN; i++) {
        n = receive(u, buf, NP_READ_BUF_SIZE);
        if (n > 0) {
            np_stream_received(&u->s, buf, (size_t)n);
            /* Behind our own end the peer's may be there already: nothing may wake us for it. */
            if ((size_t)n < NP_READ_BUF_SIZE && !u->s.shut_sent) return;
        } else if (n == 0) {
            uv_read_stop(h);
            np_stream_received_end(&u->s);
            return;
        } else {
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            enum neap_err err = np_err_from_errno(errno);
            uv_read_stop(h);
            np_stream_failed(&u->s, err);
            return;
        }
    }
}

static enum neap_err op_read_start(struct np_stream *s)
{
    return np_err_from_uv(uv_read_start(&np_uvstream_of(s)->uv.stream, on_alloc, on_read));
}

static void op_read_stop(struct np_stream *s)
{
    uv_read_stop(&np_uvstream_of(s)->uv.stream);
}

/* Writing. */

/* What the kernel takes at once; libuv has nothing under way. */
static enum neap_err try_write(struct np_uvstream *u, const struct iovec *v, size_t n,
                               size_t *taken)
{
    int fd = fd_of(u);
    ssize_t rc;
    do
        rc = sys_send(fd, v, n);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS)
        return np_err_from_errno(errno);
    *taken = rc < 0 ? 0 : (size_t)rc;
    return NEAP_OK;
}

/* The kernel holds back a packet that is not full: a file's bytes follow. */
static enum neap_err write_more(struct np_uvstream *u, const struct np_slice *v, size_t *taken)
{
    uv_os_fd_t fd;
    int rc = uv_fileno(&u->uv.handle, &fd);
    if (rc < 0) return np_err_from_uv(rc);
    ssize_t n;
    do
        n = send(fd, v->p, v->n, MSG_MORE | MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) return np_err_from_errno(errno);
    *taken = n < 0 ? 0 : (size_t)n;
    return NEAP_OK;
}

static enum neap_err op_write(struct np_stream *s, const struct np_slice *v, size_t nv,
                              size_t *taken)
{
    if (s->more && nv == 1) return write_more(np_uvstream_of(s), v, taken);
    struct iovec bufs[MAX_IOV];
    size_t done = 0;
    for (size_t i = 0; i < nv;) {
        unsigned n = 0;
        size_t want = 0;
        for (; n < MAX_IOV && i < nv; i++) {
            if (v[i].n == 0) continue;
            bufs[n++] = (struct iovec){.iov_base = (char *)v[i].p, .iov_len = v[i].n};
            want += v[i].n;
        }
        size_t got = 0;
        enum neap_err err = n ? try_write(np_uvstream_of(s), bufs, n, &got) : NEAP_OK;
        if (err) return err;
        done += got;
        if (got < want) break;
    }
    *taken = done;
    return NEAP_OK;
}

enum neap_err np_uvstream_need_io(struct np_uvstream *u)
{
    if (u->io) return NEAP_OK;
    struct np_uvio *io = np_alloc(sizeof *io);
    if (!io) return NEAP_ENOMEM;
    io->u = u;
    np_buf_init(&io->sending);
    u->io = io;
    return NEAP_OK;
}

static void drop_io(struct np_uvstream *u)
{
    if (!u->io) return;
    np_buf_fini(&u->io->sending);
    np_free(u->io);
    u->io = NULL;
}

static void sent(struct np_uvstream *u, size_t n)
{
    np_buf_consume(&u->io->sending, n);
    u->s.in_flight -= n;
}

static void take_queue(struct np_uvstream *u)
{
    struct np_buf empty = u->io->sending;
    u->io->sending = u->s.out;
    u->s.out = empty;
    u->s.in_flight = np_buf_len(&u->io->sending);
}

static void on_written(uv_write_t *req, int status);

static enum neap_err write_part(struct np_uvstream *u)
{
    const struct np_buf *b = &u->io->sending;
    size_t rest = np_buf_len(b);
    uv_buf_t part = {.base = (char *)np_buf_data(b), .len = rest < PART ? rest : PART};
    u->io->req.write.data = u;
    return np_err_from_uv(uv_write(&u->io->req.write, &u->uv.stream, &part, 1, on_written));
}

/* What is queued, as much as the kernel takes at once, then a uv_write for the next part. */
static enum neap_err write_on(struct np_uvstream *u)
{
    for (;;) {
        struct np_buf *b = &u->io->sending;
        if (np_buf_len(b) == 0) {
            np_buf_shrink(b, KEEP_BLOCK);
            if (np_buf_len(&u->s.out) == 0) return NEAP_OK;
            take_queue(u);
        }
        struct iovec buf = {.iov_base = (char *)np_buf_data(b), .iov_len = np_buf_len(b)};
        size_t taken = 0;
        enum neap_err err = try_write(u, &buf, 1, &taken);
        if (err) return err;
        sent(u, taken);
        if (taken < buf.iov_len) return write_part(u);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct np_uvstream *u = req->data;
    if (u->s.state != NP_STREAM_OPEN) return;
    enum neap_err err = np_err_from_uv(status);
    if (!err) {
        size_t n = np_buf_len(&u->io->sending);
        sent(u, n < PART ? n : PART);
        err = write_on(u);
    }
    if (err) {
        np_stream_failed(&u->s, err);
        return;
    }
    np_stream_flushed(&u->s);
    if (!u->s.flushing) drop_io(u);
}

static enum neap_err op_send_file(struct np_stream *s, int fd, int64_t offset, size_t n,
                                  size_t *taken)
{
    uv_os_fd_t to;
    int rc = uv_fileno(&np_uvstream_of(s)->uv.handle, &to);
    if (rc < 0) return np_err_from_uv(rc);
    off_t at = (off_t)offset;
    while (*taken < n) {
        ssize_t sent = sendfile(to, fd, &at, n - *taken);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return NEAP_OK;
        /* not every file system has it */
        if (sent < 0 && (errno == EINVAL || errno == ENOSYS) && !*taken) return NEAP_ENOTSUP;
        if (sent < 0) return np_err_from_errno(errno);
        if (sent == 0) return NEAP_EOF;
        *taken += (size_t)sent;
    }
    return NEAP_OK;
}

/* The kernel has just been full, so there is no use in trying. */
static enum neap_err op_flush(struct np_stream *s)
{
    struct np_uvstream *u = np_uvstream_of(s);
    enum neap_err err = np_uvstream_need_io(u);
    if (err) return err;
    take_queue(u);
    return write_part(u);
}

static size_t op_unsent(const struct np_stream *s)
{
    const struct np_uvstream *u = (const struct np_uvstream *)(const void *)s;
    return uv_stream_get_write_queue_size(&u->uv.stream);
}

/* Nothing is queued, so it need not wait for libuv's queue. */
static enum neap_err op_shutdown(struct np_stream *s)
{
    uv_os_fd_t fd;
    int rc = uv_fileno(&np_uvstream_of(s)->uv.handle, &fd);
    if (rc < 0) return np_err_from_uv(rc);
    /* ENOTCONN: the peer has reset it meanwhile, which reading reports better. */
    return shutdown(fd, SHUT_WR) == 0 || errno == ENOTCONN ? NEAP_OK : np_err_from_errno(errno);
}

/* Closing. */

static void on_closed(uv_handle_t *h)
{
    struct np_uvstream *u = h->data;
    np_stream_gone(&u->s);
}

static void op_close(struct np_stream *s)
{
    struct np_uvstream *u = np_uvstream_of(s);
    if (u->dialling) np_dialling_cancel(u);
    if (u->opening) np_defer_cancel(&u->io->req.opened);
    uv_close(&u->uv.handle, on_closed);
}

static void op_free(struct np_stream *s)
{
    struct np_uvstream *u = np_uvstream_of(s);
    drop_io(u);
    np_free(u);
}

static void op_set_ref(struct np_stream *s, bool ref)
{
    struct np_uvstream *u = np_uvstream_of(s);
    uv_handle_t *h = &u->uv.handle;
    if (u->dialling) np_dialling_set_ref(u, ref);
    if (ref)
        uv_ref(h);
    else
        uv_unref(h);
}

/* Names. */

static enum neap_err tcp_name(struct np_stream *s, char *out, size_t size,
                              int (*get)(const uv_tcp_t *, struct sockaddr *, int *))
{
    union np_addr a;
    int n = sizeof a;
    int rc = get(&np_uvstream_of(s)->uv.tcp, &a.sa, &n);
    if (rc < 0) return rc == UV_EBADF ? NEAP_ENOTCONN : np_err_from_uv(rc);
    np_addr_format(&a.sa, out, size);
    return NEAP_OK;
}

static enum neap_err tcp_peer(struct np_stream *s, char *out, size_t size)
{
    return tcp_name(s, out, size, uv_tcp_getpeername);
}

static enum neap_err tcp_local(struct np_stream *s, char *out, size_t size)
{
    return tcp_name(s, out, size, uv_tcp_getsockname);
}

static enum neap_err unix_name(struct np_stream *s, char *out, size_t size,
                               int (*get)(int, struct sockaddr *, socklen_t *))
{
    union np_addr a;
    socklen_t n = sizeof a;
    uv_os_fd_t fd;
    memset(&a, 0, sizeof a);
    if (uv_fileno(&np_uvstream_of(s)->uv.handle, &fd) < 0 || get(fd, &a.sa, &n) < 0)
        return NEAP_ENOTCONN;
    np_addr_format(&a.sa, out, size);
    return NEAP_OK;
}

static enum neap_err unix_peer(struct np_stream *s, char *out, size_t size)
{
    return unix_name(s, out, size, getpeername);
}

static enum neap_err unix_local(struct np_stream *s, char *out, size_t size)
{
    return unix_name(s, out, size, getsockname);
}

#define UV_OPS                                                                                    \
    .read_start = op_read_start, .read_stop = op_read_stop, .write = op_write, .flush = op_flush, \
    .unsent = op_unsent, .shutdown = op_shutdown, .close = op_close, .free = op_free,             \
    .set_ref = op_set_ref, .send_file = op_send_file

const struct np_stream_ops np_tcp_ops = {
    .kind = "tcp", .peer = tcp_peer, .local = tcp_local, UV_OPS};
const struct np_stream_ops np_unix_ops = {
    .kind = "unix", .peer = unix_peer, .local = unix_local, UV_OPS};

/* Making. */

enum neap_err np_uvstream_new(struct np_loop *loop, const struct np_stream_ops *ops,
                              enum np_stream_state state, struct np_uvstream **out)
{
    struct np_uvstream *u = np_alloc(sizeof *u);
    if (!u) return NEAP_ENOMEM;
    int rc = ops == &np_tcp_ops ? uv_tcp_init(loop->uv, &u->uv.tcp)
                                : uv_pipe_init(loop->uv, &u->uv.pipe, 0);
    if (rc < 0) {
        np_free(u);
        return np_err_from_uv(rc);
    }
    u->uv.handle.data = u;
    u->io = NULL;
    u->dialling = NULL;
    u->opening = false;
    np_stream_init(&u->s, ops, loop, state);
    *out = u;
    return NEAP_OK;
}

enum neap_err np_uvstream_from_fd(struct np_loop *loop, const struct np_stream_ops *ops, int fd,
                                  struct np_stream **out)
{
    struct np_uvstream *u = NULL;
    enum neap_err err = np_uvstream_new(loop, ops, NP_STREAM_OPEN, &u);
    if (err) return err;
    int rc = ops == &np_tcp_ops ? uv_tcp_open(&u->uv.tcp, fd) : uv_pipe_open(&u->uv.pipe, fd);
    if (rc < 0) {
        np_stream_close(&u->s);
        return np_err_from_uv(rc);
    }
    *out = &u->s;
    return NEAP_OK;
}
