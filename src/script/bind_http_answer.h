/* What a handler returned, or how it failed, becomes the answer. */
#ifndef NP_SCRIPT_BIND_HTTP_ANSWER_H
#define NP_SCRIPT_BIND_HTTP_ANSWER_H

#include "script/bind_http_request.h"

/* Answers from the three values at `first`:
 *   body                        200; a string is text/plain, a table JSON
 *   status, [body], [headers]
 *   nil, err                    504, 503, 502 or 500 by the error's code; logged when it is a 500;
 *                               breaks off an answer already begun
 *   response of the client      passed through
 *   nothing                     204, or the end of a streamed answer
 * A body may be a function: called for pieces until it gives nil. Runs in the request's task; may
 * wait and raise. Used as `return np_http_answer(…)` by the task's function, the request being
 * at 1. */
int np_http_answer(lua_State *L, struct np_http_req *r, int first);

/* The answer to a task that failed: 500, or 504 for a deadline, 503 for no endpoint …; breaks off
 * an answer already begun. `r` is NULL when it did not come to a request. The failure box is on top
 * of the task's stack. Does not raise. */
void np_http_answer_failure(struct np_task *t, struct np_http_exchange *x,
                            const struct np_http_req *r);

/* Whether the failure is the client's fault, by the status that its error asks for: then it is not
 * worth a line in the log. The failure box is on top of the task's stack. Does not raise. */
bool np_http_answer_blames_client(struct np_task *t);

/* The answer to an error where no script is left, as if the handler had returned it. */
void np_http_answer_error(struct np_log *log, struct np_http_exchange *x, enum neap_err err,
                          const char *why);

/* A short JSON answer of neap's own: {"error":"reason"}. */
void np_http_answer_plain(struct np_http_exchange *x, int status);

#endif
