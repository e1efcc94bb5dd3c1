/* The rules of --allow-net; see netpolicy.h. A handful of rules, tried in their order. */
#include "net/netpolicy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/addr.h"
#include "net/loop.h"

enum kind { ANY, NAME, BELOW, NET, UNIX, UNIX_BELOW, UNIX_ANY };

enum { IP_BYTES = 16, V4_BITS = 96, MAX_PORT = 65535 };

/* Every address as IPv6; IPv4 as ::ffff:a.b.c.d. */
struct ip {
    unsigned char bytes[IP_BYTES];
    bool v4;
};

struct rule {
    enum kind kind;
    const char *text; /* the name, the suffix with its dot, or the path; in the policy's memory */
    struct ip net;
    int bits;
    int low, high; /* ports */
};

struct np_netpolicy {
    bool listen_unix;
    char *text; /* the rules, cut into pieces */
    size_t n;
    struct rule rules[];
};

/* --- addresses */

static bool ip_of(const struct sockaddr *sa, struct ip *out)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (sa->sa_family == AF_INET) {
        memcpy(out->bytes, mapped, sizeof mapped);
        memcpy(out->bytes + sizeof mapped, &((const struct sockaddr_in *)sa)->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(out->bytes, &((const struct sockaddr_in6 *)sa)->sin6_addr, IP_BYTES);
    } else {
        return false;
    }
    out->v4 = memcmp(out->bytes, mapped, sizeof mapped) == 0;
    return true;
}

static bool ip_parse(const char *text, struct ip *out)
{
    union np_addr a;
    return np_addr_from_ip(text, 0, &a) == NEAP_OK && ip_of(&a.sa, out);
}

static bool in_net(const struct ip *ip, const struct rule *r)
{
    if (ip->v4 != r->net.v4) return false;
    int whole = r->bits / 8, rest = r->bits % 8;
    if (memcmp(ip->bytes, r->net.bytes, (size_t)whole) != 0) return false;
    unsigned mask = 0xffu << (8 - rest) & 0xffu;
    return rest == 0 || ((ip->bytes[whole] ^ r->net.bytes[whole]) & mask) == 0;
}

static bool is_loopback(const struct ip *ip)
{
    static const unsigned char v6[IP_BYTES] = {[15] = 1};
    static const unsigned char v4[4] = {127, 0, 0, 1};
    return ip->v4 ? memcmp(ip->bytes + 12, v4, 4) == 0 : memcmp(ip->bytes, v6, IP_BYTES) == 0;
}

/* --- reading rules */

static bool read_ports(const char *text, struct rule *r)
{
    char *end;
    if (strcmp(text, "*") == 0) {
        r->low = 0;
        r->high = MAX_PORT;
        return true;
    }
    if (text[0] < '0' || text[0] > '9') return false;
    long low = strtol(text, &end, 10), high = low;
    if (*end == '-' && end[1] >= '0' && end[1] <= '9') high = strtol(end + 1, &end, 10);
    if (*end || low < 1 || high < low || high > MAX_PORT) return false;
    r->low = (int)low;
    r->high = (int)high;
    return true;
}

static bool read_net(struct rule *r, const char *host, const char *bits)
{
    char *end;
    if (!ip_parse(host, &r->net)) return false;
    int most = r->net.v4 ? 32 : 128;
    long n = most;
    if (bits) n = bits[0] >= '0' && bits[0] <= '9' ? strtol(bits, &end, 10) : -1;
    if (n < 0 || n > most || (bits && *end)) return false;
    r->kind = NET;
    r->bits = (int)n + (r->net.v4 ? V4_BITS : 0);
    return true;
}

static bool read_host(struct rule *r, char *host)
{
    char *slash = strchr(host, '/');
    size_t n = strlen(host);
    if (slash) *slash++ = '\0';
    if (slash || ip_parse(host, &r->net)) return read_net(r, host, slash);
    if (strcmp(host, "*") == 0) {
        r->kind = ANY;
        return true;
    }
    if (n > 1 && host[n - 1] == '.') host[--n] = '\0'; /* a name may end in its root's dot */
    r->kind = strncmp(host, "*.", 2) == 0 ? BELOW : NAME;
    r->text = r->kind == BELOW ? host + 1 : host;
    return n > 0 && strcspn(r->text, "*[]: \t") == strlen(r->text) && strcmp(r->text, ".") != 0;
}

