/* What a call's messages can be besides a head and a body: Expect and 1xx, trailers, codings; when
 * a call is sent once more; how long a connection is used. */
#include "proto/coding.h"
#include "talk.h"

static void send_body(struct talk *t, const char *body)
{
    t->q.method = "PUT";
    t->q.body = body;
    t->q.body_len = strlen(body);
}

static void end_ok(struct talk *t, struct heard *r)
{
    run_until(t->p.f, r->ends);
    assert_ok(r->err);
    heard_fini(r);
}

/* --- Expect: 100-continue */

static void a_body_waits_to_be_asked_for(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    send_body(&t, "hello");
    t.q.expect_continue = 3600 * NP_NS_PER_SEC;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    run_some(t.p.f);
    assert_non_null(strstr(text_of(&t.p.c[0]), "\r\nExpect: 100-continue\r\n"));
    assert_null(strstr(text_of(&t.p.c[0]), "hello"));
    send_text(&t.p.c[0], "HTTP/1.1 103 Early Hints\r\n\r\n");
    run_until(t.p.f, r.interim == 103);
    run_some(t.p.f);
    assert_null(strstr(text_of(&t.p.c[0]), "hello"));
    send_text(&t.p.c[0], "HTTP/1.1 100 Continue\r\n\r\n");
    run_until(t.p.f, strstr(text_of(&t.p.c[0]), "hello"));
    assert_int_equal(r.interim, 100);
    assert_int_equal(r.heads, 0);
    send_text(&t.p.c[0], OK_X);
    end_ok(&t, &r);
    assert_int_equal(stats(&t).idle, 1);
    talk_close(&t);
}

static void a_body_goes_when_nobody_asks_for_it(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    send_body(&t, "hello");
    t.q.expect_continue = 5 * NP_NS_PER_MS;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, t.p.n && has(&t.p.c[0], "hello"));
    send_text(&t.p.c[0], OK_X);
    end_ok(&t, &r);
    talk_close(&t);
}

/* The answer came first: the body is not sent, and the connection, where it is expected, not used
 * again. */
static void a_body_that_is_refused_is_not_sent(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    send_body(&t, "hello");
    t.q.expect_continue = 3600 * NP_NS_PER_SEC;
    call(*state, t.c, &r, &t.q);
    say(&t, 0, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    run_until(t.p.f, r.ends);
    assert_int_equal(r.status, 413);
    assert_int_equal(stats(&t).open, 0);
    run_some(t.p.f);
    assert_int_equal(np_buf_len(&t.p.c[0].in), 0);
    heard_fini(&r);
    talk_close(&t);
}

static void a_streamed_body_waits_as_well(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    t.q.method = "POST";
    t.q.stream_body = true;
    t.q.expect_continue = 3600 * NP_NS_PER_SEC;
    call(*state, t.c, &r, &t.q);
    run_until(t.p.f, peer_has_request(&t.p, 0));
    assert_ok(np_http_call_write(r.call, "abc", 3));
    run_some(t.p.f);
    assert_null(strstr(text_of(&t.p.c[0]), "abc"));
    send_text(&t.p.c[0], "HTTP/1.1 100 Continue\r\n\r\n");
    run_until(t.p.f, has(&t.p.c[0], "3\r\nabc\r\n"));
    assert_ok(np_http_call_write(r.call, "defg", 4));
    np_http_call_finish(r.call);
    run_until(t.p.f, has(&t.p.c[0], "4\r\ndefg\r\n0\r\n\r\n"));
    send_text(&t.p.c[0], OK_X);
    end_ok(&t, &r);
    talk_close(&t);
}

/* --- trailers, 1xx */

static void trailers_come_before_the_end(void **state)
{
    struct talk t;
    struct heard r;
    talk_open(*state, &t, NULL);
    call(*state, t.c, &r, &t.q);
    say(&t, 0,
        "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n");
    run_until(t.p.f, r.ends);
    assert_int_equal(r.interim, 103);
    assert_int_equal(r.heads, 1);
    assert_string_equal(heard_text(&r), "abc");
    assert_string_equal(r.trailer, "X-Sum=3");
    assert_int_equal(stats(&t).idle, 1);
    heard_fini(&r);
    talk_close(&t);
}

/* --- codings */

static void encode(struct np_buf *out, enum np_coding coding, const char *text, size_t n)
{
    struct np_encoder *e;
    assert_ok(np_encoder_new(coding, NULL, &e));
    assert_ok(np_encoder_write(e, text, n, NP_CODING_FINISH, out));
    np_encoder_free(e);
}

static void answer_encoded(struct talk *t, enum np_coding coding, const char *text, size_t n)
{
    struct np_buf b;
    char head[200];
    np_buf_init(&b);
    encode(&b, coding, text, n);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
             np_coding_name(coding), np_buf_len(&b));
    say(t, 0, head);
    assert_ok(np_stream_write(t->p.c[0].s, np_buf_data(&b), np_buf_len(&b)));
    np_buf_fini(&b);
}

