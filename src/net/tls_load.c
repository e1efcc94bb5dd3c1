/* From files or PEM text to SSL_CTX: certificates, keys, trust, revocation lists, stapled answers.
 * All of a context's files are read before anything of it changes. The context's thread.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

enum { MAX_OCSP = 64 << 10 };

static bool is_text(const char *source)
{
    return strstr(source, "-----BEGIN") != NULL;
}

static enum neap_err no_file(struct neap_errinfo *info, const char *path)
{
    int why = errno;
    enum neap_err err = why ? np_err_from_errno(why) : NEAP_EIO;
    ERR_clear_error();
    return np_err_set(info, err, "%s: %s", path, why ? strerror(why) : neap_err_text(err));
}

static enum neap_err open_source(const char *source, BIO **out, struct neap_errinfo *info)
{
    errno = 0;
    BIO *b = is_text(source) ? BIO_new_mem_buf(source, -1) : BIO_new_file(source, "r");
    if (!b) return is_text(source) ? NEAP_ENOMEM : no_file(info, source);
    *out = b;
    return NEAP_OK;
}

/* How a source is named in words: never the text itself. */
static const char *name_of(const char *source)
{
    return is_text(source) ? "(PEM text)" : source;
}

static int give_password(char *buf, int size, int writing, void *arg)
{
    (void)writing;
    const char *password = arg;
    if (!password) return 0; /* asking on a terminal is not for a server */
    size_t n = strlen(password);
    if (n > (size_t)size) return -1;
    memcpy(buf, password, n);
    return (int)n;
}

/* The certificate and its chain. */
static enum neap_err load_chain(SSL_CTX *ctx, const char *source, X509 **leaf,
                                struct neap_errinfo *info)
{
    BIO *b = NULL;
    enum neap_err err = open_source(source, &b, info);
    if (err) return err;
    X509 *cert = PEM_read_bio_X509_AUX(b, NULL, give_password, NULL);
    if (!cert || SSL_CTX_use_certificate(ctx, cert) != 1) {
        err = np_tls_fail_info(info, "certificate %s", name_of(source));
        goto end;
    }
    SSL_CTX_clear_chain_certs(ctx);
    for (X509 *ca; (ca = PEM_read_bio_X509(b, NULL, give_password, NULL)) != NULL;) {
        if (SSL_CTX_add0_chain_cert(ctx, ca) == 1) continue;
        X509_free(ca);
        err = np_tls_fail_info(info, "chain in %s", name_of(source));
        goto end;
    }
    ERR_clear_error(); /* of the end of the file */
    *leaf = cert;
    cert = NULL;
end:
    X509_free(cert);
    BIO_free(b);
    return err;
}

static enum neap_err load_key(SSL_CTX *ctx, const struct np_tls_cert_source *s,
                              struct neap_errinfo *info)
{
    const char *source = s->key ? s->key : s->cert;
    BIO *b = NULL;
    enum neap_err err = open_source(source, &b, info);
    if (err) return err;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, give_password, (void *)s->password);
    BIO_free(b);
    if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        err = np_tls_fail_info(info, "private key %s", name_of(source));
    EVP_PKEY_free(key);
    return err;
}

/* The response to staple. */

static int on_status(SSL *ssl, void *arg)
{
    const struct np_tls_pair *p = arg;
    if (!SSL_is_server(ssl)) return 1;
    unsigned char *copy = p->ocsp ? OPENSSL_memdup(p->ocsp, p->ocsp_len) : NULL;
    if (!copy) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)p->ocsp_len);
    return SSL_TLSEXT_ERR_OK;
}

/* A whole file, at most `max` bytes. */
static enum neap_err read_file(const char *path, size_t max, unsigned char **out, size_t *len,
                               struct neap_errinfo *info)
{
    errno = 0;
    BIO *b = BIO_new_file(path, "rb");
    if (!b) return no_file(info, path);
    unsigned char *data = np_alloc(max);
    enum neap_err err = data ? NEAP_OK : NEAP_ENOMEM;
    size_t n = 0;
    size_t got = 0;
    while (!err && n < max && BIO_read_ex(b, data + n, max - n, &got) == 1)
        n += got;
    if (!err && (n == 0 || n == max))
        err = np_err_set(info, NEAP_ETLS, "%s: %s", path, n ? "too large" : "empty");
    BIO_free(b);
    ERR_clear_error();
    if (err) {
        np_free(data);
        return err;
    }
    *out = data;
    *len = n;
    return NEAP_OK;
}

