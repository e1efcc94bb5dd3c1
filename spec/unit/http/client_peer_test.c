/* The client against a raw peer: bad answers, early ends, extra bytes, retries, timeouts. */
#include "talk.h"

static void what_a_request_looks_like(void **state)
{
    static const struct np_http_header own[] = {{{"Accept", 6}, {"*/*", 3}},
                                                {{"Connection", 10}, {"close", 5}}};
    static const struct np_http_header host[] = {{{"host", 4}, {"goods", 5}}};
    struct talk t;
    struct heard r;
    char want[256];
    talk_open(*state, &t, NULL);
    t.q.method = "POST";
    t.q.headers = own;
    t.q.nheaders = 2;
    t.q.body = "hello";
    t.q.body_len = 5;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    snprintf(want, sizeof want,
             "POST /x HTTP/1.1\r\nAccept: */*\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
             "Content-Length: 5\r\n\r\nhello",
             t.q.port);
    assert_string_equal(text_of(&t.p.c[0]), want);
    say(&t, 0, OK_X);
    run_until(t.p.f, r.ends);
    assert_int_equal(stats(&t).open, 0); /* as it was asked for */
    heard_fini(&r);
    t.q = get_from(t.q.port, "/y?z");
    t.q.headers = host;
    t.q.nheaders = 1;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 1));
    assert_string_equal(text_of(&t.p.c[1]), "GET /y?z HTTP/1.1\r\nhost: goods\r\n\r\n");
    say(&t, 1, OK_X);
    run_until(t.p.f, r.ends);
    heard_fini(&r);
    talk_close(&t);
}

static void answers(void **state)
{
    static const struct {
        const char *text, *body;
        bool end; /* the peer half-closes after it */
        bool kept;
        enum neap_err err;
        const char *why;
    } cases[] = {
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" OK_X, "x", false,
         true, NEAP_OK, ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "ab", false,
         true, NEAP_OK, ""},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", false, true, NEAP_OK, ""},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", "", false, true, NEAP_OK, ""},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", false, false, NEAP_OK, ""},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "x", false, false,
         NEAP_OK, ""},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", true, false, NEAP_OK, ""},
        {OK_X "surplus", "x", false, false, NEAP_OK, ""},
        {OK_X, "x", true, false, NEAP_OK, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "short", true, false,
         NEAP_ECONNRESET, "in the middle of its answer"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "ab", true, false,
         NEAP_ECONNRESET, "in the middle of its answer"},
        {"HTTP/1.1 20", "", true, false, NEAP_ECONNRESET, "in the middle of its answer"},
        {"", "", true, false, NEAP_ECONNRESET, "before it answered"},
        {"\r\n", "", true, false, NEAP_ECONNRESET, "before it answered"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "", true, false, NEAP_ECONNRESET, "before it answered"},
        {"SSH-2.0-OpenSSH_9.2\r\n", "", false, false, NEAP_EPROTO, "bad answer"},
        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", false, false, NEAP_EPROTO,
         "bad answer"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "", false,
         false, NEAP_EPROTO, "bad answer"},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "", false,
         false, NEAP_EPROTO, "switched protocols"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        struct heard r;
        char port[16];
        talk_open(*state, &t, NULL);
        snprintf(port, sizeof port, ":%d", t.q.port);
        call(*state, t.c, &r, &t.q);
        say(&t, 0, cases[i].text);
        if (cases[i].end) assert_ok(np_stream_shutdown(t.p.c[0].s));
        run_until(t.p.f, r.ends);
        if (r.err != cases[i].err) print_error("case %zu: %s\n", i, r.why);
        assert_err(r.err, cases[i].err);
        assert_string_equal(heard_text(&r), cases[i].body);
        if (r.err && (!strstr(r.why, cases[i].why) || !strstr(r.why, port)))
            fail_msg("case %zu: %s", i, r.why);
        run_some(t.p.f);
        assert_int_equal(stats(&t).idle, cases[i].kept);
        heard_fini(&r);
        talk_close(&t);
    }
}

