/* The ways to an origin: TLS, proxies, tunnels; which phase took too long, and what is made of it.
 */
#include "../net/dns_server.h"
#include "net/netpolicy.h"
#include "talk.h"

/* --- TLS */

struct secure {
    struct site t;
    struct np_http_client *c;
    struct np_http_request q;
};

static void secure_open(struct fix *f, struct secure *s)
{
    struct np_http_server_options o;
    fix_make_tls(f);
    np_http_server_options_init(&o);
    o.tls = f->server;
    site_open(f, &s->t, &o);
    assert_ok(np_http_server_listen(s->t.server, "127.0.0.1", 0, NULL, NULL));
    assert_ok(np_http_client_new(&f->loop, NULL, &s->c));
    s->q = get_from(np_http_server_port(s->t.server), "/hello");
    s->q.tls = f->client;
    s->q.tls_name = "a.example";
}

static void secure_close(struct secure *s)
{
    np_http_client_close(s->c);
    site_close(&s->t);
}

static void https_is_kept_and_reused(void **state)
{
    struct secure s;
    struct np_http_client_stats stats;
    secure_open(*state, &s);
    for (int i = 0; i < 3; i++) {
        struct heard r;
        call(*state, s.c, &r, &s.q);
        run_until(s.t.f, r.ends);
        assert_ok(r.err);
        assert_string_equal(heard_text(&r), "hello");
        heard_fini(&r);
    }
    np_http_client_get_stats(s.c, &stats);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(stats.reused, 2);
    secure_close(&s);
}

static void another_name_is_not_believed(void **state)
{
    struct secure s;
    struct heard r;
    secure_open(*state, &s);
    s.q.tls_name = "b.example";
    call(*state, s.c, &r, &s.q);
    run_until(s.t.f, r.ends);
    assert_err(r.err, NEAP_ETLS);
    assert_int_equal(r.phase, NP_HTTP_TLS);
    assert_int_equal(s.t.requests, 0);
    heard_fini(&r);
    secure_close(&s);
}

/* The same host and port, but plain; another name: each has a connection of its own. */
static void ways_share_no_connection(void **state)
{
    struct talk t;
    struct heard plain, secure;
    struct np_tls_context *ctx;
    talk_open(*state, &t, NULL);
    fix_make_tls(*state);
    ctx = t.p.f->client;
    call(*state, t.c, &plain, &t.q);
    say(&t, 0, OK_X);
    run_until(t.p.f, plain.ends);
    t.q.tls = ctx;
    call(*state, t.c, &secure, &t.q);
    run_until(t.p.f, t.p.n == 2);
    np_http_call_cancel(secure.call);
    run_until(t.p.f, secure.ends);
    assert_int_equal(stats(&t).reused, 0);
    heard_fini(&plain);
    heard_fini(&secure);
    talk_close(&t);
}

/* --- proxies */

static void through(struct talk *t, struct np_http_proxy *proxy)
{
    *proxy = (struct np_http_proxy){.host = "127.0.0.1", .port = t->q.port};
    t->q.host = "far.test";
    t->q.port = 443;
    t->q.proxy = proxy;
}

static void a_plain_call_names_its_whole_url(void **state)
{
    struct talk t;
    struct heard r;
    struct np_http_proxy proxy;
    talk_open(*state, &t, NULL);
    through(&t, &proxy);
    t.q.port = 80;
    proxy.authorization = "Basic eDp5";
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    assert_string_equal(text_of(&t.p.c[0]), "GET http://far.test/x HTTP/1.1\r\nHost: far.test\r\n"
                                            "Proxy-Authorization: Basic eDp5\r\n\r\n");
    say(&t, 0, OK_X);
    run_until(t.p.f, r.ends);
    assert_ok(r.err);
    heard_fini(&r);
    talk_close(&t);
}

