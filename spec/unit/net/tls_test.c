/* TLS: who is trusted, which certificate is shown, sessions, files read anew, ends. The stream's
 * contract is held against TLS in stream_test.c. */
#include <openssl/ocsp.h>
#include <openssl/ssl.h>

#include "fixture.h"
#include "net/tls_impl.h"

/* An authority and the leaves of most tests. */
static struct test_cert ca, other_ca, leaf, wild, rsa, expired, client_cert;

static int make_certs(void **state)
{
    (void)state;
    ca = test_cert_new("Test CA", NULL, NULL, 30, false);
    other_ca = test_cert_new("Other CA", NULL, NULL, 30, false);
    leaf = test_cert_new("leaf", "DNS:a.example,IP:127.0.0.1", &ca, 30, false);
    wild = test_cert_new("wild", "DNS:*.w.example", &ca, 30, false);
    rsa = test_cert_new("rsa", "DNS:r.example", &ca, 30, true);
    expired = test_cert_new("old", "DNS:a.example", &ca, -1, false);
    client_cert = test_cert_new(
        "worker", "URI:spiffe://dom/ns/x,DNS:w1,email:a@b.example,IP:10.0.0.1", &ca, 30, false);
    return 0;
}

static int free_certs(void **state)
{
    (void)state;
    struct test_cert *all[] = {&ca, &other_ca, &leaf, &wild, &rsa, &expired, &client_cert};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_cert_free(all[i]);
    return 0;
}

static struct np_tls_cert_source source_of(const struct test_cert *c)
{
    return (struct np_tls_cert_source){.cert = c->cert_pem, .key = c->key_pem};
}

static struct np_tls_context *context(struct fix *f, struct np_tls_options o)
{
    struct np_tls_context *c = NULL;
    struct neap_errinfo info = {0};
    enum neap_err err = np_tls_context_new(&f->loop, &o, &c, &info);
    if (err) fail_msg("%s", info.message);
    return c;
}

static struct np_tls_context *server_with(struct fix *f, const struct test_cert *cert)
{
    struct np_tls_cert_source s = source_of(cert);
    return context(f, (struct np_tls_options){.certs = &s, .ncerts = 1});
}

static struct np_tls_context *trusting(struct fix *f, const struct test_cert *authority)
{
    return context(f, (struct np_tls_options){.ca = authority->cert_pem});
}

/* One connection of a client to a server; both contexts are given up when it ends. */
struct pair {
    struct end a, b; /* the client's, the server's */
    struct np_tls_context *client, *server;
};

static void begin(struct fix *f, struct pair *p, const struct np_tls_client_options *o)
{
    struct np_stream *s;
    join(f, TCP, &p->a, &p->b);
    assert_ok(np_tls_wrap_client(p->client, p->a.s, o, &end_handler, &p->a, &s));
    p->a.s = s;
    assert_ok(np_tls_wrap_server(p->server, p->b.s, 0, &end_handler, &p->b, &s));
    p->b.s = s;
}

static void shake(struct fix *f, struct pair *p, const char *host)
{
    struct np_tls_client_options o = {.host = host, .session_key = host};
    begin(f, p, &o);
    run_until(f, (p->a.opened || p->a.errors) && (p->b.opened || p->b.errors));
}

static void finish(struct fix *f, struct pair *p)
{
    np_stream_close(p->a.s);
    np_stream_close(p->b.s);
    end_finish(f, &p->a);
    end_finish(f, &p->b);
}

static void give_up(struct pair *p)
{
    np_tls_context_unref(p->client);
    np_tls_context_unref(p->server);
}

static void write_text(struct end *e, const char *text)
{
    assert_ok(np_stream_write(e->s, text, strlen(text)));
}

static struct np_tls_info info_of(struct end *e)
{
    struct np_tls_info i;
    assert_true(np_tls_get_info(e->s, &i));
    return i;
}

/* Whom a client trusts. */

static void refused(struct fix *f, const struct test_cert *shown, const struct test_cert *trusted,
                    const char *host, const char *why)
{
    struct pair p = {.server = server_with(f, shown), .client = trusting(f, trusted)};
    shake(f, &p, host);
    assert_int_equal(p.a.opened, 0);
    assert_int_equal(p.a.err, NEAP_ETLS);
    const char *said = np_stream_why(p.a.s, p.a.err);
    if (!strstr(said, why)) fail_msg("'%s' does not say '%s'", said, why);
    /* The server hears why, by an alert. */
    run_until(f, p.b.errors || p.b.opened);
    finish(f, &p);
    give_up(&p);
}

