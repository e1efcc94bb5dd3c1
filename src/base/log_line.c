/* Formatting of log lines, as JSON and as text. Pure: what comes in is bytes and a time, what goes
 * out is bytes; any thread. Nothing that a peer sends can end a line or steer a terminal: control
 * characters (also the C1 ones that hide in UTF-8) are escaped, and invalid UTF-8 never reaches
 * a reader of JSON. */
#include "base/log_line.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"

void np_log_line_init(struct np_log_line *l)
{
    l->p = l->fixed;
    l->len = 0;
    l->cap = sizeof l->fixed;
    l->failed = false;
}

void np_log_line_fini(struct np_log_line *l)
{
    if (l->p != l->fixed) np_free(l->p);
}

static bool room(struct np_log_line *l, size_t n)
{
    if (l->failed) return false;
    if (l->cap - l->len >= n) return true;
    size_t cap = l->cap * 2 > l->len + n ? l->cap * 2 : l->len + n;
    char *p = np_realloc(l->p == l->fixed ? NULL : l->p, cap);
    if (!p) {
        l->failed = true;
        return false;
    }
    if (l->p == l->fixed) memcpy(p, l->fixed, l->len);
    l->p = p;
    l->cap = cap;
    return true;
}

static void put(struct np_log_line *l, const char *s, size_t n)
{
    if (!room(l, n)) return;
    memcpy(l->p + l->len, s, n);
    l->len += n;
}

static void put_str(struct np_log_line *l, const char *s)
{
    put(l, s, strlen(s));
}

static void put_fmt(struct np_log_line *l, const char *fmt, ...) NEAP_PRINTF(2, 3);
static void put_fmt(struct np_log_line *l, const char *fmt, ...)
{
    char text[64];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0) put(l, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* The length of the well-formed UTF-8 character at `s`, or 0. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    unsigned char c = s[0];
    if (c < 0x80) return 1;
    size_t len = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (c == 0xe0 && s[1] < 0xa0) || (c == 0xf0 && s[1] < 0x90);
    bool surrogate = c == 0xed && s[1] > 0x9f;
    bool too_large = c == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : len;
}

/* Printable as it stands, in JSON and on a terminal: `len` is its length in bytes. */
static bool plain(const unsigned char *s, size_t len)
{
    if (len == 1) return s[0] >= 0x20 && s[0] != 0x7f;
    return len > 1 && !(s[0] == 0xc2 && s[1] < 0xa0);
}

static void escape_json(struct np_log_line *l, unsigned char c)
{
    switch (c) {
    case '"':
        put_str(l, "\\\"");
        break;
    case '\\':
        put_str(l, "\\\\");
        break;
    case '\n':
        put_str(l, "\\n");
        break;
    case '\r':
        put_str(l, "\\r");
        break;
    case '\t':
        put_str(l, "\\t");
        break;
    default:
        put_fmt(l, "\\u%04x", c);
    }
}

static void put_json_string(struct np_log_line *l, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t from = 0;
    put(l, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t len = utf8_length(s + i, n - i);
        if (plain(s + i, len) && s[i] != '"' && s[i] != '\\') {
            i += len;
            continue;
        }
        put(l, text + from, i - from);
        if (len == 0) {
            put_str(l, "\\ufffd");
        } else if (len == 1) {
            escape_json(l, s[i]);
        } else {
            put_fmt(l, "\\u%04x", s[i + 1]); /* U+0080 to U+009F: the second byte is the number */
        }
        i += len ? len : 1;
        from = i;
    }
    put(l, text + from, n - from);
    put(l, "\"", 1);
}

/* Text for a person. `newline` is what stands for a newline. */
static void put_text(struct np_log_line *l, const char *text, size_t n, const char *newline)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_length(s + i, n - i);
        if (plain(s + i, len)) {
            i += len;
            continue;
        }
        put(l, text + from, i - from);
        if (s[i] == '\n') {
            put_str(l, newline);
        } else if (s[i] == '\t') {
            put_str(l, "  ");
        } else {
            for (size_t k = 0; k < (len ? len : 1); k++) {
                put_fmt(l, "\\x%02x", s[i + k]);
            }
        }
        i += len ? len : 1;
        from = i;
    }
    put(l, text + from, n - from);
}

/* The shortest decimal that reads back as the same number, whatever the locale's decimal point. */
static void put_number(struct np_log_line *l, double v, bool json)
{
    if (!isfinite(v)) {
        const char *word = isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
        put_fmt(l, json ? "\"%s\"" : "%s", word);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    char *comma = strchr(text, ',');
    if (comma) *comma = '.';
    put_str(l, text);
}

/* Days since 1970 to year, month, day (Gregorian, proleptic): the usual count in eras of 400 years
 * that begin on the first of March. */
static void civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

/* RFC 3339, UTC, microseconds. */
static void put_utc(struct np_log_line *l, int64_t ns)
{
    int64_t sec = ns / NP_NS_PER_SEC - (ns % NP_NS_PER_SEC < 0);
    int64_t days = sec / 86400 - (sec % 86400 < 0);
    int s = (int)(sec - days * 86400);
    int us = (int)((ns - sec * NP_NS_PER_SEC) / 1000);
    int64_t year;
    int month, day;
    civil_from_days(days, &year, &month, &day);
    put_fmt(l, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%06dZ", year, month, day, s / 3600,
            s / 60 % 60, s % 60, us);
}

static void put_local(struct np_log_line *l, int64_t ns)
{
    time_t sec = (time_t)(ns / NP_NS_PER_SEC);
    struct tm tm;
    if (!localtime_r(&sec, &tm)) return;
    put_fmt(l, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec,
            (int)(ns / NP_NS_PER_MS % 1000));
}

static void put_json_field(struct np_log_line *l, const struct np_log_field *f)
{
    static const char *const own[] = {"time", "level", "msg"};
    put(l, ",", 1);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(f->name, own[i]) == 0) { /* no object has the same key twice */
            put_fmt(l, "\"_%s\":", f->name);
            goto value;
        }
    }
    put_json_string(l, f->name, strlen(f->name));
    put(l, ":", 1);
