/* Certificates, keys and lists in words. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "net/tls_make_impl.h"

/* Appends to a memory BIO; its contents are taken at the end, so that a failure shows there. */
static void line(BIO *b, const char *label)
{
    BIO_printf(b, "  %-13s", label);
}

static void name_line(BIO *b, const char *label, const X509_NAME *name)
{
    line(b, label);
    if (X509_NAME_entry_count(name) == 0)
        BIO_puts(b, "(none)");
    else
        X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    BIO_puts(b, "\n");
}

static void hex_line(BIO *b, const char *label, const unsigned char *p, size_t n)
{
    line(b, label);
    for (size_t i = 0; i < n; i++)
        BIO_printf(b, "%02x", p[i]);
    BIO_puts(b, "\n");
}

/* "2026-11-21 07:00:00Z"; *days from `now` until then, *past whether it is over. */
static void time_text(BIO *b, const ASN1_TIME *t, int64_t now, int *days, bool *past)
{
    struct tm tm;
    char text[40] = "?";
    if (ASN1_TIME_to_tm(t, &tm) == 1) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &tm);
    BIO_puts(b, text);
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)now);
    int seconds = 0;
    *days = 0;
    if (at) (void)ASN1_TIME_diff(days, &seconds, at, t);
    *past = *days < 0 || seconds < 0;
    ASN1_TIME_free(at);
}

static void validity_lines(BIO *b, const X509 *x, int64_t now)
{
    int days;
    bool begun;
    bool ended;
    line(b, "valid from");
    time_text(b, X509_get0_notBefore(x), now, &days, &begun);
    BIO_puts(b, begun ? "\n" : " (NOT YET)\n");
    line(b, "until");
    time_text(b, X509_get0_notAfter(x), now, &days, &ended);
    if (ended)
        BIO_puts(b, " (ENDED)\n");
    else
        BIO_printf(b, " (%d day%s left)\n", days, days == 1 ? "" : "s");
}

static void key_text(BIO *b, const EVP_PKEY *key)
{
    char group[40] = "";
    size_t n = 0;
    if (!key) {
        BIO_puts(b, "of a kind that is not known\n");
    } else if (EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1) {
        bool p256 = strcmp(group, "prime256v1") == 0;
        bool p384 = strcmp(group, "secp384r1") == 0;
        BIO_printf(b, "ECDSA %s\n", p256 ? "P-256" : p384 ? "P-384" : group);
    } else {
        const char *kind = EVP_PKEY_get0_type_name(key);
        BIO_printf(b, "%s, %d bits\n", kind ? kind : "?", EVP_PKEY_get_bits(key));
    }
}

static void one_name(BIO *b, const GENERAL_NAME *name)
{
    char address[INET6_ADDRSTRLEN];
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type == GEN_IPADD) {
        int n = ASN1_STRING_length(value);
        const unsigned char *p = ASN1_STRING_get0_data(value);
        bool ok = (n == 4 || n == 16) &&
                  inet_ntop(n == 4 ? AF_INET : AF_INET6, p, address, sizeof address);
        BIO_puts(b, ok ? address : "?");
    } else if (type == GEN_DNS || type == GEN_URI || type == GEN_EMAIL) {
        ASN1_STRING_print_ex(b, value, ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_2253);
    } else {
        BIO_puts(b, "(another kind)");
    }
}

static void names_line(BIO *b, const X509 *x)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    if (!names) return;
    line(b, "for");
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        if (i) BIO_puts(b, ", ");
        one_name(b, sk_GENERAL_NAME_value(names, i));
    }
    BIO_puts(b, "\n");
    GENERAL_NAMES_free(names);
}

static void use_line(BIO *b, X509 *x)
{
    bool authority = X509_check_ca(x) == 1;
    uint32_t usage = X509_get_extended_key_usage(x);
    line(b, "good for");
    if (authority)
        BIO_puts(b, "signing others (an authority)");
    else if (usage == UINT32_MAX)
        BIO_puts(b, "anything");
    else
        BIO_printf(b, "%s%s%s", usage & XKU_SSL_SERVER ? "servers" : "",
                   (usage & XKU_SSL_SERVER) && (usage & XKU_SSL_CLIENT) ? ", " : "",
                   usage & XKU_SSL_CLIENT ? "clients" : "");
    BIO_puts(b, "\n");
}

