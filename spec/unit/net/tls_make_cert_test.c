/* Certificates that are made here: what stands in them, who trusts them, what is refused. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "net/tls_make_cert.h"
#include "np_test.h"

static struct np_tls_made make(const struct np_tls_make_options *o, const struct np_tls_made *ca)
{
    struct np_tls_made m;
    struct neap_errinfo info = {0};
    enum neap_err err = np_tls_make_cert(o, ca, &m, &info);
    if (err) print_message("%s\n", info.message);
    assert_ok(err);
    return m;
}

static struct np_tls_made make_ca(enum np_tls_key_kind key)
{
    struct np_tls_make_options o = {.authority = true, .common_name = "test CA", .key = key};
    return make(&o, NULL);
}

static X509 *parse(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    assert_non_null(x);
    return x;
}

/* What OpenSSL's strict check says, for a purpose; `crl` may be NULL. */
static int verify(const struct np_tls_made *ca, const struct np_tls_made *leaf, int purpose,
                  const char *crl)
{
    X509 *root = parse(ca->cert);
    X509 *x = parse(leaf->cert);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_add_cert(store, root);
    X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT | (crl ? X509_V_FLAG_CRL_CHECK : 0));
    X509_STORE_set_purpose(store, purpose);
    if (crl) {
        BIO *b = BIO_new_mem_buf(crl, -1);
        X509_CRL *list = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL);
        assert_non_null(list);
        X509_STORE_add_crl(store, list);
        X509_CRL_free(list);
        BIO_free(b);
    }
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_CTX_init(ctx, store, x, NULL);
    X509_verify_cert(ctx);
    int result = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(x);
    X509_free(root);
    return result;
}

static void every_key_kind_signs_and_is_trusted(void **state)
{
    static const enum np_tls_key_kind kinds[] = {NP_TLS_KEY_P256, NP_TLS_KEY_P384,
                                                 NP_TLS_KEY_ED25519, NP_TLS_KEY_RSA_2048};
    int64_t live = np_alloc_live();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *names[] = {"a.example"};
        struct np_tls_made ca = make_ca(kinds[i]);
        struct np_tls_make_options o = {
            .names = names, .nnames = 1, .server = true, .key = kinds[i]};
        struct np_tls_made leaf = make(&o, &ca);
        assert_int_equal(verify(&ca, &leaf, X509_PURPOSE_SSL_SERVER, NULL), X509_V_OK);
        assert_int_equal(verify(&ca, &leaf, X509_PURPOSE_SSL_CLIENT, NULL),
                         X509_V_ERR_INVALID_PURPOSE);
        assert_non_null(strstr(leaf.key, "-----BEGIN PRIVATE KEY-----")); /* PKCS#8 */
        np_tls_made_free(&leaf);
        np_tls_made_free(&ca);
    }
    assert_no_leak(live);
}

static void names_are_what_they_look_like(void **state)
{
    const char *names[] = {"A.Example", "*.b.example", "127.0.0.1",
                           "[::1]",     "x@y.example", "spiffe://td/svc"};
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    struct np_tls_make_options o = {.names = names, .nnames = 6, .server = true, .client = true};
    struct np_tls_made leaf = make(&o, &ca);
    X509 *x = parse(leaf.cert);
    assert_int_equal(X509_check_host(x, "a.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x, "c.b.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x, "b.example", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(x, "::1", 0), 1);
    assert_int_equal(X509_check_email(x, "x@y.example", 0, 0), 1);
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int type;
    const ASN1_STRING *uri = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(list, 5), &type);
    assert_int_equal(type, GEN_URI);
    assert_int_equal(ASN1_STRING_length(uri), 15);
    GENERAL_NAMES_free(list);
    assert_int_equal(verify(&ca, &leaf, X509_PURPOSE_SSL_CLIENT, NULL), X509_V_OK);
    X509_free(x);
    np_tls_made_free(&leaf);
    np_tls_made_free(&ca);
}