static void a_client_refuses_whom_it_does_not_trust(void **state)
{
    struct fix *f = *state;
    refused(f, &leaf, &other_ca, "a.example", "certificate verify failed");
    refused(f, &leaf, &ca, "b.example", "not for b.example");
    refused(f, &leaf, &ca, "127.0.0.2", "not for 127.0.0.2");
    refused(f, &expired, &ca, "a.example", "expired");
    refused(f, &wild, &ca, "x.y.w.example", "not for x.y.w.example");
}

static void accepted(struct fix *f, const struct test_cert *shown, const char *host)
{
    struct pair p = {.server = server_with(f, shown), .client = trusting(f, &ca)};
    shake(f, &p, host);
    assert_int_equal(p.a.opened + p.b.opened, 2);
    struct np_tls_info i = info_of(&p.a);
    assert_string_equal(i.version, "TLSv1.3");
    assert_true(i.verified && i.has_peer_cert && !i.resumed);
    finish(f, &p);
    give_up(&p);
}

static void a_client_takes_names_addresses_and_wildcards(void **state)
{
    struct fix *f = *state;
    accepted(f, &leaf, "a.example");
    accepted(f, &leaf, "A.Example");
    accepted(f, &leaf, "a.example.");
    accepted(f, &leaf, "127.0.0.1");
    accepted(f, &wild, "x.w.example");
    accepted(f, &rsa, "r.example");
}

/* Which certificate a server shows. */

static char *shown_to(struct fix *f, struct np_tls_context *server, const char *host)
{
    struct pair p = {
        .server = server,
        .client = context(f, (struct np_tls_options){.ca = ca.cert_pem, .skip_name_check = true})};
    struct np_tls_peer peer;
    shake(f, &p, host);
    char *name = NULL;
    if (p.a.opened) {
        assert_ok(np_tls_get_peer(p.a.s, &peer));
        name = np_strdup(peer.common_name);
        np_tls_peer_free(&peer);
    }
    finish(f, &p);
    np_tls_context_unref(p.client);
    return name;
}

static void shows(struct fix *f, struct np_tls_context *server, const char *host, const char *want)
{
    char *got = shown_to(f, server, host);
    if (want)
        assert_string_equal(got ? got : "nothing", want);
    else
        assert_null(got);
    np_free(got);
}

static void a_server_shows_the_certificate_for_the_name(void **state)
{
    struct fix *f = *state;
    struct np_tls_cert_source s[] = {source_of(&rsa), source_of(&leaf), source_of(&wild)};
    struct np_tls_context *server = context(f, (struct np_tls_options){.certs = s, .ncerts = 3});
    shows(f, server, "a.example", "leaf");
    shows(f, server, "A.EXAMPLE", "leaf");
    shows(f, server, "one.w.example", "wild");
    shows(f, server, "a.one.w.example", "rsa"); /* a wildcard is for one label */
    shows(f, server, "w.example", "rsa");
    shows(f, server, "r.example", "rsa");
    shows(f, server, NULL, "rsa");
    np_tls_context_unref(server);
}

/* The answer to a name comes later. */

struct asked {
    struct np_tls_naming *naming;
    char name[64];
    int n;
};

static void on_sni(void *arg, struct np_tls_naming *n, const char *name)
{
    struct asked *a = arg;
    a->naming = n;
    a->n++;
    snprintf(a->name, sizeof a->name, "%s", name);
}

static void a_name_may_be_answered_later(void **state)
{
    struct fix *f = *state;
    struct asked asked = {0};
    struct np_tls_cert_source s = source_of(&leaf);
    struct pair p = {.server = context(f, (struct np_tls_options){.certs = &s,
                                                                  .ncerts = 1,
                                                                  .on_sni = on_sni,
                                                                  .on_sni_arg = &asked}),
                     .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "x.w.example"};
    struct np_tls_context *late = server_with(f, &wild);
    begin(f, &p, &o);
    run_until(f, asked.n);
    assert_string_equal(asked.name, "x.w.example");
    run_some(f);
    assert_int_equal(p.a.opened, 0);
    np_tls_naming_answer(asked.naming, late);
    run_until(f, p.a.opened && p.b.opened);
    assert_int_equal(asked.n, 1);
    np_tls_context_unref(late);
    finish(f, &p);
    shake(f, &p, "a.example"); /* it has one for that: nobody is asked */
    assert_int_equal(asked.n, 1);
    finish(f, &p);
    give_up(&p);
}