static void show_cert(BIO *b, X509 *x, int64_t now)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
    BIO_puts(b, "certificate\n");
    name_line(b, "subject", X509_get_subject_name(x));
    names_line(b, x);
    name_line(b, "issuer", X509_get_issuer_name(x));
    validity_lines(b, x, now);
    use_line(b, x);
    line(b, "key");
    key_text(b, X509_get0_pubkey(x));
    line(b, "signed with");
    int sig = X509_get_signature_nid(x);
    BIO_printf(b, "%s%s\n", OBJ_nid2ln(sig), X509_self_signed(x, 0) == 1 ? ", by itself" : "");
    hex_line(b, "serial", ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
    if (X509_digest(x, EVP_sha256(), md, &n) == 1) hex_line(b, "SHA-256", md, n);
}

static void show_crl(BIO *b, X509_CRL *crl, int64_t now)
{
    int days;
    bool ended;
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
    int n = list ? sk_X509_REVOKED_num(list) : 0;
    BIO_puts(b, "list of revoked certificates\n");
    name_line(b, "issuer", X509_CRL_get_issuer(crl));
    line(b, "next by");
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    ended = false;
    if (next) time_text(b, next, now, &days, &ended);
    BIO_puts(b, ended ? " (OVERDUE)\n" : "\n");
    line(b, "revoked");
    BIO_printf(b, "%d\n", n);
    for (int i = 0; i < n; i++) {
        const ASN1_INTEGER *s = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(list, i));
        hex_line(b, "", ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
    }
}

static void show_key(BIO *b, const EVP_PKEY *key)
{
    BIO_puts(b, "private key\n");
    line(b, "key");
    key_text(b, key);
}

/* One PEM block; false when it is of no kind that is known. */
static bool show_block(BIO *b, const char *kind, const unsigned char *der, long n, int64_t now)
{
    X509 *x = NULL;
    X509_CRL *crl = NULL;
    EVP_PKEY *key = NULL;
    if (strcmp(kind, PEM_STRING_X509) == 0 || strcmp(kind, PEM_STRING_X509_OLD) == 0)
        x = d2i_X509(NULL, &der, n);
    else if (strcmp(kind, PEM_STRING_X509_TRUSTED) == 0)
        x = d2i_X509_AUX(NULL, &der, n);
    else if (strcmp(kind, PEM_STRING_X509_CRL) == 0)
        crl = d2i_X509_CRL(NULL, &der, n);
    else if (strcmp(kind, PEM_STRING_PKCS8) == 0)
        BIO_puts(b, "private key\n  encrypted\n");
    else if (strstr(kind, "PRIVATE KEY"))
        key = d2i_AutoPrivateKey(NULL, &der, n);
    else
        return false;
    if (x) show_cert(b, x, now);
    if (crl) show_crl(b, crl, now);
    if (key) show_key(b, key);
    bool shown = x || crl || key || strcmp(kind, PEM_STRING_PKCS8) == 0;
    X509_free(x);
    X509_CRL_free(crl);
    EVP_PKEY_free(key);
    return shown;
}

enum neap_err np_tls_describe(const char *pem, int64_t now, struct np_buf *out,
                              struct neap_errinfo *info)
{
    char *kind;
    char *header;
    unsigned char *der;
    long n;
    size_t shown = 0;
    BIO *in = BIO_new_mem_buf(pem, -1);
    BIO *b = BIO_new(BIO_s_mem());
    enum neap_err err = in && b ? NEAP_OK : NEAP_ENOMEM;
    while (!err && PEM_read_bio(in, &kind, &header, &der, &n) == 1) {
        if (show_block(b, kind, der, n, now)) shown++;
        OPENSSL_cleanse(der, (size_t)n);
        OPENSSL_free(kind);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    if (!err && shown == 0)
        err = np_err_set(info, NEAP_ETLS, "no certificate, key or list (PEM) in it");
    char *data = NULL;
    long len = b ? BIO_get_mem_data(b, &data) : 0;
    if (!err) err = np_buf_append(out, data, (size_t)len);
    BIO_free(in);
    BIO_free(b);
    ERR_clear_error();
    return err;
}
