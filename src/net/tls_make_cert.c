/* Making keys and certificates. Nothing here lives longer than a call. */
#include "net/tls_make_cert.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "net/tls_make_impl.h"

enum { DAY = 24 * 60 * 60, BACKDATE = 60 * 60, MAX_CN = 64, MAX_NAME = 2048 + 1, MAX_NAMES = 1000 };

/* --- PEM */

char *np_tls_take_bio(BIO *b)
{
    char *data = NULL;
    long n = BIO_get_mem_data(b, &data);
    return n > 0 ? np_strndup(data, (size_t)n) : NULL;
}

/* No question on a terminal for the password of a key. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return 0;
}

enum neap_err np_tls_read_cert(const char *pem, const char *what, X509 **out,
                               struct neap_errinfo *info)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *cert = b ? PEM_read_bio_X509(b, NULL, no_password, NULL) : NULL;
    BIO_free(b);
    if (!cert) return np_tls_fail_info(info, "%s", what);
    *out = cert;
    return NEAP_OK;
}

enum neap_err np_tls_read_issuer(const struct np_tls_made *m, X509 **cert, EVP_PKEY **key,
                                 struct neap_errinfo *info)
{
    X509 *c = NULL;
    enum neap_err err = np_tls_read_cert(m->cert, "the authority's certificate", &c, info);
    if (err) return err;
    BIO *b = BIO_new_mem_buf(m->key, -1);
    EVP_PKEY *k = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
    BIO_free(b);
    if (!k) {
        err = np_tls_fail_info(info, "the authority's key");
    } else if (X509_check_private_key(c, k) != 1) {
        ERR_clear_error();
        err = np_err_set(info, NEAP_ETLS, "the authority's key does not fit its certificate");
    } else if (X509_check_ca(c) != 1) {
        err = np_err_set(info, NEAP_ETLS, "the certificate to sign with is no authority's");
    }
    if (err) {
        X509_free(c);
        EVP_PKEY_free(k);
        return err;
    }
    *cert = c;
    *key = k;
    return NEAP_OK;
}

void np_tls_made_free(struct np_tls_made *m)
{
    if (m->key) OPENSSL_cleanse(m->key, strlen(m->key));
    np_free(m->key);
    np_free(m->cert);
    *m = (struct np_tls_made){0};
}

/* --- keys */

static const struct {
    const char *name;
    enum np_tls_key_kind kind;
} key_kinds[] = {{"p256", NP_TLS_KEY_P256},        {"p384", NP_TLS_KEY_P384},
                 {"ed25519", NP_TLS_KEY_ED25519},  {"rsa", NP_TLS_KEY_RSA_2048},
                 {"rsa2048", NP_TLS_KEY_RSA_2048}, {"rsa3072", NP_TLS_KEY_RSA_3072},
                 {"rsa4096", NP_TLS_KEY_RSA_4096}};

enum neap_err np_tls_key_kind_of(const char *text, enum np_tls_key_kind *out)
{
    for (size_t i = 0; i < sizeof key_kinds / sizeof *key_kinds; i++) {
        if (strcmp(text, key_kinds[i].name) != 0) continue;
        *out = key_kinds[i].kind;
        return NEAP_OK;
    }
    return NEAP_EINVAL;
}

static EVP_PKEY *new_key(enum np_tls_key_kind kind)
{
    switch (kind) {
    case NP_TLS_KEY_P384:
        return EVP_EC_gen("P-384");
    case NP_TLS_KEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case NP_TLS_KEY_RSA_2048:
        return EVP_RSA_gen(2048);
    case NP_TLS_KEY_RSA_3072:
        return EVP_RSA_gen(3072);
    case NP_TLS_KEY_RSA_4096:
        return EVP_RSA_gen(4096);
    case NP_TLS_KEY_P256:
        break;
    }
    return EVP_EC_gen("P-256");
}

const EVP_MD *np_tls_digest_for(const EVP_PKEY *key)
{
    if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448")) return NULL;
    return EVP_PKEY_get_security_bits(key) > 128 ? EVP_sha384() : EVP_sha256();
}

/* --- a certificate's parts; each gives false when OpenSSL fails, which has then said why */

