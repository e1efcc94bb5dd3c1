/* What `neap run` does to be a good service: the working directory, the log file, sockets and
 * messages of systemd, the pid file, another user, watching the script's files. The main thread.
 */
#ifndef NP_APP_SERVICE_H
#define NP_APP_SERVICE_H

#include "app/app.h"
#include "neap.h"

struct np_service;

/* Before the host is opened: changes the directory, opens the log file, reads the environment, and
 * sets the callbacks in `o`. 0, or the exit code after a complaint. */
int np_service_new(struct np_app *app, neap_options *o, struct np_service **out);
/* The host is open, and has not started yet. */
int np_service_start(struct np_service *s, neap_t *n, const char *script);
/* The host is about to be closed. NULL is allowed. */
void np_service_leave(struct np_service *s);
/* The host is closed: removes what is to be removed. Gives `code`, or that of what went wrong here.
 * NULL is allowed. */
int np_service_end(struct np_service *s, int code);

#endif
