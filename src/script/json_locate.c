/* Where a JSON document is wrong: a plain recursive reader that keeps nothing.
 *
 * It runs only on what the fast parser refused, to say it in words. Recursion is bounded by
 * max_depth. Any thread.
 */
#include <string.h>

#include "script/json.h"

struct reader {
    const unsigned char *start;
    const unsigned char *p;
    const unsigned char *end;
    size_t depth;
    size_t max_depth;
    const char *what;
    bool too_deep;
};

/* Notes what is wrong at `p`. Returns false, so that a caller can pass it on. */
static bool wrong(struct reader *r, const unsigned char *p, const char *what)
{
    if (!r->what) {
        r->p = p;
        r->what = what;
    }
    return false;
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits after "\u" at `p`; -1 if they are not there. */
static int unicode_escape(const struct reader *r, const unsigned char *p)
{
    if (r->end - p < 4) return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* At a backslash. */
static bool read_escape(struct reader *r)
{
    const unsigned char *at = r->p++;
    if (r->p == r->end) return wrong(r, r->end, "unclosed string");
    unsigned char c = *r->p++;
    if (c != 'u') {
        return strchr("\"\\/bfnrt", c) && c ? true : wrong(r, at, "unknown escape in a string");
    }
    int unit = unicode_escape(r, r->p);
    if (unit < 0) return wrong(r, at, "\\u needs four hex digits");
    r->p += 4;
    if (unit >= 0xdc00 && unit <= 0xdfff) return wrong(r, at, "half of a surrogate pair");
    if (unit < 0xd800 || unit > 0xdbff) return true;
    if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u') {
        return wrong(r, at, "half of a surrogate pair");
    }
    int low = unicode_escape(r, r->p + 2);
    if (low < 0xdc00 || low > 0xdfff) return wrong(r, at, "half of a surrogate pair");
    r->p += 6;
    return true;
}

/* At the opening quote. */
static bool read_string(struct reader *r)
{
    const unsigned char *open = r->p++;
    while (r->p < r->end) {
        unsigned char c = *r->p;
        if (c == '"') {
            r->p++;
            return true;
        }
        if (c == '\\') {
            if (!read_escape(r)) return false;
        } else if (c < 0x20) {
            return wrong(r, r->p, "control character in a string");
        } else if (c < 0x80) {
            r->p++;
        } else {
            size_t n = np_json_utf8_sequence(r->p, (size_t)(r->end - r->p));
            if (n == 0) return wrong(r, r->p, "invalid UTF-8");
            r->p += n;
        }
    }
    return wrong(r, open, "unclosed string");
}

static size_t digits(struct reader *r)
{
    const unsigned char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - from);
}

static bool is_word_byte(unsigned char c)
{
    return c == '.' || c == '+' || c == '-' || c == '_' || (c >= '0' && c <= '9') ||
           (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Whether the digits of an integer fit 64 bits. */
static bool fits(const unsigned char *p, size_t n, bool negative)
{
    const char *most = negative ? "9223372036854775808" : "18446744073709551615";
    size_t len = strlen(most);
    return n < len || (n == len && memcmp(p, most, n) <= 0);
}

/* After the 'e': the exponent, cut to what is beyond any double. */
static long exponent(struct reader *r)
{
    bool negative = r->p < r->end && *r->p == '-';
    if (r->p < r->end && (*r->p == '+' || *r->p == '-')) r->p++;
    long v = 0;
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        if (v < 100000) v = v * 10 + (*r->p - '0');
    }
    return negative ? -v : v;
}

static bool is_digit(const struct reader *r, const unsigned char *p)
{
    return p < r->end && *p >= '0' && *p <= '9';
}

static bool read_number(struct reader *r)
{
    const unsigned char *from = r->p;
    bool whole = true;
    long magnitude = 0;
    if (*r->p == '-') r->p++;
    const unsigned char *first = r->p;
    size_t n = digits(r);
    if (n == 0 || (n > 1 && *first == '0')) return wrong(r, from, "malformed number");
    if (r->p < r->end && *r->p == '.') {
        whole = false;
        r->p++;
        if (!digits(r)) return wrong(r, from, "malformed number");
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        whole = false;
        r->p++;
        magnitude = exponent(r);
        if (!is_digit(r, r->p - 1)) return wrong(r, from, "malformed number");
    }
    if (r->p < r->end && is_word_byte(*r->p)) return wrong(r, from, "malformed number");
    if (whole ? !fits(first, n, first != from) : *first != '0' && magnitude + (long)n > 309) {
        return wrong(r, from, "number out of range");
    }
    return true;
}

static bool read_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    const unsigned char *from = r->p;
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0) {
        return wrong(r, from, "unexpected word");
    }
    r->p += n;
    if (r->p < r->end && is_word_byte(*r->p)) return wrong(r, from, "unexpected word");
    return true;
}

