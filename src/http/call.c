/* A call: the request that is made of it, its timeouts, its end. One thread, the loop's. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client_impl.h"
#include "net/netpolicy.h"

#define MAX_AHEAD ((size_t)64 * 1024) /* of a streamed body, while there is no connection yet */

/* --- the end */

static void free_call(struct np_http_call *call)
{
    np_timer_stop(&call->deadline);
    np_timer_stop(&call->progress);
    np_defer_cancel(&call->end);
    np_buf_fini(&call->req);
    np_free(call);
}

static void last_word(struct np_http_call *call)
{
    struct np_http_client *c = call->client;
    call->ended = true;
    np_timer_stop(&call->deadline);
    np_timer_stop(&call->progress);
    np_list_remove(&call->link);
    call->handler->on_end(call, call->err, call->err ? call->why : NULL);
    free_call(call);
    np_http_client_check_gone(c);
}

void np_http_call_end(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
{
    va_list ap;
    if (call->ended) return; /* cancelled in its last moment: said so already */
    va_start(ap, fmt);
    vsnprintf(call->why, sizeof call->why, fmt, ap);
    va_end(ap);
    call->err = err;
    call->origin = NULL;
    last_word(call);
}

void np_http_call_end_later(struct np_http_call *call, enum neap_err err, const char *fmt, ...)
{
    va_list ap;
    if (call->ended) return;
    va_start(ap, fmt);
    vsnprintf(call->why, sizeof call->why, fmt, ap);
    va_end(ap);
    call->err = err;
    call->ended = true;
    np_http_pool_unqueue(call);
    call->origin = NULL;
    np_timer_stop(&call->deadline);
    np_timer_stop(&call->progress);
    if (call->conn) {
        np_http1_pause(&call->conn->parser, true);
        np_http_client_conn_close(call->conn);
    }
    np_loop_defer(call->client->loop, &call->end);
}

static void on_later(struct np_defer *d)
{
    struct np_http_call *call = np_container_of(d, struct np_http_call, end);
    if (call->ended) {
        last_word(call);
    } else if (call->drain_due) {
        call->drain_due = false;
        if (call->handler->on_drain) call->handler->on_drain(call);
    }
}

void np_http_call_cancel(struct np_http_call *call)
{
    np_http_call_end_later(call, NEAP_ECANCELED, "the call was cancelled");
}

/* --- time */

static void on_deadline(struct np_timer *t)
{
    struct np_http_call *call = np_container_of(t, struct np_http_call, deadline);
    np_http_call_end_later(call, NEAP_ETIMEDOUT, "%s took too long: the call's time is over",
                           call->origin->key);
}

static void on_no_progress(struct np_timer *t)
{
    struct np_http_call *call = np_container_of(t, struct np_http_call, progress);
    if (call->paused) return; /* it is we who do not read */
    np_http_call_end_later(call, NEAP_ETIMEDOUT, "%s %s", call->origin->key,
                           call->answered ? "stopped in the middle of its answer"
                                          : "did not begin its answer in time");
}

static void wait_for(struct np_http_call *call, int64_t span)
{
    if (span <= 0) {
        np_timer_stop(&call->progress);
    } else if (np_timer_start(&call->progress, span)) {
        np_http_call_end_later(call, NEAP_ENOMEM, "out of memory");
    }
}

void np_http_call_sent(struct np_http_call *call)
{
    if (call->body_done && !call->answered) wait_for(call, call->first_byte_timeout);
    if (call->stream_body && !call->body_done && call->drain_due)
        np_loop_defer(call->client->loop, &call->end);
}

void np_http_call_progress(struct np_http_call *call)
{
    wait_for(call, call->idle_timeout);
    if (call->req.cap && call->answered) np_buf_fini(&call->req); /* it is not sent again */
}

/* --- once more */

bool np_http_call_may_retry(const struct np_http_call *call)
{
    return !call->retried && !call->ended && !call->answered && call->idempotent &&
           !call->body_written && !call->client->closing;
}

/* --- the request */

struct given {
    bool host, close;
};

static enum neap_err check_header(const struct np_http_header *h, struct given *g,
                                  struct neap_errinfo *info)
{
    int n = (int)(h->name.n > 60 ? 60 : h->name.n);
    if (!np_http_is_token(h->name.p, h->name.n))
        return np_err_set(info, NEAP_EINVAL, "bad header name: \"%.*s\"", n, h->name.p);
    if (!np_http_is_value(h->value.p, h->value.n))
        return np_err_set(info, NEAP_EINVAL, "bad value of header %.*s", n, h->name.p);
    if (np_http_name_is(h->name, "content-length", 14) ||
        np_http_name_is(h->name, "transfer-encoding", 17))
        return np_err_set(info, NEAP_EINVAL, "the header %.*s is the client's own", n, h->name.p);
    if (np_http_name_is(h->name, "host", 4)) {
        if (g->host) return np_err_set(info, NEAP_EINVAL, "Host is given twice");
        g->host = true;
    }
    if (np_http_name_is(h->name, "connection", 10)) {
        g->close = g->close || np_http_name_is(h->value, "close", 5);
        if (!g->close && !np_http_name_is(h->value, "keep-alive", 10))
            return np_err_set(info, NEAP_EINVAL, "Connection can be close or keep-alive");
    }
    return NEAP_OK;
}

static enum neap_err write_host(struct np_buf *b, const struct np_http_request *r)
{
    if (r->unix_path) return np_buf_append_str(b, "Host: localhost\r\n");
    bool v6 = strchr(r->host, ':') != NULL;
    enum neap_err err = np_buf_printf(b, "Host: %s%s%s", v6 ? "[" : "", r->host, v6 ? "]" : "");
    if (!err && r->port != 80) err = np_buf_printf(b, ":%d", r->port);
    if (!err) err = np_buf_append_str(b, "\r\n");
    return err;
}

static bool is_host(const char *host)
{
    size_t n = host ? strlen(host) : 0;
    return n > 0 && n < 256 && np_http_is_target(host, n) && !strpbrk(host, "/?@\\[]\"<>");
}

static enum neap_err write_framing(struct np_http_call *call, const struct np_http_request *r)
{
    struct np_buf *b = &call->req;
    if (r->stream_body && r->content_length < 0) {
        call->chunked = true;
        return np_buf_append_str(b, "Transfer-Encoding: chunked\r\n\r\n");
    }
    uint64_t n = r->stream_body ? (uint64_t)r->content_length : r->body_len;
    bool say = n > 0 || r->stream_body || call->method == HTTP_POST || call->method == HTTP_PUT ||
               call->method == HTTP_PATCH;
    call->body_left = r->stream_body ? n : 0;
    if (!say) return np_buf_append(b, "\r\n", 2);
    enum neap_err err = np_buf_append_str(b, "Content-Length: ");
    if (!err) err = np_buf_append_u64(b, n);
    if (!err) err = np_buf_append(b, "\r\n\r\n", 4);
    if (!err && r->body_len) err = np_buf_append(b, r->body, r->body_len);
    return err;
}

static enum neap_err write_request(struct np_http_call *call, const struct np_http_request *r,
                                   struct neap_errinfo *info)
{
    struct np_buf *b = &call->req;
    struct given g = {false, false};
    size_t mn = strlen(r->method), tn = strlen(r->target);
    if (!r->unix_path && (!is_host(r->host) || r->port < 1 || r->port > 65535))
        return np_err_set(info, NEAP_EINVAL, "bad host or port");
    enum neap_err err = np_http_write_request_line(b, r->method, mn, r->target, tn);
    if (err == NEAP_EINVAL) return np_err_set(info, err, "bad method or request target");
    for (size_t i = 0; !err && i < r->nheaders; i++) {
        const struct np_http_header *h = &r->headers[i];
        err = check_header(h, &g, info);
        if (err) return err;
        if (!np_http_name_is(h->name, "connection", 10))
            err = np_http_write_header(b, h->name.p, h->name.n, h->value.p, h->value.n);
    }
    call->close = g.close;
    if (!err && !g.host) err = write_host(b, r);
    if (!err && g.close) err = np_buf_append_str(b, "Connection: close\r\n");
    if (!err) err = write_framing(call, r);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

/* RFC 9110 §9.2.2 */
static bool is_idempotent(int method)
{
    switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
    case HTTP_PUT:
    case HTTP_DELETE:
    case HTTP_OPTIONS:
    case HTTP_TRACE:
        return true;
    default:
        return false;
    }
}

static enum neap_err check_request(const struct np_http_client *c, const struct np_http_request *r,
                                   struct neap_errinfo *info)
{
    if (c->closing) return np_err_set(info, NEAP_ECLOSED, "the client was closed");
    if (!r->method || !r->target || (r->stream_body && r->body))
        return np_err_set(info, NEAP_EINVAL, "bad request");
    if (strcmp(r->method, "CONNECT") == 0)
        return np_err_set(info, NEAP_ENOTSUP, "CONNECT is not supported");
    return NEAP_OK;
}

static struct np_http_call *new_call(struct np_http_client *c, const struct np_http_request *r,
                                     const struct np_http_call_handler *h, void *arg)
{
    struct np_http_call *call = np_calloc(1, sizeof *call);
    if (!call) return NULL;
    call->client = c;
    call->handler = h;
    call->arg = arg;
    np_link_init(&call->link);
    np_link_init(&call->queue);
    np_timer_init(&call->deadline, c->loop, on_deadline);
    np_timer_init(&call->progress, c->loop, on_no_progress);
    np_defer_init(&call->end, on_later);
    call->first_byte_timeout = r->first_byte_timeout;
    call->idle_timeout = r->idle_timeout;
    call->method = np_http_method(r->method, strlen(r->method));
    call->idempotent = is_idempotent(call->method);
    call->stream_body = r->stream_body;
    call->body_done = !r->stream_body;
    return call;
}

/* The policy does not allow it. */
static void refused(const struct np_http_request *r, struct neap_errinfo *info)
{
    char where[300];
    if (r->unix_path)
        snprintf(where, sizeof where, "unix:%.250s", r->unix_path);
    else
        snprintf(where, sizeof where, strchr(r->host, ':') ? "[%.250s]:%d" : "%.250s:%d", r->host,
                 r->port);
    np_err_set(info, NEAP_EACCES, NP_NETPOLICY_WORDS, where);
}

enum neap_err np_http_client_call(struct np_http_client *c, const struct np_http_request *r,
                                  const struct np_http_call_handler *h, void *arg,
                                  struct np_http_call **out, struct neap_errinfo *info)
{
    enum neap_err err = check_request(c, r, info);
    if (err) return err;
    struct np_http_call *call = new_call(c, r, h, arg);
    if (!call) return np_err_plain(info, NEAP_ENOMEM);
    err = write_request(call, r, info);
    if (err) goto fail;
    if (r->timeout > 0) err = np_timer_start(&call->deadline, r->timeout);
    if (!err) err = np_http_origin_get(c, r, &call->origin);
    np_list_push_back(&c->calls, &call->link);
    if (!err) err = np_http_pool_assign(call, false);
    if (err) {
        np_list_remove(&call->link);
        if (err == NEAP_ELIMIT)
            np_err_set(info, err, "%zu calls are waiting for a connection already", c->nwaiting);
        else if (err == NEAP_EACCES)
            refused(r, info);
        else
            np_err_plain(info, err);
        goto fail;
    }
    c->ncalls++;
    *out = call;
    return NEAP_OK;
fail:
    free_call(call);
    return err;
}

void *np_http_call_arg(const struct np_http_call *call)
{
    return call->arg;
}

void np_http_call_pause(struct np_http_call *call, bool paused)
{
    if (call->ended || call->paused == paused) return;
    call->paused = paused;
    if (call->conn) np_http_client_conn_pause(call->conn, paused);
}

/* --- a streamed body */

static enum neap_err write_ahead(struct np_http_call *call, const char *p, size_t n)
{
    enum neap_err err =
        call->chunked ? np_http_write_chunk(&call->req, p, n) : np_buf_append(&call->req, p, n);
    if (!err && np_buf_len(&call->req) >= MAX_AHEAD) call->drain_due = true;
    return err;
}

static enum neap_err write_now(struct np_http_call *call, const char *p, size_t n)
{
    struct np_stream *s = call->conn->stream;
    char head[NP_HTTP_CHUNK_HEAD];
    if (!call->chunked) return np_stream_write(s, p, n);
    struct np_slice v[3] = {{head, np_http_chunk_head(head, n)}, {p, n}, {"\r\n", 2}};
    return np_stream_writev(s, v, 3);
}

enum neap_err np_http_call_write(struct np_http_call *call, const char *p, size_t n)
{
    if (call->ended) return NEAP_ECLOSED;
    if (!call->stream_body || call->body_done) return NEAP_EINVAL;
    if (n == 0) return NEAP_OK;
    if (!call->chunked && n > call->body_left) return NEAP_EINVAL;
    enum neap_err err = call->conn ? write_now(call, p, n) : write_ahead(call, p, n);
    if (err) return err;
    if (call->conn) call->body_written = true;
    if (!call->chunked) call->body_left -= n;
    return NEAP_OK;
}

bool np_http_call_writable(const struct np_http_call *call)
{
    if (call->ended) return false;
    if (call->conn) return np_stream_writable(call->conn->stream);
    return np_buf_len(&call->req) < MAX_AHEAD;
}

void np_http_call_drained(struct np_http_call *call)
{
    if (call->stream_body && !call->body_done && call->handler->on_drain)
        call->handler->on_drain(call);
}

void np_http_call_finish(struct np_http_call *call)
{
    enum neap_err err = NEAP_OK;
    if (call->ended || call->body_done) return;
    call->body_done = true;
    if (!call->chunked && call->body_left > 0) {
        np_http_call_end_later(call, NEAP_EINVAL, "the request's body is shorter than announced");
        return;
    }
    if (call->chunked)
        err = call->conn ? np_stream_write(call->conn->stream, "0\r\n\r\n", 5)
                         : np_http_write_last_chunk(&call->req);
    if (err && !(call->conn && call->conn->stream->err))
        np_http_call_end_later(call, err, "cannot write the request: %s", neap_err_text(err));
    else if (call->conn && call->conn->state == NP_CCONN_BUSY)
        np_http_call_sent(call);
}
