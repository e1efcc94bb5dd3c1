/* Hosts: what Host, an absolute target and CONNECT name (RFC 9112 §3.2, RFC 3986 §3.2.2). No state;
 * any thread. */
#include <string.h>

#include "proto/http1_impl.h"

/* The characters of a registered name but percent: unreserved, sub-delims but the comma. */
static bool is_reg_char(unsigned char c)
{
    static const uint64_t bits[4] = {UINT64_C(0x2bff6fd200000000), UINT64_C(0x47fffffe87fffffe)};
    return bits[c >> 6] >> (c & 63) & 1;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* "[…]": the bytes between are those of an IPv6 address, a zone or a future one. */
static size_t literal_length(struct np_bytes v)
{
    size_t i = 1;
    while (i < v.n && (is_reg_char((unsigned char)v.p[i]) || v.p[i] == ':' || v.p[i] == '%'))
        i++;
    return i > 1 && i < v.n && v.p[i] == ']' ? i + 1 : 0;
}

static size_t name_length(struct np_bytes v)
{
    for (size_t i = 0;; i += 3) {
        while (i < v.n && is_reg_char((unsigned char)v.p[i]))
            i++;
        if (i == v.n || v.p[i] != '%') return i;
        if (v.n - i < 3 || !is_hex(v.p[i + 1]) || !is_hex(v.p[i + 2])) return 0;
    }
}

bool np_http1_split_host(struct np_bytes v, struct np_bytes *host, struct np_bytes *port)
{
    size_t n = v.n && v.p[0] == '[' ? literal_length(v) : name_length(v);
    *host = (struct np_bytes){v.p, n};
    *port = (struct np_bytes){v.p + n, 0};
    if (n == v.n) return true; /* an empty one is allowed */
    if (n == 0 || v.p[n] != ':') return false;
    *port = (struct np_bytes){v.p + n + 1, v.n - n - 1};
    for (size_t i = 0; i < port->n; i++) {
        if (port->p[i] < '0' || port->p[i] > '9') return false;
    }
    return true;
}

static long number_of(struct np_bytes port, long otherwise)
{
    long v = 0;
    if (port.n == 0) return otherwise;
    for (size_t i = 0; i < port.n && v < 1000000; i++)
        v = v * 10 + (port.p[i] - '0');
    return v;
}

bool np_http1_same_host(struct np_bytes a, struct np_bytes b, long default_port)
{
    struct np_bytes host[2], port[2];
    if (!np_http1_split_host(a, &host[0], &port[0])) return false;
    if (!np_http1_split_host(b, &host[1], &port[1]) || host[0].n != host[1].n) return false;
    for (size_t i = 0; i < host[0].n; i++) {
        char x = host[0].p[i], y = host[1].p[i];
        if (x >= 'A' && x <= 'Z') x = (char)(x + 32);
        if (y >= 'A' && y <= 'Z') y = (char)(y + 32);
        if (x != y) return false;
    }
    if (default_port < 0 && (port[0].n == 0 || port[1].n == 0)) return true;
    return number_of(port[0], default_port) == number_of(port[1], default_port);
}

bool np_http1_is_connect_target(struct np_bytes v)
{
    struct np_bytes host, port;
    if (!np_http1_split_host(v, &host, &port) || host.n == 0) return false;
    long number = number_of(port, 0);
    return number > 0 && number < 65536;
}
