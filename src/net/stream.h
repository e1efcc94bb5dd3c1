/* The stream: an ordered pair of byte channels, the same object for every transport, client and
 * server. TCP, unix sockets and in-memory pipes implement it; a filter (TLS) is a stream over one.
 *
 * The contract:
 * - A stream is made by its transport and owned by whoever got it, who must np_stream_close it.
 * Closing is asynchronous: on_close is the last callback, called from the loop, never from inside
 *   np_stream_close; the stream's memory is freed when it returns.
 * - Callbacks come from the loop, never from inside a call on the stream. None but on_close comes
 *   after np_stream_close.
 * - on_read lends the bytes until it returns. Reading is off until np_stream_read_start and may be
 *   stopped and started at any time; a transport reads no more while it is off (back-pressure).
 * - A write gives the kernel what it takes and queues a copy of the rest. Nothing is refused for
 *   back-pressure: a writer that cares stops while !np_stream_writable and goes on at on_drain,
 * which comes once each time the queue, having been at or above `high_water`, falls to `low_water`.
 *   Above `max_queue` a write fails with NEAP_ELIMIT and queues nothing.
 * - on_error comes at most once, when the connection is broken (NEAP_ECONNRESET, NEAP_EPIPE …),
 * could not be made, or timed out (NEAP_ETIMEDOUT). The stream is dead then: only close is useful.
 * - on_end comes at most once: the peer will send no more. Writing goes on working (half-close).
 * - One loop, one thread.
 */
#ifndef NP_NET_STREAM_H
#define NP_NET_STREAM_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/timer.h"

struct np_slice {
    const char *p;
    size_t n;
};

enum np_stream_state {
    NP_STREAM_CONNECTING, /* on_open or on_error follows */
    NP_STREAM_OPEN,
    NP_STREAM_BROKEN,  /* on_error has been called */
    NP_STREAM_CLOSING, /* on_close follows */
    NP_STREAM_CLOSED,
};

struct np_stream;

/* What its owner wants to hear. NULL members are allowed except on_close. */
struct np_stream_handler {
    void (*on_open)(struct np_stream *s); /* connected; never called for an accepted stream */
    void (*on_read)(struct np_stream *s, const char *data, size_t n);
    void (*on_end)(struct np_stream *s);
    void (*on_drain)(struct np_stream *s);
    void (*on_error)(struct np_stream *s, enum neap_err err);
    void (*on_close)(struct np_stream *s);
};

/* What a transport implements. Failures of `write` are returned; those of anything asynchronous are
 * reported with np_stream_failed. All but `close`, `free`, `set_ref` and the two names are called
 * only while the stream is open. */
struct np_stream_ops {
    const char *kind; /* "tcp", "unix", "pipe", "tls" */
    enum neap_err (*read_start)(struct np_stream *s);
    void (*read_stop)(struct np_stream *s);
    /* Takes what it can at once into `*taken` (0 when the kernel is full). Never called while
     * bytes are queued. */
    enum neap_err (*write)(struct np_stream *s, const struct np_slice *v, size_t nv, size_t *taken);
    /* Bytes are queued in `out`: send them as room comes. It may take them out of `out` into
     * memory of its own and count them in `in_flight` until they have left. np_stream_flushed
     * follows from the loop after progress; until the queue is empty flush is not called again. */
    enum neap_err (*flush)(struct np_stream *s);
    /* Bytes of `in_flight` that have not left yet, to see progress between two np_stream_flushed.
     * May be NULL. */
    size_t (*unsent)(const struct np_stream *s);
    enum neap_err (*shutdown)(struct np_stream *s); /* the queue is empty; send FIN */
    void (*close)(struct np_stream *s);             /* then np_stream_gone from the loop */
    void (*free)(struct np_stream *s);              /* its memory; called by np_stream_gone */
    void (*set_ref)(struct np_stream *s, bool ref); /* whether it keeps the loop alive */
    /* What the kernel takes of a file's bytes at once. Never called while bytes are queued. NULL
     * where there is no such way. */
    enum neap_err (*send_file)(struct np_stream *s, int fd, int64_t offset, size_t n,
                               size_t *taken);
    /* Why it failed, in more words than the code has; NULL for none. May be NULL. */
    const char *(*why)(const struct np_stream *s);
    /* What a filter stands on; NULL: it is none. May be NULL. */
    struct np_stream *(*under)(const struct np_stream *s);
    enum neap_err (*peer)(struct np_stream *s, char *out, size_t size);  /* as text */
    enum neap_err (*local)(struct np_stream *s, char *out, size_t size); /* as text */
};

