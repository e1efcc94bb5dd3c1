/* The PROXY protocol's stage: what goes on and as whom, what is refused, what waits. */
#include "http/proxied.h"
#include "site.h"

#define LINE "PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"

struct rig {
    struct fix *f;
    struct np_proxied *p;
    struct end client, server;
    int ready, left;
};

static void on_ready(void *arg, struct np_stream *s)
{
    struct rig *r = arg;
    r->ready++;
    end_take(&r->server, s);
    assert_ok(np_stream_read_start(s));
    np_loop_stop(&r->f->loop);
}

static void rig_open(struct rig *r, struct fix *f, bool required, const char *trusted)
{
    struct np_proxied_options o = NP_PROXIED_OPTIONS_INIT;
    o.required = required;
    o.timeout = 0;
    *r = (struct rig){.f = f};
    if (trusted) {
        o.trusted.everybody = false;
        assert_ok(np_cidr_list_add(&o.trusted, trusted, strlen(trusted), NULL));
    }
    assert_ok(np_proxied_new(&f->loop, &o, on_ready, r, &r->p));
    np_cidr_list_fini(&o.trusted);
}

static void rig_connect(struct rig *r)
{
    struct np_stream *a, *b;
    assert_ok(np_pipe_pair(&r->f->loop, 0, &a, &b));
    end_take(&r->client, a);
    assert_ok(np_stream_read_start(a));
    np_proxied_take(r->p, b);
}

static void rig_send(struct rig *r, const char *data, size_t n)
{
    (void)!np_stream_write(r->client.s, data, n); /* it may have been closed already */
}

static void rig_done(struct rig *r)
{
    end_finish(r->f, &r->client);
    if (r->ready) end_finish(r->f, &r->server);
    if (r->p) np_proxied_close(r->p);
}

static void assert_names(struct np_stream *s, const char *peer, const char *local)
{
    char text[NP_ADDR_TEXT_MAX];
    assert_ok(np_stream_peer(s, text, sizeof text));
    assert_string_equal(text, peer);
    assert_ok(np_stream_local(s, text, sizeof text));
    assert_string_equal(text, local);
}

static void a_header_names_the_peer_and_is_taken_off(void **state)
{
    static const char sent[] = LINE "hello";
    for (size_t cut = 1; cut < sizeof sent; cut++) {
        struct rig r;
        rig_open(&r, *state, true, NULL);
        rig_connect(&r);
        rig_send(&r, sent, cut);
        run_some(r.f);
        rig_send(&r, sent + cut, sizeof sent - 1 - cut);
        run_until(r.f, np_buf_len(&r.server.in) == 5);
        end_text_is(&r.server, "hello");
        assert_int_equal(np_proxied_waiting(r.p), 0);
        assert_names(r.server.s, "1.2.3.4:1000", "5.6.7.8:443");
        rig_send(&r, " again", 6);
        run_until(r.f, np_buf_len(&r.server.in) == 11);
        rig_done(&r);
    }
}

static void what_the_header_says_besides_stays_with_the_stream(void **state)
{
    struct rig r;
    struct np_buf b = {0};
    struct np_proxy_header h = {.version = 2, .checksum = true}, got;
    assert_ok(np_proxy_address_parse("[2001:db8::1]:5", &h.family, &h.source));
    assert_ok(np_proxy_address_parse("[::1]:443", &h.family, &h.destination));
    h.authority = (struct np_bytes){"shop.test", 9};
    assert_ok(np_proxy_write(&b, &h));
    rig_open(&r, *state, true, NULL);
    rig_connect(&r);
    rig_send(&r, np_buf_data(&b), np_buf_len(&b));
    np_buf_fini(&b);
    run_until(r.f, r.ready);
    assert_names(r.server.s, "[2001:db8::1]:5", "[::1]:443");
    assert_true(np_proxied_header(r.server.s, &got));
    assert_int_equal(got.version, 2);
    assert_memory_equal(got.authority.p, "shop.test", 9);
    assert_false(np_proxied_header(r.client.s, &got));
    rig_done(&r);
}

