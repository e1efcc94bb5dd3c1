/* Certificates for tests, made in memory: an authority, and leaves that it signs. PEM text. */
#ifndef NET_TLS_CERTS_H
#define NET_TLS_CERTS_H

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "np_test.h"

struct test_cert {
    EVP_PKEY *key;
    X509 *x509;
    char *cert_pem;
    char *key_pem;
};

static inline char *test_pem(BIO *b)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);
    char *out = test_malloc((size_t)n + 1);
    memcpy(out, p, (size_t)n);
    out[n] = '\0';
    BIO_free(b);
    return out;
}

static inline void test_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* `ca` NULL: signed by itself, an authority. `san`: as "DNS:a.example,IP:127.0.0.1". `rsa`: an RSA
 * key, else P-256. `days` from now until it ends; negative: it has ended. */
static inline struct test_cert test_cert_new(const char *cn, const char *san,
                                             const struct test_cert *ca, int days, bool rsa)
{
    static long serial = 1;
    struct test_cert c = {0};
    c.key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    c.x509 = X509_new();
    assert_true(c.key && c.x509);
    X509 *issuer = ca ? ca->x509 : c.x509;
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), -86400L * 30);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), 86400L * days);
    X509_set_pubkey(c.x509, c.key);
    X509_NAME *name = X509_get_subject_name(c.x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(c.x509, X509_get_subject_name(issuer));
    test_extend(c.x509, issuer, NID_basic_constraints, ca ? "CA:FALSE" : "critical,CA:TRUE");
    test_extend(c.x509, issuer, NID_subject_key_identifier, "hash");
    if (san) test_extend(c.x509, issuer, NID_subject_alt_name, san);
    assert_true(X509_sign(c.x509, ca ? ca->key : c.key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(b, c.x509), 1);
    c.cert_pem = test_pem(b);
    b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(b, c.key, NULL, NULL, 0, NULL, NULL), 1);
    c.key_pem = test_pem(b);
    return c;
}

static inline void test_cert_free(struct test_cert *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
    test_free(c->cert_pem);
    test_free(c->key_pem);
}

#endif
