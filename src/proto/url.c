/* Parsing, resolving and normalising URLs. No state; any thread. */
#include "proto/url.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct np_bytes span(const char *from, const char *to)
{
    return (struct np_bytes){from, (size_t)(to - from)};
}

static enum neap_err check_text(const char *text, size_t n, struct neap_errinfo *info)
{
    if (n > NP_URL_MAX)
        return np_err_set(info, NEAP_EINVAL, "the URL is longer than %d bytes", NP_URL_MAX);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c >= 0x7f || strchr("<>\"\\^`{|}", c))
            return np_err_set(info, NEAP_EINVAL, "byte %zu of the URL (0x%02x) must be encoded",
                              i + 1, c);
    }
    return NEAP_OK;
}

/* Cuts "path?query#fragment" apart. */
static void split_tail(const char *at, const char *end, struct np_url *out)
{
    const char *hash = memchr(at, '#', (size_t)(end - at));
    if (hash) out->fragment = span(hash + 1, end);
    if (hash) end = hash;
    const char *mark = memchr(at, '?', (size_t)(end - at));
    if (mark) out->query = span(mark + 1, end);
    out->path = span(at, mark ? mark : end);
}

static enum neap_err parse_port(struct np_bytes text, struct np_url *out, struct neap_errinfo *info)
{
    int port = 0;
    if (text.n == 0) return NEAP_OK; /* "host:" is allowed */
    for (size_t i = 0; i < text.n; i++) {
        if (!is_digit(text.p[i])) port = 65536;
        if (port < 65536) port = port * 10 + (text.p[i] - '0');
    }
    if (port < 1 || port > 65535)
        return np_err_set(info, NEAP_EINVAL, "bad port in the URL: \"%.*s\"",
                          (int)(text.n > 20 ? 20 : text.n), text.p);
    out->port = port;
    out->port_given = true;
    return NEAP_OK;
}

static bool is_reg_name(struct np_bytes h)
{
    for (size_t i = 0; i < h.n; i++) {
        char c = h.p[i];
        if (!is_alpha(c) && !is_digit(c) && !strchr("-._~", c)) return false;
    }
    return h.n > 0 && h.n <= 255;
}

/* "user@host:port", "[::1]:port" */
static enum neap_err parse_authority(const char *at, const char *end, struct np_url *out,
                                     struct neap_errinfo *info)
{
    for (const char *p = end; p > at; p--) { /* the last '@' */
        if (p[-1] != '@') continue;
        out->userinfo = span(at, p - 1);
        at = p;
        break;
    }
    const char *colon;
    if (at < end && *at == '[') {
        const char *close = memchr(at, ']', (size_t)(end - at));
        out->host = span(at + 1, close ? close : at + 1);
        for (size_t i = 0; i < out->host.n; i++) {
            if (!strchr("0123456789abcdefABCDEF:.", out->host.p[i])) close = NULL;
            if (!close) break;
        }
        if (!close || out->host.n < 2 || (close + 1 < end && close[1] != ':'))
            return np_err_set(info, NEAP_EINVAL, "bad IPv6 address in the URL");
        out->ipv6 = true;
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(at, ':', (size_t)(end - at));
        out->host = span(at, colon ? colon : end);
        if (!is_reg_name(out->host))
            return np_err_set(info, NEAP_EINVAL, "%s in the URL",
                              out->host.n ? "bad host name" : "no host");
    }
    return colon ? parse_port(span(colon + 1, end), out, info) : NEAP_OK;
}

static enum neap_err parse_unix(const char *at, const char *end, struct np_url *out,
                                struct neap_errinfo *info)
{
    if (end - at >= 2 && at[0] == '/' && at[1] == '/') at += 2; /* "unix:///run/x" */
    if (at == end || *at != '/')
        return np_err_set(info, NEAP_EINVAL, "a unix URL names a file: unix:/path/to.sock");
    const char *stop = at;
    while (stop < end && *stop != ':' && *stop != '?' && *stop != '#')
        stop++;
    out->socket = span(at, stop);
    out->port = 0;
    if (stop < end && *stop == ':') stop++;
    split_tail(stop, end, out);
    if (out->path.n && out->path.p[0] != '/')
        return np_err_set(info, NEAP_EINVAL, "the path after the socket starts with '/'");
    return NEAP_OK;
}

