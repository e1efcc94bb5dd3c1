/* A connection of the client until it is there: TCP or a unix socket, the TLS of a proxy, its
 * tunnel, the TLS of the origin; each step that there is begins when the one before it is done.
 *
 * The stream of the last step is the connection's, and owns what is under it. Every step is a phase
 * of the call that waits, with its own bound. One thread, the loop's.
 */
#include <stdio.h>
#include <string.h>

#include "http/client_impl.h"
#include "net/netpolicy.h"

static void step(struct np_http_client_conn *conn);

static void fail(struct np_http_client_conn *conn, enum neap_err err)
{
    struct np_http_call *call = conn->call;
    char what[NP_CALL_WHY_MAX / 2];
    const char *why = np_stream_why(conn->stream, err);
    if (call->phase == NP_HTTP_CONNECT && np_tcp_dial_resolving(conn->stream))
        call->phase = NP_HTTP_DNS;
    if (err == NEAP_ETIMEDOUT && !call->bound) call->bound = np_http_phase_name(call->phase);
    if (call->phase == NP_HTTP_DNS)
        snprintf(what, sizeof what, "cannot be connected to: %s",
                 err == NEAP_ENOTFOUND ? "no such host" : why);
    else if (call->phase == NP_HTTP_PROXY)
        snprintf(what, sizeof what, "cannot be reached: the proxy: %s", why);
    else
        snprintf(what, sizeof what, "cannot be connected to: %s", why);
    np_http_client_conn_fail(conn, err, what);
}

static void step_open(struct np_stream *s)
{
    struct np_http_client_conn *conn = s->arg;
    if (conn->call->phase == NP_HTTP_PROXY) conn->proxy_secure = true;
    step(conn);
}

static void step_error(struct np_stream *s, enum neap_err err)
{
    fail(s->arg, err);
}

static const struct np_stream_handler step_handler = {
    .on_open = step_open, .on_error = step_error, .on_close = np_http_client_conn_gone};

/* --- TLS */

static void wrap(struct np_http_client_conn *conn, struct np_tls_context *ctx, const char *name,
                 int port)
{
    static const char *const alpn[] = {"http/1.1"};
    char key[300];
    struct np_tls_client_options o = {.host = name, .alpn = alpn, .nalpn = 1};
    int n = snprintf(key, sizeof key, "%s:%d", name, port);
    if (n > 0 && (size_t)n < sizeof key) o.session_key = key;
    enum neap_err err =
        np_tls_wrap_client(ctx, conn->stream, &o, &step_handler, conn, &conn->stream);
    if (err) fail(conn, err);
}

/* --- a tunnel */

static void tunnel_head(struct np_http1_parser *p)
{
    struct np_http_client_conn *conn = p->arg;
    conn->tunnelled = conn->head.status >= 200 && conn->head.status < 300;
    np_http1_pause(p, true);
}

static void tunnel_body(struct np_http1_parser *p, const char *data, size_t n)
{
    (void)p, (void)data, (void)n;
}

static void tunnel_end(struct np_http1_parser *p)
{
    (void)p;
}

static const struct np_http1_events tunnel_events = {
    .on_head = tunnel_head, .on_body = tunnel_body, .on_end = tunnel_end};

static void tunnel_read(struct np_stream *s, const char *data, size_t n)
{
    struct np_http_client_conn *conn = s->arg;
    char what[NP_CALL_WHY_MAX / 2];
    size_t used = 0;
    enum neap_err err = np_http1_feed(&conn->parser, data, n, &used);
    if (err) {
        snprintf(what, sizeof what, "cannot be reached: the proxy gave a bad answer: %s",
                 conn->parser.why ? conn->parser.why : neap_err_text(err));
        np_http_client_conn_fail(conn, err == NEAP_ENOMEM ? err : NEAP_EPROTO, what);
    } else if (conn->tunnelled) {
        np_stream_read_stop(s);
        if (used < n && np_stream_unread(s, data + used, n - used))
            fail(conn, NEAP_ENOMEM);
        else
            step(conn);
    } else if (conn->head.status) {
        int len = (int)(conn->head.reason.n > 40 ? 40 : conn->head.reason.n);
        snprintf(what, sizeof what, "cannot be reached: the proxy answered %d %.*s",
                 conn->head.status, len, len ? conn->head.reason.p : "");
        np_http_client_conn_fail(conn, NEAP_EPROXY, what);
    }
}