struct np_stream_extra;

struct np_stream {
    const struct np_stream_ops *ops;
    const struct np_stream_handler *handler;
    void *arg; /* the owner's */
    struct np_loop *loop;
    enum np_stream_state state;
    bool reading;          /* the owner wants bytes */
    bool ended;            /* the peer will send no more */
    bool shut;             /* shutdown asked for: no more writes */
    bool shut_sent;        /* … and done */
    bool flushing;         /* the transport is at it */
    bool above_high;       /* on_drain is owed */
    bool awaited;          /* its owner waits for on_close: lingering holds the loop all the same */
    bool lingering;        /* np_stream_finish: flushes, then discards what comes until the end */
    bool unref;            /* does not keep the loop alive */
    bool more;             /* a file's bytes follow what is being written */
    uint8_t fail_turns;    /* turns of the loop until `err` is reported; see stream.c */
    enum neap_err err;     /* why it is broken */
    struct np_buf out;     /* queued, oldest first */
    size_t in_flight;      /* queued before `out`, in the transport's hands */
    size_t high_water;     /* bytes, default 64 KiB */
    size_t low_water;      /* bytes, default 16 KiB */
    size_t max_queue;      /* bytes, default 64 MiB */
    uint64_t bytes_in;     /* received */
    uint64_t bytes_out;    /* written by the owner, queued ones included */
    int64_t read_timeout;  /* ns, 0 none: reading is on and nothing comes */
    int64_t write_timeout; /* ns, 0 none: bytes are queued and none leave */
    int64_t idle_timeout;  /* ns, 0 none: nothing moves either way */
    int64_t linger;        /* ns; lingering: without progress for so long, it is closed */
    int64_t open_by;       /* a moment: connecting must be done by then, or NP_TIME_NEVER */
    int64_t last_read;     /* moments */
    int64_t last_write;
    size_t last_unsent;
    struct np_timer timer;         /* serves them all */
    struct np_stream_extra *extra; /* what few streams have (stream_extra.c), or NULL */
    atomic_uint *counted;  /* one of the connections counted there, until it is closed; or NULL */
    struct np_link link;   /* among the loop's lingering ones */
    struct np_defer later; /* reports a failure from the loop; a transport's while closing */
};

/* For owners. */
void np_stream_set_handler(struct np_stream *s, const struct np_stream_handler *h, void *arg);
NEAP_MUST_CHECK enum neap_err np_stream_read_start(struct np_stream *s);
void np_stream_read_stop(struct np_stream *s);
/* NEAP_ECLOSED after shutdown, close or an error; NEAP_ENOTCONN is not an error here: while
 * connecting, bytes are queued. A transport's failure is returned and reported by on_error from the
 * loop as well. */
NEAP_MUST_CHECK enum neap_err np_stream_write(struct np_stream *s, const void *p, size_t n);
NEAP_MUST_CHECK enum neap_err np_stream_writev(struct np_stream *s, const struct np_slice *v,
                                               size_t nv);
static inline size_t np_stream_queued(const struct np_stream *s)
{
    return np_buf_len(&s->out) + s->in_flight;
}
static inline bool np_stream_writable(const struct np_stream *s)
{
    return np_stream_queued(s) < s->high_water;
}
/* Half-close: what is queued leaves, then the peer sees the end. Asking twice is fine. */
NEAP_MUST_CHECK enum neap_err np_stream_shutdown(struct np_stream *s);
/* Closes at once; what is queued is dropped. May be called twice and in any callback. */
void np_stream_close(struct np_stream *s);
/* Closes politely: flushes, half-closes, reads and discards until the peer ends, then closes; at
 * the latest when no byte has left for `linger_ns`, or `linger_ns` after the last has. So that an
 * answer sent just before is not lost to a reset. Of the callbacks only on_close comes afterwards.
 * Once all has left it does not hold the loop any more, and the loop's end closes it. */