static void an_idle_connection_that_is_closed_or_speaks_is_not_used_again(void **state)
{
    for (int speaks = 0; speaks < 2; speaks++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        call(*state, t.c, &r, &t.q);
        say(&t, 0, OK_X);
        run_until(t.p.f, r.ends);
        heard_fini(&r);
        assert_int_equal(stats(&t).idle, 1);
        if (speaks)
            send_text(&t.p.c[0], "HTTP/1.1 408 Too late\r\n\r\n");
        else
            np_stream_close(t.p.c[0].s);
        while (stats(&t).idle) /* nothing keeps the loop alive for it */
            np_loop_poll(&t.p.f->loop);
        call(*state, t.c, &r, &t.q);
        say(&t, 1, OK_X);
        run_until(t.p.f, r.ends);
        assert_ok(r.err);
        assert_int_equal(stats(&t).reused, 0);
        assert_int_equal(stats(&t).retried, 0);
        heard_fini(&r);
        talk_close(&t);
    }
}

static void an_idle_connection_keeps_no_loop_alive(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    call(*state, t.c, &r, &t.q);
    say(&t, 0, OK_X);
    run_until(t.p.f, r.ends);
    heard_fini(&r);
    np_stream_set_ref(t.p.c[0].s, false);
    np_listener_set_ref(t.p.l, false);
    np_loop_run(&t.p.f->loop); /* ends: nobody has anything to do */
    assert_int_equal(stats(&t).idle, 1);
    np_stream_set_ref(t.p.c[0].s, true);
    np_listener_set_ref(t.p.l, true);
    call(*state, t.c, &r, &t.q); /* and it is as good as before */
    say(&t, 0, OK_X);
    run_until(t.p.f, r.ends);
    assert_int_equal(stats(&t).reused, 1);
    heard_fini(&r);
    talk_close(&t);
}

/* The peer closes a kept connection just as the next request is on its way. */
static void a_stale_connection_is_tried_once_more(void **state)
{
    static const struct {
        const char *method;
        bool again;
    } cases[] = {{"GET", true}, {"PUT", true}, {"DELETE", true}, {"POST", false}, {"PATCH", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        call(*state, t.c, &r, &t.q);
        say(&t, 0, OK_X);
        run_until(t.p.f, r.ends);
        heard_fini(&r);
        t.q.method = cases[i].method;
        call(*state, t.c, &r, &t.q);
        run_until(t.p.f, peer_has_request(&t.p, 0));
        np_stream_close(t.p.c[0].s);
        if (cases[i].again) say(&t, 1, OK_X);
        run_until(t.p.f, r.ends);
        assert_err(r.err, cases[i].again ? NEAP_OK : NEAP_ECONNRESET);
        assert_int_equal(stats(&t).retried, cases[i].again);
        assert_int_equal(stats(&t).reused, 1);
        assert_int_equal(r.heads, cases[i].again);
        heard_fini(&r);
        talk_close(&t);
    }
}

static void a_call_is_tried_again_only_once(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    call(*state, t.c, &r, &t.q);
    say(&t, 0, OK_X);
    run_until(t.p.f, r.ends);
    heard_fini(&r);
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    np_stream_close(t.p.c[0].s);
    run_until(t.p.f, peer_has_request(&t.p, 1));
    np_stream_close(t.p.c[1].s);
    run_until(t.p.f, r.ends);
    assert_err(r.err, NEAP_ECONNRESET);
    assert_int_equal(t.p.n, 2);
    heard_fini(&r);
    talk_close(&t);
}

static void an_answer_before_the_whole_request(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    t.q.method = "POST";
    t.q.stream_body = true;
    call(*state, t.c, &r, &t.q);
    assert_ok(np_http_call_write(r.call, "some", 4));
    say(&t, 0, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    run_until(t.p.f, r.ends);
    assert_ok(r.err);
    assert_int_equal(r.status, 403);
    assert_string_equal(heard_text(&r), "no");
    assert_int_equal(stats(&t).open, 0); /* half a request stands on it */
    heard_fini(&r);
    talk_close(&t);
}

static void a_body_shorter_than_announced(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    t.q.method = "PUT";
    t.q.stream_body = true;
    t.q.content_length = 10;
    call(*state, t.c, &r, &t.q);
    assert_ok(np_http_call_write(r.call, "some", 4));
    np_http_call_finish(r.call);
    run_until(t.p.f, r.ends);
    assert_err(r.err, NEAP_EINVAL);
    heard_fini(&r);
    talk_close(&t);
}

static void timeouts(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        if (i == 0) t.q.timeout = 5 * NP_NS_PER_MS;
        if (i == 1) t.q.first_byte_timeout = 5 * NP_NS_PER_MS;
        if (i == 2) t.q.idle_timeout = 5 * NP_NS_PER_MS;
        call(*state, t.c, &r, &t.q);
        if (i == 2) say(&t, 0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        run_until(t.p.f, r.ends);
        assert_err(r.err, NEAP_ETIMEDOUT);
        assert_non_null(strstr(r.why, i == 0   ? "took too long"
                                      : i == 1 ? "did not begin"
                                               : "in the middle"));
        assert_int_equal(stats(&t).open, 0);
        heard_fini(&r);
        talk_close(&t);
    }
}

static void nobody_there(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    np_listener_close(t.p.l);
    run_until(t.p.f, t.p.closed);
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, r.ends);
    assert_err(r.err, NEAP_ECONNREFUSED);
    assert_non_null(strstr(r.why, "cannot be connected to: connection refused"));
    assert_non_null(strstr(r.why, "127.0.0.1:"));
    heard_fini(&r);
    np_http_client_close(t.c);
}

static void an_answer_that_is_too_large(void **state)
{
    struct talk t;
    struct heard r;
    struct np_http_client_options o;
    np_http_client_options_init(&o);
    o.limits.max_body = 5;
    talk_open(*state, &t, &o);
    call(*state, t.c, &r, &t.q);
    say(&t, 0, "HTTP/1.1 200 OK\r\n\r\n123456789");
    run_until(t.p.f, r.ends);
    assert_err(r.err, NEAP_ELIMIT);
    heard_fini(&r);
    talk_close(&t);
}

/* --- lost memory */

static void meek_head(struct np_http_call *c, const struct np_http_head *h)
{
}
static void meek_body(struct np_http_call *c, const char *data, size_t n)
{
}
static void meek_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    int *ends = np_http_call_arg(c);
    *ends = *ends * 100 + 1 + (int)err;
}
static const struct np_http_call_handler meek = {
    .on_head = meek_head, .on_body = meek_body, .on_end = meek_end};

