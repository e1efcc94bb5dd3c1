/* Reading the PROXY protocol. Pure functions; see proxy_protocol.h. */
#include "proto/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "proto/proxy_protocol_impl.h"

const char np_proxy_v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum neap_err malformed(const char **why, const char *text)
{
    if (why) *why = text;
    return NEAP_EPROTO;
}

/* --- version 1 */

/* The next part of the line, up to a space or the end. False when there is none. */
static bool next_part(const char **at, const char *end, struct np_bytes *out)
{
    const char *p = *at;
    if (p >= end || *p != ' ') return false;
    p++;
    const char *stop = memchr(p, ' ', (size_t)(end - p));
    if (!stop) stop = end;
    *out = (struct np_bytes){p, (size_t)(stop - p)};
    *at = stop;
    return out->n > 0;
}

static bool parse_port(struct np_bytes text, uint16_t *out)
{
    unsigned v = 0;
    if (text.n > 5 || (text.n > 1 && text.p[0] == '0')) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        v = v * 10 + (unsigned)(text.p[i] - '0');
    }
    *out = (uint16_t)v;
    return v <= 65535;
}

static bool parse_ip(struct np_bytes text, enum np_proxy_family family, uint8_t *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n >= sizeof copy) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return inet_pton(family == NP_PROXY_INET ? AF_INET : AF_INET6, copy, out) == 1;
}

/* What stands between "PROXY" and CR LF. */
static enum neap_err parse_v1_line(const char *p, const char *end, struct np_proxy_header *h,
                                   const char **why)
{
    struct np_bytes kind, part[4];
    if (!next_part(&p, end, &kind)) return malformed(why, "no protocol in the PROXY line");
    if (kind.n == 7 && memcmp(kind.p, "UNKNOWN", 7) == 0)
        return NEAP_OK; /* the rest means nothing */
    if (kind.n != 4 || memcmp(kind.p, "TCP", 3) != 0 || (kind.p[3] != '4' && kind.p[3] != '6'))
        return malformed(why, "an unknown protocol in the PROXY line");
    h->family = kind.p[3] == '4' ? NP_PROXY_INET : NP_PROXY_INET6;
    for (int i = 0; i < 4; i++)
        if (!next_part(&p, end, &part[i])) return malformed(why, "the PROXY line is too short");
    if (p != end) return malformed(why, "the PROXY line is too long");
    if (!parse_ip(part[0], h->family, h->source.ip) ||
        !parse_ip(part[1], h->family, h->destination.ip))
        return malformed(why, "a bad address in the PROXY line");
    if (!parse_port(part[2], &h->source.port) || !parse_port(part[3], &h->destination.port))
        return malformed(why, "a bad port in the PROXY line");
    return NEAP_OK;
}

static enum neap_err parse_v1(const char *data, size_t n, struct np_proxy_header *h, size_t *used,
                              const char **why)
{
    size_t most = n < NP_PROXY_V1_MAX ? n : NP_PROXY_V1_MAX;
    const char *cr = memchr(data, '\r', most);
    const char *lf = memchr(data, '\n', most);
    if (lf && (!cr || lf != cr + 1)) return malformed(why, "a bare LF in the PROXY line");
    if (cr && cr + 1 < data + n && !lf) return malformed(why, "a bare CR in the PROXY line");
    if (memchr(data, '\0', cr ? (size_t)(cr - data) : most))
        return malformed(why, "a NUL in the PROXY line");
    if (!lf) {
        if (n >= NP_PROXY_V1_MAX) return malformed(why, "the PROXY line is longer than 107 bytes");
        return NEAP_EAGAIN;
    }
    h->version = 1;
    enum neap_err err = parse_v1_line(data + 5, cr, h, why);
    if (!err) *used = (size_t)(lf + 1 - data);
    return err;
}

/* --- version 2 */

static uint16_t u16(const char *p)
{
    return (uint16_t)((unsigned char)p[0] << 8 | (unsigned char)p[1]);
}

static uint32_t u32(const char *p)
{
    return (uint32_t)u16(p) << 16 | u16(p + 2);
}

/* The next addition of [*at, end). NEAP_EOF at the end. */
static enum neap_err next_tlv(const char **at, const char *end, uint8_t *type,
                              struct np_bytes *value)
{
    const char *p = *at;
    if (p == end) return NEAP_EOF;
    if (end - p < 3) return NEAP_EPROTO;
    size_t n = u16(p + 1);
    if (n > (size_t)(end - p) - 3) return NEAP_EPROTO;
    *type = (uint8_t)*p;
    *value = (struct np_bytes){p + 3, n};
    *at = p + 3 + n;
    return NEAP_OK;
}

