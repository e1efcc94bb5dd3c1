/* The growable byte buffer. Never shrinks by itself; a move never costs more than what was
 * consumed or added before it, so any sequence of appends and consumes is linear. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { MIN_CAP = 64 };

void np_buf_fini(struct np_buf *b)
{
    np_free(b->data);
    np_buf_init(b);
}

static size_t grown_cap(const struct np_buf *b, size_t need)
{
    size_t cap = b->cap < MIN_CAP ? MIN_CAP : b->cap;
    while (cap < need) {
        if (cap > SIZE_MAX / 2) return need;
        cap *= 2;
    }
    return cap;
}

static enum neap_err grow(struct np_buf *b, size_t need)
{
    size_t len = np_buf_len(b);
    size_t cap = grown_cap(b, need);
    if (b->head == 0) {
        char *data = np_realloc(b->data, cap);
        if (!data) return NEAP_ENOMEM;
        b->data = data;
        b->cap = cap;
        return NEAP_OK;
    }
    char *data = np_alloc(cap);
    if (!data) return NEAP_ENOMEM;
    memcpy(data, b->data + b->head, len);
    np_free(b->data);
    b->data = data;
    b->head = 0;
    b->tail = len;
    b->cap = cap;
    return NEAP_OK;
}

enum neap_err np_buf_reserve(struct np_buf *b, size_t n, char **out)
{
    size_t len = np_buf_len(b);
    if (!b->data || b->cap - b->tail < n) {
        if (n > SIZE_MAX / 2 - len) return NEAP_ENOMEM;
        if (b->data && len + n <= b->cap && b->head >= len / 2) {
            memmove(b->data, b->data + b->head, len);
            b->head = 0;
            b->tail = len;
        } else {
            /* Room enough, but moving so much for so little would add up: take a larger block. */
            size_t need = len + n <= b->cap ? b->cap + 1 : len + n;
            enum neap_err err = grow(b, need);
            if (err) return err;
        }
    }
    if (out) *out = b->data + b->tail;
    return NEAP_OK;
}

enum neap_err np_buf_append(struct np_buf *b, const void *p, size_t n)
{
    if (n == 0) return NEAP_OK;
    char *at;
    enum neap_err err = np_buf_reserve(b, n, &at);
    if (err) return err;
    memcpy(at, p, n);
    b->tail += n;
    return NEAP_OK;
}

enum neap_err np_buf_append_str(struct np_buf *b, const char *s)
{
    return np_buf_append(b, s, strlen(s));
}

enum neap_err np_buf_append_u64(struct np_buf *b, uint64_t v)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return np_buf_append(b, digits + i, sizeof digits - i);
}

enum neap_err np_buf_printf(struct np_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return NEAP_EINVAL;
    char *at;
    enum neap_err err = np_buf_reserve(b, (size_t)n + 1, &at);
    if (err) return err;
    va_start(ap, fmt);
    vsnprintf(at, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->tail += (size_t)n;
    return NEAP_OK;
}

void np_buf_consume(struct np_buf *b, size_t n)
{
    if (n >= np_buf_len(b)) {
        b->head = b->tail = 0;
    } else {
        b->head += n;
    }
}

void np_buf_clear(struct np_buf *b)
{
    b->head = b->tail = 0;
}

void np_buf_shrink(struct np_buf *b, size_t keep)
{
    if (b->cap > keep && np_buf_len(b) == 0) np_buf_fini(b);
}
