/* Writing Set-Cookie: what RFC 6265 §4.1.1 allows, and what browsers take. */
#include <string.h>
#include <time.h>

#include "proto/cookie_impl.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token(struct np_bytes b)
{
    for (size_t i = 0; i < b.n; i++) {
        char c = b.p[i];
        if (!is_alnum(c) && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c))) return false;
    }
    return b.n > 0;
}

/* Bytes that `forbidden` does not name, printable ASCII. */
static bool is_printable(struct np_bytes b, const char *forbidden)
{
    for (size_t i = 0; i < b.n; i++) {
        unsigned char c = (unsigned char)b.p[i];
        if (c < 0x20 || c > 0x7e || strchr(forbidden, c)) return false;
    }
    return true;
}

/* Letters, digits and hyphens between single dots. */
static bool is_domain(struct np_bytes b)
{
    if (b.n == 0 || b.n > 253) return false;
    for (size_t i = 0; i < b.n; i++) {
        bool edge = i == 0 || i + 1 == b.n || b.p[i - 1] == '.' || b.p[i + 1] == '.';
        if (!is_alnum(b.p[i]) && (edge || (b.p[i] != '.' && b.p[i] != '-'))) return false;
    }
    return true;
}

static const char *problem_of(const struct np_set_cookie *c)
{
    if (!is_token(c->name)) return "name: is no token";
    if (!is_printable(c->value, " \",;\\"))
        return "value: has bytes that a cookie cannot; encode it";
    if (c->name.n + c->value.n > NP_COOKIE_MAX)
        return "value: browsers take no more than 4096 bytes";
    if (c->domain.p && !is_domain(c->domain)) return "domain: is none";
    if (c->path.p && (c->path.n == 0 || c->path.p[0] != '/' || !is_printable(c->path, ";")))
        return "path: begins with '/' and has no ';'";
    if (c->path.n > NP_COOKIE_ATTRIBUTE_MAX) return "path: is too long";
    if (c->has_expires && (c->expires < 0 || c->expires > INT64_C(253402300799)))
        return "expires: is no date between 1970 and 9999";
    if (c->same_site == NP_SAME_SITE_NONE && !c->secure)
        return "secure: same_site \"none\" demands it";
    if (c->partitioned && !c->secure) return "secure: partitioned demands it";
    return np_cookie_prefix_problem(c);
}

static enum neap_err write_bytes(struct np_buf *b, const char *label, struct np_bytes v)
{
    if (!v.p) return NEAP_OK;
    enum neap_err err = np_buf_append_str(b, label);
    return err ? err : np_buf_append(b, v.p, v.n);
}

static enum neap_err write_expires(struct np_buf *b, int64_t at)
{
    static const char *days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)at;
    struct tm tm;
    if (!gmtime_r(&t, &tm)) return NEAP_EINVAL;
    return np_buf_printf(b, "; Expires=%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                         tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                         tm.tm_sec);
}

static enum neap_err write_flags(struct np_buf *b, const struct np_set_cookie *c)
{
    static const char *same_site[] = {"", "; SameSite=Strict", "; SameSite=Lax", "; SameSite=None"};
    enum neap_err err = NEAP_OK;
    if (c->secure) err = np_buf_append_str(b, "; Secure");
    if (!err && c->http_only) err = np_buf_append_str(b, "; HttpOnly");
    if (!err) err = np_buf_append_str(b, same_site[c->same_site]);
    if (!err && c->partitioned) err = np_buf_append_str(b, "; Partitioned");
    return err;
}

enum neap_err np_set_cookie_write(struct np_buf *b, const struct np_set_cookie *c,
                                  struct neap_errinfo *info)
{
    const char *problem = problem_of(c);
    if (problem) return np_err_set(info, NEAP_EINVAL, "%s", problem);
    size_t before = np_buf_len(b);
    enum neap_err err = np_buf_append(b, c->name.p, c->name.n);
    if (!err) err = np_buf_append_str(b, "=");
    if (!err && c->value.n) err = np_buf_append(b, c->value.p, c->value.n);
    if (!err) err = write_bytes(b, "; Path=", c->path);
    if (!err) err = write_bytes(b, "; Domain=", c->domain);
    if (!err && c->has_max_age) err = np_buf_printf(b, "; Max-Age=%lld", (long long)c->max_age);
    if (!err && c->has_expires) err = write_expires(b, c->expires);
    if (!err) err = write_flags(b, c);
    if (!err) return NEAP_OK;
    b->tail -= np_buf_len(b) - before;
    return np_err_plain(info, err);
}
