/* Strings as JSON: quoted, escaped where they must be, and nothing but UTF-8. See json.h. */
#include <string.h>

#include "base/buf.h"
#include "script/json.h"

/* What stands for a byte inside a string: 0 itself, 'u' \u00XX, 'x' part of a UTF-8 sequence, else
 * that letter after a backslash. */
static const char string_class[256] = {
    [0] = 'u',    [1] = 'u',  [2] = 'u',    [3] = 'u',     [4] = 'u',
    [5] = 'u',    [6] = 'u',  [7] = 'u',    ['\b'] = 'b',  ['\t'] = 't',
    ['\n'] = 'n', [11] = 'u', ['\f'] = 'f', ['\r'] = 'r',  [14] = 'u',
    [15] = 'u',   [16] = 'u', [17] = 'u',   [18] = 'u',    [19] = 'u',
    [20] = 'u',   [21] = 'u', [22] = 'u',   [23] = 'u',    [24] = 'u',
    [25] = 'u',   [26] = 'u', [27] = 'u',   [28] = 'u',    [29] = 'u',
    [30] = 'u',   [31] = 'u', ['"'] = '"',  ['\\'] = '\\', [0x80 ... 0xff] = 'x',
};

size_t np_json_utf8_sequence(const unsigned char *p, size_t left)
{
    size_t n = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    if (*p < 0xc2 || *p > 0xf4 || left < n) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xf0 && p[1] < 0x90);
    bool beyond = (*p == 0xed && p[1] > 0x9f) || (*p == 0xf4 && p[1] > 0x8f);
    return overlong || beyond ? 0 : n;
}

static size_t escape(char *out, unsigned char c)
{
    out[0] = '\\';
    out[1] = string_class[c];
    if (out[1] != 'u') return 2;
    out[2] = out[3] = '0';
    out[4] = "0123456789abcdef"[c >> 4];
    out[5] = "0123456789abcdef"[c & 15];
    return 6;
}

/* The bytes from `p` on that stand for themselves; NULL where one is no UTF-8, which is `*bad`. */
static const unsigned char *plain_run(const unsigned char *p, const unsigned char *end,
                                      const unsigned char **bad)
{
    for (;;) {
        while (p < end && string_class[*p] == 0)
            p++;
        if (p == end || string_class[*p] != 'x') return p;
        size_t n = np_json_utf8_sequence(p, (size_t)(end - p));
        if (n == 0) {
            *bad = p;
            return NULL;
        }
        p += n;
    }
}

enum neap_err np_json_quote(struct np_buf *b, const char *s, size_t n, size_t *bad)
{
    const unsigned char *p = (const unsigned char *)s;
    const unsigned char *end = p + n;
    char *out;
    enum neap_err err = np_buf_reserve(b, n + 2, &out);
    if (err) return err;
    *out++ = '"';
    for (;;) {
        const unsigned char *wrong = NULL;
        const unsigned char *run = plain_run(p, end, &wrong);
        if (!run) {
            *bad = (size_t)(wrong - (const unsigned char *)s);
            return NEAP_EINVAL;
        }
        memcpy(out, p, (size_t)(run - p));
        out += run - p;
        p = run;
        if (p == end) break;
        /* An escape needs more room than its byte had: ask again for all that may follow. */
        np_buf_added(b, (size_t)(out - (b->data + b->tail)));
        err = np_buf_reserve(b, 6 + (size_t)(end - p) + 1, &out);
        if (err) return err;
        out += escape(out, *p++);
    }
    *out++ = '"';
    np_buf_added(b, (size_t)(out - (b->data + b->tail)));
    return NEAP_OK;
}