static enum neap_err load_ocsp(struct np_tls_pair *p, const char *path, struct neap_errinfo *info)
{
    enum neap_err err = read_file(path, MAX_OCSP, &p->ocsp, &p->ocsp_len, info);
    if (err) return err;
    const unsigned char *at = p->ocsp;
    OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &at, (long)p->ocsp_len);
    bool ok = r && at == p->ocsp + p->ocsp_len &&
              OCSP_response_status(r) == OCSP_RESPONSE_STATUS_SUCCESSFUL;
    OCSP_RESPONSE_free(r);
    if (!ok) {
        ERR_clear_error();
        return np_err_set(info, NEAP_ETLS, "%s: no successful OCSP response in DER", path);
    }
    SSL_CTX_set_tlsext_status_cb(p->ctx, on_status);
    SSL_CTX_set_tlsext_status_arg(p->ctx, p);
    return NEAP_OK;
}

/* Trust. */

static enum neap_err add_ca_text(X509_STORE *store, const char *text, struct neap_errinfo *info)
{
    BIO *b = BIO_new_mem_buf(text, -1);
    if (!b) return NEAP_ENOMEM;
    enum neap_err err = NEAP_OK;
    unsigned n = 0;
    for (X509 *ca; !err && (ca = PEM_read_bio_X509_AUX(b, NULL, give_password, NULL)); n++) {
        if (X509_STORE_add_cert(store, ca) != 1) err = np_tls_fail_info(info, "ca");
        X509_free(ca);
    }
    BIO_free(b);
    ERR_clear_error();
    if (!err && n == 0) err = np_err_set(info, NEAP_ETLS, "ca: no certificate in the PEM text");
    return err;
}

static enum neap_err add_ca(X509_STORE *store, const char *source, struct neap_errinfo *info)
{
    struct stat st;
    if (is_text(source)) return add_ca_text(store, source, info);
    if (stat(source, &st) < 0) return no_file(info, source);
    int ok = S_ISDIR(st.st_mode) ? X509_STORE_load_path(store, source)
                                 : X509_STORE_load_file(store, source);
    return ok == 1 ? NEAP_OK : np_tls_fail_info(info, "ca %s", source);
}

/* Whom a server names to its clients as issuers that it trusts. */
static void name_issuers(SSL_CTX *ctx, const char *source)
{
    STACK_OF(X509_NAME) *names = is_text(source) ? NULL : SSL_load_client_CA_file(source);
    ERR_clear_error(); /* it is a hint: a directory has none */
    if (names) SSL_CTX_set_client_CA_list(ctx, names);
}

static enum neap_err load_crl(SSL_CTX *ctx, const char *source, bool all, struct neap_errinfo *info)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *b = NULL;
    enum neap_err err = open_source(source, &b, info);
    if (err) return err;
    unsigned n = 0;
    for (X509_CRL *crl; !err && (crl = PEM_read_bio_X509_CRL(b, NULL, give_password, NULL)); n++) {
        if (X509_STORE_add_crl(store, crl) != 1)
            err = np_tls_fail_info(info, "crl %s", name_of(source));
        X509_CRL_free(crl);
    }
    BIO_free(b);
    ERR_clear_error();
    if (!err && n == 0)
        err = np_err_set(info, NEAP_ETLS, "crl %s: no revocation list in it", name_of(source));
    if (err) return err;
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | (all ? X509_V_FLAG_CRL_CHECK_ALL : 0));
    return NEAP_OK;
}