static void a_name_that_nobody_has_is_refused(void **state)
{
    struct fix *f = *state;
    struct asked asked = {0};
    struct pair p = {
        .server = context(f, (struct np_tls_options){.on_sni = on_sni, .on_sni_arg = &asked}),
        .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "x.example"};
    begin(f, &p, &o);
    run_until(f, asked.n);
    np_tls_naming_answer(asked.naming, NULL);
    run_until(f, p.a.errors && p.b.errors);
    assert_non_null(strstr(np_stream_why(p.a.s, p.a.err), "unrecognized name"));
    finish(f, &p);
    /* The stream may have gone when the answer comes. */
    asked.n = 0;
    begin(f, &p, &o);
    run_until(f, asked.n);
    finish(f, &p);
    np_tls_naming_answer(asked.naming, p.server);
    run_some(f);
    give_up(&p);
}

/* Clients that show certificates. */

static struct np_tls_context *asking(struct fix *f, enum np_tls_verify verify, const char *crl)
{
    struct np_tls_cert_source s = source_of(&leaf);
    return context(f,
                   (struct np_tls_options){
                       .certs = &s, .ncerts = 1, .ca = ca.cert_pem, .verify = verify, .crl = crl});
}

static struct np_tls_context *showing(struct fix *f, const struct test_cert *cert)
{
    struct np_tls_cert_source s = source_of(cert);
    return context(f, (struct np_tls_options){.certs = &s, .ncerts = 1, .ca = ca.cert_pem});
}

static void a_client_is_known_by_its_certificate(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = asking(f, NP_TLS_VERIFY_REQUIRED, NULL),
                     .client = showing(f, &client_cert)};
    struct np_tls_peer peer;
    shake(f, &p, "a.example");
    run_until(f, p.b.opened);
    assert_true(info_of(&p.b).verified);
    assert_ok(np_tls_get_peer(p.b.s, &peer));
    assert_string_equal(peer.subject, "CN=worker");
    assert_string_equal(peer.issuer, "CN=Test CA");
    assert_string_equal(peer.spiffe_id, "spiffe://dom/ns/x");
    assert_int_equal(peer.nnames, 4);
    assert_string_equal(peer.names[1], "DNS:w1");
    assert_string_equal(peer.names[2], "email:a@b.example");
    assert_string_equal(peer.names[3], "IP:10.0.0.1");
    assert_int_equal(peer.not_after - peer.not_before, 60 * 86400);
    np_tls_peer_free(&peer);
    finish(f, &p);
    give_up(&p);
}

static void a_client_without_a_certificate_is_refused_where_one_is_required(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = asking(f, NP_TLS_VERIFY_REQUIRED, NULL), .client = trusting(f, &ca)};
    struct np_tls_peer peer;
    shake(f, &p, "a.example"); /* 1.3: the client is done before it is refused */
    run_until(f, p.b.errors);
    assert_int_equal(p.b.err, NEAP_ETLS);
    finish(f, &p);
    np_tls_context_unref(p.server);
    p.server = asking(f, NP_TLS_VERIFY_OPTIONAL, NULL);
    shake(f, &p, "a.example");
    run_until(f, p.b.opened);
    assert_false(info_of(&p.b).verified);
    assert_err(np_tls_get_peer(p.b.s, &peer), NEAP_ENOTFOUND);
    finish(f, &p);
    give_up(&p);
}

static char *crl_of(const struct test_cert *cert)
{
    X509_CRL *crl = X509_CRL_new();
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -3600);
    ASN1_TIME *next = X509_gmtime_adj(NULL, 86400);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca.x509));
    X509_CRL_set1_lastUpdate(crl, now);
    X509_CRL_set1_nextUpdate(crl, next);
    if (cert) {
        X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(cert->x509));
        X509_REVOKED_set_revocationDate(r, now);
        X509_CRL_add0_revoked(crl, r);
    } else {
        X509_REVOKED_free(r);
    }
    assert_true(X509_CRL_sign(crl, ca.key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_CRL(b, crl), 1);
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    X509_CRL_free(crl);
    return test_pem(b);
}

