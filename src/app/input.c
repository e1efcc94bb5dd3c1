/* Waiting for standard input on a thread; see input.h. */
#include "app/input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "net/loop.h"

enum command { WATCH = 'w', QUIT = 'q' };

static bool read_command(int fd, char *out)
{
    ssize_t n;
    do {
        n = read(fd, out, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* Until the descriptor can be read, or another command is there. */
static bool poll_once(struct np_input *in)
{
    struct pollfd fds[2] = {{in->fd, POLLIN, 0}, {in->commands[0], POLLIN, 0}};
    int n;
    do {
        n = poll(fds, 2, -1);
    } while (n < 0 && errno == EINTR);
    return n > 0 && fds[0].revents != 0;
}

static void run_thread(void *arg)
{
    struct np_input *in = arg;
    char command;
    while (read_command(in->commands[0], &command) && command == WATCH) {
        if (poll_once(in)) uv_async_send(in->notify);
    }
}

enum neap_err np_input_open(struct np_input *in, int fd, uv_async_t *notify)
{
    in->fd = fd;
    in->notify = notify;
    int rc = uv_pipe(in->commands, 0, 0);
    if (rc < 0) return np_err_from_uv(rc);
    rc = uv_thread_create(&in->thread, run_thread, in);
    if (rc == 0) return NEAP_OK;
    close(in->commands[0]);
    close(in->commands[1]);
    return np_err_from_uv(rc);
}

static void send_command(struct np_input *in, char command)
{
    ssize_t n;
    do {
        n = write(in->commands[1], &command, 1);
    } while (n < 0 && errno == EINTR);
}

void np_input_close(struct np_input *in)
{
    send_command(in, QUIT);
    uv_thread_join(&in->thread);
    close(in->commands[0]);
    close(in->commands[1]);
}

bool np_input_ready(const struct np_input *in)
{
    struct pollfd p = {in->fd, POLLIN, 0};
    return poll(&p, 1, 0) > 0;
}

void np_input_ask(struct np_input *in)
{
    send_command(in, WATCH);
}
