/* A call: its life, its phases and their bounds, its end. One thread, the loop's. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client_impl.h"
#include "net/netpolicy.h"

enum {
    MAX_SPARE = 64,       /* calls that a client keeps to be used again */
    SPARE_REQUEST = 2048, /* bytes of the buffer of each */
};

static void on_deadline(struct np_timer *t);

/* --- the end */

static void free_spare(struct np_http_call *call)
{
    np_timer_stop(&call->deadline);
    np_buf_fini(&call->req);
    np_free(call);
}

/* The deadline of one that is kept runs on, for nobody: the next call moves it, which costs less
 * than starting it anew. */
static void free_call(struct np_http_call *call)
{
    struct np_http_client *c = call->client;
    np_timer_stop(&call->progress);
    np_defer_cancel(&call->end);
    np_http_call_decode_free(call);
    call->ended = true;
    np_timer_set_background(&call->deadline, true);
    if (c->nspare < MAX_SPARE && call->req.cap <= SPARE_REQUEST && !c->closing) {
        np_list_push_front(&c->spare, &call->link);
        c->nspare++;
        return;
    }
    free_spare(call);
}

/* Zeroed, but for its buffer, which is empty, and its deadline, which may be running. */
static struct np_http_call *take_call(struct np_http_client *c)
{
    struct np_link *l = np_list_pop_front(&c->spare);
    struct np_http_call *call;
    if (!l) {
        call = np_calloc(1, sizeof *call);
        if (call) np_timer_init(&call->deadline, c->loop, on_deadline);
        return call;
    }
    call = np_container_of(l, struct np_http_call, link);
    c->nspare--;
    memset(&call->client, 0,
           offsetof(struct np_http_call, why) - offsetof(struct np_http_call, client));
    np_buf_clear(&call->req);
    np_timer_set_background(&call->deadline, false);
    return call;
}

void np_http_call_free_spare(struct np_http_client *c)
{
    struct np_link *l;
    while ((l = np_list_pop_front(&c->spare))) {
        free_spare(np_container_of(l, struct np_http_call, link));
    }
    c->nspare = 0;
}

const char *np_http_phase_name(enum np_http_phase p)
{
    static const char *const names[] = {"wait", "dns",  "connect",    "proxy",
                                        "tls",  "send", "first_byte", "body"};
    return names[p];
}

enum np_http_phase np_http_call_phase(const struct np_http_call *call)
{
    bool resolving =
        call->phase == NP_HTTP_CONNECT && call->conn && np_tcp_dial_resolving(call->conn->stream);
    return resolving ? NP_HTTP_DNS : call->phase;
}

const char *np_http_call_coding(const struct np_http_call *call)
{
    return call->coding;
}

const char *np_http_call_bound(const struct np_http_call *call)
{
    return call->bound;
}

static void last_word(struct np_http_call *call)
{
    struct np_http_client *c = call->client;
    call->ended = true;
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
    if (err) {
        va_start(ap, fmt);
        vsnprintf(call->why, sizeof call->why, fmt, ap);
        va_end(ap);
    }
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
    call->phase = np_http_call_phase(call);
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
    if (call->ended) return;
    call->bound = "total";
    np_http_call_end_later(call, NEAP_ETIMEDOUT, "%s took too long: the call's time is over",
                           call->origin->key);
}

/* What has not happened in time, by phase; dialling has its own bounds for names and TCP. */
static void on_no_progress(struct np_timer *t)
{
    static const char *const words[] = {
        [NP_HTTP_WAIT] = "had no connection free in time",
        [NP_HTTP_PROXY] = "was not reached in time: the proxy does not answer",
        [NP_HTTP_TLS] = "did not finish the TLS handshake in time",
        [NP_HTTP_FIRST_BYTE] = "did not begin its answer in time",
        [NP_HTTP_BODY] = "stopped in the middle of its answer",
    };
    struct np_http_call *call = np_container_of(t, struct np_http_call, progress);
    if (call->paused && call->phase == NP_HTTP_BODY) return; /* it is we who do not read */
    if (call->phase == NP_HTTP_SEND) {
        np_http_call_release_body(call); /* no 100 (Continue) has come: it goes all the same */
        return;
    }
    call->bound = call->phase == NP_HTTP_BODY ? "idle" : np_http_phase_name(call->phase);
    np_http_call_end_later(call, NEAP_ETIMEDOUT, "%s %s", call->origin->key, words[call->phase]);
}

