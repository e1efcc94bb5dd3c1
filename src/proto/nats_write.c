/* Writing NATS messages: the space is reserved once, then filled, so that nothing is half done. */
#include "proto/nats_write.h"

#include <string.h>

enum { DIGITS = 20 };

static bool word_ok(struct np_bytes w)
{
    for (size_t i = 0; i < w.n; i++) {
        unsigned char c = (unsigned char)w.p[i];
        if (c <= ' ' || c == 0x7f) return false;
    }
    return w.n > 0;
}

static char *put(char *at, const char *s, size_t n)
{
    if (n > 0) memcpy(at, s, n);
    return at + n;
}

static char *put_word(char *at, struct np_bytes w)
{
    return put(put(at, " ", 1), w.p, w.n);
}

static char *put_number(char *at, uint64_t v)
{
    char digits[DIGITS];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return put(put(at, " ", 1), digits + i, sizeof digits - i);
}

static enum neap_err write_message(struct np_buf *b, const char *verb, struct np_bytes sid,
                                   const struct np_nats_out *m)
{
    if (!word_ok(m->subject)) return NEAP_EINVAL;
    if (sid.n > 0 && !word_ok(sid)) return NEAP_EINVAL;
    if (m->reply.n > 0 && !word_ok(m->reply)) return NEAP_EINVAL;
    size_t total = m->headers.n + m->payload.n;
    if (total < m->payload.n) return NEAP_EINVAL;
    size_t head = 5 + m->subject.n + sid.n + m->reply.n + 2 * (DIGITS + 1) + 8;
    if (total > SIZE_MAX - head) return NEAP_ENOMEM;
    char *start;
    enum neap_err err = np_buf_reserve(b, head + total, &start);
    if (err) return err;
    char *at = start;
    if (m->headers.n > 0) at = put(at, "H", 1);
    at = put_word(put(at, verb, 3), m->subject);
    if (sid.n > 0) at = put_word(at, sid);
    if (m->reply.n > 0) at = put_word(at, m->reply);
    if (m->headers.n > 0) at = put_number(at, m->headers.n);
    at = put(put_number(at, total), "\r\n", 2);
    at = put(at, m->headers.p, m->headers.n);
    at = put(at, m->payload.p, m->payload.n);
    at = put(at, "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

enum neap_err np_nats_write_pub(struct np_buf *b, const struct np_nats_out *m)
{
    return write_message(b, "PUB", (struct np_bytes){NULL, 0}, m);
}

enum neap_err np_nats_write_msg(struct np_buf *b, struct np_bytes sid, const struct np_nats_out *m)
{
    if (sid.n == 0) return NEAP_EINVAL;
    return write_message(b, "MSG", sid, m);
}

enum neap_err np_nats_write_sub(struct np_buf *b, struct np_bytes subject, struct np_bytes queue,
                                uint64_t sid)
{
    if (!word_ok(subject) || (queue.n > 0 && !word_ok(queue))) return NEAP_EINVAL;
    char *start;
    enum neap_err err = np_buf_reserve(b, 3 + subject.n + queue.n + DIGITS + 5, &start);
    if (err) return err;
    char *at = put_word(put(start, "SUB", 3), subject);
    if (queue.n > 0) at = put_word(at, queue);
    at = put(put_number(at, sid), "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

enum neap_err np_nats_write_unsub(struct np_buf *b, uint64_t sid, uint64_t max)
{
    char *start;
    enum neap_err err = np_buf_reserve(b, 5 + 2 * (DIGITS + 1) + 2, &start);
    if (err) return err;
    char *at = put_number(put(start, "UNSUB", 5), sid);
    if (max > 0) at = put_number(at, max);
    at = put(at, "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

enum neap_err np_nats_write_ping(struct np_buf *b)
{
    return np_buf_append(b, "PING\r\n", 6);
}

enum neap_err np_nats_write_pong(struct np_buf *b)
{
    return np_buf_append(b, "PONG\r\n", 6);
}

enum neap_err np_nats_write_ok(struct np_buf *b)
{
    return np_buf_append(b, "+OK\r\n", 5);
}

enum neap_err np_nats_write_err(struct np_buf *b, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == '\'') return NEAP_EINVAL;
    }
    char *start;
    enum neap_err err = np_buf_reserve(b, n + 9, &start);
    if (err) return err;
    char *at = put(put(put(start, "-ERR '", 6), text, n), "'\r\n", 3);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}
