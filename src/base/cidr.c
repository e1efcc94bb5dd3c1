/* Addresses, networks and lists of them. Pure functions. */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static unsigned width(const struct np_ip *ip)
{
    return ip->family == 4 ? 32 : 128;
}

enum neap_err np_ip_parse(const char *text, size_t n, struct np_ip *out)
{
    char copy[NP_IP_TEXT_MAX];
    uint8_t bytes[16];
    if (n == 0 || n >= sizeof copy || memchr(text, '\0', n)) return NEAP_EINVAL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    memset(bytes, 0, sizeof bytes);
    if (inet_pton(AF_INET, copy, bytes) == 1) {
        out->family = 4;
        memcpy(out->bytes, bytes, sizeof bytes);
        return NEAP_OK;
    }
    if (inet_pton(AF_INET6, copy, bytes) != 1) return NEAP_EINVAL;
    memset(out, 0, sizeof *out);
    if (memcmp(bytes, mapped, sizeof mapped) == 0) {
        out->family = 4;
        memcpy(out->bytes, bytes + sizeof mapped, 4);
    } else {
        out->family = 6;
        memcpy(out->bytes, bytes, sizeof bytes);
    }
    return NEAP_OK;
}

static bool parse_port(const char *p, const char *end, int *out)
{
    int port = 0;
    if (p == end || end - p > 5) return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return false;
        port = port * 10 + (*p - '0');
    }
    *out = port;
    return port <= 65535;
}

enum neap_err np_ip_parse_host(const char *text, size_t n, struct np_ip *out, int *port)
{
    const char *end = text + n;
    const char *host_end = end;
    int none = -1, *to = port ? port : &none;
    *to = -1;
    if (n && *text == '[') {
        const char *close = memchr(text, ']', n);
        if (!close) return NEAP_EINVAL;
        if (close + 1 < end && (close[1] != ':' || !parse_port(close + 2, end, to)))
            return NEAP_EINVAL;
        enum neap_err err = np_ip_parse(text + 1, (size_t)(close - text - 1), out);
        /* What stands in brackets is IPv6, or IPv4 written so. */
        if (!err && !memchr(text + 1, ':', (size_t)(close - text - 1))) return NEAP_EINVAL;
        return err;
    }
    const char *colon = n ? memchr(text, ':', n) : NULL;
    bool one = colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1));
    if (one) {
        if (!parse_port(colon + 1, end, to)) return NEAP_EINVAL;
        host_end = colon;
    }
    return np_ip_parse(text, (size_t)(host_end - text), out);
}

size_t np_ip_format(const struct np_ip *ip, char out[NP_IP_TEXT_MAX])
{
    if (!inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, out, NP_IP_TEXT_MAX)) *out = 0;
    return strlen(out);
}

static void keep_bits(struct np_ip *ip, unsigned bits)
{
    for (unsigned i = 0; i < width(ip) / 8; i++) {
        unsigned left = bits > i * 8 ? bits - i * 8 : 0;
        if (left < 8) ip->bytes[i] &= (uint8_t)(0xff00u >> left);
    }
}

static enum neap_err parse_bits(const char *p, const char *end, unsigned *out)
{
    unsigned v = 0;
    if (p == end || end - p > 3 || (*p == '0' && end - p > 1)) return NEAP_EINVAL;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return NEAP_EINVAL;
        v = v * 10 + (unsigned)(*p - '0');
    }
    *out = v;
    return NEAP_OK;
}