static void a_revoked_certificate_is_refused(void **state)
{
    struct fix *f = *state;
    char *none = crl_of(NULL), *it = crl_of(&client_cert);
    struct pair p = {.server = asking(f, NP_TLS_VERIFY_REQUIRED, none),
                     .client = showing(f, &client_cert)};
    shake(f, &p, "a.example");
    run_until(f, p.b.opened);
    finish(f, &p);
    np_tls_context_unref(p.server);
    p.server = asking(f, NP_TLS_VERIFY_REQUIRED, it);
    shake(f, &p, "a.example");
    run_until(f, p.b.errors);
    assert_non_null(strstr(np_stream_why(p.b.s, p.b.err), "revoked"));
    finish(f, &p);
    give_up(&p);
    test_free(none);
    test_free(it);
}

/* ALPN. */

static void both_sides_agree_on_a_protocol(void **state)
{
    struct fix *f = *state;
    static const char *const server[] = {"h2", "http/1.1"};
    static const char *const client[] = {"http/1.1", "spdy/3"};
    static const char *const strange[] = {"x"};
    struct np_tls_cert_source s = source_of(&leaf);
    struct pair p = {
        .server = context(
            f, (struct np_tls_options){.certs = &s, .ncerts = 1, .alpn = server, .nalpn = 2}),
        .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "a.example", .alpn = client, .nalpn = 2};
    begin(f, &p, &o);
    run_until(f, p.a.opened && p.b.opened);
    struct np_tls_info i = info_of(&p.b);
    assert_int_equal(i.alpn_len, 8);
    assert_memory_equal(i.alpn, "http/1.1", 8);
    finish(f, &p);
    o.alpn = strange;
    o.nalpn = 1;
    begin(f, &p, &o);
    run_until(f, p.a.errors && p.b.errors);
    assert_non_null(strstr(np_stream_why(p.a.s, p.a.err), "no application protocol"));
    finish(f, &p);
    o.nalpn = 0; /* who offers none gets none */
    begin(f, &p, &o);
    run_until(f, p.a.opened && p.b.opened);
    assert_int_equal(info_of(&p.a).alpn_len, 0);
    finish(f, &p);
    give_up(&p);
}

/* Sessions. */

/* One connection on which a ticket of 1.3 has had its way. */
static bool resumes(struct fix *f, struct pair *p)
{
    shake(f, p, "a.example");
    assert_int_equal(p->a.opened + p->b.opened, 2);
    assert_ok(np_stream_read_start(p->a.s));
    write_text(&p->b, "x");
    run_until(f, p->a.got == 1);
    assert_int_equal(info_of(&p->a).resumed, info_of(&p->b).resumed);
    bool resumed = info_of(&p->a).resumed;
    finish(f, p);
    return resumed;
}

static struct np_tls_context *version(struct fix *f, int max, bool tickets,
                                      struct np_tls_shared *shared)
{
    struct np_tls_cert_source s = source_of(&leaf);
    return context(f, (struct np_tls_options){.certs = &s,
                                              .ncerts = 1,
                                              .max_version = max,
                                              .no_tickets = !tickets,
                                              .shared = shared});
}

static void sessions_are_resumed_by_any_worker(void **state)
{
    struct fix *f = *state;
    static const int versions[] = {NP_TLS_1_2, NP_TLS_1_3};
    for (int i = 0; i < 4; i++) {
        struct np_tls_shared *shared;
        assert_ok(np_tls_shared_new(0, 0, &shared));
        struct np_tls_context *one = version(f, versions[i / 2], i % 2, shared);
        struct np_tls_context *two = version(f, versions[i / 2], i % 2, shared);
        struct pair p = {.server = one, .client = trusting(f, &ca)};
        assert_false(resumes(f, &p));
        p.server = two; /* another worker's */
        assert_true(resumes(f, &p));
        p.server = one;
        assert_true(resumes(f, &p));
        np_tls_context_unref(two);
        np_tls_shared_unref(shared);
        give_up(&p);
    }
}

