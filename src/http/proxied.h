/* A stage between accepting and a protocol: reads the PROXY header off a connection, gives back
 * what came behind it, and hands the stream on, with the addresses that the header names.
 *
 * The header comes before all else, TLS too. From a peer that is not trusted it is refused. When
 * headers are required, a connection without one is closed, and one from a peer that is not trusted
 * at once. When they are not, a connection that begins with something else is passed on as it is,
 * and so is one on which nothing has come within `timeout` (a protocol in which the server speaks
 * first had better require it). One loop, one thread.
 */
#ifndef NP_HTTP_PROXIED_H
#define NP_HTTP_PROXIED_H

#include "base/cidr.h"
#include "net/stream.h"
#include "proto/proxy_protocol.h"

struct np_proxied;

struct np_proxied_options {
    bool required;
    int64_t timeout; /* ns for the whole header; default 5 s */
    size_t
        max_waiting; /* connections whose header has not come; default 4096, then they are closed */
    struct np_cidr_list trusted; /* peers that may send one; copied */
};
/* Everybody is trusted: who can connect there is the proxy. */
#define NP_PROXIED_OPTIONS_INIT        \
    {                                  \
        true, 5 * NP_NS_PER_SEC, 4096, \
        {                              \
            .everybody = true          \
        }                              \
    }

/* `on_ready` gets streams without owner that are open and not being read; from the loop or from
 * inside np_proxied_take (a peer who needs no header). */
NEAP_MUST_CHECK enum neap_err np_proxied_new(struct np_loop *loop,
                                             const struct np_proxied_options *opts,
                                             void (*on_ready)(void *arg, struct np_stream *s),
                                             void *arg, struct np_proxied **out);
/* `fn` is called with the stage's `arg`, from the loop, when a connection waits no more, whatever
 * became of it (after on_ready, if that). Nothing is to be done with the stage then but to close
 * it.
 */
void np_proxied_on_left(struct np_proxied *p, void (*fn)(void *arg));
/* Takes an accepted stream, whatever becomes of it. */
void np_proxied_take(struct np_proxied *p, struct np_stream *s);
/* What waits is closed; on_ready is not called any more. Its memory goes with the last stream. */
void np_proxied_close(struct np_proxied *p);
size_t np_proxied_waiting(const struct np_proxied *p);

/* The header that the connection came with, for the stream or a filter on it; its slices hold while
 * the stream is open. False: it came with none. */
bool np_proxied_header(const struct np_stream *s, struct np_proxy_header *out);

#endif