static enum neap_err load_trust(const struct np_tls_context *c, SSL_CTX *ctx,
                                struct neap_errinfo *info)
{
    const struct np_tls_options *o = &c->opts;
    enum neap_err err = NEAP_OK;
    if (o->ca) err = add_ca(SSL_CTX_get_cert_store(ctx), o->ca, info);
    if (!err && o->ca) name_issuers(ctx, o->ca);
    if (!err && o->system_ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        err = np_tls_fail_info(info, "the system's certificates");
    if (!err && o->crl) err = load_crl(ctx, o->crl, o->crl_check_all, info);
    return err;
}

/* A client that names no authorities trusts the system's. */
enum neap_err np_tls_trust_system(struct np_tls_context *c)
{
    struct np_tls_material *m = c->material;
    if (m->trusts || c->opts.ca || c->opts.system_ca || !np_tls_verify_mode(c, false))
        return NEAP_OK;
    m->trusts = SSL_CTX_set_default_verify_paths(m->pairs[0].ctx) == 1;
    ERR_clear_error();
    return m->trusts ? NEAP_OK : NEAP_ENOMEM;
}

/* Tickets' keys as nginx's 80-byte files have them: 16 bytes of name, 32 of MAC, 32 of AES. */
static enum neap_err load_ticket_keys(struct np_tls_material *m, const char *path,
                                      struct neap_errinfo *info)
{
    enum { SIZE = 80, MAX = 16 };
    unsigned char *data = NULL;
    size_t n = 0;
    enum neap_err err = read_file(path, SIZE * MAX + 1, &data, &n, info);
    if (err) return err;
    m->ticket_keys = n % SIZE == 0 ? np_calloc(n / SIZE, sizeof *m->ticket_keys) : NULL;
    if (n % SIZE != 0)
        err = np_err_set(info, NEAP_ETLS, "%s: ticket keys are 80 bytes each", path);
    else if (!m->ticket_keys)
        err = NEAP_ENOMEM;
    for (size_t i = 0; !err && i < n / SIZE; i++) {
        struct np_tls_ticket_key *k = &m->ticket_keys[i];
        memcpy(k->name, data + i * SIZE, 16);
        memcpy(k->mac, data + i * SIZE + 16, 32);
        memcpy(k->aes, data + i * SIZE + 48, 32);
        m->nticket_keys++;
    }
    OPENSSL_cleanse(data, n);
    np_free(data);
    return err;
}

/* A pair, and all pairs. */

static enum neap_err load_cert(struct np_tls_pair *p, const struct np_tls_cert_source *s,
                               struct neap_errinfo *info)
{
    X509 *leaf = NULL;
    enum neap_err err = load_chain(p->ctx, s->cert, &leaf, info);
    if (!err) err = load_key(p->ctx, s, info);
    if (!err) err = np_tls_pair_read_names(p, leaf);
    if (!err && s->ocsp) err = load_ocsp(p, s->ocsp, info);
    X509_free(leaf);
    return err;
}

static enum neap_err load_pair(struct np_tls_context *c, struct np_tls_pair *p,
                               const struct np_tls_cert_source *s, struct neap_errinfo *info)
{
    p->ctx = SSL_CTX_new(TLS_method());
    if (!p->ctx) return NEAP_ENOMEM;
    enum neap_err err = s ? load_cert(p, s, info) : NEAP_OK;
    if (!err) err = load_trust(c, p->ctx, info);
    if (!err) err = np_tls_setup(c, p->ctx, info);
    return err;
}

enum neap_err np_tls_load(struct np_tls_context *c, struct np_tls_material **out,
                          struct neap_errinfo *info)
{
    ERR_clear_error();
    struct np_tls_material *m = np_calloc(1, sizeof *m);
    if (!m) return NEAP_ENOMEM;
    m->refs = 1;
    np_map_init(&m->by_name);
    size_t n = c->opts.ncerts ? c->opts.ncerts : 1;
    m->pairs = np_calloc(n, sizeof *m->pairs);
    m->has_cert = c->opts.ncerts > 0;
    enum neap_err err = m->pairs ? NEAP_OK : NEAP_ENOMEM;
    while (!err && m->npairs < n) {
        size_t i = m->npairs++;
        err = load_pair(c, &m->pairs[i], m->has_cert ? &c->opts.certs[i] : NULL, info);
    }
    if (!err) err = np_tls_index_names(m);
    if (!err && c->opts.ticket_keys) err = load_ticket_keys(m, c->opts.ticket_keys, info);
    if (err) {
        if (err == NEAP_ENOMEM) np_err_plain(info, err);
        np_tls_material_unref(m);
        return err;
    }
    *out = m;
    return NEAP_OK;
}

struct np_tls_material *np_tls_material_ref(struct np_tls_material *m)
{
    m->refs++;
    return m;
}

void np_tls_material_unref(struct np_tls_material *m)
{
    if (!m || --m->refs > 0) return;
    for (size_t i = 0; i < m->npairs; i++) {
        struct np_tls_pair *p = &m->pairs[i];
        SSL_CTX_free(p->ctx);
        for (size_t j = 0; j < p->nnames; j++)
            np_free(p->names[j]);
        np_free(p->names);
        np_free(p->ocsp);
    }
    np_free(m->pairs);
    np_map_fini(&m->by_name);
    if (m->ticket_keys) OPENSSL_cleanse(m->ticket_keys, m->nticket_keys * sizeof *m->ticket_keys);
    np_free(m->ticket_keys);
    np_free(m);
}

/* Whether files have changed. */

static uint64_t mix_file(uint64_t h, const char *source)
{
    struct stat st;
    if (!source || is_text(source)) return h;
    if (stat(source, &st) < 0) return np_hash_mix(h ^ 1);
    const uint64_t facts[] = {(uint64_t)st.st_ino, (uint64_t)st.st_size,
                              (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
    return np_hash_stable(facts, sizeof facts, h);
}

uint64_t np_tls_files_state(const struct np_tls_context *c)
{
    const struct np_tls_options *o = &c->opts;
    uint64_t h = 0;
    for (size_t i = 0; i < o->ncerts; i++) {
        h = mix_file(h, o->certs[i].cert);
        h = mix_file(h, o->certs[i].key);
        h = mix_file(h, o->certs[i].ocsp);
    }
    h = mix_file(h, o->ca);
    h = mix_file(h, o->crl);
    return mix_file(h, o->ticket_keys);
}
