/* What a service and systemd say to each other, without its library: sd_notify's messages, the
 * watchdog's interval, the sockets it opened for us. The main thread, at the start; np_notify_*
 * any thread after that.
 */
#ifndef NP_HOST_NOTIFY_H
#define NP_HOST_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/err.h"

struct np_notify {
    int fd; /* -1: nobody wants to be told */
    socklen_t len;
    struct sockaddr_un addr;
    int64_t watchdog; /* ns: say that we live this often; 0: nobody waits for it */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment.
 * Without them there is nothing to do, and it is OK. NEAP_EINVAL for an address that is none, and
 * what making a socket may give: then nobody is told. */
NEAP_MUST_CHECK enum neap_err np_notify_init(struct np_notify *n, struct neap_errinfo *info);
void np_notify_fini(struct np_notify *n);
static inline bool np_notify_wanted(const struct np_notify *n)
{
    return n->fd >= 0;
}

/* Sends "NAME=value" lines as they are. Never waits: NEAP_EAGAIN. OK when nobody wants it. */
NEAP_MUST_CHECK enum neap_err np_notify_send(const struct np_notify *n, const char *state);

/* The same, with nobody to tell when it fails. `status` (may be NULL) is one line for systemctl. */
void np_notify_ready(const struct np_notify *n, const char *status); /* after a reload, too */
void np_notify_reloading(const struct np_notify *n);
void np_notify_stopping(const struct np_notify *n);
void np_notify_status(const struct np_notify *n, const char *status);
void np_notify_watchdog(const struct np_notify *n);

/* --- sockets that were opened for us */

#define NP_PASSED_FDS_START 3

struct np_passed_fd {
    int fd;         /* closed on exec from now on; whoever takes it closes it */
    char name[256]; /* FileDescriptorName=; "unknown" where none was given */
};

/* Reads LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES and takes them out of the environment. `*out`
 * (np_free) is NULL and `*count` 0 where there are none, or they are another process's. NEAP_EINVAL
 * when what they say is not so. */
NEAP_MUST_CHECK enum neap_err np_passed_fds(struct np_passed_fd **out, size_t *count,
                                            struct neap_errinfo *info);

#endif
