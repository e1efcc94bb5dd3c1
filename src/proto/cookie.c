/* Reading Cookie and Set-Cookie; the dates of Expires. See cookie.h. */
#include "proto/cookie.h"

#include <string.h>

#include "proto/cookie_impl.h"

/* --- bytes */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct np_bytes span(const char *from, const char *to)
{
    return (struct np_bytes){from, (size_t)(to - from)};
}

static struct np_bytes trim(struct np_bytes b)
{
    while (b.n && is_blank(b.p[0])) {
        b.p++;
        b.n--;
    }
    while (b.n && is_blank(b.p[b.n - 1]))
        b.n--;
    return b;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool begins_with(struct np_bytes b, const char *prefix)
{
    size_t n = strlen(prefix);
    if (b.n < n) return false;
    for (size_t i = 0; i < n; i++) {
        if (lower(b.p[i]) != prefix[i]) return false;
    }
    return true;
}

static bool is_word(struct np_bytes b, const char *word)
{
    return b.n == strlen(word) && begins_with(b, word);
}

/* Everything up to the next `c`, which is dropped; `*rest` is what stands behind. */
static struct np_bytes take_until(struct np_bytes *rest, char c)
{
    const char *end = rest->p + rest->n;
    const char *at = rest->n ? memchr(rest->p, c, rest->n) : NULL;
    struct np_bytes taken = span(rest->p, at ? at : end);
    *rest = at ? span(at + 1, end) : (struct np_bytes){end, 0};
    return taken;
}

static bool has_control(struct np_bytes b)
{
    for (size_t i = 0; i < b.n; i++) {
        unsigned char c = (unsigned char)b.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return true;
    }
    return false;
}

/* --- Cookie */

bool np_cookie_next(struct np_bytes *rest, struct np_bytes *name, struct np_bytes *value)
{
    while (rest->n) {
        struct np_bytes v = take_until(rest, ';');
        const char *equals = v.n ? memchr(v.p, '=', v.n) : NULL;
        if (!equals || has_control(v)) continue;
        struct np_bytes key = trim(span(v.p, equals));
        if (key.n == 0) continue;
        v = trim(span(equals + 1, v.p + v.n));
        if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"') v = span(v.p + 1, v.p + v.n - 1);
        *name = key;
        *value = v;
        return true;
    }
    return false;
}

/* --- Set-Cookie */

const char *np_cookie_prefix_problem(const struct np_set_cookie *c)
{
    bool host = begins_with(c->name, "__host-");
    if (!host && !begins_with(c->name, "__secure-")) return NULL;
    if (!c->secure) return "secure: the name's prefix demands it";
    if (!host) return NULL;
    if (c->domain.p) return "domain: the name's prefix forbids it";
    if (!c->path.p || c->path.n != 1) return "path: the name's prefix demands \"/\"";
    return NULL;
}

static bool parse_age(struct np_bytes v, int64_t *out)
{
    size_t i = v.n && v.p[0] == '-' ? 1 : 0;
    int64_t n = 0;
    if (i == v.n) return false;
    for (; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return false;
        n = n * 10 + (v.p[i] - '0');
        if (n > NP_COOKIE_AGE_MAX) n = NP_COOKIE_AGE_MAX; /* and stays there: no overflow */
    }
    *out = v.p[0] == '-' ? -n : n;
    return true;
}

static enum np_same_site same_site_of(struct np_bytes v)
{
    if (is_word(v, "strict")) return NP_SAME_SITE_STRICT;
    if (is_word(v, "lax")) return NP_SAME_SITE_LAX;
    if (is_word(v, "none")) return NP_SAME_SITE_NONE;
    return NP_SAME_SITE_UNSET;
}

/* Of an attribute that comes twice, the last. */
static void take_attribute(struct np_set_cookie *c, struct np_bytes key, struct np_bytes v)
{
    static const struct np_bytes none = {NULL, 0};
    if (v.n > NP_COOKIE_ATTRIBUTE_MAX) return;
    if (is_word(key, "expires")) {
        if (np_cookie_date(v.p, v.n, &c->expires)) c->has_expires = true;
    } else if (is_word(key, "max-age")) {
        if (parse_age(v, &c->max_age)) c->has_max_age = true;
    } else if (is_word(key, "domain")) {
        if (v.n && v.p[0] == '.') v = span(v.p + 1, v.p + v.n);
        c->domain = v.n ? v : none;
    } else if (is_word(key, "path")) {
        c->path = v.n && v.p[0] == '/' ? v : none;
    } else if (is_word(key, "secure")) {
        c->secure = true;
    } else if (is_word(key, "httponly")) {
        c->http_only = true;
    } else if (is_word(key, "partitioned")) {
        c->partitioned = true;
    } else if (is_word(key, "samesite")) {
        c->same_site = same_site_of(v);
    }
}

bool np_set_cookie_parse(const char *text, size_t n, struct np_set_cookie *out)
{
    struct np_bytes rest = {text, n};
    struct np_set_cookie c;
    memset(&c, 0, sizeof c);
    if (has_control(rest)) return false;
    struct np_bytes pair = take_until(&rest, ';');
    const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
    if (!equals) return false;
    c.name = trim(span(pair.p, equals));
    c.value = trim(span(equals + 1, pair.p + pair.n));
    if (c.name.n == 0 || c.name.n + c.value.n > NP_COOKIE_MAX) return false;
    while (rest.n) {
        struct np_bytes value = take_until(&rest, ';');
        struct np_bytes key = take_until(&value, '=');
        take_attribute(&c, trim(key), trim(value));
    }
    if (np_cookie_prefix_problem(&c)) return false;
    *out = c;
    return true;
}

/* --- dates */

struct date {
    int hour, minute, second, day, month, year; /* -1: not found yet */
};

/* Up to `max` digits at the front, at least `min`, no digit behind; -1 when there are none. */
static int take_number(struct np_bytes *b, size_t min, size_t max)
{
    size_t n = 0;
    int value = 0;
    while (n < b->n && b->p[n] >= '0' && b->p[n] <= '9') {
        if (n == max) return -1;
        value = value * 10 + (b->p[n++] - '0');
    }
    if (n < min) return -1;
    b->p += n;
    b->n -= n;
    return value;
}

static bool take_colon(struct np_bytes *b)
{
    if (b->n == 0 || b->p[0] != ':') return false;
    b->p++;
    b->n--;
    return true;
}

static bool take_time(struct np_bytes token, struct date *d)
{
    int hour = take_number(&token, 1, 2);
    if (hour < 0 || !take_colon(&token)) return false;
    int minute = take_number(&token, 1, 2);
    if (minute < 0 || !take_colon(&token)) return false;
    int second = take_number(&token, 1, 2);
    if (second < 0) return false;
    d->hour = hour;
    d->minute = minute;
    d->second = second;
    return true;
}

static int month_of(struct np_bytes token)
{
    static const char *names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                  "jul", "aug", "sep", "oct", "nov", "dec"};
    for (int i = 0; i < 12; i++) {
        if (begins_with(token, names[i])) return i + 1;
    }
    return -1;
}

