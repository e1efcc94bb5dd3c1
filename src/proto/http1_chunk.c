/* The chunked coding (RFC 9112 §7.1), read by ourselves: llhttp refuses extensions that are legal
 * and forgets trailers.
 *
 * A chunk's first line is looked at byte by byte, so it may be cut anywhere; its extensions are
 * checked against the grammar, counted, and forgotten. The trailer is gathered whole, by the rules
 * of a head, before its fields are looked at. One thread at a time. */
#include <string.h>

#include "base/alloc.h"
#include "proto/http1_impl.h"

enum {
    CHUNK_HEAD_ALLOWED = 20, /* bytes of framing that a chunk may cost besides `max_head` */
};

/* What is expected next. */
enum at {
    AT_SIZE,       /* the first digit */
    AT_DIGITS,     /* a digit, or what ends the size */
    AT_BLANK,      /* blanks that a ';' must follow */
    AT_NAME,       /* an extension's name, blanks before it */
    AT_IN_NAME,    /* … inside it */
    AT_NAME_BLANK, /* blanks that a '=' or ';' must follow */
    AT_VALUE,      /* its value, blanks before it */
    AT_IN_VALUE,   /* … a token */
    AT_QUOTED,     /* … a quoted string */
    AT_ESCAPED,
    AT_UNQUOTED, /* behind its closing quote */
    AT_LF,       /* of the line's end */
    AT_DATA,
    AT_DATA_CR, /* behind the data */
    AT_DATA_LF,
    AT_BAD,
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What may follow the size or a value. */
static enum at after(char c)
{
    if (c == '\r') return AT_LF;
    if (c == ';') return AT_NAME;
    return is_blank(c) ? AT_BLANK : AT_BAD;
}

static enum at in_extension(enum at at, char c)
{
    bool token = np_http_is_token(&c, 1);
    switch (at) {
    case AT_BLANK:
        return is_blank(c) ? AT_BLANK : c == ';' ? AT_NAME : AT_BAD;
    case AT_NAME:
        return is_blank(c) ? AT_NAME : token ? AT_IN_NAME : AT_BAD;
    case AT_IN_NAME:
        if (token) return AT_IN_NAME;
        if (c == '=') return AT_VALUE;
        return is_blank(c) ? AT_NAME_BLANK : after(c);
    case AT_NAME_BLANK:
        if (is_blank(c)) return AT_NAME_BLANK;
        return c == '=' ? AT_VALUE : c == ';' ? AT_NAME : AT_BAD;
    case AT_VALUE:
        if (is_blank(c)) return AT_VALUE;
        return c == '"' ? AT_QUOTED : token ? AT_IN_VALUE : AT_BAD;
    case AT_IN_VALUE:
        return token ? AT_IN_VALUE : after(c);
    case AT_QUOTED:
        if (c == '"') return AT_UNQUOTED;
        if (c == '\\') return AT_ESCAPED;
        return np_http_is_value(&c, 1) ? AT_QUOTED : AT_BAD;
    case AT_ESCAPED:
        return np_http_is_value(&c, 1) ? AT_QUOTED : AT_BAD;
    case AT_UNQUOTED:
        return after(c);
    default:
        return AT_BAD;
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static enum neap_err bad(struct np_http1_parser *p, const char *why)
{
    return np_http1_fail(p, 400, NEAP_EPROTO, why);
}

static enum neap_err add_digit(struct np_http1_parser *p, int d)
{
    if (p->chunk_left >> 60) return bad(p, "the chunk's size overflows");
    p->chunk_left = p->chunk_left << 4 | (uint64_t)d;
    p->chunk_at = AT_DIGITS;
    return NEAP_OK;
}

/* The chunk's line is complete. */
static enum neap_err begin_chunk(struct np_http1_parser *p)
{
    p->chunks++;
    if (p->chunk_left > p->limits.max_body - p->body_bytes)
        return np_http1_fail(p, 413, NEAP_ELIMIT, "the body is too large");
    p->chunk_at = AT_DATA;
    if (p->chunk_left > 0) return NEAP_OK;
    p->state = NP_HTTP1_TRAILER;
    np_http1_scan_start(p, 1);
    return NEAP_OK;
}

/* One byte of framing. */
static enum neap_err frame(struct np_http1_parser *p, char c)
{
    enum at at = p->chunk_at;
    if (++p->framing > p->limits.max_head + (p->chunks + 1) * CHUNK_HEAD_ALLOWED)
        return bad(p, "chunk extensions are too large");
    switch (at) {
    case AT_SIZE:
        p->chunk_left = 0;
        if (digit(c) < 0) return bad(p, "bad chunk size");
        return add_digit(p, digit(c));
    case AT_DIGITS:
        if (digit(c) >= 0) return add_digit(p, digit(c));
        p->chunk_at = (unsigned char)after(c);
        if (p->chunk_at == AT_BAD) return bad(p, "bad chunk size");
        return NEAP_OK;
    case AT_LF:
        if (c != '\n') return bad(p, "CR without LF");
        return begin_chunk(p);
    case AT_DATA_CR:
        if (c != '\r') return bad(p, "a chunk's data is longer than its size");
        p->chunk_at = AT_DATA_LF;
        return NEAP_OK;
    case AT_DATA_LF:
        if (c != '\n') return bad(p, "CR without LF");
        p->chunk_at = AT_SIZE;
        return NEAP_OK;
    default:
        p->chunk_at = (unsigned char)in_extension(at, c);
        if (p->chunk_at == AT_BAD) return bad(p, "bad chunk extension");
        return NEAP_OK;
    }
}

enum neap_err np_http1_feed_chunked(struct np_http1_parser *p, const char *data, size_t n,
                                    size_t *used)
{
    size_t i = 0;
    enum neap_err err = NEAP_OK;
    p->stopped = false; /* llhttp has nothing to say to this */
    while (i < n && !err && !p->paused && p->state == NP_HTTP1_BODY) {
        if (p->chunk_at != AT_DATA) {
            err = frame(p, data[i++]);
            continue;
        }
        size_t len = n - i < p->chunk_left ? n - i : (size_t)p->chunk_left;
        p->chunk_left -= len;
        p->body_bytes += len;
        if (p->chunk_left == 0) p->chunk_at = AT_DATA_CR;
        i += len;
        p->events->on_body(p, data + i - len, len);
    }
    *used = i;
    return err;
}

/* --- the trailer */

static enum neap_err add_trailer(struct np_http1_parser *p, const char *at, const char *end)
{
    struct np_http1_trailer *t = p->trailer;
    const char *colon = memchr(at, ':', (size_t)(end - at));
    if (!colon || !np_http_is_token(at, (size_t)(colon - at))) return bad(p, "bad trailer name");
    struct np_bytes name = {at, (size_t)(colon - at)};
    for (at = colon + 1; at < end && is_blank(*at); at++)
        continue;
    while (end > at && is_blank(end[-1]))
        end--;
    if (!np_http_is_value(at, (size_t)(end - at))) return bad(p, "bad trailer value");
    if (!np_http_may_trail(name)) {
        if (p->type == NP_HTTP1_RESPONSE) return NEAP_OK; /* it goes no further */
        return bad(p, "a trailer that frames, routes or authenticates");
    }
    t->fields[t->n++] = (struct np_http_header){name, {at, (size_t)(end - at)}};
    return NEAP_OK;
}

/* All of it stands in t->bytes, and every line ends in CR LF. */
static enum neap_err read_trailer(struct np_http1_parser *p)
{
    struct np_http1_trailer *t = p->trailer;
    const char *at = np_buf_data(&t->bytes), *end = at + np_buf_len(&t->bytes) - 2;
    size_t lines = p->lines - 2; /* but the chunk's, and the empty one */
    if (lines > p->limits.max_headers)
        return np_http1_fail(p, 431, NEAP_ELIMIT, "too many trailers");
    t->fields = np_alloc(lines * sizeof *t->fields);
    if (!t->fields) return np_http1_fail(p, 500, NEAP_ENOMEM, "out of memory");
    while (at < end) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        enum neap_err err = add_trailer(p, at, lf - 1);
        if (err) return err;
        at = lf + 1;
    }
    p->head->trailers = t->fields;
    p->head->ntrailers = t->n;
    return NEAP_OK;
}

static enum neap_err gather_trailer(struct np_http1_parser *p, const char *data, size_t n)
{
    if (!p->trailer) p->trailer = np_calloc(1, sizeof *p->trailer);
    if (!p->trailer || np_buf_append(&p->trailer->bytes, data, n))
        return np_http1_fail(p, 500, NEAP_ENOMEM, "out of memory");
    return NEAP_OK;
}

enum neap_err np_http1_feed_trailer(struct np_http1_parser *p, const char *data, size_t n,
                                    size_t *used)
{
    bool done;
    enum neap_err err = np_http1_scan(p, data, n, used, &done);
    if (err) return err;
    if (p->lines > p->limits.max_headers + 2)
        return np_http1_fail(p, 431, NEAP_ELIMIT, "too many trailers");
    if (!done || p->head_bytes > 2) err = gather_trailer(p, data, *used);
    if (!err && done && p->lines > 2) err = read_trailer(p);
    if (err || !done) return err;
    p->state = NP_HTTP1_END;
    p->end_due = true;
    return NEAP_OK;
}

void np_http1_drop_trailer(struct np_http1_parser *p)
{
    struct np_http1_trailer *t = p->trailer;
    if (!t) return;
    np_buf_fini(&t->bytes);
    np_free(t->fields);
    np_free(t);
    p->trailer = NULL;
}