static void a_proxy_that_speaks_for_itself_keeps_its_address(void **state)
{
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0ping";
    static const char *const lines[] = {local, "PROXY UNKNOWN\r\nping"};
    static const size_t sizes[] = {sizeof local - 1, 19};
    for (int i = 0; i < 2; i++) {
        struct rig r;
        rig_open(&r, *state, true, NULL);
        rig_connect(&r);
        rig_send(&r, lines[i], sizes[i]);
        run_until(r.f, np_buf_len(&r.server.in) == 4);
        assert_names(r.server.s, "pipe", "pipe");
        rig_done(&r);
    }
}

/* What comes of a connection that sends this and then, perhaps, ends. */
static bool goes_on(struct fix *f, bool required, const char *trusted, const char *sent, bool end)
{
    struct rig r;
    rig_open(&r, f, required, trusted);
    rig_connect(&r);
    rig_send(&r, sent, strlen(sent));
    if (end) (void)!np_stream_shutdown(r.client.s);
    run_until(f, r.client.errors || r.client.ended || r.ready);
    bool ready = r.ready > 0;
    if (ready) {
        run_until(f, np_buf_len(&r.server.in) == strlen(sent));
        if (end) run_until(f, r.server.ended);
    }
    assert_int_equal(np_proxied_waiting(r.p), 0);
    rig_done(&r);
    return ready;
}

static void connections_without_a_header_go_on_only_where_none_is_required(void **state)
{
    assert_false(goes_on(*state, true, NULL, "GET / HTTP/1.1\r\n", false));
    assert_true(goes_on(*state, false, NULL, "GET / HTTP/1.1\r\n", false));
    assert_true(goes_on(*state, false, NULL, "P", true) == false); /* half a header, and the end */
    assert_true(goes_on(*state, false, NULL, "GET", true));
    assert_false(goes_on(*state, true, NULL, "PRO", true));
    assert_false(goes_on(*state, false, NULL, "PROXY TCP4 nonsense\r\n", false));
    assert_false(goes_on(*state, true, NULL, "PROXY TCP4 nonsense\r\n", false));
}

static void strangers_may_not_send_a_header(void **state)
{
    assert_false(goes_on(*state, true, "10.0.0.0/8", LINE, false));
    assert_false(goes_on(*state, true, "10.0.0.0/8", "GET", false));
    assert_false(goes_on(*state, false, "10.0.0.0/8", LINE, false));
    assert_true(goes_on(*state, false, "10.0.0.0/8", "GET", false));
}

static void who_says_nothing_is_given_up(void **state)
{
    struct np_proxied_options o = NP_PROXIED_OPTIONS_INIT;
    struct rig r = {.f = *state};
    o.timeout = 1;
    assert_ok(np_proxied_new(&r.f->loop, &o, on_ready, &r, &r.p));
    rig_connect(&r);
    rig_send(&r, "PROXY ", 6);
    run_until(r.f, r.client.ended || r.client.errors);
    assert_int_equal(r.ready, 0);
    rig_done(&r);
    o.required = false;
    assert_ok(np_proxied_new(&r.f->loop, &o, on_ready, &r, &r.p));
    rig_connect(&r);
    run_until(r.f, r.ready); /* nothing at all: perhaps it waits for the server to speak */
    rig_done(&r);
}

static void on_left(void *arg)
{
    struct rig *r = arg;
    r->left++;
    assert_int_equal(np_proxied_waiting(r->p), 0);
    np_proxied_close(r->p); /* may be done in here */
    r->p = NULL;
}

static void its_owner_hears_of_each_that_waits_no_more(void **state)
{
    static const char *const sent[] = {LINE, "GET"};
    for (int i = 0; i < 2; i++) {
        struct rig r;
        rig_open(&r, *state, true, NULL);
        np_proxied_on_left(r.p, on_left);
        rig_connect(&r);
        rig_send(&r, sent[i], strlen(sent[i]));
        run_until(r.f, r.left);
        assert_int_equal(r.ready, i == 0);
        rig_done(&r);
    }
}