static void serve_hello(struct np_http_exchange *x, void *arg)
{
    if (np_http_respond(x, 200, NULL, 0, "hello", 5)) np_http_abort(x);
}
static void serve_nothing(struct np_http_exchange *x, const char *data, size_t n)
{
}
static void serve_end(struct np_http_exchange *x, enum neap_err err)
{
}
static void serve_drain(struct np_http_exchange *x)
{
}
static void serve_closed(struct np_http_server *s, void *arg)
{
    *(bool *)arg = true;
}

static enum neap_err one_call(struct np_loop *loop, struct np_http_client *c, int port)
{
    struct np_http_request q = get_from(port, "/hello");
    struct np_http_call *out;
    int ends = 0;
    q.timeout = 5 * NP_NS_PER_SEC;
    enum neap_err err = np_http_client_call(c, &q, &meek, &ends, &out, NULL);
    if (err) return err;
    for (int i = 0; i < 100000 && !ends; i++)
        np_loop_poll(loop);
    assert_in_range(ends, 1, NEAP_ERR_COUNT); /* once */
    return ends == 1 ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err converse(void *arg)
{
    static const struct np_http_server_handler handler = {
        serve_hello, serve_nothing, serve_end, serve_drain, serve_end, serve_closed, NULL};
    struct np_loop loop;
    struct np_http_server *s = NULL;
    struct np_http_client *c = NULL;
    bool closed = false;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_http_server_new(&loop, NULL, &handler, &closed, &s);
    if (!err) err = np_http_server_listen(s, "127.0.0.1", 0, NULL, NULL);
    if (!err) err = np_http_client_new(&loop, NULL, &c);
    for (int i = 0; i < 2 && !err; i++)
        err = one_call(&loop, c, np_http_server_port(s));
    if (c) np_http_client_close(c);
    if (s) np_http_server_close(s, 0);
    for (int i = 0; i < 100000 && (loop.handles || (s && !closed)); i++)
        np_loop_poll(&loop);
    assert_int_equal(loop.handles, 0);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    assert_true(np_test_oom(converse, NULL) > 10);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_a_request_looks_like),
        TEST(answers),
        TEST(an_idle_connection_that_is_closed_or_speaks_is_not_used_again),
        TEST(an_idle_connection_keeps_no_loop_alive),
        TEST(a_stale_connection_is_tried_once_more),
        TEST(a_call_is_tried_again_only_once),
        TEST(an_answer_before_the_whole_request),
        TEST(a_body_shorter_than_announced),
        TEST(timeouts),
        TEST(nobody_there),
        TEST(an_answer_that_is_too_large),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.client_peer", tests, NULL, NULL);
}