static void browsers_bounds_are_kept(void **state)
{
    const char *names[] = {"a.example"};
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    struct np_tls_make_options o = {.names = names, .nnames = 1, .server = true, .days = 825};
    struct np_tls_made leaf = make(&o, &ca);
    struct np_tls_made other = make(&o, &ca);
    X509 *x = parse(leaf.cert);
    X509 *y = parse(other.cert);
    int days;
    int seconds;
    ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(x), X509_get0_notAfter(x));
    assert_true(days < 825);
    assert_true(X509_cmp_current_time(X509_get0_notBefore(x)) < 0);
    assert_int_equal(X509_get_version(x), X509_VERSION_3);
    assert_true(ASN1_STRING_length(X509_get0_serialNumber(x)) >= 12);
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(x), X509_get0_serialNumber(y)), 0);
    assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_check_ca(x), 0);
    struct np_tls_made none;
    o.days = 826;
    assert_err(np_tls_make_cert(&o, &ca, &none, NULL), NEAP_EINVAL);
    X509_free(x);
    X509_free(y);
    np_tls_made_free(&leaf);
    np_tls_made_free(&other);
    np_tls_made_free(&ca);
}

static void a_certificate_does_not_outlive_its_authority(void **state)
{
    const char *names[] = {"a.example"};
    struct np_tls_make_options o = {.authority = true, .common_name = "short", .days = 3};
    struct np_tls_made ca = make(&o, NULL);
    struct np_tls_make_options l = {.names = names, .nnames = 1, .server = true};
    struct np_tls_made leaf = make(&l, &ca);
    X509 *x = parse(leaf.cert);
    X509 *y = parse(ca.cert);
    assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(x), X509_get0_notAfter(y)), 0);
    X509_free(x);
    X509_free(y);
    np_tls_made_free(&leaf);

    /* One that has ended signs nothing, but for tests that give the times. */
    o.not_before = 1000000000;
    o.not_after = 1000086400;
    struct np_tls_made old = make(&o, NULL);
    struct np_tls_made none;
    assert_err(np_tls_make_cert(&l, &old, &none, NULL), NEAP_ETLS);
    l.not_before = 1000000000;
    l.not_after = 1000086400;
    leaf = make(&l, &ca);
    assert_int_equal(verify(&ca, &leaf, X509_PURPOSE_SSL_SERVER, NULL),
                     X509_V_ERR_CERT_HAS_EXPIRED);
    np_tls_made_free(&leaf);
    np_tls_made_free(&old);
    np_tls_made_free(&ca);
}

static void what_cannot_sign_is_refused(void **state)
{
    const char *names[] = {"a.example"};
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    struct np_tls_made other = make_ca(NP_TLS_KEY_P256);
    struct np_tls_make_options o = {.names = names, .nnames = 1, .server = true};
    struct np_tls_made leaf = make(&o, &ca);
    struct np_tls_made none;
    struct neap_errinfo info = {0};
    struct np_tls_made mixed = {.cert = ca.cert, .key = other.key};
    assert_err(np_tls_make_cert(&o, &leaf, &none, &info), NEAP_ETLS);
    assert_string_equal(info.message, "the certificate to sign with is no authority's");
    assert_err(np_tls_make_cert(&o, &mixed, &none, &info), NEAP_ETLS);
    assert_string_equal(info.message, "the authority's key does not fit its certificate");
    struct np_tls_made rubbish = {.cert = (char[]){"x"}, .key = (char[]){"y"}};
    assert_err(np_tls_make_cert(&o, &rubbish, &none, &info), NEAP_ETLS);
    np_tls_made_free(&leaf);
    np_tls_made_free(&ca);
    np_tls_made_free(&other);
}

