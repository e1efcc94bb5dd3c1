/* Input: tells the loop when standard input can be read, without touching its flags.
 *
 * A thread polls the descriptor when it is asked to (libuv's own watchers would make it
 * non-blocking for everyone who shares it, the shell included, and refuse plain files).
 */
#ifndef NP_APP_INPUT_H
#define NP_APP_INPUT_H

#include <uv.h>

#include "base/err.h"

struct np_input {
    uv_thread_t thread;
    uv_async_t *notify; /* sent when the descriptor can be read */
    int fd;
    int commands[2]; /* a pipe to the thread */
};

NEAP_MUST_CHECK enum neap_err np_input_open(struct np_input *in, int fd, uv_async_t *notify);
void np_input_close(struct np_input *in);
/* Whether it can be read right now; its end and errors count. */
bool np_input_ready(const struct np_input *in);
/* Has `notify` sent, once, when it can be. May be asked again and again. */
void np_input_ask(struct np_input *in);

#endif