enum neap_err np_cidr_parse(const char *text, size_t n, struct np_cidr *out,
                            struct neap_errinfo *info)
{
    struct np_cidr c;
    int shown = n > 80 ? 80 : (int)n;
    const char *slash = n ? memchr(text, '/', n) : NULL;
    size_t ip_len = slash ? (size_t)(slash - text) : n;
    if (np_ip_parse(text, ip_len, &c.net))
        return np_err_set(info, NEAP_EINVAL, "'%.*s' is neither an address nor a network", shown,
                          text);
    bool as_v6 = c.net.family == 4 && memchr(text, ':', ip_len); /* ::ffff:10.0.0.0/104 */
    unsigned max = as_v6 ? 128 : width(&c.net), bits = max;
    if (slash && (parse_bits(slash + 1, text + n, &bits) || bits > max || (as_v6 && bits < 96)))
        return np_err_set(info, NEAP_EINVAL, "'%.*s': after the slash there are %u to %u bits",
                          shown, text, as_v6 ? 96 : 0, max);
    c.bits = (uint8_t)(as_v6 ? bits - 96 : bits);
    struct np_ip net = c.net;
    keep_bits(&net, c.bits);
    if (memcmp(net.bytes, c.net.bytes, sizeof net.bytes) != 0) {
        char ip[NP_IP_TEXT_MAX];
        np_ip_format(&net, ip);
        return np_err_set(info, NEAP_EINVAL, "'%.*s' is an address inside of a network: %s/%u?",
                          shown, text, ip, (unsigned)c.bits);
    }
    *out = c;
    return NEAP_OK;
}

bool np_cidr_has(const struct np_cidr *c, const struct np_ip *ip)
{
    if (c->net.family != ip->family) return false;
    unsigned whole = c->bits / 8, rest = c->bits % 8;
    if (memcmp(c->net.bytes, ip->bytes, whole) != 0) return false;
    if (rest == 0) return true;
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return ((c->net.bytes[whole] ^ ip->bytes[whole]) & mask) == 0;
}

void np_cidr_list_fini(struct np_cidr_list *l)
{
    np_free(l->items);
    *l = (struct np_cidr_list){0};
}

enum neap_err np_cidr_list_add(struct np_cidr_list *l, const char *text, size_t n,
                               struct neap_errinfo *info)
{
    if (n == 4 && memcmp(text, "unix", 4) == 0) {
        l->unix_peers = true;
        return NEAP_OK;
    }
    if (n == 1 && *text == '*') {
        l->everybody = true;
        return NEAP_OK;
    }
    struct np_cidr c;
    enum neap_err err = np_cidr_parse(text, n, &c, info);
    if (err) return err;
    struct np_cidr *more = np_realloc(l->items, (l->n + 1) * sizeof *more);
    if (!more) return np_err_plain(info, NEAP_ENOMEM);
    l->items = more;
    l->items[l->n++] = c;
    return NEAP_OK;
}

enum neap_err np_cidr_list_copy(const struct np_cidr_list *l, struct np_cidr_list *out)
{
    struct np_cidr_list copy = *l;
    if (l->n) {
        copy.items = np_alloc(l->n * sizeof *copy.items);
        if (!copy.items) return NEAP_ENOMEM;
        memcpy(copy.items, l->items, l->n * sizeof *copy.items);
    }
    *out = copy;
    return NEAP_OK;
}

bool np_cidr_list_has(const struct np_cidr_list *l, const struct np_ip *ip)
{
    if (l->everybody) return true;
    for (size_t i = 0; i < l->n; i++)
        if (np_cidr_has(&l->items[i], ip)) return true;
    return false;
}

bool np_cidr_list_has_peer(const struct np_cidr_list *l, const char *peer)
{
    struct np_ip ip;
    char plain[80];
    size_t n = strlen(peer);
    if (l->everybody) return true;
    if (strncmp(peer, "unix:", 5) == 0) return l->unix_peers;
    const char *scope = strchr(peer, '%');
    if (scope) {
        const char *rest = strchr(scope, ']');
        if (!rest) rest = peer + n;
        int w = snprintf(plain, sizeof plain, "%.*s%s", (int)(scope - peer), peer, rest);
        if (w < 0 || (size_t)w >= sizeof plain) return false;
        peer = plain;
        n = (size_t)w;
    }
    return np_ip_parse_host(peer, n, &ip, NULL) == NEAP_OK && np_cidr_list_has(l, &ip);
}
