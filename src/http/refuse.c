/* Answers that the server gives by itself: to what it could not parse, or will not serve. One
 * thread, the loop's. */
#include <string.h>

#include "http/server_impl.h"

static enum neap_err write_refusal(struct np_http_conn *c, int status, const char *why)
{
    struct np_buf *b = &c->t->out;
    const char *reason = np_http_reason(status);
    const char *retry = status == 503 ? "Retry-After: 1\r\n" : "";
    size_t n = strlen(reason) + (why && *why ? strlen(why) + 2 : 0) + 5;
    enum neap_err err = np_http_write_prefix(c->server, b, status);
    if (!err)
        err = np_buf_printf(b,
                            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
                            "%sConnection: close\r\n\r\n%d %s%s%s\n",
                            n, retry, status, reason, why && *why ? ": " : "", why ? why : "");
    if (err) return err;
    np_http_account_head(c, status);
    c->t->account.body -= n;
    return NEAP_OK;
}

void np_http_conn_refuse(struct np_http_conn *c, int status, const char *why)
{
    if (c->state == NP_CONN_CLOSING) return;
    if (np_http_conn_wake(c)) {
        np_http_conn_drop(c);
        return;
    }
    np_http_conn_lend_out(c);
    size_t before = np_buf_len(&c->t->out);
    if (!c->t->account.open) np_http_account_begin(c, false);
    if (write_refusal(c, status, why)) c->t->out.tail = c->t->out.head + before;
    np_http_conn_finish(c);
}
