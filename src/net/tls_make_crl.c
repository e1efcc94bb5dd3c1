/* Lists of revoked certificates. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "net/tls_make_impl.h"

enum { DAY = 24 * 60 * 60, MAX_DAYS = 3650 };

/* A copy of the one before without its signature's parts, or a new one. */
static enum neap_err begin(const char *old, X509 *ca, EVP_PKEY *key, X509_CRL **out,
                           struct neap_errinfo *info)
{
    X509_CRL *crl;
    if (!old) {
        crl = X509_CRL_new();
        if (!crl) return NEAP_ENOMEM;
    } else {
        BIO *b = BIO_new_mem_buf(old, -1);
        crl = b ? PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) : NULL;
        BIO_free(b);
        if (!crl) return np_tls_fail_info(info, "the list");
        if (X509_CRL_verify(crl, key) != 1) {
            X509_CRL_free(crl);
            ERR_clear_error();
            return np_err_set(info, NEAP_ETLS, "the list is another authority's");
        }
    }
    if (X509_CRL_set_version(crl, X509_CRL_VERSION_2) != 1 ||
        X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) != 1) {
        X509_CRL_free(crl);
        return NEAP_ENOMEM;
    }
    *out = crl;
    return NEAP_OK;
}

static enum neap_err set_times(X509_CRL *crl, int days, struct neap_errinfo *info)
{
    int n = days ? days : NP_TLS_CRL_DAYS;
    if (n < 1 || n > MAX_DAYS)
        return np_err_set(info, NEAP_EINVAL, "days: from 1 to %d, got %d", (int)MAX_DAYS, n);
    int64_t now = np_clock_wall() / NP_NS_PER_SEC;
    ASN1_TIME *time = ASN1_TIME_set(NULL, (time_t)(now - 60));
    bool ok = time && X509_CRL_set1_lastUpdate(crl, time) == 1 &&
              ASN1_TIME_set(time, (time_t)(now + (int64_t)n * DAY)) &&
              X509_CRL_set1_nextUpdate(crl, time) == 1;
    ASN1_TIME_free(time);
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

/* One more than the one before had. */
static enum neap_err set_number(X509_CRL *crl)
{
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    BIGNUM *n = number ? ASN1_INTEGER_to_BN(number, NULL) : BN_new();
    bool ok = n && BN_add_word(n, 1) == 1;
    ASN1_INTEGER_free(number);
    number = ok ? BN_to_ASN1_INTEGER(n, NULL) : NULL;
    ok = number && X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_REPLACE) == 1;
    ASN1_INTEGER_free(number);
    BN_free(n);
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err set_authority(X509_CRL *crl, X509 *ca)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca);
    AUTHORITY_KEYID *akid = AUTHORITY_KEYID_new();
    bool ok = akid != NULL;
    if (ok && id) {
        akid->keyid = ASN1_OCTET_STRING_dup(id);
        ok = akid->keyid && X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, akid, 0,
                                                  X509V3_ADD_REPLACE) == 1;
    }
    AUTHORITY_KEYID_free(akid);
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err push(X509_CRL *crl, const X509 *cert)
{
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)(np_clock_wall() / NP_NS_PER_SEC));
    bool ok = r && now && X509_REVOKED_set_revocationDate(r, now) == 1 &&
              X509_REVOKED_set_serialNumber(
                  r, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(cert)) == 1 &&
              X509_CRL_add0_revoked(crl, r) == 1;
    if (!ok) X509_REVOKED_free(r);
    ASN1_TIME_free(now);
    return ok ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err add_revoked(X509_CRL *crl, const char *pem, EVP_PKEY *key, size_t *added,
                                 struct neap_errinfo *info)
{
    X509 *cert;
    enum neap_err err = np_tls_read_cert(pem, "the certificate to revoke", &cert, info);
    if (err) return err;
    X509_REVOKED *known;
    if (X509_verify(cert, key) != 1) {
        ERR_clear_error();
        err =
            np_err_set(info, NEAP_ETLS, "a certificate to revoke was signed by another authority");
    } else if (X509_CRL_get0_by_cert(crl, &known, cert) == 0) {
        err = push(crl, cert);
        if (!err) (*added)++;
    }
    X509_free(cert);
    return err;
}

static enum neap_err finish(X509_CRL *crl, EVP_PKEY *key, char **out, struct neap_errinfo *info)
{
    if (X509_CRL_sort(crl) != 1 || X509_CRL_sign(crl, key, np_tls_digest_for(key)) <= 0)
        return np_tls_fail_info(info, "signing");
    BIO *b = BIO_new(BIO_s_mem());
    char *pem = b && PEM_write_bio_X509_CRL(b, crl) == 1 ? np_tls_take_bio(b) : NULL;
    BIO_free(b);
    if (!pem) return NEAP_ENOMEM;
    *out = pem;
    return NEAP_OK;
}

enum neap_err np_tls_make_crl(const struct np_tls_made *authority, const char *old,
                              const char *const *revoked, size_t nrevoked, int days, char **out,
                              size_t *added, struct neap_errinfo *info)
{
    X509 *ca;
    EVP_PKEY *key;
    X509_CRL *crl = NULL;
    size_t n = 0;
    enum neap_err err = np_tls_read_issuer(authority, &ca, &key, info);
    if (err) return err;
    err = begin(old, ca, key, &crl, info);
    if (!err) err = set_times(crl, days, info);
    if (!err) err = set_number(crl);
    if (!err) err = set_authority(crl, ca);
    for (size_t i = 0; i < nrevoked && !err; i++)
        err = add_revoked(crl, revoked[i], key, &n, info);
    if (!err) err = finish(crl, key, out, info);
    if (!err && added) *added = n;
    X509_CRL_free(crl);
    X509_free(ca);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return err;
}
