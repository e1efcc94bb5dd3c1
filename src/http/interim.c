/* What is said before the answer: 1xx heads, 100 Continue among them. One thread, the loop's. */
#include <string.h>

#include "http/server_impl.h"

static enum neap_err write_interim(struct np_buf *b, int status,
                                   const struct np_http_header *headers, size_t n)
{
    size_t before = np_buf_len(b);
    enum neap_err err = np_http_write_status_line(b, 1, status);
    for (size_t i = 0; i < n && !err; i++) {
        err = np_http_write_header(b, headers[i].name.p, headers[i].name.n, headers[i].value.p,
                                   headers[i].value.n);
    }
    if (!err) err = np_buf_append(b, "\r\n", 2);
    if (err) b->tail = b->head + before;
    return err;
}

enum neap_err np_http_inform(struct np_http_exchange *x, int status,
                             const struct np_http_header *headers, size_t n)
{
    struct np_http_conn *c = np_http_conn_of(x);
    struct np_http_given given = {0};
    if (x->finished || c->state != NP_CONN_EXCHANGE) return NEAP_ECLOSED;
    if (x->started || status < 100 || status > 199 || status == 101) return NEAP_EINVAL;
    enum neap_err err = np_http_check_headers(headers, n, &given);
    if (err) return err;
    if (given.connection) return NEAP_EINVAL;
    if (x->head.minor == 0) return NEAP_OK; /* it would not be understood */
    if (np_http_conn_is_full(c, given.bytes + NP_HTTP_FLUSH_AT)) return NEAP_ELIMIT;
    np_http_conn_lend_out(c);
    err = write_interim(&c->t->out, status, headers, n);
    if (err) return err;
    if (status == 100) c->want_continue = false;
    if (!c->corked) np_http_conn_flush(c);
    return NEAP_OK;
}

void np_http_conn_say_continue(struct np_http_conn *c)
{
    c->want_continue = false;
    if (c->t->x.started || np_buf_len(&c->t->in)) return; /* too late, or it did not wait */
    np_http_conn_lend_out(c);
    /* Without memory for it the client goes on by itself, after a while. */
    if (write_interim(&c->t->out, 100, NULL, 0)) return;
    if (!c->corked) np_http_conn_flush(c);
}