static void tunnel_end_of_stream(struct np_stream *s)
{
    np_http_client_conn_fail(s->arg, NEAP_ECONNRESET,
                             "cannot be reached: the proxy closed the connection");
}

static enum neap_err ask_for_tunnel(struct np_http_client_conn *conn)
{
    const struct np_http_origin *o = conn->origin;
    char target[300];
    struct np_buf b;
    const char *auth = o->proxy_auth;
    np_buf_init(&b);
    int n = snprintf(target, sizeof target, strchr(o->host, ':') ? "[%s]:%d" : "%s:%d", o->host,
                     o->port);
    enum neap_err err = n > 0 && (size_t)n < sizeof target ? NEAP_OK : NEAP_EINVAL;
    if (!err) err = np_buf_printf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target);
    if (!err && auth) err = np_http_write_header(&b, "Proxy-Authorization", 19, auth, strlen(auth));
    if (!err) err = np_buf_append_str(&b, "\r\n");
    if (!err) err = np_stream_write(conn->stream, np_buf_data(&b), np_buf_len(&b));
    if (!err) err = np_stream_read_start(conn->stream);
    np_buf_fini(&b);
    return err;
}

static void tunnel(struct np_http_client_conn *conn)
{
    static const struct np_stream_handler handler = {.on_read = tunnel_read,
                                                     .on_end = tunnel_end_of_stream,
                                                     .on_error = step_error,
                                                     .on_close = np_http_client_conn_gone};
    struct np_stream *s = conn->stream;
    conn->parser.events = &tunnel_events;
    np_http1_next(&conn->parser, HTTP_CONNECT);
    np_stream_set_handler(s, &handler, conn);
    enum neap_err err = ask_for_tunnel(conn);
    if (err && !s->err) fail(conn, err); /* else it reports it itself */
}

/* --- one step after the other */

static void step(struct np_http_client_conn *conn)
{
    struct np_http_origin *o = conn->origin;
    struct np_http_call *call = conn->call;
    if (o->proxy_tls && !conn->proxy_secure) {
        np_http_call_enter(call, NP_HTTP_PROXY, call->tls_timeout);
        wrap(conn, o->proxy_tls, o->proxy, o->proxy_port);
    } else if (o->proxy && o->tls && !conn->tunnelled) {
        np_http_call_enter(call, NP_HTTP_PROXY, call->tls_timeout);
        tunnel(conn);
    } else if (o->tls && call->phase != NP_HTTP_TLS) {
        np_http_call_enter(call, NP_HTTP_TLS, call->tls_timeout);
        wrap(conn, o->tls, o->tls_name ? o->tls_name : o->host, o->port);
    } else {
        np_http_client_conn_ready(conn);
    }
}

enum neap_err np_http_client_dial(struct np_http_client_conn *conn, const struct np_http_call *call)
{
    const struct np_http_origin *o = conn->origin;
    struct np_loop *loop = conn->client->loop;
    struct np_dial_options d = NP_DIAL_OPTIONS_INIT;
    d.timeout = 0;
    d.resolve_timeout = call->dns_timeout;
    d.connect_timeout = call->connect_timeout;
    d.attempt_delay = conn->client->opts.attempt_delay;
    if (o->is_unix) {
        d.timeout = call->connect_timeout;
        return np_unix_dial(loop, o->host, &d, &step_handler, conn, &conn->stream);
    }
    if (!o->proxy)
        return np_tcp_dial(loop, o->host, o->port, &d, &step_handler, conn, &conn->stream);
    enum neap_err err = np_net_check(loop, o->host, o->port);
    if (err) return err;
    return np_tcp_dial(loop, o->proxy, o->proxy_port, &d, &step_handler, conn, &conn->stream);
}
