/* Connecting: by address, by name (resolved; its addresses raced), by path; and pairs in memory. */
#ifndef NP_NET_DIAL_H
#define NP_NET_DIAL_H

#include "net/stream.h"

struct np_dial_options {
    int64_t timeout; /* ns for everything until on_open, names included; default 10 s, 0 none */
    bool no_delay;   /* TCP_NODELAY, default true */
    int keep_alive;  /* seconds of TCP keep-alive, 0 off (default) */
    int64_t resolve_timeout; /* ns for the name alone, 0 none (default) */
    int64_t connect_timeout; /* ns from when the addresses are known, 0 none (default) */
    int64_t attempt_delay;   /* ns; before the next address is tried as well, default 250 ms */
};
#define NP_DIAL_OPTIONS_INIT                            \
    {                                                   \
        .timeout = 10 * NP_NS_PER_SEC, .no_delay = true \
    }
enum { NP_DIAL_MAX_ADDRS = 16 };

/* A stream in CONNECTING; on_open or on_error follows from the loop. `host` is a name or a literal
 * address. What a name resolves to is tried as RFC 8305 says ("happy eyeballs"): the families by
 * turns, the next address when one has failed or has not answered for `attempt_delay`; the first
 * that connects is it, the others are closed (when none does, the last error is reported). Fails at
 * once only for NEAP_ENOMEM, NEAP_EINVAL, and NEAP_EACCES: the loop's policy does not allow it
 * (netpolicy.h). Closing the stream cancels. */
NEAP_MUST_CHECK enum neap_err np_tcp_dial(struct np_loop *loop, const char *host, int port,
                                          const struct np_dial_options *opts,
                                          const struct np_stream_handler *h, void *arg,
                                          struct np_stream **out);
/* The same for addresses that are known already, at most NP_DIAL_MAX_ADDRS, in order of preference.
 */
NEAP_MUST_CHECK enum neap_err np_tcp_dial_addrs(struct np_loop *loop, const union np_addr *addrs,
                                                size_t n, const struct np_dial_options *opts,
                                                const struct np_stream_handler *h, void *arg,
                                                struct np_stream **out);
/* Of a stream that np_tcp_dial made and that is not open: whether it has not got an address yet. */
bool np_tcp_dial_resolving(const struct np_stream *s);
NEAP_MUST_CHECK enum neap_err np_unix_dial(struct np_loop *loop, const char *path,
                                           const struct np_dial_options *opts,
                                           const struct np_stream_handler *h, void *arg,
                                           struct np_stream **out);

/* Two streams in memory, each the other's peer. Bytes are handed over from the loop, at most
 * `capacity` bytes (0: 64 KiB) being under way in each direction; a full direction takes no more
 * until the other side reads. Closing one side ends the other; `reset` semantics as for TCP:
 * writing to a closed peer fails with NEAP_EPIPE. */
NEAP_MUST_CHECK enum neap_err np_pipe_pair(struct np_loop *loop, size_t capacity,
                                           struct np_stream **a, struct np_stream **b);

#endif
