/* Percent-encoding and queries. No state; any thread. */
#include <string.h>

#include "proto/url.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool np_url_decode(const char *text, size_t n, bool form, char *out, size_t *len)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '%') {
            int hi = n - i > 2 ? hex(text[i + 1]) : -1;
            int lo = hi >= 0 ? hex(text[i + 2]) : -1;
            if (lo < 0) return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        out[k++] = c;
    }
    *len = k;
    return true;
}

static bool stays(unsigned char c, enum np_url_part part)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) return true;
    if (c == 0) return false;
    if (strchr("-._~", c)) return true;
    return part == NP_URL_PATH && strchr("/!$&'()*+,;=:@", c);
}

enum neap_err np_url_encode(struct np_buf *b, const char *text, size_t n, enum np_url_part part)
{
    char *at;
    if (n > SIZE_MAX / 3) return NEAP_ENOMEM;
    enum neap_err err = np_buf_reserve(b, n * 3, &at);
    if (err) return err;
    char *start = at;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (stays(c, part)) {
            *at++ = (char)c;
        } else if (c == ' ' && part == NP_URL_FORM) {
            *at++ = '+';
        } else {
            *at++ = '%';
            *at++ = "0123456789ABCDEF"[c >> 4];
            *at++ = "0123456789ABCDEF"[c & 15];
        }
    }
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

bool np_url_query_next(struct np_bytes *rest, struct np_bytes *name, struct np_bytes *value)
{
    while (rest->n) {
        const char *amp = memchr(rest->p, '&', rest->n);
        size_t len = amp ? (size_t)(amp - rest->p) : rest->n;
        const char *piece = rest->p;
        size_t step = amp ? len + 1 : len;
        *rest = (struct np_bytes){rest->p + step, rest->n - step};
        if (len == 0) continue;
        const char *eq = memchr(piece, '=', len);
        size_t nn = eq ? (size_t)(eq - piece) : len;
        *name = (struct np_bytes){piece, nn};
        *value = eq ? (struct np_bytes){eq + 1, len - nn - 1} : (struct np_bytes){NULL, 0};
        return true;
    }
    return false;
}
