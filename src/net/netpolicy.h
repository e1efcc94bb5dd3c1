/* Where scripts may connect to: the rules of --allow-net, and the one check that every way out goes
 * through.
 *
 * A rule is tried on the name as the script gave it, before it is resolved, or on the address it
 * gave: then in its one canonical form, so that ::ffff:10.0.0.1 is 10.0.0.1. What a name resolves
 * to is not looked at: a rule for a name trusts whoever answers for it.
 *
 *   example.com:443        a name; *.example.com:443 what is below it, but not itself
 *   127.0.0.1:80, [::1]:80 an address; localhost:80 is the name and both addresses of loopback
 *   10.0.0.0/8:*           every port of a network; [fd00::]/8:443
 *   *:443, *               everywhere
 *   host:8000-8010         a range of ports
 *   unix:/run/x.sock       a unix socket; unix:/run/app/… with * for the last name; unix:* all
 *   unix:@name             an abstract one
 *
 * Read-only once it is made: any thread.
 */
#ifndef NP_NET_NETPOLICY_H
#define NP_NET_NETPOLICY_H

#include <sys/socket.h>

#include "base/err.h"

struct np_loop;
struct np_netpolicy;

/* `rules`: separated by commas; NULL or "": nothing is allowed. `listen_unix`: a unix socket that
 * is listened at, which makes a file, must be named as well; listening is free in all else.
 * NEAP_EINVAL with words. */
NEAP_MUST_CHECK enum neap_err np_netpolicy_new(const char *rules, bool listen_unix,
                                               struct np_netpolicy **out,
                                               struct neap_errinfo *info);
void np_netpolicy_free(struct np_netpolicy *p);

/* Whether `host` (a name or an address) may be talked to; port 0: at any port at all. A NULL policy
 * allows everything. */
bool np_netpolicy_allows(const struct np_netpolicy *p, const char *host, int port);
bool np_netpolicy_allows_addr(const struct np_netpolicy *p, const struct sockaddr *sa);
bool np_netpolicy_allows_unix(const struct np_netpolicy *p, const char *path);

/* The check, where connections are made: NEAP_OK, or NEAP_EACCES and a line in the log. The policy
 * is the loop's. */
NEAP_MUST_CHECK enum neap_err np_net_check(struct np_loop *loop, const char *host, int port);
NEAP_MUST_CHECK enum neap_err np_net_check_addr(struct np_loop *loop, const struct sockaddr *sa);
NEAP_MUST_CHECK enum neap_err np_net_check_unix(struct np_loop *loop, const char *path);
NEAP_MUST_CHECK enum neap_err np_net_check_listen_unix(struct np_loop *loop, const char *path);

/* What users read of it. */
#define NP_NETPOLICY_WORDS "network access to %s is not allowed (--allow-net)"
#define NP_NETPOLICY_LISTEN_WORDS \
    "a sandbox makes no sockets in files that --allow-net does not name"

#endif
