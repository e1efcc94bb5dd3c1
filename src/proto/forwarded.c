/* Forwarded and X-Forwarded-*, from the right. Pure functions; see forwarded.h. */
#include "proto/forwarded.h"

#include <string.h>

/* The elements of all headers of a name, the last first. */
struct walk {
    const struct np_http_head *head;
    const char *name;
    size_t name_len;
    size_t left;       /* headers not looked at */
    const char *begin; /* what is left of the present one; NULL: none */
    const char *end;
};

static struct walk walk_of(const struct np_http_head *h, const char *name)
{
    return (struct walk){.head = h, .name = name, .name_len = strlen(name), .left = h->nheaders};
}

static bool next_header(struct walk *w)
{
    while (w->left > 0) {
        const struct np_http_header *h = &w->head->headers[--w->left];
        if (!np_http_name_is(h->name, w->name, w->name_len)) continue;
        w->begin = h->value.p;
        w->end = h->value.p + h->value.n;
        return true;
    }
    return false;
}

static struct np_bytes trimmed(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct np_bytes){p, (size_t)(end - p)};
}

/* Where the quoted string begins that ends just before `end` (at its closing quote); NULL: nowhere.
 */
static const char *quote_begin(const char *begin, const char *end)
{
    for (const char *p = end - 2; p >= begin; p--) {
        if (*p != '"') continue;
        const char *slash = p;
        while (slash > begin && slash[-1] == '\\')
            slash--;
        if ((p - slash) % 2 == 0) return p;
    }
    return NULL;
}

/* The last comma that is in no quoted string. `*broken`: a quote has no other end; all that is left
 * is one element, and no good. */
static const char *last_comma(const char *begin, const char *end, bool *broken)
{
    for (const char *p = end; p > begin; p--) {
        if (p[-1] == ',') return p - 1;
        if (p[-1] != '"') continue;
        p = quote_begin(begin, p);
        if (!p) {
            *broken = true;
            return NULL;
        }
        p++; /* the loop takes one away */
    }
    return NULL;
}

/* The next element to the left; empty ones are passed over. False at the end. */
static bool next(struct walk *w, bool quotes, struct np_bytes *out, bool *broken)
{
    *broken = false;
    while (w->begin || next_header(w)) {
        const char *comma = NULL;
        if (quotes) {
            comma = last_comma(w->begin, w->end, broken);
        } else {
            for (const char *p = w->end; p > w->begin && !comma; p--)
                if (p[-1] == ',') comma = p - 1;
        }
        *out = trimmed(comma ? comma + 1 : w->begin, w->end);
        w->end = comma;
        if (!comma) w->begin = NULL;
        if (out->n > 0) return true;
    }
    return false;
}

static bool parse_port(struct np_bytes text, int *out)
{
    int port = 0;
    if (text.n == 0 || text.n > 5) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        port = port * 10 + (text.p[i] - '0');
    }
    if (port < 1 || port > 65535) return false;
    *out = port;
    return true;
}

static bool is_host(struct np_bytes v)
{
    size_t n = v.n;
    if (n == 0 || n > 260) return false;
    const char *colon = memchr(v.p, ':', n);
    if (v.p[0] == '[') {
        struct np_ip ip;
        return np_ip_parse_host(v.p, n, &ip, NULL) == NEAP_OK;
    }
    if (colon) {
        int port;
        n = (size_t)(colon - v.p);
        if (!parse_port((struct np_bytes){colon + 1, v.n - n - 1}, &port)) return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = v.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '-' || c == '_';
        if (!good) return false;
    }
    return n > 0;
}

static const char *scheme_of(struct np_bytes v)
{
    if (np_http_name_is(v, "https", 5) || np_http_name_is(v, "wss", 3)) return "https";
    if (np_http_name_is(v, "http", 4) || np_http_name_is(v, "ws", 2)) return "http";
    return NULL;
}

/* --- X-Forwarded-* */

/* The element that the proxy wrote which was reached after `hops` of them. A list that is shorter
 * was not added to by each: its leftmost. */
static struct np_bytes pick(const struct np_http_head *h, const char *name, size_t hops)
{
    struct walk w = walk_of(h, name);
    struct np_bytes found = {NULL, 0}, e;
    bool broken;
    for (size_t i = 0; i < hops && next(&w, false, &e, &broken); i++)
        found = e;
    return found;
}

