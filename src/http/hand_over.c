/* Connections that stop being HTTP: an upgrade answered 101, a CONNECT answered 2xx.
 *
 * The head is written, the exchange ends, the stream becomes the caller's and the connection goes
 * back to the server from the loop. What was read behind the request's head is put back into the
 * stream: by np_http_upgrade itself what waits in `in`, by the connection's turn (conn.c) what it
 * was reading when the handler was called. One thread, the loop's. */
#include <string.h>

#include "http/server_impl.h"

/* Whether the client offered this protocol ("name" or "name/version"); of `wanted` only the first
 * counts, as one protocol is spoken at a time. */
static bool was_offered(const struct np_http_head *h, struct np_bytes wanted)
{
    char lower[64];
    if (wanted.n == 0 || wanted.n > sizeof lower) return false;
    for (size_t i = 0; i < wanted.n; i++) {
        char c = wanted.p[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    for (size_t i = 0; i < h->nheaders; i++) {
        if (np_http_name_is(h->headers[i].name, "upgrade", 7) &&
            np_http_list_has(h->headers[i].value, lower, wanted.n))
            return true;
    }
    return false;
}

static enum neap_err check_switch(const struct np_http_exchange *x,
                                  const struct np_http_header *headers, size_t n)
{
    const struct np_http_header *given = NULL;
    if (x->head.method == HTTP_CONNECT || !x->head.upgrade || x->head.minor == 0)
        return NEAP_ENOTSUP;
    for (size_t i = 0; i < n; i++) {
        if (!np_http_name_is(headers[i].name, "upgrade", 7)) continue;
        if (given) return NEAP_EINVAL;
        given = &headers[i];
    }
    if (!given) return NEAP_EINVAL;
    return was_offered(&x->head, given->value) ? NEAP_OK : NEAP_ENOTSUP;
}

static enum neap_err check(const struct np_http_conn *c, int status,
                           const struct np_http_header *headers, size_t n)
{
    const struct np_http_exchange *x = &c->t->x;
    struct np_http_given given = {0};
    if (x->finished || c->state != NP_CONN_EXCHANGE || c->doomed || c->stream->err)
        return NEAP_ECLOSED;
    if (x->started) return NEAP_EINVAL;
    enum neap_err err = np_http_check_headers(headers, n, &given);
    if (err) return err;
    if (given.connection) return NEAP_EINVAL;
    if (status == 101)
        err = check_switch(x, headers, n);
    else if (status < 200 || status > 299 || status == 204 || status == 205)
        err = NEAP_EINVAL;
    else if (x->head.method != HTTP_CONNECT)
        err = NEAP_ENOTSUP;
    if (!err && !x->body_complete) err = NEAP_EBUSY;
    return err;
}

static enum neap_err write_head(struct np_http_conn *c, int status,
                                const struct np_http_header *headers, size_t n)
{
    size_t before = np_buf_len(&c->t->out);
    enum neap_err err = np_http_write_prefix(c->server, &c->t->out, status);
    for (size_t i = 0; i < n && !err; i++) {
        err = np_http_write_header(&c->t->out, headers[i].name.p, headers[i].name.n,
                                   headers[i].value.p, headers[i].value.n);
    }
    if (!err && status == 101) err = np_buf_append_str(&c->t->out, "Connection: upgrade\r\n");
    if (!err) err = np_buf_append(&c->t->out, "\r\n", 2);
    if (err) c->t->out.tail = c->t->out.head + before;
    return err;
}

enum neap_err np_http_upgrade(struct np_http_exchange *x, int status,
                              const struct np_http_header *headers, size_t n,
                              struct np_stream **out)
{
    struct np_http_conn *c = np_http_conn_of(x);
    struct np_stream *s = c->stream;
    enum neap_err err = check(c, status, headers, n);
    if (err) return err;
    np_http_conn_lend_out(c);
    size_t before = np_buf_len(&c->t->out);
    err = write_head(c, status, headers, n);
    if (!err && !c->corked)
        err = np_stream_unread(s, np_buf_data(&c->t->in), np_buf_len(&c->t->in));
    if (!err) err = np_stream_set_timeouts(s, 0, 0, 0);
    if (err) {
        c->t->out.tail = c->t->out.head + before;
        return err;
    }
    np_http_account_head(c, status);
    np_http_conn_flush(c);
    if (c->doomed) return c->doomed;
    np_stream_read_stop(s);
    np_http_account_head(c, status);
    np_http_account_end(c, false);
    np_http_conn_let_go(c);
    *out = s;
    return NEAP_OK;
}

void np_http_put_back(struct np_stream *s, const char *data, size_t n)
{
    enum neap_err err = np_stream_unread(s, data, n);
    if (err == NEAP_ENOMEM) np_stream_fail_later(s, err); /* ECLOSED: its new owner has left */
}
