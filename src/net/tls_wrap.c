/* Making a TLS filter over a stream, and answering for whom it should speak. See tls.h. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

static void drop(struct np_tls_stream *t)
{
    SSL_free(t->ssl);
    np_tls_material_unref(t->material);
    np_tls_context_unref(t->ctx);
    np_free(t->session_key);
    np_free(t->host);
    np_free(t);
}

static enum neap_err make_ssl(struct np_tls_stream *t)
{
    SSL *ssl = SSL_new(t->material->pairs[0].ctx);
    BIO *bio = ssl ? BIO_new(t->ctx->bio) : NULL;
    t->ssl = ssl;
    if (!bio) return NEAP_ENOMEM;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return SSL_set_app_data(ssl, t) == 1 ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err make(struct np_tls_context *c, struct np_stream *under, bool server,
                          struct np_tls_stream **out)
{
    struct np_tls_stream *t = np_alloc(sizeof *t);
    if (!t) return NEAP_ENOMEM;
    *t = (struct np_tls_stream){
        .under = under,
        .ctx = np_tls_context_ref(c),
        .checked = c,
        .material = np_tls_material_ref(c->material),
        .server = server,
    };
    np_buf_init(&t->held);
    enum neap_err err = make_ssl(t);
    if (err) {
        drop(t);
        return err;
    }
    np_tls_set_verify(c, t->ssl, server);
    *out = t;
    return NEAP_OK;
}

/* From here on nothing fails: the stream below is the filter's. */
static void begin(struct np_tls_stream *t, const struct np_stream_handler *h, void *arg,
                  struct np_stream **out)
{
    struct np_stream *under = t->under;
    np_stream_init(&t->s, &np_tls_ops, under->loop, NP_STREAM_CONNECTING);
    np_tls_stream_init_later(t);
    np_stream_set_handler(&t->s, h, arg);
    np_stream_set_handler(under, &np_tls_under, t);
    under->high_water = 1; /* on_drain is for when all has left */
    under->low_water = 0;
    *out = &t->s;
    if (under->state == NP_STREAM_CONNECTING) return;
    t->phase = NP_TLS_HANDSHAKE;
    np_tls_go_on_later(t);
}

/* The stream below may have been reading, or not; from now on it reads for the handshake. */
static enum neap_err read_for_handshake(struct np_tls_stream *t)
{
    return t->under->state == NP_STREAM_CONNECTING ? NEAP_OK : np_stream_read_start(t->under);
}

enum neap_err np_tls_wrap_server(struct np_tls_context *c, struct np_stream *under, int64_t within,
                                 const struct np_stream_handler *h, void *arg,
                                 struct np_stream **out)
{
    struct np_tls_stream *t;
    if (!c->material->has_cert && !c->opts.on_sni) return NEAP_EINVAL;
    enum neap_err err = make(c, under, true, &t);
    if (err) return err;
    SSL_set_accept_state(t->ssl);
    t->within = within;
    err = read_for_handshake(t);
    if (err) {
        drop(t);
        return err;
    }
    begin(t, h, arg, out);
    err = np_stream_open_within(&t->s, within);
    if (err) np_stream_fail_later(&t->s, err);
    return NEAP_OK;
}

void np_tls_stream_set_alpn(struct np_stream *s, const char *list, size_t n)
{
    struct np_tls_stream *t = np_tls_of(s);
    t->alpn = (const unsigned char *)list;
    t->alpn_len = n;
}

/* A client's. */

static bool is_address(const char *host)
{
    unsigned char any[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, any) == 1 || inet_pton(AF_INET6, host, any) == 1;
}

