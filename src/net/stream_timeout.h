/* A stream's one timer, which serves connecting, reading, writing, idling and lingering. For
 * stream.c. Bytes that move only store a moment; the timer finds out when it next runs.
 */
#ifndef NP_NET_STREAM_TIMEOUT_H
#define NP_NET_STREAM_TIMEOUT_H

#include "net/stream.h"

void np_stream_timeout_init(struct np_stream *s);
/* Arms the timer for what is set now. NEAP_ENOMEM only. */
NEAP_MUST_CHECK enum neap_err np_stream_timeout_update(struct np_stream *s);

#endif
