/* A growable byte buffer, consumed at the front and filled at the back.
 *
 * Bytes stand in [data + head, data + tail). Consuming moves head; growing may move the bytes to
 * the front of the block or to a new block, so pointers into it hold until the next reserve.
 * A buffer that became empty starts over at the front of its block. Any thread, one at a time.
 */
#ifndef NP_BASE_BUF_H
#define NP_BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

struct np_buf {
    char *data;
    size_t head;
    size_t tail;
    size_t cap;
};

/* Zero-initialised memory is an empty buffer too; init never allocates. */
static inline void np_buf_init(struct np_buf *b)
{
    b->data = NULL;
    b->head = b->tail = b->cap = 0;
}
void np_buf_fini(struct np_buf *b);

static inline const char *np_buf_data(const struct np_buf *b)
{
    return b->data ? b->data + b->head : "";
}
static inline size_t np_buf_len(const struct np_buf *b)
{
    return b->tail - b->head;
}

/* Makes room for `n` more bytes, which go to `*out` (may be NULL). Follow with np_buf_added. */
NEAP_MUST_CHECK enum neap_err np_buf_reserve(struct np_buf *b, size_t n, char **out);
static inline void np_buf_added(struct np_buf *b, size_t n)
{
    b->tail += n;
}

NEAP_MUST_CHECK enum neap_err np_buf_append(struct np_buf *b, const void *p, size_t n);
NEAP_MUST_CHECK enum neap_err np_buf_append_str(struct np_buf *b, const char *s);
NEAP_MUST_CHECK enum neap_err np_buf_append_u64(struct np_buf *b, uint64_t v);
NEAP_MUST_CHECK enum neap_err np_buf_printf(struct np_buf *b, const char *fmt, ...)
    NEAP_PRINTF(2, 3);

/* Drops `n` bytes at the front (at most all of them). */
void np_buf_consume(struct np_buf *b, size_t n);
/* Empties it and keeps the block; `shrink` gives back a block larger than `keep` bytes. */
void np_buf_clear(struct np_buf *b);
void np_buf_shrink(struct np_buf *b, size_t keep);

#endif