static void ticket_keys_rotate(void **state)
{
    struct fix *f = *state;
    struct np_tls_shared *shared;
    assert_ok(np_tls_shared_new(0, 0, &shared));
    struct pair p = {.server = version(f, NP_TLS_1_3, true, shared), .client = trusting(f, &ca)};
    assert_false(resumes(f, &p));
    assert_ok(np_tls_shared_rotate(shared));
    assert_true(resumes(f, &p)); /* the key before still opens, and a new ticket was given */
    for (int i = 0; i < 3; i++)
        assert_ok(np_tls_shared_rotate(shared));
    assert_false(resumes(f, &p));
    np_tls_shared_unref(shared);
    give_up(&p);
}

static void a_session_is_worth_nothing_where_more_is_asked(void **state)
{
    struct fix *f = *state;
    struct np_tls_shared *shared;
    assert_ok(np_tls_shared_new(0, 0, &shared));
    struct np_tls_cert_source s = source_of(&leaf);
    struct np_tls_context *lax = version(f, 0, true, shared);
    struct np_tls_context *strict =
        context(f, (struct np_tls_options){.certs = &s,
                                           .ncerts = 1,
                                           .ca = ca.cert_pem,
                                           .verify = NP_TLS_VERIFY_REQUIRED,
                                           .shared = shared});
    struct pair p = {.server = lax, .client = trusting(f, &ca)};
    assert_false(resumes(f, &p));
    p.server = strict;
    shake(f, &p, "a.example");
    run_until(f, p.b.errors);
    assert_int_equal(p.b.opened, 0);
    finish(f, &p);
    np_tls_context_unref(lax);
    np_tls_shared_unref(shared);
    give_up(&p);
}

static void sessions_can_be_switched_off(void **state)
{
    struct fix *f = *state;
    struct np_tls_cert_source s = source_of(&leaf);
    struct pair p = {.server = context(
                         f, (struct np_tls_options){.certs = &s, .ncerts = 1, .no_sessions = true}),
                     .client = trusting(f, &ca)};
    assert_false(resumes(f, &p));
    assert_false(resumes(f, &p));
    give_up(&p);
}

/* Files. */

