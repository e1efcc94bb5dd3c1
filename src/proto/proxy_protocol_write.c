/* Writing the PROXY protocol, its addresses as text, and CRC32c. Pure functions. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "proto/proxy_protocol_impl.h"

uint32_t np_crc32c(uint32_t crc, const void *data, size_t n)
{
    /* Of each half byte, for the reversed polynomial 0x82f63b78. */
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const unsigned char *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* --- addresses */

void np_proxy_address_format(enum np_proxy_family family, const struct np_proxy_address *a,
                             char out[NP_PROXY_ADDRESS_TEXT])
{
    char ip[INET6_ADDRSTRLEN];
    *out = '\0';
    if (family == NP_PROXY_INET && inet_ntop(AF_INET, a->ip, ip, sizeof ip)) {
        snprintf(out, NP_PROXY_ADDRESS_TEXT, "%s:%u", ip, (unsigned)a->port);
    } else if (family == NP_PROXY_INET6 && inet_ntop(AF_INET6, a->ip, ip, sizeof ip)) {
        snprintf(out, NP_PROXY_ADDRESS_TEXT, "[%s]:%u", ip, (unsigned)a->port);
    } else if (family == NP_PROXY_UNIX) {
        snprintf(out, NP_PROXY_ADDRESS_TEXT, "unix:%s%.*s", a->abstract ? "@" : "", (int)a->path.n,
                 a->path.n ? a->path.p : "");
    }
}

enum neap_err np_proxy_address_parse(const char *text, enum np_proxy_family *family,
                                     struct np_proxy_address *out)
{
    struct np_proxy_address a = {.port = 0};
    struct np_ip ip;
    int port;
    size_t n = strlen(text);
    if (strncmp(text, "unix:", 5) == 0) {
        if (n - 5 >= NP_PROXY_UNIX_MAX) return NEAP_EINVAL;
        a.abstract = text[5] == '@' && text[6];
        size_t skip = a.abstract ? 6 : 5;
        a.path = (struct np_bytes){text + skip, n - skip};
        *family = NP_PROXY_UNIX;
        *out = a;
        return NEAP_OK;
    }
    if (np_ip_parse_host(text, n, &ip, &port) || port < 0) return NEAP_EINVAL;
    memcpy(a.ip, ip.bytes, sizeof a.ip);
    a.port = (uint16_t)port;
    *family = ip.family == 4 ? NP_PROXY_INET : NP_PROXY_INET6;
    *out = a;
    return NEAP_OK;
}

/* --- version 1 */

static bool has_additions(const struct np_proxy_header *h)
{
    return h->alpn.p || h->authority.p || h->unique_id.p || h->netns.p || h->checksum || h->has_ssl;
}

static enum neap_err write_v1(struct np_buf *b, const struct np_proxy_header *h)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    if (h->family == NP_PROXY_UNIX || h->datagram || has_additions(h)) return NEAP_EINVAL;
    if (h->family == NP_PROXY_UNSPEC || h->local) return np_buf_append_str(b, "PROXY UNKNOWN\r\n");
    int af = h->family == NP_PROXY_INET ? AF_INET : AF_INET6;
    if (!inet_ntop(af, h->source.ip, from, sizeof from) ||
        !inet_ntop(af, h->destination.ip, to, sizeof to))
        return NEAP_EINVAL;
    return np_buf_printf(b, "PROXY TCP%d %s %s %u %u\r\n", af == AF_INET ? 4 : 6, from, to,
                         (unsigned)h->source.port, (unsigned)h->destination.port);
}

/* --- version 2 */

struct out {
    char text[NP_PROXY_MAX];
    size_t n;
    bool full;
};

static void put(struct out *o, const void *p, size_t n)
{
    if (o->full || n > sizeof o->text - o->n) {
        o->full = true;
        return;
    }
    if (n) memcpy(o->text + o->n, p, n);
    o->n += n;
}

static void put_number(struct out *o, uint32_t v, unsigned bytes)
{
    char text[4];
    for (unsigned i = 0; i < bytes; i++)
        text[i] = (char)(v >> 8 * (bytes - 1 - i));
    put(o, text, bytes);
}

/* Where its value begins; `end_tlv` sets its length. */
static size_t begin_tlv(struct out *o, uint8_t type)
{
    put_number(o, type, 1);
    put_number(o, 0, 2);
    return o->n;
}

