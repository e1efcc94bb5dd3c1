/* What a call sends: its head, made and checked when the call is; its body, known or streamed.
 *
 * Until there is a connection, and while the body waits for 100 (Continue), all of it gathers in
 * call->req, a streamed body up to a bound. One thread, the loop's.
 */
#include <stdio.h>
#include <string.h>

#include "http/client_impl.h"

#define MAX_AHEAD ((size_t)64 * 1024) /* of a streamed body that cannot be written yet */

/* --- the head */

struct given {
    bool host, close, coding;
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
    if (np_http_name_is(h->name, "expect", 6))
        return np_err_set(info, NEAP_EINVAL, "Expect is the client's own: see expect_continue");
    if (np_http_name_is(h->name, "host", 4)) {
        if (g->host) return np_err_set(info, NEAP_EINVAL, "Host is given twice");
        g->host = true;
    }
    g->coding = g->coding || np_http_name_is(h->name, "accept-encoding", 15) ||
                np_http_name_is(h->name, "range", 5);
    if (np_http_name_is(h->name, "connection", 10)) {
        g->close = g->close || np_http_name_is(h->value, "close", 5);
        if (!g->close && !np_http_name_is(h->value, "keep-alive", 10))
            return np_err_set(info, NEAP_EINVAL, "Connection can be close or keep-alive");
    }
    return NEAP_OK;
}

static enum neap_err write_authority(struct np_buf *b, const struct np_http_request *r)
{
    bool v6 = strchr(r->host, ':') != NULL;
    enum neap_err err = v6 ? np_buf_append(b, "[", 1) : NEAP_OK;
    if (!err) err = np_buf_append_str(b, r->host);
    if (!err && v6) err = np_buf_append(b, "]", 1);
    if (err || r->port == (r->tls ? 443 : 80)) return err;
    err = np_buf_append(b, ":", 1);
    return err ? err : np_buf_append_u64(b, (uint64_t)r->port);
}

static enum neap_err write_host(struct np_buf *b, const struct np_http_request *r)
{
    if (r->unix_path) return np_buf_append_str(b, "Host: localhost\r\n");
    enum neap_err err = np_buf_append_str(b, "Host: ");
    if (!err) err = write_authority(b, r);
    if (!err) err = np_buf_append_str(b, "\r\n");
    return err;
}

static bool is_host(const char *host)
{
    size_t n = host ? strlen(host) : 0;
    return n > 0 && n < 256 && np_http_is_target(host, n) && !strpbrk(host, "/?@\\[]\"<>");
}

static bool is_proxied_plain(const struct np_http_request *r)
{
    return r->proxy && !r->tls;
}

/* To a proxy a plain request's target is the whole URL (RFC 9112 §3.2.2). */
static enum neap_err write_request_line(struct np_buf *b, const struct np_http_request *r)
{
    size_t mn = strlen(r->method), tn = strlen(r->target);
    struct np_buf url;
    if (!is_proxied_plain(r) || r->target[0] != '/')
        return np_http_write_request_line(b, r->method, mn, r->target, tn);
    np_buf_init(&url);
    enum neap_err err = np_buf_append_str(&url, "http://");
    if (!err) err = write_authority(&url, r);
    if (!err) err = np_buf_append(&url, r->target, tn);
    if (!err)
        err = np_http_write_request_line(b, r->method, mn, np_buf_data(&url), np_buf_len(&url));
    np_buf_fini(&url);
    return err;
}

static enum neap_err write_framing(struct np_http_call *call, const struct np_http_request *r)
{
    struct np_buf *b = &call->req;
    enum neap_err err = NEAP_OK;
    if (call->expect) err = np_buf_append_str(b, "Expect: 100-continue\r\n");
    if (err) return err;
    if (r->stream_body && r->content_length < 0) {
        call->chunked = true;
        return np_buf_append_str(b, "Transfer-Encoding: chunked\r\n\r\n");
    }
    uint64_t n = r->stream_body ? (uint64_t)r->content_length : r->body_len;
    bool say = n > 0 || r->stream_body || call->method == HTTP_POST || call->method == HTTP_PUT ||
               call->method == HTTP_PATCH;
    call->body_left = r->stream_body ? n : 0;
    if (!say) return np_buf_append(b, "\r\n", 2);
    err = np_buf_append_str(b, "Content-Length: ");
    if (!err) err = np_buf_append_u64(b, n);
    if (!err) err = np_buf_append(b, "\r\n\r\n", 4);
    return err;
}