static void reading_names(void **state)
{
    static const struct {
        const char *name;
        int kind; /* -1: refused */
        const char *as;
    } table[] = {
        {"a", NP_TLS_NAME_DNS, "a"},
        {"A.Example.", NP_TLS_NAME_DNS, "a.example"},
        {"*.Dev.Test", NP_TLS_NAME_DNS, "*.dev.test"},
        {"_srv.a.example", NP_TLS_NAME_DNS, "_srv.a.example"},
        {"xn--bcher-kva.example", NP_TLS_NAME_DNS, "xn--bcher-kva.example"},
        {"10.1.2.3", NP_TLS_NAME_IP, "10.1.2.3"},
        {"[0:0::1]", NP_TLS_NAME_IP, "::1"},
        {"fe80:0::1", NP_TLS_NAME_IP, "fe80::1"},
        {"a@b.example", NP_TLS_NAME_EMAIL, "a@b.example"},
        {"spiffe://td.example/ns/x", NP_TLS_NAME_URI, "spiffe://td.example/ns/x"},
        {"https://a/", NP_TLS_NAME_URI, "https://a/"},
        {"", -1, NULL},
        {"*", -1, NULL},
        {"*.com", -1, NULL},
        {"a.*.com", -1, NULL},
        {"w*.example.com", -1, NULL},
        {"a..b", -1, NULL},
        {".a", -1, NULL},
        {"-a.b", -1, NULL},
        {"a b", -1, NULL},
        {"a,DNS:b", -1, NULL},
        {"b\xc3\xbc"
         "cher.example",
         -1, NULL},
        {"1.2.3", -1, NULL},
        {"256.1.1.1", -1, NULL},
        {"a@b@c", -1, NULL},
        {"@b", -1, NULL},
        {"spiffe://", -1, NULL},
        {"spiffe:td", -1, NULL},
        {"spiffe://TD/x", -1, NULL},
        {"spiffe://td:80/x", -1, NULL},
        {"spiffe://td/", -1, NULL},
        {"spiffe://td/a//b", -1, NULL},
        {"spiffe://td/a/../b", -1, NULL},
        {"spiffe://td/a?b", -1, NULL},
        {"https://a/ b", -1, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char out[256] = "";
        enum np_tls_name_kind kind;
        enum neap_err err = np_tls_read_name(table[i].name, &kind, out, sizeof out, NULL);
        if ((err == NEAP_OK) != (table[i].kind >= 0)) print_message("name: %s\n", table[i].name);
        assert_err(err, table[i].kind < 0 ? NEAP_EINVAL : NEAP_OK);
        if (err) continue;
        assert_int_equal((int)kind, table[i].kind);
        assert_string_equal(out, table[i].as);
    }
}

static void a_list_revokes_and_grows(void **state)
{
    const char *names[] = {"a.example"};
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    struct np_tls_made other = make_ca(NP_TLS_KEY_P256);
    struct np_tls_make_options o = {.names = names, .nnames = 1, .server = true};
    struct np_tls_made first = make(&o, &ca);
    struct np_tls_made second = make(&o, &ca);
    char *empty;
    char *one;
    char *two;
    size_t added = 9;
    int64_t live = np_alloc_live();
    assert_ok(np_tls_make_crl(&ca, NULL, NULL, 0, 0, &empty, &added, NULL));
    assert_int_equal(added, 0);
    assert_int_equal(verify(&ca, &first, X509_PURPOSE_SSL_SERVER, empty), X509_V_OK);
    const char *certs[] = {first.cert};
    assert_ok(np_tls_make_crl(&ca, empty, certs, 1, 0, &one, &added, NULL));
    assert_int_equal(added, 1);
    certs[0] = second.cert;
    assert_ok(np_tls_make_crl(&ca, one, certs, 1, 0, &two, NULL, NULL));
    assert_int_equal(verify(&ca, &first, X509_PURPOSE_SSL_SERVER, one), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(&ca, &second, X509_PURPOSE_SSL_SERVER, one), X509_V_OK);
    assert_int_equal(verify(&ca, &first, X509_PURPOSE_SSL_SERVER, two), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(&ca, &second, X509_PURPOSE_SSL_SERVER, two), X509_V_ERR_CERT_REVOKED);
    char *again;
    assert_ok(np_tls_make_crl(&ca, two, certs, 1, 0, &again, &added, NULL));
    assert_int_equal(added, 0);

    char *none;
    certs[0] = ca.cert;
    assert_err(np_tls_make_crl(&other, NULL, certs, 1, 0, &none, NULL, NULL), NEAP_ETLS);
    assert_err(np_tls_make_crl(&other, two, NULL, 0, 0, &none, NULL, NULL), NEAP_ETLS);
    assert_err(np_tls_make_crl(&ca, "rubbish", NULL, 0, 0, &none, NULL, NULL), NEAP_ETLS);
    np_free(empty);
    np_free(one);
    np_free(two);
    np_free(again);
    assert_no_leak(live);
    np_tls_made_free(&first);
    np_tls_made_free(&second);
    np_tls_made_free(&ca);
    np_tls_made_free(&other);
}

static void describing(void **state)
{
    const char *names[] = {"a.example", "::1", "spiffe://td/x"};
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    struct np_tls_make_options o = {.names = names,
                                    .nnames = 3,
                                    .server = true,
                                    .not_before = 1700000000,
                                    .not_after = 1700000000 + 10 * 86400};
    struct np_tls_made leaf = make(&o, &ca);
    struct np_buf b = {0};
    assert_ok(np_tls_describe(leaf.cert, 1700000000 + 86400, &b, NULL));
    assert_ok(np_buf_append(&b, "", 1));
    const char *text = np_buf_data(&b);
    assert_non_null(strstr(text, "for          a.example, ::1, spiffe://td/x\n"));
    assert_non_null(strstr(text, "until        2023-11-24 22:13:20Z (9 days left)\n"));
    assert_non_null(strstr(text, "good for     servers\n"));
    assert_non_null(strstr(text, "key          ECDSA P-256\n"));
    np_buf_clear(&b);
    assert_ok(np_tls_describe(leaf.cert, 1800000000, &b, NULL));
    assert_ok(np_buf_append(&b, "", 1));
    assert_non_null(strstr(np_buf_data(&b), "(ENDED)"));
    np_buf_clear(&b);
    assert_err(np_tls_describe("no PEM", 0, &b, NULL), NEAP_ETLS);
    assert_err(np_tls_describe("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0,
                               &b, NULL),
               NEAP_ETLS);
    np_buf_fini(&b);
    np_tls_made_free(&leaf);
    np_tls_made_free(&ca);
}

static enum neap_err all_of_it(void *arg)
{
    const char *names[] = {"a.example"};
    struct np_tls_make_options o = {.names = names, .nnames = 1, .client = true};
    struct np_tls_made leaf = {0};
    struct np_buf b = {0};
    char *crl = NULL;
    char *p12 = NULL;
    size_t n;
    enum neap_err err = np_tls_make_cert(&o, arg, &leaf, NULL);
    const char *certs[] = {leaf.cert};
    if (!err) err = np_tls_make_crl(arg, NULL, certs, 1, 0, &crl, NULL, NULL);
    if (!err) err = np_tls_describe(leaf.cert, 0, &b, NULL);
    if (!err)
        err = np_tls_make_p12(&leaf, ((struct np_tls_made *)arg)->cert, "x", "y", &p12, &n, NULL);
    np_free(crl);
    np_free(p12);
    np_buf_fini(&b);
    np_tls_made_free(&leaf);
    return err;
}

static void out_of_memory(void **state)
{
    struct np_tls_made ca = make_ca(NP_TLS_KEY_P256);
    assert_true(np_test_oom(all_of_it, &ca) >= 4);
    np_tls_made_free(&ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_kind_signs_and_is_trusted),
        cmocka_unit_test(names_are_what_they_look_like),
        cmocka_unit_test(browsers_bounds_are_kept),
        cmocka_unit_test(a_certificate_does_not_outlive_its_authority),
        cmocka_unit_test(what_cannot_sign_is_refused),
        cmocka_unit_test(reading_names),
        cmocka_unit_test(a_list_revokes_and_grows),
        cmocka_unit_test(describing),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("net.tls_make_cert", tests, NULL, NULL);
}