static void no_more_wait_than_may(void **state)
{
    struct np_proxied_options o = NP_PROXIED_OPTIONS_INIT;
    struct rig r = {.f = *state};
    o.max_waiting = 0;
    assert_ok(np_proxied_new(&r.f->loop, &o, on_ready, &r, &r.p));
    rig_connect(&r);
    run_until(r.f, r.client.ended || r.client.errors);
    rig_done(&r);
}

static void closing_takes_those_that_wait(void **state)
{
    struct rig r;
    rig_open(&r, *state, true, NULL);
    rig_connect(&r);
    rig_send(&r, "PROXY", 5);
    run_some(r.f);
    assert_int_equal(np_proxied_waiting(r.p), 1);
    np_proxied_close(r.p);
    r.p = NULL;
    run_until(r.f, r.client.ended || r.client.errors);
    assert_int_equal(r.ready, 0);
    rig_done(&r);
}

/* A server that drains answers those that had come before, and does not wait for those that say
 * nothing. */
static void a_server_that_drains_reads_the_headers_under_way(void **state)
{
    static const char rest[] = "1.2.3.4 5.6.7.8 1000 443\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    struct fix *f = *state;
    struct np_proxied_options p = NP_PROXIED_OPTIONS_INIT;
    struct np_http_server_options o;
    struct site t;
    struct end client = {.s = NULL};
    np_http_server_options_init(&o);
    o.proxied = &p;
    site_open(f, &t, &o);
    assert_ok(np_http_server_listen(t.server, "127.0.0.1", 0, NULL, NULL));
    assert_ok(np_tcp_dial(&f->loop, "127.0.0.1", np_http_server_port(t.server), NULL, &end_handler,
                          &client, &client.s));
    assert_ok(np_stream_read_start(client.s));
    assert_ok(np_stream_write(client.s, "PROXY TCP4 ", 11));
    run_until(f, client.opened);
    run_some(f);
    np_http_server_close(t.server, 20 * NP_NS_PER_SEC);
    run_some(f);
    assert_int_equal(t.closed, 0);
    assert_ok(np_stream_write(client.s, rest, sizeof rest - 1));
    run_until(f, client.ended);
    assert_memory_equal(np_buf_data(&client.in), "HTTP/1.1 200 OK", 15);
    assert_int_equal(t.requests, 1);
    end_finish(f, &client);
    run_until(f, t.closed);
}

static void lost_memory_closes_the_connection(void **state)
{
    bool struck = true;
    for (uint64_t n = 1; struck; n++) {
        struct rig r;
        rig_open(&r, *state, true, NULL);
        struct np_stream *a, *b;
        assert_ok(np_pipe_pair(&r.f->loop, 0, &a, &b));
        end_take(&r.client, a);
        assert_ok(np_stream_read_start(a));
        rig_send(&r, LINE "hello", sizeof LINE + 4);
        np_alloc_fail_at(n);
        np_proxied_take(r.p, b);
        while (!r.ready && !r.client.ended && !r.client.errors)
            uv_run(r.f->loop.uv, UV_RUN_ONCE);
        struck = np_alloc_did_fail();
        np_alloc_fail_at(0);
        if (!struck) assert_int_equal(r.ready, 1);
        rig_done(&r);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_header_names_the_peer_and_is_taken_off),
        TEST(what_the_header_says_besides_stays_with_the_stream),
        TEST(a_proxy_that_speaks_for_itself_keeps_its_address),
        TEST(connections_without_a_header_go_on_only_where_none_is_required),
        TEST(strangers_may_not_send_a_header),
        TEST(who_says_nothing_is_given_up),
        TEST(its_owner_hears_of_each_that_waits_no_more),
        TEST(no_more_wait_than_may),
        TEST(closing_takes_those_that_wait),
        TEST(a_server_that_drains_reads_the_headers_under_way),
        TEST(lost_memory_closes_the_connection),
    };
    return cmocka_run_group_tests_name("http.proxied", tests, NULL, NULL);
}