static void answers_are_decoded(void **state)
{
    static const enum np_coding codings[] = {NP_CODING_GZIP, NP_CODING_DEFLATE, NP_CODING_BR,
                                             NP_CODING_ZSTD};
    for (size_t i = 0; i < 4; i++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        t.q.decode = true;
        call(*state, t.c, &r, &t.q);
        run_until(t.p.f, peer_has_request(&t.p, 0));
        assert_non_null(
            strstr(text_of(&t.p.c[0]), "\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"));
        answer_encoded(&t, codings[i], "hello hello", 11);
        run_until(t.p.f, r.ends);
        assert_ok(r.err);
        assert_string_equal(heard_text(&r), "hello hello");
        assert_int_equal(stats(&t).idle, 1);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* Whoever asks for a coding or a range himself gets what comes. */
static void answers_that_were_not_asked_for_are_left_alone(void **state)
{
    static const struct np_http_header own[] = {{{"accept-encoding", 15}, {"gzip", 4}}};
    static const struct np_http_header range[] = {{{"Range", 5}, {"bytes=0-1", 9}}};
    for (int i = 0; i < 3; i++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        t.q.decode = i > 0;
        if (i > 0) t.q.headers = i == 1 ? own : range;
        t.q.nheaders = i > 0;
        call(*state, t.c, &r, &t.q);
        answer_encoded(&t, NP_CODING_GZIP, "hello", 5);
        run_until(t.p.f, r.ends);
        assert_ok(r.err);
        assert_int_equal((unsigned char)np_buf_data(&r.body)[0], 0x1f);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* A little that is decoded to a lot comes piece by piece, each when the one before it was taken. */
static void decoding_waits_while_the_call_is_paused(void **state)
{
    enum { N = 1 << 20 };
    struct talk t;
    struct heard r;
    char *text = test_malloc(N);
    for (int i = 0; i < N; i++)
        text[i] = (char)('a' + i * 7 % 23 + i / 5000 % 3);
    talk_open(*state, &t, NULL);
    t.q.decode = true;
    call(*state, t.c, &r, &t.q);
    r.pause_at_body = true;
    answer_encoded(&t, NP_CODING_GZIP, text, N);
    size_t before = 0;
    for (int turns = 0; !r.ends; turns++) {
        run_until(t.p.f, r.body_bytes > before || r.ends);
        run_some(t.p.f);
        assert_true(r.body_bytes - before <= 64 << 10);
        before = r.body_bytes;
        assert_true(turns < 1000);
        if (r.call) np_http_call_pause(r.call, false);
    }
    assert_ok(r.err);
    assert_int_equal(r.body_bytes, N);
    assert_memory_equal(np_buf_data(&r.body), text, N);
    heard_fini(&r);
    talk_close(&t);
    test_free(text);
}

static void bodies_that_cannot_be_decoded(void **state)
{
    static const char *const bodies[] = {"no gzip at all", "\x1f\x8b\x08"};
    static char zeros[100000];
    struct talk t;
    struct heard r;
    for (int i = 0; i < 3; i++) {
        char answer[200];
        talk_open(*state, &t, NULL);
        t.q.decode = true;
        if (i == 2) t.q.max_decoded = 99999;
        call(*state, t.c, &r, &t.q);
        if (i == 2) {
            answer_encoded(&t, NP_CODING_GZIP, zeros, sizeof zeros);
        } else {
            snprintf(answer, sizeof answer,
                     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(bodies[i]), bodies[i]);
            say(&t, 0, answer);
        }
        run_until(t.p.f, r.ends);
        assert_err(r.err, i == 2 ? NEAP_ELIMIT : NEAP_EPROTO);
        assert_non_null(strstr(r.why, "cannot be decoded"));
        assert_int_equal(stats(&t).open, 0);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* --- once more */

static void first_call(struct talk *t)
{
    struct heard r;
    call(t->p.f, t->c, &r, &t->q);
    say(t, 0, OK_X);
    end_ok(t, &r);
}

static void who_makes_a_call_says_whether_it_may_be_sent_again(void **state)
{
    static const struct {
        const char *method;
        int idempotent;
        bool again;
    } cases[] = {{"POST", 1, true}, {"GET", -1, false}, {"POST", 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        first_call(&t);
        t.q.method = cases[i].method;
        t.q.idempotent = cases[i].idempotent;
        call(*state, t.c, &r, &t.q);
        run_until(t.p.f, peer_has_request(&t.p, 0));
        np_stream_close(t.p.c[0].s);
        if (cases[i].again) say(&t, 1, OK_X);
        run_until(t.p.f, r.ends);
        assert_err(r.err, cases[i].again ? NEAP_OK : NEAP_ECONNRESET);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* What was streamed is gone; what waits for a connection or for 100 is not. */
static void a_streamed_body_that_was_sent_is_not_sent_again(void **state)
{
    for (int expect = 0; expect < 2; expect++) {
        struct talk t;
        struct heard r;
        talk_open(*state, &t, NULL);
        first_call(&t);
        t.q.method = "PUT";
        t.q.stream_body = true;
        t.q.expect_continue = expect ? 3600 * NP_NS_PER_SEC : 0;
        call(*state, t.c, &r, &t.q);
        assert_ok(np_http_call_write(r.call, "abc", 3));
        run_until(t.p.f, peer_has_request(&t.p, 0));
        np_stream_close(t.p.c[0].s);
        if (expect) {
            run_until(t.p.f, peer_has_request(&t.p, 1));
            send_text(&t.p.c[1], "HTTP/1.1 100 Continue\r\n\r\n");
            run_until(t.p.f, has(&t.p.c[1], "3\r\nabc\r\n"));
            np_http_call_finish(r.call);
            send_text(&t.p.c[1], OK_X);
        }
        run_until(t.p.f, r.ends);
        assert_err(r.err, expect ? NEAP_OK : NEAP_ECONNRESET);
        heard_fini(&r);
        talk_close(&t);
    }
}

/* --- how long a connection is used */

static void a_connection_carries_so_many_calls(void **state)
{
    struct np_http_client_options o;
    struct talk t;
    np_http_client_options_init(&o);
    o.max_requests = 2;
    talk_open(*state, &t, &o);
    first_call(&t);
    assert_int_equal(stats(&t).idle, 1);
    first_call(&t);
    assert_int_equal(stats(&t).open, 0);
    assert_int_equal(stats(&t).origins, 0);
    talk_close(&t);
}

static void an_old_connection_is_not_kept(void **state)
{
    struct np_http_client_options o;
    struct talk t;
    np_http_client_options_init(&o);
    o.max_age = 5 * NP_NS_PER_MS;
    talk_open(*state, &t, &o);
    first_call(&t);
    run_until(t.p.f, t.p.c[0].ended || t.p.c[0].errors); /* it is closed by itself */
    assert_int_equal(stats(&t).open, 0);
    talk_close(&t);
}

/* --- lost memory */

static void meek_body(struct np_http_call *c, const char *data, size_t n)
{
    (void)c, (void)data, (void)n;
}

static void meek_end(struct np_http_call *c, enum neap_err err, const char *why)
{
    int *ends = np_http_call_arg(c);
    (void)why;
    *ends = *ends * 100 + 1 + (int)err;
}

struct far_end {
    const struct np_buf *answer;
    bool closed;
};

static void serve(struct np_http_exchange *x, void *arg)
{
    static const struct np_http_header coding = {{"Content-Encoding", 16}, {"gzip", 4}};
    const struct far_end *e = arg;
    if (np_http_respond(x, 200, &coding, 1, np_buf_data(e->answer), np_buf_len(e->answer)))
        np_http_abort(x);
}
static void serve_nothing(struct np_http_exchange *x, const char *data, size_t n)
{
    (void)x, (void)data, (void)n;
}
static void serve_end(struct np_http_exchange *x, enum neap_err err)
{
    (void)x, (void)err;
}
static void serve_drain(struct np_http_exchange *x)
{
    (void)x;
}
static void serve_closed(struct np_http_server *s, void *arg)
{
    struct far_end *e = arg;
    (void)s;
    e->closed = true;
}

/* By a proxy, which is the server itself, with a body that waits and an answer that is decoded. */
static enum neap_err one_call(struct np_loop *loop, struct np_http_client *c, int port)
{
    static const struct np_http_call_handler meek = {.on_body = meek_body, .on_end = meek_end};
    struct np_http_proxy proxy = {.host = "127.0.0.1", .port = port, .authorization = "Basic eA=="};
    struct np_http_request q = get_from(80, "/hello");
    struct np_http_call *out;
    int ends = 0;
    q.host = "far.test";
    q.proxy = &proxy;
    q.method = "PUT";
    q.body = "body";
    q.body_len = 4;
    q.expect_continue = NP_NS_PER_MS;
    q.decode = true;
    q.timeout = 5 * NP_NS_PER_SEC;
    enum neap_err err = np_http_client_call(c, &q, &meek, &ends, &out, NULL);
    if (err) return err;
    for (int i = 0; i < 1000000 && !ends; i++)
        np_loop_poll(loop);
    assert_in_range(ends, 1, NEAP_ERR_COUNT); /* once */
    return ends == 1 ? NEAP_OK : NEAP_ENOMEM;
}

static enum neap_err converse(void *arg)
{
    static const struct np_http_server_handler handler = {
        serve, serve_nothing, serve_end, serve_drain, serve_end, serve_closed, NULL};
    struct far_end far = {.answer = arg};
    struct np_loop loop;
    struct np_http_server *s = NULL;
    struct np_http_client *c = NULL;
    enum neap_err err = np_loop_init(&loop, NULL, NULL);
    if (err) return err;
    err = np_http_server_new(&loop, NULL, &handler, &far, &s);
    if (!err) err = np_http_server_listen(s, "127.0.0.1", 0, NULL, NULL);
    if (!err) err = np_http_client_new(&loop, NULL, &c);
    for (int i = 0; i < 2 && !err; i++)
        err = one_call(&loop, c, np_http_server_port(s));
    if (c) np_http_client_close(c);
    if (s) np_http_server_close(s, 0);
    for (int i = 0; i < 100000 && (loop.handles || (s && !far.closed)); i++)
        np_loop_poll(&loop);
    assert_int_equal(loop.handles, 0);
    np_loop_fini(&loop, NULL, NULL);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    struct np_buf answer;
    (void)state;
    np_buf_init(&answer);
    encode(&answer, NP_CODING_GZIP, "hello hello", 11);
    assert_true(np_test_oom(converse, &answer) > 10);
    np_buf_fini(&answer);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_body_waits_to_be_asked_for),
        TEST(a_body_goes_when_nobody_asks_for_it),
        TEST(a_body_that_is_refused_is_not_sent),
        TEST(a_streamed_body_waits_as_well),
        TEST(trailers_come_before_the_end),
        TEST(answers_are_decoded),
        TEST(answers_that_were_not_asked_for_are_left_alone),
        TEST(decoding_waits_while_the_call_is_paused),
        TEST(bodies_that_cannot_be_decoded),
        TEST(who_makes_a_call_says_whether_it_may_be_sent_again),
        TEST(a_streamed_body_that_was_sent_is_not_sent_again),
        TEST(a_connection_carries_so_many_calls),
        TEST(an_old_connection_is_not_kept),
        cmocka_unit_test(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.client_message", tests, NULL, NULL);
}
