/* IP addresses as bytes, networks of them, and lists of networks that an address is looked up in.
 *
 * An IPv4 address that is written as IPv6 (::ffff:10.0.0.1) is the IPv4 address, in rules and in
 * what is looked up: nobody passes a rule by spelling it otherwise. A list may also name "unix"
 * (peers on unix sockets) and "*" (everybody). Made once and read-only afterwards: any thread.
 */
#ifndef NP_BASE_CIDR_H
#define NP_BASE_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct np_ip {
    uint8_t family; /* 4 or 6 */
    uint8_t bytes[16];
};
#define NP_IP_TEXT_MAX 46

/* A literal address without port, brackets or scope. NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_ip_parse(const char *text, size_t n, struct np_ip *out);
/* … or with: "10.0.0.1", "10.0.0.1:80", "::1", "[::1]", "[::1]:80". `port` (may be NULL) gets -1
 * where none is given. NEAP_EINVAL. */
NEAP_MUST_CHECK enum neap_err np_ip_parse_host(const char *text, size_t n, struct np_ip *out,
                                               int *port);
/* IPv4 plainly, IPv6 in its shortest form. Returns the length. */
size_t np_ip_format(const struct np_ip *ip, char out[NP_IP_TEXT_MAX]);

struct np_cidr {
    struct np_ip net;
    uint8_t bits;
};
/* "10.0.0.0/8", "fd00::/8", or a single address. NEAP_EINVAL with words, also for a network that
 * has bits set outside of its mask. */
NEAP_MUST_CHECK enum neap_err np_cidr_parse(const char *text, size_t n, struct np_cidr *out,
                                            struct neap_errinfo *info);
bool np_cidr_has(const struct np_cidr *c, const struct np_ip *ip);

struct np_cidr_list {
    struct np_cidr *items; /* owned */
    size_t n;
    bool unix_peers; /* "unix" is in it */
    bool everybody;  /* "*" is */
};
/* Zeroed memory is an empty list, which nobody is in. */
void np_cidr_list_fini(struct np_cidr_list *l);
/* As np_cidr_parse, and "unix", "*". On failure the list is as it was. */
NEAP_MUST_CHECK enum neap_err np_cidr_list_add(struct np_cidr_list *l, const char *text, size_t n,
                                               struct neap_errinfo *info);
/* A list of one's own with the same in it; `out` is written on success only. NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_cidr_list_copy(const struct np_cidr_list *l,
                                                struct np_cidr_list *out);
bool np_cidr_list_has(const struct np_cidr_list *l, const struct np_ip *ip);
/* The same for an address as streams name it: "10.0.0.1:80", "[::1]:80", "unix:/path", "unix:"; a
 * scope ("%eth0") is left aside. What is no such address is in no list but "*". */
bool np_cidr_list_has_peer(const struct np_cidr_list *l, const char *peer);

#endif
