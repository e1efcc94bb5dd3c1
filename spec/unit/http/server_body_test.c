/* The server: request bodies, Expect, refusals, timeouts, and clients that leave. */
#include "site.h"

#define POST(path, more) "POST " path " HTTP/1.1\r\nHost: a\r\n" more "\r\n"

static void bodies_reach_the_handler(void **state)
{
    static const char *const cases[] = {
        POST("/echo", "Content-Length: 5\r\n") "hello",
        POST("/echo", "Transfer-Encoding: chunked\r\n") "2\r\nhe\r\n3\r\nllo\r\n0\r\nT: x\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site t;
        struct end c;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, cases[i]);
        send_text(&c, GET("/none"));
        run_until(t.f, has(&c, "204 No Content"));
        assert_int_equal(status_of(&c), 200);
        assert_true(has(&c, "\r\n\r\nhelloHTTP/1.1 204"));
        assert_int_equal(t.bodies, 1);
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void a_request_without_a_body_ends_its_body_at_once(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/count"));
    run_until(t.f, status_of(&c) == 200);
    assert_string_equal(body_of(&c), "0");
    assert_int_equal(t.bodies, 1);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_client_that_expects_100_gets_it_when_the_body_is_wanted(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, POST("/echo", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    run_until(t.f, has(&c, "HTTP/1.1 100 Continue\r\n\r\n"));
    assert_int_equal(t.bodies, 0);
    np_buf_clear(&c.in);
    send_text(&c, "hello");
    run_until(t.f, status_of(&c) == 200);
    assert_string_equal(body_of(&c), "hello");
    np_buf_clear(&c.in);
    /* The handler that does not want it: an answer at once, and no way to go on. */
    send_text(&c, POST("/ignore", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    run_until(t.f, c.ended);
    assert_int_equal(status_of(&c), 200);
    assert_true(has(&c, "Connection: close"));
    assert_false(has(&c, "100 Continue"));
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_body_nobody_wants_is_thrown_away(void **state)
{
    struct site t;
    struct end c;
    char *rest = test_calloc(1, 60001);
    memset(rest, 'x', 60000);
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, POST("/ignore", "Content-Length: 60000\r\n"));
    run_until(t.f, has(&c, "ignored"));
    assert_false(has(&c, "Connection: close"));
    send_text(&c, rest);
    send_text(&c, GET("/hello"));
    run_until(t.f, has(&c, "hello"));
    np_buf_clear(&c.in);
    send_text(&c, POST("/ignore", "Content-Length: 100000\r\n")); /* too much to wait for */
    run_until(t.f, c.ended);
    assert_true(has(&c, "ignored"));
    assert_true(has(&c, "Connection: close"));
    end_finish(t.f, &c);
    site_connect(&t, &c);
    send_text(&c, POST("/ignore", "Transfer-Encoding: chunked\r\n") "1d4c0\r\n");
    run_until(t.f, has(&c, "ignored"));
    assert_false(has(&c, "Connection: close")); /* it could not know */
    send_text(&c, rest);
    run_some(t.f);
    assert_int_equal(c.ended, 0);
    send_text(&c, rest);
    run_until(t.f, c.ended);
    test_free(rest);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_late_answer_throws_the_body_away_and_goes_on(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, POST("/later", "Content-Length: 5\r\n") "hello" GET("/hello"));
    run_until(t.f, t.nheld == 1);
    run_some(t.f);
    assert_false(t.held[0]->body_complete);
    site_text(t.held[0], 200, "late");
    run_until(t.f, has(&c, "\r\n\r\nhello"));
    assert_int_equal(t.bodies, 0);
    assert_int_equal(t.requests, 2);
    end_finish(t.f, &c);
    site_close(&t);
}

static void a_stopped_body_holds_the_client_back(void **state)
{
    struct site t;
    struct end c;
    char piece[8192];
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.limits.max_body = UINT64_MAX;
    memset(piece, 'x', sizeof piece);
    site_open(*state, &t, &o);
    site_connect(&t, &c);
    send_text(&c, POST("/stopped", "Content-Length: 819200\r\n"));
    for (int i = 0; i < 100; i++)
        assert_ok(np_stream_write(c.s, piece, sizeof piece));
    for (int i = 0; i < 20; i++)
        run_some(t.f);
    assert_true(t.body_bytes > 0 && t.body_bytes <= NP_READ_BUF_SIZE);
    assert_true(np_stream_queued(c.s) > 400000); /* most of it is the client's still */
    site_close(&t);
    assert_int_equal(t.aborts, 1);
    assert_err(t.body_err, NEAP_ECLOSED);
    end_finish(*state, &c);
}

/* What the server answers by itself; each closes the connection. */
static void refusals(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"NONSENSE\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
        {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {POST("/echo", "Content-Length: 2000000\r\n"), 413},
        {POST("/echo", "Transfer-Encoding: chunked\r\n") "200000\r\n", 413},
        {POST("/echo", "Transfer-Encoding: chunked\r\n") "zz\r\n", 400},
        {POST("/echo", "Transfer-Encoding: gzip\r\n"), 501},
        {POST("/echo", "Content-Length: 5\r\nExpect: magic\r\n"), 417},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site t;
        struct end c;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, GET("/hello")); /* what came before is answered */
        send_text(&c, cases[i].text);
        run_until(t.f, c.ended);
        const char *second = strstr(text_of(&c), "helloHTTP/1.1 ");
        assert_non_null(second);
        assert_int_equal(atoi(second + 14), cases[i].status);
        assert_true(has(&c, "Connection: close\r\n"));
        assert_int_equal(count_of(&c, "HTTP/1.1 "), 2);
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void long_heads_are_refused(void **state)
{
    static const struct {
        const char *before;
        int status;
    } cases[] = {{"GET /", 414}, {"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431}};
    for (size_t i = 0; i < 2; i++) {
        struct site t;
        struct end c;
        char many[20001];
        memset(many, 'a', 20000);
        many[20000] = 0;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, cases[i].before);
        send_text(&c, many);
        run_until(t.f, c.ended);
        assert_int_equal(status_of(&c), cases[i].status);
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void the_handler_may_answer_a_body_that_failed(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    t.answer_failed_body = true;
    site_connect(&t, &c);
    send_text(&c, POST("/count", "Transfer-Encoding: chunked\r\n") "200000\r\n");
    run_until(t.f, c.ended);
    assert_int_equal(status_of(&c), 422);
    assert_true(has(&c, "Connection: close"));
    assert_err(t.body_err, NEAP_ELIMIT);
    assert_int_equal(t.aborts, 0);
    end_finish(t.f, &c);
    site_close(&t);
}

/* The server's 413 ends the exchange: the handler hears that its body failed, and that it is over.
 */
static void a_failed_body_ends_the_exchange(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, POST("/count", "Transfer-Encoding: chunked\r\n") "200000\r\n");
    run_until(t.f, c.ended);
    assert_int_equal(status_of(&c), 413);
    assert_int_equal(t.bodies, 1);
    assert_int_equal(t.aborts, 1);
    assert_err(t.abort_why, NEAP_ELIMIT);
    end_finish(t.f, &c);
    site_close(&t);
}

static void slow_clients_get_408(void **state)
{
    static const char *const cases[] = {
        "GET /hel",
        "GET /hello HTTP/1.1\r\nHost: a\r\n",
        POST("/count", "Content-Length: 5\r\n") "hel",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site t;
        struct end c;
        struct np_http_server_options o;
        np_http_server_options_init(&o);
        o.header_timeout = o.body_timeout = 5 * NP_NS_PER_MS;
        site_open(*state, &t, &o);
        site_connect(&t, &c);
        send_text(&c, GET("/none"));
        send_text(&c, cases[i]);
        run_until(t.f, c.ended);
        assert_true(has(&c, "HTTP/1.1 408 Request Timeout"));
        if (i == 2) assert_err(t.body_err, NEAP_ETIMEDOUT);
        end_finish(t.f, &c);
        site_close(&t);
    }
}

static void idle_connections_are_closed(void **state)
{
    struct site t;
    struct end c, d;
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.keep_alive_timeout = 5 * NP_NS_PER_MS;
    site_open(*state, &t, &o);
    site_connect(&t, &c);
    site_connect(&t, &d); /* says nothing at all */
    send_text(&c, GET("/hello"));
    run_until(t.f, c.ended && d.ended);
    assert_true(has(&c, "hello"));
    assert_int_equal(np_buf_len(&d.in), 0);
    end_finish(t.f, &c);
    end_finish(t.f, &d);
    site_close(&t);
}

static void a_client_that_leaves_aborts_its_request(void **state)
{
    for (int half = 0; half < 2; half++) {
        struct site t;
        struct end c;
        site_open(*state, &t, NULL);
        site_connect(&t, &c);
        send_text(&c, GET("/later"));
        run_until(t.f, t.nheld == 1);
        if (half)
            assert_ok(np_stream_shutdown(c.s));
        else
            np_stream_close(c.s);
        run_until(t.f, t.aborts == 1);
        assert_err(t.abort_why, NEAP_ECONNRESET);
        end_finish(t.f, &c);
        run_until(t.f, np_http_server_connections(t.server) == 0);
        site_close(&t);
    }
}

static void a_half_closed_client_may_be_answered(void **state)
{
    struct site t;
    struct end c;
    struct np_http_server_options o;
    np_http_server_options_init(&o);
    o.abort_on_end = false;
    site_open(*state, &t, &o);
    site_connect(&t, &c);
    send_text(&c, GET("/later") GET("/hello") "GET /half");
    assert_ok(np_stream_shutdown(c.s));
    run_until(t.f, t.nheld == 1);
    run_some(t.f);
    assert_int_equal(t.aborts, 0);
    site_text(t.held[0], 200, "at last");
    run_until(t.f, c.ended);
    assert_true(has(&c, "at last"));
    assert_true(has(&c, "hello"));
    assert_true(has(&c, "HTTP/1.1 400 Bad Request"));
    end_finish(t.f, &c);
    site_close(&t);
}

static void an_answer_given_at_once_reaches_a_client_that_said_its_last(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/hello") GET("/hello"));
    assert_ok(np_stream_shutdown(c.s));
    run_until(t.f, c.ended);
    assert_int_equal(count_of(&c, "\r\n\r\nhello"), 2);
    assert_int_equal(t.aborts, 0);
    end_finish(t.f, &c);
    site_close(&t);
}

/* 50 MB to a client that reads slowly: what waits here stays small. */
static void a_streamed_answer_is_held_back(void **state)
{
    enum { PIECE = 50000, PIECES = 1000 };
    struct site t;
    struct end c;
    static char piece[PIECE];
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    c.count_only = true;
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    struct np_http_exchange *x = t.held[0];
    assert_ok(np_http_start(x, 200, NULL, 0, (int64_t)PIECE * PIECES));
    int sent = 0, waits = 0;
    while (sent < PIECES) {
        while (sent < PIECES && np_http_writable(x)) {
            assert_ok(np_http_write(x, piece, PIECE));
            sent++;
        }
        if (sent == PIECES) break;
        if (waits == 0) { /* nobody reads: nothing moves, nothing piles up */
            np_stream_read_stop(c.s);
            run_some(t.f);
            assert_true((size_t)sent * PIECE < c.got + 400000);
            assert_ok(np_stream_read_start(c.s));
        }
        int drains = t.drains;
        waits++;
        run_until(t.f, t.drains > drains);
    }
    assert_true(waits > 100);
    np_http_finish(x);
    run_until(t.f, c.got > (size_t)PIECE * PIECES);
    end_finish(t.f, &c);
    site_close(&t);
}

/* A handler that does not look at np_http_writable is stopped by the stream's bound. */
static void a_writer_that_never_waits_meets_a_limit(void **state)
{
    struct site t;
    struct end c;
    static char piece[1 << 20];
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    send_text(&c, GET("/later"));
    run_until(t.f, t.nheld == 1);
    assert_ok(np_http_start(t.held[0], 200, NULL, 0, -1));
    int n = 0;
    enum neap_err err = NEAP_OK;
    for (; n < 200 && !err; n++)
        err = np_http_write(t.held[0], piece, n % 2 ? sizeof piece : 1000);
    assert_err(err, NEAP_ELIMIT);
    for (n = 0, err = NEAP_OK; n < 10000 && !err; n++) /* nor by small pieces */
        err = np_http_write(t.held[0], piece, 8000);
    assert_err(err, NEAP_ELIMIT);
    run_some(t.f);
    assert_int_equal(t.aborts, 0); /* what to do is the handler's affair */
    np_http_abort(t.held[0]);
    end_finish(t.f, &c);
    site_close(&t);
}

/* Requests without end from a client that reads no answer. */
static void answers_nobody_reads_stop_the_parsing(void **state)
{
    struct site t;
    struct end c;
    site_open(*state, &t, NULL);
    site_connect(&t, &c);
    np_stream_read_stop(c.s);
    for (int i = 0; i < 20000; i++)
        send_text(&c, GET("/hello"));
    for (int i = 0; i < 200; i++)
        np_loop_poll(&t.f->loop);
    int served = t.requests;
    assert_in_range(served, 100, 10000);
    for (int i = 0; i < 50; i++)
        np_loop_poll(&t.f->loop);
    assert_int_equal(t.requests, served);
    c.count_only = true;
    assert_ok(np_stream_read_start(c.s));
    run_until(t.f, t.requests == 20000);
    end_finish(t.f, &c);
    site_close(&t);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bodies_reach_the_handler),
        TEST(a_request_without_a_body_ends_its_body_at_once),
        TEST(a_client_that_expects_100_gets_it_when_the_body_is_wanted),
        TEST(a_body_nobody_wants_is_thrown_away),
        TEST(a_late_answer_throws_the_body_away_and_goes_on),
        TEST(a_stopped_body_holds_the_client_back),
        TEST(refusals),
        TEST(long_heads_are_refused),
        TEST(the_handler_may_answer_a_body_that_failed),
        TEST(a_failed_body_ends_the_exchange),
        TEST(slow_clients_get_408),
        TEST(idle_connections_are_closed),
        TEST(a_client_that_leaves_aborts_its_request),
        TEST(a_half_closed_client_may_be_answered),
        TEST(an_answer_given_at_once_reaches_a_client_that_said_its_last),
        TEST(a_streamed_answer_is_held_back),
        TEST(a_writer_that_never_waits_meets_a_limit),
        TEST(answers_nobody_reads_stop_the_parsing),
    };
    return cmocka_run_group_tests_name("http.server_body", tests, NULL, NULL);
}
