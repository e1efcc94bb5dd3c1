/* Deadlines that travel with requests, in X-Neap-Deadline: how many milliseconds whoever asks still
 * waits for the answer.
 *
 * A span, not a moment, so clocks need not agree; the time on the wire is not counted. It is a
 * promise to be gone by then and nothing else: a server lets it shorten what it has, never lengthen
 * it. Pure functions.
 */
#ifndef NP_SCRIPT_BIND_HTTP_DEADLINE_H
#define NP_SCRIPT_BIND_HTTP_DEADLINE_H

#include <stdint.h>

#include "proto/http1.h"

#define NP_HTTP_DEADLINE "x-neap-deadline"
#define NP_HTTP_DEADLINE_LEN (sizeof NP_HTTP_DEADLINE - 1)
enum { NP_HTTP_DEADLINE_TEXT = 16 };

/* ns that are left, 0 for none; -1 when the head says nothing, or nothing that makes sense: digits,
 * at most ten of them. Of several the smallest. */
int64_t np_http_deadline_read(const struct np_http_head *h);
/* The field's value for `left` ns, which is above 0: rounded up, so that who has time has a
 * millisecond. Returns its length. */
size_t np_http_deadline_write(int64_t left, char out[NP_HTTP_DEADLINE_TEXT]);

#endif