/* The answer to CONNECT comes byte by byte; then TLS begins. */
static void a_tunnel_is_asked_for(void **state)
{
    static const char answer[] = "HTTP/1.1 200 Fine\r\nVia: 1.1 x\r\n\r\n";
    struct talk t;
    struct heard r;
    struct np_http_proxy proxy;
    talk_open(*state, &t, NULL);
    fix_make_tls(*state);
    through(&t, &proxy);
    t.q.tls = t.p.f->client;
    proxy.authorization = "Basic eDp5";
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    assert_string_equal(text_of(&t.p.c[0]),
                        "CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n"
                        "Proxy-Authorization: Basic eDp5\r\n\r\n");
    np_buf_clear(&t.p.c[0].in);
    for (size_t i = 0; i < sizeof answer - 1; i++) {
        assert_int_equal(np_http_call_phase(r.call), NP_HTTP_PROXY);
        assert_ok(np_stream_write(t.p.c[0].s, answer + i, 1));
        run_some(t.p.f);
    }
    run_until(t.p.f, np_buf_len(&t.p.c[0].in) > 5);
    assert_int_equal(np_buf_data(&t.p.c[0].in)[0], 22); /* a handshake record */
    assert_int_equal(np_http_call_phase(r.call), NP_HTTP_TLS);
    np_stream_close(t.p.c[0].s);
    run_until(t.p.f, r.ends);
    assert_int_equal(r.phase, NP_HTTP_TLS);
    assert_int_not_equal(r.err, NEAP_OK);
    heard_fini(&r);
    talk_close(&t);
}

