/* What was agreed with whom, and what went wrong, in words. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/tls_impl.h"

/* Words. */

static void explain_verify(const SSL *ssl, char *out, size_t size)
{
    long result = SSL_get_verify_result(ssl);
    const struct np_tls_stream *t = np_tls_stream_of_ssl(ssl);
    const char *why = X509_verify_cert_error_string(result);
    if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(out, size, "the certificate is not for %s", t->host ? t->host : "this name");
    else
        snprintf(out, size, "certificate verify failed: %s", why);
}

void np_tls_explain(const SSL *ssl, char *out, size_t size)
{
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    bool ours = e && ERR_GET_LIB(e) == ERR_LIB_SSL;
    if (ours && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        explain_verify(ssl, out, size);
    else if (ours && ERR_GET_REASON(e) >= SSL_AD_REASON_OFFSET)
        snprintf(out, size, "the peer refused: %s", reason ? reason : "alert");
    else
        snprintf(out, size, "%s", reason ? reason : "TLS failed");
    ERR_clear_error();
}

enum neap_err np_tls_fail_info(struct neap_errinfo *info, const char *fmt, ...)
{
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    /* The last says the most: "no start line", "bad decrypt", "key values mismatch". */
    unsigned long e = ERR_peek_last_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    if (e && ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
        reason = "none in it";
    ERR_clear_error();
    return np_err_set(info, NEAP_ETLS, "%s: %s", what, reason ? reason : "cannot be used");
}

/* What was agreed. */

static const struct np_tls_stream *up(const struct np_stream *s)
{
    if (s->ops != &np_tls_ops || s->state > NP_STREAM_BROKEN) return NULL;
    const struct np_tls_stream *t = np_tls_of(s);
    return t->ssl && SSL_is_init_finished(t->ssl) ? t : NULL;
}

bool np_tls_get_info(const struct np_stream *s, struct np_tls_info *out)
{
    const struct np_tls_stream *t = up(s);
    if (!t) return false;
    const unsigned char *alpn = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &alpn, &n);
    X509 *peer = SSL_get0_peer_certificate(t->ssl);
    int mode = SSL_get_verify_mode(t->ssl);
    *out = (struct np_tls_info){
        .version = SSL_get_version(t->ssl),
        .cipher = SSL_get_cipher_name(t->ssl),
        .alpn = (const char *)alpn,
        .alpn_len = n,
        .sni = t->sni ? t->sni : "",
        .resumed = SSL_session_reused(t->ssl) == 1,
        .verified = peer && mode != SSL_VERIFY_NONE && SSL_get_verify_result(t->ssl) == X509_V_OK,
        .has_peer_cert = peer != NULL,
    };
    return true;
}

/* The peer's certificate. */

static char *take_bio(BIO *b)
{
    char *data = NULL;
    long n = BIO_get_mem_data(b, &data);
    return n >= 0 ? np_strndup(n > 0 ? data : "", (size_t)n) : NULL;
}

static char *name_text(X509_NAME *name)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (!b) return NULL;
    char *text = NULL;
    if (X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        text = take_bio(b);
    BIO_free(b);
    return text;
}

static char *hex(const unsigned char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *out = np_alloc(n * 2 + 1);
    if (!out) return NULL;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
    return out;
}

static char *fingerprint(X509 *cert)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return X509_digest(cert, EVP_sha256(), md, &n) == 1 ? hex(md, n) : NULL;
}

static char *serial(X509 *cert)
{
    const ASN1_INTEGER *i = X509_get0_serialNumber(cert);
    return hex(ASN1_STRING_get0_data(i), (size_t)ASN1_STRING_length(i));
}

static char *common_name(X509 *cert)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    int n = at < 0 ? -1
                   : ASN1_STRING_to_UTF8(&text,
                                         X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (n < 0) return np_strdup("");
    char *out = np_strndup((char *)text, (size_t)n);
    OPENSSL_free(text);
    return out;
}

static int64_t seconds(const ASN1_TIME *time)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1) return 0;
    /* Days since 1970 of a date of the Gregorian calendar (years from March). */
    int64_t y = tm.tm_year + 1900 - (tm.tm_mon < 2);
    int64_t m = (tm.tm_mon + 10) % 12;
    int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + tm.tm_mday - 1;
    days -= 719468;
    return ((days * 24 + tm.tm_hour) * 60 + tm.tm_min) * 60 + tm.tm_sec;
}

