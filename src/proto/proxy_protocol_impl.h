/* What reading and writing the PROXY protocol share. Private to proxy_protocol*.c. */
#ifndef NP_PROTO_PROXY_PROTOCOL_IMPL_H
#define NP_PROTO_PROXY_PROTOCOL_IMPL_H

#include "proto/proxy_protocol.h"

enum {
    NP_PP2_ALPN = 0x01,
    NP_PP2_AUTHORITY = 0x02,
    NP_PP2_CRC32C = 0x03,
    NP_PP2_NOOP = 0x04,
    NP_PP2_UNIQUE_ID = 0x05,
    NP_PP2_SSL = 0x20,
    NP_PP2_SSL_VERSION = 0x21,
    NP_PP2_SSL_CN = 0x22,
    NP_PP2_SSL_CIPHER = 0x23,
    NP_PP2_SSL_SIG_ALG = 0x24,
    NP_PP2_SSL_KEY_ALG = 0x25,
    NP_PP2_SSL_GROUP = 0x26,
    NP_PP2_NETNS = 0x30,
};

extern const char np_proxy_v2_signature[12];
/* Of a v2 header, bytes. */
size_t np_proxy_addresses_size(enum np_proxy_family family);

#endif