static void what_a_proxy_can_answer(void **state)
{
    static const struct {
        const char *answer;
        enum neap_err err;
        const char *why;
    } cases[] = {
        {"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", NEAP_EPROXY, "407 Who are you"},
        {"HTTP/1.1 502 No\r\n\r\n", NEAP_EPROXY, "502"},
        {"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", NEAP_EPROXY, "302"},
        {"SSH-2.0-x\r\n", NEAP_EPROTO, "bad answer"},
        {"", NEAP_ECONNRESET, "closed the connection"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        struct heard r;
        struct np_http_proxy proxy;
        talk_open(*state, &t, NULL);
        fix_make_tls(*state);
        through(&t, &proxy);
        t.q.tls = t.p.f->client;
        call(*state, t.c, &r, &t.q);
        run_until(t.p.f, peer_has_request(&t.p, 0));
        if (*cases[i].answer)
            send_text(&t.p.c[0], cases[i].answer);
        else
            assert_ok(np_stream_shutdown(t.p.c[0].s));
        run_until(t.p.f, r.ends);
        assert_err(r.err, cases[i].err);
        assert_int_equal(r.phase, NP_HTTP_PROXY);
        assert_non_null(strstr(r.why, cases[i].why));
        assert_int_equal(stats(&t).open, 0);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* A proxy is no way around a policy: both the proxy and what lies behind it must be allowed. */
static void a_policy_holds_behind_a_proxy(void **state)
{
    static const char *const rules[] = {"127.0.0.1:*", "far.test:443", "127.0.0.1:*,far.test:443"};
    for (int i = 0; i < 3; i++) {
        struct talk t;
        struct heard r = {0};
        struct np_http_proxy proxy;
        struct np_netpolicy *policy;
        struct neap_errinfo info = {0};
        talk_open(*state, &t, NULL);
        fix_make_tls(*state);
        through(&t, &proxy);
        t.q.tls = t.p.f->client;
        assert_ok(np_netpolicy_new(rules[i], false, &policy, NULL));
        t.p.f->loop.policy = policy;
        r.loop = &t.p.f->loop;
        enum neap_err err = np_http_client_call(t.c, &t.q, &heard_handler, &r, &r.call, &info);
        assert_err(err, i < 2 ? NEAP_EACCES : NEAP_OK);
        if (!err) {
            np_http_call_cancel(r.call);
            run_until(t.p.f, r.ends);
            heard_fini(&r);
        }
        if (err) assert_int_equal(stats(&t).origins, 0);
        t.p.f->loop.policy = NULL;
        np_netpolicy_free(policy);
        talk_close(&t);
    }
}

/* --- phases */

static void each_phase_has_its_bound(void **state)
{
    static const struct dns_record names[] = {{"silent.test", 0, NULL, 0}, {NULL, 0, NULL, 0}};
    static const char *const bounds[] = {"dns", "proxy", "tls", "first_byte", "idle", "total"};
    static const enum np_http_phase phases[] = {NP_HTTP_DNS,  NP_HTTP_PROXY,
                                                NP_HTTP_TLS,  NP_HTTP_FIRST_BYTE,
                                                NP_HTTP_BODY, NP_HTTP_FIRST_BYTE};
    struct dns_server dns;
    struct fix *f = *state;
    dns_server_start(f, &dns, names);
    fix_make_tls(f);
    for (int i = 0; i < 6; i++) {
        struct talk t;
        struct heard r;
        struct np_http_proxy proxy;
        talk_open(f, &t, NULL);
        if (i == 0) t.q.host = "silent.test";
        if (i == 1) through(&t, &proxy);
        if (i == 1 || i == 2) t.q.tls = f->client;
        t.q.dns_timeout = t.q.tls_timeout = 5 * NP_NS_PER_MS;
        if (i == 3) t.q.first_byte_timeout = 5 * NP_NS_PER_MS;
        if (i == 4) t.q.idle_timeout = 5 * NP_NS_PER_MS;
        if (i == 5) t.q.timeout = 20 * NP_NS_PER_MS;
        call(f, t.c, &r, &t.q);
        if (i == 4) say(&t, 0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        run_until(f, r.ends);
        assert_err(r.err, NEAP_ETIMEDOUT);
        assert_string_equal(r.bound, bounds[i]);
        if (i < 5) assert_int_equal(r.phase, phases[i]);
        assert_int_equal(stats(&t).open, 0);
        heard_fini(&r);
        talk_close(&t);
    }
    dns_server_stop(f, &dns);
}

static void waiting_for_a_connection_has_a_bound(void **state)
{
    struct np_http_client_options o;
    struct talk t;
    struct heard a, b;
    np_http_client_options_init(&o);
    o.max_per_origin = 1;
    o.wait_timeout = 5 * NP_NS_PER_MS;
    talk_open(*state, &t, &o);
    call(*state, t.c, &a, &t.q);
    call(*state, t.c, &b, &t.q);
    run_until(t.p.f, b.ends);
    assert_err(b.err, NEAP_ETIMEDOUT);
    assert_int_equal(b.phase, NP_HTTP_WAIT);
    assert_string_equal(b.bound, "wait");
    assert_int_equal(stats(&t).waiting, 0);
    say(&t, 0, OK_X);
    run_until(t.p.f, a.ends);
    assert_ok(a.err);
    heard_fini(&a);
    heard_fini(&b);
    talk_close(&t);
}

/* A peer that does not read what it is sent. */
static void a_body_that_is_not_taken_has_a_bound(void **state)
{
    static char piece[1 << 16];
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    t.q.method = "POST";
    t.q.stream_body = true;
    t.q.idle_timeout = 20 * NP_NS_PER_MS;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    np_stream_read_stop(t.p.c[0].s);
    while (np_http_call_writable(r.call))
        assert_ok(np_http_call_write(r.call, piece, sizeof piece));
    run_until(t.p.f, r.ends);
    assert_err(r.err, NEAP_ETIMEDOUT);
    assert_int_equal(r.phase, NP_HTTP_SEND);
    assert_string_equal(r.bound, "idle");
    heard_fini(&r);
    talk_close(&t);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(https_is_kept_and_reused),
        TEST(another_name_is_not_believed),
        TEST(ways_share_no_connection),
        TEST(a_plain_call_names_its_whole_url),
        TEST(a_tunnel_is_asked_for),
        TEST(what_a_proxy_can_answer),
        TEST(a_policy_holds_behind_a_proxy),
        TEST(each_phase_has_its_bound),
        TEST(waiting_for_a_connection_has_a_bound),
        TEST(a_body_that_is_not_taken_has_a_bound),
    };
    return cmocka_run_group_tests_name("http.client_way", tests, NULL, NULL);
}
