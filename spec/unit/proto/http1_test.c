/* The HTTP/1 parser: requests in every cut, limits, the ends of responses, lost memory. */
#include "http1_rig.h"

static const char get[] = "GET /goods/42?q=a%20b&x HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n"
                          "X-Empty:\r\nX-Blank:   padded \t \r\n\r\n";
static const char get_events[] =
    "GET /goods/42?q=a%20b&x path=/goods/42 query=q=a%20b&x 1.1 len=-1 keep\n"
    "Host=[shop.test]\nAccept=[*/*]\nX-Empty=[]\nX-Blank=[padded]\nbody:\nend\n";
static const char post[] =
    "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world";
static const char chunked[] =
    "PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    "5\r\nhello\r\n1;q=\"a b\"\r\n \r\n0A ; a;b = c ;d=\"\\\"\";e\r\n0123456789\r\n0;last\r\n"
    "X-Sum:  1 \r\nY: 2\r\nZ:\r\n\r\n";
static const char chunked_events[] = "PUT /up path=/up query= 1.1 len=-1 chunked body keep\n"
                                     "Host=[a]\nTransfer-Encoding=[Chunked]\n"
                                     "body:hello 0123456789\n"
                                     "trailer X-Sum=[1]\ntrailer Y=[2]\ntrailer Z=[]\nend\n";

static void feed_all(struct rig *r, const char *data, size_t n, size_t step)
{
    enum neap_err err = rig_feed(r, data, n, step);
    if (err) print_error("step %zu: %s\n", step, r->p.why);
    assert_ok(err);
}

static void a_request_in_one_piece_is_parsed_in_place(void **state)
{
    struct rig r;
    size_t used;
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    assert_ok(np_http1_feed(&r.p, get, sizeof get - 1, &used));
    assert_int_equal(used, sizeof get - 1);
    assert_string_equal(rig_text(&r), get_events);
    assert_int_equal(r.p.state, NP_HTTP1_END);
    assert_ptr_equal(r.head.target.p, get + 4);
    assert_int_equal(r.p.gather.cap, 0);
    struct np_bytes v = np_http_header_get(&r.head, "ACCEPT", 6);
    assert_memory_equal(v.p, "*/*", 3);
    assert_null(np_http_header_get(&r.head, "Absent", 6).p);
    rig_fini(&r);
}

static void every_cut_gives_the_same_events(void **state)
{
    char all[2048], want[2048];
    int n = snprintf(all, sizeof all, "\r\n%s%s%s%s", get, post, chunked, get);
    struct rig r;
    for (int keep = 0; keep < 2; keep++) {
        for (size_t step = 0; step < (size_t)n; step++) {
            rig_init(&r, NP_HTTP1_REQUEST, NULL);
            r.keep = keep;
            feed_all(&r, all, (size_t)n, step);
            if (step == 0) snprintf(want, sizeof want, "%s", rig_text(&r));
            assert_string_equal(rig_text(&r), want);
            rig_fini(&r);
        }
    }
    assert_non_null(strstr(want, get_events));
    assert_non_null(strstr(want, chunked_events));
    assert_non_null(strstr(want, "len=11 body keep\nHost=[a]\nContent-Length=[11]\n"
                                 "body:hello world\nend\n"));
}

static void every_single_split_gives_the_same_events(void **state)
{
    struct rig r;
    for (size_t cut = 1; cut < sizeof chunked - 1; cut++) {
        rig_init(&r, NP_HTTP1_REQUEST, NULL);
        feed_all(&r, chunked, cut, 0);
        feed_all(&r, chunked + cut, sizeof chunked - 1 - cut, 0);
        assert_string_equal(rig_text(&r), chunked_events);
        rig_fini(&r);
    }
}

static void pipelined_requests_come_one_at_a_time(void **state)
{
    char two[512];
    struct rig r;
    size_t used;
    int n = snprintf(two, sizeof two, "%s%s", get, post);
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    assert_ok(np_http1_feed(&r.p, two, (size_t)n, &used));
    assert_int_equal(used, sizeof get - 1);
    assert_ok(np_http1_feed(&r.p, two + used, (size_t)n - used, &used));
    assert_int_equal(used, 0); /* not before next */
    np_http1_next(&r.p, -1);
    assert_ok(np_http1_feed(&r.p, post, sizeof post - 1, &used));
    assert_int_equal(used, sizeof post - 1);
    rig_fini(&r);
}

static void a_paused_body_waits(void **state)
{
    struct rig r;
    size_t used;
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    r.pause_body = 6;
    assert_ok(np_http1_feed(&r.p, chunked, sizeof chunked - 1, &used));
    assert_int_equal(r.body, 6);
    assert_int_equal(used, strstr(chunked, " \r\n0A") + 1 - chunked);
    size_t more;
    assert_ok(np_http1_feed(&r.p, chunked + used, sizeof chunked - 1 - used, &more));
    assert_int_equal(more, 0);
    np_http1_pause(&r.p, false);
    r.pause_body = 0;
    feed_all(&r, chunked + used, sizeof chunked - 1 - used, 0);
    assert_string_equal(rig_text(&r), chunked_events);
    rig_fini(&r);
}

