/* What HTTP text is made of: tokens, values, targets, reasons. No state; any thread. */
#include <string.h>
#include <strings.h>

#include "proto/http1.h"

/* RFC 9110's tchar. */
static const unsigned char tchar[256] = {
    ['!'] = 1,         ['#' ... '\''] = 1, ['*' ... '+'] = 1, ['-' ... '.'] = 1, ['0' ... '9'] = 1,
    ['A' ... 'Z'] = 1, ['^' ... 'z'] = 1,  ['|'] = 1,         ['~'] = 1,
};

bool np_http_is_token(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    if (n == 0) return false;
    for (; n >= 4; p += 4, n -= 4) {
        if (!(tchar[p[0]] & tchar[p[1]] & tchar[p[2]] & tchar[p[3]])) return false;
    }
    for (; n > 0; p++, n--) {
        if (!tchar[*p]) return false;
    }
    return true;
}

static bool is_vchar(unsigned char c)
{
    return (c >= ' ' || c == '\t') && c != 0x7f;
}

bool np_http_is_value(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        if (n - i >= 8 && !np_http_has_control(p + i)) {
            i += 8;
            continue;
        }
        for (size_t end = n - i >= 8 ? i + 8 : n; i < end; i++) {
            if (!is_vchar((unsigned char)p[i])) return false;
        }
    }
    return true;
}

/* Looks at every byte and decides at the end: compilers make vector code of that. */
bool np_http_is_target(const char *p, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bad |= (c <= ' ') | (c >= 0x7f) | (c == '#');
    }
    return n > 0 && !bad;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Eight bytes, those of 'A' to 'Z' in lower case. */
static uint64_t lower8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t low = w & EACH(0x7f);
    uint64_t from_a = low + EACH(0x80 - 'A'), past_z = low + EACH(0x80 - 'Z' - 1);
    return w | ((from_a & ~past_z & ~w & EACH(0x80)) >> 2);
}

bool np_http_lower_is(const char *p, const char *lower, size_t n)
{
    for (size_t i = 0; n >= 8; i += 8) { /* the last eight overlap those before */
        if (i + 8 >= n) i = n - 8;
        uint64_t w;
        memcpy(&w, lower + i, sizeof w);
        if (lower8(p + i) != w) return false;
        if (i == n - 8) return true;
    }
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c + 32);
        if (c != lower[i]) return false;
    }
    return true;
}

bool np_http_list_has(struct np_bytes list, const char *lower, size_t n)
{
    const char *at = list.p, *end = list.p + list.n;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        const char *next = comma ? comma + 1 : end;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        while (at < stop && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (np_http_name_is((struct np_bytes){at, (size_t)(stop - at)}, lower, n)) return true;
        at = next;
    }
    return false;
}

static bool is_one_of(struct np_bytes name, const char *const *list)
{
    for (; *list; list++) {
        if (np_http_name_is(name, *list, strlen(*list))) return true;
    }
    return false;
}

bool np_http_is_hop_by_hop(struct np_bytes name)
{
    switch (name.n) {
    case 2:
        return np_http_name_is(name, "te", 2);
    case 7:
        return np_http_name_is(name, "trailer", 7) || np_http_name_is(name, "upgrade", 7);
    case 10:
        return np_http_name_is(name, "connection", 10) || np_http_name_is(name, "keep-alive", 10);
    case 16:
        return np_http_name_is(name, "proxy-connection", 16);
    case 17:
        return np_http_name_is(name, "transfer-encoding", 17);
    default:
        return false;
    }
}

bool np_http_may_trail(struct np_bytes name)
{
    static const char *const list[] = {"content-length",
                                       "host",
                                       "expect",
                                       "max-forwards",
                                       "cache-control",
                                       "pragma",
                                       "range",
                                       "authorization",
                                       "proxy-authorization",
                                       "proxy-authenticate",
                                       "www-authenticate",
                                       "cookie",
                                       "set-cookie",
                                       "content-encoding",
                                       "content-type",
                                       "content-range",
                                       "age",
                                       "date",
                                       "expires",
                                       "location",
                                       "retry-after",
                                       "vary",
                                       "forwarded",
                                       "x-forwarded-for",
                                       "x-forwarded-host",
                                       "x-forwarded-proto",
                                       "x-real-ip",
                                       NULL};
    return !np_http_is_hop_by_hop(name) && !is_one_of(name, list);
}