static void resolve_x(const struct np_http_head *h, const struct np_cidr_list *trusted,
                      struct np_forwarded *out)
{
    struct walk w = walk_of(h, "x-forwarded-for");
    struct np_bytes e;
    size_t hops = 0;
    bool broken, more = true;
    while (more && next(&w, false, &e, &broken)) {
        struct np_ip ip;
        int port;
        if (np_ip_parse_host(e.p, e.n, &ip, &port)) break;
        out->found = true;
        out->client = ip;
        out->client_port = port;
        hops++;
        more = np_cidr_list_has(trusted, &ip);
    }
    if (hops == 0) hops = 1;
    struct np_bytes proto = pick(h, "x-forwarded-proto", hops);
    struct np_bytes host = pick(h, "x-forwarded-host", hops);
    struct np_bytes port = pick(h, "x-forwarded-port", hops);
    if (proto.p) out->scheme = scheme_of(proto);
    if (host.p && is_host(host)) out->host = host;
    if (port.p) (void)!parse_port(port, &out->port);
}

/* --- Forwarded */

struct element {
    struct np_bytes by_name[3]; /* for, proto, host; p NULL: not said */
};
enum { FOR, PROTO, HOST };

/* One name=value; `*at` goes behind it and a semicolon. Values in quotes may not hold escapes: no
 * address and no host needs any. */
static bool next_pair(const char **at, const char *end, struct np_bytes *name,
                      struct np_bytes *value)
{
    const char *p = *at;
    const char *equals = memchr(p, '=', (size_t)(end - p));
    if (!equals) return false;
    *name = trimmed(p, equals);
    if (name->n != (size_t)(equals - p) && name->p + name->n != equals) return false;
    p = equals + 1;
    if (p < end && *p == '"') {
        const char *close = memchr(p + 1, '"', (size_t)(end - p - 1));
        if (!close || memchr(p, '\\', (size_t)(close - p))) return false;
        *value = (struct np_bytes){p + 1, (size_t)(close - p - 1)};
        p = close + 1;
    } else {
        const char *stop = p;
        while (stop < end && *stop != ';' && *stop != ' ' && *stop != '\t')
            stop++;
        *value = (struct np_bytes){p, (size_t)(stop - p)};
        if (!np_http_is_token(value->p, value->n)) return false;
        p = stop;
    }
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (p < end && *p != ';') return false;
    *at = p < end ? p + 1 : p;
    return np_http_is_token(name->p, name->n);
}

static bool parse_element(struct np_bytes text, struct element *out)
{
    static const char *const names[] = {"for", "proto", "host"};
    const char *p = text.p, *end = text.p + text.n;
    *out = (struct element){0};
    while (p < end) {
        struct np_bytes name, value;
        while (p < end && (*p == ' ' || *p == '\t' || *p == ';'))
            p++;
        if (p == end) break;
        if (!next_pair(&p, end, &name, &value)) return false;
        for (int i = 0; i < 3; i++) {
            if (!np_http_name_is(name, names[i], strlen(names[i]))) continue;
            if (out->by_name[i].p) return false; /* said twice */
            out->by_name[i] = value;
        }
    }
    return true;
}

static void resolve_rfc(const struct np_http_head *h, const struct np_cidr_list *trusted,
                        struct np_forwarded *out)
{
    struct walk w = walk_of(h, "forwarded");
    struct np_bytes text;
    struct element e;
    bool broken, more = true;
    while (more && next(&w, true, &text, &broken) && !broken && parse_element(text, &e)) {
        struct np_ip ip;
        int port;
        /* Whoever wrote this element is trusted, so what it says of the request holds. */
        if (e.by_name[PROTO].p && scheme_of(e.by_name[PROTO]))
            out->scheme = scheme_of(e.by_name[PROTO]);
        if (e.by_name[HOST].p && is_host(e.by_name[HOST])) out->host = e.by_name[HOST];
        struct np_bytes from = e.by_name[FOR];
        if (!from.p || np_ip_parse_host(from.p, from.n, &ip, &port)) break;
        out->found = true;
        out->client = ip;
        out->client_port = port;
        more = np_cidr_list_has(trusted, &ip);
    }
}

/* --- both */

static bool has(const struct np_http_head *h, const char *name)
{
    return np_http_header_get(h, name, strlen(name)).p != NULL;
}

static bool has_x(const struct np_http_head *h)
{
    return has(h, "x-forwarded-for") || has(h, "x-forwarded-proto") || has(h, "x-forwarded-host") ||
           has(h, "x-forwarded-port");
}

void np_forwarded_resolve(const struct np_http_head *h, const char *peer,
                          const struct np_forwarded_policy *policy, struct np_forwarded *out)
{
    *out = (struct np_forwarded){.client_port = -1, .port = -1};
    const struct np_cidr_list *trusted = &policy->trusted;
    out->trusted = np_cidr_list_has_peer(trusted, peer);
    if (!out->trusted) return;
    bool rfc = policy->kind == NP_FORWARDED_RFC_ONLY ||
               (policy->kind == NP_FORWARDED_RFC_FIRST && has(h, "forwarded")) ||
               (policy->kind == NP_FORWARDED_X_FIRST && !has_x(h));
    if (rfc)
        resolve_rfc(h, trusted, out);
    else
        resolve_x(h, trusted, out);
}