static void wait_for(struct np_http_call *call, int64_t span)
{
    if (span <= 0) {
        np_timer_stop(&call->progress);
    } else if (np_timer_start(&call->progress, span)) {
        np_http_call_end_later(call, NEAP_ENOMEM, "out of memory");
    }
}

void np_http_call_enter(struct np_http_call *call, enum np_http_phase phase, int64_t span)
{
    call->phase = phase;
    wait_for(call, span);
}

void np_http_call_interim(struct np_http_call *call, int status)
{
    call->interim = !call->headed;
    if (status == 100 && call->held)
        np_http_call_release_body(call);
    else if (call->phase == NP_HTTP_FIRST_BYTE)
        wait_for(call, call->first_byte_timeout);
}

void np_http_call_progress(struct np_http_call *call)
{
    if (call->interim && !call->headed) return;
    if (call->phase >= NP_HTTP_FIRST_BYTE || !call->held) {
        call->phase = NP_HTTP_BODY;
        wait_for(call, call->idle_timeout);
    }
    if (call->req.cap > SPARE_REQUEST && call->answered && !call->held)
        np_buf_fini(&call->req); /* it is not sent again */
}

/* --- once more */

bool np_http_call_may_retry(const struct np_http_call *call)
{
    return !call->retried && !call->ended && !call->answered && call->idempotent &&
           !call->body_written && !call->client->closing;
}

/* --- the beginning */

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
    if (!r->method || !r->target || (r->stream_body && r->body) || (r->proxy && r->unix_path))
        return np_err_set(info, NEAP_EINVAL, "bad request");
    if (strcmp(r->method, "CONNECT") == 0)
        return np_err_set(info, NEAP_ENOTSUP, "CONNECT is not supported");
    return NEAP_OK;
}

static int64_t or_default(int64_t span, int64_t def)
{
    if (span) return span > 0 ? span : 0;
    return def > 0 ? def : 0;
}

static struct np_http_call *new_call(struct np_http_client *c, const struct np_http_request *r,
                                     const struct np_http_call_handler *h, void *arg)
{
    struct np_http_call *call = take_call(c);
    if (!call) return NULL;
    call->client = c;
    call->handler = h;
    call->arg = arg;
    np_link_init(&call->link);
    np_link_init(&call->queue);
    np_timer_init(&call->progress, c->loop, on_no_progress);
    np_defer_init(&call->end, on_later);
    call->wait_timeout = or_default(r->wait_timeout, c->opts.wait_timeout);
    call->dns_timeout = or_default(r->dns_timeout, c->opts.dns_timeout);
    call->connect_timeout = or_default(r->connect_timeout, c->opts.connect_timeout);
    call->tls_timeout = or_default(r->tls_timeout, c->opts.tls_timeout);
    call->first_byte_timeout = r->first_byte_timeout;
    call->idle_timeout = r->idle_timeout;
    call->max_head = r->max_head;
    call->max_decoded = r->max_decoded;
    call->expect = r->stream_body || r->body_len ? r->expect_continue : 0;
    call->method = np_http_method(r->method, strlen(r->method));
    call->idempotent = r->idempotent ? r->idempotent > 0 : is_idempotent(call->method);
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
    err = np_http_call_compose(call, r, info);
    if (err) goto fail;
    if (r->timeout > 0)
        err = np_timer_start(&call->deadline, r->timeout);
    else
        np_timer_stop(&call->deadline);
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
