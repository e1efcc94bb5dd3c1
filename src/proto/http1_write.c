/* Writing heads and chunks. Everything is checked before a byte is appended; no state but the
 * caller's. */
#include <string.h>

#include "proto/http1.h"

static char *put(char *at, const char *p, size_t n)
{
    if (n) memcpy(at, p, n);
    return at + n;
}

enum neap_err np_http_write_status_line(struct np_buf *b, int minor, int status)
{
    char *at;
    if (status < 100 || status > 999 || minor < 0 || minor > 1) return NEAP_EINVAL;
    const char *reason = np_http_reason(status);
    size_t n = strlen(reason);
    enum neap_err err = np_buf_reserve(b, 15 + n, &at);
    if (err) return err;
    char *start = at;
    at = put(at, "HTTP/1.", 7);
    *at++ = (char)('0' + minor);
    *at++ = ' ';
    *at++ = (char)('0' + status / 100);
    *at++ = (char)('0' + status / 10 % 10);
    *at++ = (char)('0' + status % 10);
    *at++ = ' ';
    at = put(at, reason, n);
    at = put(at, "\r\n", 2);
    np_buf_added(b, (size_t)(at - start));
    return NEAP_OK;
}

enum neap_err np_http_write_request_line(struct np_buf *b, const char *method, size_t mn,
                                         const char *target, size_t tn)
{
    char *at;
    if (!np_http_is_token(method, mn) || !np_http_is_target(target, tn)) return NEAP_EINVAL;
    enum neap_err err = np_buf_reserve(b, mn + tn + 12, &at);
    if (err) return err;
    at = put(at, method, mn);
    *at++ = ' ';
    at = put(at, target, tn);
    at = put(at, " HTTP/1.1\r\n", 11);
    np_buf_added(b, mn + tn + 12);
    return NEAP_OK;
}

enum neap_err np_http_put_header(struct np_buf *b, const struct np_http_header *h)
{
    char *at;
    size_t n = h->name.n + h->value.n + 4;
    enum neap_err err = np_buf_reserve(b, n, &at);
    if (err) return err;
    at = put(at, h->name.p, h->name.n);
    at = put(at, ": ", 2);
    at = put(at, h->value.p, h->value.n);
    put(at, "\r\n", 2);
    np_buf_added(b, n);
    return NEAP_OK;
}

enum neap_err np_http_write_header(struct np_buf *b, const char *name, size_t nn, const char *value,
                                   size_t vn)
{
    const struct np_http_header h = {{name, nn}, {value, vn}};
    if (!np_http_is_token(name, nn) || !np_http_is_value(value, vn)) return NEAP_EINVAL;
    return np_http_put_header(b, &h);
}

size_t np_http_chunk_head(char out[NP_HTTP_CHUNK_HEAD], size_t n)
{
    char digits[16];
    size_t k = 0, len = 0;
    do {
        digits[k++] = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n);
    while (k)
        out[len++] = digits[--k];
    out[len++] = '\r';
    out[len++] = '\n';
    return len;
}

enum neap_err np_http_write_chunk(struct np_buf *b, const char *p, size_t n)
{
    char head[NP_HTTP_CHUNK_HEAD];
    char *at;
    if (n == 0) return NEAP_OK; /* an empty chunk would end the body */
    size_t hn = np_http_chunk_head(head, n);
    enum neap_err err = np_buf_reserve(b, hn + n + 2, &at);
    if (err) return err;
    at = put(at, head, hn);
    at = put(at, p, n);
    put(at, "\r\n", 2);
    np_buf_added(b, hn + n + 2);
    return NEAP_OK;
}

enum neap_err np_http_write_last_chunk(struct np_buf *b)
{
    return np_buf_append(b, "0\r\n\r\n", 5);
}

enum neap_err np_http_write_trailer(struct np_buf *b, const struct np_http_header *fields, size_t n)
{
    size_t before = np_buf_len(b);
    enum neap_err err = np_buf_append(b, "0\r\n", 3);
    for (size_t i = 0; i < n && !err; i++) {
        err = NEAP_EINVAL;
        if (np_http_may_trail(fields[i].name))
            err = np_http_write_header(b, fields[i].name.p, fields[i].name.n, fields[i].value.p,
                                       fields[i].value.n);
    }
    if (!err) err = np_buf_append(b, "\r\n", 2);
    if (err) b->tail = b->head + before;
    return err;
}

static char *put_two(char *at, int v)
{
    *at++ = (char)('0' + v / 10 % 10);
    *at++ = (char)('0' + v % 10);
    return at;
}

/* Days since 1970 as year, month 1…12 and day 1…31 (Hinnant's civil_from_days). */
static void civil(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

/* "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n" */
static void format_date(struct np_http_date *d, int64_t second)
{
    static const char week[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int year, month, day;
    if (second < 0) second = 0;
    int64_t days = second / 86400;
    int rest = (int)(second % 86400);
    civil(days, &year, &month, &day);
    char *at = put(d->text, "Date: ", 6);
    at = put(at, week + days % 7 * 3, 3);
    at = put(at, ", ", 2);
    at = put_two(at, day);
    *at++ = ' ';
    at = put(at, months + (month - 1) * 3, 3);
    *at++ = ' ';
    at = put_two(at, year / 100);
    at = put_two(at, year);
    *at++ = ' ';
    at = put_two(at, rest / 3600);
    *at++ = ':';
    at = put_two(at, rest / 60 % 60);
    *at++ = ':';
    at = put_two(at, rest % 60);
    at = put(at, " GMT\r\n", 6);
    d->len = (size_t)(at - d->text);
}

enum neap_err np_http_write_date(struct np_buf *b, struct np_http_date *cache, int64_t wall_seconds)
{
    if (cache->len == 0 || cache->second != wall_seconds) {
        format_date(cache, wall_seconds);
        cache->second = wall_seconds;
    }
    return np_buf_append(b, cache->text, cache->len);
}
