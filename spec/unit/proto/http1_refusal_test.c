/* What the parser refuses, and with which status: malformed requests, limits, bad responses. Each
 * is fed whole and byte by byte. */
#include "http1_rig.h"

#define H "Host: a\r\n"
#define STR(s) s, sizeof s - 1

static const struct {
    const char *text;
    size_t n;
    int status;
} requests[] = {
    {STR("NONSENSE\r\n\r\n"), 400},
    {STR("\x16\x03\x01\x02"), 400}, /* TLS on a plain port */
    {STR("GET / HTTP/1.1\n" H "\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "\rX"), 400},
    {STR("\nGET / HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"), 400},
    {STR(" GET / HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET  / HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET /  HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET / HTTP/1.1 \r\n" H "\r\n"), 400},
    {STR("GET /\r\n" H "\r\n"), 400},
    {STR("GET HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET x HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET * HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET /a#b HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET /a\tb HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "HOST: b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n X: folded\r\n" H "\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X: y\r\n folded\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X: y\r\n\tfolded\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X : y\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H ": y\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "no colon\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X(y): z\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" H "X: a\x01"
         "b\r\n\r\n"),
     400},
    {STR("GET / HTTP/1.1\r\n" H "X: a\x7f"
         "b\r\n\r\n"),
     400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nx"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 18446744073709551615\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
         "\r\n"),
     400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n"), 501},
    {STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"), 501},
    {STR("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("CONNECT a:1 HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n"), 400},
    {STR("CONNECT a HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("CONNECT /a HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("CONNECT a:0 HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("CONNECT a:65536 HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("CONNECT b:1 HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("CONNECT a:1 HTTP/1.1\r\nHost: a:2\r\n\r\n"), 400},
    {STR("GET http://b/ HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET http://a:81/ HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n"), 400},
    {STR("GET http://u@a/ HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET http://a:x/ HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET http:///x HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: :80\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1\r\nExpect: the-worst\r\n\r\nx"), 417},
    {STR("BREW /pot HTTP/1.1\r\n" H "\r\n"), 501},
    {STR("get / HTTP/1.1\r\n" H "\r\n"), 501},
    {STR("G@T / HTTP/1.1\r\n" H "\r\n"), 400},
    {STR("GET / HTTP/2.0\r\n" H "\r\n"), 505},
    {STR("GET / HTTP/1.9\r\n" H "\r\n"), 505},
    {STR("GET / HTTP/0.9\r\n" H "\r\n"), 505},
    {STR("GET / HTTP/x.1\r\n" H "\r\n"), 400},
    {STR("GET / HTTQ/1.1\r\n" H "\r\n"), 400},
    {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
#define CHUNKED "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
    {STR(CHUNKED "x\r\n"), 400},
    {STR(CHUNKED "-1\r\n"), 400},
    {STR(CHUNKED " 1\r\na\r\n"), 400},
    {STR(CHUNKED "1\na\r\n"), 400},
    {STR(CHUNKED "1\ra\r\n"), 400},
    {STR(CHUNKED "1\r\nab\r\n"), 400},
    {STR(CHUNKED "1 \r\na\r\n"), 400},
    {STR(CHUNKED "0x1\r\na\r\n"), 400},
    {STR(CHUNKED "ffffffffffffffff1\r\n"), 400},
    {STR(CHUNKED "1;\x01\r\na\r\n"), 400},
    {STR(CHUNKED "0\r\nX: y\n\r\n"), 400},
    {STR(CHUNKED "0\r\n folded: y\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\n\rX"), 400},
    {STR(CHUNKED "ffffffffff\r\n"), 413},
    {STR(CHUNKED "\r\n"), 400},
    {STR(CHUNKED ";a\r\n"), 400},
    {STR(CHUNKED "10000000000000000\r\n"), 400},
    {STR(CHUNKED "1;\r\na\r\n"), 400},
    {STR(CHUNKED "1;a=\r\na\r\n"), 400},
    {STR(CHUNKED "1;a \r\na\r\n"), 400},
    {STR(CHUNKED "1;a b\r\na\r\n"), 400},
    {STR(CHUNKED "1;=b\r\na\r\n"), 400},
    {STR(CHUNKED "1;a=\"b\r\n\"\r\na\r\n"), 400},
    {STR(CHUNKED "1;a=\"b\n\"\r\na\r\n"), 400},
    {STR(CHUNKED "1;a=\"b\"c\r\na\r\n"), 400},
    {STR(CHUNKED "1;a\na\r\n"), 400},
    {STR(CHUNKED "1;a\ra\r\n"), 400},
    {STR(CHUNKED "1\r\na\n0\r\n\r\n"), 400},
    {STR(CHUNKED "1\r\na\r0\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nX : y\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nno colon\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\n: y\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nX: a\0b\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nContent-Length: 5\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\ntransfer-encoding: chunked\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nHost: b\r\n\r\n"), 400},
    {STR(CHUNKED "0\r\nAuthorization: b\r\n\r\n"), 400},
    {STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1048577\r\n\r\n"), 413},
};

static void check(struct rig *r, enum neap_err err, int status, const char *text, size_t step)
{
    if (err == NEAP_OK || r->p.status != status)
        fail_msg("%s (step %zu): %s, %d %s, wanted %d", text, step, neap_err_name(err), r->p.status,
                 r->p.why ? r->p.why : "", status);
    assert_int_equal(r->p.state, NP_HTTP1_FAILED);
    assert_non_null(r->p.why);
}

static void malformed_requests(void **state)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        for (size_t step = 0; step < 4; step++) {
            struct rig r;
            rig_init(&r, NP_HTTP1_REQUEST, NULL);
            enum neap_err err = rig_feed(&r, requests[i].text, requests[i].n, step);
            check(&r, err, requests[i].status, requests[i].text, step);
            assert_null(strstr(rig_text(&r), "end"));
            rig_fini(&r);
        }
    }
}

/* Feeds `prefix`, then `fill` until it is refused. */
static int flood(const char *prefix, const char *fill, size_t step, size_t *fed)
{
    struct rig r;
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    struct np_buf all = {0};
    assert_ok(np_buf_append_str(&all, prefix));
    while (np_buf_len(&all) < 8u << 20)
        assert_ok(np_buf_append_str(&all, fill));
    enum neap_err err = NEAP_OK;
    size_t at = 0;
    for (; at < np_buf_len(&all) && !err; at += step) {
        size_t n = np_buf_len(&all) - at < step ? np_buf_len(&all) - at : step;
        err = rig_feed(&r, np_buf_data(&all) + at, n, 0);
    }
    assert_true(err != NEAP_OK);
    *fed = at;
    int status = r.p.status;
    assert_true(r.p.gather.cap <= 64 * 1024);
    rig_fini(&r);
    np_buf_fini(&all);
    return status;
}

static void limits_hold_while_parsing(void **state)
{
    size_t fed;
    for (size_t step = 100; step <= 100000; step *= 10) {
        assert_int_equal(flood("GET /", "aaaaaaaaaa", step, &fed), 414);
        assert_true(fed <= 16 * 1024 + step);
        assert_int_equal(flood("GET / HTTP/1.1\r\nHost: ", "aaaaaaaaaa", step, &fed), 431);
        assert_true(fed <= 16 * 1024 + step);
        assert_int_equal(flood("GET / HTTP/1.1\r\n", "X: y\r\n", step, &fed), 431);
        assert_true(fed <= 16 * 1024 + step);
        assert_int_equal(flood(CHUNKED, "1\r\na\r\n", step, &fed), 413);
        assert_int_equal(flood(CHUNKED "1;", "aaaaaaaaaaaaaaaaa", step, &fed), 400);
        assert_true(fed <= 20 * 1024 + step);
        assert_int_equal(flood(CHUNKED, "0", step, &fed), 400);
        assert_int_equal(flood(CHUNKED "0\r\n", "X: yyyyyyyyyyyyyyyyyyyyyyy\r\n", step, &fed), 431);
    }
}

static void the_count_of_headers_is_limited(void **state)
{
    struct np_http_limits limits = NP_HTTP_LIMITS_INIT;
    limits.max_headers = 3;
    static const char ok[] = "GET / HTTP/1.1\r\n" H "A: 1\r\nB: 2\r\n\r\n";
    static const char more[] = "GET / HTTP/1.1\r\n" H "A: 1\r\nB: 2\r\nC: 3\r\n\r\n";
    struct rig r;
    rig_init(&r, NP_HTTP1_REQUEST, &limits);
    assert_ok(rig_feed(&r, STR(ok), 0));
    enum neap_err err = rig_feed(&r, STR(more), 0);
    check(&r, err, 431, more, 0);
    rig_fini(&r);
}

static void a_head_of_exactly_the_limit_passes(void **state)
{
    struct np_http_limits limits = NP_HTTP_LIMITS_INIT;
    static const char text[] = "GET / HTTP/1.1\r\n" H "\r\n";
    struct rig r;
    for (size_t step = 0; step < 3; step++) {
        limits.max_head = sizeof text - 1;
        rig_init(&r, NP_HTTP1_REQUEST, &limits);
        assert_ok(rig_feed(&r, STR(text), step));
        rig_fini(&r);
        limits.max_head--;
        rig_init(&r, NP_HTTP1_REQUEST, &limits);
        check(&r, rig_feed(&r, STR(text), step), 431, text, step);
        rig_fini(&r);
    }
}

static void a_failed_parser_stays_failed_until_next(void **state)
{
    struct rig r;
    size_t used;
    static const char good[] = "GET / HTTP/1.1\r\n" H "\r\n";
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    assert_err(np_http1_feed(&r.p, STR("\x01"), &used), NEAP_EPROTO);
    assert_err(np_http1_feed(&r.p, STR(good), &used), NEAP_EPROTO);
    assert_int_equal(used, 0);
    np_http1_next(&r.p, -1);
    assert_ok(rig_feed(&r, STR(good), 0));
    rig_fini(&r);
}

static void bad_responses(void **state)
{
    static const char *const cases[] = {
        "HTTP/1.1 99 No\r\n\r\n",
        "HTTP/1.1 20 No\r\n\r\n",
        "HTTP/1.1 0200 No\r\n\r\n",
        "HTTP/1.1 2000 No\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\n\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "220 smtp.test ESMTP\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 0; step < 4; step++) {
            struct rig r;
            rig_init(&r, NP_HTTP1_RESPONSE, NULL);
            enum neap_err err = rig_feed(&r, cases[i], strlen(cases[i]), step);
            if (!err) fail_msg("%s passed (step %zu)", cases[i], step);
            rig_fini(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_requests),
        cmocka_unit_test(limits_hold_while_parsing),
        cmocka_unit_test(the_count_of_headers_is_limited),
        cmocka_unit_test(a_head_of_exactly_the_limit_passes),
        cmocka_unit_test(a_failed_parser_stays_failed_until_next),
        cmocka_unit_test(bad_responses),
    };
    return cmocka_run_group_tests_name("proto.http1_refusal", tests, NULL, NULL);
}