struct np_bytes np_http_header_get(const struct np_http_head *h, const char *name, size_t n)
{
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct np_http_header *it = &h->headers[i];
        if (it->name.n == n && strncasecmp(it->name.p, name, n) == 0) return it->value;
    }
    return (struct np_bytes){NULL, 0};
}

const char *np_http_method_name(int method)
{
    return llhttp_method_name((llhttp_method_t)method);
}

int np_http_method(const char *name, size_t n)
{
    switch (n) { /* the usual ones without a search */
    case 3:
        if (memcmp(name, "GET", 3) == 0) return HTTP_GET;
        if (memcmp(name, "PUT", 3) == 0) return HTTP_PUT;
        break;
    case 4:
        if (memcmp(name, "POST", 4) == 0) return HTTP_POST;
        if (memcmp(name, "HEAD", 4) == 0) return HTTP_HEAD;
        break;
    default:
        break;
    }
#define NP_METHOD(num, id, string) \
    if (n == sizeof #string - 1 && memcmp(name, #string, n) == 0) return num;
    HTTP_METHOD_MAP(NP_METHOD)
#undef NP_METHOD
    return -1;
}

const char *np_http_reason(int status)
{
    switch (status) {
#define NP_REASON(num, text) \
    case num:                \
        return text;
        NP_REASON(100, "Continue")
        NP_REASON(101, "Switching Protocols")
        NP_REASON(102, "Processing")
        NP_REASON(103, "Early Hints")
        NP_REASON(200, "OK")
        NP_REASON(201, "Created")
        NP_REASON(202, "Accepted")
        NP_REASON(203, "Non-Authoritative Information")
        NP_REASON(204, "No Content")
        NP_REASON(205, "Reset Content")
        NP_REASON(206, "Partial Content")
        NP_REASON(207, "Multi-Status")
        NP_REASON(208, "Already Reported")
        NP_REASON(226, "IM Used")
        NP_REASON(300, "Multiple Choices")
        NP_REASON(301, "Moved Permanently")
        NP_REASON(302, "Found")
        NP_REASON(303, "See Other")
        NP_REASON(304, "Not Modified")
        NP_REASON(305, "Use Proxy")
        NP_REASON(307, "Temporary Redirect")
        NP_REASON(308, "Permanent Redirect")
        NP_REASON(400, "Bad Request")
        NP_REASON(401, "Unauthorized")
        NP_REASON(402, "Payment Required")
        NP_REASON(403, "Forbidden")
        NP_REASON(404, "Not Found")
        NP_REASON(405, "Method Not Allowed")
        NP_REASON(406, "Not Acceptable")
        NP_REASON(407, "Proxy Authentication Required")
        NP_REASON(408, "Request Timeout")
        NP_REASON(409, "Conflict")
        NP_REASON(410, "Gone")
        NP_REASON(411, "Length Required")
        NP_REASON(412, "Precondition Failed")
        NP_REASON(413, "Content Too Large")
        NP_REASON(414, "URI Too Long")
        NP_REASON(415, "Unsupported Media Type")
        NP_REASON(416, "Range Not Satisfiable")
        NP_REASON(417, "Expectation Failed")
        NP_REASON(418, "I'm a teapot")
        NP_REASON(421, "Misdirected Request")
        NP_REASON(422, "Unprocessable Content")
        NP_REASON(423, "Locked")
        NP_REASON(424, "Failed Dependency")
        NP_REASON(425, "Too Early")
        NP_REASON(426, "Upgrade Required")
        NP_REASON(428, "Precondition Required")
        NP_REASON(429, "Too Many Requests")
        NP_REASON(431, "Request Header Fields Too Large")
        NP_REASON(451, "Unavailable For Legal Reasons")
        NP_REASON(500, "Internal Server Error")
        NP_REASON(501, "Not Implemented")
        NP_REASON(502, "Bad Gateway")
        NP_REASON(503, "Service Unavailable")
        NP_REASON(504, "Gateway Timeout")
        NP_REASON(505, "HTTP Version Not Supported")
        NP_REASON(506, "Variant Also Negotiates")
        NP_REASON(507, "Insufficient Storage")
        NP_REASON(508, "Loop Detected")
        NP_REASON(511, "Network Authentication Required")
#undef NP_REASON
    default:
        return "Unknown";
    }
}