static bool set_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    bool ok = n && BN_rand(n, 128, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool add_entry(X509_NAME *name, const char *field, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

static bool set_subject(X509 *x, const struct np_tls_make_options *o)
{
    X509_NAME *name = X509_get_subject_name(x);
    const char *cn = o->common_name;
    if (!cn && o->nnames && strlen(o->names[0]) <= MAX_CN && !strstr(o->names[0], "://"))
        cn = o->names[0];
    if (o->organization && !add_entry(name, "O", o->organization)) return false;
    return !cn || add_entry(name, "CN", cn);
}

static bool extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_usage(X509 *x, X509 *issuer, const struct np_tls_make_options *o)
{
    if (o->authority) {
        return extend(x, issuer, NID_basic_constraints, "critical,CA:TRUE") &&
               extend(x, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    }
    bool rsa = o->key >= NP_TLS_KEY_RSA_2048;
    const char *sides = o->server && o->client ? "serverAuth,clientAuth"
                        : o->client            ? "clientAuth"
                                               : "serverAuth";
    return extend(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           extend(x, issuer, NID_key_usage,
                  rsa ? "critical,digitalSignature,keyEncipherment"
                      : "critical,digitalSignature") &&
           (!(o->server || o->client) || extend(x, issuer, NID_ext_key_usage, sides));
}

static bool set_ids(X509 *x, X509 *issuer)
{
    return extend(x, issuer, NID_subject_key_identifier, "hash") &&
           extend(x, issuer, NID_authority_key_identifier, "keyid:always");
}

static bool push_name(GENERAL_NAMES *list, int type, const void *data, size_t n)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value =
        ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (!name || !value || ASN1_STRING_set(value, data, (int)n) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(name);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(list, name) > 0) return true;
    GENERAL_NAME_free(name);
    return false;
}

static bool push_read_name(GENERAL_NAMES *list, enum np_tls_name_kind kind, const char *text)
{
    static const int types[] = {[NP_TLS_NAME_DNS] = GEN_DNS,
                                [NP_TLS_NAME_IP] = GEN_IPADD,
                                [NP_TLS_NAME_URI] = GEN_URI,
                                [NP_TLS_NAME_EMAIL] = GEN_EMAIL};
    if (kind != NP_TLS_NAME_IP) return push_name(list, types[kind], text, strlen(text));
    unsigned char bytes[16];
    bool v6 = strchr(text, ':') != NULL;
    inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes);
    return push_name(list, GEN_IPADD, bytes, v6 ? 16 : 4);
}

static enum neap_err set_names(X509 *x, const struct np_tls_make_options *o,
                               struct neap_errinfo *info)
{
    if (o->nnames == 0) return NEAP_OK;
    if (o->nnames > MAX_NAMES)
        return np_err_set(info, NEAP_EINVAL, "more than %d names", (int)MAX_NAMES);
    int nameless = X509_NAME_entry_count(X509_get_subject_name(x)) == 0; /* then critical */
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    enum neap_err err = list ? NEAP_OK : NEAP_ENOMEM;
    char text[MAX_NAME];
    for (size_t i = 0; i < o->nnames && !err; i++) {
        enum np_tls_name_kind kind;
        err = np_tls_read_name(o->names[i], &kind, text, sizeof text, info);
        if (!err && !push_read_name(list, kind, text)) err = NEAP_ENOMEM;
    }
    if (!err && X509_add1_ext_i2d(x, NID_subject_alt_name, list, nameless, 0) != 1)
        err = NEAP_ENOMEM;
    sk_GENERAL_NAME_pop_free(list, GENERAL_NAME_free);
    return err;
}

static enum neap_err set_times(X509 *x, const X509 *issuer, const struct np_tls_make_options *o,
                               struct neap_errinfo *info)
{
    int64_t now = np_clock_wall() / NP_NS_PER_SEC;
    int64_t from = o->not_before ? o->not_before : now - BACKDATE;
    int days = o->days ? o->days : o->authority ? NP_TLS_CA_DAYS : NP_TLS_LEAF_DAYS;
    int most = o->authority ? 36500 : NP_TLS_LEAF_DAYS_MAX;
    if (days < 1 || days > most)
        return np_err_set(info, NEAP_EINVAL, "days: from 1 to %d, got %d", most, days);
    /* Both ends count. */
    int64_t until = o->not_after ? o->not_after : from + (int64_t)days * DAY - 1;
    if (!ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from) ||
        !ASN1_TIME_set(X509_getm_notAfter(x), (time_t)until))
        return np_tls_fail_info(info, "times");
    if (!issuer || o->not_after) return NEAP_OK;
    const ASN1_TIME *bound = X509_get0_notAfter(issuer);
    if (X509_cmp_current_time(bound) <= 0)
        return np_err_set(info, NEAP_ETLS, "the authority's certificate has ended");
    if (ASN1_TIME_compare(X509_get0_notAfter(x), bound) <= 0) return NEAP_OK;
    return X509_set1_notAfter(x, bound) == 1 ? NEAP_OK : NEAP_ENOMEM;
}

/* --- the whole */

/* Bounds that OpenSSL has no good words for. */
static enum neap_err check_words(const struct np_tls_make_options *o, struct neap_errinfo *info)
{
    if (o->common_name && (!o->common_name[0] || strlen(o->common_name) > MAX_CN))
        return np_err_set(info, NEAP_EINVAL, "'%.70s': a common name has from 1 to %d bytes",
                          o->common_name, (int)MAX_CN);
    if (o->organization && (!o->organization[0] || strlen(o->organization) > MAX_CN))
        return np_err_set(info, NEAP_EINVAL, "'%.70s': an organization has from 1 to %d bytes",
                          o->organization, (int)MAX_CN);
    return NEAP_OK;
}

static enum neap_err fill(X509 *x, EVP_PKEY *key, const struct np_tls_make_options *o, X509 *issuer,
                          struct neap_errinfo *info)
{
    if (X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) ||
        X509_set_pubkey(x, key) != 1 || !set_subject(x, o) ||
        X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x)) != 1)
        return np_tls_fail_info(info, "the certificate");
    enum neap_err err = set_times(x, issuer, o, info);
    if (err) return err;
    if (!set_usage(x, issuer ? issuer : x, o) || !set_ids(x, issuer ? issuer : x))
        return np_tls_fail_info(info, "the certificate's extensions");
    return set_names(x, o, info);
}