/* The length of "scheme:" at the front, 0 when there is none. */
static size_t scheme_length(const char *text, size_t n)
{
    if (n == 0 || !is_alpha(text[0])) return 0;
    for (size_t i = 1; i < n; i++) {
        char c = text[i];
        if (c == ':') return i + 1;
        if (!is_alpha(c) && !is_digit(c) && !strchr("+-.", c)) return 0;
    }
    return 0;
}

static enum neap_err parse_checked(const char *text, size_t n, struct np_url *out,
                                   struct neap_errinfo *info)
{
    const char *end = text + n;
    size_t sn = scheme_length(text, n);
    struct np_url u = {.scheme = NP_URL_NONE};
    enum neap_err err;
    if (sn == 5 && strncasecmp(text, "http:", 5) == 0) {
        u.scheme = NP_URL_HTTP;
        u.port = 80;
    } else if (sn == 6 && strncasecmp(text, "https:", 6) == 0) {
        u.scheme = NP_URL_HTTPS;
        u.port = 443;
    } else if (sn == 5 && strncasecmp(text, "unix:", 5) == 0) {
        u.scheme = NP_URL_UNIX;
    } else {
        return np_err_set(info, NEAP_EINVAL, "a URL starts with http:, https: or unix:");
    }
    const char *at = text + sn;
    if (u.scheme == NP_URL_UNIX) {
        err = parse_unix(at, end, &u, info);
    } else if (end - at < 2 || at[0] != '/' || at[1] != '/') {
        err = np_err_set(info, NEAP_EINVAL, "\"//\" is missing in the URL");
    } else {
        const char *stop = at += 2;
        while (stop < end && *stop != '/' && *stop != '?' && *stop != '#')
            stop++;
        err = parse_authority(at, stop, &u, info);
        split_tail(stop, end, &u);
    }
    if (!err) *out = u;
    return err;
}

enum neap_err np_url_parse(const char *text, size_t n, struct np_url *out,
                           struct neap_errinfo *info)
{
    enum neap_err err = check_text(text, n, info);
    return err ? err : parse_checked(text, n, out, info);
}

enum neap_err np_url_target(struct np_buf *b, const struct np_url *u)
{
    char *at;
    size_t pn = u->path.n ? u->path.n : 1;
    size_t n = pn + (u->query.p ? u->query.n + 1 : 0);
    enum neap_err err = np_buf_reserve(b, n, &at);
    if (err) return err;
    memcpy(at, u->path.n ? u->path.p : "/", pn);
    if (u->query.p) {
        at[pn] = '?';
        memcpy(at + pn + 1, u->query.p, u->query.n);
    }
    np_buf_added(b, n);
    return NEAP_OK;
}

static bool own_port(const struct np_url *u)
{
    return u->port == (u->scheme == NP_URL_HTTPS ? 443 : 80);
}

enum neap_err np_url_authority(struct np_buf *b, const struct np_url *u)
{
    if (u->scheme == NP_URL_UNIX) return np_buf_append_str(b, "localhost");
    const char *open = u->ipv6 ? "[" : "", *close = u->ipv6 ? "]" : "";
    if (own_port(u)) return np_buf_printf(b, "%s%.*s%s", open, (int)u->host.n, u->host.p, close);
    return np_buf_printf(b, "%s%.*s%s:%d", open, (int)u->host.n, u->host.p, close, u->port);
}

