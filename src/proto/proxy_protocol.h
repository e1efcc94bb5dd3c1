/* The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): what a proxy in front says
 * of a connection before its first byte. Sans I/O, and nothing allocated but by the writers.
 *
 * Strict: what could be read in two ways is no header. A v1 line has exactly one space between its
 * parts, no leading zeros, CR LF at its end and at most 107 bytes. A v2 header's lengths must add
 * up, its CRC32c must be right if it has one, and what is known may stand in it once. Unknown
 * additions (TLVs) are passed over. Any thread.
 */
#ifndef NP_PROTO_PROXY_PROTOCOL_H
#define NP_PROTO_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cidr.h"
#include "proto/bytes.h"

#define NP_PROXY_V1_MAX ((size_t)107)
#define NP_PROXY_V2_HEAD ((size_t)16)
#define NP_PROXY_MAX ((size_t)4096) /* bytes of a whole header that is taken */
#define NP_PROXY_UNIX_MAX 108
#define NP_PROXY_ADDRESS_TEXT 128
#define NP_PROXY_UNIQUE_ID_MAX ((size_t)128)

enum np_proxy_family { NP_PROXY_UNSPEC, NP_PROXY_INET, NP_PROXY_INET6, NP_PROXY_UNIX };

struct np_proxy_address {
    uint8_t ip[16]; /* 4 or 16 of them */
    uint16_t port;
    struct np_bytes path; /* UNIX: up to the first NUL */
    bool abstract;        /* … which a NUL stood in front of; as text, an @ */
};

/* Bits of np_proxy_ssl.client. */
enum { NP_PROXY_SSL = 1, NP_PROXY_SSL_CERT_CONN = 2, NP_PROXY_SSL_CERT_SESS = 4 };

/* What the client's TLS was, in front of the proxy. */
struct np_proxy_ssl {
    uint8_t client;
    uint32_t verify;                                              /* 0: its certificate was good */
    struct np_bytes version, cn, cipher, sig_alg, key_alg, group; /* p NULL: not said */
};

/* Slices point into what was parsed. */
struct np_proxy_header {
    int version; /* 1 or 2 */
    bool local;  /* v2: the proxy speaks for itself (a health check, say); the addresses are its own
                  */
    bool datagram;
    enum np_proxy_family family; /* UNSPEC: it does not know, or does not say */
    struct np_proxy_address source, destination;
    struct np_bytes alpn, authority, unique_id, netns; /* p NULL: not said */
    bool checksum; /* CRC32c: was there and right; is to be written */
    bool has_ssl;
    struct np_proxy_ssl ssl;
};

/* Looks at all that has come so far, from its first byte. NEAP_OK: the header is complete and
 * `*used` bytes long. NEAP_EAGAIN: more is needed. NEAP_ENOTFOUND: this is no PROXY header; another
 * protocol begins here. NEAP_EPROTO: malformed, NEAP_ELIMIT: longer than NP_PROXY_MAX; `*why` (may
 * be NULL) is static text. */
NEAP_MUST_CHECK enum neap_err np_proxy_parse(const char *data, size_t n,
                                             struct np_proxy_header *out, size_t *used,
                                             const char **why);

/* Appends it, or nothing: NEAP_ENOMEM, NEAP_EINVAL for what does not fit (a unix socket or
 * additions in v1, too long values). `version` says which. */
NEAP_MUST_CHECK enum neap_err np_proxy_write(struct np_buf *b, const struct np_proxy_header *h);

/* "10.0.0.1:80", "[::1]:80", "unix:/path"; "" for UNSPEC. */
void np_proxy_address_format(enum np_proxy_family family, const struct np_proxy_address *a,
                             char out[NP_PROXY_ADDRESS_TEXT]);
/* The other way; `path` of a unix address points into `text`. NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_proxy_address_parse(const char *text, enum np_proxy_family *family,
                                                     struct np_proxy_address *out);

uint32_t np_crc32c(uint32_t crc, const void *data, size_t n);

#endif
