/* Forwarding: a server's exchange answered by a client's call, without the bodies' passing through
 * anybody's memory but theirs.
 *
 * The request is made anew from its parsed head: what belongs to one connection (RFC 9110 §7.6.1),
 * what Connection names, Host, framing and Expect are left behind. Both bodies stream, each side
 * held back by the other's queue. 1xx heads but 100 pass, and so do trailers. What is asked for a
 * tunnel or an upgrade is not forwarded as that. One thread, the loop's.
 */
#ifndef NP_HTTP_FORWARD_H
#define NP_HTTP_FORWARD_H

#include "http/client.h"
#include "http/compress.h"
#include "http/server.h"

struct np_http_forward;

/* Statuses from 400 to 599, a bit each. */
struct np_http_statuses {
    uint8_t bits[25];
};
static inline bool np_http_statuses_has(const struct np_http_statuses *s, int status)
{
    if (status < 400 || status > 599) return false;
    unsigned i = (unsigned)(status - 400);
    return s->bits[i / 8] >> i % 8 & 1;
}

struct np_http_forward_options {
    /* Where to and its timeouts. `method` and `target` NULL: the exchange's. `headers` stand in for
     * the exchange's of the same names; one whose value's p is NULL is left out. A `body` stands in
     * for the exchange's. Lent. */
    struct np_http_request request;
    bool keep_host;                              /* sends the exchange's Host */
    const struct np_http_header *answer_headers; /* added to the answer's head; copied */
    size_t nanswer_headers;
    const struct np_http_plan *compress; /* the answer; NULL: no. Holds until it has ended */
    /* Answers of these, to a request of whose body nothing was sent, are not passed on before
     * somebody has said so: `on_held` is called when such
     * a head is there, from the loop, and then np_http_forward_go or _cancel; or `done` comes
     * first. NULL: none. Lent until `done`. */
    const struct np_http_statuses *hold;
    void (*on_held)(void *arg, const struct np_http_head *head, int64_t head_took);
    /* An answer's head has come, and is passed on. NULL: nobody minds. */
    void (*on_answered)(void *arg);
};

/* How it ended; from the loop, once, unless it was cancelled. NEAP_OK: it is answered. A failure
 * with `x`: nothing was answered, and the exchange is its owner's again; with x NULL: the client
 * has left, or an answer that was begun has been broken off. `body_begun`: some of the request's
 * body was sent, and is gone. */
struct np_http_forwarded {
    struct np_http_exchange *x;
    enum neap_err err;
    const char *why;          /* in words, lent */
    enum np_http_phase phase; /* where the call stood */
    bool body_begun;
    int status;        /* of the upstream's answer; 0: none */
    int64_t head_took; /* ns from the start to its head; -1: none */
};
typedef void (*np_http_forwarded_fn)(void *arg, const struct np_http_forwarded *how);

/* Takes the exchange over, which must be unanswered. When its client leaves its owner hears of it
 * as always (on_abort), before `done`. On failure, of np_http_client_call's kinds, NEAP_ECLOSED, or
 * NEAP_EBUSY (its body has been asked for already), all is as before. */
NEAP_MUST_CHECK enum neap_err
np_http_forward_start(struct np_http_client *client, struct np_http_exchange *x,
                      const struct np_http_forward_options *o, np_http_forwarded_fn done, void *arg,
                      struct np_http_forward **out, struct neap_errinfo *info);
/* Passes on the answer that is held. */
void np_http_forward_go(struct np_http_forward *f);
/* Ends it without another word: an exchange that is not answered is its owner's at once; an answer
 * that was begun is broken off. */
void np_http_forward_cancel(struct np_http_forward *f);

#endif