static bool set_once(struct np_bytes *to, struct np_bytes value)
{
    if (to->p) return false;
    *to = value;
    return true;
}

static enum neap_err parse_ssl(struct np_bytes v, struct np_proxy_ssl *ssl, const char **why)
{
    uint8_t type;
    struct np_bytes value;
    const char *at = v.p + 5, *end = v.p + v.n;
    enum neap_err err;
    if (v.n < 5) return malformed(why, "the PROXY header's TLS part is too short");
    ssl->client = (uint8_t)v.p[0];
    ssl->verify = u32(v.p + 1);
    while ((err = next_tlv(&at, end, &type, &value)) == NEAP_OK) {
        struct np_bytes *to = type == NP_PP2_SSL_VERSION   ? &ssl->version
                              : type == NP_PP2_SSL_CN      ? &ssl->cn
                              : type == NP_PP2_SSL_CIPHER  ? &ssl->cipher
                              : type == NP_PP2_SSL_SIG_ALG ? &ssl->sig_alg
                              : type == NP_PP2_SSL_KEY_ALG ? &ssl->key_alg
                              : type == NP_PP2_SSL_GROUP   ? &ssl->group
                                                           : NULL;
        if (to && !set_once(to, value)) return malformed(why, "the PROXY header repeats itself");
    }
    return err == NEAP_EOF ? NEAP_OK
                           : malformed(why, "the PROXY header's TLS part does not add up");
}

/* No name has control characters, and none of these is empty. */
static bool is_name(struct np_bytes v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((unsigned char)v.p[i] < 0x21 || v.p[i] == 0x7f) return false;
    return v.n > 0 && v.n <= 255;
}

/* With the four bytes of the checksum itself as zeros. */
static bool checksum_fits(const char *data, size_t n, struct np_bytes sum)
{
    static const char zeros[4];
    uint32_t crc = np_crc32c(0, data, (size_t)(sum.p - data));
    crc = np_crc32c(crc, zeros, sizeof zeros);
    crc = np_crc32c(crc, sum.p + 4, (size_t)(data + n - sum.p) - 4);
    return crc == u32(sum.p);
}

struct whole {
    const char *data; /* the header */
    size_t n;
};

static enum neap_err take_tlv(struct whole w, uint8_t type, struct np_bytes v,
                              struct np_proxy_header *h, const char **why)
{
    bool once = true;
    switch (type) {
    case NP_PP2_ALPN:
        once = set_once(&h->alpn, v);
        break;
    case NP_PP2_AUTHORITY:
        if (!is_name(v)) return malformed(why, "a bad authority in the PROXY header");
        once = set_once(&h->authority, v);
        break;
    case NP_PP2_CRC32C:
        if (v.n != 4) return malformed(why, "the PROXY header's checksum is not 4 bytes long");
        once = !h->checksum;
        h->checksum = true;
        if (!checksum_fits(w.data, w.n, v))
            return malformed(why, "the PROXY header's checksum is wrong");
        break;
    case NP_PP2_UNIQUE_ID:
        if (v.n > NP_PROXY_UNIQUE_ID_MAX)
            return malformed(why, "the PROXY header's unique ID is longer than 128 bytes");
        /* HAProxy sends an empty one where it was given no format: none. */
        if (v.n > 0) once = set_once(&h->unique_id, v);
        break;
    case NP_PP2_SSL:
        once = !h->has_ssl;
        h->has_ssl = true;
        if (once) {
            enum neap_err err = parse_ssl(v, &h->ssl, why);
            if (err) return err;
        }
        break;
    case NP_PP2_NETNS:
        once = set_once(&h->netns, v);
        break;
    default: /* NOOP, and what others have made up */
        break;
    }
    return once ? NEAP_OK : malformed(why, "the PROXY header repeats itself");
}

static void take_path(const char *p, struct np_proxy_address *a)
{
    size_t most = NP_PROXY_UNIX_MAX;
    if (*p == '\0') { /* abstract, or nothing at all */
        p++;
        most--;
        a->abstract = *p != '\0';
    }
    const char *nul = memchr(p, '\0', most);
    a->path = (struct np_bytes){p, nul ? (size_t)(nul - p) : most};
}