static enum neap_err write_headers(struct np_http_call *call, const struct np_http_request *r,
                                   struct given *g, struct neap_errinfo *info)
{
    struct np_buf *b = &call->req;
    for (size_t i = 0; i < r->nheaders; i++) {
        const struct np_http_header *h = &r->headers[i];
        enum neap_err err = check_header(h, g, info);
        if (err) return err;
        if (np_http_name_is(h->name, "connection", 10)) continue;
        err = np_http_put_header(b, h);
        if (err) return np_err_plain(info, err);
    }
    return NEAP_OK;
}

static enum neap_err check_where(const struct np_http_request *r, struct neap_errinfo *info)
{
    const struct np_http_proxy *proxy = r->proxy;
    if (!r->unix_path && (!is_host(r->host) || r->port < 1 || r->port > 65535))
        return np_err_set(info, NEAP_EINVAL, "bad host or port");
    if (proxy && (!is_host(proxy->host) || proxy->port < 1 || proxy->port > 65535))
        return np_err_set(info, NEAP_EINVAL, "bad host or port of the proxy");
    return NEAP_OK;
}

enum neap_err np_http_call_compose(struct np_http_call *call, const struct np_http_request *r,
                                   struct neap_errinfo *info)
{
    struct np_buf *b = &call->req;
    struct given g = {false, false, false};
    enum neap_err err = np_http_origin_is_known(call->client, r) ? NEAP_OK : check_where(r, info);
    if (err) return err;
    err = write_request_line(b, r);
    if (err == NEAP_EINVAL) return np_err_set(info, err, "bad method or request target");
    if (err) return np_err_plain(info, err);
    err = write_headers(call, r, &g, info);
    if (err) return err;
    call->close = g.close;
    if (!g.host) err = write_host(b, r);
    call->decode = r->decode && !g.coding;
    if (!err && call->decode)
        err = np_buf_append_str(b, "Accept-Encoding: gzip, deflate, br, zstd\r\n");
    if (!err && is_proxied_plain(r) && r->proxy->authorization)
        err = np_http_write_header(b, "Proxy-Authorization", 19, r->proxy->authorization,
                                   strlen(r->proxy->authorization));
    if (!err && g.close) err = np_buf_append_str(b, "Connection: close\r\n");
    if (!err) err = write_framing(call, r);
    call->head_len = np_buf_len(b);
    if (!err && r->body_len) err = np_buf_append(b, r->body, r->body_len);
    return err ? np_err_plain(info, err) : NEAP_OK;
}

/* --- sending */

/* All of the request is on its way: the answer is waited for. */
static void sent(struct np_http_call *call)
{
    bool begun = call->answered && (call->headed || !call->interim);
    if (call->body_done && !call->held && !begun)
        np_http_call_enter(call, NP_HTTP_FIRST_BYTE, call->first_byte_timeout);
}

/* What the transport finds wrong it reports itself, from the loop. */
static bool write_failed(struct np_http_call *call, enum neap_err err)
{
    struct np_stream *s = call->conn->stream;
    if (err && !s->err && s->state <= NP_STREAM_OPEN)
        np_http_call_end_later(call, err, "cannot write the request: %s", neap_err_text(err));
    return err != NEAP_OK;
}

/* While a body is sent, its peer's not taking it is bounded as its not answering is. */
static enum neap_err bound_writing(struct np_http_call *call)
{
    struct np_http_client_conn *conn = call->conn;
    bool wanted = call->idle_timeout && (call->stream_body || np_buf_len(&call->req) > 64 << 10);
    if (!wanted && !conn->timed) return NEAP_OK;
    conn->timed = wanted;
    return np_stream_set_timeouts(conn->stream, 0, wanted ? call->idle_timeout : 0, 0);
}