static void put(const char *dir, const char *name, const char *text, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static void files_are_read_anew_and_connections_go_on(void **state)
{
    struct fix *f = *state;
    char *dir = np_test_tmpdir();
    char cert[200], key[200];
    put(dir, "cert.pem", leaf.cert_pem, cert, sizeof cert);
    put(dir, "key.pem", leaf.key_pem, key, sizeof key);
    struct np_tls_cert_source s = {.cert = cert, .key = key};
    struct np_tls_context *server = context(f, (struct np_tls_options){.certs = &s, .ncerts = 1});
    struct pair p = {.server = server, .client = trusting(f, &ca)};
    struct neap_errinfo info;
    shake(f, &p, "a.example");

    put(dir, "cert.pem", rsa.cert_pem, cert, sizeof cert); /* with the key of the other */
    assert_err(np_tls_context_reload(server, &info), NEAP_ETLS);
    assert_non_null(strstr(info.message, "key"));
    assert_int_equal(np_tls_context_generation(server), 0);
    shows(f, server, "a.example", "leaf");

    put(dir, "key.pem", rsa.key_pem, key, sizeof key);
    assert_ok(np_tls_context_reload(server, &info));
    assert_int_equal(np_tls_context_generation(server), 1);
    shows(f, server, "a.example", "rsa");

    assert_ok(np_stream_read_start(p.b.s)); /* the old connection knows nothing of it */
    write_text(&p.a, "still here");
    run_until(f, p.b.got == 10);
    finish(f, &p);
    give_up(&p);
    np_test_tmpdir_remove(dir);
}

static void a_change_of_files_is_seen(void **state)
{
    struct fix *f = *state;
    char *dir = np_test_tmpdir();
    char cert[200];
    put(dir, "cert.pem", leaf.cert_pem, cert, sizeof cert);
    struct np_tls_cert_source s = {.cert = cert, .key = leaf.key_pem};
    struct np_tls_context *server = context(f, (struct np_tls_options){.certs = &s, .ncerts = 1});
    assert_ok(np_tls_context_watch(server, NP_NS_PER_MS));
    struct np_timer hold; /* the watch alone keeps no loop alive */
    np_timer_init(&hold, &f->loop, NULL);
    assert_ok(np_timer_start(&hold, 3600 * NP_NS_PER_SEC));
    char chain[16384];
    snprintf(chain, sizeof chain, "%s%s", leaf.cert_pem, ca.cert_pem);
    put(dir, "cert.pem", chain, cert, sizeof cert);
    while (np_tls_context_generation(server) == 0)
        uv_run(f->loop.uv, UV_RUN_ONCE);
    np_timer_stop(&hold);
    np_tls_context_unref(server);
    np_test_tmpdir_remove(dir);
}

static void what_does_not_fit_is_said(void **state)
{
    struct fix *f = *state;
    struct np_tls_context *c;
    struct neap_errinfo info;
    struct np_tls_cert_source s = {.cert = "/nonexistent/cert.pem"};
    struct np_tls_options o = {.certs = &s, .ncerts = 1};
    assert_err(np_tls_context_new(&f->loop, &o, &c, &info), NEAP_ENOENT);
    assert_non_null(strstr(info.message, "/nonexistent/cert.pem"));
    s = (struct np_tls_cert_source){.cert = leaf.key_pem, .key = leaf.key_pem};
    assert_err(np_tls_context_new(&f->loop, &o, &c, &info), NEAP_ETLS);
    assert_null(strstr(info.message, "PRIVATE")); /* never what stands in it */
    s = (struct np_tls_cert_source){.cert = leaf.cert_pem, .key = wild.key_pem};
    assert_err(np_tls_context_new(&f->loop, &o, &c, &info), NEAP_ETLS);
    o = (struct np_tls_options){.ciphers = "NONSENSE"};
    assert_err(np_tls_context_new(&f->loop, &o, &c, &info), NEAP_ETLS);
    assert_non_null(strstr(info.message, "NONSENSE"));
    s = source_of(&leaf);
    o = (struct np_tls_options){.certs = &s, .ncerts = 1, .verify = NP_TLS_VERIFY_REQUIRED};
    assert_err(np_tls_context_new(&f->loop, &o, &c, &info), NEAP_EINVAL);
}

/* Ends. */

static void a_connection_cut_off_is_no_end(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = server_with(f, &leaf), .client = trusting(f, &ca)};
    shake(f, &p, "a.example");
    assert_ok(np_stream_read_start(p.a.s));
    /* Somebody in between ends it: a FIN without TLS's farewell. */
    assert_ok(np_stream_shutdown(((struct np_tls_stream *)(void *)p.b.s)->under));
    run_until(f, p.a.errors || p.a.ended);
    assert_int_equal(p.a.ended, 0);
    assert_int_equal(p.a.err, NEAP_ECONNRESET);
    assert_non_null(strstr(np_stream_why(p.a.s, p.a.err), "close_notify"));
    finish(f, &p);
    np_tls_context_unref(p.client);
    p.client = context(f, (struct np_tls_options){.ca = ca.cert_pem, .allow_truncation = true});
    shake(f, &p, "a.example");
    assert_ok(np_stream_read_start(p.a.s));
    assert_ok(np_stream_shutdown(((struct np_tls_stream *)(void *)p.b.s)->under));
    run_until(f, p.a.errors || p.a.ended);
    assert_int_equal(p.a.ended, 1);
    finish(f, &p);
    give_up(&p);
}

static void a_handshake_does_not_last_for_ever(void **state)
{
    struct fix *f = *state;
    struct np_tls_context *server = server_with(f, &leaf);
    struct end a, b;
    struct np_stream *s;
    join(f, TCP, &a, &b);
    assert_ok(np_tls_wrap_server(server, b.s, NP_NS_PER_MS, &end_handler, &b, &s));
    b.s = s;
    run_until(f, b.errors);
    assert_int_equal(b.err, NEAP_ETIMEDOUT);
    end_finish(f, &a);
    end_finish(f, &b);
    np_tls_context_unref(server);
}