void np_stream_finish(struct np_stream *s, int64_t linger_ns);
/* ns; 0 none. Starts counting now. NEAP_ENOMEM only. */
NEAP_MUST_CHECK enum neap_err np_stream_set_timeouts(struct np_stream *s, int64_t read_ns,
                                                     int64_t write_ns, int64_t idle_ns);
void np_stream_set_ref(struct np_stream *s, bool ref);
/* Bytes that were read too early go back: a copy is handed out from the loop before anything newer,
 * once reading is on. If the end has come already, on_end is called once more behind them, for an
 * owner who has not heard it. May be called several times: the last come first. NEAP_ENOMEM,
 * NEAP_ECLOSED. */
NEAP_MUST_CHECK enum neap_err np_stream_unread(struct np_stream *s, const char *data, size_t n);
/* np_stream_write of what stands before a file that np_stream_send_file sends next: both may leave
 * in one packet. */
NEAP_MUST_CHECK enum neap_err np_stream_write_more(struct np_stream *s, const void *p, size_t n);
/* Sends a part of a file without its passing through memory. `*taken` is what has left, 0 when
 * bytes are queued or the kernel is full: then write a piece in the ordinary way, whose on_drain
 * says when to go on. NEAP_ENOTSUP where the transport cannot (TLS, memory): read and write.
 * NEAP_EOF: the file is shorter than that. Any other failure breaks the stream, as a write's. */
NEAP_MUST_CHECK enum neap_err np_stream_send_file(struct np_stream *s, int fd, int64_t offset,
                                                  size_t n, size_t *taken);
/* What np_stream_peer and np_stream_local say from now on, as given by a proxy in front; NULL
 * leaves one as it is. */
NEAP_MUST_CHECK enum neap_err np_stream_set_addresses(struct np_stream *s, const char *peer,
                                                      const char *local);
/* Something that was learnt of the connection before its protocol began (http/proxied.h), kept with
 * the stream and freed with it by `free_note`, once. Asked of a filter, the stream under it
 * answers. NULL: nothing. NEAP_ENOMEM: it stays the caller's. */
NEAP_MUST_CHECK enum neap_err np_stream_set_note(struct np_stream *s, void *note,
                                                 void (*free_note)(void *note));
const void *np_stream_note(const struct np_stream *s);
/* The transport itself, below all filters. */
const struct np_stream *np_stream_transport(const struct np_stream *s);
/* Why it failed, in words; the code's own where there are none. */
const char *np_stream_why(const struct np_stream *s, enum neap_err err);
enum neap_err np_stream_peer(struct np_stream *s, char *out, size_t size);
enum neap_err np_stream_local(struct np_stream *s, char *out, size_t size);

/* stream_extra.c, for stream.c: hands out what was put back, if anything and if reading is on; … or
 * does so from the loop. */
void np_stream_deliver_unread(struct np_stream *s);
void np_stream_offer_unread(struct np_stream *s);
/* … the end of the same. */
void np_stream_extra_stop(struct np_stream *s);
void np_stream_extra_fini(struct np_stream *s);

/* np_loop_fini's: closes those that only linger. */
void np_streams_stop_lingering(struct np_loop *loop);

/* For transports. Each may end in the owner's closing the stream; its memory stays until
 * np_stream_gone. Calls on a stream that is closing already do nothing. */
void np_stream_init(struct np_stream *s, const struct np_stream_ops *ops, struct np_loop *loop,
                    enum np_stream_state state);
/* While connecting: np_stream_failed(ETIMEDOUT) unless it is open `ns` from now; 0 none. */
NEAP_MUST_CHECK enum neap_err np_stream_open_within(struct np_stream *s, int64_t ns);
void np_stream_opened(struct np_stream *s);
void np_stream_received(struct np_stream *s, const char *data, size_t n);
void np_stream_received_end(struct np_stream *s);
/* Queued bytes have left (gone from `out` or `in_flight` already). When nothing is queued any more
 * it sends the FIN owed; calls on_drain when it is due. */
void np_stream_flushed(struct np_stream *s);
void np_stream_failed(struct np_stream *s, enum neap_err err); /* from the loop */
/* The same from within a call of the owner's: reported one turn later, after what has arrived. */
void np_stream_fail_later(struct np_stream *s, enum neap_err err);
void np_stream_gone(struct np_stream *s); /* calls on_close, then ops->free */

#endif
