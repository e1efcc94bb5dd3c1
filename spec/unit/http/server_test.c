/* The server: answers, keep-alive, pipelining, what a handler may not say. */
#include "site.h"

static void a_request_is_answered(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/hello?x=1"));
    run_until(t.f, has(&c, "hello"));
    assert_int_equal(status_of(&c), 200);
    assert_string_equal(body_of(&c), "hello");
    assert_true(has(&c, "\r\nContent-Length: 5\r\n"));
    assert_true(has(&c, "\r\nContent-Type: text/plain\r\n"));
    assert_true(has(&c, "\r\nDate: "));
    assert_false(has(&c, "Connection:"));
    assert_false(has(&c, "Server:"));
    assert_int_equal(c.read, 1); /* one write */
    np_buf_clear(&c.in);
    send_text(&c, GET("/hello")); /* the connection is kept */
    run_until(t.f, has(&c, "hello"));
    assert_int_equal(np_http_server_connections(t.server), 1);
    assert_int_equal(t.aborts, 0);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_hundred_pipelined_requests_leave_in_order_and_in_one_write(void **state)
{
    struct site t;
    struct end c;
    char text[8192];
    int n = 0;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    for (int i = 0; i < 100; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s",
                      i % 3 == 2 ? GET("/none") : GET("/hello"));
    send_text(&c, text);
    run_until(t.f, count_of(&c, "HTTP/1.1 ") == 100);
    assert_int_equal(t.requests, 100);
    assert_int_equal(count_of(&c, "HTTP/1.1 204 No Content"), 33);
    assert_true(c.read <= 2);
    const char *at = text_of(&c);
    for (int i = 0; i < 100; i++) {
        assert_memory_equal(at, i % 3 == 2 ? "HTTP/1.1 204" : "HTTP/1.1 200", 12);
        at = strstr(at + 1, "HTTP/1.1 ");
    }
    end_finish(t.f, &c);
    site_close(&t);
}

static void pipelined_requests_wait_for_a_slow_handler(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later?a=1") GET("/hello") GET("/later?b=2") GET("/none"));
    run_until(t.f, t.nheld == 1);
    run_some(t.f);
    assert_int_equal(t.requests, 1);
    struct np_http_exchange *x = t.held[0];
    assert_memory_equal(x->head.query.p, "a=1", 3); /* still there */
    assert_memory_equal(np_http_header_get(&x->head, "host", 4).p, "a", 1);
    uint64_t generation = x->generation;
    site_text(x, 200, "first");
    assert_int_equal(t.requests, 1); /* no handler inside an answer */
    run_until(t.f, t.nheld == 2);
    assert_true(x->generation > generation);
    assert_memory_equal(t.held[1]->head.query.p, "b=2", 3);
    site_text(t.held[1], 201, "third");
    run_until(t.f, has(&c, "204 No Content"));
    const char *first = strstr(text_of(&c), "first"), *second = strstr(text_of(&c), "hello"),
               *third = strstr(text_of(&c), "third");
    assert_true(first && first < second && second < third);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_request_in_single_bytes_is_answered(void **state)
{
    struct site t;
    struct end c;
    static const char text[] = GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                             "Transfer-Encoding: chunked\r\n\r\n"
                                             "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_ok(np_stream_write(c.s, text + i, 1));
        run_some(t.f);
    }
    run_until(t.f, has(&c, "abcdefg"));
    assert_int_equal(count_of(&c, "HTTP/1.1 200 OK"), 2);
    end_finish(t.f, &c);
    site_close(&t);
}

static void streamed_answers(void **state)
{
    static const struct {
        const char *request, *head, *body;
        bool ends;
    } cases[] = {
        {GET("/pieces"), "\r\nTransfer-Encoding: chunked\r\n",
         "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n", false},
        {"GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\nConnection: close\r\n",
         "onetwothree", true},
        {"HEAD /pieces HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n", "",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site t;
        struct end c;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, cases[i].request);
        run_until(t.f, strstr(text_of(&c), "\r\n\r\n"));
        run_some(t.f);
        assert_true(has(&c, cases[i].head));
        assert_string_equal(body_of(&c), cases[i].body);
        assert_int_equal(c.ended, cases[i].ends);
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void connections_are_kept_or_closed(void **state)
{
    static const struct {
        const char *request, *line;
        bool ends;
    } cases[] = {
        {GET("/hello"), NULL, false},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Connection: close", true},
        {"GET /hello HTTP/1.0\r\n\r\n", "Connection: close", true},
        {"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive", false},
        {"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", "Content-Length: 5", false},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", NULL,
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site t;
        struct end c;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, cases[i].request);
        run_until(t.f, strstr(text_of(&c), "\r\n\r\n"));
        run_some(t.f);
        assert_int_equal(status_of(&c), 200);
        if (cases[i].line)
            assert_true(has(&c, cases[i].line));
        else
            assert_false(has(&c, "Connection"));
        assert_int_equal(c.ended, cases[i].ends);
        assert_string_equal(body_of(&c), *cases[i].request == 'H' ? "" : "hello");
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void a_connection_serves_max_requests(void **state)
{
    struct site t;
    struct end c;
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.max_requests = 2;
    o.server_name = "neap";
    site_open(*state, &t, &o);
    site_connect(&t, &c);
    send_text(&c, GET("/hello") GET("/hello") GET("/hello"));
    run_until(t.f, c.ended);
    assert_int_equal(t.requests, 2);
    assert_int_equal(count_of(&c, "\r\nServer: neap\r\n"), 2);
    assert_int_equal(count_of(&c, "Connection: close"), 1);
    end_finish(t.f, &c);
    site_close(&t);
}

/* Every one leaves the exchange as it was. */
static void what_a_handler_may_not_say(void **state)
{
    static const struct np_http_header bad[] = {
        {{"Content-Length", 14}, {"5", 1}},
        {{"transfer-encoding", 17}, {"chunked", 7}},
        {{"Connection", 10}, {"upgrade", 7}},
        {{"X", 1}, {"a\r\nSet-Cookie: b", 16}},
        {{"X", 1}, {"a\0b", 3}},
        {{"X Y", 3}, {"a", 1}},
        {{"", 0}, {"a", 1}},
    };
    static const struct np_http_header twice[] = {{{"Date", 4}, {"x", 1}}, {{"date", 4}, {"y", 1}}};
    static const struct np_http_header own[] = {{{"Date", 4}, {"today", 5}},
                                                {{"Server", 6}, {"mine", 4}},
                                                {{"Set-Cookie", 10}, {"a", 1}},
                                                {{"Set-Cookie", 10}, {"b", 1}}};
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    struct np_http_exchange *x = t.held[0];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_err(np_http_respond(x, 200, &bad[i], 1, "x", 1), NEAP_EINVAL);
        assert_err(np_http_start(x, 200, &bad[i], 1, -1), NEAP_EINVAL);
    }
    assert_err(np_http_respond(x, 200, twice, 2, "x", 1), NEAP_EINVAL);
    assert_err(np_http_respond(x, 100, NULL, 0, NULL, 0), NEAP_EINVAL);
    assert_err(np_http_respond(x, 1000, NULL, 0, NULL, 0), NEAP_EINVAL);
    assert_err(np_http_write(x, "x", 1), NEAP_EINVAL); /* not started */
    assert_false(x->started);
    assert_ok(np_http_start(x, 200, own, 4, 3));
    assert_err(np_http_start(x, 200, NULL, 0, 3), NEAP_EINVAL);
    assert_err(np_http_write(x, "abcd", 4), NEAP_EINVAL); /* more than it said */
    assert_ok(np_http_write(x, "abc", 3));
    np_http_finish(x);
    run_until(t.f, has(&c, "abc"));
    assert_int_equal(count_of(&c, "Date: "), 1);
    assert_int_equal(count_of(&c, "Server: mine"), 1);
    assert_int_equal(count_of(&c, "Set-Cookie: "), 2);
    assert_string_equal(body_of(&c), "abc");
    end_finish(t.f, &c);
    site_close(&t);
}

static void an_answer_that_is_too_short_breaks_the_connection(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    assert_ok(np_http_start(t.held[0], 200, NULL, 0, 10));
    assert_ok(np_http_write(t.held[0], "short", 5));
    np_http_finish(t.held[0]);
    run_until(t.f, c.ended);
    assert_string_equal(body_of(&c), "short");
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_handler_may_break_off(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    assert_ok(np_http_start(t.held[0], 200, NULL, 0, -1));
    assert_ok(np_http_write(t.held[0], "half", 4));
    np_http_abort(t.held[0]);
    run_until(t.f, c.ended);
    assert_true(has(&c, "half"));
    assert_false(has(&c, "0\r\n\r\n"));
    assert_int_equal(t.aborts, 0);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_large_body_leaves_whole(void **state)
{
    struct site t;
    struct end c;
    size_t n = 300000;
    char *body = test_malloc(n + 1);
    memset(body, 'b', n);
    body[n] = 0;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later") GET("/hello"));
    run_until(t.f, t.nheld == 1);
    assert_ok(np_http_respond(t.held[0], 200, NULL, 0, body, n));
    run_until(t.f, has(&c, "\r\n\r\nhello"));
    assert_true(has(&c, "Content-Length: 300000\r\n"));
    assert_true(has(&c, body));
    test_free(body);
    end_finish(t.f, &c);
    site_close(&t);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(a_hundred_pipelined_requests_leave_in_order_and_in_one_write),
        TEST(pipelined_requests_wait_for_a_slow_handler),
        TEST(a_request_in_single_bytes_is_answered),
        TEST(streamed_answers),
        TEST(connections_are_kept_or_closed),
        TEST(a_connection_serves_max_requests),
        TEST(what_a_handler_may_not_say),
        TEST(an_answer_that_is_too_short_breaks_the_connection),
        TEST(a_handler_may_break_off),
        TEST(a_large_body_leaves_whole),
    };
    return cmocka_run_group_tests_name("http.server", tests, NULL, NULL);
}