static void plain_http_is_told_that_this_is_https(void **state)
{
    struct fix *f = *state;
    struct np_tls_context *server = server_with(f, &leaf);
    struct end a, b;
    struct np_stream *s;
    join(f, TCP, &a, &b);
    assert_ok(np_tls_wrap_server(server, b.s, 0, &end_handler, &b, &s));
    b.s = s;
    assert_ok(np_stream_read_start(a.s));
    write_text(&a, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    run_until(f, b.errors && a.got > 0);
    assert_ok(np_buf_append(&a.in, "", 1));
    assert_non_null(strstr(np_buf_data(&a.in), "400 Bad Request"));
    end_finish(f, &a);
    end_finish(f, &b);
    np_tls_context_unref(server);
}

static void garbage_breaks_the_handshake(void **state)
{
    struct fix *f = *state;
    static const char *const junk[] = {"\x16\x03\x01\xff\xff", "hello\n",
                                       "\x15\x03\x03\x00\x02\x02\x28",
                                       "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"};
    static const size_t len[] = {5, 6, 7, 10};
    struct np_tls_context *server = server_with(f, &leaf);
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        struct end a, b;
        struct np_stream *s;
        join(f, TCP, &a, &b);
        assert_ok(np_tls_wrap_server(server, b.s, 0, &end_handler, &b, &s));
        b.s = s;
        assert_ok(np_stream_write(a.s, junk[i], len[i]));
        assert_ok(np_stream_shutdown(a.s));
        run_until(f, b.errors);
        assert_int_equal(b.opened, 0);
        end_finish(f, &a);
        end_finish(f, &b);
    }
    np_tls_context_unref(server);
}

/* More. */

static void a_key_update_goes_unnoticed(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = server_with(f, &leaf), .client = trusting(f, &ca)};
    shake(f, &p, "a.example");
    assert_ok(np_stream_read_start(p.a.s));
    assert_ok(np_stream_read_start(p.b.s));
    assert_int_equal(
        SSL_key_update(((struct np_tls_stream *)(void *)p.a.s)->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    write_text(&p.a, "one");
    run_until(f, p.b.got == 3);
    write_text(&p.b, "two");
    run_until(f, p.a.got == 3);
    write_text(&p.a, "three");
    run_until(f, p.b.got == 8);
    end_text_is(&p.b, "onethree");
    finish(f, &p);
    give_up(&p);
}

static void tls_goes_over_tls(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = server_with(f, &leaf), .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "a.example"};
    struct np_stream *s;
    shake(f, &p, "a.example");
    run_until(f, p.b.opened);
    p.a.opened = p.b.opened = 0;
    assert_ok(np_tls_wrap_client(p.client, p.a.s, &o, &end_handler, &p.a, &s));
    p.a.s = s;
    assert_ok(np_tls_wrap_server(p.server, p.b.s, 0, &end_handler, &p.b, &s));
    p.b.s = s;
    run_until(f, p.a.opened && p.b.opened);
    p.b.count_only = true;
    static char block[1 << 20];
    uint64_t sum = checksum(0, block, sizeof block);
    assert_ok(np_stream_read_start(p.b.s));
    assert_ok(np_stream_write(p.a.s, block, sizeof block));
    run_until(f, p.b.got == sizeof block);
    assert_true(p.b.sum == sum);
    finish(f, &p);
    give_up(&p);
}

static void bytes_that_were_read_ahead_begin_the_handshake(void **state)
{
    struct fix *f = *state;
    struct pair p = {.server = server_with(f, &leaf), .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "a.example"};
    struct np_stream *s;
    join(f, TCP, &p.a, &p.b);
    assert_ok(np_tls_wrap_client(p.client, p.a.s, &o, &end_handler, &p.a, &s));
    p.a.s = s;
    assert_ok(np_stream_read_start(p.b.s));
    run_until(f, p.b.got > 0); /* somebody looks at the first bytes, and gives them back */
    np_stream_read_stop(p.b.s);
    assert_ok(np_stream_unread(p.b.s, np_buf_data(&p.b.in), np_buf_len(&p.b.in)));
    assert_ok(np_tls_wrap_server(p.server, p.b.s, 0, &end_handler, &p.b, &s));
    p.b.s = s;
    run_until(f, p.a.opened && p.b.opened);
    finish(f, &p);
    give_up(&p);
}

