/* What every SSL_CTX of a context has: versions, ciphers, ALPN, checks. Defaults are those of
 * Mozilla's "intermediate" profile, version 5.7 (ssl-config.mozilla.org). The context's thread.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

#define CIPHERS                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:" \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256:P-384"
enum { VERIFY_DEPTH = 10 };

static const uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;

static enum neap_err set_versions(const struct np_tls_context *c, SSL_CTX *ctx,
                                  struct neap_errinfo *info)
{
    int min = c->opts.min_version ? c->opts.min_version : NP_TLS_1_2;
    if (c->opts.max_version && c->opts.max_version < min)
        return np_err_set(info, NEAP_EINVAL, "max_version is below min_version");
    if (SSL_CTX_set_min_proto_version(ctx, min) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, c->opts.max_version) != 1)
        return np_tls_fail_info(info, "versions");
    return NEAP_OK;
}

static enum neap_err set_ciphers(const struct np_tls_context *c, SSL_CTX *ctx,
                                 struct neap_errinfo *info)
{
    const struct np_tls_options *o = &c->opts;
    const char *ciphers = o->ciphers ? o->ciphers : CIPHERS;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        return np_tls_fail_info(info, "ciphers '%s'", ciphers);
    if (o->ciphersuites && SSL_CTX_set_ciphersuites(ctx, o->ciphersuites) != 1)
        return np_tls_fail_info(info, "ciphersuites '%s'", o->ciphersuites);
    const char *groups = o->groups ? o->groups : GROUPS;
    if (SSL_CTX_set1_groups_list(ctx, groups) != 1)
        return np_tls_fail_info(info, "groups '%s'", groups);
    SSL_CTX_set_dh_auto(ctx, 1);
    if (!o->prefer_server_ciphers)
        SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    return NEAP_OK;
}

/* A server's choice of the protocols that a client offers. None in common is the alert that RFC
 * 7301 asks for; a client that offers none gets the connection without. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *offered, unsigned n, void *arg)
{
    (void)arg;
    const struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    bool own = t->checked->alpn_len > 0;
    const unsigned char *list = own ? t->checked->alpn : t->alpn;
    size_t len = own ? t->checked->alpn_len : t->alpn_len;
    if (len == 0) return SSL_TLSEXT_ERR_NOACK;
    unsigned char *chosen = NULL;
    int rc = SSL_select_next_proto(&chosen, out_len, list, (unsigned)len, offered, n);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void on_key(const SSL *ssl, const char *line)
{
    const struct np_tls_context *c = np_tls_stream_of_ssl(ssl)->ctx;
    char text[512];
    int n = snprintf(text, sizeof text, "%s\n", line);
    if (c->key_log_fd < 0 || n < 0 || (size_t)n >= sizeof text) return;
    if (write(c->key_log_fd, text, (size_t)n) < 0) return; /* a lost line of a debugging aid */
}

int np_tls_verify_mode(const struct np_tls_context *c, bool server)
{
    enum np_tls_verify v = c->opts.verify;
    if (v == NP_TLS_VERIFY_DEFAULT) v = server ? NP_TLS_VERIFY_NONE : NP_TLS_VERIFY_REQUIRED;
    if (v == NP_TLS_VERIFY_NONE) return SSL_VERIFY_NONE;
    if (v == NP_TLS_VERIFY_REQUIRED) return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    return SSL_VERIFY_PEER;
}

void np_tls_set_verify(const struct np_tls_context *c, SSL *ssl, bool server)
{
    SSL_set_verify(ssl, np_tls_verify_mode(c, server), NULL);
}

static void add(EVP_MD_CTX *md, const char *text)
{
    if (text) EVP_DigestUpdate(md, text, strlen(text));
    EVP_DigestUpdate(md, "", 1);
}

/* All that is trusted or revoked, in any order: a file that was replaced ends the sessions of those
 * who were let in by the old one. */
static bool add_trust(EVP_MD_CTX *md, SSL_CTX *ctx)
{
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    unsigned char print[EVP_MAX_MD_SIZE];
    bool ok = true;
    for (int i = 0; ok && i < sk_X509_OBJECT_num(all); i++) {
        X509_OBJECT *o = sk_X509_OBJECT_value(all, i);
        X509 *cert = X509_OBJECT_get0_X509(o);
        X509_CRL *crl = X509_OBJECT_get0_X509_CRL(o);
        unsigned n = 0;
        if (cert) ok = X509_digest(cert, EVP_sha256(), print, &n) == 1;
        if (crl) ok = X509_CRL_digest(crl, EVP_sha256(), print, &n) == 1;
        for (unsigned k = 0; ok && k < n; k++)
            sum[k] ^= print[k];
    }
    EVP_DigestUpdate(md, sum, sizeof sum);
    return ok;
}

/* Two contexts whose sessions are good for each other have the same digest. */
static enum neap_err set_session_scope(const struct np_tls_context *c, SSL_CTX *ctx)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    if (ok) {
        int mode = np_tls_verify_mode(c, true);
        EVP_DigestUpdate(md, &mode, sizeof mode);
        EVP_DigestUpdate(md, &c->opts.system_ca, sizeof c->opts.system_ca);
        add(md, c->opts.ca);
        add(md, c->opts.crl);
        X509 *cert = SSL_CTX_get0_certificate(ctx);
        unsigned char print[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        if (cert && X509_digest(cert, EVP_sha256(), print, &len) == 1)
            EVP_DigestUpdate(md, print, len);
        ok = add_trust(md, ctx) && EVP_DigestFinal_ex(md, digest, &n) == 1;
    }
    EVP_MD_CTX_free(md);
    if (!ok) return NEAP_ENOMEM;
    if (n > SSL_MAX_SID_CTX_LENGTH) n = SSL_MAX_SID_CTX_LENGTH;
    return SSL_CTX_set_session_id_context(ctx, digest, n) == 1 ? NEAP_OK : NEAP_ETLS;
}

enum neap_err np_tls_setup(struct np_tls_context *c, SSL_CTX *ctx, struct neap_errinfo *info)
{
    SSL_CTX_set_options(ctx, options);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    enum neap_err err = set_versions(c, ctx, info);
    if (!err) err = set_ciphers(c, ctx, info);
    if (err) return err;
    SSL_CTX_set_verify_depth(ctx, c->opts.verify_depth ? c->opts.verify_depth : VERIFY_DEPTH);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ctx, np_tls_on_hello, c);
    if (c->key_log_fd >= 0) SSL_CTX_set_keylog_callback(ctx, on_key);
    err = np_tls_setup_resumption(c, ctx);
    if (!err) err = set_session_scope(c, ctx);
    return err ? np_err_set(info, err, "sessions: %s", neap_err_text(err)) : NEAP_OK;
}