/* "DNS:…", "IP:…", "URI:…", "email:…"; other kinds are left out. NULL with *err set, or skipped. */
static char *general_name(const GENERAL_NAME *name, enum neap_err *err)
{
    char text[64];
    const char *prefix;
    const ASN1_STRING *value;
    if (name->type == GEN_IPADD) {
        const unsigned char *p = ASN1_STRING_get0_data(name->d.iPAddress);
        int n = ASN1_STRING_length(name->d.iPAddress);
        char address[INET6_ADDRSTRLEN];
        if ((n != 4 && n != 16) ||
            !inet_ntop(n == 4 ? AF_INET : AF_INET6, p, address, sizeof address))
            return NULL;
        snprintf(text, sizeof text, "IP:%s", address);
        char *copy = np_strdup(text);
        if (!copy) *err = NEAP_ENOMEM;
        return copy;
    }
    if (name->type == GEN_DNS) {
        prefix = "DNS:";
        value = name->d.dNSName;
    } else if (name->type == GEN_URI) {
        prefix = "URI:";
        value = name->d.uniformResourceIdentifier;
    } else if (name->type == GEN_EMAIL) {
        prefix = "email:";
        value = name->d.rfc822Name;
    } else {
        return NULL;
    }
    size_t n = (size_t)ASN1_STRING_length(value);
    size_t p = strlen(prefix);
    if (memchr(ASN1_STRING_get0_data(value), 0, n)) return NULL; /* a trick on C programs */
    char *out = np_alloc(p + n + 1);
    if (!out) {
        *err = NEAP_ENOMEM;
        return NULL;
    }
    memcpy(out, prefix, p);
    memcpy(out + p, ASN1_STRING_get0_data(value), n);
    out[p + n] = '\0';
    return out;
}

static enum neap_err read_names(X509 *cert, struct np_tls_peer *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (!names) return NEAP_OK;
    int n = sk_GENERAL_NAME_num(names);
    enum neap_err err = NEAP_OK;
    out->names = np_calloc((size_t)(n > 0 ? n : 1), sizeof *out->names);
    if (!out->names) err = NEAP_ENOMEM;
    for (int i = 0; i < n && !err; i++) {
        char *name = general_name(sk_GENERAL_NAME_value(names, i), &err);
        if (name) out->names[out->nnames++] = name;
    }
    GENERAL_NAMES_free(names);
    return err;
}

/* A SPIFFE ID is the certificate's one and only URI (X509-SVID, 2). */
static enum neap_err read_spiffe(struct np_tls_peer *p)
{
    const char *id = NULL;
    size_t uris = 0;
    for (size_t i = 0; i < p->nnames; i++) {
        if (strncmp(p->names[i], "URI:", 4) != 0) continue;
        uris++;
        id = p->names[i] + 4;
    }
    if (uris != 1 || strncmp(id, "spiffe://", 9) != 0) return NEAP_OK;
    p->spiffe_id = np_strdup(id);
    return p->spiffe_id ? NEAP_OK : NEAP_ENOMEM;
}

enum neap_err np_tls_get_peer(const struct np_stream *s, struct np_tls_peer *out)
{
    const struct np_tls_stream *t = up(s);
    X509 *cert = t ? SSL_get0_peer_certificate(t->ssl) : NULL;
    if (!cert) return NEAP_ENOTFOUND;
    struct np_tls_peer p = {
        .subject = name_text(X509_get_subject_name(cert)),
        .issuer = name_text(X509_get_issuer_name(cert)),
        .common_name = common_name(cert),
        .serial = serial(cert),
        .fingerprint = fingerprint(cert),
        .not_before = seconds(X509_get0_notBefore(cert)),
        .not_after = seconds(X509_get0_notAfter(cert)),
    };
    enum neap_err err = read_names(cert, &p);
    if (!err) err = read_spiffe(&p);
    if (!err && (!p.subject || !p.issuer || !p.common_name || !p.serial || !p.fingerprint))
        err = NEAP_ENOMEM;
    ERR_clear_error();
    if (err)
        np_tls_peer_free(&p);
    else
        *out = p;
    return err;
}

void np_tls_peer_free(struct np_tls_peer *p)
{
    np_free(p->subject);
    np_free(p->common_name);
    np_free(p->issuer);
    np_free(p->serial);
    np_free(p->fingerprint);
    np_free(p->spiffe_id);
    for (size_t i = 0; i < p->nnames; i++)
        np_free(p->names[i]);
    np_free(p->names);
    *p = (struct np_tls_peer){0};
}

enum neap_err np_tls_get_peer_pem(const struct np_stream *s, char **out)
{
    const struct np_tls_stream *t = up(s);
    X509 *cert = t ? SSL_get0_peer_certificate(t->ssl) : NULL;
    if (!cert) return NEAP_ENOTFOUND;
    BIO *b = BIO_new(BIO_s_mem());
    char *pem = NULL;
    if (b && PEM_write_bio_X509(b, cert) == 1) pem = take_bio(b);
    BIO_free(b);
    if (!pem) return NEAP_ENOMEM;
    *out = pem;
    return NEAP_OK;
}
