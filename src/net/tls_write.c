/* The TLS filter's way down: the BIO that OpenSSL reads and writes, plaintext encrypted, the
 * farewell. How it fits together stands at the top of tls_stream.c. One thread, the loop's.
 */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

enum { CHUNK = 64 << 10, GATHER = 16 << 10, KEEP_OUT = 64 << 10 };

/* The BIO. */

static int bio_read(BIO *b, char *out, size_t n, size_t *got)
{
    struct np_tls_stream *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->lent_len == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    if (n > t->lent_len) n = t->lent_len;
    memcpy(out, t->lent, n);
    t->lent += n;
    t->lent_len -= n;
    *got = n;
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *put)
{
    struct np_tls_stream *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (np_buf_append(&t->ctx->out, p, n)) return 0;
    *put = n;
    return 1;
}

static long bio_ctrl(BIO *b, int cmd, long larg, void *parg)
{
    (void)b, (void)larg, (void)parg;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP ? 1 : 0;
}

BIO_METHOD *np_tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "neap stream");
    if (!m) return NULL;
    BIO_meth_set_read_ex(m, bio_read);
    BIO_meth_set_write_ex(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    return m;
}

/* Downwards. */

/* What OpenSSL wrote goes to the stream below. */
enum neap_err np_tls_send_out(struct np_tls_stream *t)
{
    struct np_buf *out = &t->ctx->out;
    size_t n = np_buf_len(out);
    if (n == 0) return NEAP_OK;
    /* A filter over this one uses the same buffer. */
    struct np_buf mine = *out;
    np_buf_init(out);
    enum neap_err err = np_stream_write(t->under, np_buf_data(&mine), n);
    np_buf_clear(&mine);
    np_buf_shrink(&mine, KEEP_OUT);
    np_buf_fini(out);
    *out = mine;
    return err == NEAP_ECLOSED && t->under_ended ? NEAP_EPIPE : err;
}

static void count_below(struct np_tls_stream *t)
{
    t->s.in_flight = np_stream_queued(t->under);
    if (t->s.in_flight > 0) t->s.flushing = true;
}

enum neap_err np_tls_fail_code(struct np_tls_stream *t)
{
    if (!t->why) {
        char text[NP_TLS_WHY_MAX];
        np_tls_explain(t->ssl, text, sizeof text);
        t->why = np_strdup(text);
    }
    ERR_clear_error();
    t->phase = NP_TLS_DEAD;
    /* OpenSSL's alert for the peer: the buffer is everybody's, so nothing may stay in it. */
    (void)!np_tls_send_out(t);
    return NEAP_ETLS;
}

/* Encrypts and sends pieces until the stream below has to queue. */
static enum neap_err encrypt(struct np_tls_stream *t, const char *p, size_t n, size_t *taken)
{
    size_t done = 0;
    enum neap_err err = NEAP_OK;
    while (done < n && !err && np_stream_queued(t->under) == 0) {
        size_t some = n - done < CHUNK ? n - done : CHUNK;
        size_t put = 0;
        np_tls_clear_errors();
        if (SSL_write_ex(t->ssl, p + done, some, &put) != 1) return np_tls_fail_code(t);
        done += put;
        if (np_buf_len(&t->ctx->out) >= CHUNK || done == n || put < some) err = np_tls_send_out(t);
    }
    *taken += done;
    return err ? err : np_tls_send_out(t);
}

/* As many of the slices as fit go into `gather`, for one record. Returns how many, 0: the first is
 * better sent from where it is. */
static size_t gather(char *out, const struct np_slice *v, size_t nv, size_t *n)
{
    size_t i = 0;
    *n = 0;
    while (i < nv && v[i].n <= GATHER - *n) {
        if (v[i].n > 0) memcpy(out + *n, v[i].p, v[i].n);
        *n += v[i++].n;
    }
    return i > 1 ? i : 0;
}

enum neap_err np_tls_write(struct np_stream *s, const struct np_slice *v, size_t nv, size_t *taken)
{
    struct np_tls_stream *t = np_tls_of(s);
    char small[GATHER];
    enum neap_err err = NEAP_OK;
    *taken = 0;
    for (size_t i = 0; i < nv && !err && t->phase == NP_TLS_UP;) {
        size_t n = 0;
        size_t got = 0;
        size_t some = gather(small, v + i, nv - i, &n);
        if (some == 0) n = v[i].n;
        if (n > 0) err = encrypt(t, some ? small : v[i].p, n, &got);
        *taken += got;
        if (got < n) break;
        i += some ? some : 1;
    }
    count_below(t);
    return err;
}

/* What is queued, as far as it goes. */
enum neap_err np_tls_write_on(struct np_tls_stream *t)
{
    struct np_buf *out = &t->s.out;
    enum neap_err err = NEAP_OK;
    while (!err && np_buf_len(out) > 0 && np_stream_queued(t->under) == 0) {
        size_t taken = 0;
        err = encrypt(t, np_buf_data(out), np_buf_len(out), &taken);
        np_buf_consume(out, taken);
    }
    count_below(t);
    return err;
}

enum neap_err np_tls_flush(struct np_stream *s)
{
    struct np_tls_stream *t = np_tls_of(s);
    /* on_drain of the stream below follows, unless it holds nothing. */
    if (np_stream_queued(t->under) == 0) np_loop_defer(s->loop, &t->later);
    return NEAP_OK;
}

size_t np_tls_unsent(const struct np_stream *s)
{
    const struct np_stream *under = np_tls_of(s)->under;
    return np_stream_queued(under) + (under->ops->unsent ? under->ops->unsent(under) : 0);
}

enum neap_err np_tls_say_farewell(struct np_tls_stream *t)
{
    if (t->farewell || t->phase != NP_TLS_UP) return NEAP_OK;
    t->farewell = true;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
    return np_tls_send_out(t);
}

enum neap_err np_tls_shutdown(struct np_stream *s)
{
    struct np_tls_stream *t = np_tls_of(s);
    enum neap_err err = np_tls_say_farewell(t);
    return err ? err : np_stream_shutdown(t->under);
}