value:
    switch (f->type) {
    case NP_LOG_STR:
        put_json_string(l, f->as.str.p, f->as.str.n);
        break;
    case NP_LOG_INT:
        put_fmt(l, "%" PRId64, f->as.i);
        break;
    case NP_LOG_NUM:
        put_number(l, f->as.num, true);
        break;
    case NP_LOG_BOOL:
        put_str(l, f->as.b ? "true" : "false");
        break;
    }
}

static void format_json(struct np_log_line *l, int64_t wall_ns, enum np_log_level level,
                        const char *msg, size_t msg_len, const struct np_log_field *fields,
                        size_t nfields)
{
    put_str(l, "{\"time\":\"");
    put_utc(l, wall_ns);
    put_str(l, "\",\"level\":\"");
    put_str(l, np_log_level_name(level));
    put_str(l, "\",\"msg\":");
    put_json_string(l, msg, msg_len);
    for (size_t i = 0; i < nfields; i++) {
        put_json_field(l, &fields[i]);
    }
    put_str(l, "}\n");
}

/* A value that could be misread as more than one word stands in quotes. */
static bool needs_quotes(const char *s, size_t n)
{
    if (n == 0) return true;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
    }
    return false;
}

static bool multi_line(const struct np_log_field *f, enum np_log_style style)
{
    return style >= NP_LOG_STYLE_TTY && f->type == NP_LOG_STR && f->as.str.n > 0 &&
           memchr(f->as.str.p, '\n', f->as.str.n);
}

static void put_text_field(struct np_log_line *l, enum np_log_style style,
                           const struct np_log_field *f)
{
    bool color = style == NP_LOG_STYLE_COLOR;
    put_str(l, color ? " \x1b[2m" : " ");
    put_text(l, f->name, strlen(f->name), "\\n");
    put_str(l, color ? "=\x1b[0m" : "=");
    switch (f->type) {
    case NP_LOG_STR:
        if (multi_line(f, style)) { /* a traceback, say: a block of its own under the line */
            put_str(l, "\n    ");
            put_text(l, f->as.str.p, f->as.str.n, "\n    ");
        } else if (needs_quotes(f->as.str.p, f->as.str.n)) {
            put_json_string(l, f->as.str.p, f->as.str.n);
        } else {
            put_text(l, f->as.str.p, f->as.str.n, "\\n");
        }
        break;
    case NP_LOG_INT:
        put_fmt(l, "%" PRId64, f->as.i);
        break;
    case NP_LOG_NUM:
        put_number(l, f->as.num, false);
        break;
    case NP_LOG_BOOL:
        put_str(l, f->as.b ? "true" : "false");
        break;
    }
}

static void format_text(struct np_log_line *l, enum np_log_style style, int64_t wall_ns,
                        enum np_log_level level, const char *msg, size_t msg_len,
                        const struct np_log_field *fields, size_t nfields)
{
    static const char *const colors[] = {"\x1b[90m", "\x1b[36m", "\x1b[32m",
                                         "\x1b[33m", "\x1b[31m", ""};
    bool tty = style >= NP_LOG_STYLE_TTY;
    bool color = style == NP_LOG_STYLE_COLOR;
    if (color) put_str(l, "\x1b[2m");
    if (tty) {
        put_local(l, wall_ns);
    } else {
        put_utc(l, wall_ns);
    }
    put_str(l, color ? "\x1b[0m " : " ");
    if (color) put_str(l, colors[level]);
    put_fmt(l, "%-5s", np_log_level_name(level));
    put_str(l, color ? "\x1b[0m " : " ");
    put_text(l, msg, msg_len, tty ? "\n    " : "\\n");
    for (int block = 0; block < 2; block++) { /* what takes several lines comes last */
        for (size_t i = 0; i < nfields; i++) {
            if (multi_line(&fields[i], style) == (block == 1)) put_text_field(l, style, &fields[i]);
        }
    }
    put(l, "\n", 1);
}

void np_log_line_format(struct np_log_line *l, enum np_log_style style, int64_t wall_ns,
                        enum np_log_level level, const char *msg, size_t msg_len,
                        const struct np_log_field *fields, size_t nfields)
{
    if (style == NP_LOG_STYLE_JSON) {
        format_json(l, wall_ns, level, msg, msg_len, fields, nfields);
    } else {
        format_text(l, style, wall_ns, level, msg, msg_len, fields, nfields);
    }
}