static void a_paused_end_is_delivered_later(void **state)
{
    struct rig r;
    size_t used;
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    r.pause_body = 11;
    assert_ok(np_http1_feed(&r.p, post, sizeof post - 1, &used));
    assert_int_equal(used, sizeof post - 1);
    assert_null(strstr(rig_text(&r), "end"));
    np_http1_pause(&r.p, false);
    assert_ok(np_http1_feed(&r.p, "", 0, &used));
    assert_non_null(strstr(rig_text(&r), "\nend\n"));
    rig_fini(&r);
}

static void forms_of_target(void **state)
{
    static const struct {
        const char *line, *want;
    } cases[] = {
        {"GET http://h:80/x/y?z HTTP/1.1", "path=/x/y query=z "},
        {"GET HTTP://H/x HTTP/1.1", "path=/x query= "},
        {"GET http://h HTTP/1.1", "path=/ query= "},
        {"GET http://h?z HTTP/1.1", "path=/ query=z "},
        {"OPTIONS * HTTP/1.1", "path=* query= "},
        {"CONNECT h:443 HTTP/1.1", "path=h:443 query= "},
        {"GET /?? HTTP/1.1", "path=/ query=? "},
        {"M-SEARCH /a HTTP/1.1", "M-SEARCH /a path=/a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        struct rig r;
        int n = snprintf(text, sizeof text, "%s\r\nHost: h\r\n\r\n", cases[i].line);
        rig_init(&r, NP_HTTP1_REQUEST, NULL);
        feed_all(&r, text, (size_t)n, 0);
        if (!strstr(rig_text(&r), cases[i].want)) fail_msg("%s: %s", cases[i].line, rig_text(&r));
        rig_fini(&r);
    }
}

static void head_flags(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", "1.0 len=-1\n"},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "1.0 len=-1 keep\n"},
        {"GET / HTTP/1.1\r\nHost:\r\nConnection: x, close\r\n\r\n", "1.1 len=-1\n"},
        {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "1.1 len=-1 keep\n"},
        {"GET / HTTP/1.1\r\nHost: a.b%20c:\r\n\r\n", "1.1 len=-1 keep\n"},
        {"GET http://a:80/ HTTP/1.1\r\nHost: A\r\n\r\n", "1.1 len=-1 keep\n"},
        {"GET https://a/ HTTP/1.1\r\nHost: A:443\r\n\r\n", "1.1 len=-1 keep\n"},
        {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "upgrade\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
         "len=0 keep\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc",
         "len=3 body keep expect\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
         "keep upgrade\n"},
        {"PUT / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n"
         "\r\nab",
         "len=2 body keep upgrade\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        rig_init(&r, NP_HTTP1_REQUEST, NULL);
        feed_all(&r, cases[i].text, strlen(cases[i].text), 0);
        if (!strstr(rig_text(&r), cases[i].want) || !strstr(rig_text(&r), "end"))
            fail_msg("%s gave %s", cases[i].text, rig_text(&r));
        rig_fini(&r);
    }
}

static enum neap_err answer(struct rig *r, int method, const char *text, size_t step)
{
    rig_init(r, NP_HTTP1_RESPONSE, NULL);
    np_http1_next(&r->p, method);
    size_t at = 0, n = strlen(text);
    while (at < n && r->p.state != NP_HTTP1_END) {
        size_t used, piece = step && n - at > step ? step : n - at;
        enum neap_err err = np_http1_feed(&r->p, text + at, piece, &used);
        if (err) return err;
        at += used;
    }
    return NEAP_OK;
}

static void responses(void **state)
{
    static const struct {
        int method;
        const char *text, *want;
    } cases[] = {
        {HTTP_GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
         "200 OK 1.1 len=2 body keep\nContent-Length=[2]\nbody:hi\nend\n"},
        {HTTP_GET, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200  1.1 len=0 keep\n"},
        {HTTP_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
         "200 OK 1.1 len=20 keep\nContent-Length=[20]\nbody:\nend\n"},
        {HTTP_HEAD, "HTTP/1.1 200 OK\r\n\r\n", "200 OK 1.1 len=-1 keep\nbody:\nend\n"},
        {HTTP_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
         "len=9 keep\nContent-Length=[9]\nbody:\nend\n"},
        {HTTP_GET, "HTTP/1.1 204 No Content\r\n\r\n", "len=-1 keep\nbody:\nend\n"},
        {HTTP_GET,
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
         "HTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx",
         "interim 100\ninterim 103\n201 Made 1.1 len=1 body "
         "keep\nContent-Length=[1]\nbody:x\nend\n"},
        {HTTP_GET,
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x;y=z\r\nabc\r\n0\r\n"
         "Content-Length: 7\r\nX-Sum: 9\r\nSet-Cookie: a=b\r\n\r\n",
         "body:abc\ntrailer X-Sum=[9]\nend\n"},
        {HTTP_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "len=-1 chunked body keep\nTransfer-Encoding=[chunked]\nbody:abc\nend\n"},
        {HTTP_CONNECT, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "body:\nend\n"},
        {HTTP_GET, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
         "101 Switching Protocols 1.1 len=-1 keep upgrade\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 0; step < 5; step++) {
            struct rig r;
            enum neap_err err = answer(&r, cases[i].method, cases[i].text, step);
            if (err || !strstr(rig_text(&r), cases[i].want) || r.p.state != NP_HTTP1_END)
                fail_msg("%s gave %s %s", cases[i].text, rig_text(&r), r.p.why ? r.p.why : "");
            rig_fini(&r);
        }
    }
}

static void a_response_may_last_until_the_end(void **state)
{
    struct rig r;
    assert_ok(answer(&r, HTTP_GET, "HTTP/1.1 200 OK\r\nX: y\r\n\r\nall of this", 0));
    assert_int_equal(r.p.state, NP_HTTP1_BODY);
    assert_ok(np_http1_finish(&r.p));
    assert_string_equal(rig_text(&r), "200 OK 1.1 len=-1 body\nX=[y]\nbody:all of this\nend\n");
    assert_ok(np_http1_finish(&r.p));
    rig_fini(&r);
}

static void a_truncated_message_is_an_error(void **state)
{
    static const char *const cases[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nConte",
        "HTTP/1.1 2",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        assert_ok(answer(&r, HTTP_GET, cases[i], 0));
        assert_err(np_http1_finish(&r.p), NEAP_EPROTO);
        assert_null(strstr(rig_text(&r), "end"));
        rig_fini(&r);
    }
    struct rig r;
    assert_ok(answer(&r, HTTP_GET, "", 0));
    assert_ok(np_http1_finish(&r.p));
    rig_fini(&r);
}

static void interim_responses_are_bounded(void **state)
{
    struct rig r;
    size_t used;
    rig_init(&r, NP_HTTP1_RESPONSE, NULL);
    enum neap_err err = NEAP_OK;
    int i = 0;
    for (; i < 1000 && !err; i++)
        err = np_http1_feed(&r.p, "HTTP/1.1 100 Continue\r\n\r\n", 25, &used);
    assert_err(err, NEAP_EPROTO);
    assert_in_range(i, 8, 100);
    rig_fini(&r);
}

static enum neap_err survive(void *arg)
{
    struct rig r;
    rig_init(&r, NP_HTTP1_REQUEST, NULL);
    r.keep = true;
    char many[4096];
    int n = snprintf(many, sizeof many, "GET /%0500d HTTP/1.1\r\nHost: a\r\n", 0);
    for (int i = 0; i < 40; i++)
        n += snprintf(many + n, sizeof many - (size_t)n, "X-%d: y\r\n", i);
    n += snprintf(many + n, sizeof many - (size_t)n,
                  "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 5\r\n\r\n");
    enum neap_err err = rig_feed(&r, many, (size_t)n, *(size_t *)arg);
    if (err == NEAP_OK && r.oom) err = NEAP_ENOMEM;
    if (err == NEAP_ENOMEM && r.p.state == NP_HTTP1_FAILED) assert_int_equal(r.p.status, 500);
    if (!err) assert_non_null(strstr(rig_text(&r), "X-39=[y]"));
    if (!err) assert_non_null(strstr(rig_text(&r), "trailer X-Sum=[5]"));
    rig_fini(&r);
    return err;
}

static void lost_memory_is_an_error_like_any_other(void **state)
{
    for (size_t step = 0; step < 1000; step += 199)
        assert_true(np_test_oom(survive, &step) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_in_one_piece_is_parsed_in_place),
        cmocka_unit_test(every_cut_gives_the_same_events),
        cmocka_unit_test(every_single_split_gives_the_same_events),
        cmocka_unit_test(pipelined_requests_come_one_at_a_time),
        cmocka_unit_test(a_paused_body_waits),
        cmocka_unit_test(a_paused_end_is_delivered_later),
        cmocka_unit_test(forms_of_target),
        cmocka_unit_test(head_flags),
        cmocka_unit_test(responses),
        cmocka_unit_test(a_response_may_last_until_the_end),
        cmocka_unit_test(a_truncated_message_is_an_error),
        cmocka_unit_test(interim_responses_are_bounded),
        cmocka_unit_test(lost_memory_is_an_error_like_any_other),
    };
    return cmocka_run_group_tests_name("proto.http1", tests, NULL, NULL);
}