static void a_stapled_response_reaches_the_client(void **state)
{
    struct fix *f = *state;
    char *dir = np_test_tmpdir();
    char path[200];
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, leaf.x509, ca.x509);
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, now, NULL);
    assert_int_equal(OCSP_basic_sign(basic, ca.x509, ca.key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    snprintf(path, sizeof path, "%s/ocsp.der", dir);
    BIO *b = BIO_new_file(path, "wb");
    assert_true(i2d_OCSP_RESPONSE_bio(b, r) == 1);
    BIO_free(b);
    struct np_tls_cert_source s = source_of(&leaf);
    s.ocsp = path;
    struct pair p = {.server = context(f, (struct np_tls_options){.certs = &s, .ncerts = 1}),
                     .client = trusting(f, &ca)};
    struct np_tls_client_options o = {.host = "a.example"};
    begin(f, &p, &o);
    SSL *ssl = ((struct np_tls_stream *)(void *)p.a.s)->ssl;
    SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp);
    run_until(f, p.a.opened && p.b.opened);
    const unsigned char *got = NULL;
    assert_true(SSL_get_tlsext_status_ocsp_resp(ssl, &got) > 0);
    finish(f, &p);
    give_up(&p);
    put(dir, "ocsp.der", "not one", path, sizeof path);
    struct np_tls_context *c;
    struct neap_errinfo info;
    struct np_tls_options bad = {.certs = &s, .ncerts = 1};
    assert_err(np_tls_context_new(&f->loop, &bad, &c, &info), NEAP_ETLS);
    ASN1_TIME_free(now);
    OCSP_CERTID_free(id);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(r);
    np_test_tmpdir_remove(dir);
}

static void keys_are_logged_when_asked_for(void **state)
{
    struct fix *f = *state;
    char *dir = np_test_tmpdir();
    char path[200], line[256] = "";
    snprintf(path, sizeof path, "%s/keys", dir);
    struct np_tls_cert_source s = source_of(&leaf);
    struct pair p = {
        .server = context(f, (struct np_tls_options){.certs = &s, .ncerts = 1, .key_log = path}),
        .client = trusting(f, &ca)};
    shake(f, &p, "a.example");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_non_null(strstr(line, "SECRET"));
    finish(f, &p);
    give_up(&p);
    np_test_tmpdir_remove(dir);
}

/* Memory that runs out. */

static enum neap_err make_both(void *arg)
{
    struct fix *f = arg;
    struct np_tls_cert_source s = source_of(&leaf);
    struct np_tls_options o = {.certs = &s, .ncerts = 1, .ca = ca.cert_pem};
    struct np_tls_context *c;
    enum neap_err err = np_tls_context_new(&f->loop, &o, &c, NULL);
    if (err) return err;
    err = np_tls_context_reload(c, NULL);
    np_tls_context_unref(c);
    return err;
}

static void contexts_survive_a_lack_of_memory(void **state)
{
    assert_true(np_test_oom(make_both, *state) > 5);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_client_refuses_whom_it_does_not_trust),
        T(a_client_takes_names_addresses_and_wildcards),
        T(a_server_shows_the_certificate_for_the_name),
        T(a_name_may_be_answered_later),
        T(a_name_that_nobody_has_is_refused),
        T(a_client_is_known_by_its_certificate),
        T(a_client_without_a_certificate_is_refused_where_one_is_required),
        T(a_revoked_certificate_is_refused),
        T(both_sides_agree_on_a_protocol),
        T(sessions_are_resumed_by_any_worker),
        T(ticket_keys_rotate),
        T(a_session_is_worth_nothing_where_more_is_asked),
        T(sessions_can_be_switched_off),
        T(files_are_read_anew_and_connections_go_on),
        T(a_change_of_files_is_seen),
        T(what_does_not_fit_is_said),
        T(a_connection_cut_off_is_no_end),
        T(a_handshake_does_not_last_for_ever),
        T(plain_http_is_told_that_this_is_https),
        T(garbage_breaks_the_handshake),
        T(a_key_update_goes_unnoticed),
        T(tls_goes_over_tls),
        T(bytes_that_were_read_ahead_begin_the_handshake),
        T(a_stapled_response_reaches_the_client),
        T(keys_are_logged_when_asked_for),
        T(contexts_survive_a_lack_of_memory),
    };
    return cmocka_run_group_tests_name("net.tls", tests, make_certs, free_certs);
}
