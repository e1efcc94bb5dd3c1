/* The scanner of lines: framing of heads and trailers, by our own rules.
 *
 * Every line ends in CR LF; neither byte stands anywhere else; no line starts with a blank. What
 * it lets through llhttp then reads in detail. Each byte is looked at once, however the head is
 * cut. One thread at a time. */
#include <string.h>

#include "proto/http1_impl.h"

enum { MAX_SKIPPED = 16 }; /* bytes of empty lines before a message */

void np_http1_scan_start(struct np_http1_parser *p, size_t lines)
{
    p->head_bytes = p->executed = p->line_len = 0;
    p->lines = lines;
    p->last_cr = false;
}

enum neap_err np_http1_skip_empty(struct np_http1_parser *p, const char *data, size_t n,
                                  size_t *used)
{
    size_t i = 0;
    for (; i < n && (data[i] == '\r' || data[i] == '\n'); i++) {
        if (p->last_cr != (data[i] == '\n') || ++p->skipped > MAX_SKIPPED)
            return np_http1_fail(p, 400, NEAP_EPROTO, "stray bytes before the message");
        p->last_cr = data[i] == '\r';
    }
    *used = i;
    if (i == n) return NEAP_OK;
    if (p->last_cr) return np_http1_fail(p, 400, NEAP_EPROTO, "CR without LF");
    p->state = NP_HTTP1_HEAD;
    np_http1_scan_start(p, 0);
    return NEAP_OK;
}

static enum neap_err too_large(struct np_http1_parser *p)
{
    if (p->lines == 0 && p->type == NP_HTTP1_REQUEST)
        return np_http1_fail(p, 414, NEAP_ELIMIT, "the request target is too long");
    return np_http1_fail(p, 431, NEAP_ELIMIT,
                         p->state == NP_HTTP1_TRAILER ? "the trailer is too large"
                                                      : "the head is too large");
}

/* A first line that has not ended yet is not shown to llhttp; so what cannot be one is refused
 * here. */
static bool has_control(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] < ' ' && p[i] != '\r' && p[i] != '\t') return true;
    }
    return false;
}

/* Checks `n` bytes of one line, its LF (if `whole`) not counted. */
static const char *check_piece(struct np_http1_parser *p, const char *at, size_t n, bool whole)
{
    if (p->last_cr && n) return "CR without LF";
    if (p->line_len == 0 && n && (*at == ' ' || *at == '\t')) return "a line starts with a blank";
    const char *cr = n ? memchr(at, '\r', n) : NULL;
    if (cr && cr != at + n - 1) return "CR without LF";
    if (whole && !cr && !p->last_cr) return "LF without CR";
    if (!whole && p->lines == 0 && has_control(at, n)) return "not HTTP";
    p->last_cr = !whole && (cr || p->last_cr);
    return NULL;
}

enum neap_err np_http1_scan(struct np_http1_parser *p, const char *data, size_t n, size_t *used,
                            bool *done)
{
    size_t room = p->limits.max_head - p->head_bytes;
    size_t end = n < room ? n : room;
    size_t at = 0;
    *done = false;
    while (at < end && !*done) {
        const char *lf = memchr(data + at, '\n', end - at);
        size_t len = lf ? (size_t)(lf - (data + at)) : end - at;
        const char *why = check_piece(p, data + at, len, lf != NULL);
        if (why) return np_http1_fail(p, 400, NEAP_EPROTO, why);
        p->line_len += len;
        at += len;
        if (lf) {
            at++;
            *done = p->line_len == 1; /* nothing but its CR */
            p->lines++;
            p->line_len = 0;
        }
    }
    p->head_bytes += at;
    *used = at;
    if (!*done && n > room) return too_large(p);
    return NEAP_OK;
}
