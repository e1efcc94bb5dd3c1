/* Parsing and writing addresses (see address.h). Any thread. */
#include "mesh/address.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define UNIX_PREFIX "unix:"

static bool host_byte_ok(unsigned char c, bool bracketed)
{
    if (c <= ' ' || c >= 0x7f) return false;
    if (bracketed) return strchr("[]/", c) == NULL;
    return strchr("[]/:@?#%", c) == NULL;
}

static enum neap_err parse_port(const char *s, size_t n, uint16_t *out, struct neap_errinfo *info)
{
    uint32_t v = 0;
    if (n == 0 || n > 5) goto bad;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') goto bad;
        v = v * 10 + (uint32_t)(s[i] - '0');
    }
    if (v == 0 || v > 65535) goto bad;
    *out = (uint16_t)v;
    return NEAP_OK;
bad:
    return np_err_set(info, NEAP_EINVAL, "bad port '%.*s' in address", (int)(n > 16 ? 16 : n), s);
}

static enum neap_err parse_path(const char *s, size_t n, struct np_address *out,
                                struct neap_errinfo *info)
{
    if (n < 2 || (s[0] != '/' && s[0] != '@')) {
        return np_err_set(info, NEAP_EINVAL, "a unix socket's path begins with '/' or '@'");
    }
    if (n > NP_ADDRESS_PATH_MAX) {
        return np_err_set(info, NEAP_EINVAL, "a unix socket's path has at most %d bytes",
                          NP_ADDRESS_PATH_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f) {
            return np_err_set(info, NEAP_EINVAL, "control character in a unix socket's path");
        }
    }
    *out = (struct np_address){.path = s, .path_len = n};
    return NEAP_OK;
}

enum neap_err np_address_parse(const char *text, size_t n, struct np_address *out,
                               struct neap_errinfo *info)
{
    size_t prefix = sizeof UNIX_PREFIX - 1;
    if (n > prefix && memcmp(text, UNIX_PREFIX, prefix) == 0) {
        return parse_path(text + prefix, n - prefix, out, info);
    }
    if (n > 0 && text[0] == '/') return parse_path(text, n, out, info);

    const char *host = text;
    const char *colon = NULL;
    size_t host_len = 0;
    bool bracketed = n > 0 && text[0] == '[';
    if (bracketed) {
        const char *close = memchr(text, ']', n);
        if (close != NULL && close + 1 < text + n && close[1] == ':') colon = close + 1;
        host = text + 1;
        host_len = close ? (size_t)(close - host) : 0;
    } else {
        colon = n ? memchr(text, ':', n) : NULL;
        host_len = colon ? (size_t)(colon - host) : 0;
    }
    if (colon == NULL || host_len == 0 || host_len > NP_ADDRESS_HOST_MAX) {
        return np_err_set(info, NEAP_EINVAL, "bad address '%.*s': expected host:port or unix:/path",
                          (int)(n > 80 ? 80 : n), text);
    }
    for (size_t i = 0; i < host_len; i++) {
        if (host_byte_ok((unsigned char)host[i], bracketed)) continue;
        return np_err_set(info, NEAP_EINVAL, "bad host in address '%.*s'", (int)(n > 80 ? 80 : n),
                          text);
    }
    uint16_t port = 0;
    size_t port_len = n - (size_t)(colon + 1 - text);
    enum neap_err err = parse_port(colon + 1, port_len, &port, info);
    if (err != NEAP_OK) return err;
    *out = (struct np_address){.host = host, .host_len = host_len, .port = port};
    return NEAP_OK;
}

size_t np_address_format(const struct np_address *a, char *buf)
{
    int n = 0;
    size_t cap = NP_ADDRESS_TEXT_MAX + 1;
    if (a->path != NULL) {
        n = snprintf(buf, cap, UNIX_PREFIX "%.*s", (int)a->path_len, a->path);
    } else if (memchr(a->host, ':', a->host_len) != NULL) {
        n = snprintf(buf, cap, "[%.*s]:%u", (int)a->host_len, a->host, (unsigned)a->port);
    } else {
        n = snprintf(buf, cap, "%.*s:%u", (int)a->host_len, a->host, (unsigned)a->port);
    }
    return (size_t)n;
}