static bool read_value(struct reader *r);

/* At the opening bracket. */
static bool read_array(struct reader *r)
{
    r->p++;
    skip_space(r);
    if (r->p < r->end && *r->p == ']') {
        r->p++;
        return true;
    }
    for (;;) {
        if (!read_value(r)) return false;
        skip_space(r);
        if (r->p == r->end) return wrong(r, r->end, "unclosed array");
        unsigned char c = *r->p;
        if (c != ',' && c != ']') return wrong(r, r->p, "expected ',' or ']'");
        r->p++;
        if (c == ']') return true;
    }
}

static bool read_member(struct reader *r)
{
    skip_space(r);
    if (r->p == r->end) return wrong(r, r->end, "unclosed object");
    if (*r->p != '"') return wrong(r, r->p, "expected a string as key");
    if (!read_string(r)) return false;
    skip_space(r);
    if (r->p == r->end) return wrong(r, r->end, "unclosed object");
    if (*r->p != ':') return wrong(r, r->p, "expected ':'");
    r->p++;
    return read_value(r);
}

/* At the opening brace. */
static bool read_object(struct reader *r)
{
    r->p++;
    skip_space(r);
    if (r->p < r->end && *r->p == '}') {
        r->p++;
        return true;
    }
    for (;;) {
        if (!read_member(r)) return false;
        skip_space(r);
        if (r->p == r->end) return wrong(r, r->end, "unclosed object");
        unsigned char c = *r->p;
        if (c != ',' && c != '}') return wrong(r, r->p, "expected ',' or '}'");
        r->p++;
        if (c == '}') return true;
    }
}

static bool read_nested(struct reader *r)
{
    if (++r->depth > r->max_depth) {
        r->too_deep = true;
        return wrong(r, r->p, "nested deeper than max_depth");
    }
    bool ok = *r->p == '[' ? read_array(r) : read_object(r);
    r->depth--;
    return ok;
}

static bool read_value(struct reader *r)
{
    skip_space(r);
    if (r->p == r->end) {
        return wrong(r, r->end, r->depth ? "the document ends too early" : "empty document");
    }
    switch (*r->p) {
    case '[':
    case '{':
        return read_nested(r);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, "true");
    case 'f':
        return read_word(r, "false");
    case 'n':
        return read_word(r, "null");
    case ']':
    case '}':
        return wrong(r, r->p, "expected a value");
    case 0xef:
        if (r->end - r->p >= 3 && memcmp(r->p, "\xef\xbb\xbf", 3) == 0) {
            return wrong(r, r->p, "byte order mark");
        }
        return wrong(r, r->p, "unexpected character");
    default:
        if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')) return read_number(r);
        return wrong(r, r->p, is_word_byte(*r->p) ? "unexpected word" : "unexpected character");
    }
}

bool np_json_locate(const char *text, size_t n, size_t max_depth, struct np_json_problem *out)
{
    const unsigned char *start = (const unsigned char *)text;
    struct reader r = {start, start, start + n, 0, max_depth, NULL, false};
    if (read_value(&r)) {
        skip_space(&r);
        if (r.p < r.end) wrong(&r, r.p, "more after the end of the document");
    }
    if (!r.what) return false;
    size_t line = 1;
    const unsigned char *line_start = start;
    for (const unsigned char *p = start; p < r.p; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    *out = (struct np_json_problem){(size_t)(r.p - start), line, (size_t)(r.p - line_start) + 1,
                                    r.what, r.too_deep};
    return true;
}
