/* Addresses as text and as sockaddr: "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock". */
#ifndef NP_NET_ADDR_H
#define NP_NET_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/err.h"

#define NP_ADDR_TEXT_MAX 128 /* room for any address as text, a unix path included */

union np_addr {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_storage ss;
};

/* A literal IPv4 or IPv6 address (a scope is allowed); NEAP_EINVAL for a name. */
NEAP_MUST_CHECK enum neap_err np_addr_from_ip(const char *ip, int port, union np_addr *out);
/* "ip:port" or "[ip6]:port"; `out` gets at most `size` bytes with the NUL. */
void np_addr_format(const struct sockaddr *sa, char *out, size_t size);
/* The address alone, no port, no brackets. */
void np_addr_format_ip(const struct sockaddr *sa, char *out, size_t size);
/* A unix socket's path, 1 to 107 bytes; "@name" is the abstract socket of that name, which has no
 * file ("./@name" is a file). NEAP_EINVAL. */
struct sockaddr_un;
NEAP_MUST_CHECK enum neap_err np_addr_from_path(const char *path, struct sockaddr_un *out,
                                                socklen_t *len);
int np_addr_port(const struct sockaddr *sa);
socklen_t np_addr_len(const struct sockaddr *sa);

/* Splits "host:port", "[ip6]:port" or "unix:/path" (port 0 then). The host may be a name.
 * `host` gets at most `size` bytes. NEAP_EINVAL with words in `info`. */
NEAP_MUST_CHECK enum neap_err np_addr_split(const char *text, char *host, size_t size, int *port,
                                            struct neap_errinfo *info);

#endif