static enum neap_err to_pem(X509 *x, EVP_PKEY *key, struct np_tls_made *out)
{
    struct np_tls_made m = {0};
    BIO *b = BIO_new(BIO_s_mem());
    if (b && PEM_write_bio_X509(b, x) == 1) m.cert = np_tls_take_bio(b);
    BIO_free(b);
    b = BIO_new(BIO_s_secmem());
    if (b && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1)
        m.key = np_tls_take_bio(b);
    BIO_free(b);
    if (!m.cert || !m.key) {
        np_tls_made_free(&m);
        ERR_clear_error();
        return NEAP_ENOMEM;
    }
    *out = m;
    return NEAP_OK;
}

enum neap_err np_tls_make_cert(const struct np_tls_make_options *o,
                               const struct np_tls_made *issuer, struct np_tls_made *out,
                               struct neap_errinfo *info)
{
    X509 *ca = NULL;
    EVP_PKEY *ca_key = NULL;
    enum neap_err err = check_words(o, info);
    if (!err && issuer) err = np_tls_read_issuer(issuer, &ca, &ca_key, info);
    if (err) return err;
    EVP_PKEY *key = new_key(o->key);
    X509 *x = X509_new();
    EVP_PKEY *signer = ca_key ? ca_key : key;
    if (!key || !x) {
        err = np_tls_fail_info(info, "a new key");
        goto end;
    }
    err = fill(x, key, o, ca, info);
    if (!err && X509_sign(x, signer, np_tls_digest_for(signer)) <= 0)
        err = np_tls_fail_info(info, "signing");
    if (!err) err = to_pem(x, key, out);
end:
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    ERR_clear_error();
    return err;
}

enum neap_err np_tls_make_p12(const struct np_tls_made *m, const char *authority, const char *name,
                              const char *password, char **out, size_t *len,
                              struct neap_errinfo *info)
{
    X509 *cert = NULL;
    X509 *ca = NULL;
    PKCS12 *p12 = NULL;
    unsigned char *der = NULL;
    char *copy = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *b = BIO_new_mem_buf(m->key, -1);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
    enum neap_err err = np_tls_read_cert(m->cert, "the certificate", &cert, info);
    if (!err) err = np_tls_read_cert(authority, "the authority's certificate", &ca, info);
    if (!err && chain && key && sk_X509_push(chain, ca) > 0)
        p12 = PKCS12_create(password, name, key, cert, chain, 0, 0, 0, 0, 0);
    int n = p12 ? i2d_PKCS12(p12, &der) : -1;
    if (n > 0) copy = np_alloc((size_t)n);
    if (copy) {
        memcpy(copy, der, (size_t)n);
        *out = copy;
        *len = (size_t)n;
    } else if (!err) {
        err = n > 0 ? NEAP_ENOMEM : np_tls_fail_info(info, "PKCS#12");
    }
    OPENSSL_free(der);
    PKCS12_free(p12);
    sk_X509_free(chain);
    EVP_PKEY_free(key);
    BIO_free(b);
    X509_free(cert);
    X509_free(ca);
    return err;
}