/* "[ip]:port", "[ip]/bits:port" and "[ip/bits]:port" become host and port. */
static bool split(char *item, char **host, char **port)
{
    char *colon = strrchr(item, ':');
    *host = item;
    if (strcmp(item, "*") == 0) {
        *port = item;
        return true;
    }
    char *close = item[0] == '[' ? strchr(item, ']') : NULL;
    if (item[0] == '[' && !close) return false;
    if (!colon || colon < close) return false;
    *colon = '\0';
    *port = colon + 1;
    if (!close && strchr(item, ':')) return false;
    if (close) {
        memmove(close, close + 1, strlen(close + 1) + 1);
        *host = item + 1;
    }
    return true;
}

static bool read_unix(struct rule *r, char *path)
{
    size_t n = strlen(path);
    r->text = path;
    r->kind = UNIX;
    if (strcmp(path, "*") == 0) {
        r->kind = UNIX_ANY;
        return true;
    }
    if (n > 1 && strcmp(path + n - 2, "/*") == 0) {
        r->kind = UNIX_BELOW;
        path[n - 1] = '\0';
    }
    return (path[0] == '/' || (path[0] == '@' && n > 1)) && !strchr(path, '*');
}

static const char *read_rule(struct rule *r, char *item)
{
    char *host, *port;
    if (strncmp(item, "unix:", 5) == 0)
        return read_unix(r, item + 5) ? NULL
                                      : "a socket's path begins with / (or @, if it is abstract)";
    if (!split(item, &host, &port))
        return "wanted host:port, [IPv6 address]:port, or * for any port";
    if (!read_ports(port, r)) return "that is no port";
    return read_host(r, host) ? NULL : "that is no name and no address";
}

static char *trim(char *text)
{
    size_t n;
    text += strspn(text, " \t");
    for (n = strlen(text); n > 0 && strchr(" \t", text[n - 1]);)
        n--;
    text[n] = '\0';
    return text;
}

static enum neap_err read_rules(struct np_netpolicy *p, struct neap_errinfo *info)
{
    for (char *next = p->text; next;) {
        char *item = next;
        char whole[128];
        next = strchr(item, ',');
        if (next) *next++ = '\0';
        item = trim(item);
        if (!*item) continue;
        snprintf(whole, sizeof whole, "%s", item);
        const char *wrong = read_rule(&p->rules[p->n], item);
        if (wrong) return np_err_set(info, NEAP_EINVAL, "'%s': %s", whole, wrong);
        p->n++;
    }
    return NEAP_OK;
}

enum neap_err np_netpolicy_new(const char *rules, bool listen_unix, struct np_netpolicy **out,
                               struct neap_errinfo *info)
{
    size_t most = 1;
    for (const char *c = rules ? rules : ""; *c; c++)
        most += *c == ',';
    struct np_netpolicy *p = np_calloc(1, sizeof *p + most * sizeof p->rules[0]);
    if (!p) return np_err_plain(info, NEAP_ENOMEM);
    p->listen_unix = listen_unix;
    p->text = np_strdup(rules ? rules : "");
    enum neap_err err = p->text ? read_rules(p, info) : np_err_plain(info, NEAP_ENOMEM);
    if (err) {
        np_netpolicy_free(p);
        return err;
    }
    *out = p;
    return NEAP_OK;
}

void np_netpolicy_free(struct np_netpolicy *p)
{
    if (!p) return;
    np_free(p->text);
    np_free(p);
}

/* --- asking */

static bool port_ok(const struct rule *r, int port)
{
    return port == 0 || (port >= r->low && port <= r->high);
}

static bool is_name(const struct rule *r, const char *name, size_t n)
{
    if (r->kind != NAME && r->kind != BELOW) return false;
    size_t len = strlen(r->text);
    if (r->kind == NAME) return n == len && strncasecmp(name, r->text, n) == 0;
    return n > len && strncasecmp(name + n - len, r->text, len) == 0;
}

static bool is_addr(const struct rule *r, const struct ip *ip)
{
    if (r->kind == NET) return in_net(ip, r);
    return r->kind == NAME && strcasecmp(r->text, "localhost") == 0 && is_loopback(ip);
}

