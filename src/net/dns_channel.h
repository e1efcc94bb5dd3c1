/* The loop's c-ares channel, with its sockets and its timer. For the dns_*.c files.
 *
 * c-ares' callbacks never run an owner's code (queries only note the answer and defer), so ares
 * functions, ares_cancel among them, may be called from anywhere else.
 */
#ifndef NP_NET_DNS_CHANNEL_H
#define NP_NET_DNS_CHANNEL_H

#include <ares.h>

#include "base/list.h"
#include "net/dns.h"
#include "net/dns_cache.h"
#include "net/timer.h"

struct np_dns {
    struct np_loop *loop;
    ares_channel channel;
    struct np_link socks; /* of struct sock */
    struct np_timer timer;
    struct np_dns_cache cache;
    struct np_link questions; /* c-ares is at; of struct np_dns_question */
    size_t wanted;            /* … whose answers somebody waits for */
};

/* The loop's, made at the first call: reads resolv.conf, which takes a moment. */
NEAP_MUST_CHECK enum neap_err np_dns_channel(struct np_loop *loop, struct np_dns **out);
/* After every call of an ares function: when it wants to be called again. */
void np_dns_rearm(struct np_dns *dns);

/* The SRV records of an answer message, in the order RFC 2782 wants them tried; `*out` is np_alloc
 * memory. NEAP_ENOTFOUND when there are none (a lone "." says so); NEAP_EDNS for a malformed one.
 */
NEAP_MUST_CHECK enum neap_err np_dns_parse_srv(const unsigned char *msg, size_t len, uint64_t seed,
                                               struct np_dns_srv **out, size_t *n);

#endif