static enum neap_err name_server(struct np_tls_stream *t, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    bool check = !t->ctx->opts.skip_name_check;
    int ok = 1;
    if (is_address(host)) {
        if (check) ok = X509_VERIFY_PARAM_set1_ip_asc(param, host);
        return ok == 1 ? NEAP_OK : NEAP_EINVAL;
    }
    size_t n = strlen(host);
    if (n > 0 && host[n - 1] == '.') n--; /* names in certificates and hellos have no final dot */
    if (n == 0 || n > NP_TLS_NAME_MAX) return NEAP_EINVAL;
    char name[NP_TLS_NAME_MAX + 1];
    memcpy(name, host, n);
    name[n] = '\0';
    ok = SSL_set_tlsext_host_name(t->ssl, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (ok && check) ok = X509_VERIFY_PARAM_set1_host(param, name, n);
    return ok == 1 ? NEAP_OK : NEAP_EINVAL;
}

static enum neap_err offer_alpn(struct np_tls_stream *t, const struct np_tls_client_options *o)
{
    unsigned char *list = NULL;
    size_t n = 0;
    enum neap_err err = np_tls_alpn_list(o->alpn, o->nalpn, &list, &n);
    if (err) return err;
    const unsigned char *p = n > 0 ? list : t->ctx->alpn;
    size_t len = n > 0 ? n : t->ctx->alpn_len;
    /* This one returns 0 for success. */
    if (len > 0 && SSL_set_alpn_protos(t->ssl, p, (unsigned)len) != 0) err = NEAP_ENOMEM;
    np_free(list);
    return err;
}

static enum neap_err copy_name(char **to, const char *from)
{
    if (!from) return NEAP_OK;
    *to = np_strdup(from);
    return *to ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err make_client(struct np_tls_stream *t, const struct np_tls_client_options *o)
{
    SSL_set_connect_state(t->ssl);
    enum neap_err err = copy_name(&t->host, o->host);
    if (!err && !t->ctx->opts.no_sessions) err = copy_name(&t->session_key, o->session_key);
    if (!err && o->host) err = name_server(t, o->host);
    if (!err) err = offer_alpn(t, o);
    if (err) return err;
    np_tls_offer_session(t);
    return read_for_handshake(t);
}

enum neap_err np_tls_wrap_client(struct np_tls_context *c, struct np_stream *under,
                                 const struct np_tls_client_options *o,
                                 const struct np_stream_handler *h, void *arg,
                                 struct np_stream **out)
{
    struct np_tls_stream *t;
    enum neap_err err = np_tls_trust_system(c);
    if (!err) err = make(c, under, false, &t);
    if (err) return err;
    t->within = o->within;
    err = make_client(t, o);
    ERR_clear_error();
    if (err) {
        drop(t);
        return err;
    }
    begin(t, h, arg, out);
    if (under->state != NP_STREAM_CONNECTING) {
        err = np_stream_open_within(&t->s, o->within);
        if (err) np_stream_fail_later(&t->s, err);
    }
    return NEAP_OK;
}

/* Whose name is it? */

struct np_tls_naming {
    struct np_tls_stream *t; /* NULL when it has gone */
    void (*gone)(void *arg); /* or NULL */
    void *arg;
};

void np_tls_ask_name(struct np_tls_stream *t)
{
    struct np_tls_naming *n = np_alloc(sizeof *n);
    const struct np_tls_options *o = &t->ctx->opts;
    if (!n) {
        np_stream_failed(&t->s, NEAP_ENOMEM);
        return;
    }
    *n = (struct np_tls_naming){.t = t};
    t->naming = n;
    o->on_sni(o->on_sni_arg, n, t->sni);
}

void np_tls_forget_naming(struct np_tls_stream *t)
{
    struct np_tls_naming *n = t->naming;
    if (!n) return;
    t->naming = NULL;
    n->t = NULL;
    if (n->gone) n->gone(n->arg);
}

void np_tls_naming_watch(struct np_tls_naming *n, void (*gone)(void *arg), void *arg)
{
    n->gone = gone;
    n->arg = arg;
}

static void select_context(struct np_tls_stream *t, struct np_tls_context *c)
{
    t->naming = NULL;
    t->selected = true;
    t->refused = !c;
    if (c && c != t->ctx) {
        t->checked = np_tls_context_ref(c);
        np_tls_material_unref(t->material);
        t->material = np_tls_material_ref(c->material);
    }
    t->phase = NP_TLS_HANDSHAKE;
    if (t->s.state != NP_STREAM_CONNECTING) return;
    enum neap_err err = t->under_ended ? NEAP_OK : np_stream_read_start(t->under);
    if (err) np_stream_fail_later(&t->s, err);
    np_tls_go_on_later(t);
}

void np_tls_naming_answer(struct np_tls_naming *n, struct np_tls_context *c)
{
    struct np_tls_stream *t = n->t;
    np_free(n);
    if (t) select_context(t, c);
}