static bool allows_ip(const struct np_netpolicy *p, const struct ip *ip, int port)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct rule *r = &p->rules[i];
        if (r->kind < UNIX && port_ok(r, port) && (r->kind == ANY || is_addr(r, ip))) return true;
    }
    return false;
}

bool np_netpolicy_allows(const struct np_netpolicy *p, const char *host, int port)
{
    struct ip ip;
    if (!p) return true;
    if (ip_parse(host, &ip)) return allows_ip(p, &ip, port);
    size_t n = strlen(host);
    if (n > 1 && host[n - 1] == '.') n--;
    for (size_t i = 0; i < p->n; i++) {
        const struct rule *r = &p->rules[i];
        if (r->kind < UNIX && port_ok(r, port) && (r->kind == ANY || is_name(r, host, n)))
            return true;
    }
    return false;
}

bool np_netpolicy_allows_addr(const struct np_netpolicy *p, const struct sockaddr *sa)
{
    struct ip ip;
    if (!p) return true;
    return ip_of(sa, &ip) && allows_ip(p, &ip, np_addr_port(sa));
}

/* The path from the root, without "." and doubled slashes. A ".." is refused: where it leads to
 * depends on what links stand before it. */
static bool absolute(const char *path, char *out, size_t size)
{
    size_t n = 0;
    if (*path != '/') {
        if (!getcwd(out, size)) return false;
        n = strlen(out);
        if (n == 1) n = 0; /* the root itself */
    }
    while (*path) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        bool dots = len == 2 && path[0] == '.' && path[1] == '.';
        if (dots || n + len + 2 > size) return false;
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            out[n++] = '/';
            memcpy(out + n, path, len);
            n += len;
        }
        path += len;
    }
    out[n] = '\0';
    return n > 0;
}

bool np_netpolicy_allows_unix(const struct np_netpolicy *p, const char *path)
{
    char full[PATH_MAX];
    if (!p) return true;
    bool abstract = *path == '@'; /* in no directory */
    bool known = !abstract && absolute(path, full, sizeof full);
    for (size_t i = 0; i < p->n; i++) {
        const struct rule *r = &p->rules[i];
        if (r->kind == UNIX_ANY) return true;
        if (abstract && r->kind == UNIX && strcmp(path, r->text) == 0) return true;
        if (!known || r->kind < UNIX) continue;
        size_t len = strlen(r->text);
        if (r->kind == UNIX && strcmp(full, r->text) == 0) return true;
        if (r->kind == UNIX_BELOW && strncmp(full, r->text, len) == 0 && full[len] &&
            !strchr(full + len, '/'))
            return true;
    }
    return false;
}

/* --- the check */

static enum neap_err refuse(struct np_loop *loop, const char *what)
{
    np_logf(loop->log, NP_LOG_WARN, NP_NETPOLICY_WORDS, what);
    return NEAP_EACCES;
}

enum neap_err np_net_check(struct np_loop *loop, const char *host, int port)
{
    char what[300];
    if (np_netpolicy_allows(loop->policy, host, port)) return NEAP_OK;
    bool v6 = strchr(host, ':') != NULL;
    int n = snprintf(what, sizeof what, v6 ? "[%.255s]" : "%.255s", host);
    if (port) snprintf(what + n, sizeof what - (size_t)n, ":%d", port);
    return refuse(loop, what);
}

enum neap_err np_net_check_addr(struct np_loop *loop, const struct sockaddr *sa)
{
    char what[NP_ADDR_TEXT_MAX];
    if (np_netpolicy_allows_addr(loop->policy, sa)) return NEAP_OK;
    np_addr_format(sa, what, sizeof what);
    return refuse(loop, what);
}

enum neap_err np_net_check_unix(struct np_loop *loop, const char *path)
{
    char what[NP_ADDR_TEXT_MAX];
    if (np_netpolicy_allows_unix(loop->policy, path)) return NEAP_OK;
    snprintf(what, sizeof what, "unix:%s", path);
    return refuse(loop, what);
}

enum neap_err np_net_check_listen_unix(struct np_loop *loop, const char *path)
{
    if (!loop->policy || !loop->policy->listen_unix) return NEAP_OK;
    return np_net_check_unix(loop, path);
}
