/* Server-sent events as a client reads them (WHATWG HTML, 9.2.5 and 9.2.6): pieces of any size in,
 * events out. Lines end in LF, CR or CRLF, a byte order mark at the beginning is dropped, what is
 * no known field is ignored, an event that the end of the stream cuts off is none.
 *
 * Bytes are given as they came: what is not UTF-8 is not replaced. One thread at a time.
 */
#ifndef NP_PROTO_EVENT_STREAM_H
#define NP_PROTO_EVENT_STREAM_H

#include "base/buf.h"
#include "proto/bytes.h"

#define NP_EVENT_RETRY_MAX ((int64_t)86400 * 1000) /* ms; a longer delay is cut to this */

struct np_event_stream {
    size_t max; /* bytes of an event's fields, and of a line */
    struct np_buf line;
    struct np_buf data;
    struct np_buf type;
    struct np_buf next_id; /* what the event that is being read sets it to */
    struct np_buf id;      /* the last one: it holds until an event sets another */
    int64_t retry;         /* ms, what the server last asked for; -1: it did not */
    unsigned bom;          /* bytes of the mark that were seen; 3: past the beginning */
    bool after_cr;         /* a LF now belongs to the line before */
    bool skip_comment;     /* the line is a comment: it is not kept */
    bool id_set;
    bool given; /* the event was given, its memory is to be cleared */
};

struct np_event {
    struct np_bytes type; /* empty: "message" */
    struct np_bytes data;
    struct np_bytes id; /* the last event ID; empty: none */
};

void np_event_stream_init(struct np_event_stream *s, size_t max);
void np_event_stream_fini(struct np_event_stream *s);
/* A new connection: what was begun is dropped, the ID and the delay stay. */
void np_event_stream_restart(struct np_event_stream *s);

/* Looks at `p` up to the next event; `*used` bytes of it are done with. `*got` says whether there
 * is one; what it points to holds until the next call. Without one all was used. NEAP_ELIMIT,
 * NEAP_ENOMEM; then the stream is of no more use. */
NEAP_MUST_CHECK enum neap_err np_event_stream_next(struct np_event_stream *s, const char *p,
                                                   size_t n, size_t *used, bool *got,
                                                   struct np_event *event);

#endif
