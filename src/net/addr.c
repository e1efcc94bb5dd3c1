/* Addresses as text and back. Pure functions, any thread. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum neap_err np_addr_from_ip(const char *ip, int port, union np_addr *out)
{
    if (port < 0 || port > 65535) return NEAP_EINVAL;
    union np_addr a;
    memset(&a, 0, sizeof a);
    if (inet_pton(AF_INET, ip, &a.in.sin_addr) == 1) {
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons((uint16_t)port);
        *out = a;
        return NEAP_OK;
    }
    char host[INET6_ADDRSTRLEN];
    const char *scope = strchr(ip, '%');
    size_t n = scope ? (size_t)(scope - ip) : strlen(ip);
    if (n >= sizeof host) return NEAP_EINVAL;
    memcpy(host, ip, n);
    host[n] = '\0';
    if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) != 1) return NEAP_EINVAL;
    if (scope) {
        a.in6.sin6_scope_id = if_nametoindex(scope + 1);
        if (a.in6.sin6_scope_id == 0) return NEAP_EINVAL;
    }
    a.in6.sin6_family = AF_INET6;
    a.in6.sin6_port = htons((uint16_t)port);
    *out = a;
    return NEAP_OK;
}

void np_addr_format_ip(const struct sockaddr *sa, char *out, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "";
    char ifname[IF_NAMESIZE];
    if (size == 0) return;
    if (sa->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, ip, sizeof ip);
        snprintf(out, size, "%s", ip);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        bool scoped = in6->sin6_scope_id && if_indextoname(in6->sin6_scope_id, ifname);
        snprintf(out, size, "%s%s%s", ip, scoped ? "%" : "", scoped ? ifname : "");
    } else {
        out[0] = '\0';
    }
}

enum neap_err np_addr_from_path(const char *path, struct sockaddr_un *out, socklen_t *len)
{
    size_t n = strlen(path);
    bool abstract = *path == '@';
    if (n == 0 || n >= sizeof out->sun_path || (abstract && n == 1)) return NEAP_EINVAL;
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    memcpy(out->sun_path, path, n);
    if (abstract) out->sun_path[0] = '\0';
    /* Of an abstract name every byte counts, so it ends where it ends. */
    *len = abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n) : sizeof *out;
    return NEAP_OK;
}

static void format_unix(const struct sockaddr_un *un, char *out, size_t size)
{
    /* An abstract name begins with NUL; by custom it is written with an @. */
    if (un->sun_path[0])
        snprintf(out, size, "unix:%.*s", (int)sizeof un->sun_path, un->sun_path);
    else if (un->sun_path[1])
        snprintf(out, size, "unix:@%.*s", (int)sizeof un->sun_path - 1, un->sun_path + 1);
    else
        snprintf(out, size, "unix:");
}

void np_addr_format(const struct sockaddr *sa, char *out, size_t size)
{
    char ip[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (size == 0) return;
    out[0] = '\0';
    switch (sa->sa_family) {
    case AF_INET:
        np_addr_format_ip(sa, ip, sizeof ip);
        snprintf(out, size, "%s:%d", ip, np_addr_port(sa));
        break;
    case AF_INET6:
        np_addr_format_ip(sa, ip, sizeof ip);
        snprintf(out, size, "[%s]:%d", ip, np_addr_port(sa));
        break;
    case AF_UNIX:
        format_unix((const struct sockaddr_un *)sa, out, size);
        break;
    default:
        break;
    }
}

int np_addr_port(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) return ntohs(((const struct sockaddr_in *)sa)->sin_port);
    if (sa->sa_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
    return 0;
}

socklen_t np_addr_len(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) return sizeof(struct sockaddr_in);
    if (sa->sa_family == AF_INET6) return sizeof(struct sockaddr_in6);
    if (sa->sa_family == AF_UNIX) return sizeof(struct sockaddr_un);
    return sizeof(struct sockaddr_storage);
}

static bool parse_port(const char *s, int *out)
{
    int port = 0;
    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        port = port * 10 + (*s - '0');
        if (port > 65535) return false;
    }
    *out = port;
    return true;
}

static enum neap_err bad_address(struct neap_errinfo *info, const char *text, const char *why)
{
    return np_err_set(info, NEAP_EINVAL, "bad address '%.100s': %s", text, why);
}

enum neap_err np_addr_split(const char *text, char *host, size_t size, int *port,
                            struct neap_errinfo *info)
{
    if (strncmp(text, "unix:", 5) == 0) {
        if (!text[5]) return bad_address(info, text, "no path");
        if (strlen(text) >= size) return bad_address(info, text, "the path is too long");
        memcpy(host, text, strlen(text) + 1);
        *port = 0;
        return NEAP_OK;
    }
    const char *begin = text;
    const char *end;
    const char *colon;
    if (*text == '[') {
        begin = text + 1;
        end = strchr(begin, ']');
        if (!end) return bad_address(info, text, "no closing bracket");
        colon = end + 1;
        if (*colon != ':') return bad_address(info, text, "expected [ip]:port");
    } else {
        end = colon = strrchr(text, ':');
        if (!colon) return bad_address(info, text, "expected host:port");
        if (strchr(text, ':') != colon)
            return bad_address(info, text, "an IPv6 address stands in brackets");
    }
    int p;
    size_t n = (size_t)(end - begin);
    if (n == 0) return bad_address(info, text, "no host");
    if (n >= size) return bad_address(info, text, "the host is too long");
    if (!parse_port(colon + 1, &p)) return bad_address(info, text, "the port is not 0 to 65535");
    memcpy(host, begin, n);
    host[n] = '\0';
    *port = p;
    return NEAP_OK;
}