void np_http_call_send(struct np_http_call *call)
{
    struct np_stream *s = call->conn->stream;
    const struct np_buf *b = &call->req;
    call->held = call->expect > 0;
    enum neap_err err = bound_writing(call);
    if (!err) err = np_stream_write(s, np_buf_data(b), call->held ? call->head_len : np_buf_len(b));
    if (!err) err = np_stream_read_start(s);
    if (write_failed(call, err)) return;
    np_http_call_enter(call, NP_HTTP_SEND, call->held ? call->expect : 0);
    if (call->ended) return;
    sent(call);
    if (call->drain_due && !call->held) np_loop_defer(call->client->loop, &call->end);
}

void np_http_call_release_body(struct np_http_call *call)
{
    const struct np_buf *b = &call->req;
    if (!call->held) return;
    call->held = false;
    np_http_call_enter(call, NP_HTTP_SEND, 0);
    size_t n = np_buf_len(b) - call->head_len;
    enum neap_err err =
        n ? np_stream_write(call->conn->stream, np_buf_data(b) + call->head_len, n) : NEAP_OK;
    if (write_failed(call, err)) return;
    if (n && call->stream_body) call->body_written = true;
    sent(call);
    if (call->drain_due) np_loop_defer(call->client->loop, &call->end);
}

/* --- a streamed body */

/* Whether its body may be written to the connection. */
static bool flows(const struct np_http_call *call)
{
    return call->conn && call->conn->state == NP_CCONN_BUSY && !call->held;
}

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
    enum neap_err err = flows(call) ? write_now(call, p, n) : write_ahead(call, p, n);
    if (err) return err;
    if (flows(call)) call->body_written = true;
    if (!call->chunked) call->body_left -= n;
    return NEAP_OK;
}

bool np_http_call_writable(const struct np_http_call *call)
{
    if (call->ended) return false;
    if (flows(call)) return np_stream_writable(call->conn->stream);
    return np_buf_len(&call->req) < MAX_AHEAD;
}

bool np_http_call_await_sending(struct np_http_call *call)
{
    if (call->ended || flows(call)) return false;
    call->drain_due = true;
    return true;
}

void np_http_call_drained(struct np_http_call *call)
{
    if (call->stream_body && !call->body_done && call->handler->on_drain)
        call->handler->on_drain(call);
}

/* The end of a chunked body. */
static enum neap_err write_last(struct np_http_call *call, bool now,
                                const struct np_http_header *trailers, size_t n)
{
    struct np_buf tail;
    if (!now) return np_http_write_trailer(&call->req, trailers, n);
    if (n == 0) return np_stream_write(call->conn->stream, "0\r\n\r\n", 5);
    np_buf_init(&tail);
    enum neap_err err = np_http_write_trailer(&tail, trailers, n);
    if (!err) err = np_stream_write(call->conn->stream, np_buf_data(&tail), np_buf_len(&tail));
    np_buf_fini(&tail);
    return err;
}

void np_http_call_finish(struct np_http_call *call)
{
    np_http_call_finish_with(call, NULL, 0);
}

void np_http_call_finish_with(struct np_http_call *call, const struct np_http_header *trailers,
                              size_t n)
{
    enum neap_err err = NEAP_OK;
    if (call->ended || call->body_done) return;
    call->body_done = true;
    if (!call->chunked && call->body_left > 0) {
        np_http_call_end_later(call, NEAP_EINVAL, "the request's body is shorter than announced");
        return;
    }
    bool now = flows(call);
    if (call->chunked) err = write_last(call, now, trailers, n);
    if (err && !(now && call->conn->stream->err))
        np_http_call_end_later(call, err, "cannot write the request: %s", neap_err_text(err));
    else if (now)
        sent(call);
}
