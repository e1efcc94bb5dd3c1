/* HTTP dates; see http_date.h. The days are counted in 400-year eras that begin in March, so that
 * a leap day is the last of its year. */
#include "proto/http_date.h"

#include <string.h>

enum { DAY = 86400 };
#define LAST_SECOND INT64_C(253402300799) /* of the year 9999 */

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
    int64_t year;
    int month; /* 0 … 11 */
    int day;   /* 1 … 31 */
};

static int64_t days_from(struct civil c)
{
    int64_t y = c.year - (c.month < 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t m = (c.month + 10) % 12; /* March is 0 */
    int64_t of_year = (153 * m + 2) / 5 + c.day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct civil civil_of(int64_t day)
{
    day += 719468;
    int64_t era = day / 146097;
    int64_t of_era = day - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * of_year + 2) / 153;
    struct civil c = {.year = y + era * 400,
                      .month = (int)((m + 2) % 12),
                      .day = (int)(of_year - (153 * m + 2) / 5 + 1)};
    if (c.month < 2) c.year++;
    return c;
}

static char *two(char *at, int64_t v)
{
    *at++ = (char)('0' + v / 10 % 10);
    *at++ = (char)('0' + v % 10);
    return at;
}

static char *text(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

void np_http_date_format(int64_t seconds, char out[NP_HTTP_DATE_LEN])
{
    if (seconds < 0) seconds = 0;
    if (seconds > LAST_SECOND) seconds = LAST_SECOND;
    int64_t day = seconds / DAY, rest = seconds % DAY;
    struct civil c = civil_of(day);
    char *at = text(out, days + (day + 4) % 7 * 3, 3);
    at = text(at, ", ", 2);
    at = two(at, c.day);
    *at++ = ' ';
    at = text(at, months + (ptrdiff_t)c.month * 3, 3);
    *at++ = ' ';
    at = two(at, c.year / 100);
    at = two(at, c.year);
    *at++ = ' ';
    at = two(at, rest / 3600);
    *at++ = ':';
    at = two(at, rest / 60 % 60);
    *at++ = ':';
    at = two(at, rest % 60);
    text(at, " GMT", 4);
}

/* --- reading: each takes what it expects off the front, or fails for good */

struct reader {
    const char *p, *end;
    bool bad;
};

static void literal(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        r->bad = true;
    else
        r->p += n;
}

static int number(struct reader *r, int digits, bool space_first)
{
    int v = 0;
    for (int i = 0; i < digits; i++) {
        char ch = r->p < r->end ? *r->p : 'x';
        if (space_first && i == 0 && ch == ' ') ch = '0';
        if (ch < '0' || ch > '9') {
            r->bad = true;
            return 0;
        }
        v = v * 10 + (ch - '0');
        r->p++;
    }
    return v;
}

/* Which of the three-letter names in `names` stands there. */
static int name(struct reader *r, const char *names)
{
    for (int i = 0; r->end - r->p >= 3 && names[i]; i += 3) {
        if (memcmp(r->p, names + i, 3) == 0) {
            r->p += 3;
            return i / 3;
        }
    }
    r->bad = true;
    return 0;
}

/* The rest of "Sunday": the letters until the comma. */
static void rest_of_day(struct reader *r, int day)
{
    static const char *const tails[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
    literal(r, tails[day]);
}

static int64_t clock_time(struct reader *r)
{
    int h = number(r, 2, false);
    literal(r, ":");
    int m = number(r, 2, false);
    literal(r, ":");
    int s = number(r, 2, false);
    if (h > 23 || m > 59 || s > 60) r->bad = true;
    return (int64_t)h * 3600 + (int64_t)m * 60 + s;
}

static int64_t full_year(int yy, int64_t now)
{
    int64_t this_year = civil_of(now < 0 ? 0 : now / DAY).year;
    int64_t year = this_year / 100 * 100 + yy;
    if (year > this_year + 50) year -= 100;
    if (year <= this_year - 50) year += 100;
    return year;
}

static bool is_day(struct civil c)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = c.year % 4 == 0 && (c.year % 100 != 0 || c.year % 400 == 0);
    if (c.day < 1 || c.day > lengths[c.month]) return false;
    return leap || c.month != 1 || c.day < 29;
}

static int64_t read_imf(struct reader *r, struct civil *c)
{
    literal(r, " ");
    c->day = number(r, 2, false);
    literal(r, " ");
    c->month = name(r, months);
    literal(r, " ");
    c->year = number(r, 4, false);
    literal(r, " ");
    int64_t t = clock_time(r);
    literal(r, " GMT");
    return t;
}

static int64_t read_850(struct reader *r, struct civil *c, int64_t now)
{
    literal(r, ", ");
    c->day = number(r, 2, false);
    literal(r, "-");
    c->month = name(r, months);
    literal(r, "-");
    c->year = full_year(number(r, 2, false), now);
    literal(r, " ");
    int64_t t = clock_time(r);
    literal(r, " GMT");
    return t;
}

static int64_t read_asctime(struct reader *r, struct civil *c)
{
    literal(r, " ");
    c->month = name(r, months);
    literal(r, " ");
    c->day = number(r, 2, true);
    literal(r, " ");
    int64_t t = clock_time(r);
    literal(r, " ");
    c->year = number(r, 4, false);
    return t;
}

bool np_http_date_parse(struct np_bytes bytes, int64_t now, int64_t *out)
{
    if (!bytes.p) return false;
    struct reader r = {bytes.p, bytes.p + bytes.n, false};
    struct civil c = {0, 0, 0};
    int64_t t;
    int day = name(&r, days);
    if (r.bad || r.p == r.end) return false;
    if (*r.p == ',') {
        r.p++;
        t = read_imf(&r, &c);
    } else if (*r.p == ' ') {
        t = read_asctime(&r, &c);
    } else {
        rest_of_day(&r, day);
        t = read_850(&r, &c, now);
    }
    if (r.bad || r.p != r.end || !is_day(c)) return false;
    *out = days_from(c) * DAY + t;
    return true;
}