static void take_addresses(const char *p, struct np_proxy_header *h)
{
    size_t n = h->family == NP_PROXY_INET ? 4 : 16;
    if (h->family == NP_PROXY_UNIX) {
        take_path(p, &h->source);
        take_path(p + NP_PROXY_UNIX_MAX, &h->destination);
    } else if (h->family != NP_PROXY_UNSPEC) {
        memcpy(h->source.ip, p, n);
        memcpy(h->destination.ip, p + n, n);
        h->source.port = u16(p + 2 * n);
        h->destination.port = u16(p + 2 * n + 2);
    }
}

size_t np_proxy_addresses_size(enum np_proxy_family family)
{
    static const size_t sizes[] = {[NP_PROXY_UNSPEC] = 0,
                                   [NP_PROXY_INET] = 12,
                                   [NP_PROXY_INET6] = 36,
                                   [NP_PROXY_UNIX] = 2 * (size_t)NP_PROXY_UNIX_MAX};
    return sizes[family];
}

/* The bytes that are the same in every v2 header, as far as they have come. */
static enum neap_err check_v2_head(const char *data, size_t n, const char **why)
{
    if (n > 12 && ((unsigned char)data[12] & 0xf0) != 0x20)
        return malformed(why, "an unknown version of the PROXY protocol");
    if (n > 12 && (data[12] & 0x0f) > 1) return malformed(why, "an unknown PROXY command");
    if (n > 13 && (data[12] & 0x0f) == 1) {
        unsigned family = (unsigned char)data[13] >> 4, kind = (unsigned char)data[13] & 0x0f;
        if (family > NP_PROXY_UNIX || kind > 2 || (family == 0) != (kind == 0))
            return malformed(why, "an unknown family or transport in the PROXY header");
    }
    return NEAP_OK;
}

static enum neap_err parse_v2(const char *data, size_t n, struct np_proxy_header *h, size_t *used,
                              const char **why)
{
    enum neap_err err = check_v2_head(data, n, why);
    if (err) return err;
    if (n < NP_PROXY_V2_HEAD) return NEAP_EAGAIN;
    struct whole w = {data, NP_PROXY_V2_HEAD + u16(data + 14)};
    if (w.n > NP_PROXY_MAX) {
        if (why) *why = "the PROXY header is too long";
        return NEAP_ELIMIT;
    }
    h->version = 2;
    h->local = (data[12] & 0x0f) == 0;
    if (!h->local) {
        h->family = (enum np_proxy_family)((unsigned char)data[13] >> 4);
        h->datagram = ((unsigned char)data[13] & 0x0f) == 2;
    }
    size_t addresses = np_proxy_addresses_size(h->family);
    if (w.n - NP_PROXY_V2_HEAD < addresses)
        return malformed(why, "the PROXY header is too short for its addresses");
    if (n < w.n) return NEAP_EAGAIN;
    *used = w.n;
    if (h->local) return NEAP_OK; /* its block is to be passed over, whatever it is */
    const char *at = data + NP_PROXY_V2_HEAD;
    take_addresses(at, h);
    at += addresses;
    uint8_t type;
    struct np_bytes value;
    while ((err = next_tlv(&at, data + w.n, &type, &value)) == NEAP_OK) {
        err = take_tlv(w, type, value, h, why);
        if (err) return err;
    }
    return err == NEAP_EOF ? NEAP_OK : malformed(why, "the PROXY header's parts do not add up");
}

static bool begins(const char *data, size_t n, const char *with, size_t wn)
{
    return memcmp(data, with, n < wn ? n : wn) == 0;
}

enum neap_err np_proxy_parse(const char *data, size_t n, struct np_proxy_header *out, size_t *used,
                             const char **why)
{
    struct np_proxy_header h = {0};
    size_t taken = 0;
    enum neap_err err;
    if (n == 0) return NEAP_EAGAIN;
    if (begins(data, n, "PROXY ", 6))
        err = n < 6 ? NEAP_EAGAIN : parse_v1(data, n, &h, &taken, why);
    else if (begins(data, n, np_proxy_v2_signature, sizeof np_proxy_v2_signature))
        err = n < sizeof np_proxy_v2_signature ? NEAP_EAGAIN : parse_v2(data, n, &h, &taken, why);
    else
        return NEAP_ENOTFOUND;
    if (err) return err;
    *out = h;
    *used = taken;
    return NEAP_OK;
}