static bool same_bytes(struct np_bytes a, struct np_bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool np_url_same_origin(const struct np_url *a, const struct np_url *b)
{
    if (a->scheme != b->scheme || a->port != b->port) return false;
    if (a->scheme == NP_URL_UNIX) return same_bytes(a->socket, b->socket);
    return a->host.n == b->host.n && strncasecmp(a->host.p, b->host.p, a->host.n) == 0;
}

/* How many bytes a dot is at `p`: ".", "%2e" or "%2E"; 0 when there is none. */
static size_t dot_at(const char *p, const char *end)
{
    if (p < end && *p == '.') return 1;
    if (end - p >= 3 && p[0] == '%' && p[1] == '2' && (p[2] | 32) == 'e') return 3;
    return 0;
}

/* 1 for ".", 2 for "..", 0 for any other segment. */
static int dots(const char *p, const char *end)
{
    size_t one = dot_at(p, end);
    if (!one) return 0;
    if (p + one == end) return 1;
    size_t two = dot_at(p + one, end);
    return two && p + one + two == end ? 2 : 0;
}

size_t np_url_normalize_path(char *path, size_t n)
{
    const char *at = path, *end = path + n;
    char *out = path;
    if (n == 0 || *path != '/') return n;
    while (at < end) { /* at a '/' */
        const char *seg = at + 1;
        const char *stop = memchr(seg, '/', (size_t)(end - seg));
        if (!stop) stop = end;
        int k = dots(seg, stop);
        if (k == 2) {
            while (out > path && *--out != '/') {
            }
        }
        if (k == 0) {
            size_t len = (size_t)(stop - at);
            memmove(out, at, len);
            out += len;
        } else if (stop == end) {
            *out++ = '/';
        }
        at = stop;
    }
    return (size_t)(out - path);
}

static enum neap_err append_origin(struct np_buf *b, const struct np_url *u)
{
    if (u->scheme == NP_URL_UNIX) /* "unix:" and two slashes would be taken for the long form */
        return np_buf_printf(b,
                             "unix:%s%.*s:", u->socket.n > 1 && u->socket.p[1] == '/' ? "//" : "",
                             (int)u->socket.n, u->socket.p);
    enum neap_err err = np_buf_append_str(b, u->scheme == NP_URL_HTTPS ? "https://" : "http://");
    return err ? err : np_url_authority(b, u);
}

static enum neap_err append_bytes(struct np_buf *b, const char *before, struct np_bytes s)
{
    if (!s.p) return NEAP_OK;
    enum neap_err err = np_buf_append_str(b, before);
    return err ? err : np_buf_append(b, s.p, s.n);
}

/* The path of base and ref merged (RFC 3986 §5.2.3), normalised, appended. */
static enum neap_err append_path(struct np_buf *b, struct np_bytes base, struct np_bytes ref)
{
    size_t keep = 0;
    char *at;
    if (ref.n == 0)
        keep = base.n;
    else if (ref.p[0] != '/')
        for (size_t i = 0; i < base.n; i++)
            if (base.p[i] == '/') keep = i + 1;
    enum neap_err err = np_buf_reserve(b, keep + ref.n + 1, &at);
    if (err) return err;
    size_t n = 0;
    if (keep == 0 && (ref.n == 0 || ref.p[0] != '/')) at[n++] = '/';
    if (keep) memcpy(at + n, base.p, keep);
    n += keep;
    if (ref.n) memcpy(at + n, ref.p, ref.n);
    n += ref.n;
    np_buf_added(b, np_url_normalize_path(at, n));
    return NEAP_OK;
}

static enum neap_err append_tail(struct np_buf *b, struct np_bytes base_path,
                                 const struct np_url *tail)
{
    enum neap_err err = append_path(b, base_path, tail->path);
    if (!err) err = append_bytes(b, "?", tail->query);
    if (!err) err = append_bytes(b, "#", tail->fragment);
    return err;
}

enum neap_err np_url_resolve(struct np_buf *b, const struct np_url *base, const char *ref, size_t n,
                             struct neap_errinfo *info)
{
    struct np_url u = {.scheme = base->scheme, .port = base->port};
    struct np_buf made = {0};
    struct np_bytes base_path = {NULL, 0};
    enum neap_err err = check_text(ref, n, info);
    if (err) return err;
    bool net_path = n >= 2 && ref[0] == '/' && ref[1] == '/';
    if (scheme_length(ref, n)) {
        err = parse_checked(ref, n, &u, info);
    } else if (net_path && base->scheme != NP_URL_UNIX) {
        const char *end = ref + n, *stop = ref + 2;
        while (stop < end && *stop != '/' && *stop != '?' && *stop != '#')
            stop++;
        u.port = base->scheme == NP_URL_HTTPS ? 443 : 80;
        err = parse_authority(ref + 2, stop, &u, info);
        split_tail(stop, end, &u);
    } else {
        split_tail(ref, ref + n, &u);
        struct np_url tail = u;
        u = *base;
        u.path = tail.path;
        u.query = tail.path.n || tail.query.p ? tail.query : base->query;
        u.fragment = tail.fragment;
        base_path = base->path;
    }
    if (err) return err;
    err = append_origin(&made, &u);
    if (!err) err = append_tail(&made, base_path, &u);
    if (!err && np_buf_len(&made) > NP_URL_MAX)
        err = np_err_set(info, NEAP_EINVAL, "the URL is longer than %d bytes", NP_URL_MAX);
    if (!err) err = np_buf_append(b, np_buf_data(&made), np_buf_len(&made));
    if (err == NEAP_ENOMEM) np_err_plain(info, NEAP_ENOMEM);
    np_buf_fini(&made);
    return err;
}