static void end_tlv(struct out *o, size_t begin)
{
    if (o->full) return;
    o->text[begin - 2] = (char)((o->n - begin) >> 8);
    o->text[begin - 1] = (char)(o->n - begin);
}

static void put_tlv(struct out *o, uint8_t type, struct np_bytes v)
{
    if (!v.p) return;
    size_t begin = begin_tlv(o, type);
    put(o, v.p, v.n);
    end_tlv(o, begin);
}

static void put_path(struct out *o, const struct np_proxy_address *a)
{
    static const char zeros[NP_PROXY_UNIX_MAX];
    size_t nul = a->abstract ? 1 : 0;
    put(o, zeros, nul);
    put(o, a->path.p, a->path.n);
    put(o, zeros, NP_PROXY_UNIX_MAX - nul - a->path.n);
}

static bool path_fits(const struct np_proxy_address *a)
{
    return a->path.n <= NP_PROXY_UNIX_MAX - (a->abstract ? 1u : 0u);
}

static void put_addresses(struct out *o, const struct np_proxy_header *h)
{
    size_t n = h->family == NP_PROXY_INET ? 4 : 16;
    if (h->family == NP_PROXY_UNIX) {
        put_path(o, &h->source);
        put_path(o, &h->destination);
    } else if (h->family != NP_PROXY_UNSPEC) {
        put(o, h->source.ip, n);
        put(o, h->destination.ip, n);
        put_number(o, h->source.port, 2);
        put_number(o, h->destination.port, 2);
    }
}

static void put_ssl(struct out *o, const struct np_proxy_ssl *ssl)
{
    size_t begin = begin_tlv(o, NP_PP2_SSL);
    put_number(o, ssl->client, 1);
    put_number(o, ssl->verify, 4);
    put_tlv(o, NP_PP2_SSL_VERSION, ssl->version);
    put_tlv(o, NP_PP2_SSL_CN, ssl->cn);
    put_tlv(o, NP_PP2_SSL_CIPHER, ssl->cipher);
    put_tlv(o, NP_PP2_SSL_SIG_ALG, ssl->sig_alg);
    put_tlv(o, NP_PP2_SSL_KEY_ALG, ssl->key_alg);
    put_tlv(o, NP_PP2_SSL_GROUP, ssl->group);
    end_tlv(o, begin);
}

static enum neap_err write_v2(struct np_buf *b, const struct np_proxy_header *h)
{
    struct out o = {.n = 0};
    bool plain = h->local || h->family == NP_PROXY_UNSPEC;
    if (h->unique_id.n > NP_PROXY_UNIQUE_ID_MAX || !path_fits(&h->source) ||
        !path_fits(&h->destination))
        return NEAP_EINVAL;
    put(&o, np_proxy_v2_signature, sizeof np_proxy_v2_signature);
    put_number(&o, h->local ? 0x20 : 0x21, 1);
    put_number(&o, plain ? 0 : (uint32_t)h->family << 4 | (h->datagram ? 2 : 1), 1);
    put_number(&o, 0, 2);
    if (!plain) put_addresses(&o, h);
    put_tlv(&o, NP_PP2_ALPN, h->alpn);
    put_tlv(&o, NP_PP2_AUTHORITY, h->authority);
    put_tlv(&o, NP_PP2_UNIQUE_ID, h->unique_id);
    if (h->has_ssl) put_ssl(&o, &h->ssl);
    put_tlv(&o, NP_PP2_NETNS, h->netns);
    size_t sum = h->checksum ? begin_tlv(&o, NP_PP2_CRC32C) : 0;
    if (h->checksum) {
        put_number(&o, 0, 4);
        end_tlv(&o, sum);
    }
    if (o.full) return NEAP_EINVAL;
    end_tlv(&o, NP_PROXY_V2_HEAD); /* its length stands in the same place */
    if (h->checksum) {
        uint32_t crc = np_crc32c(0, o.text, o.n);
        for (unsigned i = 0; i < 4; i++)
            o.text[sum + i] = (char)(crc >> 8 * (3 - i));
    }
    return np_buf_append(b, o.text, o.n);
}

enum neap_err np_proxy_write(struct np_buf *b, const struct np_proxy_header *h)
{
    if (h->version == 1) return write_v1(b, h);
    return h->version == 2 ? write_v2(b, h) : NEAP_EINVAL;
}
