/* UDP sockets. Closing is asynchronous: on_close is last, then the memory is freed. */
#ifndef NP_NET_UDP_H
#define NP_NET_UDP_H

#include "net/addr.h"
#include "net/loop.h"

struct np_udp;
struct np_share_user;
struct np_udp_handler {
    /* Bytes and address are lent. `truncated`: the datagram was larger than the buffer. */
    void (*on_recv)(struct np_udp *u, const char *data, size_t n, const struct sockaddr *from,
                    bool truncated);
    /* What the network says of datagrams sent earlier (NEAP_ECONNREFUSED on a connected socket,
     * …); receiving goes on. May be NULL. */
    void (*on_error)(struct np_udp *u, enum neap_err err);
    void (*on_close)(struct np_udp *u); /* may be NULL */
};
struct np_udp_options {
    bool reuse_port; /* several sockets share the port; for multicast all of them receive */
    bool v6_only;
    bool broadcast;
    int recv_buffer; /* SO_RCVBUF bytes, 0 the system's */
    int send_buffer;
    bool join_later; /* others of this process may share the port from now on; share.c's */
    /* See share.h: the other workers, and the states that follow this one, have the same port. It
     * receives only while its user's state is the one that works. NULL (default): its own. */
    struct np_share_user *share;
};

/* Bound to host:port (literal address; NULL host and port 0: an ephemeral port when first used). */
NEAP_MUST_CHECK enum neap_err np_udp_open(struct np_loop *loop, const char *host, int port,
                                          const struct np_udp_options *opts,
                                          const struct np_udp_handler *h, void *arg,
                                          struct np_udp **out, struct neap_errinfo *info);
/* A socket as np_udp_open makes it, without a loop; the caller's. */
NEAP_MUST_CHECK enum neap_err np_udp_socket(const char *host, int port,
                                            const struct np_udp_options *opts, int *out,
                                            struct neap_errinfo *info);
/* Fixes the peer; `send` then takes NULL as the address, and others' datagrams are not received. */
NEAP_MUST_CHECK enum neap_err np_udp_connect(struct np_udp *u, const struct sockaddr *peer);
/* Sends at once or queues a copy (bounded: NEAP_EAGAIN above 1 MiB queued). NEAP_EMSGSIZE. */
NEAP_MUST_CHECK enum neap_err np_udp_send(struct np_udp *u, const void *p, size_t n,
                                          const struct sockaddr *to);
NEAP_MUST_CHECK enum neap_err np_udp_recv_start(struct np_udp *u);
void np_udp_recv_stop(struct np_udp *u);
NEAP_MUST_CHECK enum neap_err np_udp_local(struct np_udp *u, char *out, size_t size, int *port);
/* Multicast; NULL iface means the default one. To join twice is no error on a shared socket, which
 * may be a member since the state before; one that is retired leaves nothing. */
NEAP_MUST_CHECK enum neap_err np_udp_membership(struct np_udp *u, const char *group,
                                                const char *iface, bool join);
NEAP_MUST_CHECK enum neap_err np_udp_multicast(struct np_udp *u, int ttl, bool loop_back);
void np_udp_set_ref(struct np_udp *u, bool ref);
void *np_udp_arg(const struct np_udp *u);
void np_udp_close(struct np_udp *u); /* may be called twice */

#endif
