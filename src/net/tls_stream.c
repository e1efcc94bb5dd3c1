/* The TLS filter at work: handshake, bytes in, the end; bytes out are tls_write.c's. See tls.h and
 * stream.h.
 *
 * OpenSSL reads from and writes to a BIO of ours: it takes ciphertext straight from the bytes that
 * the stream below lends (`lent`), and what it writes is gathered in the context's `out`, which
 * goes down in one write after each call of OpenSSL's. Only what an owner does not want yet is
 * kept (`held`). The stream below is watched with a high water of one byte: it says when all of a
 * write has left, and until then no more is encrypted; the bytes it holds count as this one's.
 *
 * OpenSSL calls nothing of an owner's; owners are called between its calls. One thread, the loop's.
 */
#include <openssl/err.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

#define ALERT_LINGER (NP_NS_PER_SEC / 10) /* for a peer to hear why it was refused */

struct np_tls_stream *np_tls_stream_of_ssl(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* Upwards. */

static bool may_read(const struct np_tls_stream *t)
{
    return t->s.state == NP_STREAM_OPEN && t->s.reading && !t->s.ended && t->phase == NP_TLS_UP;
}

static enum neap_err handshake(struct np_tls_stream *t)
{
    t->asked_name = false;
    np_tls_clear_errors();
    int rc = SSL_do_handshake(t->ssl);
    int why = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
    if (why == SSL_ERROR_NONE) t->phase = NP_TLS_UP;
    if (why == SSL_ERROR_WANT_CLIENT_HELLO_CB) t->phase = NP_TLS_NAMING;
    bool fine = why == SSL_ERROR_NONE || why == SSL_ERROR_WANT_READ ||
                why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_CLIENT_HELLO_CB;
    if (!fine) {
        unsigned long e = ERR_peek_error();
        t->plain_http =
            ERR_GET_LIB(e) == ERR_LIB_SSL && (ERR_GET_REASON(e) == SSL_R_HTTP_REQUEST ||
                                              ERR_GET_REASON(e) == SSL_R_HTTPS_PROXY_REQUEST);
    }
    enum neap_err err = fine ? NEAP_OK : np_tls_fail_code(t);
    enum neap_err sent = np_tls_send_out(t); /* an alert, if it failed */
    if (err) return err;
    return sent;
}

/* Whether another record may be at hand; a part of one in OpenSSL's hands is none. */
static bool has_more(const struct np_tls_stream *t)
{
    return t->lent_len > 0 || SSL_pending(t->ssl) > 0;
}

/* Decrypts as much as there is and as fits. `*ended`: the peer has said farewell. */
static enum neap_err decrypt(struct np_tls_stream *t, char *plain, size_t *n, bool *ended)
{
    *n = 0;
    *ended = false;
    while (NP_TLS_PLAIN_SIZE - *n >= SSL3_RT_MAX_PLAIN_LENGTH) {
        size_t got = 0;
        np_tls_clear_errors();
        if (SSL_read_ex(t->ssl, plain + *n, NP_TLS_PLAIN_SIZE - *n, &got) == 1) {
            *n += got;
            if (!has_more(t)) break;
            continue;
        }
        int why = SSL_get_error(t->ssl, 0);
        if (why == SSL_ERROR_WANT_READ) break;
        if (why != SSL_ERROR_ZERO_RETURN) return np_tls_fail_code(t);
        *ended = true;
        break;
    }
    return np_tls_send_out(t); /* an answer to a key update, say */
}

/* Memory for plaintext: the context's, unless that is lent to somebody (who is a filter too, and
 * this one lies over it). */
static char *borrow_plain(struct np_tls_context *c)
{
    if (c->busy) return np_alloc(NP_TLS_PLAIN_SIZE);
    if (!c->plain) c->plain = np_alloc(NP_TLS_PLAIN_SIZE);
    if (c->plain) c->busy = true;
    return c->plain;
}

static void give_back(struct np_tls_context *c, char *plain)
{
    if (plain == c->plain)
        c->busy = false;
    else
        np_free(plain);
}

/* One round of reading. False when there is no more to do now. */
static bool read_round(struct np_tls_stream *t)
{
    struct np_tls_context *c = t->ctx;
    char *plain = borrow_plain(c);
    if (!plain) {
        np_stream_failed(&t->s, NEAP_ENOMEM);
        return false;
    }
    size_t n;
    bool ended;
    enum neap_err err = decrypt(t, plain, &n, &ended);
    if (n > 0) np_stream_received(&t->s, plain, n);
    give_back(c, plain);
    if (ended) np_stream_received_end(&t->s);
    if (err) np_stream_failed(&t->s, err);
    return n > 0 && !err && !ended && has_more(t);
}

static void fail_handshake(struct np_tls_stream *t, enum neap_err err)
{
    static const char sorry[] =
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        "Content-Length: 30\r\n\r\nThis port speaks HTTPS (TLS).\n";
    char peer[NP_ADDR_TEXT_MAX] = "?";
    if (t->server && np_log_enabled(t->s.loop->log, NP_LOG_DEBUG)) {
        (void)!np_stream_peer(t->under, peer, sizeof peer);
        np_logf(t->s.loop->log, NP_LOG_DEBUG, "TLS handshake with %s failed: %s", peer,
                np_stream_why(&t->s, err));
    }
    if (t->plain_http && t->server)
        (void)!np_stream_write(t->under, sorry, sizeof sorry - 1); /* a courtesy */
    np_stream_failed(&t->s, err);
}

static void shake(struct np_tls_stream *t)
{
    enum neap_err err = handshake(t);
    if (err) {
        fail_handshake(t, err);
        return;
    }
    if (t->phase == NP_TLS_NAMING && t->asked_name) {
        t->asked_name = false;
        np_tls_ask_name(t);
        return;
    }
    if (t->phase != NP_TLS_UP) return;
    if (!t->s.reading) np_stream_read_stop(t->under);
    np_stream_opened(&t->s);
}

/* The end of the stream below, when all that came before it has been read. */
static void under_is_over(struct np_tls_stream *t)
{
    if (t->s.state == NP_STREAM_CONNECTING) {
        if (!t->why) t->why = np_strdup("the connection ended in the middle of the TLS handshake");
        np_stream_failed(&t->s, NEAP_ECONNRESET);
    } else if (may_read(t)) {
        if (t->ctx->opts.allow_truncation) {
            np_stream_received_end(&t->s);
            return;
        }
        if (!t->why) t->why = np_strdup("the connection was cut off without TLS's close_notify");
        np_stream_failed(&t->s, NEAP_ECONNRESET);
    }
}

/* Goes on with what is at hand. Closing the stream in a callback leaves its memory until the stream
 * below has gone, which is later. */
static void run(struct np_tls_stream *t)
{
    if (t->running) return;
    t->running = true;
    if (t->phase == NP_TLS_HANDSHAKE && t->s.state == NP_STREAM_CONNECTING) shake(t);
    while (may_read(t) && read_round(t))
        continue;
    if (t->under_ended && t->lent_len == 0) under_is_over(t);
    t->running = false;
}

/* `data` is at hand for as long as this lasts; what is left is kept. */
static void run_with(struct np_tls_stream *t, const char *data, size_t n)
{
    t->lent = data;
    t->lent_len = n;
    run(t);
    enum neap_err err = NEAP_OK;
    if (t->lent_len > 0 && t->s.state <= NP_STREAM_OPEN)
        err = np_buf_append(&t->held, t->lent, t->lent_len);
    t->lent = NULL;
    t->lent_len = 0;
    if (err) np_stream_failed(&t->s, err);
}

static void run_with_held(struct np_tls_stream *t)
{
    struct np_buf held = t->held;
    np_buf_init(&t->held);
    run_with(t, np_buf_data(&held), np_buf_len(&held));
    np_buf_fini(&held);
}

static void on_later(struct np_defer *d)
{
    struct np_tls_stream *t = np_container_of(d, struct np_tls_stream, later);
    if (t->s.state > NP_STREAM_OPEN) return;
    if (t->s.state == NP_STREAM_OPEN && t->s.flushing && np_stream_queued(t->under) == 0) {
        enum neap_err err = np_tls_write_on(t);
        if (err) {
            np_stream_failed(&t->s, err);
            return;
        }
        np_stream_flushed(&t->s);
        if (t->s.state > NP_STREAM_OPEN) return;
    }
    run_with_held(t);
}

void np_tls_go_on_later(struct np_tls_stream *t)
{
    np_loop_defer(t->s.loop, &t->later);
}

void np_tls_stream_init_later(struct np_tls_stream *t)
{
    np_defer_init(&t->later, on_later);
}

static enum neap_err op_read_start(struct np_stream *s)
{
    struct np_tls_stream *t = np_tls_of(s);
    /* What is at hand already is read from the loop. */
    if (np_buf_len(&t->held) > 0 || SSL_has_pending(t->ssl) || t->under_ended)
        np_loop_defer(s->loop, &t->later);
    return t->under_ended ? NEAP_OK : np_stream_read_start(t->under);
}

static void op_read_stop(struct np_stream *s)
{
    np_stream_read_stop(np_tls_of(s)->under);
}

/* What the stream below says. */

static void under_open(struct np_stream *under)
{
    struct np_tls_stream *t = under->arg;
    t->phase = NP_TLS_HANDSHAKE;
    enum neap_err err = np_stream_open_within(&t->s, t->within);
    if (!err) err = np_stream_read_start(under);
    if (err)
        np_stream_failed(&t->s, err);
    else
        run(t);
}

static void under_read(struct np_stream *under, const char *data, size_t n)
{
    struct np_tls_stream *t = under->arg;
    if (np_buf_len(&t->held) == 0 && t->phase != NP_TLS_NAMING) {
        run_with(t, data, n);
        return;
    }
    if (np_buf_append(&t->held, data, n))
        np_stream_failed(&t->s, NEAP_ENOMEM);
    else if (t->phase == NP_TLS_NAMING)
        np_stream_read_stop(under); /* until the name is answered */
    else
        run_with_held(t);
}

static void under_end(struct np_stream *under)
{
    struct np_tls_stream *t = under->arg;
    t->under_ended = true;
    run_with_held(t);
}

static void under_drain(struct np_stream *under)
{
    struct np_tls_stream *t = under->arg;
    if (t->s.state != NP_STREAM_OPEN || !t->s.flushing) return;
    enum neap_err err = np_tls_write_on(t);
    if (err)
        np_stream_failed(&t->s, err);
    else
        np_stream_flushed(&t->s);
}

static void under_error(struct np_stream *under, enum neap_err err)
{
    struct np_tls_stream *t = under->arg;
    if (t->phase != NP_TLS_DEAD) t->phase = t->phase == NP_TLS_UP ? NP_TLS_UP : NP_TLS_DEAD;
    t->broken = true;
    np_stream_failed(&t->s, err);
}

static void under_close(struct np_stream *under)
{
    struct np_tls_stream *t = under->arg;
    np_stream_gone(&t->s);
}

const struct np_stream_handler np_tls_under = {
    .on_open = under_open,
    .on_read = under_read,
    .on_end = under_end,
    .on_drain = under_drain,
    .on_error = under_error,
    .on_close = under_close,
};

/* The end. */

static void op_close(struct np_stream *s)
{
    struct np_tls_stream *t = np_tls_of(s);
    np_defer_cancel(&t->later);
    np_tls_forget_naming(t);
    if (t->phase == NP_TLS_DEAD && !t->broken) { /* an alert is on its way */
        t->under->awaited = true;
        np_stream_finish(t->under, ALERT_LINGER);
        return;
    }
    if (!t->broken) (void)!np_tls_say_farewell(t); /* as far as it goes */
    np_stream_close(t->under);
}

static void op_free(struct np_stream *s)
{
    struct np_tls_stream *t = np_tls_of(s);
    SSL_free(t->ssl);
    if (t->checked != t->ctx) np_tls_context_unref(t->checked);
    np_tls_material_unref(t->material);
    np_tls_context_unref(t->ctx);
    np_buf_fini(&t->held);
    np_free(t->session_key);
    np_free(t->host);
    np_free(t->sni);
    np_free(t->why);
    np_free(t);
}

static void op_set_ref(struct np_stream *s, bool ref)
{
    np_stream_set_ref(np_tls_of(s)->under, ref);
}

static struct np_stream *op_under(const struct np_stream *s)
{
    return np_container_of(s, const struct np_tls_stream, s)->under;
}

static enum neap_err op_peer(struct np_stream *s, char *out, size_t size)
{
    return np_stream_peer(np_tls_of(s)->under, out, size);
}

static enum neap_err op_local(struct np_stream *s, char *out, size_t size)
{
    return np_stream_local(np_tls_of(s)->under, out, size);
}

static const char *op_why(const struct np_stream *s)
{
    const struct np_tls_stream *t = np_tls_of(s);
    return t->why;
}

const struct np_stream_ops np_tls_ops = {
    .kind = "tls",
    .read_start = op_read_start,
    .read_stop = op_read_stop,
    .write = np_tls_write,
    .flush = np_tls_flush,
    .unsent = np_tls_unsent,
    .shutdown = np_tls_shutdown,
    .close = op_close,
    .free = op_free,
    .set_ref = op_set_ref,
    .under = op_under,
    .peer = op_peer,
    .local = op_local,
    .why = op_why,
};