static void take_date_token(struct np_bytes token, struct date *d)
{
    struct np_bytes t = token;
    if (d->hour < 0 && take_time(token, d)) return;
    if (d->day < 0 && (d->day = take_number(&t, 1, 2)) >= 0) return;
    if (d->month < 0 && (d->month = month_of(token)) >= 0) return;
    t = token;
    if (d->year < 0) d->year = take_number(&t, 2, 4);
}

static bool is_date_delimiter(unsigned char c)
{
    return c == 0x09 || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) ||
           (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar, the year from 1601 on. */
static int64_t days_from_civil(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400;
    int of_era = y - era * 400;
    int of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_in(int month, int year)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

bool np_cookie_date(const char *text, size_t n, int64_t *out)
{
    struct date d = {-1, -1, -1, -1, -1, -1};
    size_t at = 0;
    while (at < n) {
        size_t from = at;
        while (at < n && !is_date_delimiter((unsigned char)text[at]))
            at++;
        if (at > from) take_date_token((struct np_bytes){text + from, at - from}, &d);
        at++;
    }
    if (d.hour < 0 || d.day < 1 || d.month < 0 || d.year < 0) return false;
    if (d.year < 70) d.year += 2000;
    if (d.year < 100) d.year += 1900;
    if (d.year < 1601 || d.day > days_in(d.month, d.year)) return false;
    if (d.hour > 23 || d.minute > 59 || d.second > 59) return false;
    int64_t days = days_from_civil(d.year, d.month, d.day);
    *out = days * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}
